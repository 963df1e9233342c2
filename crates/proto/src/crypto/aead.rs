//! AEAD keys: [`SealKey`] and [`OpenKey`] for CONSENT and DATA, and the two fixed AEADs of C1
//! and RETRY.
//!
//! Wiping: the 32 key bytes that come in are wiped by their owner ([`Secret`]). ring's expanded
//! key inside [`SealKey`] and [`OpenKey`] has no wipe of its own: on drop it is overwritten with
//! the expansion of a zero key, which is as far as safe code gets. What this cannot reach: copies
//! that the compiler made when the key was moved (make it where it stays, in its `Arc`), padding,
//! and what ring leaves on the stack while it expands a key or seals.

use core::fmt;
use core::hint::black_box;

use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, XChaCha20Poly1305};
use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey};

use super::{Cipher, Secret};

/// Bytes of an authentication tag.
pub const TAG_LEN: usize = 16;
/// Bytes of a nonce.
pub const NONCE_LEN: usize = 12;

/// ring's expanded key, overwritten on drop.
struct RingKey {
    key: LessSafeKey,
    cipher: Cipher,
}

impl RingKey {
    fn new(cipher: Cipher, key: &[u8; 32]) -> Self {
        let algorithm = match cipher {
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Cipher::Aes256Gcm => &AES_256_GCM,
        };
        let key = UnboundKey::new(algorithm, key).expect("keys of both ciphers have 32 bytes");
        Self { key: LessSafeKey::new(key), cipher }
    }
}

impl Drop for RingKey {
    fn drop(&mut self) {
        let algorithm = self.key.algorithm();
        if let Ok(zero) = UnboundKey::new(algorithm, &[0; 32]) {
            self.key = LessSafeKey::new(zero);
        }
        // keeps the store from being seen as dead
        black_box(&self.key);
    }
}

/// Implements what both directions share.
macro_rules! aead_key {
    ($name:ident) => {
        impl $name {
            /// Expands a 32-byte key.
            pub fn new(cipher: Cipher, key: &Secret) -> Self {
                Self(RingKey::new(cipher, key.as_bytes()))
            }

            /// Returns the cipher.
            pub const fn cipher(&self) -> Cipher {
                self.0.cipher
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({}, ..)"), self.0.cipher)
            }
        }
    };
}

/// A key that seals. It keeps no counter: the caller never repeats a nonce under one key.
///
/// It can be shared between threads. See the module about what is wiped on drop.
pub struct SealKey(RingKey);
aead_key!(SealKey);

impl SealKey {
    /// Encrypts `in_out` in place and returns the tag over it and `ad`.
    #[inline]
    pub fn seal(&self, nonce: [u8; NONCE_LEN], ad: &[u8], in_out: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(ad), in_out)
            .expect("no datagram comes near the 64 GiB that both ciphers take");
        let mut bytes = [0; TAG_LEN];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }
}

/// A key that opens. It keeps no replay window: that is the caller's.
///
/// It can be shared between threads. See the module about what is wiped on drop.
pub struct OpenKey(RingKey);
aead_key!(OpenKey);

/// A tag that does not fit; the buffer holds zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTag;

impl OpenKey {
    /// Checks the tag over `in_out` and `ad`, and decrypts `in_out` in place.
    ///
    /// # Errors
    /// [`BadTag`]; `in_out` is then filled with zeros, so no unchecked plaintext is left.
    #[inline]
    pub fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        ad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), BadTag> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = self.0.key.open_in_place_separate_tag(
            nonce,
            Aad::from(ad),
            Tag::from(*tag),
            in_out,
            0..,
        );
        if opened.is_err() {
            in_out.fill(0);
            return Err(BadTag);
        }
        Ok(())
    }
}

/// Seals the plaintext of C1 in place with ChaCha20-Poly1305, nonce 0, and appends the tag.
pub(crate) fn seal_c1(key: &Secret, ad: &[u8], buffer: &mut Vec<u8>) {
    let aead = ChaCha20Poly1305::new(key.as_bytes().into());
    let tag = aead
        .encrypt_inout_detached(&[0; NONCE_LEN].into(), ad, InOutBuf::from(&mut buffer[..]))
        .expect("a REQUEST is far below the limit of the cipher");
    buffer.extend_from_slice(&tag);
}

/// Opens C1; returns the plaintext, or `None` if the tag does not fit.
pub(crate) fn open_c1(
    key: &Secret,
    ad: &[u8],
    sealed: &[u8],
) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    let (text, tag) = sealed.split_last_chunk::<TAG_LEN>()?;
    let aead = ChaCha20Poly1305::new(key.as_bytes().into());
    let mut text = zeroize::Zeroizing::new(text.to_vec());
    aead.decrypt_inout_detached(
        &[0; NONCE_LEN].into(),
        ad,
        InOutBuf::from(&mut text[..]),
        tag.into(),
    )
    .ok()?;
    Some(text)
}

/// Seals the 28 bytes of a RETRY with XChaCha20-Poly1305.
pub(crate) fn seal_retry(key: &Secret, nonce: &[u8; 24], ad: &[u8], text: &[u8; 28]) -> [u8; 44] {
    let mut sealed = [0; 44];
    sealed[..28].copy_from_slice(text);
    let aead = XChaCha20Poly1305::new(key.as_bytes().into());
    let tag = aead
        .encrypt_inout_detached(nonce.into(), ad, InOutBuf::from(&mut sealed[..28]))
        .expect("28 bytes are far below the limit of the cipher");
    sealed[28..].copy_from_slice(&tag);
    sealed
}

/// Opens the 44 bytes of a RETRY; `None` if the tag does not fit.
pub(crate) fn open_retry(
    key: &Secret,
    nonce: &[u8; 24],
    ad: &[u8],
    sealed: &[u8; 44],
) -> Option<[u8; 28]> {
    let (text, tag) = sealed.split_last_chunk::<TAG_LEN>()?;
    let mut text: [u8; 28] = text.try_into().ok()?;
    let aead = XChaCha20Poly1305::new(key.as_bytes().into());
    aead.decrypt_inout_detached(nonce.into(), ad, InOutBuf::from(&mut text[..]), tag.into())
        .ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn assert_shared<T: Send + Sync>() {}
    const _: () = assert_shared::<SealKey>();
    const _: () = assert_shared::<OpenKey>();

    #[test]
    fn seals_opens_and_leaves_nothing_on_a_bad_tag() {
        for &cipher in Cipher::ALL {
            let secret = Secret::new([3; 32]);
            let (seal, open) = (SealKey::new(cipher, &secret), OpenKey::new(cipher, &secret));
            let mut buffer = *b"some plain text";
            let tag = seal.seal([1; 12], b"ad", &mut buffer);
            assert_ne!(&buffer, b"some plain text");
            let mut copy = buffer;
            assert_eq!(open.open([1; 12], b"ad", &mut copy, &tag), Ok(()));
            assert_eq!(&copy, b"some plain text");
            for (nonce, ad, flip) in [([2; 12], b"ad", 0), ([1; 12], b"aD", 0), ([1; 12], b"ad", 1)]
            {
                let mut copy = buffer;
                let mut tag = tag;
                tag[15] ^= flip;
                assert_eq!(open.open(nonce, ad, &mut copy, &tag), Err(BadTag));
                assert_eq!(copy, [0; 15]);
            }
            assert_eq!(format!("{seal:?}"), format!("SealKey({cipher}, ..)"));
        }
    }

    #[test]
    fn both_chacha_implementations_agree() {
        let secret = Secret::new([9; 32]);
        let mut text = b"text".to_vec();
        seal_c1(&secret, b"ad", &mut text);
        let mut other = *b"text";
        let tag = SealKey::new(Cipher::ChaCha20Poly1305, &secret).seal([0; 12], b"ad", &mut other);
        assert_eq!(text, [&other[..], &tag].concat());
        assert_eq!(open_c1(&secret, b"ad", &text).unwrap().as_slice(), b"text");
        assert!(open_c1(&secret, b"ae", &text).is_none());
        assert!(open_c1(&secret, b"ad", &text[..15]).is_none());
    }
}
