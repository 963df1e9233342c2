//! A datagram to an endpoint: what comes back tells who is silent.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::super::facts::{Answer, Probe};
use super::echo;

/// Where traceroute begins, and nothing listens.
const CLOSED_PORT: u16 = 33434;

/// A byte that begins no datagram of the protocol: every node drops it.
const NOTHING: [u8; 1] = [0];

/// Asks the host of `at`, all questions at once.
pub(super) fn probe(at: SocketAddr, mark: Option<u32>, limit: Duration) -> Probe {
    let elsewhere =
        SocketAddr::new(at.ip(), if at.port() == CLOSED_PORT { 9 } else { CLOSED_PORT });
    std::thread::scope(|scope| {
        let port = scope.spawn(move || ask(at, mark, limit));
        let other = scope.spawn(move || ask(elsewhere, mark, limit));
        let echo = echo::answers(at.ip(), 84, limit, mark);
        // a thread that panicked is as good as silence
        let answer = |thread: std::thread::ScopedJoinHandle<'_, Answer>| {
            thread.join().unwrap_or(Answer::Silence)
        };
        Probe { at, port: answer(port), other: answer(other), echo }
    })
}

fn ask(at: SocketAddr, mark: Option<u32>, limit: Duration) -> Answer {
    exchange(at, mark, limit).map_or_else(|error| answer(&error), |()| Answer::Silence)
}

/// Sends the byte twice: the error of the first may come with the second.
fn exchange(at: SocketAddr, mark: Option<u32>, limit: Duration) -> io::Result<()> {
    let any: SocketAddr = if at.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    if let Some(mark) = mark {
        // without the privilege the datagram goes the way of everybody's
        let _ = socket2::SockRef::from(&socket).set_mark(mark);
    }
    socket.connect(at)?;
    socket.set_read_timeout(Some(limit / 2))?;
    for _ in 0..2 {
        socket.send(&NOTHING)?;
        match socket.recv(&mut [0; 64]) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
    Ok(())
}

fn answer(error: &io::Error) -> Answer {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Answer::Refused,
        io::ErrorKind::PermissionDenied => Answer::Forbidden,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Answer::Unreachable,
        _ => Answer::Silence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_port_of_this_machine_refuses_and_an_open_one_is_silent() {
        let limit = Duration::from_millis(200);
        let open = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(ask(open.local_addr().unwrap(), None, limit), Answer::Silence);
        let closed = open.local_addr().unwrap();
        drop(open);
        assert_eq!(ask(closed, None, limit), Answer::Refused);
    }
}
