//! Fragmentation, in a network namespace whose loopback interface has an MTU of 1,500 bytes.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers are not marked as tests

use std::io;
use std::time::Duration;

use rustix::thread::UnshareFlags;
use stadium_udp::{DontFragment, OnFull, Options, Path, RxBatch, Socket, TxBatch, bind_group};

/// Runs `test` on a thread with a network namespace of its own, or says why not.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        // SAFETY: only this thread's network namespace changes, no descriptor table or file
        // system, which is what other threads could notice.
        match unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) } {
            Ok(()) => {}
            Err(error) => {
                println!("skipped: a network namespace needs root: {error}");
                return;
            }
        }
        set_up_loopback(1500).unwrap();
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn set_up_loopback(mtu: i32) -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: ifreq is plain bytes and integers, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = (*from).cast_signed();
    }
    let call = |number: libc::Ioctl, mut request: libc::ifreq| {
        // SAFETY: the socket is open and `request` is the structure that these requests read.
        let result = unsafe {
            libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&socket), number, &raw mut request)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    request.ifr_ifru.ifru_mtu = mtu;
    call(libc::SIOCSIFMTU as _, request)?;
    request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
    call(libc::SIOCSIFFLAGS as _, request)
}

fn received(socket: &Socket) -> Vec<usize> {
    let mut rx = RxBatch::new(8);
    let mut lengths = Vec::new();
    while socket.wait_readable(Duration::from_millis(100)).unwrap() && rx.recv(socket).unwrap() > 0
    {
        lengths.extend(rx.messages().iter().flat_map(|m| m.datagrams()).map(|range| range.len()));
    }
    lengths
}

#[test]
fn data_is_never_fragmented_and_requests_may_be() {
    in_namespace(|| {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let data = bind_group(addr.parse().unwrap(), 1, &Options::default()).unwrap();
            let off = Options { dont_fragment: DontFragment::Off, ..Options::default() };
            let handshakes = Socket::bind_sender(&data[0], &off).unwrap();
            let there = Socket::bind(addr.parse().unwrap(), &Options::default()).unwrap();
            let path = Path::to(there.local_addr());

            let error = data[0].send_one(&path, 0, &[1; 3000]).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
            handshakes.send_one(&path, 0, &[1; 3000]).unwrap();
            assert_eq!(received(&there), [3000]);

            // the policy can also be changed while the socket lives
            data[0].set_dont_fragment(DontFragment::Off).unwrap();
            data[0].send_one(&path, 0, &[1; 2000]).unwrap();
            assert_eq!(received(&there), [2000]);
            data[0].set_dont_fragment(DontFragment::Do).unwrap();
            data[0].send_one(&path, 0, &[1; 2000]).unwrap_err();
        }
    });
}

#[test]
fn segments_beyond_the_mtu_do_not_cost_the_offload() {
    in_namespace(|| {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let here = Socket::bind(addr.parse().unwrap(), &Options::default()).unwrap();
            let there = Socket::bind(addr.parse().unwrap(), &Options::default()).unwrap();
            let path = Path::to(there.local_addr());
            let mut tx = TxBatch::new(0, 8);
            let mut space = tx.reserve(1600 * 10 + 40).unwrap();
            space.fill(1);
            space.commit_run(1600, &path, 0).unwrap();
            tx.reserve(1000).unwrap().commit(&path, 0);
            let sent = tx.flush(&here, OnFull::Drop).unwrap();
            assert_eq!((sent.dropped.too_large, sent.dropped.total(), sent.datagrams), (10, 10, 2));
            assert!(here.caps().gso());
            assert!(!sent.degraded);
            assert_eq!(received(&there), [40, 1000]);
        }
    });
}
