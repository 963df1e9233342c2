//! Every cell of an encrypted REQUEST wrong in turn, and its signature.

use crate::{
    cells::{array, broken_maps, bytes, foreign_values, uint},
    identity,
    keys::bad_points,
    responder::{Case, Lab, STAMP, Verdict, good, open_retry, run},
    schedule::{CONSENT_LABEL, REQUEST_LABEL, RequestPlan, Sent, Signing},
};
use Verdict::{Error, Retry, Session, Silent, Status};
use stadium_proto::{
    crypto::{Cipher, HashAlg, KemSecret, sha256},
    drop::DropReason::{
        self, BadSignature, Malformed, NotAllowed, RepeatedRequest, StaleTimestamp, UnknownPeer,
    },
    engine::{PostQuantum, Settings},
};

/// A REQUEST of the peer itself around these bytes.
fn lbm(name: impl Into<String>, lbm: Vec<u8>, verdict: Verdict, why: Option<DropReason>) -> Case {
    Case::new(name, move |lab| lab.plan().seal(&lbm), verdict, why)
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = shapes();
    all.extend(values());
    all.extend(signatures());
    all.extend(timestamps());
    all.extend(policy());
    all
}

/// Cells that are missing, of another type, or not in the encoding.
fn shapes() -> Vec<Case> {
    let mut all = Vec::new();
    for key in [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x08, 0x0a] {
        let cells = good().without(key).encode();
        all.push(lbm(format!("request without {key:#x}"), cells, Silent, Some(Malformed)));
    }
    for key in [0x01, 0x03, 0x07, 0x08, 0x0a, 0x0e, 0x0f, 0x10] {
        for (what, value) in [("bytes", bytes(&[1])), ("an array", array(&[1]))] {
            let cells = good().with(key, value).encode();
            all.push(lbm(format!("request {key:#x} as {what}"), cells, Silent, Some(Malformed)));
        }
    }
    for key in [0x04, 0x06, 0x09, 0x0b, 0x40] {
        for (what, value) in [("an integer", uint(1)), ("an array", array(&[1]))] {
            let cells = good().with(key, value).encode();
            all.push(lbm(format!("request {key:#x} as {what}"), cells, Silent, Some(Malformed)));
        }
    }
    for key in [0x02, 0x05] {
        for (what, value) in [("an integer", uint(1)), ("bytes", bytes(&[1]))] {
            let cells = good().with(key, value).encode();
            all.push(lbm(format!("request {key:#x} as {what}"), cells, Silent, Some(Malformed)));
        }
    }
    for (what, value) in foreign_values() {
        // in a cell that is ignored, so that nothing but the encoding is wrong
        let cells = good().with(0x41, value).encode();
        all.push(lbm(format!("request 0x41 as {what}"), cells, Silent, Some(Malformed)));
    }
    for (what, map) in broken_maps(&good()) {
        all.push(lbm(format!("request as {what}"), map, Silent, Some(Malformed)));
    }
    for key in [0x00, 0x12, 0x3f] {
        let cells = good().with(key, uint(1)).encode();
        all.push(lbm(format!("request with unknown {key:#x}"), cells, Silent, Some(Malformed)));
    }
    for key in [0x41, 0xffff_ffff_ffff_ffff] {
        let cells = good().with(key, uint(1)).encode();
        all.push(lbm(format!("request with ignored {key:#x}"), cells, Session, None));
    }
    for key in [0x0c, 0x0d, 0x11] {
        let cells = good().with(key, uint(0)).encode();
        all.push(lbm(format!("request with consent's {key:#x}"), cells, Silent, Some(Malformed)));
    }
    all
}

/// Cells with values that are out of range.
fn values() -> Vec<Case> {
    let mut all = Vec::new();
    let mut bad = |name: &str, key, value, verdict| {
        let cells = good().with(key, value).encode();
        let counter = (verdict != Session).then_some(Malformed);
        all.push(lbm(format!("request {key:#x} {name}"), cells, verdict, counter));
    };
    bad("0", 0x01, uint(0), Error(1));
    bad("2", 0x01, uint(2), Error(1));
    bad("127", 0x01, uint(127), Error(1));
    bad("with bit 7", 0x01, uint(0x81), Silent);
    bad("of 64 bits", 0x01, uint(u64::MAX), Silent);
    bad("0", 0x03, uint(0), Silent);
    bad("2", 0x03, uint(2), Silent);
    bad("too short", 0x04, bytes(&identity(1).public().as_bytes()[..31]), Silent);
    bad("too long", 0x04, bytes(&[1; 33]), Silent);
    bad("empty", 0x06, bytes(&[]), Silent);
    bad("too short", 0x06, bytes(&[1; 31]), Silent);
    bad("too long", 0x06, bytes(&[1; 33]), Silent);
    bad("256", 0x07, uint(256), Silent);
    bad("with its lowest bit", 0x08, uint(STAMP + 1), Silent);
    bad("with the highest of the low bits", 0x08, uint(STAMP | (1 << 23)), Silent);
    bad("too short", 0x09, bytes(&[1; 11]), Silent);
    bad("too long", 0x09, bytes(&[1; 13]), Silent);
    bad("0", 0x0a, uint(0), Silent);
    bad("1279", 0x0a, uint(1279), Silent);
    bad("1280", 0x0a, uint(1280), Session);
    bad("of 64 bits", 0x0a, uint(u64::MAX), Session);
    bad("too short", 0x0b, bytes(&[0; 1150]), Silent);
    bad("a byte too short", 0x0b, bytes(&[0; 1183]), Silent);
    bad("a byte too long", 0x0b, bytes(&[0; 1185]), Silent);
    bad("of unknown bits", 0x0e, uint(u64::MAX), Session);
    bad("0", 0x0f, uint(0), Silent);
    bad("65", 0x0f, uint(65), Silent);
    bad("of 33 bits", 0x10, uint(1 << 32), Silent);
    bad("never issued", 0x10, uint(7), Session);

    let both = good().with(0x09, bytes(&[1; 12])).with(0x10, uint(7)).encode();
    all.push(lbm("request with challenge and ticket", both, Silent, Some(Malformed)));
    let mut nonsense = good().with(0x01, uint(2)).encode();
    nonsense.truncate(3);
    nonsense.extend([0xff; 40]);
    all.push(lbm("request of version 2 and nonsense", nonsense, Error(1), Some(Malformed)));
    for (what, point) in bad_points(identity(1).public().as_bytes()) {
        let cells = good().with(0x04, bytes(&point)).encode();
        all.push(lbm(format!("request 0x4 is {what}"), cells, Silent, Some(Malformed)));
    }
    let own = good().with(0x04, bytes(identity(2).public().as_bytes())).encode();
    all.push(lbm("request 0x4 is the responder's own", own, Silent, Some(NotAllowed)));
    all
}

fn signatures() -> Vec<Case> {
    let mut all = Vec::new();
    for (signing, counter) in
        [(Signing::None, Malformed), (Signing::Longer, Malformed), (Signing::Wrong, BadSignature)]
    {
        let make =
            move |lab: &mut Lab| RequestPlan { signing, ..lab.plan() }.seal(&good().encode());
        all.push(Case::new(format!("request signed {signing:?}"), make, Silent, counter));
    }
    let mut signed = |name: &str, sign: fn(&[u8; 32], &[u8]) -> Vec<u8>, counter| {
        let make = move |lab: &mut Lab| {
            let lbm = good().encode();
            lab.plan().seal_text(&lbm, |h| sign(h, &lbm))
        };
        all.push(Case::new(format!("request signed {name}"), make, Silent, Some(counter)));
    };
    fn sign(by: u8, label: &str, parts: &[&[u8]]) -> Vec<u8> {
        identity(by).sign(&[label.as_bytes(), &[0], &sha256(parts)].concat()).to_vec()
    }
    signed("as a consent", |h, lbm| sign(1, CONSENT_LABEL, &[h, lbm]), BadSignature);
    signed("without a label", |h, lbm| sign(1, "", &[h, lbm]), BadSignature);
    signed("over its cells only", |_, lbm| sign(1, REQUEST_LABEL, &[lbm]), BadSignature);
    signed("over the transcript only", |h, _| sign(1, REQUEST_LABEL, &[h]), BadSignature);
    signed("by a stranger", |h, lbm| sign(9, REQUEST_LABEL, &[h, lbm]), BadSignature);
    signed("by another peer", |h, lbm| sign(4, REQUEST_LABEL, &[h, lbm]), BadSignature);
    signed("with zeros", |_, _| vec![0; 64], BadSignature);
    signed(
        "with an S above the order",
        |h, lbm| {
            let mut signature = sign(1, REQUEST_LABEL, &[h, lbm]);
            add_order(&mut signature[32..]);
            signature
        },
        BadSignature,
    );
    signed(
        "with an R of small order",
        |h, lbm| {
            let mut signature = sign(1, REQUEST_LABEL, &[h, lbm]);
            signature[..32].fill(0);
            signature[0] = 1;
            signature
        },
        BadSignature,
    );
    signed(
        "in 63 bytes",
        |h, lbm| {
            let mut signature = sign(1, REQUEST_LABEL, &[h, lbm]);
            signature.pop();
            signature
        },
        Malformed,
    );
    all
}

/// Adds the order of the group to a scalar: the same signature to a verifier that is not strict.
fn add_order(scalar: &mut [u8]) {
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (byte, add) in scalar.iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
}

/// Seals a REQUEST with this timestamp and `E_i`, and perhaps an echo.
fn stamped(lab: &Lab, stamp: u64, ephemeral: u8, echo: Option<[u8; 12]>) -> Sent {
    let mut cells = good().with(0x08, uint(stamp));
    if let Some(echo) = echo {
        cells = cells.with(0x09, bytes(&echo));
    }
    RequestPlan { ephemeral: [ephemeral; 32], ..lab.plan() }.seal(&cells.encode())
}

/// Raises the record to [`STAMP`].
fn raise(lab: &mut Lab) {
    let sent = stamped(lab, STAMP, 50, None);
    assert_eq!(lab.ask(&sent), Session);
}

/// Asks with an old timestamp and returns the challenge that comes.
fn challenge(lab: &mut Lab) -> [u8; 12] {
    let sent = stamped(lab, 0, 51, None);
    let answer = lab.hand(&sent.datagram).remove(0);
    let (_, challenge) = open_retry(&lab.to, &sent, &answer);
    assert_ne!(challenge, [0; 12]);
    challenge
}

fn timestamps() -> Vec<Case> {
    let stale = Some(StaleTimestamp);
    let case = |name: &str, make: fn(&mut Lab) -> Sent, verdict, counter| {
        Case::new(format!("request {name}"), make, verdict, counter)
    };
    vec![
        case(
            "with the record's timestamp",
            |lab| {
                raise(lab);
                stamped(lab, STAMP, 60, None)
            },
            Retry,
            stale,
        ),
        case(
            "with a timestamp a step older",
            |lab| {
                raise(lab);
                stamped(lab, STAMP - (1 << 24), 60, None)
            },
            Retry,
            stale,
        ),
        case(
            "with timestamp 0 after another",
            |lab| {
                raise(lab);
                stamped(lab, 0, 60, None)
            },
            Retry,
            stale,
        ),
        case("with timestamp 0 at first", |lab| stamped(lab, 0, 60, None), Session, None),
        case(
            "with a wrong echo",
            |lab| {
                raise(lab);
                stamped(lab, 0, 60, Some([9; 12]))
            },
            Retry,
            stale,
        ),
        case(
            "with an echo of zeros",
            |lab| {
                raise(lab);
                stamped(lab, 0, 60, Some([0; 12]))
            },
            Retry,
            stale,
        ),
        case(
            "with a wrong echo but a newer timestamp",
            |lab| {
                raise(lab);
                stamped(lab, STAMP + (1 << 24), 60, Some([9; 12]))
            },
            Session,
            None,
        ),
        case(
            "with the right echo",
            |lab| {
                raise(lab);
                let echo = challenge(lab);
                stamped(lab, 0, 60, Some(echo))
            },
            Session,
            None,
        ),
        case(
            "with an echo older than two minutes",
            |lab| {
                raise(lab);
                let echo = challenge(lab);
                for _ in 0..3 {
                    // secrets rotate when a REQUEST comes
                    lab.now += 61_000;
                    lab.hand(
                        &stamped(lab, 0, 70 + (lab.now / 61_000) as u8, None).datagram.clone(),
                    );
                }
                stamped(lab, 0, 60, Some(echo))
            },
            Retry,
            stale,
        ),
        case(
            "with the echo of another peer",
            |lab| {
                raise(lab);
                let echo = challenge(lab);
                lab.rogue = identity(4);
                let key = bytes(identity(4).public().as_bytes());
                let first = RequestPlan { ephemeral: [52; 32], ..lab.plan() };
                let first = first.seal(&good().with(0x04, key.clone()).encode());
                assert_eq!(lab.ask(&first), Session);
                let cells = good().with(0x04, key).with(0x08, uint(0)).with(0x09, bytes(&echo));
                RequestPlan { ephemeral: [53; 32], ..lab.plan() }.seal(&cells.encode())
            },
            Retry,
            stale,
        ),
        case(
            "with an E_i that was answered",
            |lab| {
                raise(lab);
                stamped(lab, STAMP + (1 << 24), 50, None)
            },
            Silent,
            Some(RepeatedRequest),
        ),
        case(
            "with an E_i that got a status",
            |lab| {
                let cells = good().with(0x02, array(&[9])).encode();
                let first = RequestPlan { ephemeral: [50; 32], ..lab.plan() }.seal(&cells);
                assert_eq!(lab.ask(&first), Status(3, None));
                stamped(lab, STAMP + (1 << 24), 50, None)
            },
            Silent,
            Some(RepeatedRequest),
        ),
        case(
            "twice, byte for byte",
            |lab| {
                let sent = stamped(lab, STAMP, 50, None);
                assert_eq!(lab.ask(&sent), Session);
                sent
            },
            Silent,
            Some(RepeatedRequest),
        ),
        case(
            "twice, byte for byte, from elsewhere",
            |lab| {
                let sent = stamped(lab, STAMP, 50, None);
                assert_eq!(lab.ask(&sent), Session);
                lab.from = crate::address(66);
                sent
            },
            Silent,
            Some(RepeatedRequest),
        ),
        case(
            "byte for byte, five minutes later",
            |lab| {
                let sent = stamped(lab, STAMP, 50, None);
                assert_eq!(lab.ask(&sent), Session);
                lab.now += 300_000;
                lab.hand(b"StadiumP nothing, but time has gone by");
                sent
            },
            Retry,
            stale,
        ),
    ]
}

/// What the cells ask for and the node does not give.
fn policy() -> Vec<Case> {
    let mut all = Vec::new();
    let no = Some(NotAllowed);
    let mut asks = |name: &str, key, value, code, noise| {
        let cells = good().with(key, value).encode();
        all.push(lbm(format!("request {name}"), cells, Status(code, noise), no));
    };
    asks("of unknown hashes", 0x02, array(&[0, 9, u64::MAX]), 3, None);
    asks("of unknown ciphers", 0x05, array(&[0, 3, u64::MAX]), 5, None);
    for (what, byte) in [
        ("more noise than is granted", 0x20),
        ("filler where none is granted", 0x02),
        ("a reserved ratio", 0xe0),
        ("a reserved size", 0x18),
        ("a reserved filler", 0x06),
        ("the reserved bit", 0x01),
        ("all bits of noise", 0xff),
    ] {
        asks(&format!("of {what}"), 0x07, uint(byte), 7, Some(0));
    }
    asks("with an ML-KEM key of coefficients above q", 0x0b, bytes(&[0xff; 1184]), 10, None);
    let mut one_off = KemSecret::from_seed([3; 64]).public().to_vec();
    // the first coefficient becomes q itself
    (one_off[0], one_off[1]) = (0x01, (one_off[1] & 0xf0) | 0x0d);
    asks("with an ML-KEM key with one coefficient q", 0x0b, bytes(&one_off), 10, None);

    let on = |name: &str, cells: Vec<u8>, code, settings: fn(&mut Settings)| {
        lbm(name, cells, Status(code, None), no).on(settings)
    };
    all.push(on(
        "request of SHA-512 where it is not taken",
        good().with(0x02, array(&[2])).encode(),
        3,
        |s| s.hashes = vec![HashAlg::Sha256],
    ));
    all.push(on(
        "request of AES where it is not taken",
        good().with(0x05, array(&[2])).encode(),
        5,
        |s| s.ciphers = vec![Cipher::ChaCha20Poly1305],
    ));
    all.push(on("request without ML-KEM where it is required", good().encode(), 11, |s| {
        s.post_quantum = PostQuantum::Require;
    }));
    let stranger = |name: &str, verdict| {
        let make = |lab: &mut Lab| {
            lab.rogue = identity(9);
            let key = bytes(identity(9).public().as_bytes());
            lab.plan().seal(&good().with(0x04, key).encode())
        };
        Case::new(name, make, verdict, Some(UnknownPeer))
    };
    all.push(stranger("request of a stranger", Status(6, None)));
    all.push(stranger("request of a stranger in stealth mode", Silent).on(|s| s.stealth = true));
    for (what, value) in [("hash", 0x02), ("cipher", 0x05)] {
        let cells = good().with(value, array(&[9])).encode();
        let name = format!("request of an unknown {what} in stealth mode");
        all.push(lbm(name, cells, Silent, no).on(|s| s.stealth = true));
    }
    let version = good().with(0x01, uint(2)).encode();
    let name = "request of version 2 in stealth mode";
    all.push(lbm(name, version, Silent, Some(Malformed)).on(|s| s.stealth = true));
    // an ML-KEM key that nobody uses is nobody's business
    let bad = good().with(0x0b, bytes(&[0xff; 1184])).encode();
    let name = "request with a bad ML-KEM key where it is off";
    all.push(lbm(name, bad, Session, None).on(|s| s.post_quantum = PostQuantum::Off));
    all
}

#[test]
fn every_cell_of_a_request_is_checked() {
    run(cases());
}
