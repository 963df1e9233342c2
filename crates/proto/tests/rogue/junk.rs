//! Datagrams of every length that begin with every byte, to a node in the midst of things.

use crate::{
    Outbox, address, at, entropy, initiator::Lab as Initiator, responder::Lab as Responder,
};
use stadium_proto::{
    drop::DropReason,
    engine::{Engine, Input},
    session::DataHeader,
};

/// The longest datagram that is tried.
const LONGEST: usize = 2_000;

/// Hands over a datagram as the paths of a node do: DATA to the sessions, the rest to control.
fn hand(engine: &mut Engine, datagram: &[u8]) {
    if datagram.first() == Some(&stadium_proto::session::DATA) {
        let shared = engine.shared();
        match DataHeader::parse(datagram) {
            Err(error) => shared.drops.count(error.into()),
            Ok(header) => {
                assert!(shared.session(header.index).is_none(), "nobody has the index");
                shared.drops.count(DropReason::UnknownIndex);
            }
        }
        return;
    }
    let mut out = Outbox::default();
    let input = Input::Handshake { remote: address(9), local: None, datagram };
    engine.handle(at(50), input, &mut out);
    assert!(out.sent.is_empty() && out.events.is_empty(), "{:02x?}", &datagram[..8]);
}

fn every_length_and_first_byte(engine: &mut Engine) {
    let mut random = entropy(3);
    let mut noise = vec![0; LONGEST];
    let before: u64 = engine.shared().drops.all().iter().sum();
    for length in 0..=LONGEST {
        random.fill(&mut noise);
        hand(engine, &noise[..length]);
        for first in 0..=255 {
            noise[0] = first;
            hand(engine, &noise[..length]);
        }
        let mut magic = noise.clone();
        magic[..8].copy_from_slice(b"StadiumP");
        hand(engine, &magic[..length]);
        for kind in 1..=4_u8 {
            // reserved bytes as they should be, and nothing else
            magic[..4].copy_from_slice(&[kind, kind & 1, 0, 0]);
            hand(engine, &magic[..length]);
        }
    }
    let after: u64 = engine.shared().drops.all().iter().sum();
    assert_eq!(after - before, (LONGEST as u64 + 1) * (1 + 256 + 1 + 4), "each is counted once");
}

#[test]
fn a_responder_is_silent_whatever_the_length_and_the_first_byte() {
    let mut lab = Responder::new(|settings| {
        settings.allow_open = true;
        settings.allow_anonymous = true;
    });
    every_length_and_first_byte(&mut lab.engine);
}

#[test]
fn an_initiator_is_silent_whatever_the_length_and_the_first_byte() {
    let mut lab = Initiator::new(|_| {}, |_| {});
    lab.connect();
    every_length_and_first_byte(&mut lab.engine);
    lab.assert_honest_consent_is_taken("after all that");
}
