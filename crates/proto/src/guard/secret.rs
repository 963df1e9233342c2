//! Secrets that rotate: of the cookies and of the challenges.

use crate::{crypto::hmac_sha256, time::Instant};
use core::net::SocketAddr;
use core::time::Duration;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A secret of which the current and the previous generation are accepted.
pub(crate) struct Rotating {
    current: [u8; 32],
    previous: Option<[u8; 32]>,
    rotated_at: Instant,
    period: Duration,
}

impl Rotating {
    pub(crate) fn new(secret: [u8; 32], period: Duration, now: Instant) -> Self {
        Self { current: secret, previous: None, rotated_at: now, period }
    }

    /// Rotates if the period is over; `fresh` is called for a new secret.
    pub(crate) fn rotate(&mut self, now: Instant, fresh: impl FnOnce() -> [u8; 32]) {
        let age = now.saturating_since(self.rotated_at);
        if age < self.period {
            return;
        }
        let old = core::mem::replace(&mut self.current, fresh());
        self.previous.zeroize();
        self.previous = (age < self.period * 2).then_some(old);
        self.rotated_at = now;
    }

    /// Makes the value for `parts` under the current secret.
    pub(crate) fn make<const N: usize>(&self, parts: &[&[u8]]) -> [u8; N] {
        truncated(&self.current, parts)
    }

    /// Returns the values for `parts` that are accepted: current, then previous.
    pub(crate) fn accepted<const N: usize>(
        &self,
        parts: &[&[u8]],
    ) -> impl Iterator<Item = [u8; N]> {
        let current = truncated(&self.current, parts);
        let previous = self.previous.as_ref().map(|secret| truncated(secret, parts));
        core::iter::once(current).chain(previous)
    }

    /// Tells in constant time whether `value` is accepted for `parts`.
    pub(crate) fn accepts<const N: usize>(&self, parts: &[&[u8]], value: &[u8; N]) -> bool {
        self.accepted::<N>(parts).fold(false, |ok, v| ok | bool::from(v.ct_eq(value)))
    }
}

impl Drop for Rotating {
    fn drop(&mut self) {
        self.current.zeroize();
        self.previous.zeroize();
    }
}

impl core::fmt::Debug for Rotating {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Rotating(..)")
    }
}

fn truncated<const N: usize>(secret: &[u8; 32], parts: &[&[u8]]) -> [u8; N] {
    let full = hmac_sha256(secret, parts);
    let mut out = [0; N];
    out.copy_from_slice(&full[..N]);
    out
}

/// Encodes a source address and port as the input of its cookie: 16 address bytes (IPv4 as
/// mapped), port.
pub(crate) fn cookie_input(source: SocketAddr) -> [u8; 18] {
    let ip = match source.ip() {
        core::net::IpAddr::V4(a) => a.to_ipv6_mapped(),
        core::net::IpAddr::V6(a) => a,
    };
    let mut input = [0; 18];
    input[..16].copy_from_slice(&ip.octets());
    input[16..].copy_from_slice(&source.port().to_be_bytes());
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Instant {
        Instant::from_nanos(s * 1_000_000_000)
    }

    #[test]
    fn the_previous_secret_is_accepted_and_no_older_one() {
        let mut secret = Rotating::new([1; 32], Duration::from_secs(120), at(0));
        let value: [u8; 16] = secret.make(&[b"x"]);
        secret.rotate(at(119), || panic!("too early"));
        assert!(secret.accepts(&[b"x"], &value));
        secret.rotate(at(120), || [2; 32]);
        assert_ne!(secret.make::<16>(&[b"x"]), value);
        assert!(secret.accepts(&[b"x"], &value));
        assert!(!secret.accepts(&[b"y"], &value));
        secret.rotate(at(240), || [3; 32]);
        assert!(!secret.accepts(&[b"x"], &value));
    }

    #[test]
    fn a_long_pause_forgets_both() {
        let mut secret = Rotating::new([1; 32], Duration::from_secs(120), at(0));
        let value: [u8; 16] = secret.make(&[b"x"]);
        secret.rotate(at(1_000), || [2; 32]);
        assert!(!secret.accepts(&[b"x"], &value));
    }

    #[test]
    fn a_cookie_is_bound_to_address_and_port() {
        let inputs = ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1", "[2001:db8::1]:1"]
            .map(|s| cookie_input(s.parse().unwrap()));
        for (i, a) in inputs.iter().enumerate() {
            for b in &inputs[..i] {
                assert_ne!(a, b);
            }
        }
    }
}
