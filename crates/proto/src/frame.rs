//! What stands inside a DATA datagram (`protocol.md` §6): the frame's first byte tells its kind,
//! what follows the frame is filler.

use crate::drop::DropReason;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use minicbor::{Decoder, Encoder, data::Type};

/// First byte of a noise frame.
pub const NOISE: u8 = 0x00;
/// First byte of a control frame.
pub const CONTROL: u8 = 0x01;
/// First byte of a stream frame.
pub const STREAM: u8 = 0x02;
/// The longest encoding of a control frame that this side sends, in bytes.
pub const CONTROL_MAX: usize = 32;

/// A frame inside an opened plaintext; lengths leave the filler out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The empty frame.
    Keepalive,
    /// An IP packet of this many bytes from the start of the plaintext.
    Packet {
        /// The true length of the packet, in bytes.
        length: usize,
        /// The packet's source address, to be checked against the sender's allowed IPs.
        source: IpAddr,
    },
    /// Noise: dropped after authentication.
    Noise,
    /// A control map; decode it with [`Control::decode`].
    Control,
    /// A stream frame.
    Stream,
}

impl Frame {
    /// Tells what an opened plaintext holds.
    ///
    /// # Errors
    /// [`DropReason::Malformed`] for an unknown kind and for a packet whose header is cut short or
    /// claims more bytes than there are.
    #[inline]
    pub fn parse(plaintext: &[u8]) -> Result<Self, DropReason> {
        let Some(&first) = plaintext.first() else {
            return Ok(Self::Keepalive);
        };
        match first {
            NOISE => Ok(Self::Noise),
            CONTROL => Ok(Self::Control),
            STREAM => Ok(Self::Stream),
            _ => match first >> 4 {
                4 => packet_v4(plaintext),
                6 => packet_v6(plaintext),
                _ => Err(DropReason::Malformed),
            },
        }
    }
}

#[inline]
fn packet_v4(plaintext: &[u8]) -> Result<Frame, DropReason> {
    let header: &[u8; 20] = plaintext.first_chunk().ok_or(DropReason::Malformed)?;
    let header_length = usize::from(header[0] & 0x0f) * 4;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header_length < 20 || length < header_length || length > plaintext.len() {
        return Err(DropReason::Malformed);
    }
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    Ok(Frame::Packet { length, source: source.into() })
}

#[inline]
fn packet_v6(plaintext: &[u8]) -> Result<Frame, DropReason> {
    let header: &[u8; 40] = plaintext.first_chunk().ok_or(DropReason::Malformed)?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]])) + 40;
    if length > plaintext.len() {
        return Err(DropReason::Malformed);
    }
    let mut source = [0; 16];
    source.copy_from_slice(&header[8..24]);
    Ok(Frame::Packet { length, source: Ipv6Addr::from(source).into() })
}

/// The header of a stream frame: `02` ‖ 0 ‖ length u16 ‖ stream id u32; the message follows.
///
/// ```
/// use stadium_proto::frame::StreamHeader;
///
/// let header = StreamHeader { stream: 7, length: 5 };
/// let mut frame = header.to_bytes().to_vec();
/// frame.extend_from_slice(b"hello, and filler");
/// let (read, message) = StreamHeader::parse(&frame).unwrap();
/// assert_eq!((read, message), (header, &b"hello"[..]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHeader {
    /// The number of the stream.
    pub stream: u32,
    /// The length of the message, in bytes.
    pub length: u16,
}

impl StreamHeader {
    /// The length of the header, in bytes.
    pub const LEN: usize = 8;

    /// Encodes the header.
    #[inline]
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let [l0, l1] = self.length.to_le_bytes();
        let [s0, s1, s2, s3] = self.stream.to_le_bytes();
        [STREAM, 0, l0, l1, s0, s1, s2, s3]
    }

    /// Reads the header of a plaintext that is a stream frame, and returns it with the message;
    /// what follows that is filler.
    ///
    /// # Errors
    /// [`DropReason::Malformed`] for another kind, a reserved byte that is not zero, and a frame
    /// that is shorter than it says.
    #[inline]
    pub fn parse(plaintext: &[u8]) -> Result<(Self, &[u8]), DropReason> {
        let (header, rest) =
            plaintext.split_first_chunk::<{ Self::LEN }>().ok_or(DropReason::Malformed)?;
        let [STREAM, 0, l0, l1, stream @ ..] = *header else {
            return Err(DropReason::Malformed);
        };
        let length = u16::from_le_bytes([l0, l1]);
        let message = rest.get(..usize::from(length)).ok_or(DropReason::Malformed)?;
        Ok((Self { stream: u32::from_le_bytes(stream), length }, message))
    }
}

/// Why a session is closed (`reason` of a close frame); informative, any value is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseReason(pub u64);

impl CloseReason {
    /// The node goes down.
    pub const SHUTDOWN: Self = Self(0);
    /// The peer was removed from the configuration.
    pub const REMOVED: Self = Self(1);
    /// The session was idle for too long.
    pub const IDLE: Self = Self(2);
    /// The user of the session has no more to say.
    pub const FINISHED: Self = Self(3);
}

/// A control message (`protocol.md` §6): `01` ‖ deterministic CBOR map, key 0 = kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Asks for a pong with the same id.
    Ping {
        /// Chosen by the sender.
        id: u64,
    },
    /// Answers a ping.
    Pong {
        /// The id of the ping.
        id: u64,
    },
    /// Ends all sessions between the two nodes.
    Close {
        /// Why; absent means [`CloseReason::SHUTDOWN`].
        reason: CloseReason,
    },
    /// A ticket for early data.
    Ticket {
        /// The receiver index that early DATA is sent to.
        ticket: u32,
        /// How long it may be used, in seconds.
        lifetime_s: u64,
    },
    /// A kind that this version does not know: ignored.
    Unknown,
}

/// The map's keys and values, of which those that are not a uint are left out.
#[derive(Default)]
struct Map {
    kind: Option<u64>,
    one: Option<u64>,
    two: Option<u64>,
}

impl Control {
    /// Decodes the map after the first byte of a control frame; what follows it is filler.
    ///
    /// # Errors
    /// [`DropReason::Malformed`] where the map is not deterministic CBOR with unsigned keys, or a
    /// known kind lacks what it needs.
    pub fn decode(frame: &[u8]) -> Result<Self, DropReason> {
        let map = decode_map(frame.get(1..).unwrap_or_default()).ok_or(DropReason::Malformed)?;
        let kind = map.kind.ok_or(DropReason::Malformed)?;
        let need = |value: Option<u64>| value.ok_or(DropReason::Malformed);
        Ok(match kind {
            1 => Self::Ping { id: need(map.one)? },
            2 => Self::Pong { id: need(map.one)? },
            3 => Self::Close { reason: CloseReason(map.one.unwrap_or(0)) },
            4 => Self::Ticket {
                ticket: u32::try_from(need(map.one)?).map_err(|_| DropReason::Malformed)?,
                lifetime_s: need(map.two)?,
            },
            _ => Self::Unknown,
        })
    }

    /// Encodes the frame into `buffer` and returns its length; [`Self::Unknown`] has none.
    ///
    /// # Panics
    /// Never: every frame fits into [`CONTROL_MAX`] bytes.
    #[must_use]
    pub fn encode(&self, buffer: &mut [u8; CONTROL_MAX]) -> usize {
        buffer[0] = CONTROL;
        let mut entries = [(0_u8, 0_u64); 3];
        let count = match *self {
            Self::Ping { id } => {
                entries[..2].copy_from_slice(&[(0, 1), (1, id)]);
                2
            }
            Self::Pong { id } => {
                entries[..2].copy_from_slice(&[(0, 2), (1, id)]);
                2
            }
            Self::Close { reason } => {
                entries[..2].copy_from_slice(&[(0, 3), (1, reason.0)]);
                2
            }
            Self::Ticket { ticket, lifetime_s } => {
                entries = [(0, 4), (1, u64::from(ticket)), (2, lifetime_s)];
                3
            }
            Self::Unknown => return 0,
        };
        let room = buffer.len() - 1;
        let mut encoder = Encoder::new(&mut buffer[1..]);
        let mut write = || {
            encoder.map(count as u64)?;
            for (key, value) in &entries[..count] {
                encoder.u8(*key)?.u64(*value)?;
            }
            Ok::<_, minicbor::encode::Error<_>>(())
        };
        write().expect("three small entries fit");
        1 + room - encoder.writer().len()
    }
}

/// Decodes a map of at most 16 entries with ascending unsigned keys and plain values.
fn decode_map(bytes: &[u8]) -> Option<Map> {
    let mut decoder = Decoder::new(bytes);
    let start = decoder.position();
    let entries = decoder.map().ok()??;
    if entries > 16 || decoder.position() - start != head_length(entries) {
        return None;
    }
    let mut map = Map::default();
    let mut last = None;
    for _ in 0..entries {
        let key = shortest_uint(&mut decoder)?;
        if last.is_some_and(|l| key <= l) {
            return None;
        }
        last = Some(key);
        let value = value(&mut decoder)?;
        match key {
            0 => map.kind = value,
            1 => map.one = value,
            2 => map.two = value,
            _ => {}
        }
    }
    Some(map)
}

/// Reads a value: a uint is returned, a byte string or an array of uints is skipped.
fn value(decoder: &mut Decoder<'_>) -> Option<Option<u64>> {
    match decoder.datatype().ok()? {
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => shortest_uint(decoder).map(Some),
        Type::Bytes => {
            let start = decoder.position();
            let length = decoder.bytes().ok()?.len() as u64;
            let head = decoder.position() - start - usize::try_from(length).ok()?;
            (head == head_length(length)).then_some(None)
        }
        Type::Array => {
            let start = decoder.position();
            let items = decoder.array().ok()??;
            if items > 16 || decoder.position() - start != head_length(items) {
                return None;
            }
            for _ in 0..items {
                shortest_uint(decoder)?;
            }
            Some(None)
        }
        _ => None,
    }
}

fn shortest_uint(decoder: &mut Decoder<'_>) -> Option<u64> {
    let start = decoder.position();
    let value = decoder.u64().ok()?;
    (decoder.position() - start == head_length(value)).then_some(value)
}

/// The length of the shortest CBOR head for an argument (RFC 8949 §4.2.1), in bytes.
fn head_length(argument: u64) -> usize {
    match argument {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_frames_are_checked() {
        let frame = [2, 0, 3, 0, 4, 3, 2, 1, b'a', b'b', b'c', 0];
        let (header, message) = StreamHeader::parse(&frame).unwrap();
        assert_eq!(header, StreamHeader { stream: 0x0102_0304, length: 3 });
        assert_eq!(message, b"abc");
        assert_eq!(header.to_bytes(), frame[..8]);
        let malformed = Err(DropReason::Malformed);
        assert_eq!(StreamHeader::parse(&frame[..10]), malformed, "cut short");
        assert_eq!(StreamHeader::parse(&frame[..7]), malformed, "no header");
        for (at, byte) in [(0, 1), (1, 1)] {
            let mut wrong = frame;
            wrong[at] = byte;
            assert_eq!(StreamHeader::parse(&wrong), malformed);
        }
        let empty = StreamHeader { stream: 0, length: 0 }.to_bytes();
        assert_eq!(StreamHeader::parse(&empty).unwrap().1, b"");
    }
    use proptest::prelude::*;

    #[test]
    fn a_ping_is_the_bytes_of_the_vectors() {
        let mut buffer = [0; CONTROL_MAX];
        let n = Control::Ping { id: 0x0102_0304_0506_0708 }.encode(&mut buffer);
        assert_eq!(hex::encode(&buffer[..n]), "01a20001011b0102030405060708");
    }

    #[test]
    fn filler_and_unknown_keys_are_ignored() {
        let bytes = hex::decode("01a3000101070342aabb00000000").unwrap();
        assert_eq!(Control::decode(&bytes), Ok(Control::Ping { id: 7 }));
        let bytes = hex::decode("01a1001863").unwrap();
        assert_eq!(Control::decode(&bytes), Ok(Control::Unknown));
    }

    #[test]
    fn what_is_not_deterministic_is_refused() {
        for (bytes, why) in [
            ("01", "no map"),
            ("01a0", "no kind"),
            ("01a10001", "a ping without id"),
            ("01a200010118", "cut short"),
            ("01a2000101180a", "10 in two bytes"),
            ("01a201070001", "keys out of order"),
            ("01a200010001", "a key twice"),
            ("01bf0001ff", "indefinite"),
            ("01a2000101f5", "true"),
            ("01b80200010107", "length 2 in two bytes"),
        ] {
            let bytes = hex::decode(bytes).unwrap();
            assert_eq!(Control::decode(&bytes), Err(DropReason::Malformed), "{why}");
        }
    }

    #[test]
    fn a_packet_is_as_long_as_its_header_says() {
        let mut packet = vec![0x45, 0, 0, 24, 0, 0, 0, 0, 64, 17, 0, 0, 10, 7, 0, 1, 10, 7, 0, 2];
        packet.extend([9; 8]);
        let source = "10.7.0.1".parse().unwrap();
        assert_eq!(Frame::parse(&packet), Ok(Frame::Packet { length: 24, source }));
        packet[3] = 29;
        assert_eq!(Frame::parse(&packet), Err(DropReason::Malformed));
        packet[3] = 19;
        assert_eq!(Frame::parse(&packet), Err(DropReason::Malformed));
        assert_eq!(Frame::parse(&packet[..19]), Err(DropReason::Malformed));
        let mut six = vec![0; 48];
        six[0] = 0x60;
        six[5] = 8;
        six[8..24].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
        let source = "::1".parse().unwrap();
        assert_eq!(Frame::parse(&six), Ok(Frame::Packet { length: 48, source }));
        assert_eq!(Frame::parse(&six[..47]), Err(DropReason::Malformed));
        assert_eq!(Frame::parse(&[0x03]), Err(DropReason::Malformed));
        assert_eq!(Frame::parse(&[]), Ok(Frame::Keepalive));
    }

    fn control() -> impl Strategy<Value = Control> {
        prop_oneof![
            any::<u64>().prop_map(|id| Control::Ping { id }),
            any::<u64>().prop_map(|id| Control::Pong { id }),
            any::<u64>().prop_map(|r| Control::Close { reason: CloseReason(r) }),
            (any::<u32>(), any::<u64>())
                .prop_map(|(ticket, lifetime_s)| Control::Ticket { ticket, lifetime_s }),
        ]
    }

    proptest! {
        #[test]
        fn decode_inverts_encode(control in control(), filler in 0_usize..20) {
            let mut buffer = [0; CONTROL_MAX];
            let n = control.encode(&mut buffer);
            let mut frame = buffer[..n].to_vec();
            frame.resize(n + filler, 0);
            prop_assert_eq!(Control::decode(&frame), Ok(control));
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Frame::parse(&bytes);
            let _ = Control::decode(&bytes);
        }
    }
}
