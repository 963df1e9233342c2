//! Both directions of the data path together: packets in, datagrams over loopback, packets out.

use std::net::SocketAddr;
use std::sync::Arc;

use stadium_packet::checksum::Checksum;
use stadium_packet::coalesce::Run;
use stadium_packet::ip::IpView;
use stadium_packet::segment::Segments;
use stadium_packet::vnet::{Gso, NEEDS_CSUM, VnetHdr};
use stadium_proto::drop::DropReason;
use stadium_proto::engine::{
    Change, DatagramClass, Engine, Event, HandshakeKind, Input, Now, OpenedNotice, Output,
    PeerConfig, Settings,
};
use stadium_proto::identity::{Identity, PresharedKey, SecretKey};
use stadium_proto::noise::{NoiseByte, NoisePolicy};
use stadium_proto::peer::{Endpoint, PeerId};
use stadium_proto::session::DATA;
use stadium_proto::time::{Instant, WallTime};
use stadium_tun::{Offload, Superpacket};
use stadium_udp::{Options, RxBatch, Socket};
use tokio::sync::mpsc;

use crate::inbound::testing::{Inbound, Sink};
use crate::notice::{NOTICES, Notice};
use crate::outbound::{EarlyPackets, Pipeline, Pushed};
use crate::workers::{Drain, SocketSet};

mod counts;
mod noise;

const NOW: Now =
    Now { instant: Instant::from_nanos(5_000_000_000), wall: WallTime::from_nanos(1 << 60) };
const OFFLOAD: Offload = Offload { csum: true, tso: true, uso: true };

/// Sends what an engine puts out, and keeps its events.
struct Wire<'a> {
    socket: &'a Socket,
    events: Vec<Event>,
}

impl Output for Wire<'_> {
    fn send(&mut self, to: &Endpoint, datagram: &[u8], _class: DatagramClass) {
        self.socket.send_one(&stadium_udp::Path::to(to.remote), 0, datagram).unwrap();
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// Keeps written packets, each as it would leave the TUN.
#[derive(Default)]
struct Packets {
    packets: Vec<Vec<u8>>,
    runs: usize,
}

impl Sink for Packets {
    fn write(&mut self, run: &Run<'_>) -> Result<(), (DropReason, usize)> {
        self.runs += 1;
        let mut whole = run.header.to_vec();
        run.slices().for_each(|slice| whole.extend_from_slice(slice));
        let segments =
            Segments::new(run.vnet, IpView::parse(&whole).unwrap(), Checksum::Full).unwrap();
        for index in 0..segments.count() {
            let mut packet = vec![0; segments.segment_len(index)];
            segments.write(index, &mut packet);
            self.packets.push(packet);
        }
        Ok(())
    }
}

/// Only counts, so that it allocates nothing.
#[derive(Default)]
struct Counter {
    packets: usize,
}

impl Sink for Counter {
    fn write(&mut self, run: &Run<'_>) -> Result<(), (DropReason, usize)> {
        self.packets += run.packets();
        Ok(())
    }
}

/// One node without a TUN.
struct Node {
    engine: Engine,
    socket: Arc<Socket>,
    outbound: Pipeline,
    inbound: Inbound,
    drain: Drain,
    notices: mpsc::Receiver<Notice>,
    peer: PeerId,
    rx: RxBatch,
}

impl Node {
    fn address(&self) -> SocketAddr {
        self.socket.local_addr()
    }

    /// Receives what waits, as the inbound worker and control do.
    fn receive(&mut self, sink: &mut impl Sink) {
        // loopback delivers within the sending call, so nothing is waited for
        while self.rx.recv(&self.socket).unwrap() > 0 {
            let (messages, slab) = self.rx.split();
            self.inbound.handle(NOW.instant, messages, slab, sink);
        }
        while let Ok(notice) = self.notices.try_recv() {
            self.control(notice);
        }
    }

    fn control(&mut self, notice: Notice) {
        let mut out = Wire { socket: &self.socket, events: Vec::new() };
        let input = match &notice {
            Notice::Handshake { remote, local, datagram } => {
                Input::Handshake { remote: *remote, local: *local, datagram }
            }
            Notice::Opened { index, remote, local, highest, first, control } => {
                Input::Opened(OpenedNotice {
                    index: *index,
                    remote: *remote,
                    local: *local,
                    highest: *highest,
                    first: *first,
                    control,
                })
            }
            Notice::Wanted(peer) => Input::Wanted(*peer),
            other => panic!("{other:?}"),
        };
        self.engine.handle(NOW, input, &mut out);
        let can_send =
            out.events.iter().any(|e| matches!(e, Event::SessionUp { .. } | Event::CanSend { .. }));
        if can_send {
            let cell = Arc::clone(self.engine.cell(self.peer).unwrap());
            self.drain.drain(&cell, &mut EarlyPackets::default(), NOW.instant);
        }
    }

    fn want(&mut self) {
        self.control(Notice::Wanted(self.peer));
    }
}

/// Two nodes that are each other's peers, 10.7.0.1 and 10.7.0.2, not yet connected.
fn nodes(partial_checksum: bool) -> (Node, Node) {
    noisy_nodes(partial_checksum, NoiseByte::OFF)
}

/// The same, with noise that both ask for and grant.
fn noisy_nodes(partial_checksum: bool, noise: NoiseByte) -> (Node, Node) {
    let sockets = [(); 2].map(|()| {
        let options = Options { recv_buffer: Some(4 << 20), ..Options::default() };
        Arc::new(Socket::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap())
    });
    let seeds = [[1; 32], [2; 32]];
    let keys = seeds.map(|seed| *Identity::new(SecretKey::from_seed(seed)).public());
    let [a, b] = [0, 1].map(|n| {
        let settings = Settings { lanes: 2, partial_checksum, ..Settings::default() };
        let identity = Identity::new(SecretKey::from_seed(seeds[n]));
        let mut state = n as u8 + 1;
        let entropy = move |bytes: &mut [u8]| {
            for byte in bytes {
                state = state.wrapping_mul(167).wrapping_add(13);
                *byte = state ^ 0x5a;
            }
        };
        // a repeated pattern would repeat an ephemeral, so the order of use is mixed in
        let mut counter = 0_u64;
        let mut entropy = entropy;
        let entropy = Box::new(move |bytes: &mut [u8]| {
            entropy(bytes);
            counter += 1;
            for (byte, c) in bytes.iter_mut().zip(counter.to_le_bytes()) {
                *byte ^= c;
            }
        });
        let mut engine = Engine::new(identity, None, settings, entropy, NOW);
        let config = PeerConfig {
            public_key: keys[1 - n],
            preshared_key: PresharedKey::NONE,
            endpoint: Some(sockets[1 - n].local_addr()),
            allowed_ips: vec![format!("10.7.0.{}/32", 2 - n).parse().unwrap()],
            heartbeat: None,
            handshake: HandshakeKind::Encrypted,
            noise,
            noise_policy: if noise.is_off() { NoisePolicy::OFF } else { NoisePolicy::ANY },
        };
        let mut out = Wire { socket: &sockets[n], events: Vec::new() };
        let added = engine.apply(NOW, [Change::Add(Box::new(config))], &mut out);
        let peer = added[0].unwrap().unwrap();
        let set = SocketSet { v4: Some(Arc::clone(&sockets[n])), v6: None, more: Vec::new() };
        let shared = Arc::clone(engine.shared());
        let (sender, notices) = mpsc::channel(NOTICES);
        Node {
            outbound: Pipeline::new(Arc::clone(&shared), set.clone(), 1, false),
            inbound: Inbound::new(Arc::clone(&shared), sender, OFFLOAD),
            drain: Drain::new(shared, set, false),
            engine,
            socket: Arc::clone(&sockets[n]),
            notices,
            peer,
            rx: RxBatch::new(8),
        }
    });
    (a, b)
}

fn connect(a: &mut Node, b: &mut Node) {
    a.want();
    for _ in 0..4 {
        b.receive(&mut Packets::default());
        a.receive(&mut Packets::default());
    }
    for node in [&*a, &*b] {
        let cell = node.engine.cell(node.peer).unwrap();
        assert!(cell.tx_session().is_some(), "connected");
    }
}

/// A TCP superpacket from 10.7.0.1 to 10.7.0.2 with `payload` bytes in segments of 1,368.
fn superpacket(payload: usize) -> ([u8; VnetHdr::LEN], Vec<u8>) {
    let mut packet = vec![0; 40 + payload];
    let length = packet.len() as u16;
    packet[..20].copy_from_slice(&[
        0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 10, 7, 0, 1, 10, 7, 0, 2,
    ]);
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[20..40].copy_from_slice(&[
        0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0,
    ]);
    for (n, byte) in packet[40..].iter_mut().enumerate() {
        *byte = ((n * 7) >> 3) as u8;
    }
    let mut header = 0_u32;
    for pair in packet[..20].chunks_exact(2) {
        header += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    let header = !((header & 0xffff) + (header >> 16)) as u16;
    packet[10..12].copy_from_slice(&header.to_be_bytes());
    let pseudo = 0x0a07 + 1 + 0x0a07 + 2 + 6 + u32::from(length - 20);
    packet[36..38]
        .copy_from_slice(&((pseudo & 0xffff) as u16 + (pseudo >> 16) as u16).to_be_bytes());
    let gso = if payload > 1_368 { Gso::TcpV4 } else { Gso::None };
    let vnet = VnetHdr {
        flags: NEEDS_CSUM,
        gso,
        ecn: false,
        hdr_len: 40,
        gso_size: if gso == Gso::None { 0 } else { 1_368 },
        csum_start: 20,
        csum_offset: 16,
    };
    (vnet.encode(), packet)
}

/// The packets that a superpacket stands for.
fn packets_of(header: &[u8; VnetHdr::LEN], packet: &[u8]) -> Vec<Vec<u8>> {
    let vnet = VnetHdr::decode(header).unwrap();
    let segments = Segments::new(vnet, IpView::parse(packet).unwrap(), Checksum::Full).unwrap();
    (0..segments.count())
        .map(|index| {
            let mut out = vec![0; segments.segment_len(index)];
            segments.write(index, &mut out);
            out
        })
        .collect()
}

fn push(node: &mut Node, header: &[u8; VnetHdr::LEN], packet: &[u8]) {
    let superpacket = Superpacket { header, packet };
    let mut wanted = false;
    let full = node.outbound.push(NOW.instant, superpacket, |cell| wanted = cell.want_session());
    assert_ne!(full, Pushed::Full);
    node.outbound.flush(|failure| panic!("{failure:?}"));
    if wanted {
        node.want();
    }
}

#[test]
fn a_superpacket_arrives_as_the_packets_that_it_stands_for() {
    for partial in [false, true] {
        let (mut a, mut b) = nodes(partial);
        connect(&mut a, &mut b);
        for payload in [1, 1_368, 1_369, 30_000, 64_000] {
            let (header, packet) = superpacket(payload);
            push(&mut a, &header, &packet);
            let mut sink = Packets::default();
            b.receive(&mut sink);
            let expected = packets_of(&header, &packet);
            assert_eq!(sink.packets.len(), expected.len(), "{payload} bytes, partial {partial}");
            assert!(sink.packets == expected, "{payload} bytes, partial {partial}");
            assert!(sink.runs <= 2, "joined again: {} runs for {payload} bytes", sink.runs);
        }
        let sent = a.engine.cell(a.peer).unwrap().tx.counts();
        let received = b.engine.cell(b.peer).unwrap().rx.counts();
        assert_eq!((sent.packets, sent.bytes), (received.packets, received.bytes));
        assert_eq!(sent.packets, 1 + 1 + 2 + 22 + 47);
    }
}

#[test]
fn packets_wait_for_the_session_that_they_cause() {
    let (mut a, mut b) = nodes(true);
    let (header, packet) = superpacket(3_000);
    push(&mut a, &header, &packet);
    let mut sink = Packets::default();
    for _ in 0..4 {
        b.receive(&mut sink);
        a.receive(&mut Packets::default());
    }
    assert!(sink.packets == packets_of(&header, &packet));
    assert_eq!(a.engine.shared().drops.all().iter().sum::<u64>(), 0);
}

#[test]
fn what_cannot_go_is_counted() {
    let (mut a, mut b) = nodes(true);
    connect(&mut a, &mut b);
    let drops = |node: &Node, reason| node.engine.shared().drops.of(reason);

    let (header, mut packet) = superpacket(100);
    packet[19] = 9;
    push(&mut a, &header, &packet);
    assert_eq!(drops(&a, DropReason::NoRoute), 1);

    let (_, mut long) = superpacket(1_400);
    long[2..4].copy_from_slice(&1_440_u16.to_be_bytes());
    push(&mut a, &VnetHdr::PLAIN.encode(), &long);
    assert_eq!(drops(&a, DropReason::TooLarge), 1);

    push(&mut a, &header, &packet[..10]);
    assert_eq!(drops(&a, DropReason::Malformed), 1);

    // an inner source that does not belong to the sender
    let (header, mut packet) = superpacket(100);
    packet[15] = 77;
    push(&mut a, &header, &packet);
    let mut sink = Packets::default();
    b.receive(&mut sink);
    assert!(sink.packets.is_empty());
    assert_eq!(drops(&b, DropReason::NotAllowed), 1);
}

#[test]
fn what_comes_in_wrong_is_counted() {
    let (mut a, mut b) = nodes(true);
    connect(&mut a, &mut b);
    let tap = Socket::bind("127.0.0.1:0".parse().unwrap(), &Options::default()).unwrap();
    let to_b = stadium_udp::Path::to(b.address());
    let to_tap = tap.local_addr();
    // take one datagram off the wire by making the tap the endpoint for a moment
    let mut out = Wire { socket: &a.socket, events: Vec::new() };
    a.engine.handle(NOW, Input::Endpoint { peer: a.peer, remote: to_tap }, &mut out);
    let (header, packet) = superpacket(100);
    push(&mut a, &header, &packet);
    let mut rx = RxBatch::new(1);
    assert_eq!(rx.recv(&tap).unwrap(), 1);
    let range = rx.messages()[0].range();
    let datagram = rx.split().1[range].to_vec();
    assert_eq!(datagram[0], DATA);

    let mut expect = Vec::new();
    let mut send = |bytes: &[u8], reason| {
        tap.send_one(&to_b, 0, bytes).unwrap();
        expect.push(reason);
    };
    let mut bad_tag = datagram.clone();
    *bad_tag.last_mut().unwrap() ^= 1;
    send(&bad_tag, Some(DropReason::BadTag));
    send(&datagram, None);
    send(&datagram, Some(DropReason::Replay));
    let mut unknown = datagram.clone();
    unknown[4] ^= 1;
    send(&unknown, Some(DropReason::UnknownIndex));
    let mut lane = datagram.clone();
    lane[15] = 60;
    send(&lane, Some(DropReason::Malformed));
    send(&datagram[..20], Some(DropReason::Malformed));
    send(b"hello", Some(DropReason::Malformed));
    let mut sink = Packets::default();
    b.receive(&mut sink);
    assert_eq!(sink.packets.len(), 1);
    for reason in DropReason::ALL {
        let expected = expect.iter().filter(|e| **e == Some(*reason)).count() as u64;
        assert_eq!(b.engine.shared().drops.of(*reason), expected, "{}", reason.name());
    }
}

#[test]
fn steady_packets_allocate_nothing() {
    let (mut a, mut b) = nodes(true);
    connect(&mut a, &mut b);
    let (header, packet) = superpacket(40_000);
    let (small_header, small) = superpacket(64);
    let mut sink = Counter::default();
    let round = |a: &mut Node, b: &mut Node, sink: &mut Counter| {
        for _ in 0..4 {
            for (header, packet) in [(&header, &packet), (&small_header, &small)] {
                let superpacket = Superpacket { header, packet };
                assert_eq!(a.outbound.push(NOW.instant, superpacket, |_| {}), Pushed::Done);
            }
        }
        a.outbound.flush(|_| {});
        while b.rx.recv(&b.socket).unwrap() > 0 {
            let (messages, slab) = b.rx.split();
            b.inbound.handle(NOW.instant, messages, slab, sink);
        }
    };
    // the first round may touch what is made on demand
    round(&mut a, &mut b, &mut sink);
    let before = sink.packets;
    let measured = allocation_counter::measure(|| {
        for _ in 0..50 {
            round(&mut a, &mut b, &mut sink);
        }
    });
    assert_eq!(sink.packets - before, 50 * 4 * (30 + 1));
    assert_eq!(measured.count_total, 0, "allocations in {} packets", sink.packets - before);
}
