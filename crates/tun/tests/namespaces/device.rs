//! One device: what it reads, writes, refuses and survives.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::time::Duration;

use crate::support::{self, checksum, in_namespace, ip, set_address, udp_packet, wait_readable};
use stadium_packet::vnet::{Gso, NEEDS_CSUM, VnetHdr};
use stadium_tun::{CreateError, Device, Fault, Options, Queue, ReadBatch, SuperpacketBuf};

const HERE: Ipv4Addr = Ipv4Addr::new(10, 201, 7, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 201, 7, 2);

fn up(options: &Options) -> Device {
    let device = Device::create(options).unwrap();
    set_address(&options.name, HERE).unwrap();
    device.set_up().unwrap();
    device
}

/// Reads until an IPv4 packet to port `port` comes, past what the kernel sends by itself.
fn read_udp(queue: &Queue, port: u16) -> (VnetHdr, Vec<u8>) {
    let mut buf = SuperpacketBuf::new();
    loop {
        let Some(superpacket) = queue.read(&mut buf).unwrap() else {
            assert!(wait_readable(queue), "nothing came to port {port}");
            continue;
        };
        let packet = superpacket.packet;
        if packet[0] == 0x45 && packet[9] == 17 && packet[22..24] == port.to_be_bytes() {
            return (superpacket.vnet().unwrap(), packet.to_vec());
        }
    }
}

fn receiver() -> UdpSocket {
    let socket = UdpSocket::bind((HERE, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

#[test]
fn packets_come_and_go_with_and_without_offload() {
    for offload in [true, false] {
        in_namespace(move || {
            let device = up(&Options { offload, ..Options::named("stun0") });
            let queue = &device.queues()[0];
            assert_eq!(device.offload().has_header(), offload);
            let mut buf = SuperpacketBuf::new();
            assert_eq!(buf.superpacket(), None);

            let socket = receiver();
            socket.send_to(b"out", (THERE, 9)).unwrap();
            let (vnet, packet) = read_udp(queue, 9);
            assert_eq!(&packet[28..], b"out");
            assert_eq!(vnet.gso, Gso::None);
            assert_eq!(vnet.needs_checksum(), offload, "{vnet:?}");

            let local = (HERE, socket.local_addr().unwrap().port());
            queue.write_packet(&udp_packet((THERE, 9), local, b"in")).unwrap();
            let mut bytes = [0; 100];
            let (len, from) = socket.recv_from(&mut bytes).unwrap();
            assert_eq!((&bytes[..len], from), (&b"in"[..], (THERE, 9).into()));
            while queue.read(&mut buf).unwrap().is_some() {}
            assert_eq!(buf.superpacket(), None, "a read in vain lends nothing");
        });
    }
}

#[test]
fn a_superpacket_of_udp_is_read_whole() {
    in_namespace(|| {
        let device = up(&Options::named("stun0"));
        if !device.offload().uso {
            println!("skipped: this kernel has no USO");
            return;
        }
        let socket = receiver();
        let segment: libc::c_int = 1000;
        // SAFETY: the option is an integer, whose address and size are given.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_UDP,
                libc::UDP_SEGMENT,
                (&raw const segment).cast(),
                size_of_val(&segment) as _,
            )
        };
        assert_eq!(result, 0);
        let payload: Vec<u8> = (0..10_300u32).map(|n| (n / 7) as u8).collect();
        socket.send_to(&payload, (THERE, 9)).unwrap();
        let (vnet, packet) = read_udp(&device.queues()[0], 9);
        assert_eq!((vnet.gso, vnet.gso_size, vnet.csum_start), (Gso::UdpL4, 1000, 20));
        assert_eq!(packet[28..], payload);
    });
}

#[test]
fn a_run_is_written_with_one_call_and_cut_by_the_kernel() {
    in_namespace(|| {
        let device = up(&Options::named("stun0"));
        let queue = &device.queues()[0];
        let socket = receiver();
        let local = (HERE, socket.local_addr().unwrap().port());
        let payloads: Vec<Vec<u8>> =
            (0..20).map(|n| vec![n; if n == 19 { 77 } else { 800 }]).collect();

        // headers of the whole, and a partial checksum: the pseudo header's sum
        let mut header = udp_packet((THERE, 9), local, &payloads.concat());
        let udp_len = header.len() as u32 - 20;
        header.truncate(28);
        let pseudo = !checksum(&header[12..20], 17 + udp_len);
        header[26..28].copy_from_slice(&pseudo.to_be_bytes());
        let vnet = VnetHdr {
            flags: NEEDS_CSUM,
            gso: Gso::UdpL4,
            hdr_len: 28,
            gso_size: 800,
            csum_start: 20,
            csum_offset: 6,
            ..VnetHdr::PLAIN
        };
        let written = queue.write(&vnet, &header, payloads.iter().map(Vec::as_slice));
        if device.offload().uso {
            written.unwrap();
            for payload in &payloads {
                let mut bytes = [0; 2000];
                let len = socket.recv(&mut bytes).unwrap();
                assert_eq!(&bytes[..len], payload);
            }
        }

        // what the kernel cannot make sense of is refused and named so
        let broken = VnetHdr { csum_start: 60_000, ..vnet };
        let refused = queue.write(&broken, &header, payloads.iter().map(Vec::as_slice));
        assert_eq!(refused, Err(Fault::Refused));
        let slices = vec![&[0u8][..]; stadium_tun::MAX_SLICES + 1];
        assert_eq!(queue.write(&vnet, &header, slices.into_iter()), Err(Fault::Refused));
    });
}

#[test]
fn a_superpacket_is_refused_without_offload() {
    in_namespace(|| {
        let device = up(&Options { offload: false, ..Options::named("stun0") });
        let vnet = VnetHdr { flags: NEEDS_CSUM, csum_start: 20, csum_offset: 6, ..VnetHdr::PLAIN };
        let packet = udp_packet((THERE, 9), (HERE, 9), b"x");
        let queue = &device.queues()[0];
        assert_eq!(queue.write(&vnet, &packet, [].into_iter()), Err(Fault::Refused));
    });
}

#[test]
fn a_name_that_exists_is_refused_and_left_alone() {
    in_namespace(|| {
        // one that multi-queue would join
        let first = up(&Options { queues: 2, ..Options::named("stun0") });
        for name in ["stun0", "lo"] {
            let error = Device::create(&Options::named(name)).unwrap_err();
            assert!(matches!(error, CreateError::NameExists { .. }), "{error:?}");
            assert!(error.to_string().contains(name));
        }
        let socket = receiver();
        socket.send_to(b"still here", (THERE, 9)).unwrap();
        // one flow goes to one of both queues, and none to a third
        let mut batch = ReadBatch::new(8);
        let mut found = false;
        for queue in first.queues() {
            batch.fill(queue).unwrap();
            found |= batch.superpackets().any(|s| s.packet.ends_with(b"still here"));
        }
        assert!(found);
        drop(first);
        Device::create(&Options::named("stun0")).unwrap();
    });
}

#[test]
fn every_queue_carries_its_flows() {
    in_namespace(|| {
        let device = up(&Options { queues: 4, ..Options::named("stun0") });
        assert_eq!(device.queues().len(), 4);
        let socket = receiver();
        for port in 1000..1200 {
            socket.send_to(b"flow", (THERE, port)).unwrap();
        }
        let mut batch = ReadBatch::new(16);
        let counts: Vec<usize> = device
            .queues()
            .iter()
            .map(|queue| {
                let mut count = 0;
                while batch.fill(queue).unwrap() > 0 {
                    count += batch.superpackets().filter(|s| s.packet.ends_with(b"flow")).count();
                }
                assert!(!batch.is_full());
                count
            })
            .collect();
        assert_eq!(counts.iter().sum::<usize>(), 200);
        assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
        // and every queue takes packets
        let local = (HERE, socket.local_addr().unwrap().port());
        for queue in device.queues() {
            queue.write_packet(&udp_packet((THERE, 9), local, b"in")).unwrap();
            assert_eq!(socket.recv(&mut [0; 10]).unwrap(), 2);
        }
    });
}

#[test]
fn deletion_and_being_down_are_told_apart() {
    in_namespace(|| {
        let device = Device::create(&Options::named("stun0")).unwrap();
        set_address("stun0", HERE).unwrap();
        device.set_down().unwrap();
        let queue = &device.queues()[0];
        let packet = udp_packet((THERE, 9), (HERE, 9), b"x");
        assert_eq!(queue.write_packet(&packet), Err(Fault::Down));
        device.set_up().unwrap();
        queue.write_packet(&packet).unwrap();

        ip("link delete stun0");
        assert_eq!(queue.write_packet(&packet), Err(Fault::Gone));
        let mut buf = SuperpacketBuf::new();
        assert_eq!(queue.read(&mut buf), Err(Fault::Gone));
        // polling wakes up, so that a worker that sleeps notices
        assert!(wait_readable(queue));
        assert!(device.name().is_err());
    });
}

#[test]
fn settings_are_as_asked() {
    in_namespace(|| {
        let options =
            Options { mtu: Some(1420), tx_queue_len: Some(900), ..Options::named("stun=+.-_9") };
        let device = Device::create(&options).unwrap();
        assert_eq!(device.mtu().unwrap(), 1420);
        device.set_mtu(1280).unwrap();
        assert_eq!(device.mtu().unwrap(), 1280);
        assert_eq!(device.name().unwrap(), options.name);
        assert!(device.is_here().unwrap());
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let index = rustix::net::netdevice::name_to_index(&socket, &options.name).unwrap();
        assert_eq!(index, device.ifindex());
    });
}

#[test]
fn an_interface_that_was_moved_and_renamed_keeps_working() {
    in_namespace(|| {
        let device = Device::create(&Options::named("stun0")).unwrap();
        let (tell, told) = mpsc::channel();
        let (moved, go_on) = mpsc::channel();
        let inside = std::thread::spawn(move || {
            assert!(support::enter_new_namespace());
            tell.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
            go_on.recv().unwrap();
            ip("link set stun0 name inner0");
            ip("address add 10.201.7.1/24 dev inner0");
            ip("link set inner0 up");
            let socket = receiver();
            socket.send_to(b"from inside", (THERE, 9)).unwrap();
            tell.send(
                std::num::NonZero::new(i32::from(socket.local_addr().unwrap().port())).unwrap(),
            )
            .unwrap();
            let mut bytes = [0; 100];
            let len = socket.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..len], b"from outside");
        });
        ip(&format!("link set stun0 netns {}", told.recv().unwrap()));
        assert!(!device.is_here().unwrap());
        assert!(device.set_up().unwrap_err().to_string().contains("moved"));
        assert!(device.namespace().is_ok());
        moved.send(()).unwrap();
        let port = told.recv().unwrap().get() as u16;
        let queue = &device.queues()[0];
        assert_eq!(&read_udp(queue, 9).1[28..], b"from inside");
        assert_eq!(device.name().unwrap(), "inner0");
        queue.write_packet(&udp_packet((THERE, 9), (HERE, port), b"from outside")).unwrap();
        inside.join().unwrap();
    });
}

#[test]
fn missing_privilege_is_told_with_its_remedy() {
    in_namespace(|| {
        let nobody = rustix::process::Uid::from_raw(65_534);
        // this thread alone gives up its privileges
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        let error = Device::create(&Options::named("stun0")).unwrap_err();
        assert!(
            matches!(error, CreateError::NodeDenied(_) | CreateError::CreateDenied(_)),
            "{error:?}"
        );
        assert!(error.to_string().contains("root"), "{error}");
    });
}
