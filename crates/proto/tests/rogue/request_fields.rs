//! Every field of an encrypted REQUEST's datagram wrong in turn, with and without a right mac, and
//! the guards before the first Diffie-Hellman.

use crate::{
    address,
    keys::weak_x25519,
    responder::{Case, Lab, Verdict, good, open_retry, run},
    schedule::{RequestPlan, Sent},
};
use Verdict::{Error, Retry, Session, Silent};
use stadium_proto::{
    drop::DropReason::{BadMac, BadTag, Malformed, NotAllowed, RateLimited},
    engine::Input,
    guard::HandshakeRate,
    handshake::MacKey,
    identity::{NetworkKey, PublicKey},
};

fn sealed(lab: &Lab) -> Sent {
    lab.plan().seal(&good().encode())
}

/// Changes a good datagram, and leaves the mac as it was.
fn changed(change: impl Fn(&mut Vec<u8>) + 'static) -> impl Fn(&mut Lab) -> Sent + 'static {
    move |lab| {
        let mut sent = sealed(lab);
        change(&mut sent.datagram);
        sent
    }
}

/// Changes a good datagram, and makes its mac anew.
fn authentic(change: impl Fn(&mut Vec<u8>) + 'static) -> impl Fn(&mut Lab) -> Sent + 'static {
    move |lab| {
        let mut sent = sealed(lab);
        change(&mut sent.datagram);
        remac(&mut sent.datagram, Some(&lab.to), None);
        sent
    }
}

fn remac(datagram: &mut [u8], to: Option<&PublicKey>, cookie: Option<[u8; 16]>) {
    let end = datagram.len() - 16;
    let mac = MacKey::new(to, None).mac(cookie.as_ref(), &datagram[..end]);
    datagram[end..].copy_from_slice(&mac);
}

/// Makes the engine hand out its cookie for the rogue's address.
fn cookie(lab: &mut Lab) -> [u8; 16] {
    lab.engine.handle(crate::at(lab.now), Input::QueueDepth(1_000), &mut crate::Outbox::default());
    let sent = RequestPlan { ephemeral: [44; 32], ..lab.plan() }.seal(&good().encode());
    let answer = lab.hand(&sent.datagram).remove(0);
    let (cookie, challenge) = open_retry(&lab.to, &sent, &answer);
    assert_eq!(challenge, [0; 12], "a RETRY for load has no challenge");
    cookie
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = fields();
    all.extend(lengths());
    all.extend(guards());
    all
}

fn fields() -> Vec<Case> {
    let mut all = Vec::new();
    for byte in 0..8_usize {
        let name = format!("request with byte {byte} of its magic wrong");
        all.push(Case::new(name, changed(move |d| d[byte] ^= 0x20), Silent, Malformed));
    }
    let stale = |at: usize, bit: u8| changed(move |d: &mut Vec<u8>| d[at] ^= bit);
    for (what, at, bit) in [
        ("flag", 8, 1),
        ("index", 9, 1),
        ("last byte of the index", 12, 0x80),
        ("E_i", 13, 1),
        ("top bit of E_i", 44, 0x80),
        ("C1", 45, 1),
    ] {
        let name = format!("request with its {what} changed on the way");
        all.push(Case::new(name, stale(at, bit), Silent, BadMac));
    }
    for byte in 1..=16_usize {
        let name = format!("request with byte {byte} from the end of its mac wrong");
        let make = changed(move |d| {
            let at = d.len() - byte;
            d[at] ^= 1;
        });
        all.push(Case::new(name, make, Silent, BadMac));
    }
    let zero_mac = changed(|d| {
        let at = d.len() - 16;
        d[at..].fill(0);
    });
    all.push(Case::new("request with a mac of zeros", zero_mac, Silent, BadMac));
    let other = |lab: &mut Lab| {
        let mut sent = sealed(lab);
        remac(&mut sent.datagram, Some(crate::identity(3).public()), None);
        sent
    };
    all.push(Case::new("request with the mac of another node", other, Silent, BadMac));
    let open_mac = |lab: &mut Lab| {
        let mut sent = sealed(lab);
        remac(&mut sent.datagram, None, None);
        sent
    };
    all.push(Case::new("request with the mac of an open one", open_mac, Silent, BadMac));
    let network = |lab: &mut Lab| {
        let key = NetworkKey::from_bytes([1; 32]);
        RequestPlan { network_key: Some(&key), ..lab.plan() }.seal(&good().encode())
    };
    all.push(Case::new("request with a network key that is none", network, Silent, BadMac));
    let invented =
        |lab: &mut Lab| RequestPlan { cookie: Some([7; 16]), ..lab.plan() }.seal(&good().encode());
    all.push(Case::new("request with a cookie that was never given", invented, Silent, BadMac));

    let index = |d: &mut Vec<u8>| d[9..13].fill(0);
    all.push(Case::new("request with index 0", authentic(index), Silent, Malformed));
    for (what, at, bit) in [
        ("index", 9_usize, 1_u8),
        ("E_i", 13, 1),
        ("top bit of E_i", 44, 0x80),
        ("first byte of C1", 45, 1),
        ("signature inside C1", 200, 1),
    ] {
        let name = format!("request with another {what} under a right mac");
        let make = authentic(move |d| d[at] ^= bit);
        all.push(Case::new(name, make, Error(2), BadTag));
    }
    let tag = authentic(|d| {
        let at = d.len() - 17;
        d[at] ^= 0x80;
    });
    all.push(Case::new("request with another tag under a right mac", tag, Error(2), BadTag));
    for (n, point) in weak_x25519().into_iter().enumerate() {
        let make = authentic(move |d| d[13..45].copy_from_slice(&point));
        all.push(Case::new(format!("request with weak E_i {n}"), make, Silent, Malformed));
    }
    let to_other = |lab: &mut Lab| {
        let other = *crate::identity(3).public();
        let mut sent = RequestPlan { to: &other, ..lab.plan() }.seal(&good().encode());
        remac(&mut sent.datagram, Some(&lab.to), None);
        sent
    };
    all.push(Case::new("request sealed to another node", to_other, Error(2), BadTag));
    let open_flag = |lab: &mut Lab| {
        let mut sent = sealed(lab);
        sent.datagram[8] = 0;
        remac(&mut sent.datagram, None, None);
        sent
    };
    all.push(Case::new("request made an open one", open_flag, Silent, NotAllowed));
    all.push(
        Case::new("request made an open one where those are taken", open_flag, Silent, Malformed)
            .on(|settings| settings.allow_open = true),
    );
    all.push(
        Case::new("request that does not open in stealth mode", tag_off(), Silent, BadTag)
            .on(|settings| settings.stealth = true),
    );
    all
}

fn tag_off() -> impl Fn(&mut Lab) -> Sent + 'static {
    authentic(|d| {
        let at = d.len() - 17;
        d[at] ^= 0x80;
    })
}

fn lengths() -> Vec<Case> {
    let mut all = Vec::new();
    for (len, verdict, counter) in [
        (8, Silent, Malformed),
        (45, Silent, Malformed),
        (61, Silent, Malformed),
        (62, Error(2), BadTag),
        (76, Error(2), BadTag),
        (77, Error(2), BadTag),
        (1452, Error(2), BadTag),
        (1453, Silent, Malformed),
        (9000, Silent, Malformed),
        (65_507, Silent, Malformed),
    ] {
        let make = move |lab: &mut Lab| {
            let mut sent = sealed(lab);
            sent.datagram.resize(len, 0);
            if len >= 61 {
                remac(&mut sent.datagram, Some(&lab.to), None);
            }
            sent
        };
        all.push(Case::new(format!("request of {len} bytes"), make, verdict, counter));
    }
    for (what, by) in [("without its last byte", -1_isize), ("with a byte more", 1)] {
        let make = changed(move |d| {
            let len = d.len().saturating_add_signed(by);
            d.resize(len, 0);
        });
        all.push(Case::new(format!("request {what}"), make, Silent, BadMac));
    }
    all
}

/// Load, cookies and buckets.
fn guards() -> Vec<Case> {
    let limited = Some(RateLimited);
    let with_cookie = |lab: &mut Lab, cookie| {
        RequestPlan { cookie: Some(cookie), ..lab.plan() }.seal(&good().encode())
    };
    /// Takes all tokens of the rogue's address but those that `with` a cookie has.
    fn empty(lab: &mut Lab, cookie: Option<[u8; 16]>) {
        for n in 0..5 {
            // they open to nothing, and nobody answers more than an ERROR
            let plan = RequestPlan { ephemeral: [100 + n; 32], cookie, ..lab.plan() };
            let mut sent = plan.seal(&good().encode());
            sent.datagram[45] ^= 1;
            remac(&mut sent.datagram, Some(&lab.to.clone()), cookie);
            assert_eq!(lab.ask(&sent), Error(2));
        }
    }
    vec![
        Case::new(
            "request under load",
            |lab| {
                cookie(lab);
                sealed(lab)
            },
            Retry,
            limited,
        ),
        Case::new(
            "request under load, with its cookie",
            move |lab| {
                let cookie = cookie(lab);
                with_cookie(lab, cookie)
            },
            Session,
            None,
        ),
        Case::new(
            "request under load, with its cookie from another port",
            move |lab| {
                let cookie = cookie(lab);
                lab.from.set_port(9);
                with_cookie(lab, cookie)
            },
            Silent,
            BadMac,
        ),
        Case::new(
            "request under load, with its cookie from another address",
            move |lab| {
                let cookie = cookie(lab);
                lab.from = address(66);
                with_cookie(lab, cookie)
            },
            Silent,
            BadMac,
        ),
        Case::new(
            "request with a cookie of four minutes ago",
            move |lab| {
                let cookie = cookie(lab);
                for n in 1..=3 {
                    lab.now += 121_000;
                    // secrets rotate when a REQUEST comes
                    let sent = RequestPlan { ephemeral: [n; 32], ..lab.plan() };
                    let sent = sent.seal(&good().without(0x08).encode());
                    lab.hand(&sent.datagram);
                }
                with_cookie(lab, cookie)
            },
            Silent,
            BadMac,
        ),
        Case::new(
            "request from a source whose bucket is empty",
            |lab| {
                empty(lab, None);
                sealed(lab)
            },
            Retry,
            limited,
        ),
        Case::new(
            "request from another port of a source whose bucket is empty",
            |lab| {
                empty(lab, None);
                lab.from.set_port(9);
                sealed(lab)
            },
            Retry,
            limited,
        ),
        Case::new(
            "request from a source whose neighbour's bucket is empty",
            |lab| {
                empty(lab, None);
                lab.from = address(66);
                sealed(lab)
            },
            Session,
            None,
        ),
        Case::new(
            "request from the /64 of a source whose bucket is empty",
            |lab| {
                lab.from = "[2001:db8::1]:5".parse().unwrap();
                empty(lab, None);
                lab.from = "[2001:db8::ffff:0:0:1]:5".parse().unwrap();
                sealed(lab)
            },
            Retry,
            limited,
        ),
        Case::new(
            "request with a cookie where those have an empty bucket",
            move |lab| {
                let cookie = cookie(lab);
                empty(lab, Some(cookie));
                with_cookie(lab, cookie)
            },
            Silent,
            limited,
        ),
        Case::new(
            "request with a cookie where only the others' bucket is empty",
            move |lab| {
                let cookie = cookie(lab);
                lab.now += 1_100;
                empty(lab, None);
                with_cookie(lab, cookie)
            },
            Session,
            None,
        ),
        Case::new(
            "request that does not open, the eleventh in a second",
            |lab| {
                for n in 0..10 {
                    let sent = RequestPlan { ephemeral: [100 + n; 32], ..lab.plan() };
                    let mut sent = sent.seal(&good().encode());
                    sent.datagram[45] ^= 1;
                    remac(&mut sent.datagram, Some(&lab.to.clone()), None);
                    assert_eq!(lab.ask(&sent), Error(2));
                }
                let mut sent = sealed(lab);
                sent.datagram[45] ^= 1;
                remac(&mut sent.datagram, Some(&lab.to), None);
                sent
            },
            Silent,
            BadTag,
        )
        .on(|settings| settings.handshake_rate = HandshakeRate { per_second: 99, burst: 99 }),
    ]
}

#[test]
fn every_field_of_a_request_is_checked() {
    run(cases());
}
