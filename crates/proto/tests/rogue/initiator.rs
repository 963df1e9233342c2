//! An engine as initiator, and a rogue that answers it.

use crate::{
    Outbox, address, assert_counted, at,
    cells::{Cells, uint},
    engine, identity, peer_config,
    schedule::{ConsentPlan, Signing, Taken},
};
use stadium_proto::{
    crypto::Cipher,
    drop::DropReason,
    engine::{
        Change, Engine, Event, Input, PeerConfig, PeerError, PeerState, PostQuantum, Settings,
    },
    peer::PeerId,
};

/// What an engine does with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing; the handshake stays as it was.
    Dropped(DropReason),
    /// Nothing, but the user is told of this error.
    Told(DropReason, PeerError),
    /// The session is there, and its first ping is out.
    Session,
    /// It was taken as a refusal for this reason: what was asked is asked no more.
    Refused(PeerError),
    /// It was taken as a refusal for a reason that nobody knows.
    RefusedSomehow,
    /// It was noted as a hint.
    Hint(PeerError),
    /// It was followed: another REQUEST is out.
    Followed,
    /// It was taken and not followed.
    Taken,
}

/// Makes an answer.
type Make = Box<dyn Fn(&mut Lab) -> Vec<u8>>;

/// One wrong thing in an answer.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) settings: fn(&mut Settings),
    pub(crate) peer: fn(&mut PeerConfig),
    /// Makes the answer; honest preparations may come before.
    pub(crate) make: Make,
    pub(crate) outcome: Outcome,
}

impl Case {
    pub(crate) fn new(
        name: impl Into<String>,
        make: impl Fn(&mut Lab) -> Vec<u8> + 'static,
        outcome: Outcome,
    ) -> Self {
        let (name, make) = (name.into(), Box::new(make));
        Self { name, settings: |_| {}, peer: |_| {}, make, outcome }
    }

    /// Changes the engine's settings.
    pub(crate) fn on(mut self, settings: fn(&mut Settings)) -> Self {
        self.settings = settings;
        self
    }

    /// Changes what the engine knows of the rogue.
    pub(crate) fn with(mut self, peer: fn(&mut PeerConfig)) -> Self {
        self.peer = peer;
        self
    }
}

/// An initiator and the rogue that it asks.
pub(crate) struct Lab {
    pub(crate) engine: Engine,
    pub(crate) now: u64,
    pub(crate) id: PeerId,
    /// The REQUESTs that the rogue has.
    pub(crate) requests: Vec<Vec<u8>>,
    /// The preshared key of the pair.
    psk: [u8; 32],
}

impl Lab {
    pub(crate) fn new(settings: fn(&mut Settings), peer: fn(&mut PeerConfig)) -> Self {
        let mut all = Settings { post_quantum: PostQuantum::Off, ..Settings::default() };
        settings(&mut all);
        let mut engine = engine(1, all);
        let mut config = peer_config(*identity(2).public(), Some(address(2)));
        peer(&mut config);
        let psk = *config.preshared_key.as_bytes();
        let change = Change::Add(Box::new(config));
        let id = engine.apply(at(0), [change], &mut Outbox::default())[0].unwrap().unwrap();
        Self { engine, now: 0, id, requests: Vec::new(), psk }
    }

    /// Has the engine ask for a session.
    pub(crate) fn connect(&mut self) {
        let out = self.drive(Input::Connect(self.id));
        self.requests.extend(out.sent.into_iter().map(|(_, datagram)| datagram));
        assert_eq!(self.requests.len(), 1);
    }

    /// Lets time go by until the engine asks again.
    pub(crate) fn next_request(&mut self) {
        let (due, _) = self.engine.next_timeout().unwrap();
        self.now = due.as_nanos().div_ceil(1_000_000) - 1_000;
        let out = self.drive(Input::Timeout);
        self.requests.extend(out.sent.into_iter().map(|(_, datagram)| datagram));
    }

    fn drive(&mut self, input: Input<'_>) -> Outbox {
        let mut out = Outbox::default();
        self.engine.handle(at(self.now), input, &mut out);
        out
    }

    pub(crate) fn hand(&mut self, datagram: &[u8]) -> Outbox {
        self.drive(Input::Handshake { remote: address(2), local: None, datagram })
    }

    /// The last REQUEST as the rogue took it.
    pub(crate) fn taken(&self) -> Taken {
        Taken::of(self.requests.last().unwrap(), &identity(2), &[7; 32])
    }

    /// An honest way to seal a CONSENT.
    pub(crate) fn plan(&self) -> ConsentPlan {
        ConsentPlan {
            symmetric: 1,
            cipher: Cipher::ChaCha20Poly1305,
            kem: true,
            psk: self.psk,
            signing: Signing::Right,
        }
    }

    /// Seals cells honestly.
    pub(crate) fn seal(&self, lbm: &[u8]) -> Vec<u8> {
        self.taken().consent(&self.plan(), &identity(2), lbm).0
    }

    fn state(&self) -> PeerState {
        self.engine.peer_status(self.id, at(self.now).instant).unwrap().state
    }

    /// Hands an answer over and tells what came of it.
    fn answer(&mut self, name: &str, datagram: &[u8], expected: Outcome) {
        let before = self.engine.shared().drops.all();
        let out = self.hand(datagram);
        let counted = match expected {
            Outcome::Dropped(reason) | Outcome::Told(reason, _) => Some(reason),
            _ => None,
        };
        assert_counted(&self.engine, &before, counted, name);
        let told: Vec<PeerError> = out
            .events
            .iter()
            .filter_map(|event| match event {
                Event::AttemptFailed { error, .. } => Some(*error),
                _ => None,
            })
            .collect();
        let pings = out.sent.iter().filter(|(_, d)| d[0] == 4).count();
        let requests = out.sent.iter().filter(|(_, d)| d.starts_with(b"StadiumP")).count();
        assert_eq!(pings + requests, out.sent.len(), "{name}: what else goes out?");
        let (pings_due, requests_due, errors) = match expected {
            Outcome::Session => (1, 0, vec![]),
            Outcome::Followed => (0, 1, vec![]),
            Outcome::Told(_, error) | Outcome::Refused(error) | Outcome::Hint(error) => {
                (0, 0, vec![error])
            }
            Outcome::Dropped(_) | Outcome::RefusedSomehow | Outcome::Taken => (0, 0, vec![]),
        };
        assert_eq!((pings, requests, told), (pings_due, requests_due, errors), "{name}");
        assert_eq!(self.state(), PeerState::Handshaking, "{name}");
        self.requests.extend(
            out.sent.into_iter().filter(|(_, d)| d.starts_with(b"StadiumP")).map(|(_, d)| d),
        );
        match expected {
            Outcome::Dropped(_)
            | Outcome::Told(..)
            | Outcome::Hint(_)
            | Outcome::Followed
            | Outcome::Taken => self.assert_honest_consent_is_taken(name),
            Outcome::Refused(_) | Outcome::RefusedSomehow => {
                // the REQUEST is answered, the schedule goes on
                let late = self.seal(&good().encode());
                assert!(self.hand(&late).sent.is_empty(), "{name}: a refusal is final");
                self.next_request();
                self.assert_honest_consent_is_taken(name);
            }
            Outcome::Session => {}
        }
    }

    /// The handshake is as it was: the honest answer makes the session.
    pub(crate) fn assert_honest_consent_is_taken(&mut self, name: &str) {
        let mut cells = good();
        if self.requests.last().unwrap()[8] != 0x7a {
            cells = cells.with(0x04, crate::cells::bytes(identity(2).public().as_bytes()));
        }
        let (datagram, _) = self.taken().consent(&self.plan(), &identity(2), &cells.encode());
        let out = self.hand(&datagram);
        assert_eq!(out.sent.len(), 1, "{name}: then the honest answer");
        assert_eq!(out.sent[0].1[0], 4, "{name}: then the honest answer");
    }
}

/// The preshared key of the cases that have one.
pub(crate) const PSK: [u8; 32] = [0x77; 32];

/// The cells of an honest classic consent.
pub(crate) fn good() -> Cells {
    Cells(vec![
        (0x01, uint(1)),
        (0x02, uint(1)),
        (0x05, uint(1)),
        (0x0a, uint(1420)),
        (0x0c, uint(0x0a0b_0c0d)),
        (0x0d, uint(1)),
        (0x11, uint(0)),
    ])
}

/// The cells of a status.
pub(crate) fn status(code: u64) -> Cells {
    Cells(vec![(0x01, uint(1)), (0x0c, uint(0)), (0x11, uint(code))])
}

/// Runs all cases, each against an engine of its own.
pub(crate) fn run(cases: Vec<Case>) {
    for case in cases {
        let mut lab = Lab::new(case.settings, case.peer);
        lab.connect();
        let datagram = (case.make)(&mut lab);
        lab.answer(&case.name, &datagram, case.outcome);
    }
}
