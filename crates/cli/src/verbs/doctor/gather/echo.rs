//! ICMP echo: whether a host answers, and how large a packet may be on the way.

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// How often a ping is repeated.
const TRIES: u16 = 3;

/// The ICMP header.
const HEADER: usize = 8;

/// Tells whether `target` answers a ping of `length` bytes, IP header included; `None`: no ping
/// can be sent from here.
pub(super) fn answers(
    target: IpAddr,
    length: u32,
    limit: Duration,
    mark: Option<u32>,
) -> Option<bool> {
    let (domain, protocol, header) = match target {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 20),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 40),
    };
    // the unprivileged kind is refused by most settings of net.ipv4.ping_group_range
    let socket = Socket::new(domain, Type::RAW, Some(protocol))
        .or_else(|_| Socket::new(domain, Type::DGRAM, Some(protocol)))
        .ok()?;
    if let Some(mark) = mark {
        // without the privilege the ping goes the way of everybody's
        let _ = socket.set_mark(mark);
    }
    socket.connect(&SocketAddr::new(target, 0).into()).ok()?;
    let payload = (length as usize).saturating_sub(header + HEADER);
    let id = u16::try_from(std::process::id() & 0xffff).unwrap_or(1);
    for sequence in 1..=TRIES {
        // a length of its own tells the answers of several pings apart
        if socket.send(&request(target, id, sequence, payload)).is_err() {
            continue;
        }
        let deadline = Instant::now() + limit / u32::from(TRIES);
        if waits_for(&socket, target, payload, deadline) {
            return Some(true);
        }
    }
    Some(false)
}

/// Waits for an echo reply with that much payload.
fn waits_for(mut socket: &Socket, target: IpAddr, payload: usize, deadline: Instant) -> bool {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
            return false;
        }
        match socket.read(&mut buffer) {
            Ok(read) if is_reply(target, &buffer[..read], payload) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

/// Makes an echo request.
fn request(target: IpAddr, id: u16, sequence: u16, payload: usize) -> Vec<u8> {
    let kind = if target.is_ipv4() { 8 } else { 128 };
    let mut packet = vec![0; HEADER + payload];
    packet[0] = kind;
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    if target.is_ipv4() {
        // the kernel fills in that of ICMPv6, whose sum covers addresses
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// Tells an echo reply, with or without the IPv4 header that raw sockets get.
fn is_reply(target: IpAddr, packet: &[u8], payload: usize) -> bool {
    let body = match (target, packet.first()) {
        (IpAddr::V4(_), Some(first)) if first >> 4 == 4 => {
            packet.get(usize::from(first & 15) * 4..).unwrap_or_default()
        }
        _ => packet,
    };
    let kind = if target.is_ipv4() { 0 } else { 129 };
    body.len() == HEADER + payload && body.first() == Some(&kind)
}

/// The internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_sum_to_zero_and_replies_are_told() {
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        let mut packet = request(v4, 7, 1, 57);
        assert_eq!(checksum(&packet), 0);
        assert!(!is_reply(v4, &packet, 57), "a request");
        packet[0] = 0;
        assert!(is_reply(v4, &packet, 57));
        assert!(!is_reply(v4, &packet, 58));
        let mut whole = vec![0x45; 20];
        whole.extend(&packet);
        assert!(is_reply(v4, &whole, 57), "with the header of a raw socket");
        assert!(!is_reply(v4, &[], 57));
    }
}
