//! What guards the handshake before any Diffie-Hellman: the mac, and RETRY (`protocol.md` §5).

use core::fmt;

use subtle::ConstantTimeEq as _;

use super::Refusal;
use super::request::Initiator;
use crate::crypto::{Secret, hmac_sha256, open_retry, seal_retry, sha256};
use crate::identity::{NetworkKey, PublicKey};
use crate::wire::{self, CHALLENGE_LEN, COOKIE_LEN, MAC_LEN, RETRY_LEN, RequestView, RetryView};

/// HASH(label ‖ V_r ‖ network key), in an open handshake without `V_r`.
fn guard_key(label: &[u8], v_r: Option<&PublicKey>, network_key: Option<&NetworkKey>) -> Secret {
    let v_r: &[u8] = v_r.map_or(&[], |key| key.as_bytes());
    let network_key: &[u8] = network_key.map_or(&[], |key| key.as_bytes());
    Secret::new(sha256(&[label, v_r, network_key]))
}

/// The key `mk` of the mac that ends a REQUEST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacKey(Secret);

impl MacKey {
    /// Derives it for the responder with this key; an open handshake goes without.
    pub fn new(v_r: Option<&PublicKey>, network_key: Option<&NetworkKey>) -> Self {
        Self(guard_key(b"StadiumP/1 mac", v_r, network_key))
    }

    /// Returns the bytes of `mk`.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Computes the mac over everything before it.
    pub fn mac(&self, cookie: Option<&[u8; COOKIE_LEN]>, before_mac: &[u8]) -> [u8; MAC_LEN] {
        let mut key = zeroize::Zeroizing::new([0u8; 32 + COOKIE_LEN]);
        key[..32].copy_from_slice(self.0.as_bytes());
        let len = match cookie {
            Some(cookie) => {
                key[32..].copy_from_slice(cookie);
                key.len()
            }
            None => 32,
        };
        let full = hmac_sha256(&key[..len], &[before_mac]);
        let mut mac = [0; MAC_LEN];
        mac.copy_from_slice(&full[..MAC_LEN]);
        mac
    }

    /// Returns whether the mac of a REQUEST was made with this key and this cookie (`None`: with
    /// none), in constant time.
    pub fn verify(&self, request: &RequestView<'_>, cookie: Option<&[u8; COOKIE_LEN]>) -> bool {
        self.mac(cookie, request.before_mac()).ct_eq(request.mac()).into()
    }
}

/// The key under which RETRY is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryKey(Secret);

impl RetryKey {
    /// Derives it for the responder with this key; an open handshake goes without.
    pub fn new(v_r: Option<&PublicKey>, network_key: Option<&NetworkKey>) -> Self {
        Self(guard_key(b"StadiumP/1 retry", v_r, network_key))
    }

    /// Returns the bytes of the key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

/// What a RETRY asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The cookie to put into the macs of the next 120 s.
    pub cookie: [u8; COOKIE_LEN],
    /// The challenge to echo in cell `0x09`; `None` (12 zero bytes) for a RETRY for load.
    pub challenge: Option<[u8; CHALLENGE_LEN]>,
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("challenge", &self.challenge.is_some())
            .finish_non_exhaustive()
    }
}

/// Builds the RETRY to a REQUEST. `nonce` is 24 random bytes.
pub fn build_retry(
    key: &RetryKey,
    request: &RequestView<'_>,
    retry: &Retry,
    nonce: &[u8; 24],
) -> [u8; RETRY_LEN] {
    let mut text = [0; COOKIE_LEN + CHALLENGE_LEN];
    text[..COOKIE_LEN].copy_from_slice(&retry.cookie);
    text[COOKIE_LEN..].copy_from_slice(&retry.challenge.unwrap_or_default());
    let sealed = seal_retry(&key.0, nonce, request.mac(), &text);
    wire::retry(request.index_i(), nonce, &sealed)
}

impl Initiator {
    /// Opens a RETRY to this REQUEST. It changes nothing: the next REQUEST is a new
    /// [`Initiator`], and a CONSENT may still come to this one.
    ///
    /// # Errors
    /// [`Refusal::Wire`], [`Refusal::OtherRequest`] or [`Refusal::BadTag`].
    pub fn open_retry(&self, datagram: &[u8]) -> Result<Retry, Refusal> {
        let view = RetryView::parse(datagram)?;
        if view.index_i() != self.index_i() {
            return Err(Refusal::OtherRequest);
        }
        let text = open_retry(&self.retry_key().0, view.nonce(), self.mac(), view.sealed())
            .ok_or(Refusal::BadTag)?;
        let (cookie, challenge) =
            text.split_first_chunk::<COOKIE_LEN>().expect("28 bytes hold a cookie");
        let challenge: [u8; CHALLENGE_LEN] =
            challenge.try_into().expect("12 bytes follow the cookie");
        let challenge = (challenge != [0; CHALLENGE_LEN]).then_some(challenge);
        Ok(Retry { cookie: *cookie, challenge })
    }
}
