//! Settings that are sound each for itself, but do nothing, or harm, together.

use crate::diagnostic::Diagnostics;
use crate::model::{HandshakeKind, PeerFile, Routes};
use crate::peers::Found;
use crate::section::Section;

/// Warns of what the file says to no effect, and of what others can read; `section` is
/// `interface:`.
pub(crate) fn read(
    section: &Section<'_, '_>,
    file: &PeerFile,
    peers: &[Found],
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
    for found in peers {
        peer(found, interface.early_data, list);
        own_address(found, file, list);
    }
}

fn peer(found: &Found, early_data: bool, list: &mut Diagnostics) {
    if found.peer.handshake != HandshakeKind::Open {
        return;
    }
    if !found.peer.noise.is_off() {
        list.warn(
            found.handshake_at,
            "an open handshake shows the noise parameters to everyone on the path; write \
             `handshake: encrypted`",
        );
    }
    if early_data {
        list.warn(
            found.handshake_at,
            "an open handshake carries no early data, so `early_data` does nothing for this peer; \
             write `handshake: encrypted`",
        );
    }
}

fn own_address(found: &Found, file: &PeerFile, list: &mut Diagnostics) {
    for own in &file.interface.address {
        let host = ipnet::IpNet::from(own.addr());
        if found.peer.allowed_ips.contains(&host) {
            list.warn(
                found.allowed_at,
                format!(
                    "this peer has {host} in `allowed_ips`, which is the interface's own address; \
                     write the peer's"
                ),
            );
        }
    }
}
