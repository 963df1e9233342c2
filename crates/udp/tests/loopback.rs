//! Batches over the loopback interface, both families.

#![allow(clippy::unwrap_used)] // helpers of tests are outside of functions marked as such

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use stadium_udp::{
    BindFault, DontFragment, LocalAddr, MAX_DATAGRAM_V4, MAX_DATAGRAM_V6, MAX_RUN, Message, OnFull,
    Options, Path, RxBatch, Socket, TxBatch, bind_group,
};

const V4: &str = "127.0.0.1:0";
const V6: &str = "[::1]:0";

fn bind(addr: &str, options: &Options) -> Socket {
    Socket::bind(addr.parse().unwrap(), options).unwrap()
}

fn big() -> Options {
    Options { recv_buffer: Some(8 << 20), send_buffer: Some(8 << 20), ..Options::default() }
}

/// Receives what comes until `count` datagrams are there.
fn receive(socket: &Socket, count: usize) -> (Vec<Message>, Vec<Vec<u8>>) {
    let mut batch = RxBatch::new(16);
    let (mut messages, mut datagrams) = (Vec::new(), Vec::new());
    while datagrams.len() < count {
        assert!(socket.wait_readable(Duration::from_secs(5)).unwrap(), "datagrams got lost");
        batch.recv(socket).unwrap();
        messages.extend_from_slice(batch.messages());
        let (got, slab) = batch.split();
        datagrams.extend(got.iter().flat_map(Message::datagrams).map(|r| slab[r].to_vec()));
    }
    assert_eq!(batch.counters(), stadium_udp::RxCounters::default());
    (messages, datagrams)
}

fn commit(batch: &mut TxBatch, path: &Path, tos: u8, len: usize, fill: u8) -> Vec<u8> {
    let mut space = batch.reserve(len).unwrap();
    space.fill(fill);
    let bytes = space.to_vec();
    space.commit(path, tos);
    bytes
}

#[test]
fn a_run_travels_whole_and_keeps_its_stride() {
    for addr in [V4, V6] {
        let (from, to) = (bind(addr, &big()), bind(addr, &big()));
        let mut tx = TxBatch::new(0, 8);
        let path = Path::to(to.local_addr());
        let meant: Vec<_> = (0..40u8)
            .map(|n| commit(&mut tx, &path, 0, if n == 39 { 333 } else { 1452 }, n))
            .collect();
        let sent = tx.flush(&from, OnFull::Drop).unwrap();
        assert_eq!((sent.datagrams, sent.calls, sent.bytes), (40, 1, 39 * 1452 + 333));
        let (messages, datagrams) = receive(&to, 40);
        assert_eq!(datagrams, meant);
        if from.caps().gso() && to.caps().gro() {
            assert_eq!(messages.len(), 1);
            assert_eq!((messages[0].stride, messages[0].len), (1452, 39 * 1452 + 333));
        }
        assert_eq!(messages[0].remote, from.local_addr());
    }
}

#[test]
fn mixed_sizes_arrive_in_order() {
    let lengths = [1, 1, 1400, 1400, 1400, 99, 99, 98, 5000, 5000, 20, 1400, 1399, 3];
    for addr in [V4, V6] {
        let (from, to) = (bind(addr, &big()), bind(addr, &big()));
        let mut tx = TxBatch::new(0, 64);
        let path = Path::to(to.local_addr());
        let mut meant = Vec::new();
        for (n, &len) in lengths.iter().enumerate() {
            meant.push(commit(&mut tx, &path, 0, len, n as u8));
        }
        assert_eq!(tx.flush(&from, OnFull::Drop).unwrap().dropped.total(), 0);
        assert_eq!(receive(&to, meant.len()).1, meant);
    }
}

#[test]
fn without_offload_the_same_bytes_arrive_singly() {
    let plain = Options { gso: false, gro: false, ..big() };
    for (send, take) in [(&plain, &big()), (&big(), &plain), (&plain, &plain)] {
        let (from, to) = (bind(V4, send), bind(V4, take));
        assert_eq!((from.caps().gso(), to.caps().gro()), (send.gso, take.gro));
        let mut tx = TxBatch::new(0, 8);
        let path = Path::to(to.local_addr());
        let meant: Vec<_> = (0..30u8).map(|n| commit(&mut tx, &path, 0, 1000, n)).collect();
        assert_eq!(tx.flush(&from, OnFull::Drop).unwrap().datagrams, 30);
        let (messages, datagrams) = receive(&to, 30);
        assert_eq!(datagrams, meant);
        if !take.gro {
            assert!(messages.iter().all(|message| message.stride == message.len));
        }
    }
}

#[test]
fn service_byte_and_local_address_are_reported_and_used() {
    for (any, spoken_to) in [("0.0.0.0:0", "127.0.0.3"), ("[::]:0", "::1")] {
        let spoken_to: std::net::IpAddr = spoken_to.parse().unwrap();
        let here = bind(if spoken_to.is_ipv4() { V4 } else { V6 }, &big());
        let there = bind(any, &big());
        let mut tx = TxBatch::new(0, 8);
        let to = Path::to(SocketAddr::new(spoken_to, there.local_addr().port()));
        // every congestion code point, and a service class besides
        let bytes = [0x00u8, 0x01, 0x02, 0x03, 0xb9];
        for (n, &tos) in bytes.iter().enumerate() {
            commit(&mut tx, &to, tos, 100, n as u8);
            commit(&mut tx, &to, tos, 100, n as u8);
        }
        assert_eq!(tx.flush(&here, OnFull::Drop).unwrap().datagrams, 10);
        let (messages, _) = receive(&there, 10);
        let seen: Vec<_> =
            messages.iter().flat_map(|m| m.datagrams().map(move |_| m.tos)).collect();
        let meant: Vec<_> = bytes.iter().flat_map(|&tos| [tos, tos]).collect();
        assert_eq!(seen, meant);
        for message in &messages {
            assert_eq!(message.local.map(|local| local.ip), Some(spoken_to));
            assert_ne!(message.local.map(|local| local.ifindex), Some(0));
        }

        // an answer leaves from the address that was spoken to, in a batch and alone
        let answer = messages[0].path();
        commit(&mut tx, &answer, 0x02, 50, 1);
        commit(&mut tx, &answer, 0x02, 50, 2);
        let sent = tx.flush(&there, OnFull::Drop).unwrap();
        assert_eq!((sent.datagrams, sent.stale_source), (2, 0));
        there.send_one(&answer, 0x01, &[3; 60]).unwrap();
        let (messages, datagrams) = receive(&here, 3);
        assert!(messages.iter().all(|message| message.remote == to.remote), "{messages:?}");
        assert_eq!(messages.last().unwrap().tos, 0x01);
        assert_eq!(datagrams[2], [3; 60]);
    }
}

#[test]
fn the_longest_datagrams_fit_and_longer_ones_are_counted() {
    // the loopback's MTU is one byte more than an IPv4 packet, and less than an IPv6 one
    let options = Options { dont_fragment: DontFragment::Off, ..big() };
    for (addr, most) in [(V4, MAX_DATAGRAM_V4), (V6, MAX_DATAGRAM_V6)] {
        let (from, to) = (bind(addr, &options), bind(addr, &options));
        let mut tx = TxBatch::new(1 << 20, 8);
        let path = Path::to(to.local_addr());
        let meant = commit(&mut tx, &path, 0, most, 7);
        commit(&mut tx, &path, 0, most + 1, 8);
        let sent = tx.flush(&from, OnFull::Drop).unwrap();
        assert_eq!((sent.datagrams, sent.dropped.too_large), (1, 1));
        assert_eq!(receive(&to, 1).1, [meant]);

        // the longest run: as many datagrams as a device takes in one piece
        let segment = MAX_RUN / 45;
        let mut space = tx.reserve(segment * 45).unwrap();
        space.fill(9);
        space.commit_run(segment, &path, 0).unwrap();
        assert_eq!(tx.runs(), 1);
        let sent = tx.flush(&from, OnFull::Drop).unwrap();
        assert_eq!((sent.datagrams, sent.calls, sent.degraded), (45, 1, false));
        assert_eq!(receive(&to, 45).1.len(), 45);
    }
}

#[test]
fn empty_datagrams_are_sent_and_not_delivered() {
    let (from, to) = (bind(V4, &big()), bind(V4, &big()));
    let mut tx = TxBatch::new(0, 8);
    let path = Path::to(to.local_addr());
    commit(&mut tx, &path, 0, 0, 0);
    commit(&mut tx, &path, 0, 5, 1);
    assert_eq!(tx.flush(&from, OnFull::Drop).unwrap().datagrams, 2);
    let mut rx = RxBatch::new(4);
    assert_eq!(rx.recv(&to).unwrap(), 1);
    assert_eq!(rx.counters().empty, 1);
    assert!(!rx.is_full());
}

#[test]
fn a_full_batch_says_that_more_waits() {
    let plain = Options { gro: false, ..big() };
    let (from, to) = (bind(V4, &plain), bind(V4, &plain));
    for _ in 0..5 {
        from.send_one(&Path::to(to.local_addr()), 0, &[1; 10]).unwrap();
    }
    let mut rx = RxBatch::new(2);
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push((rx.recv(&to).unwrap(), rx.is_full()));
    }
    assert_eq!(seen, [(2, true), (2, true), (1, false), (0, false)]);
}

#[test]
fn messages_are_opened_in_place_and_used_together() {
    let (from, to) = (bind(V4, &big()), bind(V4, &big()));
    let mut tx = TxBatch::new(0, 8);
    let path = Path::to(to.local_addr());
    for n in 0..6u8 {
        commit(&mut tx, &path, n % 2, 64, n);
    }
    assert_eq!(tx.flush(&from, OnFull::Drop).unwrap().datagrams, 6);
    let mut rx = RxBatch::new(16);
    assert_eq!(rx.recv(&to).unwrap(), 6);
    let (messages, slab) = rx.split();
    for message in messages {
        slab[message.range()].iter_mut().for_each(|byte| *byte ^= 0xff);
    }
    let slab = &*slab;
    let together: Vec<&[u8]> = messages.iter().map(|message| &slab[message.range()]).collect();
    for (n, bytes) in together.iter().enumerate() {
        assert_eq!(**bytes, [!(n as u8); 64]);
    }
}

#[test]
fn a_busy_port_is_told() {
    let held = bind(V4, &Options::default());
    let error = Socket::bind(held.local_addr(), &Options::default()).unwrap_err();
    assert_eq!(error.fault(), BindFault::InUse);
    let port = held.local_addr().port().to_string();
    assert!(error.to_string().contains(&port), "{error}");
    assert_eq!(
        bind_group(held.local_addr(), 2, &Options::default()).unwrap_err().fault(),
        BindFault::InUse
    );
    // the wildcard meets the specific address
    let wildcard = SocketAddr::new([0, 0, 0, 0].into(), held.local_addr().port());
    assert_eq!(bind_group(wildcard, 1, &Options::default()).unwrap_err().fault(), BindFault::InUse);
}

#[test]
fn a_port_that_others_share_is_busy() {
    for addr in [V4, V6, "0.0.0.0:0", "[::]:0"] {
        let daemon = bind(addr, &Options { reuse_port: true, ..Options::default() });
        let error = bind_group(daemon.local_addr(), 2, &Options::default()).unwrap_err();
        assert_eq!(error.fault(), BindFault::InUse, "{addr}");
        drop(daemon);
    }
}

#[test]
fn an_address_of_another_host_is_told() {
    let error = Socket::bind("192.0.2.1:0".parse().unwrap(), &Options::default()).unwrap_err();
    assert_eq!(error.fault(), BindFault::NoSuchAddress);
    assert!(error.to_string().contains("192.0.2.1"), "{error}");
}

#[test]
fn a_group_shares_one_port_in_both_families() {
    for addr in [V4, V6] {
        let group = bind_group(addr.parse().unwrap(), 4, &Options::default()).unwrap();
        let port = group[0].local_addr().port();
        assert!(group.iter().all(|socket| socket.local_addr().port() == port));
        // a group of ours is as busy to us as any
        assert!(bind_group(group[0].local_addr(), 1, &Options::default()).is_err());
        // the same port of the other family is free
        let other = if addr == V4 { V6 } else { V4 };
        let mut other: SocketAddr = other.parse().unwrap();
        other.set_port(port);
        bind_group(other, 2, &Options::default()).unwrap();
    }
}

#[test]
fn lanes_are_steered_to_their_sockets() {
    for addr in [V4, V6] {
        let group = bind_group(addr.parse().unwrap(), 3, &big()).unwrap();
        group[0].attach_lane_steering(3).unwrap();
        let from = bind(addr, &big());
        let path = Path::to(group[0].local_addr());
        let mut data = [0u8; 64];
        data[0] = 0x04;
        for lane in 0..7u8 {
            data[15] = lane;
            from.send_one(&path, 0, &data).unwrap();
        }
        // neither a handshake nor a runt is DATA
        for other in [&[0x01; 200][..], &[0x04; 5], &[]] {
            from.send_one(&path, 0, other).unwrap();
        }
        let lanes = |socket: &Socket| {
            let mut rx = RxBatch::new(32);
            let mut found = Vec::new();
            while rx.recv(socket).unwrap() > 0 {
                let (messages, slab) = rx.split();
                for datagram in messages.iter().flat_map(Message::datagrams) {
                    let bytes = &slab[datagram];
                    found.push((bytes[0] == 0x04 && bytes.len() > 15).then(|| bytes[15]));
                }
            }
            found
        };
        assert_eq!(lanes(&group[0]), [Some(0), Some(3), Some(6), None, None]);
        assert_eq!(lanes(&group[1]), [Some(1), Some(4)]);
        assert_eq!(lanes(&group[2]), [Some(2), Some(5)]);
    }
}

#[test]
fn a_sender_speaks_from_the_groups_port_and_receives_nothing() {
    for (addr, reach) in
        [("0.0.0.0:0", "127.0.0.1"), (V4, "127.0.0.1"), ("[::]:0", "::1"), (V6, "::1")]
    {
        let group = bind_group(addr.parse().unwrap(), 2, &big()).unwrap();
        let sender = Socket::bind_sender(
            &group[0],
            &Options { dont_fragment: DontFragment::Off, ..Options::default() },
        )
        .unwrap();
        assert_eq!(sender.local_addr(), group[0].local_addr());
        let reach: std::net::IpAddr = reach.parse().unwrap();
        let peer = bind(&SocketAddr::new(reach, 0).to_string(), &big());
        let path = Path::to(peer.local_addr());
        sender.send_one(&path, 0, b"without a source").unwrap();
        sender
            .send_one(&Path { local: Some(LocalAddr::new(reach)), ..path }, 0, b"with one")
            .unwrap();
        let mut tx = TxBatch::new(0, 4);
        commit(&mut tx, &path, 0, 10, 1);
        assert_eq!(tx.flush(&sender, OnFull::Drop).unwrap().datagrams, 1);
        let (messages, _) = receive(&peer, 3);
        let us = SocketAddr::new(reach, group[0].local_addr().port());
        assert!(messages.iter().all(|message| message.remote == us), "{messages:?}");
        for n in 0..32 {
            let peer = bind(&SocketAddr::new(reach, 0).to_string(), &big());
            peer.send_one(&Path::to(us), 0, &[n]).unwrap();
        }
        let mut rx = RxBatch::new(64);
        let taken: usize = group.iter().map(|socket| rx.recv(socket).unwrap()).sum();
        assert_eq!(taken, 32);
        assert_eq!(rx.recv(&sender).unwrap(), 0);
    }
}

#[test]
fn kernel_drops_are_counted() {
    let small = Options { recv_buffer: Some(4096), ..Options::default() };
    let (from, to) = (bind(V4, &big()), bind(V4, &small));
    assert_eq!(to.kernel_drops().unwrap(), 0);
    for _ in 0..100 {
        from.send_one(&Path::to(to.local_addr()), 0, &[1; 1000]).unwrap();
    }
    assert!(to.kernel_drops().unwrap() > 0);
}

#[test]
fn sockets_are_non_blocking_and_closed_on_exec() {
    let socket = bind(V4, &Options::default());
    let flags = rustix::fs::fcntl_getfl(socket.as_fd()).unwrap();
    assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));
    let flags = rustix::io::fcntl_getfd(socket.as_fd()).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    assert!(!socket.wait_readable(Duration::from_millis(1)).unwrap());
    assert!(socket.wait_writable(Duration::from_millis(1)).unwrap());
}
