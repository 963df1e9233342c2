//! What control knows of each peer beside the engine: its name, and where its endpoint may be.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use stadium_config::Endpoint;
use stadium_proto::engine::PeerError;
use stadium_proto::identity::PublicKey;
use stadium_proto::peer::PeerId;
use stadium_proto::time::Instant;

use crate::outbound::EarlyPackets;
use crate::settings::canonical;

/// How long a peer's name is not looked up again after it was.
const LOOKUP_PAUSE: Duration = Duration::from_secs(5);

/// How long a name that does not resolve is left alone at most.
const LOOKUP_PAUSE_MAX: Duration = Duration::from_secs(60);

/// The peers by their slot in the engine.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Boxed, since the map's nodes are half empty after peers were added in order.
    entries: BTreeMap<PeerId, Box<Entry>>,
}

/// One peer.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: PublicKey,
    /// For people: the name, or the public key.
    pub(super) label: String,
    pub(super) endpoint: Option<Endpoint>,
    /// All addresses that the endpoint is known to have.
    pub(super) addresses: Vec<SocketAddr>,
    /// The error that was logged last, so that retries do not repeat it.
    pub(super) logged: Option<PeerError>,
    /// Whether giving up was logged since the last session: a heartbeat starts anew for ever.
    pub(super) gave_up: bool,
    /// Packets that went along with the handshake under way.
    pub(super) early: EarlyPackets,
    looking: bool,
    failures: u32,
    next_lookup: Instant,
}

impl Entry {
    fn new(peer: &stadium_config::Peer) -> Self {
        let mut entry = Self {
            key: peer.public_key,
            label: peer.label(),
            endpoint: None,
            addresses: Vec::new(),
            logged: None,
            gave_up: false,
            early: EarlyPackets::default(),
            looking: false,
            failures: 0,
            next_lookup: Instant::ZERO,
        };
        entry.set_endpoint(peer.endpoint.clone());
        entry
    }

    /// Takes an endpoint from the peer file; returns whether it differs from the one before.
    fn set_endpoint(&mut self, endpoint: Option<Endpoint>) -> bool {
        if self.endpoint == endpoint {
            return false;
        }
        self.addresses = match &endpoint {
            Some(Endpoint::Address(address)) => vec![canonical(*address)],
            Some(Endpoint::Name { .. }) | None => Vec::new(),
        };
        self.endpoint = endpoint;
        self.next_lookup = Instant::ZERO;
        self.failures = 0;
        true
    }

    /// Returns the name and port to look up now, if it is time for that, and notes that it is
    /// done.
    pub(super) fn begin_lookup(&mut self, now: Instant) -> Option<(String, u16)> {
        let Some(Endpoint::Name { host, port }) = &self.endpoint else { return None };
        if self.looking || now < self.next_lookup {
            return None;
        }
        self.looking = true;
        Some((host.clone(), *port))
    }

    /// Takes the result of a lookup; returns after what time a failed one is to be repeated.
    pub(super) fn end_lookup(
        &mut self,
        addresses: Option<Vec<SocketAddr>>,
        now: Instant,
    ) -> Option<Duration> {
        self.looking = false;
        match addresses {
            Some(addresses) => {
                self.addresses = addresses;
                self.failures = 0;
                self.next_lookup = now + LOOKUP_PAUSE;
                None
            }
            None => {
                let pause = LOOKUP_PAUSE * 2_u32.saturating_pow(self.failures.min(8));
                self.failures += 1;
                let pause = pause.min(LOOKUP_PAUSE_MAX);
                self.next_lookup = now + pause;
                Some(pause)
            }
        }
    }

    /// Returns the address to try after `current` stayed silent, if there is another one.
    pub(super) fn after(&self, current: Option<SocketAddr>) -> Option<SocketAddr> {
        let at = current.and_then(|current| self.addresses.iter().position(|a| *a == current));
        let next = match at {
            Some(at) => self.addresses.get(at + 1).or(self.addresses.first()),
            None => self.addresses.first(),
        };
        next.copied().filter(|next| Some(*next) != current)
    }
}

impl Book {
    /// Adds a peer that the engine has taken, or takes what changed about it. Returns whether
    /// its endpoint did.
    pub(super) fn set(&mut self, id: PeerId, peer: &stadium_config::Peer) -> bool {
        match self.entries.get_mut(&id).filter(|entry| entry.key == peer.public_key) {
            Some(entry) => {
                entry.label = peer.label();
                entry.set_endpoint(peer.endpoint.clone())
            }
            None => {
                self.entries.insert(id, Box::new(Entry::new(peer)));
                true
            }
        }
    }

    pub(super) fn remove(&mut self, id: PeerId) {
        self.entries.remove(&id);
    }

    pub(super) fn get(&self, id: PeerId) -> Option<&Entry> {
        self.entries.get(&id).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, id: PeerId) -> Option<&mut Entry> {
        self.entries.get_mut(&id).map(Box::as_mut)
    }

    /// Returns what people call a peer.
    pub(super) fn label(&self, id: PeerId) -> &str {
        self.entries.get(&id).map_or("(removed)", |entry| entry.label.as_str())
    }

    /// Lists all peers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerId, &Entry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            key: stadium_proto::identity::SecretKey::from_seed([7; 32]).public(),
            label: "bob".to_owned(),
            endpoint: Some(Endpoint::Name { host: "bob.example".to_owned(), port: 7 }),
            addresses: Vec::new(),
            logged: None,
            gave_up: false,
            early: EarlyPackets::default(),
            looking: false,
            failures: 0,
            next_lookup: Instant::ZERO,
        }
    }

    #[test]
    fn a_name_is_looked_up_once_at_a_time_and_not_too_often() {
        let mut entry = entry();
        let second = |n| Instant::ZERO + Duration::from_secs(n);
        assert_eq!(entry.begin_lookup(second(1)), Some(("bob.example".to_owned(), 7)));
        assert_eq!(entry.begin_lookup(second(2)), None, "one is under way");
        assert_eq!(entry.end_lookup(Some(vec!["192.0.2.1:7".parse().unwrap()]), second(3)), None);
        assert_eq!(entry.begin_lookup(second(4)), None, "too soon");
        assert!(entry.begin_lookup(second(8)).is_some());
    }

    #[test]
    fn failures_are_repeated_at_growing_pauses() {
        let mut entry = entry();
        let mut now = Instant::ZERO;
        let mut last = Duration::ZERO;
        for _ in 0..12 {
            entry.begin_lookup(now).unwrap();
            let pause = entry.end_lookup(None, now).unwrap();
            assert!(pause >= last && pause <= LOOKUP_PAUSE_MAX);
            last = pause;
            now += pause;
        }
        assert_eq!(last, LOOKUP_PAUSE_MAX);
    }

    #[test]
    fn addresses_take_turns() {
        let mut entry = entry();
        assert_eq!(entry.after(None), None);
        let (a, b) = ("192.0.2.1:7".parse().unwrap(), "[2001:db8::1]:7".parse().unwrap());
        entry.addresses = vec![a, b];
        assert_eq!(entry.after(None), Some(a));
        assert_eq!(entry.after(Some(a)), Some(b));
        assert_eq!(entry.after(Some(b)), Some(a));
        assert_eq!(entry.after(Some("198.51.100.9:9".parse().unwrap())), Some(a));
        entry.addresses = vec![a];
        assert_eq!(entry.after(Some(a)), None);
    }
}
