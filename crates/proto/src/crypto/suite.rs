//! The negotiable algorithms: their codes on the wire, their names, and a node's own order.

use core::fmt;
use core::str::FromStr;

/// A symmetric algorithm of cell `0x05`: the AEAD of CONSENT and DATA. Keys have 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Cipher {
    /// ChaCha20-Poly1305 (RFC 8439), which every node has.
    ChaCha20Poly1305 = 1,
    /// AES-256-GCM.
    Aes256Gcm = 2,
}

/// A hash algorithm of cell `0x02`: the hash of the data keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum HashAlg {
    /// SHA-256, which every node has.
    Sha256 = 1,
    /// SHA-512.
    Sha512 = 2,
    /// BLAKE2s-256, in HKDF as HMAC-BLAKE2s.
    Blake2s256 = 3,
}

/// Implements code, name and parsing for both lists of algorithms.
macro_rules! algorithm {
    ($name:ident, $what:literal, $($variant:ident => $text:literal),+) => {
        impl $name {
            /// All that this program has, in order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the code on the wire.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// Returns the algorithm with this code, if this program has it.
            pub fn from_code(code: u64) -> Option<Self> {
                Self::ALL.iter().copied().find(|a| u64::from(a.code()) == code)
            }

            /// Returns the name that configuration and status use.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }

            /// Returns the algorithm with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|a| a.name() == name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $name {
            type Err = UnknownAlgorithm;

            fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
                Self::from_name(name).ok_or(UnknownAlgorithm(concat!(
                    "unknown ", $what, "; known are", $(" ", $text),+
                )))
            }
        }
    };
}

algorithm!(Cipher, "symmetric algorithm", ChaCha20Poly1305 => "chacha20-poly1305", Aes256Gcm => "aes-256-gcm");
algorithm!(HashAlg, "hash algorithm", Sha256 => "sha-256", Sha512 => "sha-512", Blake2s256 => "blake2s-256");

/// A name that is no algorithm; the text lists those that are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownAlgorithm(&'static str);

impl fmt::Display for UnknownAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for UnknownAlgorithm {}

/// Returns whether this processor has instructions for AES and carry-less multiplication, which
/// make AES-256-GCM the faster cipher.
fn aes_in_hardware() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("aes")
            && std::arch::is_x86_feature_detected!("pclmulqdq")
            && std::arch::is_x86_feature_detected!("ssse3")
    }
    #[cfg(target_arch = "aarch64")]
    {
        std::arch::is_aarch64_feature_detected!("aes")
            && std::arch::is_aarch64_feature_detected!("pmull")
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        false
    }
}

/// Returns all ciphers, the one that this processor does fastest first (`protocol.md` §3).
pub fn preferred_ciphers() -> &'static [Cipher] {
    if aes_in_hardware() {
        &[Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305]
    } else {
        &[Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_go_both_ways() {
        for &cipher in Cipher::ALL {
            assert_eq!(Cipher::from_code(u64::from(cipher.code())), Some(cipher));
            assert_eq!(cipher.name().parse(), Ok(cipher));
        }
        for &hash in HashAlg::ALL {
            assert_eq!(HashAlg::from_code(u64::from(hash.code())), Some(hash));
            assert_eq!(hash.to_string().parse(), Ok(hash));
        }
        assert_eq!(Cipher::from_code(0x101), None);
        assert_eq!(HashAlg::from_code(0), None);
        assert_eq!(
            "md5".parse::<HashAlg>().unwrap_err().to_string(),
            "unknown hash algorithm; known are sha-256 sha-512 blake2s-256"
        );
    }

    #[test]
    fn every_cipher_is_preferred_once() {
        let mut ciphers = preferred_ciphers().to_vec();
        ciphers.sort_unstable();
        assert_eq!(ciphers, Cipher::ALL);
    }
}
