//! The key schedule of `protocol.md` §4 once more, for a peer that seals whatever it likes: what a
//! stranger with a key of his own, or a peer gone bad, can put on the wire.

use std::sync::{Arc, LazyLock};

use stadium_proto::{
    crypto::{
        Cipher, DhSecret, HashAlg, KemPublic, SealKey, Secret, hkdf_extract_expand, hmac_sha256,
        sha256,
    },
    handshake::{
        Answer, Established, Features, Grant, Initiator, InitiatorInputs, InitiatorParams, MacKey,
        Offer, PostQuantum, RequestArgs, ResponderInputs, ResponderStatics, Target,
    },
    identity::{Identity, NetworkKey, PresharedKey, PublicKey, SecretKey},
    lbm::{AlgorithmList, RequestCells},
    time::WallTime,
    wire::{FLAG_OPEN, RequestView},
};

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
    /// The schedule after the REQUEST.
    after_request: Schedule,
    /// The shared secrets of a fixed `E_r`.
    secrets: Vec<[u8; 32]>,
    /// Ciphertext and secret of ML-KEM, if it was offered.
    kem: Option<(Vec<u8>, [u8; 32])>,
}

/// Gives the scenario of a variant.
pub fn scenario(variant: Variant) -> &'static Scenario {
    static ALL: LazyLock<Vec<Scenario>> = LazyLock::new(|| VARIANTS.map(build).into());
    &ALL[variant as usize]
}

fn build(variant: Variant) -> Scenario {
    let (initiator, request) = start(variant, offer().lanes);
    let view = RequestView::parse(&request).expect("a started REQUEST is one");
    let me = responder();
    let encrypted = variant.is_encrypted();
    let mut schedule = Schedule::start(view.prefix(), encrypted.then(|| me.public()));
    schedule.mix_hash(&[view.ephemeral()]);
    let mut text = view.c1().to_vec();
    if encrypted {
        let es = me.dh().agree(view.ephemeral()).expect("no weak point");
        let k1 = schedule.mix_key(es.as_bytes());
        let sealed = text.split_off(0);
        text = open(Cipher::ChaCha20Poly1305, &k1, &schedule.h, &sealed);
    }
    let signature = if variant.is_named() { 64 } else { 0 };
    let lbm = &text[..text.len() - signature];
    let cells = RequestCells::decode(encrypted, lbm).expect("a started REQUEST has its cells");
    schedule.mix_hash(&[view.c1()]);
    if let Some(connection_key) = cells.connection_key {
        schedule.mix_key(connection_key);
        let ss = me.dh().agree(super::rogue::initiator().public().x25519());
        schedule.mix_key(ss.expect("no weak point").as_bytes());
    }
    let e_r = DhSecret::from_bytes(&E_R);
    let mut secrets = vec![agree(&e_r, view.ephemeral())];
    if variant.is_named() {
        secrets.push(agree(&e_r, super::rogue::initiator().public().x25519()));
    }
    let kem = cells.kem_key.map(|key| {
        let public = KemPublic::from_bytes(key).expect("a started REQUEST has a good key");
        let (ciphertext, secret) = public.encapsulate(&[8; 32]);
        (ciphertext.to_vec(), *secret.as_bytes())
    });
    Scenario { variant, initiator, request, after_request: schedule, secrets, kem }
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

/// How a rogue signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// As it should.
    Right,
    /// Not at all.
    None,
    /// With one bit wrong.
    Wrong,
    /// The signature, and a byte more.
    Longer,
}

impl Signing {
    /// All ways.
    pub const ALL: [Self; 4] = [Self::Right, Self::None, Self::Wrong, Self::Longer];

    fn sign(self, identity: &Identity, label: &str, h: &[u8; 32], lbm: &[u8]) -> Vec<u8> {
        let message = [label.as_bytes(), &[0], &sha256(&[h, lbm])].concat();
        let mut signature = identity.sign(&message).to_vec();
        match self {
            Self::Right => {}
            Self::None => signature.clear(),
            Self::Wrong => signature[17] ^= 0x20,
            Self::Longer => signature.push(0),
        }
        signature
    }
}

/// Seals a REQUEST around any cells; gives it together with the text inside C1.
pub fn request(flag: u8, lbm: &[u8], signing: Signing) -> (Vec<u8>, Vec<u8>) {
    let (me, them) = (initiator(), responder().public());
    let encrypted = flag == 0x7a;
    let ephemeral = DhSecret::from_bytes(&[5; 32]);
    let e_i = ephemeral.public();
    let mut out = [b"StadiumP".as_slice(), &[flag], &INDEX_I.to_le_bytes()].concat();
    let prefix: [u8; 13] = out[..].try_into().expect("8 and 1 and 4");
    let mut schedule = Schedule::start(&prefix, encrypted.then_some(them));
    schedule.mix_hash(&[&e_i]);
    let k1 = encrypted.then(|| schedule.mix_key(&agree(&ephemeral, them.x25519())));
    let signature = signing.sign(me, "StadiumP/1 request", &schedule.h, lbm);
    let text = [lbm, &signature].concat();
    out.extend(e_i);
    match k1 {
        Some(k1) => out.extend(seal(Cipher::ChaCha20Poly1305, &k1, &schedule.h, &text)),
        None => out.extend(&text),
    }
    let mac = MacKey::new(encrypted.then_some(them), None).mac(None, &out);
    out.extend(mac);
    (out, text)
}

/// What a rogue responder does with a CONSENT.
#[derive(Clone, Copy, Debug)]
pub struct ConsentPlan {
    /// The byte of the header.
    pub symmetric: u8,
    /// The AEAD that C2 is really sealed with.
    pub cipher: Cipher,
    /// Whether a KEM ciphertext goes along, if one was asked for.
    pub kem: bool,
    /// The preshared key that is mixed.
    pub psk: [u8; 32],
    /// The signature, in an open handshake.
    pub signing: Signing,
}

impl Scenario {
    /// Seals a CONSENT around any cells; gives it with the schedule after C2.
    pub fn consent(&self, plan: &ConsentPlan, lbm: &[u8]) -> (Vec<u8>, Schedule) {
        let mut schedule = self.after_request.clone();
        let mut out = [&[1, plan.symmetric, 0, 0], INDEX_I.to_le_bytes().as_slice()].concat();
        schedule.mix_hash(&[&out]);
        let e_r = DhSecret::from_bytes(&E_R).public();
        schedule.mix_hash(&[&e_r]);
        for secret in &self.secrets {
            schedule.mix_key(secret);
        }
        let mut kem_len = [0, 0];
        let mut ciphertext: &[u8] = &[];
        if let Some((bytes, secret)) = &self.kem {
            if plan.kem {
                kem_len = (bytes.len() as u16).to_le_bytes();
                ciphertext = bytes;
            }
            schedule.mix_hash(&[&kem_len, ciphertext]);
            if plan.kem {
                schedule.mix_key(secret);
            }
        }
        let k2 = schedule.mix_psk(&plan.psk, plan.symmetric);
        let signature = match self.variant.is_encrypted() {
            true => Vec::new(),
            false => plan.signing.sign(responder(), "StadiumP/1 consent", &schedule.h, lbm),
        };
        let text = [lbm, &signature].concat();
        let c2 = seal(plan.cipher, &k2, &schedule.h, &text);
        schedule.mix_hash(&[&c2]);
        out.extend(e_r);
        out.extend(kem_len);
        out.extend(ciphertext);
        out.extend(c2);
        (out, schedule)
    }
}

/// `h` and `ck` of `protocol.md` §4.
#[derive(Clone, Debug)]
pub struct Schedule {
    h: [u8; 32],
    ck: [u8; 32],
}

impl Schedule {
    fn start(prefix: &[u8; 13], v_r: Option<&PublicKey>) -> Self {
        let name = b"StadiumP/1 IKpsk2+sig X25519 MLKEM768 Ed25519 ChaChaPoly SHA256";
        let start = sha256(&[name]);
        let mut schedule = Self { h: start, ck: start };
        schedule.mix_hash(&[prefix]);
        if let Some(v_r) = v_r {
            schedule.mix_hash(&[v_r.as_bytes()]);
        }
        schedule
    }

    fn mix_hash(&mut self, parts: &[&[u8]]) {
        self.h = sha256(&[&[self.h.as_slice()], parts].concat());
    }

    fn mix_key(&mut self, ikm: &[u8; 32]) -> [u8; 32] {
        let prk = hmac_sha256(&self.ck, &[ikm]);
        self.ck = hmac_sha256(&prk, &[&[1]]);
        hmac_sha256(&prk, &[&self.ck, &[2]])
    }

    /// Mixes the psk and gives `k2`.
    fn mix_psk(&mut self, psk: &[u8; 32], symmetric: u8) -> [u8; 32] {
        let temporary = self.mix_key(psk);
        self.mix_hash(&[&temporary]);
        hmac_sha256(&self.ck, &[b"StadiumP/1 consent", &[symmetric], &[1]])
    }

    /// Derives `k_ir` and `k_ri`.
    pub fn data_keys(&self, hash: HashAlg, cipher: Cipher) -> [Secret; 2] {
        let codes = [hash.code(), cipher.code()];
        let infos: [&[&[u8]]; 2] = [&[b"StadiumP/1 i2r", &codes], &[b"StadiumP/1 r2i", &codes]];
        hkdf_extract_expand(hash, &self.h, &self.ck, infos)
    }
}

fn agree(secret: &DhSecret, public: &[u8; 32]) -> [u8; 32] {
    *secret.agree(public).expect("no weak point").as_bytes()
}

fn seal(cipher: Cipher, key: &[u8; 32], ad: &[u8], text: &[u8]) -> Vec<u8> {
    let mut out = text.to_vec();
    let tag = SealKey::new(cipher, &Secret::new(*key)).seal([0; 12], ad, &mut out);
    out.extend(tag);
    out
}

fn open(cipher: Cipher, key: &[u8; 32], ad: &[u8], sealed: &[u8]) -> Vec<u8> {
    let (text, tag) = sealed.split_last_chunk().expect("sealed text has a tag");
    let mut text = text.to_vec();
    let key = stadium_proto::crypto::OpenKey::new(cipher, &Secret::new(*key));
    key.open([0; 12], ad, &mut text, tag).expect("both schedules agree");
    text
}

/// The index of all REQUESTs here.
pub const INDEX_I: u32 = 0x0102_0304;
/// The flag of a usual open handshake.
pub const OPEN: u8 = FLAG_OPEN;
const E_R: [u8; 32] = [7; 32];
