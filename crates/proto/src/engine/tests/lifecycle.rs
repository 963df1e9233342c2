//! Two engines without a network between them: each step by hand.

use super::{Outbox, add, address, at, deliver, engine, entropy, identity, peer_config};
use crate::{
    engine::{
        Change, Engine, Event, Input, Now, PeerError, PeerRefused, PeerState, PostQuantum, Settings,
    },
    frame::CloseReason,
    identity::PresharedKey,
    peer::PeerId,
    timers::Why,
};

/// Two engines that have each other as peers; only the first knows where the second is.
struct Pair {
    a: Engine,
    b: Engine,
    from_a: Outbox,
    from_b: Outbox,
    id: PeerId,
}

impl Pair {
    fn new(settings_a: Settings, settings_b: Settings) -> Self {
        let mut a = engine(1, settings_a, None);
        let mut b = engine(2, settings_b, None);
        let (mut from_a, mut from_b) = (Outbox::default(), Outbox::default());
        let config_b = peer_config(*identity(2).public(), Some(address(2)));
        let id = add(&mut a, config_b, at(0), &mut from_a);
        add(&mut b, peer_config(*identity(1).public(), None), at(0), &mut from_b);
        Self { a, b, from_a, from_b, id }
    }

    /// Carries datagrams both ways until none is left.
    fn settle(&mut self, now: Now) {
        while !self.from_a.sent.is_empty() || !self.from_b.sent.is_empty() {
            deliver(&mut self.from_a, 1, &mut self.b, now, &mut self.from_b);
            deliver(&mut self.from_b, 2, &mut self.a, now, &mut self.from_a);
        }
    }

    fn connect(&mut self, now: Now) {
        self.a.handle(now, Input::Wanted(self.id), &mut self.from_a);
        self.settle(now);
    }

    fn states(&self, now: Now) -> (PeerState, PeerState) {
        let state = |e: &Engine| e.peer_status(self.id, now.instant).unwrap().state;
        (state(&self.a), state(&self.b))
    }

    fn error(&self) -> Option<PeerError> {
        self.a.peer_status(self.id, at(0).instant).unwrap().last_error
    }
}

#[test]
fn a_packet_brings_up_a_session() {
    let mut p = Pair::new(Settings::default(), Settings::default());
    assert_eq!(p.states(at(0)), (PeerState::Idle, PeerState::Idle));
    p.connect(at(10));
    assert_eq!(p.states(at(10)), (PeerState::Up, PeerState::Up));
    let a = p.a.peer_status(p.id, at(10).instant).unwrap();
    let b = p.b.peer_status(p.id, at(10).instant).unwrap();
    let (sa, sb) = (a.session.unwrap(), b.session.unwrap());
    assert_eq!((sa.id, sb.id), (1, 1));
    assert!(sa.post_quantum && sb.post_quantum);
    assert_eq!(sa.cipher, sb.cipher);
    assert_eq!((a.handshakes, b.handshakes), (1, 1));
    assert!(a.rtt.is_some());
    assert!(p.from_a.events.contains(&Event::CanSend { peer: p.id }));
    assert!(p.from_a.events.contains(&Event::SessionUp { peer: p.id, id: 1, initiator: true }));
    assert!(p.from_b.events.contains(&Event::SessionUp { peer: p.id, id: 1, initiator: false }));
    assert_eq!(p.b.cell(p.id).unwrap().endpoint().unwrap().remote, address(1));
}

#[test]
fn a_request_is_answered_once_and_only_confirmed_by_data() {
    let mut p = Pair::new(Settings::default(), Settings::default());
    p.a.handle(at(0), Input::Wanted(p.id), &mut p.from_a);
    let (_, request) = p.from_a.sent.remove(0);
    for n in 0..3 {
        let input = Input::Handshake { remote: address(9), local: None, datagram: &request };
        p.b.handle(at(n), input, &mut p.from_b);
    }
    assert_eq!(p.from_b.sent.len(), 1, "a repeated REQUEST is dropped");
    assert_eq!(p.b.shared().drops.of(crate::drop::DropReason::RepeatedRequest), 2);
    assert_eq!(p.states(at(5)).1, PeerState::Idle, "a pending session displaces nothing");
    assert_eq!(p.b.cell(p.id).unwrap().endpoint(), None, "nor moves the endpoint");
    p.b.handle(at(11_000), Input::Timeout, &mut p.from_b);
    assert!(p.b.peer(p.id).unwrap().pending.is_empty(), "and expires");
    assert_eq!(p.b.indices.live(), 0);
}

#[test]
fn retries_follow_the_schedule_and_are_given_up() {
    let mut p = Pair::new(Settings::default(), Settings::default());
    p.a.handle(at(0), Input::Wanted(p.id), &mut p.from_a);
    let mut times = vec![0];
    let mut lengths = vec![p.from_a.sent[0].1.len()];
    p.from_a.sent.clear();
    while let Some((when, _)) = p.a.next_timeout() {
        let now = at((when.as_nanos() - 1_000_000_000).div_ceil(1_000_000));
        p.a.handle(now, Input::Timeout, &mut p.from_a);
        for (_, datagram) in p.from_a.sent.drain(..) {
            times.push((now.instant.as_nanos() - 1_000_000_000) / 1_000_000);
            lengths.push(datagram.len());
        }
    }
    let pauses: Vec<u64> = times.windows(2).map(|w| w[1] - w[0]).collect();
    assert!((1_000..=1_335).contains(&pauses[0]), "{pauses:?}");
    assert!((2_000..=2_335).contains(&pauses[1]), "{pauses:?}");
    assert!(pauses[2..].iter().all(|p| (5_000..=5_335).contains(p)), "{pauses:?}");
    assert!((17..=19).contains(&pauses.len()) && *times.last().unwrap() < 90_000, "{times:?}");
    // hybrid, hybrid, then classic and hybrid in turn
    let hybrid: Vec<bool> = lengths.iter().map(|l| *l > 1_000).collect();
    assert_eq!(hybrid[..6], [true, true, false, true, false, true]);
    assert_eq!(p.states(at(100_000)).0, PeerState::Down);
    assert_eq!(p.error(), Some(PeerError::NoAnswer));
    assert!(p.from_a.events.contains(&Event::GaveUp { peer: p.id }));
    assert_eq!(p.a.indices.live(), 0);
    p.a.handle(at(100_000), Input::Wanted(p.id), &mut p.from_a);
    assert_eq!(p.states(at(100_000)).0, PeerState::Handshaking);
}

#[test]
fn a_close_ends_the_sessions_of_both_sides() {
    let mut p = Pair::new(Settings::default(), Settings::default());
    p.connect(at(0));
    p.b.handle(at(100), Input::Shutdown, &mut p.from_b);
    p.settle(at(100));
    assert_eq!(p.states(at(100)), (PeerState::Closed, PeerState::Idle));
    let reason = CloseReason::SHUTDOWN;
    assert!(p.from_a.events.contains(&Event::PeerClosed { peer: p.id, reason }));
    assert_eq!((p.a.indices.live(), p.b.indices.live()), (0, 0));
    p.connect(at(2_000));
    assert_eq!(p.states(at(2_000)), (PeerState::Up, PeerState::Up));
}

#[test]
fn statuses_say_why() {
    let cases: [(Settings, PeerError); 3] = [
        (
            Settings { hashes: vec![crate::crypto::HashAlg::Sha512], ..Settings::default() },
            PeerError::NoCommonHash,
        ),
        (
            Settings { ciphers: vec![crate::crypto::Cipher::Aes256Gcm], ..Settings::default() },
            PeerError::NoCommonCipher,
        ),
        (
            Settings { post_quantum: PostQuantum::Require, ..Settings::default() },
            PeerError::PostQuantumRequired,
        ),
    ];
    for (settings, error) in cases {
        let a = Settings {
            hashes: vec![crate::crypto::HashAlg::Sha256],
            ciphers: vec![crate::crypto::Cipher::ChaCha20Poly1305],
            post_quantum: PostQuantum::Off,
            ..Settings::default()
        };
        let b = Settings { ciphers: settings.ciphers.clone(), ..settings };
        let mut p = Pair::new(a, b);
        p.connect(at(0));
        assert_eq!(p.error(), Some(error));
        assert_eq!(p.states(at(0)).0, PeerState::Handshaking, "the schedule goes on");
    }
    let mut p = Pair::new(Settings::default(), Settings::default());
    let id = p.b.peer_by_key(p.a.public_key()).unwrap();
    p.b.apply(at(0), [Change::Remove(id)], &mut p.from_b);
    p.a.handle(at(0), Input::Wanted(p.id), &mut p.from_a);
    deliver(&mut p.from_a, 1, &mut p.b, at(0), &mut p.from_b);
    deliver(&mut p.from_b, 2, &mut p.a, at(0), &mut p.from_a);
    assert_eq!(p.error(), Some(PeerError::UnknownPeer));
}

#[test]
fn a_wrong_preshared_key_is_named() {
    let mut p = Pair::new(Settings::default(), Settings::default());
    let mut config = peer_config(*identity(2).public(), Some(address(2)));
    config.preshared_key = PresharedKey::from_bytes([9; 32]);
    p.a.apply(at(0), [Change::Update(p.id, Box::new(config))], &mut p.from_a)[0].unwrap();
    p.connect(at(0));
    assert_eq!(p.error(), Some(PeerError::KeyMismatch));
    assert_eq!(p.states(at(0)), (PeerState::Handshaking, PeerState::Idle));
}

#[test]
fn a_requirement_is_met_by_a_retry_at_once() {
    let b = Settings { post_quantum: PostQuantum::Require, ..Settings::default() };
    let mut p = Pair::new(Settings::default(), b);
    // two hybrid REQUESTs are lost, the third is classic
    p.a.handle(at(0), Input::Wanted(p.id), &mut p.from_a);
    p.a.handle(at(1_400), Input::Timeout, &mut p.from_a);
    p.from_a.sent.clear();
    p.a.handle(at(4_000), Input::Timeout, &mut p.from_a);
    assert!(p.from_a.sent[0].1.len() < 300);
    p.settle(at(4_000));
    assert_eq!(p.states(at(4_000)), (PeerState::Up, PeerState::Up));
}

#[test]
fn a_clock_that_went_back_costs_a_round_trip() {
    let mut p = Pair::new(Settings::default(), Settings::default());
    p.connect(at(0));
    let back = |ms| Now {
        instant: at(ms).instant,
        wall: crate::time::WallTime::from_nanos(1_000_000_000_000_000_000 + ms * 1_000_000),
    };
    // the initiator restarts ten years earlier
    let mut a = Engine::new(identity(1), None, Settings::default(), entropy(99), back(0));
    let config = peer_config(*identity(2).public(), Some(address(2)));
    let id = add(&mut a, config, back(0), &mut p.from_a);
    p.a = a;
    assert_eq!(id, p.id);
    p.from_a.events.clear();
    p.connect(back(20_000));
    assert_eq!(p.states(at(20_000)), (PeerState::Up, PeerState::Up));
    assert_eq!(p.b.shared().drops.of(crate::drop::DropReason::StaleTimestamp), 1);
}

#[test]
fn under_load_a_cookie_is_asked_for() {
    let mut p = Pair::new(Settings::default(), Settings::default());
    p.b.handle(at(0), Input::QueueDepth(100), &mut p.from_b);
    p.a.handle(at(10), Input::Wanted(p.id), &mut p.from_a);
    deliver(&mut p.from_a, 1, &mut p.b, at(10), &mut p.from_b);
    assert_eq!(p.from_b.sent[0].1[0], crate::wire::KIND_RETRY);
    p.settle(at(10));
    assert_eq!(p.states(at(10)), (PeerState::Up, PeerState::Up));
}

#[test]
fn crossed_handshakes_agree_on_the_session_that_sends() {
    for flip in [false, true] {
        let mut p = Pair::new(Settings::default(), Settings::default());
        let id = p.id;
        p.b.handle(at(0), Input::Endpoint { peer: id, remote: address(1) }, &mut p.from_b);
        let (first, second) = if flip { (at(0), at(3)) } else { (at(3), at(0)) };
        p.a.handle(first, Input::Wanted(id), &mut p.from_a);
        p.b.handle(second, Input::Wanted(id), &mut p.from_b);
        // both REQUESTs are under way before either arrives
        let mut a_sent = Outbox { sent: core::mem::take(&mut p.from_a.sent), ..Outbox::default() };
        deliver(&mut p.from_b, 2, &mut p.a, at(10), &mut p.from_a);
        deliver(&mut a_sent, 1, &mut p.b, at(10), &mut p.from_b);
        p.settle(at(20));
        let current = |e: &Engine| {
            let peer = e.peer(id).unwrap();
            assert!(peer.previous.is_some(), "both completed");
            peer.current.as_ref().unwrap().requester
        };
        assert_eq!(current(&p.a), current(&p.b), "flip {flip}");
    }
}

#[test]
fn keepalive_answers_payload_after_ten_quiet_seconds() {
    let mut p = Pair::new(Settings::default(), Settings::default());
    p.connect(at(0));
    let cell = std::sync::Arc::clone(p.b.cell(p.id).unwrap());
    cell.stamp_rx(at(1_000).instant, true);
    p.b.handle(at(1_000), Input::Timeout, &mut p.from_b);
    let mut now = at(1_000);
    while p.from_b.sent.is_empty() {
        let (when, _) = p.b.next_timeout().unwrap();
        now = at((when.as_nanos() - 1_000_000_000) / 1_000_000);
        p.b.handle(now, Input::Timeout, &mut p.from_b);
    }
    assert_eq!(now.instant, at(11_000).instant);
    assert_eq!(p.from_b.sent[0].1.len(), crate::session::OVERHEAD, "an empty frame");
}

#[test]
fn silence_starts_a_handshake_from_either_side() {
    let mut p = Pair::new(Settings::default(), Settings::default());
    p.connect(at(0));
    for initiator in [true, false] {
        let (engine, out) =
            if initiator { (&mut p.a, &mut p.from_a) } else { (&mut p.b, &mut p.from_b) };
        engine.cell(p.id).unwrap().stamp_tx(at(1_000).instant, true);
        while out.sent.is_empty() {
            let (when, _) = engine.next_timeout().unwrap();
            let now = Now { instant: when, wall: at(0).wall };
            engine.handle(now, Input::Timeout, out);
            if !out.sent.is_empty() {
                assert_eq!(when, at(16_000).instant);
                assert!(out.sent[0].1.starts_with(b"StadiumP"));
            }
        }
        out.sent.clear();
    }
}

#[test]
fn sessions_expire_and_leave_nothing() {
    let mut p = Pair::new(Settings::default(), Settings::default());
    p.connect(at(0));
    for (engine, out) in [(&mut p.a, &mut p.from_a), (&mut p.b, &mut p.from_b)] {
        while let Some((when, why)) = engine.next_timeout() {
            engine.handle(Now { instant: when, wall: at(0).wall }, Input::Timeout, out);
            if why == Why::SessionExpires {
                assert_eq!(when, at(180_000).instant);
            }
        }
        assert_eq!(engine.indices.live(), 0);
        assert!(engine.owners.is_empty());
        assert!(out.sent.is_empty(), "an idle session is not renewed");
        assert!(out.events.contains(&Event::SessionsEnded { peer: p.id }));
        assert_eq!(engine.peer_status(p.id, at(600_000).instant).unwrap().state, PeerState::Idle);
    }
}

#[test]
fn the_initiator_rekeys_what_carried_payload() {
    let mut p = Pair::new(Settings::default(), Settings::default());
    p.connect(at(0));
    p.a.cell(p.id).unwrap().tx_session().as_ref().unwrap().note_payload();
    p.b.peer(p.id).unwrap().current.as_ref().unwrap().rx.note_payload();
    while p.from_a.sent.is_empty() {
        let (when, _) = p.a.next_timeout().unwrap();
        p.a.handle(Now { instant: when, wall: at(0).wall }, Input::Timeout, &mut p.from_a);
        if !p.from_a.sent.is_empty() {
            assert!(when >= at(120_000).instant && when <= at(121_000).instant);
        }
    }
    p.settle(at(120_500));
    assert_eq!(p.a.peer_status(p.id, at(121_000).instant).unwrap().session.unwrap().id, 2);
    assert_eq!(p.b.peer_status(p.id, at(121_000).instant).unwrap().session.unwrap().id, 2);
}

#[test]
fn an_own_key_or_a_second_one_is_refused() {
    let mut p = Pair::new(Settings::default(), Settings::default());
    let own = Change::Add(Box::new(peer_config(*identity(1).public(), None)));
    let twice = Change::Add(Box::new(peer_config(*identity(2).public(), None)));
    let results = p.a.apply(at(0), [own, twice], &mut p.from_a);
    assert_eq!(results, [Err(PeerRefused::OwnKey), Err(PeerRefused::Duplicate)]);
}

#[test]
fn roaming_is_checked_before_it_is_followed() {
    let mut p = Pair::new(Settings::default(), Settings::default());
    p.connect(at(0));
    let id = p.id;
    // the initiator speaks from another address
    p.a.handle(at(2_000), Input::Ping { peer: id, token: 5 }, &mut p.from_a);
    let sent: Vec<_> = p.from_a.sent.clone();
    deliver(&mut p.from_a, 7, &mut p.b, at(2_000), &mut p.from_b);
    assert_eq!(p.b.cell(id).unwrap().endpoint().unwrap().remote, address(1), "not yet");
    assert!(p.from_b.sent.iter().all(|(to, _)| to.remote == address(7)), "pong and path check");
    deliver(&mut p.from_b, 2, &mut p.a, at(2_000), &mut p.from_a);
    deliver(&mut p.from_a, 7, &mut p.b, at(2_000), &mut p.from_b);
    assert_eq!(p.b.cell(id).unwrap().endpoint().unwrap().remote, address(7));
    assert!(p.from_a.events.iter().any(|e| matches!(e, Event::Pong { token: 5, .. })));
    // a replayed frame from elsewhere moves nothing
    let mut replayed = Outbox { sent, ..Outbox::default() };
    deliver(&mut replayed, 8, &mut p.b, at(3_000), &mut p.from_b);
    assert!(p.from_b.sent.is_empty());
    assert_eq!(p.b.cell(id).unwrap().endpoint().unwrap().remote, address(7));
}

#[test]
fn at_most_eight_datagrams_go_to_a_candidate() {
    let mut p = Pair::new(Settings::default(), Settings::default());
    p.connect(at(0));
    let id = p.id;
    let mut to_candidate = 0;
    for n in 0..30 {
        let now = at(2_000 + n * 100);
        p.a.handle(now, Input::Ping { peer: id, token: n }, &mut p.from_a);
        deliver(&mut p.from_a, 7, &mut p.b, now, &mut p.from_b);
        p.b.handle(now, Input::Timeout, &mut p.from_b);
        to_candidate += p.from_b.sent.drain(..).filter(|(to, _)| to.remote == address(7)).count();
    }
    assert_eq!(to_candidate, 8);
    assert_eq!(p.b.cell(id).unwrap().endpoint().unwrap().remote, address(1));
}

#[test]
fn a_change_beside_the_handshake_keeps_session_and_learned_endpoint() {
    let mut p = Pair::new(Settings::default(), Settings::default());
    p.connect(at(0));
    let id = p.id;
    let remote = p.b.cell(id).unwrap().endpoint().unwrap().remote;
    assert_eq!(remote, address(1), "learned, not configured");
    let mut config = peer_config(*identity(1).public(), None);
    config.heartbeat = Some(core::time::Duration::from_secs(25));
    config.allowed_ips.push("192.168.5.0/24".parse().unwrap());
    let update = |config: &crate::engine::PeerConfig| Change::Update(id, Box::new(config.clone()));
    p.b.apply(at(1_000), [update(&config)], &mut p.from_b)[0].unwrap();
    assert!(p.from_b.sent.is_empty(), "no handshake");
    assert_eq!(p.b.peer_status(id, at(1_000).instant).unwrap().session.unwrap().id, 1);
    assert_eq!(p.b.cell(id).unwrap().endpoint().unwrap().remote, remote);
    // another change does not put the heartbeat off
    config.allowed_ips.pop();
    p.b.apply(at(20_000), [update(&config)], &mut p.from_b)[0].unwrap();
    p.b.handle(at(26_000), Input::Timeout, &mut p.from_b);
    assert_eq!(p.from_b.sent.len(), 1, "the heartbeat");
    // what the handshake agrees on takes a new one
    config.preshared_key = PresharedKey::from_bytes([9; 32]);
    p.b.apply(at(27_000), [update(&config)], &mut p.from_b)[0].unwrap();
    assert!(p.from_b.sent.iter().any(|(_, datagram)| datagram.starts_with(b"StadiumP")));
}
