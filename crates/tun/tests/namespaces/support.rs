//! Network namespaces to test in, and what it takes to make interfaces useful there.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::thread::UnshareFlags;

/// Gives the calling thread, made for it, a network namespace of its own; or says why not.
pub(crate) fn enter_new_namespace() -> bool {
    // SAFETY: only this thread's network namespace changes, no descriptor table or file system,
    // which is what other threads could notice.
    match unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) } {
        Ok(()) => true,
        Err(error) => {
            println!("skipped: a network namespace needs root: {error}");
            false
        }
    }
}

/// Runs `test` on a thread with a network namespace of its own, or says why not.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        if enter_new_namespace() {
            test();
        }
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` in the calling thread's namespace.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {told}");
}

/// Gives an interface an address with a prefix of 24 bits.
pub(crate) fn set_address(name: &str, address: Ipv4Addr) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: ifreq consists of bytes, integers and a union of such, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = *from as libc::c_char;
    }
    let requests =
        [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, Ipv4Addr::new(255, 255, 255, 0))];
    for (number, address) in requests {
        let bytes = &mut [0; 14];
        bytes[2..6].copy_from_slice(&address.octets().map(u8::cast_signed));
        request.ifr_ifru.ifru_addr =
            libc::sockaddr { sa_family: libc::AF_INET as _, sa_data: bytes.map(|b| b as _) };
        // SAFETY: the socket is open and `request` is the structure that these requests read.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), number as _, &raw mut request) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Waits up to five seconds for a descriptor to become readable; false is that it did not.
pub(crate) fn wait_readable(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let limit = Timespec::try_from(Duration::from_secs(5)).unwrap();
    rustix::event::poll(&mut fds, Some(&limit)).unwrap() > 0
}

/// The ones' complement sum of RFC 1071.
pub(crate) fn checksum(bytes: &[u8], seed: u32) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let mut sum = words.fold(seed, |sum, word| sum + word);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An IPv4 packet with a UDP datagram and both checksums.
pub(crate) fn udp_packet(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let udp_len = 8 + payload.len() as u16;
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0];
    packet.extend(from.0.octets());
    packet.extend(to.0.octets());
    packet[2..4].copy_from_slice(&(20 + udp_len).to_be_bytes());
    let sum = checksum(&packet, 0);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    for field in [from.1, to.1, udp_len, 0] {
        packet.extend(field.to_be_bytes());
    }
    packet.extend(payload);
    let pseudo = !checksum(&packet[12..20], 0);
    let sum = checksum(&packet[20..], u32::from(pseudo) + 17 + u32::from(udp_len));
    packet[26..28].copy_from_slice(&sum.to_be_bytes());
    packet
}
