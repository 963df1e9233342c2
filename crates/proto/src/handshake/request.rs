//! The initiator's side of a REQUEST.

use core::fmt;
use std::sync::Arc;

use zeroize::{Zeroize as _, Zeroizing};

use super::retry::{MacKey, RetryKey};
use super::symmetric::Symmetric;
use super::{Features, Kind};
use crate::crypto::{DhSecret, KemSecret, SIGNATURE_LEN, TAG_LEN, seal_c1};
use crate::identity::{Identity, NetworkKey, PresharedKey, PublicKey};
use crate::lbm::{AlgorithmList, RequestCells};
use crate::wire::{
    self, CHALLENGE_LEN, COOKIE_LEN, FLAG_ENCRYPTED, FLAG_OPEN, MAC_LEN, MAX_LANES,
    MAX_REQUEST_LEN, MIN_OPEN_HYBRID_REQUEST_LEN, MIN_OPEN_REQUEST_LEN, MIN_PAYLOAD_LIMIT,
    REQUEST_HEADER_LEN, VERSION,
};

use super::inputs::InitiatorInputs;

/// Whom a REQUEST goes to, and in which kind of handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// An encrypted handshake with the node that has this key.
    Encrypted(PublicKey),
    /// An open handshake.
    Open {
        /// The flag, any but `0x7a`; [`FLAG_OPEN`] is usual.
        flag: u8,
        /// Whether cell `0x04` names this node; if not, the handshake is anonymous.
        named: bool,
        /// The responder's key, if it is known; another one is then refused.
        remote: Option<PublicKey>,
    },
}

impl Target {
    /// Makes the target of a usual open handshake.
    pub const fn open(named: bool, remote: Option<PublicKey>) -> Self {
        Self::Open { flag: FLAG_OPEN, named, remote }
    }

    /// Returns the kind of handshake.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Encrypted(_) => Kind::Encrypted,
            Self::Open { named: true, .. } => Kind::Open,
            Self::Open { named: false, .. } => Kind::Anonymous,
        }
    }

    /// Returns the flag of the REQUEST.
    pub const fn flag(&self) -> u8 {
        match self {
            Self::Encrypted(_) => FLAG_ENCRYPTED,
            Self::Open { flag, .. } => *flag,
        }
    }

    /// Returns the responder's key, if it is known.
    pub const fn remote(&self) -> Option<&PublicKey> {
        match self {
            Self::Encrypted(remote) => Some(remote),
            Self::Open { remote, .. } => remote.as_ref(),
        }
    }

    /// Returns `V_r` where it enters the transcript and the guard keys.
    const fn v_r(&self) -> Option<&PublicKey> {
        match self {
            Self::Encrypted(remote) => Some(remote),
            Self::Open { .. } => None,
        }
    }
}

/// The transcript as it is before `E_i`.
pub(super) fn transcript_start(target: &Target, index_i: u32) -> Symmetric {
    let header = wire::request_header(target.flag(), index_i, &[0; 32]);
    let prefix = header.first_chunk().expect("the header begins with the prefix");
    Symmetric::start(prefix, target.v_r().map(PublicKey::as_bytes))
}

/// What a node offers in a REQUEST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Hashes, preferred first.
    pub hashes: AlgorithmList,
    /// Ciphers, preferred first.
    pub ciphers: AlgorithmList,
    /// The noise byte that is asked for; 0 for none.
    pub noise: u8,
    /// The largest frame and filler that this node takes, at least 1,280 bytes.
    pub payload_limit: u16,
    /// The features that this node has.
    pub features: Features,
    /// This node's sending lanes, 1 to 64.
    pub lanes: u8,
}

/// Whether a REQUEST carries an ML-KEM key, and whether the answer may do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PostQuantum {
    /// No ML-KEM.
    Off,
    /// An ML-KEM key goes along; a CONSENT without a ciphertext is taken.
    Offer,
    /// An ML-KEM key goes along; a session without a ciphertext is refused.
    Require,
}

/// The lasting parameters of a REQUEST.
#[derive(Clone, Debug)]
pub struct InitiatorParams {
    /// This node.
    pub identity: Arc<Identity>,
    /// The other node.
    pub target: Target,
    /// The preshared key of the pair; unused in an anonymous handshake.
    pub psk: PresharedKey,
    /// The network key, if the network has one.
    pub network_key: Option<NetworkKey>,
    /// What is offered.
    pub offer: Offer,
    /// ML-KEM.
    pub post_quantum: PostQuantum,
}

/// Handshake padding in cell `0x40`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filler<'a> {
    /// As the protocol asks: none in an encrypted handshake, in an open one as many zeros as
    /// reach 256 bytes (hybrid 1,350).
    #[default]
    Usual,
    /// None at all. An open REQUEST may then be too short for its answer.
    None,
    /// These bytes.
    Bytes(&'a [u8]),
    /// As many zeros as make the REQUEST at least this long.
    UpTo(usize),
}

/// What one REQUEST carries besides.
#[derive(Clone, Copy, Debug)]
pub struct RequestArgs<'a> {
    /// The cookie of the last RETRY, if it is younger than 120 s.
    pub cookie: Option<[u8; COOKIE_LEN]>,
    /// The challenge of the last RETRY, to be echoed.
    pub challenge: Option<[u8; CHALLENGE_LEN]>,
    /// An early-data ticket; not together with a challenge, and not in an open handshake.
    pub ticket: Option<u32>,
    /// Handshake padding.
    pub filler: Filler<'a>,
    /// The version that is claimed. Another than [`VERSION`] only tests how it is refused.
    pub version: u8,
}

impl Default for RequestArgs<'_> {
    fn default() -> Self {
        Self {
            cookie: None,
            challenge: None,
            ticket: None,
            filler: Filler::Usual,
            version: VERSION,
        }
    }
}

/// Why a REQUEST could not be made: a mistake of the caller, or too much filler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// `index_i` is 0.
    ZeroIndex,
    /// The other node has this node's own key.
    OwnKey,
    /// The flag of an open handshake is `0x7a`.
    Flag,
    /// The payload limit is below 1,280, or the lanes are not 1 to 64.
    Offer,
    /// A ticket in an open handshake, or together with a challenge.
    Ticket,
    /// The REQUEST would have more than 1,452 bytes; holds how many.
    TooLong(usize),
    /// A Diffie-Hellman result is all zeros; a checked key makes none.
    WeakPoint,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroIndex => f.write_str("an index of a handshake is not 0"),
            Self::OwnKey => f.write_str("the peer has this node's own key; give it another one"),
            Self::Flag => write!(f, "{FLAG_ENCRYPTED:#x} is the flag of an encrypted handshake"),
            Self::Offer => write!(
                f,
                "the payload limit is at least {MIN_PAYLOAD_LIMIT} bytes, and lanes are 1 to {MAX_LANES}"
            ),
            Self::Ticket => f.write_str(
                "an early-data ticket goes neither with a challenge nor in an open handshake",
            ),
            Self::TooLong(len) => write!(
                f,
                "the REQUEST would have {len} bytes, more than {MAX_REQUEST_LEN}; use less filler"
            ),
            Self::WeakPoint => f.write_str("the peer's key gives an all-zero shared secret"),
        }
    }
}

impl core::error::Error for StartError {}

/// A REQUEST that waits for its answer. Its secrets are wiped on drop.
///
/// It stays as it is whatever arrives: drop it when the session exists or the REQUEST is no
/// longer open (10 s, `protocol.md` §5).
#[derive(Clone)]
pub struct Initiator {
    pub(super) params: InitiatorParams,
    pub(super) sym: Symmetric,
    pub(super) ephemeral: DhSecret,
    pub(super) kem: Option<KemSecret>,
    pub(super) ticket: Option<u32>,
    index_i: u32,
    timestamp: u64,
    mac: [u8; MAC_LEN],
    retry_key: RetryKey,
}

impl Initiator {
    /// Makes a REQUEST. Everything in `inputs` must be fresh.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        params: InitiatorParams,
        inputs: &InitiatorInputs,
        args: &RequestArgs<'_>,
    ) -> Result<(Self, Vec<u8>), StartError> {
        let kind = params.target.kind();
        let encrypted = kind.is_encrypted();
        check(&params, inputs, args)?;

        let mut sym = transcript_start(&params.target, inputs.index_i);
        let ephemeral = DhSecret::from_bytes(&inputs.ephemeral);
        let e_i = ephemeral.public();
        sym.mix_hash(&[&e_i]);
        let k1 = match params.target.v_r() {
            Some(remote) => {
                let es = ephemeral.agree(remote.x25519()).ok_or(StartError::WeakPoint)?;
                Some(sym.mix_key(es.as_bytes()))
            }
            None => None,
        };

        let kem = (params.post_quantum != PostQuantum::Off)
            .then(|| KemSecret::from_seed(inputs.kem_seed));
        let kem_key = kem.as_ref().map(KemSecret::public);
        let timestamp = inputs.now.timestamp_cell();
        let offer = &params.offer;
        let mut cells = RequestCells {
            version: args.version,
            hashes: offer.hashes,
            signature_key: kind.is_named().then(|| params.identity.public().as_bytes()),
            ciphers: offer.ciphers,
            connection_key: encrypted.then_some(&inputs.connection_key),
            noise: offer.noise,
            timestamp,
            challenge: args.challenge.as_ref(),
            payload_limit: offer.payload_limit,
            kem_key: kem_key.as_deref(),
            features: offer.features.0,
            lanes: offer.lanes,
            ticket: args.ticket,
            filler: None,
        };
        let around = REQUEST_HEADER_LEN
            + if kind.is_named() { SIGNATURE_LEN } else { 0 }
            + if encrypted { TAG_LEN } else { 0 }
            + MAC_LEN;
        let least = match args.filler {
            Filler::Usual if encrypted => 0,
            Filler::Usual if kem.is_some() => MIN_OPEN_HYBRID_REQUEST_LEN,
            Filler::Usual => MIN_OPEN_REQUEST_LEN,
            Filler::UpTo(least) => least.min(MAX_REQUEST_LEN),
            Filler::None | Filler::Bytes(_) => 0,
        };
        let zeros;
        if let Filler::Bytes(bytes) = args.filler {
            // refused before it is encoded, whatever its length
            if bytes.len() > MAX_REQUEST_LEN {
                return Err(StartError::TooLong(around + bytes.len()));
            }
            cells.filler = Some(bytes);
        } else if least > 0 {
            let unfilled = Zeroizing::new(cells.encode(encrypted));
            let missing = least.saturating_sub(around + unfilled.len());
            if missing > 0 {
                zeros = [0u8; MAX_REQUEST_LEN];
                cells.filler = Some(&zeros[..filler_len(missing)]);
            }
        }
        // sealed in place below, so that no copy of K_c stays behind
        let mut text = cells.encode(encrypted);
        let len = around + text.len();
        if len > MAX_REQUEST_LEN {
            text.zeroize();
            return Err(StartError::TooLong(len));
        }
        if kind.is_named() {
            let signature = params.identity.sign(&sym.request_message(&text));
            text.extend_from_slice(&signature);
        }
        if let Some(k1) = &k1 {
            seal_c1(k1, sym.h(), &mut text);
        }
        let c1 = text;
        sym.mix_hash(&[&c1]);
        if let Some(remote) = params.target.v_r() {
            sym.mix_key(&inputs.connection_key);
            let ss = params.identity.dh().agree(remote.x25519()).ok_or(StartError::WeakPoint)?;
            sym.mix_key(ss.as_bytes());
        }

        let network_key = params.network_key.as_ref();
        let mut request = Vec::with_capacity(len);
        let header = wire::request_header(params.target.flag(), inputs.index_i, &e_i);
        request.extend_from_slice(&header);
        request.extend_from_slice(&c1);
        let mac_key = MacKey::new(params.target.v_r(), network_key);
        let mac = mac_key.mac(args.cookie.as_ref(), &request);
        request.extend_from_slice(&mac);

        let retry_key = RetryKey::new(params.target.v_r(), network_key);
        let initiator = Self {
            sym,
            ephemeral,
            kem,
            ticket: args.ticket,
            index_i: inputs.index_i,
            timestamp,
            mac,
            retry_key,
            params,
        };
        Ok((initiator, request))
    }

    /// Returns the index under which the answer comes.
    pub const fn index_i(&self) -> u32 {
        self.index_i
    }

    /// Returns the mac of the REQUEST.
    pub const fn mac(&self) -> &[u8; MAC_LEN] {
        &self.mac
    }

    /// Returns cell `0x08` of the REQUEST.
    pub const fn timestamp(&self) -> u64 {
        self.timestamp
    }

    /// Returns the kind of handshake.
    pub const fn kind(&self) -> Kind {
        self.params.target.kind()
    }

    /// Returns whom the REQUEST went to.
    pub const fn target(&self) -> &Target {
        &self.params.target
    }

    /// Returns whether the REQUEST carries an ML-KEM key.
    pub const fn is_hybrid(&self) -> bool {
        self.kem.is_some()
    }

    /// Returns the noise byte that was asked for.
    pub const fn noise(&self) -> u8 {
        self.params.offer.noise
    }

    /// Returns the ticket of cell `0x10`.
    pub const fn ticket(&self) -> Option<u32> {
        self.ticket
    }

    /// Returns the transcript hash after C1, which the key of early data depends on.
    pub const fn h(&self) -> &[u8; 32] {
        // what follows C1 in a REQUEST mixes keys only
        self.sym.h()
    }

    pub(super) const fn retry_key(&self) -> &RetryKey {
        &self.retry_key
    }
}

impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Initiator")
            .field("kind", &self.kind())
            .field("index_i", &self.index_i)
            .field("hybrid", &self.is_hybrid())
            .finish_non_exhaustive()
    }
}

fn check(
    params: &InitiatorParams,
    inputs: &InitiatorInputs,
    args: &RequestArgs<'_>,
) -> Result<(), StartError> {
    let encrypted = params.target.kind().is_encrypted();
    if inputs.index_i == 0 {
        return Err(StartError::ZeroIndex);
    }
    if params.target.remote() == Some(params.identity.public()) {
        return Err(StartError::OwnKey);
    }
    if !encrypted && params.target.flag() == FLAG_ENCRYPTED {
        return Err(StartError::Flag);
    }
    let offer = &params.offer;
    if offer.payload_limit < MIN_PAYLOAD_LIMIT || !(1..=MAX_LANES).contains(&offer.lanes) {
        return Err(StartError::Offer);
    }
    if args.ticket.is_some() && (args.challenge.is_some() || !encrypted) {
        return Err(StartError::Ticket);
    }
    Ok(())
}

/// The fewest bytes of filler whose cell takes up at least `missing` bytes (above 0): 2 bytes of
/// key, 1 to 3 of length, and the filler.
fn filler_len(missing: usize) -> usize {
    let head = |len: usize| match len {
        0..=23 => 3,
        24..=255 => 4,
        _ => 5,
    };
    let least = missing.saturating_sub(5);
    (least..).find(|&len| head(len) + len >= missing).expect("a longer filler always suffices")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filler_is_as_short_as_it_can_be() {
        for missing in 1..1400 {
            let size = |len| {
                let mut lbm = crate::lbm::Encoder::new();
                lbm.bytes(crate::lbm::Cell::FILLER, &vec![0; len]);
                lbm.finish().len() - 1
            };
            let len = filler_len(missing);
            assert!(size(len) >= missing, "{missing}");
            assert!(len == 0 || size(len - 1) < missing, "{missing}");
        }
    }
}
