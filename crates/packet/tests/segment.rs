//! Segmentation against an oracle that builds each segment anew, and its awkward edges.

#![allow(clippy::unwrap_used, reason = "helpers of tests, too, fail by panicking")]

mod support;

use proptest::prelude::*;
use stadium_packet::checksum::{Checksum, fill_partial};
use stadium_packet::ip::IpView;
use stadium_packet::segment::{SegmentError, Segments};
use stadium_packet::vnet::{Gso, NEEDS_CSUM, VnetHdr};
use support::{Spec, any_spec, cut, make_partial, vnet_of};

/// Writes all segments into buffers with room to spare, which must stay as it was.
fn write_all(segments: &Segments<'_>) -> Vec<Vec<u8>> {
    (0..segments.count())
        .map(|index| {
            let len = segments.segment_len(index);
            assert!(len <= segments.max_segment_len());
            let mut out = vec![0xee; len + 5];
            assert_eq!(segments.write(index, &mut out), len);
            assert_eq!(out.split_off(len), [0xee; 5]);
            out
        })
        .collect()
}

fn segments_of(
    vnet: VnetHdr,
    packet: &[u8],
    wanted: Checksum,
) -> Result<Vec<Vec<u8>>, SegmentError> {
    Segments::new(vnet, IpView::parse(packet)?, wanted).map(|segments| write_all(&segments))
}

proptest! {
    #[test]
    fn cuts_as_the_oracle(
        spec in any_spec(), len in 1usize..20_000, size in 1usize..2000, salt: u8, flags: u8,
        csum in any::<bool>(),
    ) {
        let mut spec = spec.with_payload(len, salt);
        spec.flags = flags;
        let size = size.max(len / 100 + 1);
        let mut packet = spec.build();
        make_partial(&mut packet);
        let mut vnet = vnet_of(&spec, size);
        if !csum {
            vnet.flags = 0;
        }
        let expected = cut(&spec, size);
        prop_assert_eq!(segments_of(vnet, &packet, Checksum::Full).unwrap(), expected.clone());

        let ip = IpView::parse(&packet).unwrap();
        let segments = Segments::new(vnet, ip, Checksum::Partial).unwrap();
        if spec.v6 && spec.extensions > 0 {
            prop_assert_eq!(segments.checksum(), Checksum::Full);
            prop_assert_eq!(write_all(&segments), expected);
        } else {
            prop_assert_eq!(segments.checksum(), Checksum::Partial);
            for (mut segment, mut expected) in write_all(&segments).into_iter().zip(expected) {
                let whole = expected.clone();
                make_partial(&mut expected);
                prop_assert_eq!(&segment, &expected);
                fill_partial(&mut segment).unwrap();
                prop_assert_eq!(segment, whole);
            }
        }
    }

    #[test]
    fn completes_a_plain_packet(spec in any_spec(), len in 0usize..3000, salt: u8) {
        let spec = spec.with_payload(len, salt);
        let whole = spec.build();
        let mut packet = whole.clone();
        make_partial(&mut packet);
        let vnet = VnetHdr { gso: Gso::None, gso_size: 0, ..vnet_of(&spec, 1) };
        prop_assert_eq!(segments_of(vnet, &packet, Checksum::Full).unwrap(), vec![whole.clone()]);

        let ip = IpView::parse(&packet).unwrap();
        let kept = Segments::new(vnet, ip, Checksum::Partial).unwrap();
        let is_partial = !(spec.v6 && spec.extensions > 0);
        prop_assert_eq!(kept.checksum() == Checksum::Partial, is_partial);
        prop_assert_eq!(write_all(&kept), vec![if is_partial { packet.clone() } else { whole.clone() }]);

        // a full checksum is never touched, whatever is wanted
        for wanted in [Checksum::Full, Checksum::Partial] {
            let ip = IpView::parse(&whole).unwrap();
            let plain = Segments::new(VnetHdr::PLAIN, ip, wanted).unwrap();
            prop_assert_eq!(plain.checksum(), Checksum::Full);
            prop_assert_eq!(write_all(&plain), vec![whole.clone()]);
        }
    }

    #[test]
    fn never_panics_on_noise(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        header: [u8; 10],
        shape in 0usize..5,
    ) {
        shape_header(&mut bytes, shape);
        let mut header = header;
        header[0] &= 3;
        header[1] = [0, 1, 4, 5, 0x81][shape];
        let (Ok(vnet), Ok(ip)) = (VnetHdr::decode(&header), IpView::parse(&bytes)) else {
            return Ok(());
        };
        for wanted in [Checksum::Full, Checksum::Partial] {
            if let Ok(segments) = Segments::new(vnet, ip, wanted) {
                prop_assert!(!write_all(&segments).is_empty());
            }
        }
    }

    #[test]
    fn never_panics_on_a_damaged_superpacket(
        spec in any_spec(), len in 0usize..3000, size in 1usize..300,
        damage in proptest::collection::vec((0usize..110, any::<u8>()), 1..6),
        start in prop_oneof![Just(None), any::<u16>().prop_map(Some)],
    ) {
        let spec = spec.with_payload(len, 0);
        let mut packet = spec.build();
        for (at, byte) in damage {
            let at = at % packet.len();
            packet[at] = byte;
        }
        let mut vnet = vnet_of(&spec, size);
        vnet.csum_start = start.unwrap_or(vnet.csum_start);
        for gso in [Gso::None, vnet.gso] {
            let Ok(ip) = IpView::parse(&packet) else { return Ok(()) };
            if let Ok(segments) = Segments::new(VnetHdr { gso, ..vnet }, ip, Checksum::Full) {
                write_all(&segments);
            }
        }
    }
}

/// Makes noise likely to pass the first checks.
fn shape_header(bytes: &mut [u8], shape: usize) {
    let len = bytes.len() as u16;
    if let Some(fixed) = bytes.first_chunk_mut::<40>() {
        if shape.is_multiple_of(2) {
            fixed[0] = 0x60;
            fixed[4..6].copy_from_slice(&(len - 40).to_be_bytes());
            fixed[6] = [6, 17, 0, 44, 60][shape];
        } else {
            fixed[0] = 0x45 + (shape as u8 & 2);
            fixed[2..4].copy_from_slice(&len.to_be_bytes());
            fixed[6..8].fill(0);
            fixed[9] = if shape == 1 { 6 } else { 17 };
        }
    }
}

#[test]
fn flags_stay_where_they_belong() {
    for v6 in [false, true] {
        // FIN, PSH, ACK, ECE, CWR
        let spec = Spec { flags: 0xd9, ..Spec::new(v6, false) }.with_payload(3000, 0);
        let vnet = VnetHdr { ecn: true, ..vnet_of(&spec, 1000) };
        let segments = segments_of(vnet, &spec.build(), Checksum::Full).unwrap();
        let flags: Vec<_> = segments.iter().map(|s| s[spec.upper_offset() + 13]).collect();
        assert_eq!(flags, [0xd0, 0x50, 0x59]);
        let one = segments_of(vnet_of(&spec, 3000), &spec.build(), Checksum::Full).unwrap();
        assert_eq!(one, [spec.build()], "a single segment is the packet itself");
    }
}

#[test]
fn numbers_wrap() {
    let mut spec = Spec::new(false, false).with_payload(100, 0);
    spec.id = 0xffff;
    spec.seq = u32::MAX - 10;
    let segments = segments_of(vnet_of(&spec, 40), &spec.build(), Checksum::Full).unwrap();
    let ids: Vec<_> = segments.iter().map(|s| u16::from_be_bytes([s[4], s[5]])).collect();
    assert_eq!(ids, [0xffff, 0, 1]);
    let seqs: Vec<_> =
        segments.iter().map(|s| u32::from_be_bytes([s[24], s[25], s[26], s[27]])).collect();
    assert_eq!(seqs, [u32::MAX - 10, 29, 69]);
}

#[test]
fn the_largest_superpackets_are_cut() {
    for (v6, udp) in [(false, false), (true, false), (false, true), (true, true)] {
        let spec = Spec::new(v6, udp);
        // IPv6 counts only what follows its header
        let limit = if v6 { 65_575 } else { 65_535 };
        let spec = spec.clone().with_payload(limit - spec.header_len(), 1);
        let mut packet = spec.build();
        make_partial(&mut packet);
        let size = 1380;
        let expected = cut(&spec, size);
        assert!(expected.len() > 46);
        assert_eq!(segments_of(vnet_of(&spec, size), &packet, Checksum::Full).unwrap(), expected);
    }
}

#[test]
fn a_payload_of_nothing_is_one_segment() {
    for (v6, udp) in [(false, false), (true, false), (false, true), (true, true)] {
        let spec = Spec { flags: 0x99, ..Spec::new(v6, udp) };
        let segments = segments_of(vnet_of(&spec, 100), &spec.build(), Checksum::Full).unwrap();
        assert_eq!(segments, [spec.build()]);
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let tcp4 = Spec::new(false, false).with_payload(300, 0);
    let tcp6 = Spec::new(true, false).with_payload(300, 0);
    let refused = |vnet: VnetHdr, packet: &[u8]| {
        segments_of(vnet, packet, Checksum::Full).expect_err("a contradiction")
    };
    let vnet = vnet_of(&tcp4, 100);
    assert_eq!(refused(vnet, &tcp6.build()), SegmentError::Protocol);
    assert_eq!(refused(VnetHdr { gso: Gso::UdpL4, ..vnet }, &tcp4.build()), SegmentError::Protocol);
    assert_eq!(refused(VnetHdr { gso_size: 0, ..vnet }, &tcp4.build()), SegmentError::Size);
    assert_eq!(refused(VnetHdr { csum_start: 21, ..vnet }, &tcp4.build()), SegmentError::Checksum);
    assert_eq!(refused(VnetHdr { csum_offset: 6, ..vnet }, &tcp4.build()), SegmentError::Checksum);

    let mut fragment = tcp4.build();
    fragment[6] = 0x20;
    assert_eq!(refused(vnet, &fragment), SegmentError::Fragment);
    let mut cut_off = tcp4.build();
    cut_off[32] = 0x40;
    assert_eq!(refused(vnet, &cut_off), SegmentError::Transport);
    let mut udp = Spec::new(false, true).with_payload(300, 0);
    udp.ip_options = vec![1; 8];
    let mut wrong_length = udp.build();
    wrong_length[33] ^= 1;
    assert_eq!(refused(vnet_of(&udp, 100), &wrong_length), SegmentError::Transport);

    let none = VnetHdr { gso: Gso::None, ..vnet };
    for (start, offset) in
        [(0, 16), (19, 16), (tcp4.build().len() as u16 - 17, 16), (65_535, 65_535)]
    {
        let vnet = VnetHdr { csum_start: start, csum_offset: offset, ..none };
        assert_eq!(refused(vnet, &tcp4.build()), SegmentError::Checksum, "{start} {offset}");
    }
}

#[test]
fn a_checksum_that_is_not_tcps_or_udps_is_completed_and_never_partial() {
    // some other protocol with an internet checksum four bytes into its header
    let mut packet = Spec::new(false, true).with_payload(101, 0).build();
    packet[9] = 33;
    packet[24..26].copy_from_slice(&[0x12, 0x34]);
    let expected = support::naive(&packet[20..]).to_be_bytes();
    let vnet = VnetHdr { flags: NEEDS_CSUM, csum_start: 20, csum_offset: 4, ..VnetHdr::PLAIN };
    let ip = IpView::parse(&packet).unwrap();
    let segments = Segments::new(vnet, ip, Checksum::Partial).unwrap();
    assert_eq!(segments.checksum(), Checksum::Full);
    let written = write_all(&segments);
    assert_eq!(written[0][24..26], expected);
    assert_eq!((&written[0][..24], &written[0][26..]), (&packet[..24], &packet[26..]));
}

#[test]
fn bytes_behind_the_packet_are_left_out() {
    let spec = Spec::new(true, false).with_payload(500, 0);
    let mut packet = spec.build();
    make_partial(&mut packet);
    packet.extend([0xab; 77]);
    let segments = segments_of(vnet_of(&spec, 200), &packet, Checksum::Full).unwrap();
    assert_eq!(segments, cut(&spec, 200));
    let plain = VnetHdr { gso: Gso::None, ..vnet_of(&spec, 200) };
    assert_eq!(segments_of(plain, &packet, Checksum::Full).unwrap(), [spec.build()]);
}

#[test]
#[should_panic(expected = "only so many segments")]
fn a_segment_that_is_not_there_is_misuse() {
    let packet = Spec::new(false, false).build();
    let ip = IpView::parse(&packet).unwrap();
    let segments = Segments::new(VnetHdr::PLAIN, ip, Checksum::Full).unwrap();
    assert_eq!(segments.segment_len(1), 0);
    segments.write(1, &mut [0; 100]);
}
