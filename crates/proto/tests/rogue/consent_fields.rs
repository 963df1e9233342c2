//! Every field of a CONSENT's datagram wrong in turn, its keys, and when it comes.

use crate::{
    identity,
    initiator::{Case, Lab, Outcome, PSK, good, run, status},
    keys::weak_x25519,
    schedule::ConsentPlan,
};
use Outcome::{Dropped, Refused, Session, Told};
use stadium_proto::{
    crypto::Cipher,
    drop::DropReason::{BadTag, Malformed, NotAllowed, UnknownIndex},
    engine::{PeerConfig, PeerError, PostQuantum, Settings},
    identity::PresharedKey,
};

const MISMATCH: Outcome = Told(BadTag, PeerError::KeyMismatch);

fn honest(lab: &Lab) -> Vec<u8> {
    lab.seal(&good().encode())
}

fn changed(
    name: impl Into<String>,
    change: impl Fn(&mut Vec<u8>) + 'static,
    outcome: Outcome,
) -> Case {
    let make = move |lab: &mut Lab| {
        let mut datagram = honest(lab);
        change(&mut datagram);
        datagram
    };
    Case::new(name, make, outcome)
}

fn has_psk(peer: &mut PeerConfig) {
    peer.preshared_key = PresharedKey::from_bytes(PSK);
}

fn prefers_hybrid(settings: &mut Settings) {
    settings.post_quantum = PostQuantum::Prefer;
}

fn requires_hybrid(settings: &mut Settings) {
    settings.post_quantum = PostQuantum::Require;
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = fields();
    all.extend(keys());
    all.extend(hybrid());
    all.extend(moments());
    all
}

fn fields() -> Vec<Case> {
    let mut all = Vec::new();
    for kind in [0x00, 0x05, 0x53, 0x7a, 0xff] {
        let name = format!("consent with kind {kind:#x}");
        all.push(changed(name, move |d| d[0] = kind, Dropped(Malformed)));
    }
    for kind in [0x02, 0x03] {
        let name = format!("consent with the kind {kind:#x} of another answer");
        all.push(changed(name, move |d| d[0] = kind, Dropped(Malformed)));
    }
    for symmetric in [0, 3, 255] {
        let name = format!("consent with symmetric {symmetric} in its header");
        all.push(changed(name, move |d| d[1] = symmetric, Dropped(Malformed)));
    }
    all.push(changed("consent with the other cipher in its header", |d| d[1] = 2, MISMATCH));
    for at in [2, 3] {
        let name = format!("consent with reserved byte {at} set");
        all.push(changed(name, move |d| d[at] = 1, Dropped(Malformed)));
    }
    all.push(changed("consent with index 0", |d| d[4..8].fill(0), Dropped(Malformed)));
    for at in 4..8_usize {
        let name = format!("consent with byte {at}, of the index, wrong");
        all.push(changed(name, move |d| d[at] ^= 0x10, Dropped(UnknownIndex)));
    }
    for (what, at, bit) in [("first", 8_usize, 1_u8), ("last", 39, 1), ("top", 39, 0x80)] {
        let name = format!("consent with the {what} bit of E_r wrong");
        all.push(changed(name, move |d| d[at] ^= bit, MISMATCH));
    }
    for (n, point) in weak_x25519().into_iter().enumerate() {
        let change = move |d: &mut Vec<u8>| d[8..40].copy_from_slice(&point);
        all.push(changed(format!("consent with weak E_r {n}"), change, Dropped(Malformed)));
    }
    for kem_len in [1_u16, 1087, 1088, 1089, 0xffff] {
        let change = move |d: &mut Vec<u8>| d[40..42].copy_from_slice(&kem_len.to_le_bytes());
        all.push(changed(format!("consent with kem_len {kem_len}"), change, Dropped(Malformed)));
    }
    let grown = |d: &mut Vec<u8>| {
        d[40..42].copy_from_slice(&1088_u16.to_le_bytes());
        d.splice(42..42, [9; 1088]);
    };
    all.push(changed("consent with a ciphertext that nobody asked for", grown, Dropped(Malformed)));
    for (what, from_end) in [("its first byte of C2", None), ("its tag", Some(1))] {
        let change = move |d: &mut Vec<u8>| {
            let at = from_end.map_or(42, |n| d.len() - n);
            d[at] ^= 1;
        };
        all.push(changed(format!("consent with {what} wrong"), change, MISMATCH));
    }
    for (len, outcome) in [
        (1, Dropped(Malformed)),
        (42, Dropped(Malformed)),
        (58, Dropped(Malformed)),
        (59, MISMATCH),
        (1452, MISMATCH),
        (1453, Dropped(Malformed)),
        (65_507, Dropped(Malformed)),
    ] {
        all.push(changed(format!("consent of {len} bytes"), move |d| d.resize(len, 0), outcome));
    }
    all.push(changed("consent without its last byte", |d| d.truncate(d.len() - 1), MISMATCH));
    all.push(changed("consent with a byte more", |d| d.push(0), MISMATCH));
    all
}

fn keys() -> Vec<Case> {
    let sealed = |name: &str, change: fn(&mut ConsentPlan), outcome| {
        let make = move |lab: &mut Lab| {
            let mut plan = lab.plan();
            change(&mut plan);
            lab.taken().consent(&plan, &identity(2), &good().encode()).0
        };
        Case::new(name, make, outcome)
    };
    let stated = |name: &str, psk: [u8; 32], outcome| {
        let make = move |lab: &mut Lab| {
            let plan = ConsentPlan { psk, ..lab.plan() };
            lab.taken().consent(&plan, &identity(2), &status(8).encode()).0
        };
        Case::new(name, make, outcome).with(has_psk)
    };
    vec![
        sealed("consent under a psk where there is none", |plan| plan.psk = PSK, MISMATCH),
        sealed("consent under another psk", |plan| plan.psk = [1; 32], MISMATCH).with(has_psk),
        sealed("consent under the zero psk", |plan| plan.psk = [0; 32], MISMATCH).with(has_psk),
        stated("status under another psk", [1; 32], MISMATCH),
        stated("status under the zero psk", [0; 32], Refused(PeerError::Busy)),
        stated("status under the right psk", PSK, Refused(PeerError::Busy)),
        sealed(
            "consent under the other cipher than its header says",
            |plan| {
                plan.cipher = Cipher::Aes256Gcm;
            },
            MISMATCH,
        ),
        Case::new(
            "consent of a node with another key",
            |lab| {
                // it cannot open the REQUEST, so it answers another one's
                let mut other = Lab::new(|_| {}, |_| {});
                other.now = 9;
                other.engine = crate::engine(
                    3,
                    Settings { post_quantum: PostQuantum::Off, ..Settings::default() },
                );
                let config = crate::peer_config(*identity(2).public(), Some(crate::address(2)));
                let change = stadium_proto::engine::Change::Add(Box::new(config));
                let mut out = crate::Outbox::default();
                other.id =
                    other.engine.apply(crate::at(9), [change], &mut out)[0].unwrap().unwrap();
                other.connect();
                let mut datagram = honest(&other);
                datagram[4..8].copy_from_slice(&lab.taken().index_i.to_le_bytes());
                datagram
            },
            MISMATCH,
        ),
    ]
}

fn hybrid() -> Vec<Case> {
    let sealed = |name: &str, kem, lbm: Vec<u8>, outcome| {
        let make = move |lab: &mut Lab| {
            let plan = ConsentPlan { kem, ..lab.plan() };
            lab.taken().consent(&plan, &identity(2), &lbm).0
        };
        Case::new(name, make, outcome)
    };
    let mut all = vec![
        sealed("hybrid consent", true, good().encode(), Session).on(prefers_hybrid),
        sealed("consent without a ciphertext", false, good().encode(), Session).on(prefers_hybrid),
        sealed(
            "consent without a ciphertext where one is required",
            false,
            good().encode(),
            Dropped(NotAllowed),
        )
        .on(requires_hybrid),
        sealed("status with a ciphertext", true, status(8).encode(), Dropped(Malformed))
            .on(prefers_hybrid),
        sealed(
            "status without a ciphertext where one is required",
            false,
            status(8).encode(),
            Refused(PeerError::Busy),
        )
        .on(requires_hybrid),
    ];
    for at in [42_usize, 600, 1129] {
        let name = format!("hybrid consent with byte {at}, of its ciphertext, wrong");
        all.push(changed(name, move |d| d[at] ^= 1, MISMATCH).on(prefers_hybrid));
    }
    let cut = |d: &mut Vec<u8>| {
        d[40..42].fill(0);
        d.drain(42..42 + 1088);
    };
    let name = "hybrid consent whose ciphertext was cut out";
    all.push(changed(name, cut, MISMATCH).on(prefers_hybrid));
    let short = |d: &mut Vec<u8>| d.truncate(42 + 1088 + 16);
    let name = "hybrid consent with nothing but a tag";
    all.push(changed(name, short, Dropped(Malformed)).on(prefers_hybrid));
    all
}

/// Right answers at the wrong time.
fn moments() -> Vec<Case> {
    vec![
        Case::new(
            "consent to the REQUEST before the last",
            |lab| {
                let first = honest(lab);
                lab.next_request();
                first
            },
            Session,
        ),
        Case::new(
            "consent to a REQUEST of ten seconds ago",
            |lab| {
                let first = honest(lab);
                while lab.now < 10_001 {
                    lab.next_request();
                }
                first
            },
            Dropped(UnknownIndex),
        ),
        Case::new(
            "status to a REQUEST that was answered by a status",
            |lab| {
                let refusal = lab.seal(&status(8).encode());
                assert!(lab.hand(&refusal).sent.is_empty());
                lab.next_request();
                refusal
            },
            Dropped(UnknownIndex),
        ),
    ]
}

#[test]
fn every_field_of_a_consent_is_checked() {
    run(cases());
}

#[test]
fn a_consent_is_taken_once() {
    let mut lab = Lab::new(|_| {}, |_| {});
    lab.connect();
    let datagram = honest(&lab);
    assert_eq!(lab.hand(&datagram).sent.len(), 1);
    for _ in 0..3 {
        let before = lab.engine.shared().drops.all();
        let out = lab.hand(&datagram);
        assert!(out.sent.is_empty() && out.events.is_empty());
        crate::assert_counted(&lab.engine, &before, Some(UnknownIndex), "a second time");
    }
}

#[test]
fn answers_to_nothing_are_dropped() {
    let mut asked = Lab::new(|_| {}, |_| {});
    asked.connect();
    let datagram = honest(&asked);
    let mut lab = Lab::new(|_| {}, |_| {});
    let before = lab.engine.shared().drops.all();
    assert!(lab.hand(&datagram).sent.is_empty());
    crate::assert_counted(&lab.engine, &before, Some(UnknownIndex), "before any REQUEST");
}
