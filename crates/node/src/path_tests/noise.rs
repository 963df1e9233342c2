//! Noise on the data path: what waits, what goes, what it looks like.

use std::time::Duration;

use stadium_proto::engine::Input;
use stadium_proto::noise::{NoiseByte, NoiseFiller, NoiseRatio, NoiseSize};
use stadium_proto::peer::PeerCell;
use stadium_proto::session::DataHeader;
use stadium_proto::time::Instant;
use stadium_tun::Superpacket;

use super::{Counter, NOW, Node, Packets, Wire, connect, noisy_nodes, packets_of, superpacket};
use crate::outbound::Pushed;

/// The payload limit of the test's engines, and what a datagram adds to it.
const FULL: usize = 1_420 + 32;

fn byte(ratio: NoiseRatio, filler: NoiseFiller) -> NoiseByte {
    NoiseByte::new(ratio, NoiseSize::Any, filler)
}

fn at(us: u64) -> Instant {
    NOW.instant + Duration::from_micros(us)
}

fn push(node: &mut Node, now: Instant, payload: usize) -> Vec<Vec<u8>> {
    let (header, packet) = superpacket(payload);
    let pushed = node.outbound.push(
        now,
        Superpacket { header: &header, packet: &packet },
        |_: &PeerCell| panic!("there is a session"),
    );
    assert_eq!(pushed, Pushed::Done);
    packets_of(&header, &packet)
}

/// Receives what waits, and returns the length, the flags and the lane of each datagram.
fn receive(node: &mut Node, sink: &mut Packets) -> Vec<(usize, u8, u8)> {
    let mut seen = Vec::new();
    while node.rx.recv(&node.socket).unwrap() > 0 {
        let (messages, slab) = node.rx.split();
        for range in messages.iter().flat_map(|message| message.datagrams()) {
            let datagram = &slab[range];
            let header = DataHeader::parse(datagram).unwrap();
            seen.push((datagram.len(), header.flags, header.counter.lane()));
        }
        node.inbound.handle(NOW.instant, messages, slab, sink);
    }
    seen
}

fn tick(node: &mut Node, now: Instant) {
    node.outbound.tick(now, |failure| panic!("{failure:?}"));
    node.outbound.flush(|failure| panic!("{failure:?}"));
}

#[test]
fn filler_alone_waits_for_nothing_and_gives_one_size() {
    let (mut a, mut b) = noisy_nodes(true, byte(NoiseRatio::Off, NoiseFiller::Full));
    connect(&mut a, &mut b);
    let mut sink = Packets::default();
    let mut expected = Vec::new();
    for payload in [1, 500, 1_368, 30_000] {
        expected.extend(push(&mut a, at(0), payload));
    }
    a.outbound.flush(|failure| panic!("{failure:?}"));
    let seen = receive(&mut b, &mut sink);
    assert_eq!(seen.len(), expected.len());
    assert!(seen.iter().all(|seen| *seen == (FULL, 0, 1)), "{seen:?}");
    assert!(sink.packets == expected, "all arrive as they were, in order");
    assert_eq!(a.outbound.next_tick(), None);
    let sent = a.engine.cell(a.peer).unwrap().tx.counts();
    let bytes: usize = expected.iter().map(Vec::len).sum();
    assert_eq!(sent.bytes, bytes as u64);
    assert_eq!(sent.filler_bytes, (expected.len() * 1_420 - bytes) as u64);
    assert_eq!(sent.noise_packets, 0);
}

#[test]
fn packets_wait_for_their_tick_and_keep_their_order() {
    let (mut a, mut b) = noisy_nodes(true, byte(NoiseRatio::OneToOne, NoiseFiller::Full));
    connect(&mut a, &mut b);
    let mut sink = Packets::default();
    let mut expected = Vec::new();
    for (n, payload) in [200, 3_000, 1].into_iter().enumerate() {
        expected.extend(push(&mut a, at(1_000 + n as u64), payload));
    }
    a.outbound.flush(|failure| panic!("{failure:?}"));
    assert!(receive(&mut b, &mut sink).is_empty(), "nothing goes before the tick");
    let due = a.outbound.next_tick().unwrap();
    assert!(due > at(1_000) && due <= at(1_000 + 1_252), "{due:?}");
    tick(&mut a, due);
    let seen = receive(&mut b, &mut sink);
    assert!(seen.len() >= expected.len());
    assert!(seen.iter().all(|seen| *seen == (FULL, 0, 1)), "{seen:?}");
    assert!(sink.packets == expected, "in order, noise left out");
    let counts = b.engine.cell(b.peer).unwrap().rx.counts();
    assert_eq!(counts.packets + counts.noise_packets, seen.len() as u64);
}

#[test]
fn bulk_takes_noise_along_in_one_size_and_both_ends_count_alike() {
    let (mut a, mut b) = noisy_nodes(true, byte(NoiseRatio::FourToOne, NoiseFiller::Full));
    connect(&mut a, &mut b);
    let (mut sink, mut expected, mut seen) = (Packets::default(), Vec::new(), Vec::new());
    for n in 0..60 {
        // 47 packets and their noise are more than an arena at once
        expected.extend(push(&mut a, at(n * 500), 64_000));
        tick(&mut a, at(n * 500));
        seen.extend(receive(&mut b, &mut sink));
    }
    // what waits for its tick yet
    tick(&mut a, at(60 * 500 + 2_000));
    seen.extend(receive(&mut b, &mut sink));
    assert!(seen.iter().all(|seen| *seen == (FULL, 0, 1)));
    assert!(sink.packets == expected, "all arrive, in order");
    let sent = a.engine.cell(a.peer).unwrap().tx.counts();
    let received = b.engine.cell(b.peer).unwrap().rx.counts();
    assert_eq!(sent.packets, expected.len() as u64);
    assert_eq!((sent.packets, sent.noise_packets), (received.packets, received.noise_packets));
    assert_eq!((sent.bytes, sent.noise_bytes), (received.bytes, received.noise_bytes));
    let off = sent.noise_packets as i64 - 4 * sent.packets as i64;
    assert!(off.abs() <= 4 * 480 + 1, "{off} noise packets from 4:1");
    let profile = a.engine.cell(a.peer).unwrap().tx_profile().unwrap();
    assert_eq!((profile.real(), profile.noise()), (sent.packets, sent.noise_packets));
}

#[test]
fn noise_starts_without_a_packet_once_control_says_so() {
    let (mut a, mut b) = noisy_nodes(true, byte(NoiseRatio::OneToOne, NoiseFiller::Full));
    connect(&mut a, &mut b);
    assert_eq!(a.outbound.next_tick(), None);
    a.outbound.attend(at(0));
    let mut sink = Packets::default();
    let (mut noise, mut now) = (0, at(0));
    while now < at(60_000_000) {
        let Some(next) = a.outbound.next_tick() else { break };
        now = now.max(next);
        tick(&mut a, now);
        noise += receive(&mut b, &mut sink).len();
    }
    assert!(noise > 20, "{noise} in a minute, ahead of the first packet");
    assert!(sink.packets.is_empty());
    assert_eq!(b.engine.cell(b.peer).unwrap().rx.counts().noise_packets, noise as u64);
}

#[test]
fn control_frames_and_packets_that_waited_leave_by_the_schedule() {
    let (mut a, mut b) = noisy_nodes(true, byte(NoiseRatio::OneToOne, NoiseFiller::Full));
    connect(&mut a, &mut b);
    let mut sink = Packets::default();
    receive(&mut b, &mut sink);
    a.outbound.attend(at(0));
    // a ping, as a heartbeat sends it
    let mut out = Wire { socket: &a.socket, events: Vec::new() };
    a.engine.handle(NOW, Input::Ping { peer: a.peer, token: 7 }, &mut out);
    a.outbound.flush(|failure| panic!("{failure:?}"));
    assert!(receive(&mut b, &mut sink).is_empty(), "control does not send it itself");
    let (header, packet) = superpacket(200);
    let cell = std::sync::Arc::clone(a.engine.cell(a.peer).unwrap());
    assert_eq!(cell.waiting.push([&header[..], &packet].concat().into()), 0);
    a.outbound.attend(at(100));
    a.outbound.flush(|failure| panic!("{failure:?}"));
    assert!(receive(&mut b, &mut sink).is_empty(), "both wait for their tick");
    assert!(cell.waiting.pop().is_none());
    let due = a.outbound.next_tick().unwrap();
    assert!(due > at(100) && due <= at(100 + 1_252), "{due:?}");
    tick(&mut a, due);
    let seen = receive(&mut b, &mut sink);
    assert!(seen.len() >= 2 && seen.iter().all(|seen| *seen == (FULL, 0, 1)), "{seen:?}");
    assert!(sink.packets == packets_of(&header, &packet));
    let counts = b.engine.cell(b.peer).unwrap().rx.counts();
    assert_eq!(seen.len() as u64 - counts.noise_packets - counts.packets, 1, "the ping");
    assert_eq!(cell.tx.counts().packets, 1, "the ping is no packet");
}

#[test]
fn random_filler_gives_a_run_one_length() {
    let (mut a, mut b) = noisy_nodes(true, byte(NoiseRatio::Off, NoiseFiller::Random));
    connect(&mut a, &mut b);
    let mut sink = Packets::default();
    let mut lengths = Vec::new();
    for n in 0..40 {
        let expected = push(&mut a, at(n), 900);
        a.outbound.flush(|failure| panic!("{failure:?}"));
        let seen = receive(&mut b, &mut sink);
        assert_eq!(seen.len(), expected.len());
        lengths.push(seen[0].0);
        let run = push(&mut a, at(n), 10_000);
        a.outbound.flush(|failure| panic!("{failure:?}"));
        let seen = receive(&mut b, &mut sink);
        assert_eq!(seen.len(), run.len());
        assert!(seen.iter().all(|s| s.0 == seen[0].0), "{seen:?}");
    }
    assert!(lengths.iter().all(|n| (940 + 32..=FULL).contains(n)));
    lengths.sort_unstable();
    lengths.dedup();
    assert!(lengths.len() > 20, "{lengths:?}");
}

#[test]
fn steady_noise_allocates_nothing() {
    let (mut a, mut b) = noisy_nodes(true, byte(NoiseRatio::OneToOne, NoiseFiller::Full));
    connect(&mut a, &mut b);
    let mut sink = Counter::default();
    let (header, packet) = superpacket(40_000);
    let (small_header, small) = superpacket(64);
    let mut now = 0;
    let mut round = |sink: &mut Counter| {
        now += 700;
        for (header, packet) in [(&small_header, &small), (&header, &packet)] {
            let superpacket = Superpacket { header, packet };
            let pushed = a.outbound.push(at(now), superpacket, |_: &PeerCell| {});
            assert_eq!(pushed, Pushed::Done);
        }
        a.outbound.tick(at(now), |_| {});
        a.outbound.flush(|_| {});
        while b.rx.recv(&b.socket).unwrap() > 0 {
            let (messages, slab) = b.rx.split();
            b.inbound.handle(NOW.instant, messages, slab, sink);
        }
    };
    // until the buffers that wait are as many as are ever needed
    for _ in 0..200 {
        round(&mut sink);
    }
    let before = sink.packets;
    let measured = allocation_counter::measure(|| {
        for _ in 0..100 {
            round(&mut sink);
        }
    });
    assert!(sink.packets - before > 2_900);
    assert_eq!(measured.count_total, 0, "allocations in {} packets", sink.packets - before);
}
