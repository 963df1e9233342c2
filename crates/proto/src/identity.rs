//! Who a node is: one Ed25519 key, and the same key on the Montgomery curve (`protocol.md` §1).
//!
//! Invariants: a [`PublicKey`] is canonical, on the curve, not of small order and inside the
//! prime-order subgroup, so DH with it never reveals bits of a secret and equal keys are equal
//! bytes. No `Debug` here prints a secret, and every secret is wiped when it is dropped.

use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity as _;
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use crate::crypto::DhSecret;

/// Bytes of every key: secret seeds, public keys, preshared keys and network keys.
pub const KEY_LEN: usize = 32;
/// Characters of a key in base64, padding included.
pub const KEY_TEXT_LEN: usize = 44;

/// Why a key was refused; the text says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The text does not have 44 characters; holds how many it has.
    TextLength(usize),
    /// The text is not standard base64 of 32 bytes.
    Base64,
    /// The key does not have 32 bytes; holds how many it has.
    Length(usize),
    /// The bytes are not the shortest form of a point, or not a point of the curve at all.
    NotCanonical,
    /// The point is one of the eight of small order.
    SmallOrder,
    /// The point has a part outside the prime-order subgroup.
    MixedOrder,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TextLength(got) => write!(
                f,
                "a key is {KEY_TEXT_LEN} characters of base64, but this has {got}; \
                 copy the whole line that `stadium` printed, the '=' at its end included"
            ),
            Self::Base64 => f.write_str(
                "this is not the base64 form of 32 bytes; keys use A-Z a-z 0-9 + / and end \
                 with one '=': copy the whole line again",
            ),
            Self::Length(got) => write!(f, "a key has {KEY_LEN} bytes, but this has {got}"),
            Self::NotCanonical => f.write_str(
                "this is not an Ed25519 public key (no canonical point of the curve); \
                 check that it was copied whole, and that it is the public key",
            ),
            Self::SmallOrder => f.write_str(
                "this public key is one of the few of small order, which everyone can forge; \
                 ask for another key",
            ),
            Self::MixedOrder => f.write_str(
                "this public key lies outside the prime-order subgroup: no honest program makes \
                 such keys; ask for another key",
            ),
        }
    }
}

impl core::error::Error for KeyError {}

/// Decodes exactly 44 characters of padded standard base64 into 32 bytes.
fn decode_text(text: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyError> {
    if text.len() != KEY_TEXT_LEN {
        return Err(KeyError::TextLength(text.chars().count()));
    }
    // the estimate of the decoder for 44 characters is 33 bytes
    let mut buffer = Zeroizing::new([0u8; KEY_LEN + 1]);
    let len = STANDARD.decode_slice(text, buffer.as_mut()).map_err(|_| KeyError::Base64)?;
    if len != KEY_LEN {
        return Err(KeyError::Base64);
    }
    let mut key = Zeroizing::new([0u8; KEY_LEN]);
    key.copy_from_slice(&buffer[..KEY_LEN]);
    Ok(key)
}

/// Implements what the three secret key types share.
macro_rules! secret_key {
    ($name:ident, $shown:literal) => {
        impl $name {
            /// Takes 32 raw bytes.
            pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
                Self(bytes)
            }

            /// Returns the raw bytes; they are a secret.
            pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
                &self.0
            }

            /// Reads exactly 44 characters of base64.
            ///
            /// # Errors
            /// [`KeyError::TextLength`] or [`KeyError::Base64`].
            pub fn from_base64(text: &str) -> Result<Self, KeyError> {
                decode_text(text).map(|bytes| Self(*bytes))
            }

            /// Reads the content of a key file: base64 with white space around it.
            ///
            /// # Errors
            /// As [`Self::from_base64`].
            pub fn from_file_text(text: &str) -> Result<Self, KeyError> {
                Self::from_base64(text.trim())
            }

            /// Returns the 44 characters of base64; they are a secret.
            pub fn to_base64(&self) -> Zeroizing<String> {
                Zeroizing::new(STANDARD.encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($shown)
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.ct_eq(&other.0).into()
            }
        }

        impl Eq for $name {}
    };
}

/// An Ed25519 secret key: the 32-byte seed of RFC 8032. Wiped on drop.
#[derive(Clone, zeroize::Zeroize, ZeroizeOnDrop)]
pub struct SecretKey([u8; KEY_LEN]);
secret_key!(SecretKey, "SecretKey(..)");

impl SecretKey {
    /// Takes a seed: 32 bytes of a good random generator.
    pub const fn from_seed(seed: [u8; KEY_LEN]) -> Self {
        Self(seed)
    }

    /// Returns the public key that belongs to this secret.
    pub fn public(&self) -> PublicKey {
        public_of(&SigningKey::from_bytes(&self.0))
    }
}

/// A 32-byte preshared key of a pair of nodes. All zeros stands for none. Wiped on drop.
#[derive(Clone, zeroize::Zeroize, ZeroizeOnDrop)]
pub struct PresharedKey([u8; KEY_LEN]);
secret_key!(PresharedKey, "PresharedKey(..)");

impl PresharedKey {
    /// The value that stands for an absent preshared key.
    pub const NONE: Self = Self([0; KEY_LEN]);

    /// Returns whether this is the value that stands for none.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

impl Default for PresharedKey {
    fn default() -> Self {
        Self::NONE
    }
}

/// A 32-byte key of a whole network, without which nobody gets an answer. Wiped on drop.
///
/// An absent one is `Option::None`; 32 zero bytes are a (poor) key.
#[derive(Clone, zeroize::Zeroize, ZeroizeOnDrop)]
pub struct NetworkKey([u8; KEY_LEN]);
secret_key!(NetworkKey, "NetworkKey(..)");

/// Tells whether an Ed25519 point is encoded as `protocol.md` §1 asks: y below 2^255 − 19, and no
/// sign where x is 0, which is where y is 1 or −1. Decompression looks at neither.
fn is_canonical(bytes: &[u8; KEY_LEN]) -> bool {
    let [low, middle @ .., high] = *bytes;
    let y_high = high & 0x7f;
    // 2^255 − 19 is ed ff … ff 7f
    let at_the_top = y_high == 0x7f && middle.iter().all(|byte| *byte == 0xff);
    if at_the_top && low >= 0xed {
        return false;
    }
    let is_one = low == 1 && y_high == 0 && middle.iter().all(|byte| *byte == 0);
    let is_minus_one = at_the_top && low == 0xec;
    high & 0x80 == 0 || !(is_one || is_minus_one)
}

/// Tells whether a point is in the subgroup of prime order L: L − 1 times it is its negative.
///
/// In variable time, which a public key may take: L − 1 is sparse, and this needs two thirds of
/// what `EdwardsPoint::is_torsion_free` does.
fn is_torsion_free(point: &EdwardsPoint) -> bool {
    let most = -Scalar::ONE;
    EdwardsPoint::vartime_double_scalar_mul_basepoint(&most, point, &Scalar::ZERO) == -point
}

/// A checked Ed25519 public key, with its X25519 form beside it.
///
/// Order, equality and hash go by the 32 bytes of the Ed25519 form.
#[derive(Clone, Copy)]
pub struct PublicKey {
    edwards: [u8; KEY_LEN],
    montgomery: [u8; KEY_LEN],
}

impl PublicKey {
    /// Checks 32 bytes as `protocol.md` §1 asks.
    ///
    /// # Errors
    /// [`KeyError::NotCanonical`], [`KeyError::SmallOrder`] or [`KeyError::MixedOrder`].
    pub fn from_bytes(bytes: &[u8; KEY_LEN]) -> Result<Self, KeyError> {
        if !is_canonical(bytes) {
            return Err(KeyError::NotCanonical);
        }
        let point = CompressedEdwardsY(*bytes).decompress().ok_or(KeyError::NotCanonical)?;
        if point.is_small_order() {
            return Err(KeyError::SmallOrder);
        }
        debug_assert!(!point.is_identity());
        if !is_torsion_free(&point) {
            return Err(KeyError::MixedOrder);
        }
        Ok(Self { edwards: *bytes, montgomery: point.to_montgomery().0 })
    }

    /// Checks a slice, whose length may be wrong.
    ///
    /// # Errors
    /// [`KeyError::Length`], and as [`Self::from_bytes`].
    pub fn from_slice(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes = <&[u8; KEY_LEN]>::try_from(bytes).map_err(|_| KeyError::Length(bytes.len()))?;
        Self::from_bytes(bytes)
    }

    /// Reads and checks exactly 44 characters of base64.
    ///
    /// # Errors
    /// [`KeyError::TextLength`], [`KeyError::Base64`], and as [`Self::from_bytes`].
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(&*decode_text(text)?)
    }

    /// Reads exactly 44 characters of base64 for a key that may have been checked before: `known`
    /// finds it by its bytes, and only another one is checked.
    ///
    /// # Errors
    /// As [`Self::from_base64`].
    pub fn from_base64_or_known(
        text: &str,
        known: impl FnOnce(&[u8; KEY_LEN]) -> Option<Self>,
    ) -> Result<Self, KeyError> {
        let bytes = decode_text(text)?;
        match known(&bytes).filter(|key| key.edwards == *bytes) {
            Some(key) => Ok(key),
            None => Self::from_bytes(&bytes),
        }
    }

    /// Reads the content of a key file: base64 with white space around it.
    ///
    /// # Errors
    /// As [`Self::from_base64`].
    pub fn from_file_text(text: &str) -> Result<Self, KeyError> {
        Self::from_base64(text.trim())
    }

    /// Returns the 44 characters of base64.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.edwards)
    }

    /// Returns the Ed25519 form, `V`.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.edwards
    }

    /// Returns the X25519 form, `S`: the birational map of the Edwards point.
    pub const fn x25519(&self) -> &[u8; KEY_LEN] {
        &self.montgomery
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.edwards == other.edwards
    }
}

impl Eq for PublicKey {}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.edwards.cmp(&other.edwards)
    }
}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.edwards.hash(state);
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_base64())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl core::str::FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_base64(text)
    }
}

/// The checked form of the public key of a signing key: a multiple of the base point by a
/// clamped scalar, so it passes every check by construction.
fn public_of(signing: &SigningKey) -> PublicKey {
    let verifying = signing.verifying_key();
    PublicKey { edwards: verifying.to_bytes(), montgomery: verifying.to_montgomery().0 }
}

/// A node's own key in all its forms: the seed, `V`, `S` and the X25519 secret. Wiped on drop.
#[derive(Clone)]
pub struct Identity {
    secret: SecretKey,
    signing: SigningKey,
    public: PublicKey,
    dh: DhSecret,
}

impl Identity {
    /// Derives all forms from the secret key.
    pub fn new(secret: SecretKey) -> Self {
        let signing = SigningKey::from_bytes(secret.as_bytes());
        let public = public_of(&signing);
        let mut hash = Sha512::digest(secret.as_bytes());
        let mut scalar = Zeroizing::new([0u8; KEY_LEN]);
        scalar.copy_from_slice(&hash[..KEY_LEN]);
        hash.as_mut_slice().zeroize();
        let dh = DhSecret::clamped(&scalar);
        Self { secret, signing, public, dh }
    }

    /// Returns the public key.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Returns the secret key.
    pub const fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// Returns the X25519 secret, `clamp(SHA-512(seed)[0..32])`.
    pub const fn dh(&self) -> &DhSecret {
        &self.dh
    }

    /// Signs a message (RFC 8032, Ed25519 without prehash).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }
}

impl From<SecretKey> for Identity {
    fn from(secret: SecretKey) -> Self {
        Self::new(secret)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("public", &self.public).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let secret = SecretKey::from_seed([0x5a; 32]);
        let text = secret.to_base64();
        let identity = Identity::new(secret.clone());
        for shown in [
            format!("{secret:?}"),
            format!("{identity:?}"),
            format!("{:?}", identity.dh()),
            format!("{:?}", PresharedKey::from_bytes([0x5a; 32])),
            format!("{:?}", NetworkKey::from_bytes([0x5a; 32])),
        ] {
            assert!(
                !shown.contains(text.as_str()) && !shown.contains("5a") && !shown.contains("90"),
                "{shown}"
            );
        }
    }

    #[test]
    fn the_quick_checks_of_points_agree_with_the_plain_ones() {
        use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
        let mut seen = [0; 2];
        for n in 1..40_u64 {
            for torsion in EIGHT_TORSION {
                let point = ED25519_BASEPOINT_POINT * Scalar::from(n * n) + torsion;
                assert_eq!(is_torsion_free(&point), point.is_torsion_free());
                seen[usize::from(is_torsion_free(&point))] += 1;
            }
        }
        assert_eq!(seen, [39 * 7, 39]);
        // everything around 0, 1 and 2^255 - 19, with and without the sign
        let mut canonical = 0;
        for (low, middle, high) in
            (0..=255).flat_map(|low| [(low, 0, 0), (low, 0xff, 0x7f), (low, 0xff, 0x7e)])
        {
            for sign in [0, 0x80] {
                let mut bytes = [middle; KEY_LEN];
                (bytes[0], bytes[31]) = (low, high | sign);
                let Some(point) = CompressedEdwardsY(bytes).decompress() else { continue };
                assert_eq!(is_canonical(&bytes), point.compress().0 == bytes, "{bytes:02x?}");
                canonical += usize::from(is_canonical(&bytes));
            }
        }
        assert!(canonical > 300, "{canonical}");
    }

    #[test]
    fn text_is_strict_and_files_are_friendly() {
        let secret = SecretKey::from_seed([7; 32]);
        let text = secret.to_base64();
        assert_eq!(text.len(), KEY_TEXT_LEN);
        assert_eq!(SecretKey::from_base64(&text), Ok(secret.clone()));
        assert_eq!(SecretKey::from_file_text(&format!("  {}\r\n", *text)), Ok(secret));
        assert_eq!(SecretKey::from_base64(&text[..43]), Err(KeyError::TextLength(43)));
        assert_eq!(SecretKey::from_base64(""), Err(KeyError::TextLength(0)));
        assert_eq!(SecretKey::from_base64(&"=".repeat(44)), Err(KeyError::Base64));
        // 33 bytes, and a last character whose spare bits are set
        assert_eq!(SecretKey::from_base64(&"A".repeat(44)), Err(KeyError::Base64));
        assert_eq!(SecretKey::from_base64(&format!("{}B=", "A".repeat(42))), Err(KeyError::Base64));
        assert!(SecretKey::from_base64(&format!("{}A=", "A".repeat(42))).is_ok());
        for error in [
            KeyError::TextLength(1),
            KeyError::Base64,
            KeyError::Length(1),
            KeyError::NotCanonical,
            KeyError::SmallOrder,
            KeyError::MixedOrder,
        ] {
            assert!(error.to_string().len() > 20);
        }
    }

    #[test]
    fn a_known_key_is_taken_only_for_itself() {
        let key = |seed| SecretKey::from_seed([seed; 32]).public();
        let text = key(1).to_base64();
        let read = |known: Option<PublicKey>| PublicKey::from_base64_or_known(&text, |_| known);
        for known in [None, Some(key(1)), Some(key(2))] {
            let found = read(known).unwrap();
            assert_eq!((found, found.x25519()), (key(1), key(1).x25519()));
        }
        let low_order = STANDARD.encode([0; 32]);
        let found = PublicKey::from_base64_or_known(&low_order, |_| Some(key(1)));
        assert_eq!(found, Err(KeyError::SmallOrder));
    }

    #[test]
    fn a_public_key_of_a_secret_passes_its_own_check() {
        for seed in 0..32u8 {
            let public = SecretKey::from_seed([seed; 32]).public();
            let checked = PublicKey::from_bytes(public.as_bytes()).unwrap();
            assert_eq!(public, checked);
            assert_eq!(public.x25519(), checked.x25519());
            let identity = Identity::new(SecretKey::from_seed([seed; 32]));
            assert_eq!(identity.dh().public(), *public.x25519());
            assert_eq!(public.to_string().parse(), Ok(public));
        }
    }
}
