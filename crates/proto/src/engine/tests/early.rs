//! Early data: tickets, what goes along with a REQUEST, and what a replay is worth.

use super::{Outbox, add, address, at, deliver, engine, peer_config};
use crate::{
    crypto::{Cipher, HashAlg, Secret},
    drop::DropReason,
    early::{EarlyTx, FRAMES},
    engine::{Change, Engine, Event, Input, Settings},
    handshake::EarlySecret,
    noise::NoiseByte,
    peer::{PeerCell, PeerId},
    session::{DATA, DataHeader, HEADER, OVERHEAD, RxSession},
    time::Instant,
};
use serde_json::Value;
use std::sync::Arc;

/// After half an hour without a word.
const LATER: u64 = 1_800_000;

struct Pair {
    a: Engine,
    b: Engine,
    out: Outbox,
    back: Outbox,
    id: PeerId,
}

fn enabled() -> Settings {
    Settings { early_data: true, ..Settings::default() }
}

impl Pair {
    fn new(settings_a: Settings, settings_b: Settings) -> Self {
        let (mut a, mut b) = (engine(1, settings_a, None), engine(2, settings_b, None));
        let (mut out, mut back) = (Outbox::default(), Outbox::default());
        let id = add(&mut a, peer_config(*b.public_key(), Some(address(2))), at(0), &mut out);
        add(&mut b, peer_config(*a.public_key(), None), at(0), &mut back);
        Self { a, b, out, back, id }
    }

    /// A pair whose first session is over, so that the ticket is what is left of it.
    fn idle() -> Self {
        let mut pair = Self::new(enabled(), enabled());
        pair.connect(0);
        for ms in (1_000..LATER).step_by(1_000) {
            for (engine, out) in [(&mut pair.a, &mut pair.out), (&mut pair.b, &mut pair.back)] {
                if engine.next_timeout().is_some_and(|(when, _)| when <= at(ms).instant) {
                    engine.handle(at(ms), Input::Timeout, out);
                }
            }
            pair.settle(ms);
        }
        assert!(pair.a.peer(pair.id).unwrap().current.is_none());
        pair.out.events.clear();
        pair.back.events.clear();
        pair
    }

    fn settle(&mut self, ms: u64) {
        while !self.out.sent.is_empty() || !self.back.sent.is_empty() {
            deliver(&mut self.out, 1, &mut self.b, at(ms), &mut self.back);
            deliver(&mut self.back, 2, &mut self.a, at(ms), &mut self.out);
        }
    }

    fn connect(&mut self, ms: u64) {
        self.a.handle(at(ms), Input::Wanted(self.id), &mut self.out);
        self.settle(ms);
    }

    /// Starts a handshake and returns the REQUEST, with `frames` early ones.
    fn request(&mut self, ms: u64, frames: u64) -> (Vec<u8>, Vec<Vec<u8>>) {
        self.a.handle(at(ms), Input::Wanted(self.id), &mut self.out);
        let (_, request) = self.out.sent.pop().unwrap();
        assert!(self.out.sent.is_empty());
        let early = self.a.early_tx(self.id).map_or(Vec::new(), |tx| {
            (0..frames)
                .map(|n| {
                    let mut datagram = packet(n as u8);
                    tx.seal_next(at(ms).instant, &mut datagram).unwrap();
                    datagram
                })
                .collect()
        });
        (request, early)
    }

    fn arrive(&mut self, ms: u64, request: &[u8]) {
        let input = Input::Handshake { remote: address(1), local: None, datagram: request };
        self.b.handle(at(ms), input, &mut self.back);
    }
}

/// An IPv4 packet with room for header and tag around it.
fn packet(n: u8) -> Vec<u8> {
    let mut datagram = vec![0; OVERHEAD + 21];
    datagram[HEADER..HEADER + 4].copy_from_slice(&[0x45, 0, 0, 21]);
    datagram[HEADER + 12..HEADER + 16].copy_from_slice(&[10, 7, 0, 1]);
    datagram[HEADER + 20] = n;
    datagram
}

/// Opens a datagram as a worker does; returns the last byte of the packet.
fn open(engine: &Engine, datagram: &[u8]) -> Result<u8, DropReason> {
    let mut datagram = datagram.to_vec();
    let header = DataHeader::parse(&datagram)?;
    let session = engine.shared().session(header.index).ok_or(DropReason::UnknownIndex)?;
    let mut window = session.window(header.lane()).ok_or(DropReason::Malformed)?;
    let opened = session.open(&header, &mut window, &mut datagram)?;
    assert!(session.is_confirmed() && !session.is_current(), "it confirms and moves nothing");
    assert!(session.takes_packets());
    Ok(datagram[opened.plaintext.end - 1])
}

#[test]
fn the_first_packet_after_half_an_hour_leaves_with_the_request() {
    let mut p = Pair::idle();
    let (request, early) = p.request(LATER, FRAMES);
    assert!(p.out.events.contains(&Event::CanSendEarly { peer: p.id }));
    let tx = p.a.early_tx(p.id).unwrap();
    let full = tx.seal_next(at(LATER).instant, &mut packet(0));
    assert_eq!(full, Err(DropReason::QueueFull));

    let unknown = Err(DropReason::UnknownIndex);
    assert_eq!(open(&p.b, &early[0]), unknown, "before its REQUEST nobody knows the key");
    p.arrive(LATER + 20, &request);
    let peer = p.b.peer_by_key(p.a.public_key()).unwrap();
    let id = 2;
    assert!(p.back.events.contains(&Event::EarlyAccepted { peer, id }));
    for (n, datagram) in early.iter().enumerate() {
        assert_eq!(open(&p.b, datagram), Ok(n as u8));
        assert_eq!(open(&p.b, datagram), Err(DropReason::Replay));
    }
    let up = |events: &[Event]| events.iter().any(|e| matches!(e, Event::SessionUp { .. }));
    assert!(!up(&p.back.events), "early frames confirm nothing");
    p.settle(LATER + 40);
    assert!(up(&p.back.events));
    let position = |wanted: &Event| p.out.events.iter().position(|e| e == wanted).unwrap();
    let told = position(&Event::EarlyData { peer: p.id, accepted: true });
    assert!(told < position(&Event::CanSend { peer: p.id }), "before new data goes");
    assert!(p.a.early_tx(p.id).is_none());

    // the key goes after 10 s, and what was reserved for it
    p.b.handle(at(LATER + 10_100), Input::Timeout, &mut p.back);
    assert_eq!(open(&p.b, &early[0]), unknown);
    assert_eq!(p.b.tickets.tickets.len(), 1, "the new session has issued its own");
    assert_eq!(p.b.indices.live(), 2);
}

#[test]
fn what_came_early_is_answered_in_the_session_that_comes_with_it() {
    let started = |events: &[Event]| {
        events.iter().filter(|event| matches!(event, Event::HandshakeStarted { .. })).count()
    };
    let mut p = Pair::idle();
    let peer = p.b.peer_by_key(p.a.public_key()).unwrap();
    let (request, early) = p.request(LATER, 1);
    assert!(p.b.shared().expects_early(DataHeader::parse(&early[0]).unwrap().index));
    p.arrive(LATER, &request);
    assert_eq!(open(&p.b, &early[0]), Ok(0));
    p.b.handle(at(LATER), Input::Wanted(peer), &mut p.back);
    assert_eq!(started(&p.back.events), 0, "a handshake is under way as it is");
    p.settle(LATER + 100);
    assert!(p.back.events.iter().any(|event| matches!(event, Event::SessionUp { .. })));
    p.b.handle(at(LATER + 5_000), Input::Timeout, &mut p.back);
    p.settle(LATER + 5_000);
    assert_eq!(started(&p.back.events), 0);

    // whoever asked is gone: after a second this node asks by itself
    let mut p = Pair::idle();
    let (request, _) = p.request(LATER, 1);
    p.arrive(LATER, &request);
    p.b.handle(at(LATER), Input::Wanted(peer), &mut p.back);
    p.b.handle(at(LATER + 999), Input::Timeout, &mut p.back);
    assert_eq!(started(&p.back.events), 0);
    assert!(p.b.next_timeout().unwrap().0 <= at(LATER + 1_000).instant);
    p.b.handle(at(LATER + 1_001), Input::Timeout, &mut p.back);
    assert_eq!(started(&p.back.events), 1);
}

#[test]
fn whoever_sent_early_data_always_hears_what_became_of_it() {
    let refused = |p: &Pair| {
        let told = Event::EarlyData { peer: p.id, accepted: false };
        p.out.events.iter().filter(|event| **event == told).count()
    };
    // given up
    let mut p = Pair::idle();
    let _ = p.request(LATER, 1);
    for ms in (0..100_000).step_by(500) {
        p.a.handle(at(LATER + ms), Input::Timeout, &mut p.out);
        p.out.sent.clear();
    }
    assert!(p.out.events.contains(&Event::GaveUp { peer: p.id }));
    assert_eq!(refused(&p), 1);

    // closed
    let mut p = Pair::idle();
    let _ = p.request(LATER, 1);
    let reason = crate::frame::CloseReason::FINISHED;
    p.a.handle(at(LATER), Input::Close { peer: p.id, reason }, &mut p.out);
    assert_eq!(refused(&p), 1);

    // the other side's handshake was faster, and this one's answer is lost
    let mut p = Pair::idle();
    let _ = p.request(LATER, 1);
    let peer = p.b.peer_by_key(p.a.public_key()).unwrap();
    p.b.handle(at(LATER), Input::Wanted(peer), &mut p.back);
    p.settle(LATER);
    assert_eq!(refused(&p), 0, "its answer may come yet");
    for ms in (0..12_000).step_by(500) {
        p.a.handle(at(LATER + ms), Input::Timeout, &mut p.out);
    }
    assert_eq!(refused(&p), 1);
}

#[test]
fn with_noise_nothing_goes_early() {
    let mut p = Pair::idle();
    p.a.peer_mut(p.id).unwrap().noise_wanted = NoiseByte::try_from(0x82).unwrap();
    let (_, early) = p.request(LATER, 1);
    assert!(early.is_empty());
    assert!(!p.out.events.contains(&Event::CanSendEarly { peer: p.id }));
}

#[test]
fn a_restarted_responder_refuses_and_the_initiator_hears_of_it() {
    let mut p = Pair::idle();
    p.b = engine(2, enabled(), None);
    add(&mut p.b, peer_config(*p.a.public_key(), None), at(0), &mut p.back);
    let (request, early) = p.request(LATER, 3);
    p.arrive(LATER + 20, &request);
    for datagram in &early {
        assert_eq!(open(&p.b, datagram), Err(DropReason::UnknownIndex));
    }
    p.settle(LATER + 40);
    assert!(p.out.events.contains(&Event::EarlyData { peer: p.id, accepted: false }));
    assert_eq!(p.a.peer_status(p.id, at(LATER + 40).instant).unwrap().handshakes, 2);
}

#[test]
fn a_replay_opens_nothing() {
    let mut p = Pair::idle();
    let (request, early) = p.request(LATER, 2);
    p.arrive(LATER, &request);
    assert_eq!(open(&p.b, &early[0]), Ok(0));
    p.settle(LATER);
    p.back.events.clear();
    // at once, within the life of the key, and when everything that remembers it is gone
    for after in [1, 5_000, 130_000, 400_000] {
        p.b.handle(at(LATER + after), Input::Timeout, &mut p.back);
        p.back.sent.clear();
        p.arrive(LATER + after, &request);
        let consent = |sent: &[(_, Vec<u8>)]| sent.iter().any(|(_, d)| d[0] == 1);
        assert!(!consent(&p.back.sent), "after {after} ms");
        assert!(!p.back.events.iter().any(|e| matches!(e, Event::EarlyAccepted { .. })));
        let expected = if after < 10_000 { DropReason::Replay } else { DropReason::UnknownIndex };
        assert_eq!(open(&p.b, &early[0]), Err(expected), "after {after} ms");
    }
    // a restarted node takes the REQUEST for a new one, but knows no ticket
    let mut restarted = engine(2, enabled(), None);
    add(&mut restarted, peer_config(*p.a.public_key(), None), at(0), &mut p.back);
    p.b = restarted;
    p.arrive(LATER + 500_000, &request);
    assert!(!p.back.events.iter().any(|e| matches!(e, Event::EarlyAccepted { .. })));
    for datagram in &early {
        assert_eq!(open(&p.b, datagram), Err(DropReason::UnknownIndex));
    }
}

#[test]
fn a_ticket_is_bound_to_its_node_and_taken_once() {
    let mut p = Pair::idle();
    let ticket = p.a.take_ticket(p.id).unwrap();
    assert!(p.a.take_ticket(p.id).is_none(), "one for each session");
    let mut thief = engine(3, enabled(), None);
    let mut out = Outbox::default();
    let server = peer_config(*p.b.public_key(), Some(address(2)));
    let id = add(&mut thief, server, at(LATER), &mut out);
    add(&mut p.b, peer_config(*thief.public_key(), None), at(LATER), &mut p.back);
    thief.put_ticket(at(LATER), id, ticket.clone());
    thief.handle(at(LATER), Input::Wanted(id), &mut out);
    deliver(&mut out, 3, &mut p.b, at(LATER), &mut p.back);
    assert!(!p.back.events.iter().any(|e| matches!(e, Event::EarlyAccepted { .. })));
    p.back.sent.clear();

    // the thief has not used it up, but its node has, once
    p.a.put_ticket(at(LATER), p.id, ticket.clone());
    let (request, _) = p.request(LATER, 0);
    p.arrive(LATER, &request);
    assert!(p.back.events.iter().any(|e| matches!(e, Event::EarlyAccepted { .. })));
    p.settle(LATER);
    p.back.events.clear();
    p.a.handle(
        at(LATER + 60_000),
        Input::Close { peer: p.id, reason: crate::frame::CloseReason::FINISHED },
        &mut p.out,
    );
    p.settle(LATER + 60_000);
    while p.a.take_ticket(p.id).is_some() {}
    p.a.put_ticket(at(LATER + 60_000), p.id, ticket);
    p.connect(LATER + 60_000);
    assert!(!p.back.events.iter().any(|e| matches!(e, Event::EarlyAccepted { .. })));
    assert!(p.out.events.contains(&Event::EarlyData { peer: p.id, accepted: false }));
}

#[test]
fn a_challenge_goes_without_the_ticket() {
    let mut p = Pair::idle();
    // a clock that went back: the responder answers with a challenge
    let b_sees_a = p.b.peer_by_key(p.a.public_key()).unwrap();
    p.b.peer_mut(b_sees_a).unwrap().largest_timestamp = Some(!0xff_ffff);
    let (request, early) = p.request(LATER, 1);
    p.arrive(LATER, &request);
    assert_eq!(open(&p.b, &early[0]), Err(DropReason::UnknownIndex));
    p.out.events.clear();
    p.settle(LATER);
    assert!(!p.out.events.contains(&Event::CanSendEarly { peer: p.id }));
    assert!(p.out.events.contains(&Event::EarlyData { peer: p.id, accepted: false }));
}

#[test]
fn each_request_has_a_key_of_its_own() {
    let mut p = Pair::idle();
    let (lost, early) = p.request(LATER, 1);
    drop(lost);
    p.out.events.clear();
    p.a.handle(at(LATER + 1_400), Input::Timeout, &mut p.out);
    assert!(p.out.events.contains(&Event::CanSendEarly { peer: p.id }));
    let mut again = packet(0);
    p.a.early_tx(p.id).unwrap().seal_next(at(LATER + 1_400).instant, &mut again).unwrap();
    assert_ne!(early[0], again);
    let (_, request) = p.out.sent.pop().unwrap();
    p.arrive(LATER + 1_400, &request);
    assert_eq!(open(&p.b, &early[0]), Err(DropReason::BadTag));
    assert_eq!(open(&p.b, &again), Ok(0));
}

#[test]
fn tickets_are_issued_only_where_both_want_them() {
    for (a, b) in [(true, false), (false, true), (false, false)] {
        let settings = |early_data| Settings { early_data, ..Settings::default() };
        let mut p = Pair::new(settings(a), settings(b));
        p.connect(0);
        assert!(!p.out.events.iter().any(|e| matches!(e, Event::TicketIssued { .. })));
        assert!(p.a.take_ticket(p.id).is_none());
        assert!(p.b.tickets.tickets.is_empty());
    }
}

#[test]
fn tickets_are_bounded_in_number_and_time() {
    let mut p = Pair::new(enabled(), enabled());
    for n in 0..10 {
        let ms = n * 30_000;
        p.a.start_handshake(at(ms), p.id, &mut p.out);
        p.settle(ms);
    }
    let issued = p.out.events.iter().filter(|e| matches!(e, Event::TicketIssued { .. })).count();
    assert_eq!(issued, 10);
    assert_eq!(p.b.tickets.tickets.len(), 4);
    assert_eq!(p.b.tickets.by_owner.len(), 1);
    assert_eq!(p.a.peer(p.id).unwrap().early.kept.len(), 4);
    let close = Input::Close { peer: p.id, reason: crate::frame::CloseReason::FINISHED };
    p.a.handle(at(280_000), close, &mut p.out);
    p.settle(280_000);
    let hour = 3_600_000 + 280_000;
    for (engine, out) in [(&mut p.a, &mut p.out), (&mut p.b, &mut p.back)] {
        let mut rounds = 0;
        while let Some((when, _)) = engine.next_timeout() {
            let ms = (when.as_nanos() - 1_000_000_000).div_ceil(1_000_000);
            assert!(ms <= hour, "{ms}");
            engine.handle(at(ms), Input::Timeout, out);
            rounds += 1;
            assert!(rounds < 1_000);
        }
    }
    assert!(p.b.tickets.tickets.is_empty() && p.b.tickets.by_owner.is_empty());
    assert_eq!((p.a.indices.live(), p.b.indices.live()), (0, 0));
    assert!(p.a.take_ticket(p.id).is_none());
    // a peer that is removed leaves nothing behind
    let change = Change::Remove(p.id);
    p.a.apply(at(hour), [change], &mut p.out)[0].unwrap();
    assert_eq!(p.a.next_timeout(), None);
}

#[test]
fn early_datagrams_are_those_of_the_vectors() {
    let hex = |value: &Value| hex::decode(value.as_str().unwrap()).unwrap();
    let array = |value: &Value| -> [u8; 32] { hex(value).try_into().unwrap() };
    for name in ["early-data", "early-data-aes"] {
        let path = format!("{}/tests/vectors/transcript-{name}.json", env!("CARGO_MANIFEST_DIR"));
        let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let second = &file["handshakes"][1];
        let (early, h) = (&second["early"], array(&second["h_after_C1"]));
        let code = |value: &Value| value.as_u64().unwrap();
        let secret = EarlySecret::new(
            Secret::new(array(&file["ticket"]["early"])),
            HashAlg::from_code(code(&early["hash"])).unwrap(),
            Cipher::from_code(code(&early["symmetric"])).unwrap(),
            1_420,
        );
        let ticket = u32::try_from(code(&file["ticket"]["ticket"])).unwrap();
        let now = Instant::from_nanos(1);
        let tx = EarlyTx::new(ticket, &secret, &h, now);
        let cell = Arc::new(PeerCell::new(PeerId(0), None, None));
        let key = secret.open_key(&h);
        let until = Instant::from_nanos(2);
        let rx = RxSession::early(ticket, key, 1_420, FRAMES, cell, until);
        let frames = early["frames"].as_array().unwrap();
        assert!(!frames.is_empty());
        for frame in frames {
            let plaintext = hex(&frame["plaintext"]);
            let mut datagram = vec![0; plaintext.len() + OVERHEAD];
            datagram[HEADER..HEADER + plaintext.len()].copy_from_slice(&plaintext);
            tx.seal_next(now, &mut datagram).unwrap();
            assert_eq!(datagram, hex(&frame["datagram"]), "{name}");
            assert_eq!(datagram[0], DATA);
            let header = DataHeader::parse(&datagram).unwrap();
            let mut window = rx.window(0).unwrap();
            let opened = rx.open(&header, &mut window, &mut datagram).unwrap();
            assert_eq!(datagram[opened.plaintext], plaintext);
        }
        // the seventeenth is dropped, whoever sealed it
        let mut beyond = vec![0; OVERHEAD];
        let header =
            DataHeader { counter: crate::wire::Counter::new(0, FRAMES), flags: 0, index: 1 };
        beyond[..HEADER].copy_from_slice(&header.to_bytes());
        let opened = rx.open(&header, &mut rx.window(0).unwrap(), &mut beyond);
        assert_eq!(opened, Err(DropReason::Replay));
    }
}
