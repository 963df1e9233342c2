//! The handshakes that the targets are run against, and a peer in them that seals whatever it
//! likes.

use std::sync::{Arc, LazyLock};

use stadium_proto::{
    crypto::{Cipher, HashAlg},
    handshake::{
        Answer, Established, Features, Grant, Initiator, InitiatorInputs, InitiatorParams, Offer,
        PostQuantum, RequestArgs, ResponderInputs, ResponderStatics, Target,
    },
    identity::{Identity, NetworkKey, PresharedKey, SecretKey},
    lbm::AlgorithmList,
    time::WallTime,
    wire::{FLAG_OPEN, RequestView},
};

#[path = "../../proto/tests/support/schedule.rs"]
mod schedule;

pub use schedule::{ConsentPlan, Schedule, Signing};
use schedule::{REQUEST_LABEL, RequestPlan, Taken};

/// The kinds of handshake that targets are run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Encrypted, classic, no preshared key.
    Encrypted,
    /// Encrypted, with ML-KEM offered, a preshared key and a network key.
    Hybrid,
    /// Encrypted, with ML-KEM required.
    HybridRequired,
    /// Open, the responder's key known.
    Pinned,
    /// Open, the responder's key not known yet.
    Unpinned,
    /// Open, without a key of the initiator.
    Anonymous,
}

/// All variants.
pub const VARIANTS: [Variant; 6] = [
    Variant::Encrypted,
    Variant::Hybrid,
    Variant::HybridRequired,
    Variant::Pinned,
    Variant::Unpinned,
    Variant::Anonymous,
];

impl Variant {
    /// Tells whether the flag is `0x7a`.
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Encrypted | Self::Hybrid | Self::HybridRequired)
    }

    /// Tells whether the initiator names itself.
    pub const fn is_named(self) -> bool {
        !matches!(self, Self::Anonymous)
    }

    /// Gives the preshared key of the pair.
    pub const fn psk(self) -> PresharedKey {
        match self {
            Self::Hybrid | Self::Unpinned => PresharedKey::from_bytes([0x77; 32]),
            _ => PresharedKey::NONE,
        }
    }

    /// Gives the policy for ML-KEM.
    pub const fn post_quantum(self) -> PostQuantum {
        match self {
            Self::Hybrid => PostQuantum::Offer,
            Self::HybridRequired => PostQuantum::Require,
            _ => PostQuantum::Off,
        }
    }

    /// Gives the network key.
    pub fn network_key(self) -> Option<NetworkKey> {
        (self == Self::Hybrid).then(|| NetworkKey::from_bytes([0x4e; 32]))
    }

    fn target(self) -> Target {
        let remote = *responder().public();
        match self {
            Self::Encrypted | Self::Hybrid | Self::HybridRequired => Target::Encrypted(remote),
            Self::Pinned => Target::open(true, Some(remote)),
            Self::Unpinned => Target::Open { flag: 0x5a, named: true, remote: None },
            Self::Anonymous => Target::open(false, Some(remote)),
        }
    }
}

/// Gives the initiator of all variants.
pub fn initiator() -> &'static Arc<Identity> {
    static IDENTITY: LazyLock<Arc<Identity>> = LazyLock::new(|| identity(1));
    &IDENTITY
}

/// Gives the responder of all variants.
pub fn responder() -> &'static Arc<Identity> {
    static IDENTITY: LazyLock<Arc<Identity>> = LazyLock::new(|| identity(2));
    &IDENTITY
}

fn identity(seed: u8) -> Arc<Identity> {
    Arc::new(Identity::new(SecretKey::from_seed([seed; 32])))
}

/// What the initiator offers in all variants.
pub fn offer() -> Offer {
    Offer {
        hashes: AlgorithmList::new(&[2, 9, 1]).expect("three codes"),
        ciphers: AlgorithmList::new(&[2, 1]).expect("two codes"),
        noise: 0,
        payload_limit: 1420,
        features: Features(3),
        lanes: 3,
    }
}

/// A REQUEST that was sent, and what its responder knows of it.
pub struct Scenario {
    /// The kind of handshake.
    pub variant: Variant,
    /// The initiator that waits for the answer.
    pub initiator: Initiator,
    /// The REQUEST.
    pub request: Vec<u8>,
    /// The REQUEST as its responder took it.
    taken: Taken,
}

/// Gives the scenario of a variant.
pub fn scenario(variant: Variant) -> &'static Scenario {
    static ALL: LazyLock<Vec<Scenario>> = LazyLock::new(|| VARIANTS.map(build).into());
    &ALL[variant as usize]
}

fn build(variant: Variant) -> Scenario {
    let (initiator, request) = start(variant, offer().lanes);
    let taken = Taken::of(&request, responder(), &E_R);
    Scenario { variant, initiator, request, taken }
}

fn start(variant: Variant, lanes: u8) -> (Initiator, Vec<u8>) {
    let params = InitiatorParams {
        identity: Arc::clone(initiator()),
        target: variant.target(),
        psk: variant.psk(),
        network_key: variant.network_key(),
        offer: Offer { lanes, ..offer() },
        post_quantum: variant.post_quantum(),
    };
    let inputs = InitiatorInputs {
        index_i: INDEX_I,
        ephemeral: [5; 32],
        connection_key: [6; 32],
        kem_seed: [4; 64],
        now: WallTime(1_790_000_000_000_000_000),
    };
    Initiator::start(params, &inputs, &RequestArgs::default()).expect("the parameters are good")
}

/// Runs an honest handshake and gives both sides' ends of it: the initiator's, the responder's.
pub fn established(variant: Variant, lanes: u8) -> (Established, Established) {
    let (initiator, request) = start(variant, lanes);
    let statics = ResponderStatics::new(Arc::clone(responder()), variant.network_key().as_ref());
    let view = RequestView::parse(&request).expect("a started REQUEST is one");
    let opened = statics.open(&view).expect("a started REQUEST opens");
    let inputs = ResponderInputs { index_r: 9, ephemeral: E_R, kem_message: [8; 32] };
    let (theirs, consent) =
        opened.consent(&inputs, &grant(), &variant.psk()).expect("the grant fits");
    match initiator.open_consent(&consent) {
        Ok(Answer::Session(mine)) => (*mine, theirs),
        other => panic!("{other:?}"),
    }
}

/// What the responder grants in [`established`].
pub fn grant() -> Grant {
    Grant {
        hash: HashAlg::Sha256,
        cipher: Cipher::ChaCha20Poly1305,
        payload_limit: 1420,
        features: Features(1),
        lanes: 3,
        session_id: 1,
        accept_ticket: false,
        post_quantum: true,
    }
}

/// Seals a REQUEST around any cells; gives it together with the text inside C1.
pub fn request(flag: u8, lbm: &[u8], signing: Signing) -> (Vec<u8>, Vec<u8>) {
    let plan = RequestPlan {
        by: initiator(),
        to: responder().public(),
        flag,
        index_i: INDEX_I,
        ephemeral: [5; 32],
        signing,
        label: REQUEST_LABEL,
        network_key: None,
        cookie: None,
    };
    let sent = plan.seal(lbm);
    (sent.datagram, sent.text)
}

impl Scenario {
    /// Seals a CONSENT around any cells; gives it with the schedule after C2.
    pub fn consent(&self, plan: &ConsentPlan, lbm: &[u8]) -> (Vec<u8>, Schedule) {
        self.taken.consent(plan, responder(), lbm)
    }
}

/// The index of all REQUESTs here.
pub const INDEX_I: u32 = 0x0102_0304;
/// The flag of a usual open handshake.
pub const OPEN: u8 = FLAG_OPEN;
const E_R: [u8; 32] = [7; 32];
