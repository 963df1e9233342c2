//! Every cell of a CONSENT and of a status wrong in turn.

use crate::{
    cells::{array, broken_maps, bytes, foreign_values, uint},
    identity,
    initiator::{Case, Outcome, good, run, status},
    keys::bad_points,
    schedule::{ConsentPlan, Signing},
};
use Outcome::{Dropped, Refused, RefusedSomehow, Session, Told};
use stadium_proto::{
    crypto::{Cipher, HashAlg},
    drop::DropReason::{BadSignature, Malformed, NotAllowed},
    engine::{HandshakeKind, PeerError, Settings},
};

fn lbm(name: impl Into<String>, lbm: Vec<u8>, outcome: Outcome) -> Case {
    Case::new(name, move |lab| lab.seal(&lbm), outcome)
}

fn malformed(name: impl Into<String>, cells: Vec<u8>) -> Case {
    lbm(name, cells, Dropped(Malformed))
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = shapes();
    all.extend(values());
    all.extend(statuses());
    all.extend(open());
    all
}

fn shapes() -> Vec<Case> {
    let mut all = Vec::new();
    for key in [0x01, 0x02, 0x05, 0x0a, 0x0c, 0x0d, 0x11] {
        all.push(malformed(format!("consent without {key:#x}"), good().without(key).encode()));
    }
    for key in [0x01, 0x02, 0x05, 0x07, 0x0a, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11] {
        for (what, value) in [("bytes", bytes(&[1])), ("an array", array(&[1]))] {
            let cells = good().with(key, value).encode();
            all.push(malformed(format!("consent {key:#x} as {what}"), cells));
        }
    }
    for (what, value) in [("an integer", uint(1)), ("an array", array(&[1]))] {
        let cells = good().with(0x40, value).encode();
        all.push(malformed(format!("consent 0x40 as {what}"), cells));
    }
    for (key, value) in [
        (0x03, uint(1)),
        (0x04, bytes(identity(2).public().as_bytes())),
        (0x06, bytes(&[6; 32])),
        (0x08, uint(0)),
        (0x09, bytes(&[9; 12])),
        (0x0b, bytes(&[0; 100])),
        (0x00, uint(0)),
        (0x12, uint(0)),
        (0x3f, uint(0)),
    ] {
        let cells = good().with(key, value).encode();
        all.push(malformed(format!("consent with {key:#x}"), cells));
    }
    for (what, value) in foreign_values() {
        let cells = good().with(0x41, value).encode();
        all.push(malformed(format!("consent 0x41 as {what}"), cells));
    }
    for (what, map) in broken_maps(&good()) {
        if !map.is_empty() {
            all.push(malformed(format!("consent as {what}"), map));
        }
    }
    let more = [good().encode(), vec![0; 64]].concat();
    all.push(malformed("consent with 64 bytes after its cells", more));
    all.push(lbm("consent with an ignored cell", good().with(0x41, uint(1)).encode(), Session));
    all
}

fn values() -> Vec<Case> {
    let mut all = Vec::new();
    let mut bad = |name: &str, key, value| {
        let case = malformed(format!("consent {name}"), good().with(key, value).encode());
        all.push(case.on(|settings: &mut Settings| {
            settings.hashes = vec![HashAlg::Sha256, HashAlg::Sha512];
        }));
    };
    bad("of version 0", 0x01, uint(0));
    bad("of version 2", 0x01, uint(2));
    bad("of version 129", 0x01, uint(129));
    bad("with hash 0", 0x02, uint(0));
    bad("with a hash that was not offered", 0x02, uint(3));
    bad("with an unknown hash", 0x02, uint(1 << 40));
    bad("with a cipher that its header does not say", 0x05, uint(2));
    bad("with cipher 0", 0x05, uint(0));
    bad("with an unknown cipher", 0x05, uint(3));
    bad("with noise that was not asked for", 0x07, uint(0x20));
    bad("with reserved noise", 0x07, uint(1));
    bad("with noise above a byte", 0x07, uint(256));
    bad("with payload limit 0", 0x0a, uint(0));
    bad("with payload limit 1279", 0x0a, uint(1279));
    bad("with index_r 0", 0x0c, uint(0));
    bad("with index_r of 33 bits", 0x0c, uint(1 << 32));
    bad("with checksum offload that was not offered", 0x0e, uint(1));
    bad("with streams that were not offered", 0x0e, uint(2));
    bad("with early data that was not offered", 0x0e, uint(4));
    bad("with an unknown feature", 0x0e, uint(8));
    bad("with 0 lanes", 0x0f, uint(0));
    bad("with 65 lanes", 0x0f, uint(65));
    bad("with a ticket that was not sent", 0x10, uint(1));
    bad("with a ticket of 33 bits", 0x10, uint(1 << 32));
    bad("with status 256", 0x11, uint(256));
    for (name, key, value) in [
        ("with payload limit 1280", 0x0a, 1280),
        ("with a payload limit of 64 bits", 0x0a, u64::MAX),
        ("with session id 0", 0x0d, 0),
        ("with a session id of 64 bits", 0x0d, u64::MAX),
        ("with noise 0, said", 0x07, 0),
        ("with 64 lanes", 0x0f, 64),
    ] {
        all.push(lbm(format!("consent {name}"), good().with(key, uint(value)).encode(), Session));
    }
    let other = |lab: &mut crate::initiator::Lab| {
        let plan = ConsentPlan { symmetric: 2, cipher: Cipher::Aes256Gcm, ..lab.plan() };
        let cells = good().with(0x05, uint(2)).encode();
        lab.taken().consent(&plan, &identity(2), &cells).0
    };
    let name = "consent under a cipher that was not offered";
    all.push(
        Case::new(name, other, Dropped(Malformed))
            .on(|settings| settings.ciphers = vec![Cipher::ChaCha20Poly1305]),
    );
    all
}

fn statuses() -> Vec<Case> {
    let mut all = Vec::new();
    for (code, error) in [
        (1, PeerError::UnsupportedVersion),
        (2, PeerError::CannotDecrypt),
        (3, PeerError::NoCommonHash),
        (5, PeerError::NoCommonCipher),
        (6, PeerError::UnknownPeer),
        (7, PeerError::NoiseRefused),
        (8, PeerError::Busy),
        (11, PeerError::PostQuantumRequired),
    ] {
        all.push(lbm(format!("status {code}"), status(code).encode(), Refused(error)));
    }
    for code in [4, 9, 10, 12, 200, 255] {
        all.push(lbm(format!("status {code}"), status(code).encode(), RefusedSomehow));
    }
    for (key, value) in [
        (0x02, uint(1)),
        (0x03, uint(1)),
        (0x04, bytes(&[1; 32])),
        (0x05, uint(1)),
        (0x06, bytes(&[1; 32])),
        (0x07, uint(0)),
        (0x08, uint(0)),
        (0x09, bytes(&[1; 12])),
        (0x0a, uint(1420)),
        (0x0b, bytes(&[1; 9])),
        (0x0c, uint(1)),
        (0x0d, uint(1)),
        (0x0e, uint(0)),
        (0x0f, uint(1)),
        (0x10, uint(1)),
        (0x12, uint(1)),
        (0x11, uint(256)),
        (0x01, uint(2)),
    ] {
        let cells = status(8).with(key, value).encode();
        all.push(malformed(format!("status with {key:#x}"), cells));
    }
    for key in [0x01, 0x0c] {
        all.push(malformed(format!("status without {key:#x}"), status(8).without(key).encode()));
    }
    for (what, noise, outcome) in [
        ("a byte above 255", 256, Dropped(Malformed)),
        ("a reserved byte", 1, Refused(PeerError::NoiseRefused)),
        ("all that there is", 0xd4, Refused(PeerError::NoiseRefused)),
    ] {
        let cells = status(7).with(0x07, uint(noise)).encode();
        all.push(lbm(format!("status 7 that grants {what}"), cells, outcome));
    }
    all
}

/// What only an open handshake has: the responder's key and signature.
fn open() -> Vec<Case> {
    let key = |n: u8| bytes(identity(n).public().as_bytes());
    let mismatch = Told(NotAllowed, PeerError::KeyMismatch);
    let mut all = Vec::new();
    let mut add = |name: String, lbm: Vec<u8>, signer: u8, signing, outcome| {
        let make = move |lab: &mut crate::initiator::Lab| {
            let plan = ConsentPlan { signing, ..lab.plan() };
            lab.taken().consent(&plan, &identity(signer), &lbm).0
        };
        all.push(
            Case::new(name, make, outcome)
                .on(|settings| settings.allow_open = true)
                .with(|peer| peer.handshake = HandshakeKind::Open),
        );
    };
    let right = || good().with(0x04, key(2)).encode();
    add(
        "open consent without a key".into(),
        good().encode(),
        2,
        Signing::Right,
        Dropped(Malformed),
    );
    for (signing, reason) in
        [(Signing::None, Malformed), (Signing::Longer, Malformed), (Signing::Wrong, BadSignature)]
    {
        add(format!("open consent signed {signing:?}"), right(), 2, signing, Dropped(reason));
    }
    add(
        "open consent signed by a stranger".into(),
        right(),
        9,
        Signing::Right,
        Dropped(BadSignature),
    );
    add(
        "open consent of a stranger".into(),
        good().with(0x04, key(9)).encode(),
        9,
        Signing::Right,
        mismatch,
    );
    add(
        "open consent with the initiator's own key".into(),
        good().with(0x04, key(1)).encode(),
        1,
        Signing::Right,
        Dropped(NotAllowed),
    );
    for (what, point) in bad_points(identity(2).public().as_bytes()) {
        add(
            format!("open consent 0x4 is {what}"),
            good().with(0x04, bytes(&point)).encode(),
            2,
            Signing::Right,
            Dropped(Malformed),
        );
    }
    add(
        "open status without a key".into(),
        status(8).encode(),
        2,
        Signing::Right,
        Dropped(Malformed),
    );
    add(
        "open status of a stranger".into(),
        status(8).with(0x04, key(9)).encode(),
        9,
        Signing::Right,
        mismatch,
    );
    add(
        "open status that is not signed".into(),
        status(8).with(0x04, key(2)).encode(),
        2,
        Signing::None,
        Dropped(Malformed),
    );
    all
}

#[test]
fn every_cell_of_a_consent_is_checked() {
    run(cases());
}
