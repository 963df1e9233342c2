//! Every field of DATA wrong in turn, and every frame that a peer gone bad can seal, in a session
//! that is pending and in one that is confirmed.
//!
//! The datagrams go the way that they go in a worker: header, session, window, tag, kind of frame,
//! source of the packet, and to control what control must see.

use crate::{
    Change, Outbox, address, assert_counted, at, identity,
    responder::{Lab, good},
    schedule::RequestPlan,
};
use stadium_proto::{
    crypto::{Cipher, HashAlg, SealKey, Secret},
    drop::DropReason::{self, BadTag, Malformed, NotAllowed, Replay, TooLarge, UnknownIndex},
    engine::{Input, OpenedNotice},
    frame::{Frame, StreamHeader},
    identity::PresharedKey,
    lbm::{ConsentCells, Map},
    session::DataHeader,
};
use std::sync::Arc;

/// What a node does with a DATA datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Dropped before it proves anything: the session stays as it was.
    Dropped(DropReason),
    /// It comes from the peer, but what is in it is dropped.
    Opened(DropReason),
    /// It comes from the peer, and means nothing.
    Ignored,
    /// It is answered with so many datagrams.
    Answered(usize),
    /// It ends the session.
    Ended,
}

/// Makes a datagram.
type Make = Box<dyn Fn(&mut Link) -> Vec<u8>>;

/// One wrong thing in DATA.
pub(crate) struct Case {
    pub(crate) name: String,
    confirmed: bool,
    make: Make,
    fate: Fate,
}

/// A session between the engine and a rogue.
struct Link {
    lab: Lab,
    index: u32,
    /// The rogue's sending key and its receiving key.
    keys: [Secret; 2],
}

impl Link {
    fn new(confirmed: bool) -> Self {
        let mut lab = Lab::new(|_| {});
        let plan = RequestPlan { ephemeral: [33; 32], ..lab.plan() };
        let sent = plan.seal(&good().encode());
        let consent = lab.hand(&sent.datagram).remove(0);
        let none = *PresharedKey::NONE.as_bytes();
        let (text, schedule) = sent.open(&lab.rogue, &lab.to, &none, &consent).unwrap();
        let (map, _) = Map::decode_prefix(&text).unwrap();
        let Ok(ConsentCells::Session(cells)) = ConsentCells::from_map(true, &map) else {
            panic!("a session")
        };
        let index = cells.index_r;
        let keys = schedule.data_keys(HashAlg::Sha256, Cipher::ChaCha20Poly1305);
        let mut link = Self { lab, index, keys };
        if confirmed {
            let first = link.seal(0, PING);
            assert_eq!(link.take(first).map(|out| out.sent.len()), Ok(1), "a pong");
        }
        link
    }

    /// Seals a frame with this counter.
    fn seal(&self, counter: u64, frame: &[u8]) -> Vec<u8> {
        self.seal_as(0, counter, frame, &self.keys[0], Cipher::ChaCha20Poly1305)
    }

    fn seal_as(
        &self,
        flags: u8,
        counter: u64,
        frame: &[u8],
        key: &Secret,
        aead: Cipher,
    ) -> Vec<u8> {
        let index = self.index.to_le_bytes();
        let header = [&[4, flags, 0, 0], &index[..], &counter.to_le_bytes()].concat();
        let nonce = [&[0; 4], &counter.to_le_bytes()[..]].concat().try_into().unwrap();
        let mut text = frame.to_vec();
        let tag = SealKey::new(aead, key).seal(nonce, &header, &mut text);
        [header, text, tag.to_vec()].concat()
    }

    /// Takes a datagram as a worker does.
    fn take(&mut self, mut datagram: Vec<u8>) -> Result<Outbox, (bool, DropReason)> {
        let before = |reason: DropReason| (false, reason);
        let shared = Arc::clone(self.lab.engine.shared());
        let header = DataHeader::parse(&datagram).map_err(|error| before(error.into()))?;
        let session = shared.session(header.index).ok_or(before(UnknownIndex))?;
        let session = Arc::clone(&session);
        let opened = {
            let mut window = session.window(header.lane()).ok_or(before(Malformed))?;
            session.open(&header, &mut window, &mut datagram).map_err(before)?
        };
        let plaintext = &datagram[opened.plaintext];
        let mut control: &[u8] = &[];
        let mut reason = None;
        match Frame::parse(plaintext) {
            Ok(Frame::Packet { source, .. }) => {
                let belongs = shared
                    .peers()
                    .route(source)
                    .is_some_and(|peer| Arc::ptr_eq(peer, session.peer()));
                reason = (!belongs).then_some(NotAllowed);
            }
            Ok(Frame::Control) => control = plaintext,
            Ok(Frame::Stream) => reason = StreamHeader::parse(plaintext).err(),
            Ok(Frame::Keepalive | Frame::Noise) => {}
            Err(why) => reason = Some(why),
        }
        let mut out = Outbox::default();
        let notice = OpenedNotice {
            index: header.index,
            remote: self.lab.from,
            local: None,
            highest: opened.highest,
            first: session.confirm(),
            control,
        };
        self.lab.engine.handle(at(self.lab.now), Input::Opened(notice), &mut out);
        reason.map_or(Ok(out), |reason| Err((true, reason)))
    }

    fn is_confirmed(&self) -> bool {
        self.lab.engine.shared().session(self.index).is_some_and(|session| session.is_confirmed())
    }
}

/// A ping, of which the id is 7.
const PING: &[u8] = &[1, 0xa2, 0, 1, 1, 7];
/// A counter that nobody has used.
const FRESH: u64 = 5;

pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for confirmed in [false, true] {
        all.extend(headers(confirmed));
        all.extend(frames(confirmed));
    }
    all.extend(replays());
    all
}

fn case(
    name: impl core::fmt::Display,
    confirmed: bool,
    make: impl Fn(&mut Link) -> Vec<u8> + 'static,
    fate: Fate,
) -> Case {
    let phase = if confirmed { "confirmed" } else { "pending" };
    Case { name: format!("{phase} session: {name}"), confirmed, make: Box::new(make), fate }
}

fn headers(confirmed: bool) -> Vec<Case> {
    let mut all = Vec::new();
    let mut bad = |name: String, change: Change, reason| {
        let make = move |link: &mut Link| {
            let mut datagram = link.seal(FRESH, PING);
            change(&mut datagram);
            datagram
        };
        all.push(case(name, confirmed, make, Fate::Dropped(reason)));
    };
    for flags in [0x01, 0x02, 0x80, 0xff] {
        let set = Box::new(move |d: &mut Vec<u8>| d[1] = flags);
        bad(format!("flags {flags:#x} set on the way"), set, Malformed);
    }
    for byte in [2, 3] {
        let set = Box::new(move |d: &mut Vec<u8>| d[byte] = 1);
        bad(format!("reserved byte {byte} set"), set, Malformed);
    }
    bad("index 0".into(), Box::new(|d| d[4..8].fill(0)), Malformed);
    for byte in 4..8_usize {
        let flip = Box::new(move |d: &mut Vec<u8>| d[byte] ^= 0x40);
        bad(format!("byte {byte}, of the index, wrong"), flip, UnknownIndex);
    }
    bad("another sequence".into(), Box::new(|d| d[8] ^= 1), BadTag);
    bad("a sequence far ahead".into(), Box::new(|d| d[13] = 1), BadTag);
    bad("a lane that was not announced".into(), Box::new(|d| d[15] = 1), Malformed);
    bad("lane 255".into(), Box::new(|d| d[15] = 255), Malformed);
    bad("another byte of the frame".into(), Box::new(|d| d[16] ^= 1), BadTag);
    bad(
        "the start of the tag wrong".into(),
        Box::new(|d| {
            let at = d.len() - 16;
            d[at] ^= 1;
        }),
        BadTag,
    );
    bad(
        "the end of the tag wrong".into(),
        Box::new(|d| {
            let at = d.len() - 1;
            d[at] ^= 0x80;
        }),
        BadTag,
    );
    for len in [1, 15, 16, 31] {
        bad(format!("{len} bytes"), Box::new(move |d| d.truncate(len)), Malformed);
    }
    bad("32 bytes".into(), Box::new(|d| d.truncate(32)), BadTag);
    bad("a byte less".into(), Box::new(|d| d.truncate(d.len() - 1)), BadTag);
    bad("a byte more".into(), Box::new(|d| d.push(0)), BadTag);
    bad("more than the payload limit".into(), Box::new(|d| d.resize(1420 + 33, 0)), TooLarge);
    bad("65,507 bytes".into(), Box::new(|d| d.resize(65_507, 0)), TooLarge);

    let sealed = |name: &str, make: fn(&Link) -> Vec<u8>, reason| {
        case(name, confirmed, move |link: &mut Link| make(link), Fate::Dropped(reason))
    };
    all.push(sealed(
        "sealed with the other direction's key",
        |link| link.seal_as(0, FRESH, PING, &link.keys[1], Cipher::ChaCha20Poly1305),
        BadTag,
    ));
    all.push(sealed(
        "sealed with the other cipher",
        |link| link.seal_as(0, FRESH, PING, &link.keys[0], Cipher::Aes256Gcm),
        BadTag,
    ));
    all.push(sealed(
        "sealed with a key of zeros",
        |link| link.seal_as(0, FRESH, PING, &Secret::new([0; 32]), Cipher::ChaCha20Poly1305),
        BadTag,
    ));
    all.push(sealed(
        "a partial checksum that was not agreed, sealed",
        |link| link.seal_as(1, FRESH, PING, &link.keys[0], Cipher::ChaCha20Poly1305),
        Malformed,
    ));
    all.push(sealed(
        "a lane that was not announced, sealed",
        |link| link.seal(1 << 56, PING),
        Malformed,
    ));
    all.push(sealed(
        "a frame above the payload limit, sealed",
        |link| link.seal(FRESH, &[0; 1421]),
        TooLarge,
    ));
    all
}

/// An IPv4 packet from this address, with its header only.
fn v4(source: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 20, 0, 0, 0x40, 0, 64, 17, 0, 0];
    packet.extend(source);
    packet.extend([10, 7, 0, 1]);
    packet
}

/// An IPv6 packet from this address, with its header only.
fn v6(source: [u8; 16]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, 17, 64];
    packet.extend(source);
    packet.extend([0xfd; 16]);
    packet
}

fn frames(confirmed: bool) -> Vec<Case> {
    let mut all = Vec::new();
    let mut sealed = |name: String, frame: Vec<u8>, fate| {
        all.push(case(name, confirmed, move |link: &mut Link| link.seal(FRESH, &frame), fate));
    };
    let opened = Fate::Opened(Malformed);
    for kind in [0x03, 0x3f, 0x50, 0x5f, 0x70, 0x80, 0xff] {
        sealed(format!("a frame of kind {kind:#x}"), vec![kind; 60], opened);
    }
    sealed("a keepalive".into(), vec![], Fate::Ignored);
    sealed("noise".into(), vec![0; 1420], Fate::Ignored);
    sealed("a packet of the peer".into(), v4([10, 7, 0, 9]), Fate::Ignored);
    sealed(
        "a packet of the peer, and filler".into(),
        [v4([10, 7, 0, 9]), vec![9; 99]].concat(),
        Fate::Ignored,
    );
    let foreign = Fate::Opened(NotAllowed);
    sealed("a packet from an address of nobody".into(), v4([10, 8, 0, 9]), foreign);
    sealed("a packet from 0.0.0.0".into(), v4([0; 4]), foreign);
    sealed("a packet from everybody".into(), v4([255; 4]), foreign);
    sealed("a packet from loopback".into(), v4([127, 0, 0, 1]), foreign);
    sealed("an IPv6 packet from nobody".into(), v6([0x20; 16]), foreign);
    sealed("an IPv6 packet from ::".into(), v6([0; 16]), foreign);
    sealed(
        "an IPv6 packet from the peer's IPv4 address, mapped".into(),
        v6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 7, 0, 9]),
        foreign,
    );
    let packet = v4([10, 7, 0, 9]);
    sealed("an IPv4 packet of one byte".into(), packet[..1].to_vec(), opened);
    sealed("an IPv4 packet of 19 bytes".into(), packet[..19].to_vec(), opened);
    for (what, at, byte) in [
        ("header of 16 bytes", 0, 0x44),
        ("header of 0 bytes", 0, 0x40),
        ("header longer than itself", 0, 0x4f),
        ("length of 19", 3, 19),
        ("length of 0", 3, 0),
        ("length a byte too long", 3, 21),
        ("length of 65 KB", 2, 0xff),
    ] {
        let mut packet = packet.clone();
        packet[at] = byte;
        sealed(format!("an IPv4 packet with a {what}"), packet, opened);
    }
    let packet = v6([0xfd; 16]);
    sealed("an IPv6 packet of 39 bytes".into(), packet[..39].to_vec(), opened);
    let mut long = packet;
    long[5] = 1;
    sealed("an IPv6 packet with a length a byte too long".into(), long, opened);

    for (what, map) in [
        ("nothing", &[][..]),
        ("an empty map", &[0xa0]),
        ("an array", &[0x82, 0, 1]),
        ("a map cut short", &[0xa2, 0, 1, 1]),
        ("a map without a kind", &[0xa1, 1, 7]),
        ("a kind that is bytes", &[0xa2, 0, 0x41, 1, 1, 7]),
        ("a kind in one byte too many", &[0xa2, 0, 0x18, 1, 1, 7]),
        ("an indefinite map", &[0xbf, 0, 1, 1, 7, 0xff]),
        ("keys out of order", &[0xa2, 1, 7, 0, 1]),
        ("a key twice", &[0xa3, 0, 1, 0, 1, 1, 7]),
        ("17 entries", &[0xb1, 0, 1, 1, 7]),
        ("a nested map", &[0xa2, 0, 1, 1, 0xa0]),
        ("a text", &[0xa3, 0, 1, 1, 7, 2, 0x61, 0x61]),
        ("a negative id", &[0xa2, 0, 1, 1, 0x20]),
        ("a ping without an id", &[0xa1, 0, 1]),
        ("a ping with an id of bytes", &[0xa2, 0, 1, 1, 0x41, 7]),
        ("a pong without an id", &[0xa1, 0, 2]),
        ("a ticket without a number", &[0xa2, 0, 4, 2, 7]),
        ("a ticket without a lifetime", &[0xa2, 0, 4, 1, 7]),
        ("a ticket of 33 bits", &[0xa3, 0, 4, 1, 0x1b, 0, 0, 0, 1, 0, 0, 0, 0, 2, 7]),
    ] {
        sealed(format!("control: {what}"), [&[1], map].concat(), opened);
    }
    for (what, map, fate) in [
        ("an unknown kind", &[0xa1, 0, 5][..], Fate::Ignored),
        ("an unknown key", &[0xa3, 0, 1, 1, 7, 9, 0x41, 1], Fate::Answered(1)),
        ("a ping and filler", &[0xa2, 0, 1, 1, 7, 9, 9, 9], Fate::Answered(1)),
        ("a pong to no ping", &[0xa2, 0, 2, 1, 7], Fate::Ignored),
        ("a ticket where early data is off", &[0xa3, 0, 4, 1, 7, 2, 7], Fate::Ignored),
        ("a close", &[0xa2, 0, 3, 1, 0], Fate::Ended),
        ("a close with an unknown reason", &[0xa2, 0, 3, 1, 0x18, 0xff], Fate::Ended),
    ] {
        sealed(format!("control: {what}"), [&[1], map].concat(), fate);
    }
    for (what, frame) in [
        ("of one byte", &[2][..]),
        ("of seven bytes", &[2, 0, 0, 0, 1, 0, 0]),
        ("with its reserved byte set", &[2, 1, 0, 0, 1, 0, 0, 0]),
        ("shorter than it says", &[2, 0, 2, 0, 1, 0, 0, 0, 9]),
        ("of 65 KB, it says", &[2, 0, 0xff, 0xff, 1, 0, 0, 0, 9]),
    ] {
        sealed(format!("a stream frame {what}"), frame.to_vec(), opened);
    }
    all
}

fn replays() -> Vec<Case> {
    let dropped = Fate::Dropped(Replay);
    let mut all = vec![
        case(
            "a frame twice",
            true,
            |link| {
                let datagram = link.seal(FRESH, PING);
                assert!(link.take(datagram.clone()).is_ok());
                datagram
            },
            dropped,
        ),
        case(
            "a sequence twice, with another frame",
            true,
            |link| {
                let first = link.seal(FRESH, PING);
                assert!(link.take(first).is_ok());
                link.seal(FRESH, &[])
            },
            dropped,
        ),
        case("the first frame twice", true, |link| link.seal(0, PING), dropped),
        case(
            "a frame twice, the first with a wrong tag",
            true,
            |link| {
                let datagram = link.seal(FRESH, PING);
                let mut forged = datagram.clone();
                forged[20] ^= 1;
                assert!(matches!(link.take(forged), Err((false, BadTag))));
                datagram
            },
            Fate::Answered(1),
        ),
        case(
            "a forged frame far ahead, then an honest one",
            true,
            |link| {
                let mut forged = link.seal(1 << 40, PING);
                forged[20] ^= 1;
                assert!(matches!(link.take(forged), Err((false, BadTag))));
                link.seal(FRESH, PING)
            },
            Fate::Answered(1),
        ),
    ];
    for (behind, fate) in [(8_191, Fate::Answered(1)), (8_192, dropped), (100_000, dropped)] {
        let make = move |link: &mut Link| {
            let ahead = link.seal(200_000, PING);
            assert!(link.take(ahead).is_ok());
            link.seal(200_000 - behind, PING)
        };
        all.push(case(format!("a frame {behind} behind"), true, make, fate));
    }
    for (what, ms, fate) in [
        ("of another address", 0, Fate::Answered(2)),
        ("to a pending session after ten seconds", 10_001, Fate::Dropped(UnknownIndex)),
    ] {
        let make = move |link: &mut Link| {
            link.lab.from = address(66);
            link.lab.now += ms;
            let mut out = Outbox::default();
            link.lab.engine.handle(at(link.lab.now), Input::Timeout, &mut out);
            link.seal(FRESH, PING)
        };
        all.push(case(format!("a ping {what}"), ms == 0, make, fate));
    }
    all
}

#[test]
fn every_field_and_every_frame_of_data_is_checked() {
    for case in cases() {
        let name = &case.name;
        let mut link = Link::new(case.confirmed);
        let datagram = (case.make)(&mut link);
        let confirmed = link.is_confirmed();
        let before = link.lab.engine.shared().drops.all();
        let result = link.take(datagram);
        if let Err((_, reason)) = result {
            // as a worker does
            link.lab.engine.shared().drops.count(reason);
        }
        let counted = match case.fate {
            Fate::Dropped(reason) | Fate::Opened(reason) => Some(reason),
            _ => None,
        };
        // what control drops it counts itself
        let by_control = case.fate == Fate::Opened(Malformed) && result.is_ok();
        let sent = match (case.fate, &result) {
            (Fate::Dropped(reason), Err((false, got))) if reason == *got => 0,
            (Fate::Opened(reason), Err((true, got))) if reason == *got => 0,
            (Fate::Opened(_), Ok(out)) if by_control => out.sent.len(),
            (Fate::Ignored | Fate::Ended | Fate::Answered(_), Ok(out)) => out.sent.len(),
            (fate, got) => panic!("{name}: {fate:?}, not {:?}", got.as_ref().err()),
        };
        assert_counted(&link.lab.engine, &before, counted, name);
        assert_eq!(sent, if let Fate::Answered(n) = case.fate { n } else { 0 }, "{name}");
        match case.fate {
            Fate::Dropped(_) => assert_eq!(link.is_confirmed(), confirmed, "{name}"),
            Fate::Ended => {
                assert!(link.lab.engine.shared().session(link.index).is_none(), "{name}");
                continue;
            }
            _ => assert!(link.is_confirmed(), "{name}"),
        }
        // the session goes on
        if link.lab.engine.shared().session(link.index).is_some() {
            link.lab.from = address(1);
            let next = link.seal(300_000, PING);
            let answers = link.take(next).map(|out| out.sent.len());
            assert!(answers.is_ok_and(|n| n >= 1), "{name}: then an honest ping");
        }
    }
}

#[test]
fn a_pending_session_moves_nothing_until_a_frame_opens() {
    let mut link = Link::new(false);
    let id = link.lab.engine.peer_by_key(identity(1).public()).unwrap();
    let endpoint = |link: &Link| link.lab.engine.cell(id).unwrap().endpoint().map(|e| e.remote);
    assert_eq!(endpoint(&link), None);
    let mut forged = link.seal(0, PING);
    forged[17] ^= 1;
    link.lab.from = address(66);
    assert!(link.take(forged).is_err());
    assert_eq!(endpoint(&link), None, "a forged frame");
    link.lab.from = address(1);
    let first = link.seal(0, PING);
    assert!(link.take(first).is_ok());
    assert_eq!(endpoint(&link), Some(address(1)));
}
