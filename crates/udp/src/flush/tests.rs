//! A reluctant kernel between flush and the real one.

use std::net::SocketAddr;

use super::*;
use crate::{LocalAddr, Options, RxBatch};

/// What the reluctant kernel does with the first entry of a call.
#[derive(Clone, Copy)]
enum Mood {
    /// Fails with this error.
    Fail(i32),
    /// Takes at most so many entries.
    Take(usize),
}

/// Whether a mood concerns an entry, by its control messages and payload.
type Concerns = fn(&libc::mmsghdr) -> bool;

/// A kernel that follows a script, then does as it is told.
struct Reluctant {
    script: Vec<Mood>,
    /// Fails entries for which the function holds, in every call.
    always: Option<(Concerns, i32)>,
    calls: usize,
}

impl Reluctant {
    fn script(script: &[Mood]) -> Self {
        Self { script: script.iter().rev().copied().collect(), always: None, calls: 0 }
    }

    fn always(concerns: Concerns, code: i32) -> Self {
        Self { script: Vec::new(), always: Some((concerns, code)), calls: 0 }
    }
}

impl Transmit for Reluctant {
    fn transmit(&mut self, socket: &Socket, entries: &mut [libc::mmsghdr]) -> io::Result<usize> {
        self.calls += 1;
        let mut limit = entries.len();
        match self.script.pop() {
            Some(Mood::Fail(code)) => return Err(io::Error::from_raw_os_error(code)),
            Some(Mood::Take(count)) => limit = limit.min(count),
            None => {}
        }
        if let Some((concerns, code)) = self.always {
            match entries.iter().position(concerns) {
                Some(0) => return Err(io::Error::from_raw_os_error(code)),
                Some(n) => limit = limit.min(n),
                None => {}
            }
        }
        Kernel.transmit(socket, &mut entries[..limit])
    }
}

fn controls(entry: &libc::mmsghdr) -> Vec<(i32, i32)> {
    let mut found = Vec::new();
    // SAFETY: the entry was filled by `Entries::push`, so its control buffer is a valid list of
    // control messages, or null.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(&raw const entry.msg_hdr);
        while !at.is_null() {
            found.push(((*at).cmsg_level, (*at).cmsg_type));
            at = libc::CMSG_NXTHDR(&raw const entry.msg_hdr, at);
        }
    }
    found
}

fn has_segments(entry: &libc::mmsghdr) -> bool {
    controls(entry).contains(&(libc::SOL_UDP, libc::UDP_SEGMENT))
}

fn has_source(entry: &libc::mmsghdr) -> bool {
    controls(entry).contains(&(libc::IPPROTO_IP, libc::IP_PKTINFO))
}

fn is_long(entry: &libc::mmsghdr) -> bool {
    // SAFETY: the entry was filled by `Entries::push` and points to its one vector.
    let len = unsafe { (*entry.msg_hdr.msg_iov).iov_len };
    len >= 1000
}

fn socket() -> Socket {
    Socket::bind("127.0.0.1:0".parse().unwrap(), &Options::default()).unwrap()
}

fn commit(batch: &mut TxBatch, path: &Path, lengths: &[usize]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (n, &len) in lengths.iter().enumerate() {
        let mut space = batch.reserve(len).unwrap();
        for (i, byte) in space.iter_mut().enumerate() {
            *byte = (i ^ n.wrapping_mul(37)) as u8;
        }
        all.push(space.to_vec());
        space.commit(path, 0);
    }
    all
}

fn arrived(socket: &Socket) -> Vec<Vec<u8>> {
    let mut batch = RxBatch::new(16);
    let mut all = Vec::new();
    // loopback delivers before the sender's call returns
    while batch.recv(socket).unwrap() > 0 {
        let (messages, slab) = batch.split();
        for datagram in messages.iter().flat_map(|message| message.datagrams()) {
            all.push(slab[datagram].to_vec());
        }
    }
    all
}

/// Sends `lengths` through `kernel` and asserts that all arrive, in order.
fn nothing_is_lost(kernel: &mut Reluctant, lengths: &[usize], local: bool) -> (Sent, Socket) {
    let (from, to) = (socket(), socket());
    let mut batch = TxBatch::new(1 << 20, 64);
    let mut path = Path::to(to.local_addr());
    if local {
        path.local = Some(LocalAddr::new([127, 0, 0, 1].into()));
    }
    let meant = commit(&mut batch, &path, lengths);
    let sent = batch
        .flush_through(kernel, (&from).into(), OnFull::Wait(Duration::from_secs(1)), |_| {})
        .unwrap();
    assert!(batch.is_empty());
    assert_eq!(arrived(&to), meant);
    assert_eq!(sent.datagrams, meant.len());
    assert_eq!(sent.bytes, meant.iter().map(Vec::len).sum::<usize>());
    assert_eq!(sent.dropped.total(), 0);
    (sent, from)
}

const MIXED: &[usize] = &[200, 200, 200, 50, 300, 300, 300, 300, 7, 7, 7, 1200, 90, 90];

#[test]
fn runs_that_offload_refuses_go_out_singly_and_nothing_is_lost() {
    for code in [libc::EIO, libc::EINVAL, libc::ENOPROTOOPT, libc::EOPNOTSUPP] {
        let mut kernel = Reluctant::always(has_segments, code);
        let (sent, socket) = nothing_is_lost(&mut kernel, MIXED, false);
        assert!(sent.degraded, "error {code}");
        assert!(!socket.caps().gso());
    }
}

#[test]
fn a_degraded_socket_sends_singly_from_then_on() {
    let (from, to) = (socket(), socket());
    from.caps().disable_gso();
    let mut batch = TxBatch::new(0, 64);
    let meant = commit(&mut batch, &Path::to(to.local_addr()), &[100; 150]);
    let mut kernel = Reluctant::always(has_segments, libc::EIO);
    let sent = batch.flush_through(&mut kernel, (&from).into(), OnFull::Drop, |_| {}).unwrap();
    assert!(!sent.degraded);
    // as many calls as entries demand: no attempt with offload was made
    assert_eq!(kernel.calls, 150usize.div_ceil(ENTRIES));
    assert_eq!(arrived(&to), meant);
}

#[test]
fn a_source_that_was_lost_does_not_cost_the_offload() {
    let mut kernel = Reluctant::always(has_source, libc::EINVAL);
    let (sent, socket) = nothing_is_lost(&mut kernel, &[400; 10], true);
    assert_eq!(sent.stale_source, 10);
    assert!(!sent.degraded);
    assert!(socket.caps().gso());
}

#[test]
fn a_real_source_that_this_host_lacks_is_given_up_and_reported() {
    let (from, to) = (socket(), socket());
    let mut batch = TxBatch::new(0, 64);
    let local = Some(LocalAddr::new([192, 0, 2, 77].into()));
    let path = Path { remote: to.local_addr(), local };
    commit(&mut batch, &path, &[400; 5]);
    let mut reports = Vec::new();
    let sent = batch.flush_with(&from, OnFull::Drop, |failure| reports.push(*failure)).unwrap();
    assert_eq!((sent.datagrams, sent.stale_source, sent.dropped.total()), (5, 5, 0));
    assert_eq!(reports.len(), 1);
    assert_eq!((reports[0].path, reports[0].kind), (path, None));
    assert_eq!(arrived(&to).len(), 5);
    assert!(from.caps().gso());
}

#[test]
fn partial_sends_go_on_where_they_stopped() {
    let script = [Mood::Take(1), Mood::Take(2), Mood::Fail(libc::EINTR), Mood::Take(1)];
    let mut kernel = Reluctant::script(&script);
    let (_, socket) = nothing_is_lost(&mut kernel, MIXED, false);
    assert!(socket.caps().gso());
    let mut kernel = Reluctant::script(&[Mood::Take(1); 12]);
    let _ = nothing_is_lost(&mut kernel, MIXED, false);
}

#[test]
fn a_full_buffer_is_waited_for_or_dropped() {
    let mut kernel = Reluctant::script(&[Mood::Take(1), Mood::Fail(libc::EAGAIN)]);
    let _ = nothing_is_lost(&mut kernel, MIXED, false);

    let (from, to) = (socket(), socket());
    let mut batch = TxBatch::new(0, 64);
    commit(&mut batch, &Path::to(to.local_addr()), MIXED);
    let mut kernel = Reluctant::script(&[Mood::Take(1), Mood::Fail(libc::EAGAIN)]);
    let sent = batch.flush_through(&mut kernel, (&from).into(), OnFull::Drop, |_| {}).unwrap();
    assert_eq!(sent.datagrams, 4);
    assert_eq!(sent.dropped, Drops { full: MIXED.len() - 4, ..Drops::default() });
    assert_eq!(arrived(&to).len(), 4);
}

#[test]
fn waiting_is_bounded() {
    let (from, to) = (socket(), socket());
    let mut batch = TxBatch::new(0, 64);
    commit(&mut batch, &Path::to(to.local_addr()), &[10; 3]);
    let mut kernel = Reluctant::always(|_| true, libc::EAGAIN);
    let start = Instant::now();
    let limit = OnFull::Wait(Duration::from_millis(50));
    let sent = batch.flush_through(&mut kernel, (&from).into(), limit, |_| {}).unwrap();
    assert_eq!(sent.dropped.full, 3);
    assert!(start.elapsed() < Duration::from_secs(2));
    // interruptions end as well
    commit(&mut batch, &Path::to(to.local_addr()), &[10; 3]);
    let mut kernel = Reluctant::always(|_| true, libc::EINTR);
    let sent = batch.flush_through(&mut kernel, (&from).into(), limit, |_| {}).unwrap();
    assert_eq!(sent.dropped.full, 3);
}

#[test]
fn an_entry_that_fails_does_not_stop_the_others() {
    let (from, to) = (socket(), socket());
    for (code, kind) in [
        (libc::EPERM, FailureKind::Denied),
        (libc::ECONNREFUSED, FailureKind::Refused),
        (libc::EHOSTUNREACH, FailureKind::Unreachable),
        (libc::ENOBUFS, FailureKind::Full),
        (libc::EPIPE, FailureKind::Other(libc::EPIPE)),
    ] {
        let mut batch = TxBatch::new(0, 64);
        let path = Path::to(to.local_addr());
        let meant = commit(&mut batch, &path, &[10, 10, 1000, 1000, 1000, 20]);
        // 10 10 | 1000 1000 1000 20: the long run fails, what is before and after does not
        commit(&mut batch, &path, &[30, 30]);
        let mut kernel = Reluctant::always(is_long, code);
        let mut reports = Vec::new();
        let report = |failure: &Failure| reports.push(*failure);
        let sent = batch.flush_through(&mut kernel, (&from).into(), OnFull::Drop, report).unwrap();
        assert_eq!(sent.datagrams, 4);
        assert_eq!(reports, [Failure { path, datagrams: 4, len: 1000, kind: Some(kind) }]);
        assert_eq!(sent.dropped.total(), 4);
        let arrived = arrived(&to);
        assert_eq!(arrived[..2], meant[..2]);
        assert_eq!(arrived.len(), 4);
    }
    assert!(from.caps().gso());
}

#[test]
fn what_is_too_large_is_dropped_with_its_equals_but_not_the_shorter_last() {
    let (from, to) = (socket(), socket());
    let mut batch = TxBatch::new(0, 64);
    let meant = commit(&mut batch, &Path::to(to.local_addr()), &[1000, 1000, 1000, 1000, 20]);
    let mut kernel = Reluctant::always(is_long, libc::EMSGSIZE);
    let sent = batch.flush_through(&mut kernel, (&from).into(), OnFull::Drop, |_| {}).unwrap();
    assert_eq!(sent.dropped, Drops { too_large: 4, ..Drops::default() });
    assert_eq!(arrived(&to), meant[4..]);
    // run whole, first datagram, last datagram
    assert_eq!(kernel.calls, 3);
    assert!(from.caps().gso(), "the path is to blame, not the offload");
}

#[test]
fn no_socket_for_a_family_is_unreachable() {
    let from = socket();
    let mut batch = TxBatch::new(0, 64);
    commit(&mut batch, &Path::to("[::1]:9".parse::<SocketAddr>().unwrap()), &[10, 10]);
    let sent = batch.flush(&from, OnFull::Drop).unwrap();
    assert_eq!(sent.dropped, Drops { unreachable: 2, ..Drops::default() });
}

#[test]
fn families_mix_in_one_batch() {
    let v6 = |text: &str| Socket::bind(text.parse().unwrap(), &Options::default()).unwrap();
    let (from4, to4, from6, to6) = (socket(), socket(), v6("[::1]:0"), v6("[::1]:0"));
    let mut batch = TxBatch::new(0, 64);
    let mut meant = (Vec::new(), Vec::new());
    for _ in 0..3 {
        meant.0.extend(commit(&mut batch, &Path::to(to4.local_addr()), &[10, 10, 5]));
        meant.1.extend(commit(&mut batch, &Path::to(to6.local_addr()), &[11, 11, 6]));
    }
    let sockets = Sockets { v4: Some(&from4), v6: Some(&from6) };
    let sent = batch.flush(sockets, OnFull::Drop).unwrap();
    assert_eq!((sent.datagrams, sent.dropped.total()), (18, 0));
    assert_eq!((arrived(&to4), arrived(&to6)), meant);
}

#[test]
fn a_dead_descriptor_is_an_error_and_empties_the_batch() {
    let (from, to) = (socket(), socket());
    let mut batch = TxBatch::new(0, 64);
    commit(&mut batch, &Path::to(to.local_addr()), &[10]);
    let mut kernel = Reluctant::script(&[Mood::Fail(libc::EBADF)]);
    assert!(batch.flush_through(&mut kernel, (&from).into(), OnFull::Drop, |_| {}).is_err());
    assert!(batch.is_empty());
}
