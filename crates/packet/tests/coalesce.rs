//! Coalescing: what joins, what must not, and that segmentation undoes it.

#![allow(clippy::unwrap_used, reason = "helpers of tests, too, fail by panicking")]

mod support;

use proptest::prelude::*;
use stadium_packet::checksum::{Checksum, PartialError};
use stadium_packet::coalesce::{Coalescer, Merge, RUN_PACKETS_MAX, Run};
use stadium_packet::ip::IpView;
use stadium_packet::segment::Segments;
use stadium_packet::vnet::{Gso, NEEDS_CSUM, VnetHdr};
use support::{Spec, any_spec, cut, fill, make_partial, vnet_of};

const ALL: Merge = Merge { tcp: true, udp: true };

/// A run that outlives the batch.
#[derive(Clone, Debug)]
struct Written {
    vnet: VnetHdr,
    packets: usize,
    is_rewritten: bool,
    bytes: Vec<u8>,
}

impl Written {
    fn of(run: &Run<'_>) -> Self {
        let mut bytes = run.header.to_vec();
        run.slices().for_each(|slice| bytes.extend(slice));
        assert_eq!(bytes.len(), run.len());
        assert_eq!(run.slices().len(), run.packets());
        assert!(run.len() <= 65_535 || run.packets() == 1);
        assert!((1..=RUN_PACKETS_MAX).contains(&run.packets()));
        // the kernel refuses headers longer than the packet
        assert!(usize::from(run.vnet.hdr_len) <= bytes.len());
        assert_eq!(VnetHdr::decode(&run.vnet.encode()), Ok(run.vnet));
        assert_eq!(run.packets() > 1, run.vnet.gso != Gso::None);
        let is_rewritten = !run.header.is_empty();
        assert_eq!(is_rewritten, run.packets() > 1);
        Self { vnet: run.vnet, packets: run.packets(), is_rewritten, bytes }
    }

    /// The packets that the kernel makes of it.
    fn packets(&self) -> Vec<Vec<u8>> {
        let ip = IpView::parse(&self.bytes).unwrap();
        assert_eq!(ip.len(), self.bytes.len(), "the header tells the length");
        assert!(!self.is_rewritten || ip.header_is_intact());
        let segments = Segments::new(self.vnet, ip, Checksum::Full).unwrap();
        assert_eq!(segments.count(), self.packets);
        let write = |index| {
            let mut out = vec![0; segments.segment_len(index)];
            segments.write(index, &mut out);
            out
        };
        (0..segments.count()).map(write).collect()
    }
}

/// Pushes packets as one batch, each followed by filler as in a datagram.
fn push_all(coalescer: &mut Coalescer, packets: &[(Vec<u8>, Checksum)]) -> Vec<Written> {
    let mut slab = vec![0x55; 32];
    let mut written = vec![];
    let mut sink = |run: Run<'_>| written.push(Written::of(&run));
    let mut starts = vec![];
    for (i, (packet, _)) in packets.iter().enumerate() {
        starts.push(slab.len());
        slab.extend(packet);
        slab.extend(vec![0xcc; i % 3 * 16]);
    }
    for (start, (_, checksum)) in starts.into_iter().zip(packets) {
        let ip = IpView::parse(&slab[start..]).unwrap();
        coalescer.push(&slab, start, ip, *checksum, &mut sink).unwrap();
    }
    coalescer.flush(&slab, &mut sink);
    written
}

fn coalesce(packets: &[Vec<u8>]) -> Vec<Written> {
    let packets: Vec<_> = packets.iter().map(|packet| (packet.clone(), Checksum::Full)).collect();
    push_all(&mut Coalescer::new(ALL), &packets)
}

/// Counts the packets of each run.
fn counts(packets: &[Vec<u8>]) -> Vec<usize> {
    let written = coalesce(packets);
    let after: Vec<_> = written.iter().flat_map(Written::packets).collect();
    assert_eq!(after, packets, "nothing is lost, changed or reordered");
    written.iter().map(|run| run.packets).collect()
}

/// Consecutive packets of one flow.
fn train(spec: &Spec, lens: &[usize]) -> Vec<Spec> {
    let mut next = spec.clone();
    lens.iter()
        .enumerate()
        .map(|(i, &len)| {
            let one = next.clone().with_payload(len, i as u8);
            next.seq = next.seq.wrapping_add(len as u32);
            next.id = next.id.wrapping_add(1);
            one
        })
        .collect()
}

fn build(specs: &[Spec]) -> Vec<Vec<u8>> {
    specs.iter().map(Spec::build).collect()
}

fn kinds() -> [Spec; 4] {
    [(false, false), (true, false), (false, true), (true, true)].map(|(v6, udp)| Spec::new(v6, udp))
}

#[test]
fn a_train_becomes_one_superpacket() {
    for spec in kinds() {
        let packets = train(&spec, &[100, 100, 100, 100, 40]);
        let written = coalesce(&build(&packets));
        assert_eq!(written.len(), 1);
        let run = &written[0];
        assert_eq!(run.vnet, VnetHdr { hdr_len: spec.header_len() as u16, ..vnet_of(&spec, 100) });
        let mut whole = spec.clone();
        whole.payload = packets.iter().flat_map(|packet| packet.payload.clone()).collect();
        let mut expected = whole.build();
        make_partial(&mut expected);
        assert_eq!(run.bytes, expected);
        assert_eq!(run.packets(), build(&packets));
    }
}

#[test]
fn only_the_last_may_be_shorter_and_none_longer() {
    for spec in kinds() {
        assert_eq!(counts(&build(&train(&spec, &[100, 60, 60, 60, 61]))), [2, 2, 1]);
        assert_eq!(counts(&build(&train(&spec, &[1, 1, 2, 2, 1]))), [2, 3]);
        assert_eq!(counts(&build(&train(&spec, &[101, 101, 33]))), [3]);
    }
}

#[test]
fn push_ends_a_run_and_comes_out_again() {
    for v6 in [false, true] {
        let mut packets = train(&Spec::new(v6, false), &[100; 7]);
        packets[2].flags |= 0x08;
        packets[3].flags |= 0x08;
        assert_eq!(counts(&build(&packets)), [3, 1, 3]);
    }
}

#[test]
fn every_other_flag_keeps_a_packet_alone() {
    for flags in [0x11, 0x12, 0x14, 0x30, 0x50, 0x90, 0x00, 0x18 | 0x40] {
        for v6 in [false, true] {
            let mut packets = train(&Spec::new(v6, false), &[100; 5]);
            packets[2].flags = flags;
            assert_eq!(counts(&build(&packets)), [2, 1, 2], "{flags:#04x}");
        }
    }
}

#[test]
fn what_a_superpacket_has_once_must_agree() {
    type Change = fn(&mut Spec);
    let both: [Change; 2] = [|s| s.tos = 0x03, |s| s.ttl = 63];
    let tcp: [Change; 5] = [
        |s| s.ack += 1,
        |s| s.window -= 1,
        |s| s.tcp_options[7] ^= 1,
        |s| s.tcp_options.truncate(8),
        |s| s.seq += 1,
    ];
    for spec in kinds() {
        let version: &[Change] =
            if spec.v6 { &[|s| s.flow_label ^= 1] } else { &[|s| s.df = false, |s| s.id += 5] };
        let tcp: &[Change] = if spec.udp { &[] } else { &tcp };
        for change in both.iter().chain(version).chain(tcp) {
            let mut packets = train(&spec, &[100; 4]);
            packets[2..].iter_mut().for_each(change);
            let counts = counts(&build(&packets));
            assert_eq!(counts, [2, 2], "{spec:?}");
        }
    }
}

#[test]
fn identifications_rise_or_stay() {
    for udp in [false, true] {
        let ids = |df: bool, ids: &[u16]| {
            let mut packets = train(&Spec::new(false, udp), &vec![50; ids.len()]);
            for (packet, id) in packets.iter_mut().zip(ids) {
                (packet.id, packet.df) = (*id, df);
            }
            coalesce(&build(&packets)).iter().map(|run| run.packets).collect::<Vec<_>>()
        };
        for df in [false, true] {
            assert_eq!(ids(df, &[0xfffe, 0xffff, 0, 1]), [4]);
            assert_eq!(ids(df, &[5, 6, 6, 7]), [2, 2]);
            assert_eq!(ids(df, &[5, 9, 13]), [1, 1, 1]);
        }
        assert_eq!(ids(true, &[5, 5, 5, 6]), [3, 1]);
        assert_eq!(ids(false, &[5, 5, 5, 6]), [1, 1, 2]);
    }
}

#[test]
fn a_wrong_checksum_stays_wrong_and_alone() {
    for spec in kinds() {
        for bad in 0..5 {
            let mut packets = build(&train(&spec, &[100; 5]));
            packets[bad][spec.header_len() + 50] ^= 4;
            let expected: &[usize] = match bad {
                0 => &[1, 4],
                1 => &[1, 1, 3],
                2 => &[2, 1, 2],
                3 => &[3, 1, 1],
                _ => &[4, 1],
            };
            assert_eq!(counts(&packets), expected, "{bad}");
        }
        if !spec.v6 {
            let mut packets = build(&train(&spec, &[100; 5]));
            packets[2][10] ^= 1;
            assert_eq!(counts(&packets), [2, 1, 2], "IPv4 header checksum");
        }
    }
}

#[test]
fn a_vouched_checksum_is_not_computed() {
    for spec in kinds() {
        let wholes = build(&train(&spec, &[100, 100, 100, 7]));
        let partial = |packet: &Vec<u8>| {
            let mut packet = packet.clone();
            make_partial(&mut packet);
            (packet, Checksum::Partial)
        };
        // mixed with full ones, too
        for full in 0..5 {
            let mut packets: Vec<_> = wholes.iter().map(partial).collect();
            if let Some(packet) = packets.get_mut(full) {
                *packet = (wholes[full].clone(), Checksum::Full);
            }
            let written = push_all(&mut Coalescer::new(ALL), &packets);
            assert_eq!(written.len(), 1);
            assert_eq!(written[0].packets(), wholes);
        }
        // alone: handed on as partial, for the kernel to fill in
        for merge in [ALL, Merge { tcp: false, udp: false }] {
            let written = push_all(&mut Coalescer::new(merge), &[partial(&wholes[0])]);
            let vnet = written[0].vnet;
            assert_eq!((vnet.flags, vnet.gso), (NEEDS_CSUM, Gso::None));
            assert_eq!(usize::from(vnet.csum_start), spec.upper_offset());
            assert_eq!(usize::from(vnet.csum_start + vnet.csum_offset), spec.checksum_at());
            assert_eq!(written[0].bytes, partial(&wholes[0]).0);
            assert_eq!(written[0].packets(), wholes[..1]);
        }
    }
}

#[test]
fn a_partial_checksum_where_none_may_be_is_refused() {
    let mut slab = Spec::new(false, true).with_payload(50, 0).build();
    slab[6] = 0x20;
    let ip = IpView::parse(&slab).unwrap();
    let mut coalescer = Coalescer::new(ALL);
    let mut sink = |_: Run<'_>| panic!("a refused packet is not written");
    let result = coalescer.push(&slab, 0, ip, Checksum::Partial, &mut sink);
    assert_eq!(result, Err(PartialError::Fragment));
    coalescer.flush(&slab, &mut sink);
}

#[test]
fn headers_that_cannot_be_joined_go_alone() {
    for spec in kinds() {
        let mut odd = spec.clone();
        if spec.v6 {
            odd.extensions = 1;
        } else {
            odd.ip_options = vec![1; 4];
        }
        assert_eq!(counts(&build(&train(&odd, &[100; 3]))), [1, 1, 1]);
        // and stand in the way of their flow
        let mut packets = build(&train(&spec, &[100; 4]));
        packets.insert(2, odd.with_payload(9, 9).build());
        assert_eq!(counts(&packets), [2, 1, 2]);
    }
}

#[test]
fn empty_payloads_go_alone() {
    for spec in kinds() {
        assert_eq!(counts(&build(&train(&spec, &[0, 0, 0]))), [1, 1, 1]);
        assert_eq!(counts(&build(&train(&spec, &[10, 10, 0, 10, 10]))), [2, 1, 2]);
    }
}

#[test]
fn a_fragment_is_not_overtaken() {
    for at in [6, 7] {
        let spec = Spec::new(false, true);
        let mut packets = build(&train(&spec, &[100; 5]));
        packets[2][at] = if at == 6 { 0x20 } else { 3 };
        packets[2][10..12].fill(0);
        let sum = support::naive(&packets[2][..20]).to_be_bytes();
        packets[2][10..12].copy_from_slice(&sum);
        assert_eq!(counts(&packets), [2, 1, 2]);
    }
}

#[test]
fn udp_without_checksum_goes_alone() {
    let spec = Spec::new(false, true);
    let mut packets = build(&train(&spec, &[100; 3]));
    packets.iter_mut().for_each(|packet| packet[26..28].fill(0));
    assert_eq!(counts(&packets), [1, 1, 1]);
}

#[test]
fn runs_have_a_limit_of_packets_and_of_bytes() {
    for spec in kinds() {
        assert_eq!(counts(&build(&train(&spec, &[50; 150]))), [64, 64, 22]);
        let size = 1380;
        let most = (65_535 - spec.header_len()) / size;
        assert_eq!(counts(&build(&train(&spec, &vec![size; 100]))), [most, most, 100 - 2 * most]);
        // to the byte: five payloads that fill 65,535 exactly, and one byte too many
        let room = 65_535 - spec.header_len();
        let fifth = room / 5;
        let mut lens = vec![fifth + 1; 4];
        lens.push(room - 4 * (fifth + 1));
        assert_eq!(counts(&build(&train(&spec, &lens))), [5]);
        lens[4] += 1;
        assert_eq!(counts(&build(&train(&spec, &lens))), [4, 1]);
    }
}

#[test]
fn what_the_device_cannot_cut_is_not_joined() {
    for spec in kinds() {
        let packets = build(&train(&spec, &[100; 3])).into_iter().map(|p| (p, Checksum::Full));
        let packets: Vec<_> = packets.collect();
        let mut coalescer = Coalescer::new(Merge { tcp: spec.udp, udp: !spec.udp });
        assert_eq!(push_all(&mut coalescer, &packets).len(), 3);
        coalescer.set_merge(ALL);
        assert_eq!(push_all(&mut coalescer, &packets).len(), 1);
    }
}

#[test]
fn interleaved_flows_join_and_come_out_in_turn() {
    let flow = |i: u16| {
        let kind = kinds()[usize::from(i % 4)].clone();
        Spec { ports: (1000 + i, 443), host: (i % 3) as u8, ..kind }
    };
    for flows in [2, 5, 16] {
        let trains: Vec<_> = (0..flows).map(|i| build(&train(&flow(i), &[80; 4]))).collect();
        let mut packets = vec![];
        for round in 0..4 {
            // the order changes from round to round, as with bursts of several senders
            for i in 0..trains.len() {
                packets.push(trains[(i * (2 * round + 1)) % trains.len()][round].clone());
            }
        }
        if flows == 5 {
            // a stride of five would visit one flow only
            packets = (0..4).flat_map(|r| trains.iter().map(move |t| t[r].clone())).collect();
        }
        let written = coalesce(&packets);
        assert_eq!(
            written.iter().map(|run| run.packets).collect::<Vec<_>>(),
            vec![4; flows.into()]
        );
        for (run, train) in written.iter().zip(trains) {
            assert_eq!(run.packets(), train, "in the order in which the flows began");
        }
    }
}

#[test]
fn the_oldest_run_makes_room() {
    let flow = |i: u16| Spec { ports: (i, 443), ..Spec::new(false, false) };
    let trains: Vec<_> = (0..17).map(|i| build(&train(&flow(i), &[80; 2]))).collect();
    let mut packets: Vec<_> = trains.iter().map(|t| t[0].clone()).collect();
    packets.extend(trains[1..].iter().map(|t| t[1].clone()));
    let written = coalesce(&packets);
    let mut expected = vec![2; 17];
    expected[0] = 1;
    assert_eq!(written.iter().map(|run| run.packets).collect::<Vec<_>>(), expected);
}

#[test]
fn a_batch_leaves_nothing_behind() {
    let packets: Vec<_> = build(&train(&Spec::new(true, false), &[90; 3]))
        .into_iter()
        .map(|packet| (packet, Checksum::Full))
        .collect();
    let mut coalescer = Coalescer::new(ALL);
    assert!(push_all(&mut coalescer, &[]).is_empty());
    for batch in packets.chunks(1) {
        assert_eq!(push_all(&mut coalescer, batch).len(), 1);
    }
}

proptest! {
    #[test]
    fn coalescing_undoes_segmentation(
        spec in any_spec(), size in 1usize..1400, count in 2usize..40, last in 1usize..1400,
        push: bool, salt: u8,
    ) {
        let mut spec = spec.with_payload(size * (count - 1) + last.min(size), salt);
        spec.flags |= if push { 8 } else { 0 };
        spec.ip_options.clear();
        spec.extensions = 0;
        let segments = cut(&spec, size);
        let written = coalesce(&segments);
        prop_assert_eq!(written.len(), 1);
        let mut expected = spec.build();
        make_partial(&mut expected);
        prop_assert_eq!(&written[0].bytes, &expected);
        let vnet = VnetHdr { hdr_len: spec.header_len() as u16, ..vnet_of(&spec, size) };
        prop_assert_eq!(written[0].vnet, vnet);
        prop_assert_eq!(written[0].packets(), segments);
    }

    #[test]
    fn any_mix_is_recovered(
        flows in proptest::collection::vec(any_spec(), 1..24),
        steps in proptest::collection::vec(step(), 1..200),
        fixed_ids: bool,
    ) {
        any_mix_is_recovered_with(flows, &steps, fixed_ids)?;
    }
}

/// What happens next in a mix.
#[derive(Clone, Debug)]
struct Step {
    flow: usize,
    kind: u8,
    size: usize,
    salt: u8,
    is_partial: bool,
}

fn step() -> impl Strategy<Value = Step> {
    (
        any::<usize>(),
        prop_oneof![8 => Just(0u8), 1 => 1u8..16],
        prop_oneof![6 => Just(700usize), 1 => 0usize..1400],
        any::<u8>(),
        any::<bool>(),
    )
        .prop_map(|(flow, kind, size, salt, is_partial)| Step {
            flow,
            kind,
            size,
            salt,
            is_partial,
        })
}

/// Addresses and, unless it is a fragment, ports and protocol.
type FlowKey = (Vec<u8>, Option<(u8, Vec<u8>)>);

fn flow_of(packet: &[u8]) -> FlowKey {
    let is_v4 = packet[0] >> 4 == 4;
    let addresses = if is_v4 { &packet[12..20] } else { &packet[8..40] };
    let is_fragment = is_v4 && (packet[6] & 0x3f, packet[7]) != (0, 0);
    let (protocol, at) = support::upper(packet);
    let ports = (!is_fragment).then(|| (protocol, packet[at..at + 4].to_vec()));
    (addresses.to_vec(), ports)
}

/// Forgets the identification of a packet that has none in effect.
fn forget_id(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

fn any_mix_is_recovered_with(
    mut flows: Vec<Spec>,
    steps: &[Step],
    fixed_ids: bool,
) -> Result<(), TestCaseError> {
    // few hosts, so that flows share addresses
    flows.iter_mut().for_each(|flow| flow.host %= 3);
    let mut packets = vec![];
    let mut originals = vec![];
    for step in steps {
        let at = step.flow % flows.len();
        let flow = &mut flows[at];
        let mut spec = flow.clone().with_payload(step.size, step.salt);
        match step.kind {
            1 => spec.flags |= 0x08,
            2 => spec.flags = 0x11,
            3 => spec.flags = 0x02,
            4 => spec.flags |= 0x80,
            5 => spec.flags |= 0x40,
            6 => spec.seq = spec.seq.wrapping_add(u32::from(step.salt)),
            7 => flow.ack = flow.ack.wrapping_add(1),
            8 => flow.window = flow.window.wrapping_add(1),
            9 => spec.tos ^= 1,
            10 => spec.ttl = spec.ttl.wrapping_sub(1),
            // not one that would make identifications look fixed
            11 => spec.id = spec.id.wrapping_add(100),
            12 => spec.payload.clear(),
            _ => {}
        }
        if !(fixed_ids && flow.df) {
            flow.id = flow.id.wrapping_add(1);
        }
        flow.seq = flow.seq.wrapping_add(spec.payload.len() as u32);
        let mut packet = spec.build();
        let mut checksum = Checksum::Full;
        match step.kind {
            13 => {
                // a damaged packet, which arrives as damaged as it was
                let at = spec.upper_offset() + 4 + usize::from(step.salt) % 4;
                packet[at] ^= 0x10;
            }
            14 if !spec.v6 => {
                packet[6] |= 0x20;
                packet[10..12].fill(0);
                let sum = support::naive(&packet[..20 + spec.ip_options.len()]);
                packet[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            _ if step.is_partial && !(spec.v6 && spec.extensions > 0) => {
                checksum = Checksum::Partial;
            }
            _ => {}
        }
        originals.push(packet.clone());
        if checksum == Checksum::Partial {
            make_partial(&mut packet);
            let mut filled = packet.clone();
            fill(&mut filled);
            prop_assert_eq!(&filled, &originals[originals.len() - 1]);
        }
        packets.push((packet, checksum));
    }

    let written = push_all(&mut Coalescer::new(ALL), &packets);
    let mut after: Vec<_> = written.iter().flat_map(Written::packets).collect();
    if fixed_ids {
        after = after.into_iter().map(forget_id).collect();
        originals = originals.into_iter().map(forget_id).collect();
    }
    prop_assert_eq!(after.len(), originals.len());
    for original in &originals {
        let flow = flow_of(original);
        // a fragment may belong to every flow between its addresses
        let belongs = |packet: &&Vec<u8>| {
            let other = flow_of(packet);
            other == flow || other.0 == flow.0 && other.1.is_none()
        };
        let before: Vec<_> = originals.iter().filter(belongs).collect();
        let after: Vec<_> = after.iter().filter(belongs).collect();
        prop_assert_eq!(before, after);
    }
    Ok(())
}
