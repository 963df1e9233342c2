//! Open and anonymous REQUESTs: every cell that has another place there, and who may send them.

use crate::{
    cells::{array, broken_maps, bytes, foreign_values, uint},
    identity,
    keys::bad_points,
    responder::{Case, Lab, STAMP, Verdict, good_open, run},
    schedule::{RequestPlan, Sent, Signing},
};
use Verdict::{Session, Silent, Status};
use stadium_proto::{
    drop::DropReason::{self, BadMac, BadSignature, Malformed, NotAllowed, TooLarge, UnknownPeer},
    engine::{PostQuantum, Settings},
    handshake::MacKey,
    wire::FLAG_OPEN,
};

fn takes_open(settings: &mut Settings) {
    settings.allow_open = true;
}

fn takes_anonymous(settings: &mut Settings) {
    settings.allow_anonymous = true;
}

fn open_plan(lab: &Lab) -> RequestPlan<'_> {
    RequestPlan { flag: FLAG_OPEN, ..lab.plan() }
}

fn lbm(name: impl Into<String>, lbm: Vec<u8>, verdict: Verdict, why: Option<DropReason>) -> Case {
    Case::new(name, move |lab| open_plan(lab).seal(&lbm), verdict, why).on(takes_open)
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = shapes();
    all.extend(policy());
    all.extend(anonymous());
    all
}

fn shapes() -> Vec<Case> {
    let mut all = Vec::new();
    let bad = Some(Malformed);
    for key in [0x01, 0x04, 0x08, 0x0a] {
        let cells = good_open().without(key).encode();
        all.push(lbm(format!("open request without {key:#x}"), cells, Silent, bad));
    }
    for (key, value) in [
        (0x06, bytes(&[6; 32])),
        (0x0c, uint(1)),
        (0x0d, uint(1)),
        (0x10, uint(1)),
        (0x11, uint(0)),
        (0x12, uint(0)),
        (0x3f, uint(0)),
        (0x01, uint(0)),
        (0x01, uint(2)),
        (0x01, uint(0x81)),
        (0x02, uint(1)),
        (0x03, uint(2)),
        (0x05, uint(1)),
        (0x07, uint(256)),
        (0x08, uint(STAMP | 1)),
        (0x09, bytes(&[0; 11])),
        (0x0a, uint(1279)),
        (0x0b, bytes(&[0; 1183])),
        (0x0e, bytes(&[1])),
        (0x0f, uint(0)),
        (0x0f, uint(65)),
        (0x40, uint(1)),
    ] {
        let name = format!("open request with {key:#x} = {:02x?}", &value[..value.len().min(10)]);
        all.push(lbm(name, good_open().with(key, value).encode(), Silent, bad));
    }
    let cells = good_open().without(0x03).encode();
    all.push(lbm("open request without its signature's algorithm", cells, Session, None));
    for (what, value) in foreign_values() {
        let cells = good_open().with(0x41, value).encode();
        all.push(lbm(format!("open request 0x41 as {what}"), cells, Silent, bad));
    }
    for (what, map) in broken_maps(&good_open()) {
        all.push(lbm(format!("open request as {what}"), map, Silent, bad));
    }
    for (what, point) in bad_points(identity(1).public().as_bytes()) {
        let cells = good_open().with(0x04, bytes(&point)).encode();
        all.push(lbm(format!("open request 0x4 is {what}"), cells, Silent, bad));
    }
    let own = good_open().with(0x04, bytes(identity(2).public().as_bytes())).encode();
    all.push(lbm("open request 0x4 is the responder's own", own, Silent, Some(NotAllowed)));
    for (signing, counter) in
        [(Signing::None, Malformed), (Signing::Longer, Malformed), (Signing::Wrong, BadSignature)]
    {
        let make = move |lab: &mut Lab| {
            RequestPlan { signing, ..open_plan(lab) }.seal(&good_open().encode())
        };
        let name = format!("open request signed {signing:?}");
        all.push(Case::new(name, make, Silent, counter).on(takes_open));
    }
    for (what, at) in [("index", 9), ("E_i", 13), ("flag", 8), ("filler", 120)] {
        // nothing but the signature vouches for an open request
        let make = move |lab: &mut Lab| {
            let mut sent = open_plan(lab).seal(&good_open().encode());
            sent.datagram[at] ^= 1;
            let end = sent.datagram.len() - 16;
            let mac = MacKey::new(None, None).mac(None, &sent.datagram[..end]);
            sent.datagram[end..].copy_from_slice(&mac);
            sent
        };
        let name = format!("open request with another {what} under a right mac");
        all.push(Case::new(name, make, Silent, BadSignature).on(takes_open));
    }
    all
}

fn policy() -> Vec<Case> {
    let mut all = Vec::new();
    let no = Some(NotAllowed);
    for flag in [0x00, 0x01, 0x7b, 0xff] {
        let make =
            move |lab: &mut Lab| RequestPlan { flag, ..lab.plan() }.seal(&good_open().encode());
        let name = format!("open request with flag {flag:#x} where none is taken");
        all.push(Case::new(name, make, Silent, no));
        let name = format!("open request with flag {flag:#x} in stealth mode");
        all.push(Case::new(name, make, Silent, no).on(|settings| {
            settings.allow_open = true;
            settings.stealth = true;
        }));
        let name = format!("open request with flag {flag:#x} where they are taken");
        all.push(Case::new(name, make, Session, None).on(takes_open));
    }
    let other_mac = |lab: &mut Lab| {
        let mut sent = open_plan(lab).seal(&good_open().encode());
        let end = sent.datagram.len() - 16;
        let mac = MacKey::new(Some(&lab.to), None).mac(None, &sent.datagram[..end]);
        sent.datagram[end..].copy_from_slice(&mac);
        sent
    };
    let name = "open request with the mac of an encrypted one";
    all.push(Case::new(name, other_mac, Silent, BadMac).on(takes_open));
    let asks = |name: &str, key, value, code, noise| {
        let cells = good_open().with(key, value).encode();
        lbm(name, cells, Status(code, noise), no)
    };
    all.push(asks("open request of unknown hashes", 0x02, array(&[9]), 3, None));
    all.push(asks("open request of unknown ciphers", 0x05, array(&[9]), 5, None));
    all.push(asks("open request of too much noise", 0x07, uint(0x20), 7, Some(0)));
    all.push(asks("open request of reserved noise", 0x07, uint(0xe0), 7, Some(0)));
    all.push(asks("open request with a bad ML-KEM key", 0x0b, bytes(&[0xff; 1184]), 10, None));
    let cells = good_open().encode();
    let name = "open request without ML-KEM where it is required";
    all.push(lbm(name, cells, Status(11, None), no).on(|settings| {
        settings.allow_open = true;
        settings.post_quantum = PostQuantum::Require;
    }));
    let stranger = |lab: &mut Lab| {
        lab.rogue = identity(9);
        let key = bytes(identity(9).public().as_bytes());
        open_plan(lab).seal(&good_open().with(0x04, key).encode())
    };
    let name = "open request of a stranger";
    all.push(Case::new(name, stranger, Status(6, None), UnknownPeer).on(takes_open));
    // so short that its consent would be longer
    let short = good_open().without(0x03).with(0x08, uint(0)).without(0x40).encode();
    all.push(lbm("open request without filler", short, Silent, Some(TooLarge)));
    all
}

fn anonymous() -> Vec<Case> {
    let cells = || good_open().without(0x03).without(0x04).with(0x40, bytes(&[0; 140]));
    let unsigned = |lab: &Lab, lbm: &[u8]| -> Sent {
        RequestPlan { signing: Signing::None, ..open_plan(lab) }.seal(lbm)
    };
    let case = |name: &str, lbm: Vec<u8>, verdict, counter| {
        Case::new(name, move |lab: &mut Lab| unsigned(lab, &lbm), verdict, counter)
    };
    let signed = move |lab: &mut Lab| open_plan(lab).seal(&cells().encode());
    vec![
        case("anonymous request where none is taken", cells().encode(), Silent, NotAllowed),
        case("anonymous request where open ones are", cells().encode(), Silent, NotAllowed)
            .on(takes_open),
        Case::new("anonymous request with a signature", signed, Silent, Malformed)
            .on(takes_anonymous),
        case(
            "anonymous request with a signature's algorithm",
            cells().with(0x03, uint(1)).encode(),
            Silent,
            Malformed,
        )
        .on(takes_anonymous),
        // it gets no status, whatever is wrong
        case(
            "anonymous request of too much noise",
            cells().with(0x07, uint(0x20)).encode(),
            Silent,
            NotAllowed,
        )
        .on(takes_anonymous),
        Case::new(
            "open request where only anonymous ones are taken",
            |lab: &mut Lab| open_plan(lab).seal(&good_open().encode()),
            Silent,
            NotAllowed,
        )
        .on(takes_anonymous),
        case("anonymous request without filler", cells().without(0x40).encode(), Silent, TooLarge)
            .on(takes_anonymous),
    ]
}

#[test]
fn every_cell_of_an_open_request_is_checked() {
    run(cases());
}
