//! A tunnel without cryptography, from the same parts as Stadium's data path: what the benchmark
//! (`scripts/bench`) compares it with.
//!
//! `forwarder DEV LOCAL REMOTE PORT gso|nogso` joins the interface DEV, which the caller gives an
//! address and brings up, to a UDP port of another such process. One thread a direction. `gso`
//! uses all offload of the TUN and of UDP, `nogso` moves one packet a system call.
//!
//! It is no VPN: nothing is encrypted, nothing authenticated, and anybody may inject packets.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use stadium_packet::checksum::{Checksum, PartialChecksum};
use stadium_packet::coalesce::{Coalescer, Merge, Run};
use stadium_packet::ip::IpView;
use stadium_packet::segment::Segments;
use stadium_packet::vnet::VnetHdr;
use stadium_tun::{Device, Queue, Superpacket, SuperpacketBuf};
use stadium_udp::{OnFull, Path, RxBatch, Socket, TxBatch};

/// Bytes of a batch before it is sent.
const FLUSH_BYTES: usize = 128 * 1024;
/// Superpackets of a batch before it is sent.
const FLUSH_PACKETS: usize = 64;
/// Messages of one `recvmmsg`.
const MESSAGES: usize = 8;
/// The size of both socket buffers in bytes.
const BUFFER: usize = 4 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, local, remote, port, mode] = args.as_slice() else {
        return Err("usage: forwarder DEV LOCAL REMOTE PORT gso|nogso".into());
    };
    let (local, remote): (IpAddr, IpAddr) = (local.parse()?, remote.parse()?);
    let port = port.parse()?;
    let offload = match mode.as_str() {
        "gso" => true,
        "nogso" => false,
        _ => return Err("the mode is gso or nogso".into()),
    };
    let options = stadium_tun::Options { offload, ..stadium_tun::Options::named(name) };
    let device = Device::create(&options)?;
    let options = stadium_udp::Options {
        gso: offload,
        gro: offload,
        local_addr: false,
        tos: false,
        send_buffer: Some(BUFFER),
        recv_buffer: Some(BUFFER),
        ..stadium_udp::Options::default()
    };
    let socket = Arc::new(Socket::bind(SocketAddr::new(local, port), &options)?);
    let path = Path::to(SocketAddr::new(remote, port));
    let queue = Arc::clone(&device.queues()[0]);
    let inbound = {
        let (socket, queue) = (Arc::clone(&socket), Arc::clone(&queue));
        move || inbound(&socket, &queue, if offload { MESSAGES } else { 1 })
    };
    thread::Builder::new().name("inbound".to_owned()).spawn(inbound)?;
    outbound(&queue, &socket, &path, if offload { FLUSH_PACKETS } else { 1 });
    Ok(())
}

/// Reads superpackets, cuts them into the arena, sends the runs; ends with the interface.
fn outbound(queue: &Queue, socket: &Socket, path: &Path, flush_packets: usize) {
    let mut batch = TxBatch::new(FLUSH_BYTES + 3 * TxBatch::MIN_ARENA, 256);
    let mut buffer = SuperpacketBuf::new();
    let mut waiting = 0;
    loop {
        match queue.read(&mut buffer) {
            Ok(Some(superpacket)) => {
                push(&mut batch, superpacket, path);
                waiting += 1;
                if waiting < flush_packets && batch.bytes() < FLUSH_BYTES {
                    continue;
                }
            }
            Ok(None) if waiting == 0 => {
                // an interrupted wait is a spurious wake-up
                let _ = poll(&mut [PollFd::new(queue, PollFlags::IN)], None);
                continue;
            }
            Ok(None) => {}
            Err(stadium_tun::Fault::Gone) => return,
            // the interface is down
            Err(_) => thread::sleep(std::time::Duration::from_millis(20)),
        }
        waiting = 0;
        // what the send buffer does not take is lost, as on any link
        let _ = batch.flush(socket, OnFull::Drop);
    }
}

/// Cuts a superpacket into the batch; what is not IP is dropped.
fn push(batch: &mut TxBatch, superpacket: Superpacket<'_>, path: &Path) {
    let Ok(vnet) = VnetHdr::decode(superpacket.header) else { return };
    let Ok(ip) = IpView::parse(superpacket.packet) else { return };
    let Ok(segments) = Segments::new(vnet, ip, Checksum::Full) else { return };
    for index in 0..segments.count() {
        let Ok(mut datagram) = batch.reserve(segments.segment_len(index)) else { return };
        segments.write(index, &mut datagram);
        datagram.commit(path, 0);
    }
}

/// Receives batches, joins their packets, writes each run with one call.
fn inbound(socket: &Socket, queue: &Queue, messages: usize) {
    let mut batch = RxBatch::new(messages);
    let offload = queue.offload();
    let mut coalescer = Coalescer::new(Merge { tcp: offload.tso, udp: offload.uso });
    loop {
        // an interrupted wait is a spurious wake-up
        let _ = poll(&mut [PollFd::new(socket, PollFlags::IN)], None);
        while batch.recv(socket).is_ok_and(|received| received > 0) {
            let more = batch.is_full();
            let (received, slab) = batch.split();
            let slab = &*slab;
            // what the interface does not take is lost, as on any link
            let mut write = |run: Run<'_>| {
                // a packet that stays alone has its checksum already
                let vnet = if run.packets() == 1 { VnetHdr::PLAIN } else { run.vnet };
                let _ = queue.write(&vnet, run.header, run.slices());
            };
            for range in received.iter().flat_map(stadium_udp::Message::datagrams) {
                let start = range.start;
                let Ok(ip) = IpView::parse(&slab[range]) else { continue };
                // whatever came is trusted, so nothing is verified before it is joined
                let checksum = match PartialChecksum::locate(&ip) {
                    Ok(_) => Checksum::Partial,
                    Err(_) => Checksum::Full,
                };
                let _ = coalescer.push(slab, start, ip, checksum, &mut write);
            }
            coalescer.flush(slab, &mut write);
            if !more {
                break;
            }
        }
    }
}
