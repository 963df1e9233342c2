//! An engine as responder, and a rogue that asks it.

use crate::{
    Outbox, address, assert_counted, at,
    cells::{Cells, array, bytes, uint},
    engine, identity, peer_config,
    schedule::{REQUEST_LABEL, RequestPlan, Sent, Signing},
};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305,
    aead::{Aead as _, Payload},
};
use stadium_proto::{
    drop::DropReason,
    engine::{Change, Engine, Input, PeerConfig, PostQuantum, Settings},
    handshake::RetryKey,
    identity::{Identity, PresharedKey, PublicKey},
    lbm::{ConsentCells, Map},
    wire::{ConsentView, ErrorView, FLAG_ENCRYPTED, RetryView},
};
use std::net::SocketAddr;

/// The timestamp of a rogue's REQUESTs, unless it is what is wrong.
pub(crate) const STAMP: u64 = crate::WALL & !0xff_ffff;

/// What an engine does with a REQUEST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing goes out.
    Silent,
    /// A clear ERROR with this code.
    Error(u8),
    /// A status, and the noise byte in it.
    Status(u8, Option<u8>),
    /// A RETRY.
    Retry,
    /// A consent to a session.
    Session,
}

/// Makes a REQUEST.
type Make = Box<dyn Fn(&mut Lab) -> Sent>;

/// One wrong thing in a REQUEST.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) settings: fn(&mut Settings),
    /// Makes the REQUEST; honest preparations may come before.
    pub(crate) make: Make,
    pub(crate) verdict: Verdict,
    pub(crate) counter: Option<DropReason>,
}

impl Case {
    pub(crate) fn new(
        name: impl Into<String>,
        make: impl Fn(&mut Lab) -> Sent + 'static,
        verdict: Verdict,
        counter: impl Into<Option<DropReason>>,
    ) -> Self {
        let (name, make, counter) = (name.into(), Box::new(make), counter.into());
        Self { name, settings: |_| {}, make, verdict, counter }
    }

    /// Changes the engine's settings.
    pub(crate) fn on(mut self, settings: fn(&mut Settings)) -> Self {
        self.settings = settings;
        self
    }
}

/// A responder and its rogue.
pub(crate) struct Lab {
    pub(crate) engine: Engine,
    pub(crate) now: u64,
    pub(crate) rogue: Identity,
    pub(crate) to: PublicKey,
    pub(crate) from: SocketAddr,
}

impl Lab {
    pub(crate) fn new(settings: fn(&mut Settings)) -> Self {
        let mut all = Settings { post_quantum: PostQuantum::Prefer, ..Settings::default() };
        settings(&mut all);
        let mut engine = engine(2, all);
        let rogue = identity(1);
        let peers = [peer_config(*rogue.public(), None), {
            let key = *identity(4).public();
            PeerConfig { allowed_ips: vec![], ..peer_config(key, None) }
        }];
        let changes = peers.map(|peer| Change::Add(Box::new(peer)));
        for added in engine.apply(at(0), changes, &mut Outbox::default()) {
            added.unwrap();
        }
        let to = *identity(2).public();
        Self { engine, now: 0, rogue, to, from: address(1) }
    }

    /// How the rogue makes a REQUEST.
    pub(crate) fn plan(&self) -> RequestPlan<'_> {
        RequestPlan {
            by: &self.rogue,
            to: &self.to,
            flag: FLAG_ENCRYPTED,
            index_i: 0x0102_0304,
            ephemeral: [5; 32],
            signing: Signing::Right,
            label: REQUEST_LABEL,
            network_key: None,
            cookie: None,
        }
    }

    /// Hands the engine a datagram, and returns what it sends.
    pub(crate) fn hand(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Outbox::default();
        let input = Input::Handshake { remote: self.from, local: None, datagram };
        self.engine.handle(at(self.now), input, &mut out);
        let from = self.from;
        out.sent
            .into_iter()
            .map(|(to, datagram)| {
                assert_eq!(to.remote, from, "an answer goes to where the REQUEST came from");
                datagram
            })
            .collect()
    }

    /// Hands the engine a REQUEST and reads its answer.
    pub(crate) fn ask(&mut self, sent: &Sent) -> Verdict {
        let answers = self.hand(&sent.datagram);
        let [answer] = &answers[..] else {
            assert!(answers.is_empty(), "more than one answer");
            return Verdict::Silent;
        };
        assert!(answer.len() <= sent.datagram.len(), "an answer is no longer than its REQUEST");
        match answer[0] {
            1 => self.read_consent(sent, answer),
            2 => {
                RetryView::parse(answer).unwrap();
                Verdict::Retry
            }
            3 => {
                let view = ErrorView::parse(answer).unwrap();
                assert_eq!(view.max_version(), 1);
                assert_eq!(&view.echo()[..], &sent.datagram[sent.datagram.len() - 16..]);
                Verdict::Error(view.code())
            }
            other => panic!("kind {other}"),
        }
    }

    fn read_consent(&self, sent: &Sent, answer: &[u8]) -> Verdict {
        if ConsentView::parse(answer).unwrap().kem_len() != 0 {
            return Verdict::Session;
        }
        let none = *PresharedKey::NONE.as_bytes();
        let (text, _) = sent.open(&self.rogue, &self.to, &none, answer).expect("it opens");
        let (map, used) = Map::decode_prefix(&text).unwrap();
        let encrypted = sent.datagram[8] == FLAG_ENCRYPTED;
        assert_eq!(text.len() - used, if encrypted { 0 } else { 64 });
        match ConsentCells::from_map(encrypted, &map).unwrap() {
            ConsentCells::Session(_) => Verdict::Session,
            ConsentCells::Status(cells) => Verdict::Status(cells.status, cells.noise),
        }
    }
}

/// Opens the RETRY to a REQUEST; gives its cookie and its challenge.
pub(crate) fn open_retry(to: &PublicKey, sent: &Sent, answer: &[u8]) -> ([u8; 16], [u8; 12]) {
    let view = RetryView::parse(answer).unwrap();
    let mac = &sent.datagram[sent.datagram.len() - 16..];
    let key = RetryKey::new(Some(to), None);
    let payload = Payload { msg: view.sealed(), aad: mac };
    let text = XChaCha20Poly1305::new(key.as_bytes().into())
        .decrypt(view.nonce().into(), payload)
        .unwrap();
    (text[..16].try_into().unwrap(), text[16..].try_into().unwrap())
}

/// The cells of an honest classic request of node 1.
pub(crate) fn good() -> Cells {
    Cells(vec![
        (0x01, uint(1)),
        (0x02, array(&[1])),
        (0x03, uint(1)),
        (0x04, bytes(identity(1).public().as_bytes())),
        (0x05, array(&[1])),
        (0x06, bytes(&[6; 32])),
        (0x08, uint(STAMP)),
        (0x0a, uint(1420)),
    ])
}

/// The cells of an honest open request of node 1.
pub(crate) fn good_open() -> Cells {
    Cells(vec![
        (0x01, uint(1)),
        (0x03, uint(1)),
        (0x04, bytes(identity(1).public().as_bytes())),
        (0x08, uint(STAMP)),
        (0x0a, uint(1420)),
        (0x40, bytes(&[0; 64])),
    ])
}

/// Runs all cases, each against an engine of its own, and an honest REQUEST after it.
pub(crate) fn run(cases: Vec<Case>) {
    for case in cases {
        let name = &case.name;
        let mut lab = Lab::new(case.settings);
        let sent = (case.make)(&mut lab);
        let before = lab.engine.shared().drops.all();
        assert_eq!(lab.ask(&sent), case.verdict, "{name}");
        assert_counted(&lab.engine, &before, case.counter, name);
        honest_request_is_still_answered(&mut lab, name);
    }
}

/// The peer itself, from another address and with a newer timestamp, is not locked out.
fn honest_request_is_still_answered(lab: &mut Lab, name: &str) {
    lab.rogue = identity(1);
    lab.to = *identity(2).public();
    lab.from = address(77);
    // past a measured load
    lab.now += 2_000;
    let kem = stadium_proto::crypto::KemSecret::from_seed([3; 64]);
    let cells = good().with(0x08, uint(STAMP + (1 << 40))).with(0x0b, bytes(&kem.public()[..]));
    let plan = RequestPlan { ephemeral: [0x99; 32], index_i: 0x99, ..lab.plan() };
    let sent = plan.seal(&cells.encode());
    assert_eq!(lab.ask(&sent), Verdict::Session, "{name}: then an honest REQUEST");
}
