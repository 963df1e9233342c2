//! Noise in place of packets: nothing panics, and what is accepted keeps its promises.

#![allow(clippy::unwrap_used, reason = "helpers of tests, too, fail by panicking")]

mod support;

use std::net::IpAddr;

use proptest::prelude::*;
use stadium_packet::checksum::{Checksum, fill_partial, verify};
use stadium_packet::coalesce::{Coalescer, Merge};
use stadium_packet::ip::{IpError, IpView, Version, packet_len, set_tos};
use stadium_packet::transport::{Protocol, TcpView, UdpView, Upper};
use support::{Spec, any_spec};

/// Random bytes behind a first byte that a parser likes.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    (
        proptest::collection::vec(any::<u8>(), 0..160),
        prop_oneof![Just(0x45u8), Just(0x46), Just(0x60), any::<u8>()],
        prop_oneof![Just(6u8), Just(17), Just(0), Just(43), Just(44), Just(60), any::<u8>()],
        any::<bool>(),
    )
        .prop_map(|(mut bytes, first, protocol, fits)| {
            let len = bytes.len() as u16;
            if let Some(fixed) = bytes.first_chunk_mut::<40>() {
                fixed[0] = first;
                if first >> 4 == 4 {
                    fixed[9] = protocol;
                } else {
                    fixed[6] = protocol;
                }
                if fits && first >> 4 == 4 {
                    fixed[2..4].copy_from_slice(&len.to_be_bytes());
                } else if fits {
                    fixed[4..6].copy_from_slice(&(len - 40).to_be_bytes());
                }
            }
            bytes
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_panics(mut bytes in noise(), tos: u8) {
        let len = packet_len(&bytes);
        let _either = set_tos(&mut bytes.clone(), tos);
        let _either = fill_partial(&mut bytes.clone());
        let _either = (TcpView::parse(&bytes).is_some(), UdpView::parse(&bytes).is_some());
        let Ok(ip) = IpView::parse(&bytes) else {
            prop_assert_eq!(len, None);
            return Ok(());
        };
        prop_assert_eq!(len, Some(ip.len()));
        prop_assert!(ip.len() <= bytes.len());
        prop_assert_eq!(ip.header_len() + ip.payload().len(), ip.len());
        prop_assert_eq!(ip.src().is_ipv4(), ip.version() == Version::V4);
        prop_assert_eq!(ip.dst().is_ipv4(), ip.version() == Version::V4);
        if let Some(upper) = ip.upper() {
            prop_assert!((ip.header_len()..=ip.len()).contains(&upper.offset));
        }
        let _any = (verify(&ip), ip.header_is_intact(), ip.tos(), ip.ttl(), ip.id());
        let mut coalescer = Coalescer::new(Merge { tcp: true, udp: true });
        let mut written = 0;
        let mut sink = |run: stadium_packet::Run<'_>| written += run.packets();
        let mut pushed = 0;
        for checksum in [Checksum::Full, Checksum::Partial, Checksum::Full] {
            pushed += usize::from(coalescer.push(&bytes, 0, ip, checksum, &mut sink).is_ok());
        }
        coalescer.flush(&bytes, &mut sink);
        prop_assert_eq!(written, pushed);
        // a new TOS changes that and nothing else
        let (before, addresses) = (ip.packet().to_vec(), (ip.src(), ip.dst()));
        set_tos(&mut bytes, tos).unwrap();
        let ip = IpView::parse(&bytes).unwrap();
        prop_assert_eq!(ip.tos(), tos);
        prop_assert_eq!((ip.src(), ip.dst()), addresses);
        let first_changed = before.iter().zip(ip.packet()).skip(2).position(|(a, b)| a != b);
        prop_assert!(first_changed.is_none_or(|at| at + 2 == 10 || at + 2 == 11));
    }

    #[test]
    fn views_read_what_was_built(spec in any_spec(), len in 0usize..200, filler in 0usize..40) {
        let spec = spec.with_payload(len, 3);
        let packet = spec.build();
        let mut frame = packet.clone();
        frame.resize(packet.len() + filler, 0x99);
        let ip = IpView::parse(&frame).unwrap();
        prop_assert_eq!(ip.packet(), &packet[..]);
        prop_assert_eq!(packet_len(&frame), Some(packet.len()));
        let (src, dst): (IpAddr, IpAddr) = if spec.v6 {
            (format!("fd00::1{:02x}", spec.host).parse().unwrap(), "fd00::209".parse().unwrap())
        } else {
            (format!("10.0.1.{}", spec.host).parse().unwrap(), "10.0.2.9".parse().unwrap())
        };
        prop_assert_eq!((ip.src(), ip.dst()), (src, dst));
        prop_assert_eq!((ip.tos(), ip.ttl()), (spec.tos, spec.ttl));
        prop_assert_eq!(ip.id(), (!spec.v6).then_some(spec.id));
        prop_assert_eq!(ip.dont_fragment(), spec.v6 || spec.df);
        prop_assert!(ip.header_is_intact());
        let protocol = if spec.udp { Protocol::UDP } else { Protocol::TCP };
        let upper = Upper {
            protocol,
            offset: spec.upper_offset(),
            is_fragment: false,
            is_extended: spec.v6 && spec.extensions > 0,
        };
        prop_assert_eq!(ip.upper(), Some(upper));
        let datagram = &ip.packet()[upper.offset..];
        if spec.udp {
            let udp = UdpView::parse(datagram).unwrap();
            prop_assert_eq!((udp.src_port(), udp.dst_port()), spec.ports);
            prop_assert_eq!(udp.payload(), &spec.payload[..]);
            prop_assert_eq!(udp.length(), 8 + len);
        } else {
            let tcp = TcpView::parse(datagram).unwrap();
            prop_assert_eq!((tcp.src_port(), tcp.dst_port()), spec.ports);
            prop_assert_eq!((tcp.seq(), tcp.ack()), (spec.seq, spec.ack));
            prop_assert_eq!((tcp.flags(), tcp.window()), (spec.flags, spec.window));
            prop_assert_eq!(tcp.options(), &spec.tcp_options[..]);
            prop_assert_eq!(tcp.payload(), &spec.payload[..]);
        }
        // one byte less, and it is no packet
        let cut = IpView::parse(&packet[..packet.len() - 1]).map(|ip| ip.len());
        prop_assert_eq!(cut, Err(IpError::Truncated));
    }
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    let parse = |bytes: &[u8]| IpView::parse(bytes).map(|ip| ip.len());
    let mut packet = Spec::new(false, true).build();
    assert_eq!(parse(&packet), Ok(28));
    assert_eq!(parse(&[]), Err(IpError::Truncated));
    assert_eq!(parse(&packet[..19]), Err(IpError::Truncated));
    packet[0] = 0x44;
    assert_eq!(parse(&packet), Err(IpError::HeaderLength));
    packet[0] = 0x48;
    assert_eq!(parse(&packet), Err(IpError::HeaderLength));
    packet[0] = 0x47;
    assert_eq!(parse(&packet), Ok(28));
    packet[0] = 0x45;
    packet[3] = 19;
    assert_eq!(parse(&packet), Err(IpError::HeaderLength));
    packet[3] = 29;
    assert_eq!(parse(&packet), Err(IpError::Truncated));
    for first in [0x00, 0x15, 0x55, 0x70, 0xff] {
        packet[0] = first;
        assert_eq!(parse(&packet), Err(IpError::Version));
        assert_eq!(packet_len(&packet), None);
        assert_eq!(set_tos(&mut packet, 1), Err(IpError::Version));
    }
    let six = Spec::new(true, true).build();
    assert_eq!(parse(&six[..39]), Err(IpError::Truncated));
    assert_eq!(parse(&six[..47]), Err(IpError::Truncated));
    assert_eq!(parse(&six), Ok(48));
}

#[test]
fn extension_headers_are_walked() {
    let plain = Spec::new(true, true).with_payload(4, 0).build();
    let with = |first: u8, chain: &[u8]| {
        let mut packet = [&plain[..40], chain, &plain[40..]].concat();
        packet[6] = first;
        let len = (packet.len() - 40) as u16;
        packet[4..6].copy_from_slice(&len.to_be_bytes());
        IpView::parse(&packet).unwrap().upper()
    };
    let upper = |protocol, offset, is_fragment| {
        Some(Upper { protocol: Protocol(protocol), offset, is_fragment, is_extended: true })
    };
    let hop = [43, 0, 0, 0, 0, 0, 0, 0];
    let routing = [17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(with(0, &[&hop[..], &routing].concat()), upper(17, 64, false));
    // first, middle and atomic fragment (RFC 8200 §4.5, RFC 6946)
    assert_eq!(with(44, &[17, 0, 0, 1, 0, 0, 0, 9]), upper(17, 48, true));
    assert_eq!(with(44, &[17, 0, 0, 8, 0, 0, 0, 9]), upper(17, 48, true));
    assert_eq!(with(44, &[17, 0, 0, 0, 0, 0, 0, 9]), upper(17, 48, false));
    // what a later fragment starts with is data, not a header
    assert_eq!(with(44, &[60, 0, 0, 8, 0, 0, 0, 9]), upper(60, 48, true));
    // no next header, and one that cannot be looked into
    assert_eq!(with(60, &[59, 0, 0, 0, 0, 0, 0, 0]), upper(59, 48, false));
    assert_eq!(with(60, &[50, 0, 0, 0, 0, 0, 0, 0]), upper(50, 48, false));
    // a chain beyond the packet, and one without end
    assert_eq!(with(60, &[17, 9, 0, 0, 0, 0, 0, 0]), None);
    assert_eq!(with(60, &[60, 0, 0, 0, 0, 0, 0, 0].repeat(9)), None);
}
