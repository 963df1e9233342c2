//! TCP between two namespaces, over two devices whose superpackets are handed across.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use stadium_packet::vnet::Gso;
use stadium_tun::{Device, Fault, Options, Queue, ReadBatch};

use crate::support;

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 202, 7, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 202, 7, 2);
const PORT: u16 = 5001;
const BYTES: usize = 8 << 20;

fn content() -> Vec<u8> {
    (0..BYTES).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Makes a device in a new namespace on a new thread, hands it out, and runs `then` there.
fn host(
    address: Ipv4Addr,
    then: impl FnOnce() + Send + 'static,
) -> (Option<Device>, std::thread::JoinHandle<()>) {
    let (tell, told) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        if !support::enter_new_namespace() {
            return;
        }
        let device = Device::create(&Options::named("stun0")).unwrap();
        support::set_address("stun0", address).unwrap();
        device.set_up().unwrap();
        tell.send(device).unwrap();
        then();
    });
    (told.recv().ok(), thread)
}

/// Hands superpackets across as they are, split into slices as a coalescer would.
fn cross(from: &Queue, to: &Queue, batch: &mut ReadBatch) -> usize {
    let mut largest = 0;
    batch.fill(from).unwrap();
    for superpacket in batch.superpackets() {
        let vnet = superpacket.vnet().unwrap();
        if matches!(vnet.gso, Gso::TcpV4) {
            largest = largest.max(superpacket.packet.len());
        }
        let (header, rest) = superpacket.packet.split_at(superpacket.packet.len().min(20));
        let size = rest.len().div_ceil(60).max(1);
        match to.write(&vnet, header, rest.chunks(size)) {
            Ok(()) | Err(Fault::Down | Fault::Full) => {}
            // other protocols' chatter is not what is tested
            Err(fault) => assert_ne!(vnet.gso, Gso::TcpV4, "{fault}"),
        }
    }
    largest
}

#[test]
fn tcp_crosses_in_superpackets() {
    let (server, serving) = host(SERVER, || {
        let listener = TcpListener::bind((SERVER, PORT)).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        assert!(bytes == content(), "the content arrives as it was sent");
        stream.write_all(b"thanks").unwrap();
    });
    let (client, calling) = host(CLIENT, || {
        let limit = Duration::from_secs(10);
        let mut stream = TcpStream::connect_timeout(&(SERVER, PORT).into(), limit).unwrap();
        stream.set_read_timeout(Some(limit)).unwrap();
        stream.set_write_timeout(Some(limit)).unwrap();
        stream.write_all(&content()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "thanks");
    });
    let (Some(server), Some(client)) = (server, client) else { return };
    let done = Arc::new(AtomicBool::new(false));
    let relay = std::thread::spawn({
        let done = Arc::clone(&done);
        move || {
            let (a, b) = (&client.queues()[0], &server.queues()[0]);
            let mut batch = ReadBatch::new(4);
            let mut largest = 0;
            while !done.load(Ordering::Relaxed) {
                let mut fds = [PollFd::new(a, PollFlags::IN), PollFd::new(b, PollFlags::IN)];
                let limit = Timespec::try_from(Duration::from_millis(50)).unwrap();
                rustix::event::poll(&mut fds, Some(&limit)).unwrap();
                largest = largest.max(cross(a, b, &mut batch)).max(cross(b, a, &mut batch));
            }
            (largest, client.offload())
        }
    });
    let results = [calling.join(), serving.join()];
    done.store(true, Ordering::Relaxed);
    let (largest, offload) = relay.join().unwrap();
    for result in results {
        result.unwrap();
    }
    if offload.tso {
        assert!(largest > 16_000, "superpackets of {largest} bytes at most");
    }
}
