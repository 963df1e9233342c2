//! Settings that are sound each for itself, but do nothing, or harm, together.

use crate::diagnostic::Diagnostics;
use crate::model::{HandshakeKind, Peer, PeerFile, Routes};
use crate::peers::Places;
use crate::section::Section;

/// Warns of what the file says to no effect, and of what others can read; `section` is
/// `interface:`.
pub(crate) fn read(
    section: &Section<'_, '_>,
    file: &PeerFile,
    places: &[Places],
    list: &mut Diagnostics,
) {
    let interface = &file.interface;
    let default_route = file.has_default_route();
    if interface.lan && !default_route {
        list.warn(
            section.key_position("lan"),
            "`lan` does nothing without a peer that has 0.0.0.0/0 or ::/0; remove it",
        );
    } else if interface.lan && interface.routes == Routes::Off {
        list.warn(section.key_position("lan"), "`lan` does nothing with `routes: off`; remove it");
    }
    if interface.stealth && interface.allow_open {
        list.warn(
            section.key_position("allow_open"),
            "`allow_open` does nothing with `stealth`, which excludes open handshakes; remove one",
        );
    }
    if !interface.hooks.is_empty() && !file.hook_trust.may_run() {
        list.warn(
            section.key_position("hooks"),
            format!(
                "the hooks will not run, because {}; run `chown root {path}; chmod 600 {path}`",
                file.hook_trust,
                path = file.path.display()
            ),
        );
    }
    for (peer, places) in file.peers.iter().zip(places) {
        open_handshake(peer, places, interface.early_data, list);
        own_address(peer, places, file, list);
    }
}

fn open_handshake(peer: &Peer, places: &Places, early_data: bool, list: &mut Diagnostics) {
    if peer.handshake != HandshakeKind::Open {
        return;
    }
    if !peer.noise.is_off() {
        list.warn(
            places.handshake,
            "an open handshake shows the noise parameters to everyone on the path; write \
             `handshake: encrypted`",
        );
    }
    if early_data {
        list.warn(
            places.handshake,
            "an open handshake carries no early data, so `early_data` does nothing for this peer; \
             write `handshake: encrypted`",
        );
    }
}

fn own_address(peer: &Peer, places: &Places, file: &PeerFile, list: &mut Diagnostics) {
    for own in &file.interface.address {
        let host = ipnet::IpNet::from(own.addr());
        if peer.allowed_ips.contains(&host) {
            list.warn(
                places.allowed,
                format!(
                    "this peer has {host} in `allowed_ips`, which is the interface's own address; \
                     write the peer's"
                ),
            );
        }
    }
}
