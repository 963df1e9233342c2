//! Short lists of algorithm codes, without allocation.

use core::fmt;

use super::MAX_ITEMS;
use crate::crypto::{Cipher, HashAlg};

/// A list of 1 to 16 algorithm codes, preferred first. Codes that this program does not know
/// may be in it.
#[derive(Clone, Copy)]
pub struct AlgorithmList {
    codes: [u64; MAX_ITEMS],
    len: u8,
}

impl AlgorithmList {
    /// Takes codes; `None` if there are none or more than 16.
    pub fn new(codes: &[u64]) -> Option<Self> {
        if codes.is_empty() || codes.len() > MAX_ITEMS {
            return None;
        }
        let mut list = Self { codes: [0; MAX_ITEMS], len: 0 };
        for code in codes {
            list.push(*code);
        }
        Some(list)
    }

    /// Makes a list of one code.
    pub const fn one(code: u64) -> Self {
        let mut codes = [0; MAX_ITEMS];
        codes[0] = code;
        Self { codes, len: 1 }
    }

    fn push(&mut self, code: u64) {
        self.codes[usize::from(self.len)] = code;
        self.len += 1;
    }

    /// Returns the codes.
    pub fn as_slice(&self) -> &[u64] {
        &self.codes[..usize::from(self.len)]
    }

    /// Returns whether the code is in the list.
    pub fn contains(&self, code: u64) -> bool {
        self.as_slice().contains(&code)
    }

    /// Returns the first hash of this list that is in `mine`: the requester's order decides
    /// (`protocol.md` §3).
    pub fn choose_hash(&self, mine: &[HashAlg]) -> Option<HashAlg> {
        self.as_slice().iter().find_map(|&c| HashAlg::from_code(c).filter(|a| mine.contains(a)))
    }

    /// Returns the first cipher of this list that is in `mine`.
    pub fn choose_cipher(&self, mine: &[Cipher]) -> Option<Cipher> {
        self.as_slice().iter().find_map(|&c| Cipher::from_code(c).filter(|a| mine.contains(a)))
    }

    /// Makes a list of hashes; none gives SHA-256, which everyone has.
    pub fn of_hashes(hashes: &[HashAlg]) -> Self {
        Self::of_codes(hashes.iter().map(|a| a.code()), HashAlg::Sha256.code())
    }

    /// Makes a list of ciphers; none gives ChaCha20-Poly1305, which everyone has.
    pub fn of_ciphers(ciphers: &[Cipher]) -> Self {
        Self::of_codes(ciphers.iter().map(|a| a.code()), Cipher::ChaCha20Poly1305.code())
    }

    fn of_codes(codes: impl Iterator<Item = u8>, default: u8) -> Self {
        let mut list = Self { codes: [0; MAX_ITEMS], len: 0 };
        for code in codes.take(MAX_ITEMS) {
            list.push(u64::from(code));
        }
        if list.len == 0 { Self::one(u64::from(default)) } else { list }
    }
}

impl PartialEq for AlgorithmList {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for AlgorithmList {}

impl fmt::Debug for AlgorithmList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requesters_order_decides() {
        let list = AlgorithmList::new(&[77, 2, 1]).unwrap();
        assert_eq!(list.choose_cipher(Cipher::ALL), Some(Cipher::Aes256Gcm));
        assert_eq!(list.choose_cipher(&[Cipher::ChaCha20Poly1305]), Some(Cipher::ChaCha20Poly1305));
        assert_eq!(list.choose_hash(&[HashAlg::Blake2s256]), None);
        assert!(list.contains(77) && !list.contains(0));
        assert_eq!(AlgorithmList::new(&[]), None);
        assert_eq!(AlgorithmList::new(&[1; 17]), None);
        assert_eq!(AlgorithmList::of_ciphers(&[]).as_slice(), [1]);
        assert_eq!(AlgorithmList::of_hashes(HashAlg::ALL).as_slice(), [1, 2, 3]);
    }
}
