//! Checksums against a byte-by-byte oracle.

#![allow(clippy::unwrap_used, reason = "helpers of tests, too, fail by panicking")]

mod support;

use proptest::prelude::*;
use stadium_packet::checksum::{PartialError, Sum, fill_partial, update, verify};
use stadium_packet::ip::{IpView, set_tos};
use support::{Spec, any_spec, fill, make_partial, naive};

proptest! {
    #[test]
    fn sums_as_the_naive_loop(
        bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0xff)], 0..3000),
        from in 0usize..17,
    ) {
        let bytes = bytes.get(from..).unwrap_or_default();
        let expected = naive(bytes).to_be_bytes();
        prop_assert_eq!(Sum::of(bytes).checksum(), expected);
        let mut copy = vec![0; bytes.len()];
        prop_assert_eq!(Sum::copy(bytes, &mut copy).checksum(), expected);
        prop_assert_eq!(&copy[..], bytes);
    }

    #[test]
    fn sums_add_up_at_even_offsets(
        bytes in proptest::collection::vec(any::<u8>(), 2..2000),
        at in 0usize..1000,
    ) {
        let at = (at * 2).min(bytes.len() & !1);
        let (a, b) = bytes.split_at(at);
        prop_assert_eq!(Sum::of(a).plus(Sum::of(b)).checksum(), naive(&bytes).to_be_bytes());
    }

    #[test]
    fn an_update_equals_a_new_sum(
        mut bytes in proptest::collection::vec(any::<u8>(), 4..80),
        at in 0usize..40,
        new: [u8; 2],
    ) {
        let at = at * 2 % (bytes.len() & !1);
        let old = [bytes[at], bytes[at + 1]];
        let before = naive(&bytes).to_be_bytes();
        bytes[at..at + 2].copy_from_slice(&new);
        let after = naive(&bytes).to_be_bytes();
        let updated = update(before, old, new);
        // both zeros are the same number
        let same = updated == after || (u16::from_ne_bytes(updated) ^ u16::from_ne_bytes(after)) == 0xffff
            && [0, 0xffff].contains(&u16::from_ne_bytes(after));
        prop_assert!(same, "{:02x?} is not {:02x?}", updated, after);
    }

    #[test]
    fn verifies_right_packets_and_no_others(
        spec in any_spec(), len in 0usize..1500, salt: u8, at in 0usize..1400, flip in 1u8..,
    ) {
        let spec = spec.with_payload(len, salt);
        let mut packet = spec.build();
        prop_assert_eq!(verify(&IpView::parse(&packet).unwrap()), Some(true));
        let at = spec.upper_offset() + at % (packet.len() - spec.upper_offset());
        packet[at] ^= flip;
        if spec.udp && packet[spec.checksum_at()..][..2] == [0, 0] {
            return Ok(());
        }
        // one changed byte is always found, unless it only swaps one zero for the other
        let is_zero_swap = [0, 0xff].contains(&packet[at]) && [0, 0xff].contains(&(packet[at] ^ flip));
        if !is_zero_swap {
            prop_assert_eq!(verify(&IpView::parse(&packet).unwrap()), Some(false));
        }
    }

    #[test]
    fn a_partial_checksum_is_filled_in(spec in any_spec(), len in 0usize..1500, salt: u8, filler in 0usize..50) {
        let spec = spec.with_payload(len, salt);
        let whole = spec.build();
        let mut packet = whole.clone();
        make_partial(&mut packet);
        packet.resize(packet.len() + filler, 0xaa);
        let before = packet.clone();
        let result = fill_partial(&mut packet);
        if spec.v6 && spec.extensions > 0 {
            prop_assert_eq!(result, Err(PartialError::Extended));
            prop_assert_eq!(packet, before);
        } else {
            prop_assert_eq!(result, Ok(()));
            prop_assert_eq!(&packet[..whole.len()], &whole[..]);
            prop_assert_eq!(&packet[whole.len()..], &before[whole.len()..]);
        }
    }

    #[test]
    fn a_new_tos_keeps_the_header_checksum(spec in any_spec(), tos: u8) {
        let mut packet = spec.build();
        set_tos(&mut packet, tos).unwrap();
        let ip = IpView::parse(&packet).unwrap();
        prop_assert_eq!(ip.tos(), tos);
        prop_assert!(ip.header_is_intact());
        prop_assert_eq!(verify(&ip), Some(true));
        let mut expected = Spec { tos, ..spec }.build();
        fill(&mut expected);
        prop_assert_eq!(packet, expected);
    }
}

#[test]
fn sums_megabytes_of_ones() {
    // the worst case for what carries
    for len in [1 << 20, (1 << 20) + 63, (3 << 20) + 1] {
        let bytes = vec![0xff; len];
        assert_eq!(Sum::of(&bytes).checksum(), naive(&bytes).to_be_bytes(), "{len}");
    }
}

#[test]
fn all_lengths_around_the_strides() {
    let bytes: Vec<u8> = (0..300usize).map(|i| (i * 37) as u8 | 1).collect();
    for len in 0..300 {
        assert_eq!(Sum::of(&bytes[..len]).checksum(), naive(&bytes[..len]).to_be_bytes(), "{len}");
    }
}

#[test]
fn udp_without_checksum_is_neither_right_nor_wrong() {
    for v6 in [false, true] {
        let spec = Spec::new(v6, true).with_payload(9, 0);
        let mut packet = spec.build();
        packet[spec.checksum_at()..][..2].fill(0);
        // over IPv6 there must be one
        assert_eq!(verify(&IpView::parse(&packet).unwrap()), v6.then_some(false));
    }
}

#[test]
fn a_udp_checksum_of_zero_is_sent_as_ones() {
    for v6 in [false, true] {
        let mut spec = Spec::new(v6, true).with_payload(2, 0);
        spec.payload = vec![0, 0];
        let mut packet = spec.build();
        let rest = u16::from_be_bytes([packet[spec.checksum_at()], packet[spec.checksum_at() + 1]]);
        // the payload takes up what is missing to all ones
        spec.payload = rest.to_be_bytes().to_vec();
        let end = packet.len();
        packet[end - 2..].copy_from_slice(&spec.payload);
        make_partial(&mut packet);
        fill_partial(&mut packet).unwrap();
        assert_eq!(packet[spec.checksum_at()..][..2], [0xff, 0xff]);
        assert_eq!(verify(&IpView::parse(&packet).unwrap()), Some(true));
    }
}

#[test]
fn what_may_not_be_partial_is_refused() {
    let check = |mut packet: Vec<u8>, error| {
        let before = packet.clone();
        assert_eq!(fill_partial(&mut packet), Err(error));
        assert_eq!(packet, before, "a refused packet stays as it was");
    };
    let udp = Spec::new(false, true).with_payload(20, 0).build();
    let mut fragment = udp.clone();
    fragment[6] = 0x20;
    check(fragment, PartialError::Fragment);
    let mut later = udp.clone();
    later[7] = 1;
    check(later, PartialError::Fragment);
    let mut icmp = udp.clone();
    icmp[9] = 1;
    check(icmp, PartialError::Protocol);
    let mut short = udp;
    short.truncate(27);
    short[3] = 27;
    check(short, PartialError::Truncated);
}
