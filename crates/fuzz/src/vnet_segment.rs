//! The way out: any bytes of a TUN read become packets or an error; a superpacket becomes exactly
//! the packets that it stands for.

use stadium_packet::{
    Checksum, IpView, Segments, VnetHdr,
    checksum::{fill_partial, verify},
    transport::{Protocol, TcpView, UdpView},
    vnet::{Gso, NEEDS_CSUM},
};

use crate::{input::Input, packets::Packet};

/// Checks one input: a choice, then a read or what one is built from.
///
/// # Panics
///
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    if input.flag() { built(input) } else { raw(input.rest()) }
}

/// Takes any bytes as what the TUN returned.
fn raw(read: &[u8]) {
    let Ok((vnet, frame)) = VnetHdr::split(read) else { return };
    assert_eq!(vnet.encode()[..], read[..VnetHdr::LEN], "the header encodes to other bytes");
    let Ok(ip) = IpView::parse(frame) else { return };
    assert!(ip.len() <= frame.len() && ip.header_len() <= ip.len());
    for wanted in [Checksum::Full, Checksum::Partial] {
        let Ok(segments) = Segments::new(vnet, ip, wanted) else { continue };
        let cut: Vec<_> = (0..segments.count()).map(|at| write(&segments, at)).collect();
        assert!(!cut.is_empty());
        assert!(wanted == Checksum::Partial || segments.checksum() == Checksum::Full);
        if vnet.gso == Gso::None {
            assert_eq!((cut.len(), cut[0].len()), (1, ip.len()));
            continue;
        }
        let mut payload = Vec::new();
        for (at, packet) in cut.iter().enumerate() {
            let view = IpView::parse(packet).expect("a segment is a packet");
            assert_eq!(view.len(), packet.len(), "a segment's length is not its own");
            assert_eq!((view.src(), view.dst()), (ip.src(), ip.dst()));
            assert!(view.header_is_intact());
            match segments.checksum() {
                Checksum::Full => assert_eq!(verify(&view), Some(true), "a wrong checksum"),
                Checksum::Partial => {
                    let mut filled = packet.clone();
                    fill_partial(&mut filled).expect("it may be partial");
                    let view = IpView::parse(&filled).expect("it was a packet");
                    assert_eq!(verify(&view), Some(true), "a wrong partial checksum");
                }
            }
            let piece = payload_of(&view).expect("a segment has its transport header");
            let full = piece.len() == usize::from(vnet.gso_size);
            assert!(full || at + 1 == cut.len(), "a segment before the last is short");
            payload.extend_from_slice(piece);
        }
        assert_eq!(payload_of(&ip), Some(&payload[..]), "payload was lost");
    }
}

fn write(segments: &Segments<'_>, at: usize) -> Vec<u8> {
    let len = segments.segment_len(at);
    assert!(len <= segments.max_segment_len());
    // a canary behind it must stay
    let mut out = vec![0xa5; len + 8];
    assert_eq!(segments.write(at, &mut out), len);
    assert_eq!(out[len..], [0xa5; 8], "written beyond the segment");
    out.truncate(len);
    out
}

fn payload_of<'a>(ip: &IpView<'a>) -> Option<&'a [u8]> {
    let upper = ip.upper()?;
    let datagram = ip.packet().get(upper.offset..)?;
    match upper.protocol {
        Protocol::TCP => Some(TcpView::parse(datagram)?.payload()),
        Protocol::UDP => Some(UdpView::parse(datagram)?.payload()),
        _ => None,
    }
}

/// Builds a superpacket and what it stands for.
fn built(mut input: Input<'_>) {
    let mut whole = Packet::take(&mut input);
    let size = 1 + usize::from(input.word() % 1500);
    // few packets most of the time: they find as much, and sooner
    let most = if input.byte() == 0 { (size * 100).min(60_000) } else { (size * 6).min(6_000) };
    let len = usize::from(input.word()) % most;
    let seed = input.rest();
    whole.payload = (0..len).map(|at| seed.get(at).copied().unwrap_or(at as u8)).collect();
    let mut bytes = whole.build();
    whole.make_partial(&mut bytes);
    let vnet = superpacket_header(&whole, size);
    let ip = IpView::parse(&bytes).expect("what is built is a packet");
    let segments = Segments::new(vnet, ip, Checksum::Full).expect("what is built can be cut");
    let want = cut(&whole, size);
    assert_eq!(segments.count(), want.len());
    for (at, want) in want.iter().enumerate() {
        assert_eq!(&write(&segments, at), want, "segment {at}");
    }
    let partial = Segments::new(vnet, ip, Checksum::Partial).expect("as before");
    assert_eq!(partial.checksum(), Checksum::Partial);
    for (at, want) in want.iter().enumerate() {
        let mut got = write(&partial, at);
        fill_partial(&mut got).expect("it may be partial");
        assert_eq!(&got, want, "segment {at} with a partial checksum");
    }
}

/// The header that the kernel puts before a superpacket.
pub(crate) fn superpacket_header(packet: &Packet, size: usize) -> VnetHdr {
    VnetHdr {
        flags: NEEDS_CSUM,
        gso: match (packet.udp, packet.v6) {
            (true, _) => Gso::UdpL4,
            (false, false) => Gso::TcpV4,
            (false, true) => Gso::TcpV6,
        },
        ecn: false,
        hdr_len: packet.headers() as u16,
        gso_size: size as u16,
        csum_start: packet.upper() as u16,
        csum_offset: if packet.udp { 6 } else { 16 },
    }
}

/// Cuts a superpacket by describing each of its packets anew.
pub(crate) fn cut(whole: &Packet, size: usize) -> Vec<Vec<u8>> {
    let count = whole.payload.len().div_ceil(size).max(1);
    let piece = |at: usize| {
        let end = whole.payload.len().min((at + 1) * size);
        let mut packet = whole.clone();
        packet.payload = whole.payload[at * size..end].to_vec();
        packet.id = whole.id.wrapping_add(at as u16);
        packet.seq = whole.seq.wrapping_add((at * size) as u32);
        if at + 1 < count {
            packet.flags &= !0x09;
        }
        if at > 0 {
            packet.flags &= !0x80;
        }
        packet.build()
    };
    (0..count).map(piece).collect()
}
