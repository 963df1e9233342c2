//! DATA (`protocol.md` §6): headers re-encode to the same bytes, sealed frames open to what went in,
//! changed ones do not open, and the packet inside is the one that the packet crate sees.

use std::sync::{Arc, OnceLock};

use stadium_packet::IpView;
use stadium_proto::{
    frame::Frame,
    handshake::Established,
    peer::{PeerCell, PeerId},
    session::{RxSession, SessionTerms, TxSession},
    time::Instant,
    wire::{DATA_OVERHEAD, DataHeader},
};

use crate::{
    input::Input,
    rogue::{self, Variant},
};

/// Checks one input: a choice, then a datagram or a frame.
///
/// # Panics
///
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    match input.choice(3) {
        0 => header(input.rest()),
        1 => frame(input.rest()),
        _ => sealed(input),
    }
}

fn header(datagram: &[u8]) {
    let well_formed = matches!(
        datagram,
        [4, 0 | 1, 0, 0, a, b, c, d, ..] if a | b | c | d != 0 && datagram.len() >= DATA_OVERHEAD
    );
    let parsed = DataHeader::parse(datagram);
    assert_eq!(parsed.is_ok(), well_formed, "{parsed:?}");
    let Ok(header) = parsed else { return };
    assert_eq!(header.to_bytes(), datagram[..16]);
    assert_eq!(header.counter.lane(), datagram[15]);
    let sequence = datagram[8..15].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    assert_eq!(header.counter.sequence(), sequence);
    assert!(receiver().open(&mut datagram.to_vec()).is_none(), "a forged datagram opens");
}

fn frame(plaintext: &[u8]) {
    let parsed = Frame::parse(plaintext);
    let packet = IpView::parse(plaintext);
    match parsed {
        Ok(Frame::Packet { length, source }) => {
            let ip = packet.expect("a frame with a packet has a packet");
            assert_eq!((ip.len(), ip.src()), (length, source));
        }
        Ok(Frame::Keepalive) => assert!(plaintext.is_empty()),
        Ok(Frame::Noise) => assert_eq!(plaintext.first(), Some(&0)),
        Ok(Frame::Control) => assert_eq!(plaintext.first(), Some(&1)),
        Ok(Frame::Stream) => assert_eq!(plaintext.first(), Some(&2)),
        Err(_) => {
            assert!(packet.is_err(), "a packet is not taken");
            assert!(plaintext.first().is_some_and(|first| *first > 2));
        }
    }
}

/// Seals a frame, perhaps changes the datagram, and opens it.
fn sealed(mut input: Input<'_>) {
    let (lane, sequence) = (input.choice(4), input.long() >> 8);
    let flags = u8::from(input.flag());
    let (change, bit) = (input.word(), input.choice(8));
    let plaintext = input.rest();
    let counter = u64::from(lane) << 56 | sequence;
    let mut datagram = vec![0; DATA_OVERHEAD + plaintext.len()];
    datagram[16..16 + plaintext.len()].copy_from_slice(plaintext);
    sender().seal(counter, flags, &mut datagram);
    let header = DataHeader::parse(&datagram).expect("what is sealed has a header");
    assert_eq!((header.counter.0, header.flags), (counter, flags));

    let mut receiver = receiver();
    if change > 0 {
        let mut changed = datagram.clone();
        let at = usize::from(change - 1) % changed.len();
        changed[at] ^= 1 << bit;
        assert!(receiver.open(&mut changed).is_none(), "a changed datagram opens");
    }
    // what did not open was not marked
    let fits = lane < LANES && plaintext.len() <= PAYLOAD_LIMIT;
    match receiver.open(&mut datagram.clone()) {
        Some(opened) => {
            assert!(fits, "lane {lane}, {} bytes", plaintext.len());
            assert_eq!(opened, plaintext);
        }
        None => assert!(!fits, "lane {lane}, {} bytes do not open", plaintext.len()),
    }
    assert!(receiver.open(&mut datagram).is_none(), "a replayed datagram opens");
}

struct Receiver(RxSession);

impl Receiver {
    fn open(&mut self, datagram: &mut [u8]) -> Option<Vec<u8>> {
        let header = DataHeader::parse(datagram).ok()?;
        if header.index != self.0.index() {
            return None;
        }
        let mut window = self.0.window(header.counter.lane())?;
        let opened = self.0.open(&header, &mut window, datagram).ok()?;
        Some(datagram[opened.plaintext].to_vec())
    }
}

const LANES: u8 = 3;
const PAYLOAD_LIMIT: usize = 1420;

fn terms() -> SessionTerms {
    SessionTerms {
        payload_limit: PAYLOAD_LIMIT,
        partial_checksum: true,
        reject_at: Instant(u64::MAX),
    }
}

fn established() -> &'static (Established, Established) {
    static BOTH: OnceLock<(Established, Established)> = OnceLock::new();
    BOTH.get_or_init(|| rogue::established(Variant::Encrypted, LANES))
}

fn sender() -> &'static TxSession {
    static SENDER: OnceLock<TxSession> = OnceLock::new();
    SENDER
        .get_or_init(|| TxSession::new(&rogue::established(Variant::Encrypted, LANES).0, &terms()))
}

fn receiver() -> Receiver {
    let established = &established().1;
    let peer = Arc::new(PeerCell::new(PeerId(1), established.remote, None));
    Receiver(RxSession::new(established, peer, &terms()))
}
