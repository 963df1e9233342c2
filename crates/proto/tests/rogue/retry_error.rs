//! Every field of RETRY and ERROR wrong in turn.

use crate::{
    Change, identity,
    initiator::{Case, Lab, Outcome, run},
};
use Outcome::{Dropped, Followed, Hint, Taken};
use stadium_proto::{
    drop::DropReason::{BadTag, Malformed, RepeatedRequest, UnknownIndex},
    engine::{HandshakeKind, PeerError},
    handshake::{Retry, RetryKey, build_retry},
    identity::PublicKey,
    wire::{RequestView, error},
};

/// Seals a RETRY to the last REQUEST, as the node with this key does.
fn retry(lab: &Lab, key: Option<&PublicKey>) -> Vec<u8> {
    let request = RequestView::parse(lab.requests.last().unwrap()).unwrap();
    let content = Retry { cookie: [3; 16], challenge: None };
    build_retry(&RetryKey::new(key, None), &request, &content, &[9; 24]).to_vec()
}

fn honest_retry(lab: &Lab) -> Vec<u8> {
    retry(lab, Some(identity(2).public()))
}

/// An ERROR to the last REQUEST.
fn honest_error(lab: &Lab, code: u8) -> Vec<u8> {
    let request = RequestView::parse(lab.requests.last().unwrap()).unwrap();
    error(code, 1, request.index_i(), request.mac()).to_vec()
}

fn changed(
    name: impl Into<String>,
    make: fn(&Lab) -> Vec<u8>,
    change: impl Fn(&mut Vec<u8>) + 'static,
    outcome: Outcome,
) -> Case {
    let make = move |lab: &mut Lab| {
        let mut datagram = make(lab);
        change(&mut datagram);
        datagram
    };
    Case::new(name, make, outcome)
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = retries();
    all.extend(errors());
    all
}

fn retries() -> Vec<Case> {
    let mut all = vec![Case::new("RETRY", |lab| honest_retry(lab), Followed)];
    let mut bad = |name: String, change: Change, reason| {
        all.push(changed(name, honest_retry, change, Dropped(reason)));
    };
    for at in 1..4_usize {
        let set = Box::new(move |d: &mut Vec<u8>| d[at] = 1);
        bad(format!("RETRY with reserved byte {at} set"), set, Malformed);
    }
    bad("RETRY with index 0".into(), Box::new(|d| d[4..8].fill(0)), Malformed);
    bad("RETRY with another index".into(), Box::new(|d| d[5] ^= 1), UnknownIndex);
    bad("RETRY with another nonce".into(), Box::new(|d| d[8] ^= 1), BadTag);
    bad("RETRY with the end of its nonce wrong".into(), Box::new(|d| d[31] ^= 1), BadTag);
    bad("RETRY with another cookie".into(), Box::new(|d| d[32] ^= 1), BadTag);
    bad("RETRY with another challenge".into(), Box::new(|d| d[48] ^= 1), BadTag);
    bad("RETRY with another tag".into(), Box::new(|d| d[75] ^= 1), BadTag);
    for len in [1, 75, 77, 1452] {
        let cut = Box::new(move |d: &mut Vec<u8>| d.resize(len, 0));
        bad(format!("RETRY of {len} bytes"), cut, Malformed);
    }
    all.push(Case::new(
        "RETRY of another node",
        |lab| retry(lab, Some(identity(3).public())),
        Dropped(BadTag),
    ));
    all.push(Case::new("RETRY of an open handshake", |lab| retry(lab, None), Dropped(BadTag)));
    all.push(Case::new(
        "RETRY to another REQUEST",
        |lab| {
            let mut other = honest_retry(lab);
            lab.next_request();
            let index = lab.taken().index_i.to_le_bytes();
            other[4..8].copy_from_slice(&index);
            other
        },
        Dropped(BadTag),
    ));
    all.push(Case::new(
        "RETRY twice",
        |lab| {
            let first = honest_retry(lab);
            assert_eq!(lab.hand(&first).sent.len(), 1);
            first
        },
        Dropped(RepeatedRequest),
    ));
    all.push(Case::new(
        "RETRY to the second REQUEST",
        |lab| {
            follow(lab, 1);
            honest_retry(lab)
        },
        Followed,
    ));
    all.push(Case::new(
        "RETRY, the third in five seconds",
        |lab| {
            follow(lab, 2);
            honest_retry(lab)
        },
        Taken,
    ));
    all
}

/// Has the engine follow RETRYs.
fn follow(lab: &mut Lab, times: usize) {
    for _ in 0..times {
        let retry = honest_retry(lab);
        let out = lab.hand(&retry);
        assert_eq!(out.sent.len(), 1);
        lab.requests.extend(out.sent.into_iter().map(|(_, datagram)| datagram));
    }
}

fn errors() -> Vec<Case> {
    let mut all = vec![
        Case::new("ERROR 1", |lab| honest_error(lab, 1), Hint(PeerError::UnsupportedVersion)),
        Case::new("ERROR 2", |lab| honest_error(lab, 2), Hint(PeerError::CannotDecrypt)),
    ];
    for code in [0, 3, 4, 5, 6, 7, 8, 10, 11, 255] {
        let make = move |lab: &mut Lab| honest_error(lab, code);
        all.push(Case::new(format!("ERROR {code}"), make, Dropped(Malformed)));
    }
    let mut bad = |name: String, change: Change, reason| {
        all.push(changed(name, |lab| honest_error(lab, 2), change, Dropped(reason)));
    };
    bad("ERROR with its reserved byte set".into(), Box::new(|d| d[3] = 1), Malformed);
    bad("ERROR with index 0".into(), Box::new(|d| d[4..8].fill(0)), Malformed);
    bad("ERROR with another index".into(), Box::new(|d| d[6] ^= 1), UnknownIndex);
    for at in 8..24_usize {
        let flip = Box::new(move |d: &mut Vec<u8>| d[at] ^= 1);
        bad(format!("ERROR with byte {at}, of its echo, wrong"), flip, UnknownIndex);
    }
    for len in [1, 23, 25, 1452] {
        let cut = Box::new(move |d: &mut Vec<u8>| d.resize(len, 0));
        bad(format!("ERROR of {len} bytes"), cut, Malformed);
    }
    for code in [1, 2] {
        let make = move |lab: &mut Lab| honest_error(lab, code);
        let name = format!("ERROR {code} to an open REQUEST");
        all.push(
            Case::new(name, make, Dropped(Malformed))
                .on(|settings| settings.allow_open = true)
                .with(|peer| peer.handshake = HandshakeKind::Open),
        );
    }
    all
}

#[test]
fn every_field_of_retry_and_error_is_checked() {
    run(cases());
}

#[test]
fn a_hundred_errors_end_nothing() {
    let mut lab = Lab::new(|_| {}, |_| {});
    lab.connect();
    for n in 0..100 {
        let datagram = honest_error(&lab, 1 + n % 2);
        assert!(lab.hand(&datagram).sent.is_empty(), "an ERROR makes nobody send");
    }
    lab.next_request();
    assert_eq!(lab.requests.len(), 2, "the schedule goes on");
    lab.assert_honest_consent_is_taken("after a hundred ERRORs");
}
