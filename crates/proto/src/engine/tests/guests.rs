//! Guests and hosts: peers that nobody configured.

use super::{Outbox, add, address, at, deliver, engine, identity, peer_config};
use crate::{
    drop::DropReason,
    engine::{
        Change, Engine, Event, Guests, HostConfig, Input, PeerError, PeerState, PostQuantum,
        Settings,
    },
    frame::CloseReason,
    identity::PresharedKey,
    noise::{NoiseByte, NoisePolicy},
    peer::PeerId,
};

fn taking(guests: Guests) -> Settings {
    Settings { guests, streams: true, ..Settings::default() }
}

fn strangers() -> Guests {
    Guests { strangers: true, ..Guests::NONE }
}

fn host(named: bool) -> HostConfig {
    HostConfig {
        endpoint: address(2),
        public_key: None,
        named,
        preshared_key: PresharedKey::NONE,
        heartbeat: None,
        noise: NoiseByte::OFF,
        noise_policy: NoisePolicy::OFF,
    }
}

/// A client that has the server's key, or none.
struct Client {
    engine: Engine,
    out: Outbox,
    id: PeerId,
    n: u8,
}

impl Client {
    fn knowing(n: u8, settings: Settings) -> Self {
        let mut engine = engine(n, settings, None);
        let mut out = Outbox::default();
        let server = peer_config(*identity(2).public(), Some(address(2)));
        let id = add(&mut engine, server, at(0), &mut out);
        engine.handle(at(0), Input::Connect(id), &mut out);
        Self { engine, out, id, n }
    }

    fn learning(n: u8, host: HostConfig) -> Self {
        let mut engine = engine(n, taking(Guests::NONE), None);
        let mut out = Outbox::default();
        let id = engine.apply(at(0), [Change::AddHost(Box::new(host))], &mut out);
        let id = id[0].unwrap().unwrap();
        Self { engine, out, id, n }
    }

    fn settle(&mut self, server: &mut Engine, from_server: &mut Outbox, ms: u64) {
        while !self.out.sent.is_empty() || !from_server.sent.is_empty() {
            deliver(&mut self.out, self.n, server, at(ms), from_server);
            deliver(from_server, 2, &mut self.engine, at(ms), &mut self.out);
        }
    }

    fn state(&self, ms: u64) -> PeerState {
        self.engine.peer_status(self.id, at(ms).instant).unwrap().state
    }
}

#[test]
fn strangers_are_guests_until_they_close() {
    let mut server = engine(2, taking(strangers()), None);
    let mut out = Outbox::default();
    for n in [1, 3] {
        let mut client = Client::knowing(n, taking(Guests::NONE));
        client.settle(&mut server, &mut out, 10);
        assert_eq!(client.state(10), PeerState::Up);
        let guest = server.peer_by_key(identity(n).public()).unwrap();
        let cell = server.cell(guest).unwrap();
        assert_eq!(cell.endpoint().unwrap().remote, address(n));
        assert!(cell.tx_session().as_ref().unwrap().takes_streams());
        let up = Event::SessionUp { peer: guest, id: 1 + u64::from(n / 2), initiator: false };
        assert!(out.events.contains(&up), "{:?}", out.events);
        let close = Input::Close { peer: client.id, reason: CloseReason::IDLE };
        client.engine.handle(at(20), close, &mut client.out);
        assert_eq!(client.state(20), PeerState::Idle, "a configured peer stays");
        client.settle(&mut server, &mut out, 20);
        assert!(out.events.contains(&Event::PeerClosed { peer: guest, reason: CloseReason::IDLE }));
        assert_eq!(server.peer_by_key(identity(n).public()), None);
        assert_eq!(server.peer_ids().count(), 0);
    }
    assert_eq!((server.guests.all, server.guests.unconfirmed), (0, 0));
    assert_eq!(server.indices.live(), 0);
}

#[test]
fn a_stranger_that_does_not_confirm_is_forgotten() {
    let mut server = engine(2, taking(strangers()), None);
    let mut out = Outbox::default();
    let mut client = Client::knowing(1, Settings::default());
    deliver(&mut client.out, 1, &mut server, at(1), &mut out);
    assert_eq!((server.guests.all, server.guests.unconfirmed), (1, 1));
    let (when, _) = server.next_timeout().unwrap();
    assert_eq!(when, at(10_001).instant);
    server.handle(at(10_001), Input::Timeout, &mut out);
    assert_eq!((server.guests.all, server.guests.unconfirmed), (0, 0));
    assert_eq!(server.next_timeout(), None);
}

#[test]
fn without_room_strangers_get_busy_and_sessions_stay() {
    let mut server = engine(2, taking(Guests { max: 1, ..strangers() }), None);
    let mut out = Outbox::default();
    let mut first = Client::knowing(1, Settings::default());
    first.settle(&mut server, &mut out, 1);
    let mut second = Client::knowing(3, Settings::default());
    second.settle(&mut server, &mut out, 2);
    let error = second.engine.peer_status(second.id, at(2).instant).unwrap().last_error;
    assert_eq!(error, Some(PeerError::Busy));
    let draining = taking(Guests { draining: true, ..strangers() });
    server.apply(at(3), [Change::Settings(Box::new(draining))], &mut out);
    second.engine.handle(at(2_000), Input::Timeout, &mut second.out);
    second.settle(&mut server, &mut out, 2_000);
    assert_ne!(second.state(2_000), PeerState::Up);
    // a guest that is there may renew its session
    first.engine.handle(at(121_000), Input::Timeout, &mut first.out);
    first.engine.start_handshake(at(121_000), first.id, &mut first.out);
    first.settle(&mut server, &mut out, 121_000);
    let status = first.engine.peer_status(first.id, at(121_000).instant).unwrap();
    assert_eq!(status.handshakes, 2);
}

#[test]
fn a_host_is_known_by_its_first_key_and_no_other() {
    let settings = || Settings { allow_open: true, ..taking(strangers()) };
    let mut server = engine(2, settings(), None);
    let mut out = Outbox::default();
    let mut client = Client::learning(1, host(true));
    client.settle(&mut server, &mut out, 1);
    let key = *identity(2).public();
    assert!(client.out.events.contains(&Event::HostKey { peer: client.id, key }));
    assert_eq!(client.state(1), PeerState::Up);
    assert_eq!(client.engine.peer_by_key(&key), Some(client.id));

    // another node at the same address: its answers are refused, and said so
    let mut impostor = engine(4, settings(), None);
    client.out.events.clear();
    client.engine.start_handshake(at(9_000), client.id, &mut client.out);
    client.settle(&mut impostor, &mut out, 9_000);
    let error = PeerError::KeyMismatch;
    assert!(client.out.events.contains(&Event::AttemptFailed { peer: client.id, error }));
    assert_eq!(client.engine.peer_status(client.id, at(9_000).instant).unwrap().handshakes, 1);

    let mut pinned = Client::learning(3, HostConfig { public_key: Some(key), ..host(true) });
    pinned.settle(&mut impostor, &mut out, 1);
    assert_ne!(pinned.state(1), PeerState::Up);
    pinned.engine.handle(at(1_500), Input::Timeout, &mut pinned.out);
    pinned.settle(&mut server, &mut out, 1_500);
    assert_eq!(pinned.state(1_500), PeerState::Up);
    let known = |e: &Event| matches!(e, Event::HostKey { .. });
    assert!(!pinned.out.events.iter().any(known), "a known key is not told");
}

#[test]
fn anonymous_sessions_live_out() {
    let settings = Settings { allow_anonymous: true, ..taking(Guests::NONE) };
    let mut server = engine(2, settings, None);
    let mut out = Outbox::default();
    let mut client = Client::learning(1, host(false));
    client.settle(&mut server, &mut out, 0);
    assert_eq!(client.state(1), PeerState::Up);
    let guest = server.peer_ids().next().unwrap();
    assert!(server.cell(guest).unwrap().key().is_none());
    // payload would make a named session renew itself
    client.engine.peer(client.id).unwrap().current.as_ref().unwrap().tx.note_payload();
    let mut last = 0;
    let ended = Event::SessionsEnded { peer: client.id };
    for ms in (1_000..=181_000).step_by(1_000) {
        for (engine, out) in [(&mut client.engine, &mut client.out), (&mut server, &mut out)] {
            if engine.next_timeout().is_some_and(|(when, _)| when <= at(ms).instant) {
                engine.handle(at(ms), Input::Timeout, out);
            }
        }
        client.settle(&mut server, &mut out, ms);
        if !client.out.events.contains(&ended) {
            last = ms;
        }
    }
    assert_eq!(last, 179_000, "it ended at 180 s, and was not renewed before");
    assert_eq!(client.engine.peer_status(client.id, at(181_000).instant).unwrap().handshakes, 1);
    assert_eq!(server.peer_ids().count(), 0);
    assert!(out.events.contains(&Event::SessionsEnded { peer: guest }));
}

#[test]
fn silence_ends_an_anonymous_session_without_spinning() {
    let settings =
        Settings { allow_anonymous: true, post_quantum: PostQuantum::Off, ..taking(Guests::NONE) };
    let mut server = engine(2, settings, None);
    let mut out = Outbox::default();
    let mut client = Client::learning(1, host(false));
    client.settle(&mut server, &mut out, 0);
    let guest = server.peer_ids().next().unwrap();
    server.cell(guest).unwrap().stamp_tx(at(10).instant, true);
    let mut wakes = 0;
    while let Some((when, _)) = server.next_timeout() {
        let ms = (when.as_nanos() - 1_000_000_000).div_ceil(1_000_000);
        server.handle(at(ms), Input::Timeout, &mut out);
        wakes += 1;
        assert!(wakes < 20, "{ms}");
    }
    assert_eq!(server.peer_ids().count(), 0);
    assert_eq!(server.shared().drops.of(DropReason::NoSession), 0);
}
