//! The key schedule of `protocol.md` §4 once more, written from its text and not from the code,
//! for a peer that seals whatever it likes: what a stranger with a key of his own, or a peer gone
//! bad, can put on the wire. The rogue tests and the fuzz targets share it.
#![allow(dead_code, unreachable_pub, reason = "each user takes a part")]

use stadium_proto::{
    crypto::{
        Cipher, DhSecret, HashAlg, KemPublic, OpenKey, SealKey, Secret, hkdf_extract_expand,
        hmac_sha256, sha256,
    },
    handshake::MacKey,
    identity::{Identity, NetworkKey, PublicKey},
    lbm::{Cell, Map, Value},
    wire::{ConsentView, FLAG_ENCRYPTED, RequestView},
};

/// What a REQUEST's signature is made over, before the hash.
pub const REQUEST_LABEL: &str = "StadiumP/1 request";
/// What a CONSENT's signature is made over, before the hash.
pub const CONSENT_LABEL: &str = "StadiumP/1 consent";

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

/// A REQUEST around any cells.
#[derive(Clone, Copy, Debug)]
pub struct RequestPlan<'a> {
    /// Who signs.
    pub by: &'a Identity,
    /// To whom it goes.
    pub to: &'a PublicKey,
    /// The flag.
    pub flag: u8,
    /// The index.
    pub index_i: u32,
    /// The secret of `E_i`.
    pub ephemeral: [u8; 32],
    /// How it is signed.
    pub signing: Signing,
    /// The label of the signature.
    pub label: &'a str,
    /// The network key of the mac.
    pub network_key: Option<&'a NetworkKey>,
    /// The cookie of the mac.
    pub cookie: Option<[u8; 16]>,
}

/// A REQUEST that a rogue sent, with what opens the answer.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The datagram.
    pub datagram: Vec<u8>,
    /// What stands inside C1: the cells and the signature.
    pub text: Vec<u8>,
    /// The schedule after C1.
    schedule: Schedule,
    ephemeral: [u8; 32],
}

impl RequestPlan<'_> {
    /// Seals the cells.
    pub fn seal(&self, lbm: &[u8]) -> Sent {
        self.seal_text(lbm, |h| self.signing.sign(self.by, self.label, h, lbm))
    }

    /// Seals the cells and a signature that `sign` makes of the transcript's hash before it.
    pub fn seal_text(&self, lbm: &[u8], sign: impl FnOnce(&[u8; 32]) -> Vec<u8>) -> Sent {
        let encrypted = self.flag == FLAG_ENCRYPTED;
        let ephemeral = DhSecret::from_bytes(&self.ephemeral);
        let e_i = ephemeral.public();
        let mut datagram =
            [b"StadiumP".as_slice(), &[self.flag], &self.index_i.to_le_bytes()].concat();
        let prefix: [u8; 13] = datagram[..].try_into().expect("8 and 1 and 4");
        let mut schedule = Schedule::start(&prefix, encrypted.then_some(self.to));
        schedule.mix_hash(&[&e_i]);
        let k1 = encrypted.then(|| schedule.mix_key(&agree(&ephemeral, self.to.x25519())));
        let text = [lbm, &sign(&schedule.h)].concat();
        let c1 = match k1 {
            Some(k1) => seal(Cipher::ChaCha20Poly1305, &k1, &schedule.h, &text),
            None => text.clone(),
        };
        schedule.mix_hash(&[&c1]);
        datagram.extend(e_i);
        datagram.extend(c1);
        let mac = MacKey::new(encrypted.then_some(self.to), self.network_key);
        let mac = mac.mac(self.cookie.as_ref(), &datagram);
        datagram.extend(mac);
        Sent { datagram, text, schedule, ephemeral: self.ephemeral }
    }
}

impl Sent {
    /// Opens the classic CONSENT to it; gives the text inside C2 and the schedule after C2.
    pub fn open(
        &self,
        me: &Identity,
        them: &PublicKey,
        psk: &[u8; 32],
        consent: &[u8],
    ) -> Option<(Vec<u8>, Schedule)> {
        let view = ConsentView::parse(consent).ok()?;
        let (map, _) = Map::decode_prefix(&self.text).ok()?;
        let mut schedule = self.schedule.clone();
        if let Some(Value::Bytes(key)) = map.value(Cell::CONNECTION_KEY) {
            schedule.mix_key(key.try_into().ok()?);
            schedule.mix_key(&agree(me.dh(), them.x25519()));
        }
        schedule.mix_hash(&[view.head()]);
        schedule.mix_hash(&[view.ephemeral()]);
        schedule.mix_key(&agree(&DhSecret::from_bytes(&self.ephemeral), view.ephemeral()));
        if map.value(Cell::SIGNATURE_KEY).is_some() {
            schedule.mix_key(&agree(me.dh(), view.ephemeral()));
        }
        if map.value(Cell::KEM_KEY).is_some() {
            schedule.mix_hash(&[&[0, 0]]);
        }
        let k2 = schedule.mix_psk(psk, view.symmetric());
        let cipher = Cipher::from_code(u64::from(view.symmetric()))?;
        let text = try_open(cipher, &k2, &schedule.h, view.c2())?;
        schedule.mix_hash(&[view.c2()]);
        Some((text, schedule))
    }
}

/// A REQUEST that a rogue responder took, and what it needs to answer with any cells.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The index to which answers go.
    pub index_i: u32,
    encrypted: bool,
    /// The schedule up to CONSENT.
    schedule: Schedule,
    /// The shared secrets of `E_r`.
    secrets: Vec<[u8; 32]>,
    /// Ciphertext and secret of ML-KEM, if it was offered.
    kem: Option<(Vec<u8>, [u8; 32])>,
    e_r: [u8; 32],
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

impl Taken {
    /// Opens a good REQUEST at `me`; `ephemeral` is the secret of `E_r`.
    pub fn of(request: &[u8], me: &Identity, ephemeral: &[u8; 32]) -> Self {
        let view = RequestView::parse(request).expect("a REQUEST");
        let encrypted = view.is_encrypted();
        let mut schedule = Schedule::start(view.prefix(), encrypted.then(|| me.public()));
        schedule.mix_hash(&[view.ephemeral()]);
        let text = if encrypted {
            let k1 = schedule.mix_key(&agree(me.dh(), view.ephemeral()));
            try_open(Cipher::ChaCha20Poly1305, &k1, &schedule.h, view.c1()).expect("it is for me")
        } else {
            view.c1().to_vec()
        };
        let (map, _) = Map::decode_prefix(&text).expect("its cells are good");
        let bytes = |cell| match map.value(cell) {
            Some(Value::Bytes(bytes)) => Some(bytes),
            _ => None,
        };
        let initiator = bytes(Cell::SIGNATURE_KEY)
            .map(|key| PublicKey::from_slice(key).expect("it proved this key"));
        schedule.mix_hash(&[view.c1()]);
        if let (Some(key), Some(initiator)) = (bytes(Cell::CONNECTION_KEY), &initiator) {
            schedule.mix_key(key.try_into().expect("32 bytes"));
            schedule.mix_key(&agree(me.dh(), initiator.x25519()));
        }
        let e_r = DhSecret::from_bytes(ephemeral);
        let mut secrets = vec![agree(&e_r, view.ephemeral())];
        secrets.extend(initiator.map(|initiator| agree(&e_r, initiator.x25519())));
        let kem = bytes(Cell::KEM_KEY).map(|key| {
            let key = key.try_into().expect("1,184 bytes");
            let public = KemPublic::from_bytes(key).expect("a good key");
            let (ciphertext, secret) = public.encapsulate(&[8; 32]);
            (ciphertext.to_vec(), *secret.as_bytes())
        });
        Self { index_i: view.index_i(), encrypted, schedule, secrets, kem, e_r: e_r.public() }
    }

    /// Seals a CONSENT around any cells, signed by `signer` if it is an open one; gives it with
    /// the schedule after C2.
    pub fn consent(
        &self,
        plan: &ConsentPlan,
        signer: &Identity,
        lbm: &[u8],
    ) -> (Vec<u8>, Schedule) {
        let mut schedule = self.schedule.clone();
        let mut out = [&[1, plan.symmetric, 0, 0], self.index_i.to_le_bytes().as_slice()].concat();
        schedule.mix_hash(&[&out]);
        schedule.mix_hash(&[&self.e_r]);
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
        let signature = match self.encrypted {
            true => Vec::new(),
            false => plan.signing.sign(signer, CONSENT_LABEL, &schedule.h, lbm),
        };
        let text = [lbm, &signature].concat();
        let c2 = seal(plan.cipher, &k2, &schedule.h, &text);
        schedule.mix_hash(&[&c2]);
        out.extend(self.e_r);
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

fn try_open(cipher: Cipher, key: &[u8; 32], ad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (text, tag) = sealed.split_last_chunk()?;
    let mut text = text.to_vec();
    let key = OpenKey::new(cipher, &Secret::new(*key));
    key.open([0; 12], ad, &mut text, tag).ok()?;
    Some(text)
}
