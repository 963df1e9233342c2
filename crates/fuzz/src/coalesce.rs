//! The way in: packets that are joined and cut again are the packets that came, each once, those of
//! a flow in their order.

use stadium_packet::{
    Checksum, Coalescer, IpView, Run, Segments, checksum::fill_partial, coalesce::Merge,
    transport::Protocol, vnet::Gso,
};

use crate::{
    input::Input,
    packets::{self, Packet},
};

/// Checks one input: a batch in words.
///
/// # Panics
///
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let bits = input.byte();
    let merge = Merge { tcp: bits & 1 == 0, udp: bits & 2 == 0 };
    let batch = if bits & 4 == 0 { words(input) } else { bytes(input) };
    let mut slab = Vec::new();
    let mut starts = Vec::new();
    for (packet, _) in &batch {
        starts.push(slab.len());
        slab.extend(packet);
        // what lies between packets is no part of them
        slab.extend([0xee; 3]);
    }

    let mut out = Vec::new();
    let mut refused = Vec::new();
    let mut coalescer = Coalescer::new(merge);
    let mut sink = |run: Run<'_>| out.push(cut(&run, &starts));
    for (at, (packet, checksum)) in batch.iter().enumerate() {
        let ip = IpView::parse(&slab[starts[at]..]).expect("the batch has packets only");
        assert_eq!(ip.len(), packet.len());
        if coalescer.push(&slab, starts[at], ip, *checksum, &mut sink).is_err() {
            assert_eq!(*checksum, Checksum::Partial);
            refused.push(at);
        }
    }
    coalescer.flush(&slab, &mut sink);
    coalescer.flush(&slab, &mut |_| panic!("a flush leaves nothing"));

    let mut order = Vec::new();
    for run in &out {
        judge(run, &batch, merge);
        order.extend(run.iter().map(|(at, _)| *at));
    }
    let mut all = [&order[..], &refused].concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..batch.len()), "a packet is lost or comes twice: {order:?}");
    for (place, late) in order.iter().enumerate() {
        for early in &order[..place] {
            let swapped = early > late && same_flow(&batch[*early].0, &batch[*late].0);
            assert!(!swapped, "packet {late} was overtaken by {early} of its flow");
        }
    }
}

/// Cuts a run into packets, each with the number of the one it must be.
fn cut(run: &Run<'_>, starts: &[usize]) -> Vec<(usize, Vec<u8>)> {
    let mut bytes = run.header.to_vec();
    run.slices().for_each(|slice| bytes.extend(slice));
    assert_eq!((bytes.len(), run.packets()), (run.len(), run.spans.len()));
    let ip = IpView::parse(&bytes).expect("a run is a packet");
    assert_eq!(ip.len(), bytes.len());
    assert_eq!(run.vnet.gso == Gso::None, run.packets() == 1);
    let segments = Segments::new(run.vnet, ip, Checksum::Full).expect("a run can be cut");
    assert_eq!(segments.count(), run.packets(), "another number of packets");
    let numbers = run.spans.iter().map(|span| {
        starts.iter().rposition(|start| *start <= span.start as usize).expect("it is of the slab")
    });
    numbers
        .enumerate()
        .map(|(at, number)| {
            let mut packet = vec![0; segments.segment_len(at)];
            segments.write(at, &mut packet);
            (number, packet)
        })
        .collect()
}

/// Compares the packets of a run with those that came.
fn judge(run: &[(usize, Vec<u8>)], batch: &[(Vec<u8>, Checksum)], merge: Merge) {
    let joined = run.len() > 1;
    let id = |packet: &[u8]| [packet[4], packet[5]];
    let first = &batch[run[0].0].0;
    let is_v4 = first[0] >> 4 == 4;
    let fixed = joined
        && is_v4
        && run.iter().all(|(at, _)| id(&batch[*at].0) == id(first) && batch[*at].0[6] & 0x40 != 0);
    for (at, got) in run {
        let (packet, checksum) = &batch[*at];
        let mut want = packet.clone();
        if *checksum == Checksum::Partial {
            fill_partial(&mut want).expect("it was pushed");
        }
        if fixed {
            // an identification without meaning (RFC 6864)
            want[4..6].copy_from_slice(&id(got));
            packets::fix_header(&mut want);
        }
        assert_eq!(got, &want, "packet {at} changed");
        if joined {
            let ip = IpView::parse(packet).expect("it was one");
            let protocol = ip.upper().expect("it was joined").protocol;
            assert!(if protocol == Protocol::TCP { merge.tcp } else { merge.udp });
        }
    }
}

/// Tells whether two packets may belong to one flow, so that their order matters.
fn same_flow(a: &[u8], b: &[u8]) -> bool {
    let (Ok(a), Ok(b)) = (IpView::parse(a), IpView::parse(b)) else { return true };
    if (a.src(), a.dst()) != (b.src(), b.dst()) {
        return false;
    }
    match (ports(&a), ports(&b)) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}

/// Reads protocol and ports, which stand in front also where what follows is malformed.
fn ports<'a>(ip: &IpView<'a>) -> Option<(Protocol, &'a [u8; 4])> {
    let upper = ip.upper().filter(|upper| !upper.is_fragment)?;
    let known = matches!(upper.protocol, Protocol::TCP | Protocol::UDP);
    let ports = ip.packet().get(upper.offset..)?.first_chunk()?;
    known.then_some((upper.protocol, ports))
}

/// Builds packets that go on from one another, mostly.
fn words(mut input: Input<'_>) -> Vec<(Vec<u8>, Checksum)> {
    let mut flows: Vec<_> = (0..3).map(|_| (Packet::take(&mut input), size(&mut input))).collect();
    let mut batch = Vec::new();
    while !input.is_empty() && batch.len() < 100 {
        let (flow, what) = (input.byte(), input.byte());
        let (packet, size) = &mut flows[usize::from(flow % 3)];
        let len = match what & 7 {
            0..=4 => *size,
            5 => *size / 2,
            6 => 0,
            _ => input.word() % (*size * 2),
        };
        packet.payload = vec![input.byte(); usize::from(len)];
        let usual = packet.clone();
        match what >> 3 & 15 {
            0 => packet.flags ^= 1 << (flow >> 5),
            1 => packet.seq = packet.seq.wrapping_add(1),
            2 => packet.id = packet.id.wrapping_add(7),
            3 => packet.ack = packet.ack.wrapping_add(1),
            4 => packet.tos ^= 1,
            5 => packet.tcp_options = vec![1; usize::from(flow >> 5) * 4],
            6 => packet.ttl ^= 1,
            7 => packet.window ^= 0x100,
            8 => packet.urgent ^= 1,
            9 => packet.label ^= 1,
            10 => packet.dont_fragment ^= true,
            _ => {}
        }
        let mut bytes = packet.build();
        let mut checksum = Checksum::Full;
        if flow & 4 != 0 {
            packet.make_partial(&mut bytes);
            checksum = Checksum::Partial;
        } else if what == 0xff {
            let at = usize::from(input.word()) % bytes.len();
            // not where it would make the packet longer or shorter
            if at >= packet.upper() {
                bytes[at] ^= 0x10;
            }
        }
        batch.push((bytes, checksum));
        packet.seq = packet.seq.wrapping_add(u32::from(len));
        if flow & 8 == 0 {
            packet.id = packet.id.wrapping_add(1);
        }
        // what is odd stays odd for one packet only, most of the time
        if what & 0x80 == 0 {
            let (seq, id) = (packet.seq, packet.id);
            *packet = Packet { seq, id, ..usual };
        }
    }
    batch
}

/// Takes the payload length of a flow: small most of the time, as that finds as much, and sooner.
fn size(input: &mut Input<'_>) -> u16 {
    let word = input.word();
    1 + if word & 0x8000 == 0 { word % 100 } else { word % 1400 }
}

/// Takes any bytes that are packets.
fn bytes(mut input: Input<'_>) -> Vec<(Vec<u8>, Checksum)> {
    let mut batch = Vec::new();
    while !input.is_empty() && batch.len() < 100 {
        let (len, partial) = (usize::from(input.byte()), input.flag());
        let frame = input.bytes(len);
        if let Ok(ip) = IpView::parse(frame) {
            let checksum = if partial { Checksum::Partial } else { Checksum::Full };
            batch.push((ip.packet().to_vec(), checksum));
        }
    }
    batch
}
