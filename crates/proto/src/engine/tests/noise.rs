//! A noisy connection from its first datagram on: negotiation, lengths, lanes.

use super::{Outbox, add, address, at, deliver, engine, peer_config};
use crate::{
    engine::{Engine, Event, Input, Now, Settings},
    noise::{NoiseByte, NoiseFiller, NoisePolicy, NoiseRatio, NoiseSize},
    peer::PeerId,
    session::{DATA, DataHeader},
};

struct Pair {
    a: Engine,
    b: Engine,
    a_sees_b: PeerId,
    b_sees_a: PeerId,
    out: Outbox,
    back: Outbox,
    /// Everything that went over the wire: the length and, of DATA, the lane.
    wire: Vec<(usize, Option<u8>)>,
}

fn pair(wanted: NoiseByte, own: NoisePolicy, granted: NoisePolicy) -> Pair {
    let settings = || Settings { lanes: 3, ..Settings::default() };
    let (mut a, mut b) = (engine(1, settings(), None), engine(2, settings(), None));
    let (mut out, mut back) = (Outbox::default(), Outbox::default());
    let mut config = peer_config(*b.public_key(), Some(address(2)));
    (config.noise, config.noise_policy) = (wanted, own);
    let a_sees_b = add(&mut a, config, at(0), &mut out);
    let mut config = peer_config(*a.public_key(), Some(address(1)));
    config.noise_policy = granted;
    let b_sees_a = add(&mut b, config, at(0), &mut back);
    Pair { a, b, a_sees_b, b_sees_a, out, back, wire: Vec::new() }
}

impl Pair {
    fn connect(&mut self, now: Now) {
        self.a.handle(now, Input::Connect(self.a_sees_b), &mut self.out);
        for _ in 0..6 {
            self.exchange(now);
        }
    }

    fn exchange(&mut self, now: Now) {
        note(&self.out, &mut self.wire);
        deliver(&mut self.out, 1, &mut self.b, now, &mut self.back);
        note(&self.back, &mut self.wire);
        deliver(&mut self.back, 2, &mut self.a, now, &mut self.out);
    }
}

fn note(from: &Outbox, wire: &mut Vec<(usize, Option<u8>)>) {
    for (_, datagram) in &from.sent {
        let lane = (datagram[0] == DATA).then(|| DataHeader::parse(datagram).unwrap().lane());
        wire.push((datagram.len(), lane));
    }
}

fn byte(ratio: NoiseRatio, filler: NoiseFiller) -> NoiseByte {
    NoiseByte::new(ratio, NoiseSize::Any, filler)
}

#[test]
fn a_noisy_handshake_and_its_control_frames_have_the_length_of_data() {
    let wanted = byte(NoiseRatio::OneToOne, NoiseFiller::Full);
    let mut pair = pair(wanted, NoisePolicy::ANY, NoisePolicy::ANY);
    pair.connect(at(1));
    pair.a.handle(at(2), Input::Ping { peer: pair.a_sees_b, token: 1 }, &mut pair.out);
    pair.exchange(at(2));
    pair.exchange(at(2));
    assert!(pair.out.events.iter().any(|e| matches!(e, Event::Pong { token: 1, .. })));
    assert!(pair.wire.len() >= 6, "{:?}", pair.wire);
    for (length, lane) in &pair.wire {
        match lane {
            // 1,420 + 32, on the first worker's lane
            Some(lane) => assert_eq!((*length, *lane), (1_452, 1)),
            None => assert!((1_448..=1_452).contains(length), "{length}"),
        }
    }
    let (tx, rx) = (pair.a.cell(pair.a_sees_b), pair.b.cell(pair.b_sees_a));
    let (tx, rx) = (tx.unwrap().tx_session(), rx.unwrap().tx_session());
    let (tx, rx) = (tx.as_ref().unwrap(), rx.as_ref().unwrap());
    let (ours, theirs) = (tx.noise().unwrap(), rx.noise().unwrap());
    assert!(ours.is_confirmed() && theirs.is_confirmed());
    assert_eq!((ours.byte(), theirs.byte()), (wanted, wanted));
    assert_eq!(ours.terms(1, 1_420).shared, theirs.terms(1, 1_420).shared);
    assert_ne!(ours.terms(1, 1_420).private, theirs.terms(1, 1_420).private);
}

#[test]
fn without_noise_nothing_is_filled() {
    let mut pair = pair(NoiseByte::OFF, NoisePolicy::OFF, NoisePolicy::ANY);
    pair.connect(at(1));
    let data: Vec<_> = pair.wire.iter().filter(|(_, lane)| lane.is_some()).collect();
    assert!(!data.is_empty());
    assert!(data.iter().all(|(length, lane)| *length < 64 && *lane == Some(0)), "{data:?}");
    let tx = pair.a.cell(pair.a_sees_b).unwrap().tx_session();
    assert!(tx.as_ref().unwrap().noise().is_none());
}

#[test]
fn a_counter_proposal_is_taken_within_policy_and_run_as_agreed() {
    let wanted = byte(NoiseRatio::FourToOne, NoiseFiller::Full);
    let granted =
        NoisePolicy { accept: byte(NoiseRatio::OneToTwo, NoiseFiller::Full), ..NoisePolicy::ANY };
    let mut agreed = pair(wanted, NoisePolicy::ANY, granted);
    agreed.connect(at(1));
    let status = agreed.a.peer_status(agreed.a_sees_b, at(2).instant).unwrap();
    assert_eq!(status.session.unwrap().noise, granted.accept);
    assert_eq!(agreed.b.peer_status(agreed.b_sees_a, at(2).instant).unwrap().noise, granted.accept);

    let proud =
        NoisePolicy { minimum: byte(NoiseRatio::OneToOne, NoiseFiller::Off), ..NoisePolicy::ANY };
    let mut refused = pair(wanted, proud, granted);
    refused.connect(at(1));
    let status = refused.a.peer_status(refused.a_sees_b, at(2).instant).unwrap();
    assert!(status.session.is_none());
    assert_eq!(status.last_error, Some(crate::engine::PeerError::NoiseRefused));
}
