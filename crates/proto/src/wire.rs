//! Datagrams: kinds, checked views and writers (`protocol.md` §2). All integers little-endian.
//!
//! Invariants: a view exists only for bytes of a legal length whose reserved bytes are zero, so
//! its accessors cannot fail; nothing here allocates on reading.

use crate::crypto::{Cipher, KEM_CIPHERTEXT_LEN, TAG_LEN};
use crate::drop::DropReason;

/// The version of the protocol that this program speaks.
pub const VERSION: u8 = 1;
/// The first bytes of a REQUEST: "StadiumP".
pub const MAGIC: [u8; 8] = *b"StadiumP";
/// The flag of an encrypted handshake; every other is an open one.
pub const FLAG_ENCRYPTED: u8 = 0x7a;
/// The flag that this program sends in an open handshake.
pub const FLAG_OPEN: u8 = 0x00;
/// The first byte of a CONSENT.
pub const KIND_CONSENT: u8 = 0x01;
/// The first byte of a RETRY.
pub const KIND_RETRY: u8 = 0x02;
/// The first byte of an ERROR.
pub const KIND_ERROR: u8 = 0x03;
/// The first byte of a DATA datagram.
pub const KIND_DATA: u8 = 0x04;

/// Bytes before C1 in a REQUEST.
pub const REQUEST_HEADER_LEN: usize = 8 + 1 + 4 + 32;
/// Bytes of the mac that ends a REQUEST.
pub const MAC_LEN: usize = 16;
/// The most bytes of a REQUEST: what a 1,500-byte IPv6 path carries.
pub const MAX_REQUEST_LEN: usize = 1_452;
/// The fewest bytes to which an open REQUEST is filled.
pub const MIN_OPEN_REQUEST_LEN: usize = 256;
/// The fewest bytes to which an open hybrid REQUEST is filled.
pub const MIN_OPEN_HYBRID_REQUEST_LEN: usize = 1_350;
/// Bytes before the KEM ciphertext in a CONSENT.
pub const CONSENT_HEADER_LEN: usize = 8 + 32 + 2;
/// Bytes of a RETRY.
pub const RETRY_LEN: usize = 8 + 24 + 44;
/// Bytes of an ERROR.
pub const ERROR_LEN: usize = 24;
/// Bytes of the header of a DATA datagram, which is also its associated data.
pub const DATA_HEADER_LEN: usize = 16;
/// Bytes that DATA adds to a frame and its filler.
pub const DATA_OVERHEAD: usize = DATA_HEADER_LEN + TAG_LEN;
/// Bytes of a cookie.
pub const COOKIE_LEN: usize = 16;
/// Bytes of a challenge.
pub const CHALLENGE_LEN: usize = 12;

/// The least payload limit that a node may announce in cell `0x0a`, in bytes.
pub const MIN_PAYLOAD_LIMIT: u16 = 1_280;
/// The most sending lanes of a node.
pub const MAX_LANES: u8 = 64;
/// Bit 0 of a DATA header's flags: the packet's checksum is only its pseudo-header sum.
pub const DATA_FLAG_PARTIAL_CHECKSUM: u8 = 0x01;

/// The kinds of datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramKind {
    /// "StadiumP".
    Request,
    /// `01`.
    Consent,
    /// `02`.
    Retry,
    /// `03`.
    Error,
    /// `04`.
    Data,
}

impl DatagramKind {
    /// Tells the kind from the first bytes; the rest is not looked at.
    #[inline]
    pub fn of(datagram: &[u8]) -> Option<Self> {
        match *datagram.first()? {
            KIND_DATA => Some(Self::Data),
            KIND_CONSENT => Some(Self::Consent),
            KIND_RETRY => Some(Self::Retry),
            KIND_ERROR => Some(Self::Error),
            _ if datagram.starts_with(&MAGIC) => Some(Self::Request),
            _ => None,
        }
    }
}

/// Why bytes are no datagram of their kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The first bytes are those of another kind, or of none.
    Kind,
    /// The length is not possible.
    Length,
    /// A reserved byte is not zero.
    Reserved,
    /// The index is 0.
    ZeroIndex,
    /// `kem_len` is neither 0 nor 1,088.
    KemLength,
}

impl From<WireError> for DropReason {
    fn from(_: WireError) -> Self {
        Self::Malformed
    }
}

/// Reads `N` bytes at a fixed place of a slice whose length was checked.
fn at<const N: usize>(bytes: &[u8], start: usize) -> &[u8; N] {
    bytes[start..start + N].try_into().expect("the range has N bytes")
}

fn u32_at(bytes: &[u8], start: usize) -> u32 {
    u32::from_le_bytes(*at(bytes, start))
}

/// A view of a REQUEST.
#[derive(Clone, Copy)]
pub struct RequestView<'a>(&'a [u8]);

impl<'a> RequestView<'a> {
    /// Checks magic, length and that `index_i` is not 0.
    ///
    /// # Errors
    /// [`WireError::Kind`], [`WireError::Length`] or [`WireError::ZeroIndex`].
    pub fn parse(datagram: &'a [u8]) -> Result<Self, WireError> {
        if !datagram.starts_with(&MAGIC) {
            return Err(WireError::Kind);
        }
        if datagram.len() <= REQUEST_HEADER_LEN + MAC_LEN || datagram.len() > MAX_REQUEST_LEN {
            return Err(WireError::Length);
        }
        let view = Self(datagram);
        if view.index_i() == 0 {
            return Err(WireError::ZeroIndex);
        }
        Ok(view)
    }

    /// Returns all bytes.
    pub const fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Returns the flag.
    pub const fn flag(&self) -> u8 {
        self.0[8]
    }

    /// Returns whether the handshake is an encrypted one.
    pub const fn is_encrypted(&self) -> bool {
        self.flag() == FLAG_ENCRYPTED
    }

    /// Returns the initiator's index, which is not 0.
    pub fn index_i(&self) -> u32 {
        u32_at(self.0, 9)
    }

    /// Returns magic, flag and `index_i`: what the transcript begins with.
    pub fn prefix(&self) -> &'a [u8; 13] {
        at(self.0, 0)
    }

    /// Returns `E_i`.
    pub fn ephemeral(&self) -> &'a [u8; 32] {
        at(self.0, 13)
    }

    /// Returns C1, at least one byte.
    pub fn c1(&self) -> &'a [u8] {
        &self.0[REQUEST_HEADER_LEN..self.0.len() - MAC_LEN]
    }

    /// Returns the mac.
    pub fn mac(&self) -> &'a [u8; MAC_LEN] {
        at(self.0, self.0.len() - MAC_LEN)
    }

    /// Returns everything before the mac.
    pub fn before_mac(&self) -> &'a [u8] {
        &self.0[..self.0.len() - MAC_LEN]
    }
}

impl core::fmt::Debug for RequestView<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("RequestView")
            .field("len", &self.0.len())
            .field("flag", &self.flag())
            .field("index_i", &self.index_i())
            .finish()
    }
}

/// Starts a REQUEST: magic, flag, `index_i` and `E_i`.
pub fn request_header(flag: u8, index_i: u32, ephemeral: &[u8; 32]) -> [u8; REQUEST_HEADER_LEN] {
    let mut header = [0; REQUEST_HEADER_LEN];
    header[..8].copy_from_slice(&MAGIC);
    header[8] = flag;
    header[9..13].copy_from_slice(&index_i.to_le_bytes());
    header[13..].copy_from_slice(ephemeral);
    header
}

/// A view of a CONSENT.
#[derive(Clone, Copy, Debug)]
pub struct ConsentView<'a>(&'a [u8]);

impl<'a> ConsentView<'a> {
    /// Checks kind, reserved bytes, length, `index_i` and `kem_len`.
    ///
    /// # Errors
    /// Every [`WireError`].
    pub fn parse(datagram: &'a [u8]) -> Result<Self, WireError> {
        if datagram.first() != Some(&KIND_CONSENT) {
            return Err(WireError::Kind);
        }
        if datagram.len() <= CONSENT_HEADER_LEN + TAG_LEN || datagram.len() > MAX_REQUEST_LEN {
            return Err(WireError::Length);
        }
        if datagram[2..4] != [0, 0] {
            return Err(WireError::Reserved);
        }
        let view = Self(datagram);
        if view.index_i() == 0 {
            return Err(WireError::ZeroIndex);
        }
        match view.kem_len() {
            0 => Ok(view),
            KEM_CIPHERTEXT_LEN => {
                if datagram.len() <= CONSENT_HEADER_LEN + KEM_CIPHERTEXT_LEN + TAG_LEN {
                    Err(WireError::Length)
                } else {
                    Ok(view)
                }
            }
            _ => Err(WireError::KemLength),
        }
    }

    /// Returns the first 8 bytes, which enter the transcript as they are.
    pub fn head(&self) -> &'a [u8; 8] {
        at(self.0, 0)
    }

    /// Returns the code of the symmetric algorithm.
    pub const fn symmetric(&self) -> u8 {
        self.0[1]
    }

    /// Returns the initiator's index, which is not 0.
    pub fn index_i(&self) -> u32 {
        u32_at(self.0, 4)
    }

    /// Returns `E_r`.
    pub fn ephemeral(&self) -> &'a [u8; 32] {
        at(self.0, 8)
    }

    /// Returns `kem_len`: 0 or 1,088.
    pub fn kem_len(&self) -> usize {
        usize::from(u16::from_le_bytes(*at(self.0, 40)))
    }

    /// Returns the KEM ciphertext, if there is one.
    pub fn kem_ciphertext(&self) -> Option<&'a [u8; KEM_CIPHERTEXT_LEN]> {
        (self.kem_len() != 0).then(|| at(self.0, CONSENT_HEADER_LEN))
    }

    /// Returns C2, longer than a tag.
    pub fn c2(&self) -> &'a [u8] {
        &self.0[CONSENT_HEADER_LEN + self.kem_len()..]
    }
}

/// Starts a CONSENT: its first 8 bytes.
pub fn consent_head(cipher: Cipher, index_i: u32) -> [u8; 8] {
    let [a, b, c, d] = index_i.to_le_bytes();
    [KIND_CONSENT, cipher.code(), 0, 0, a, b, c, d]
}

/// A view of a RETRY.
#[derive(Clone, Copy, Debug)]
pub struct RetryView<'a>(&'a [u8; RETRY_LEN]);

impl<'a> RetryView<'a> {
    /// Checks kind, length, reserved bytes and `index_i`.
    ///
    /// # Errors
    /// Every [`WireError`] but [`WireError::KemLength`].
    pub fn parse(datagram: &'a [u8]) -> Result<Self, WireError> {
        if datagram.first() != Some(&KIND_RETRY) {
            return Err(WireError::Kind);
        }
        let bytes = <&[u8; RETRY_LEN]>::try_from(datagram).map_err(|_| WireError::Length)?;
        if bytes[1..4] != [0, 0, 0] {
            return Err(WireError::Reserved);
        }
        let view = Self(bytes);
        if view.index_i() == 0 {
            return Err(WireError::ZeroIndex);
        }
        Ok(view)
    }

    /// Returns the initiator's index, which is not 0.
    pub fn index_i(&self) -> u32 {
        u32_at(self.0, 4)
    }

    /// Returns the nonce.
    pub fn nonce(&self) -> &'a [u8; 24] {
        at(self.0, 8)
    }

    /// Returns the sealed cookie and challenge.
    pub fn sealed(&self) -> &'a [u8; 44] {
        at(self.0, 32)
    }
}

/// Writes a RETRY around its sealed part.
pub fn retry(index_i: u32, nonce: &[u8; 24], sealed: &[u8; 44]) -> [u8; RETRY_LEN] {
    let mut datagram = [0; RETRY_LEN];
    datagram[0] = KIND_RETRY;
    datagram[4..8].copy_from_slice(&index_i.to_le_bytes());
    datagram[8..32].copy_from_slice(nonce);
    datagram[32..].copy_from_slice(sealed);
    datagram
}

/// A view of an ERROR.
#[derive(Clone, Copy, Debug)]
pub struct ErrorView<'a>(&'a [u8; ERROR_LEN]);

impl<'a> ErrorView<'a> {
    /// Checks kind, length, reserved byte and `index_i`.
    ///
    /// # Errors
    /// Every [`WireError`] but [`WireError::KemLength`].
    pub fn parse(datagram: &'a [u8]) -> Result<Self, WireError> {
        if datagram.first() != Some(&KIND_ERROR) {
            return Err(WireError::Kind);
        }
        let bytes = <&[u8; ERROR_LEN]>::try_from(datagram).map_err(|_| WireError::Length)?;
        if bytes[3] != 0 {
            return Err(WireError::Reserved);
        }
        let view = Self(bytes);
        if view.index_i() == 0 {
            return Err(WireError::ZeroIndex);
        }
        Ok(view)
    }

    /// Returns the code.
    pub const fn code(&self) -> u8 {
        self.0[1]
    }

    /// Returns the highest version that the responder speaks.
    pub const fn max_version(&self) -> u8 {
        self.0[2]
    }

    /// Returns the initiator's index, which is not 0.
    pub fn index_i(&self) -> u32 {
        u32_at(self.0, 4)
    }

    /// Returns the mac of the REQUEST that is answered.
    pub fn echo(&self) -> &'a [u8; MAC_LEN] {
        at(self.0, 8)
    }
}

/// Writes an ERROR.
pub fn error(code: u8, max_version: u8, index_i: u32, echo: &[u8; MAC_LEN]) -> [u8; ERROR_LEN] {
    let mut datagram = [0; ERROR_LEN];
    datagram[0] = KIND_ERROR;
    datagram[1] = code;
    datagram[2] = max_version;
    datagram[4..8].copy_from_slice(&index_i.to_le_bytes());
    datagram[8..].copy_from_slice(echo);
    datagram
}

/// The counter of a DATA datagram: a lane in the top 8 bits, a sequence in the other 56.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counter(pub u64);

impl Counter {
    /// The sequences of a lane end before this one.
    pub const SEQUENCES: u64 = 1 << 56;

    /// Puts lane and sequence together; `sequence` is below 2^56.
    #[inline]
    pub const fn new(lane: u8, sequence: u64) -> Self {
        debug_assert!(sequence < Self::SEQUENCES);
        Self((lane as u64) << 56 | sequence)
    }

    /// Returns the lane.
    #[inline]
    pub const fn lane(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// Returns the sequence within the lane.
    #[inline]
    pub const fn sequence(self) -> u64 {
        self.0 & (Self::SEQUENCES - 1)
    }

    /// Returns the AEAD nonce: 4 zero bytes ‖ counter.
    #[inline]
    pub const fn nonce(self) -> [u8; 12] {
        let [a, b, c, d, e, f, g, h] = self.0.to_le_bytes();
        [0, 0, 0, 0, a, b, c, d, e, f, g, h]
    }
}

/// The header of a DATA datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHeader {
    /// The flags; all bits but bit 0 are reserved.
    pub flags: u8,
    /// The receiver's index, or a ticket.
    pub index: u32,
    /// Lane and sequence.
    pub counter: Counter,
}

impl DataHeader {
    /// Returns the lane of the counter.
    #[inline]
    #[must_use]
    pub const fn lane(&self) -> u8 {
        self.counter.lane()
    }

    /// Returns the sequence within the lane.
    #[inline]
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.counter.sequence()
    }

    /// Reads the header of a datagram that is long enough for a tag; checks the reserved bytes
    /// and flags, and that the index is not 0.
    ///
    /// # Errors
    /// Every [`WireError`] but [`WireError::KemLength`].
    #[inline]
    pub fn parse(datagram: &[u8]) -> Result<Self, WireError> {
        if datagram.first() != Some(&KIND_DATA) {
            return Err(WireError::Kind);
        }
        if datagram.len() < DATA_OVERHEAD {
            return Err(WireError::Length);
        }
        let flags = datagram[1];
        if flags & !DATA_FLAG_PARTIAL_CHECKSUM != 0 || datagram[2] | datagram[3] != 0 {
            return Err(WireError::Reserved);
        }
        let index = u32_at(datagram, 4);
        if index == 0 {
            return Err(WireError::ZeroIndex);
        }
        let counter = Counter(u64::from_le_bytes(*at(datagram, 8)));
        Ok(Self { flags, index, counter })
    }

    /// Returns the 16 bytes of the header, which are also the associated data.
    #[inline]
    pub const fn to_bytes(self) -> [u8; DATA_HEADER_LEN] {
        let [i, j, k, l] = self.index.to_le_bytes();
        let [a, b, c, d, e, f, g, h] = self.counter.0.to_le_bytes();
        [KIND_DATA, self.flags, 0, 0, i, j, k, l, a, b, c, d, e, f, g, h]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        assert_eq!(DatagramKind::of(b"StadiumP"), Some(DatagramKind::Request));
        assert_eq!(DatagramKind::of(b"StadiumQ"), None);
        assert_eq!(DatagramKind::of(b"Stadium"), None);
        assert_eq!(DatagramKind::of(&[]), None);
        assert_eq!(DatagramKind::of(&[0]), None);
        assert_eq!(DatagramKind::of(&[5]), None);
        assert_eq!(DatagramKind::of(&[1]), Some(DatagramKind::Consent));
        assert_eq!(DatagramKind::of(&[2]), Some(DatagramKind::Retry));
        assert_eq!(DatagramKind::of(&[3]), Some(DatagramKind::Error));
        assert_eq!(DatagramKind::of(&[4]), Some(DatagramKind::Data));
    }

    #[test]
    fn data_header_goes_both_ways_and_refuses_reserved_bits() {
        let header = DataHeader { flags: 1, index: 0x0102_0304, counter: Counter::new(63, 0x1122) };
        let mut datagram = [0; DATA_OVERHEAD];
        datagram[..DATA_HEADER_LEN].copy_from_slice(&header.to_bytes());
        assert_eq!(DataHeader::parse(&datagram), Ok(header));
        assert_eq!((header.counter.lane(), header.counter.sequence()), (63, 0x1122));
        assert_eq!(header.counter.nonce(), [0, 0, 0, 0, 0x22, 0x11, 0, 0, 0, 0, 0, 63]);
        assert_eq!(DataHeader::parse(&datagram[..31]), Err(WireError::Length));
        for (byte, bit) in [(1, 2), (1, 0x80), (2, 1), (3, 0x80)] {
            let mut datagram = datagram;
            datagram[byte] ^= bit;
            assert_eq!(DataHeader::parse(&datagram), Err(WireError::Reserved));
        }
        datagram[4..8].fill(0);
        assert_eq!(DataHeader::parse(&datagram), Err(WireError::ZeroIndex));
    }

    #[test]
    fn every_length_and_reserved_byte_is_checked() {
        let request = [&request_header(0x7a, 1, &[7; 32])[..], &[0; 1408]].concat();
        for len in 0..=request.len() {
            let parsed = RequestView::parse(&request[..len]);
            let legal = (REQUEST_HEADER_LEN + MAC_LEN + 1..=MAX_REQUEST_LEN).contains(&len);
            assert_eq!(parsed.is_ok(), legal, "{len}");
        }
        let mut zero = request[..200].to_vec();
        zero[9..13].fill(0);
        assert_eq!(RequestView::parse(&zero).unwrap_err(), WireError::ZeroIndex);

        for kem_len in [0u16, 1088] {
            let mut consent = vec![9; 2000];
            consent[..8].copy_from_slice(&consent_head(Cipher::Aes256Gcm, 7));
            consent[40..42].copy_from_slice(&kem_len.to_le_bytes());
            for len in 0..=consent.len() {
                let least = CONSENT_HEADER_LEN + usize::from(kem_len) + TAG_LEN + 1;
                let parsed = ConsentView::parse(&consent[..len]);
                assert_eq!(parsed.is_ok(), (least..=MAX_REQUEST_LEN).contains(&len), "{len}");
                if let Ok(view) = parsed {
                    assert_eq!(view.c2().len(), len - least + TAG_LEN + 1);
                    assert_eq!(view.kem_ciphertext().is_some(), kem_len != 0);
                }
            }
            let mut consent = consent[..1300].to_vec();
            consent[40] ^= 1;
            assert_eq!(ConsentView::parse(&consent).unwrap_err(), WireError::KemLength);
            consent[3] = 1;
            assert_eq!(ConsentView::parse(&consent).unwrap_err(), WireError::Reserved);
        }

        let good = retry(5, &[1; 24], &[2; 44]);
        let view = RetryView::parse(&good).unwrap();
        assert_eq!((view.index_i(), view.nonce(), view.sealed()), (5, &[1; 24], &[2; 44]));
        assert_eq!(RetryView::parse(&good[..75]).unwrap_err(), WireError::Length);
        for byte in 1..4 {
            let mut bad = good;
            bad[byte] = 1;
            assert_eq!(RetryView::parse(&bad).unwrap_err(), WireError::Reserved);
        }

        let good = error(2, 1, 5, &[3; 16]);
        let view = ErrorView::parse(&good).unwrap();
        assert_eq!((view.code(), view.max_version(), view.index_i()), (2, 1, 5));
        assert_eq!(view.echo(), &[3; 16]);
        let mut bad = good;
        bad[3] = 1;
        assert_eq!(ErrorView::parse(&bad).unwrap_err(), WireError::Reserved);
        assert_eq!(ErrorView::parse(&[&good[..], &[0]].concat()).unwrap_err(), WireError::Length);
    }
}
