//! Hosts: nodes that this node reaches by address and whose key it learns, for clients of the
//! library (`protocol.md` §5, open handshake).

use super::{
    Engine, Event, Now, Output, PeerRefused,
    peer::{Origin, Peer},
};
use crate::{
    identity::{PresharedKey, PublicKey},
    noise::{NoiseByte, NoisePolicy},
    peer::PeerId,
};
use core::{net::SocketAddr, time::Duration};

/// What is configured about a host.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Where it is reached.
    pub endpoint: SocketAddr,
    /// Its key, if it is known: an answer under another one is refused. If it is not,
    /// [`Event::HostKey`] tells the first one that was proved, and no other is taken after it.
    pub public_key: Option<PublicKey>,
    /// Whether this node names itself; if not, the handshake is anonymous, and its session is
    /// not renewed: it ends after [`Timers::reject`](crate::timers::Timers::reject).
    pub named: bool,
    /// The preshared key; [`PresharedKey::NONE`] for none. Unused in an anonymous handshake.
    pub preshared_key: PresharedKey,
    /// How often it is pinged.
    pub heartbeat: Option<Duration>,
    /// The noise asked for.
    pub noise: NoiseByte,
    /// The weakest noise that is run with it.
    pub noise_policy: NoisePolicy,
}

impl Engine {
    pub(super) fn add_host(
        &mut self,
        now: Now,
        host: HostConfig,
        out: &mut dyn Output,
    ) -> Result<PeerId, PeerRefused> {
        if let Some(key) = &host.public_key {
            if key == self.public_key() {
                return Err(PeerRefused::OwnKey);
            }
            if self.by_key.contains_key(key) {
                return Err(PeerRefused::Duplicate);
            }
        }
        let key = host.public_key;
        let placeholder = *self.public_key();
        let id = self.new_slot(|id| Peer::host(id, host, placeholder, now));
        if let Some(key) = key {
            self.by_key.insert(key, id);
        }
        self.handle_wanted(now, id, out);
        Ok(id)
    }

    /// Keeps the key that a host has proved with its answer, if it had none.
    pub(super) fn learn_key(&mut self, id: PeerId, key: Option<PublicKey>, out: &mut dyn Output) {
        let Some(key) = key else { return };
        let Some(peer) = self.peer_mut(id) else { return };
        if !matches!(peer.origin, Origin::Host { .. }) || peer.learned.is_some() {
            return;
        }
        peer.learned = Some(Box::new(key));
        // handshakes that the host starts find their peer; a configured one goes before
        self.by_key.entry(key).or_insert(id);
        out.event(Event::HostKey { peer: id, key });
    }
}
