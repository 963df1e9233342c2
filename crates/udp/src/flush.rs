//! Flushing a batch: `sendmmsg`, one entry a run, and what to do when the kernel refuses.
//!
//! Invariants:
//!
//! * Errors concern the first entry that was not sent (`sendmmsg` stops there), so each error
//!   either drops that entry, or changes its run in a way that can happen once a run: cutting it
//!   into single datagrams, forgetting its source. Hence the loop ends.
//! * The bytes never change, and a datagram is sent or counted as dropped, never both.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use crate::addr::{Name, Path};
use crate::cmsg::Control;
use crate::socket::Socket;
use crate::tx::{Run, TxBatch};

/// The most entries of one `sendmmsg`: enough for full runs, and for a run sent singly.
const ENTRIES: usize = 64;

/// How often interruptions or waiting may fail to bring progress before the rest is dropped.
const ATTEMPTS: u32 = 64;

/// What to do when the send buffer is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// Drops and counts what does not fit.
    Drop,
    /// Waits this long in all during a flush, then drops and counts.
    Wait(Duration),
}

/// Why datagrams were not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// The send buffer or a queue of the kernel was full.
    Full,
    /// Longer than the path or any packet allows.
    TooLarge,
    /// No route, no such interface, or no socket for the address family.
    Unreachable,
    /// The other side, or a router, said that nobody listens.
    Refused,
    /// A firewall of this host or a missing privilege forbids it.
    Denied,
    /// Anything else, by error number.
    Other(i32),
}

/// Datagrams that were not sent, of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where they should have gone.
    pub path: Path,
    /// How many there were.
    pub datagrams: usize,
    /// The length of each, except that the last may be shorter.
    pub len: usize,
    /// Why they did not go; [`None`] tells that they did, but from another source address, since
    /// this host no longer has the one that the path names: forget it.
    pub kind: Option<FailureKind>,
}

/// Datagrams that were not sent, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// See [`FailureKind::Full`].
    pub full: usize,
    /// See [`FailureKind::TooLarge`].
    pub too_large: usize,
    /// See [`FailureKind::Unreachable`].
    pub unreachable: usize,
    /// See [`FailureKind::Refused`].
    pub refused: usize,
    /// See [`FailureKind::Denied`].
    pub denied: usize,
    /// See [`FailureKind::Other`].
    pub other: usize,
}

impl Drops {
    fn add(&mut self, kind: FailureKind, datagrams: usize) {
        *match kind {
            FailureKind::Full => &mut self.full,
            FailureKind::TooLarge => &mut self.too_large,
            FailureKind::Unreachable => &mut self.unreachable,
            FailureKind::Refused => &mut self.refused,
            FailureKind::Denied => &mut self.denied,
            FailureKind::Other(_) => &mut self.other,
        } += datagrams;
    }

    /// Returns the number of datagrams that were not sent.
    #[must_use]
    pub fn total(&self) -> usize {
        self.full + self.too_large + self.unreachable + self.refused + self.denied + self.other
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "drops are to be counted"]
pub struct Sent {
    /// Datagrams that the kernel took.
    pub datagrams: usize,
    /// Payload bytes that the kernel took.
    pub bytes: usize,
    /// System calls made.
    pub calls: usize,
    /// Datagrams that the kernel did not take.
    pub dropped: Drops,
    /// Datagrams that the kernel took after the source that their path names was given up.
    pub stale_source: usize,
    /// Whether this flush found that offload does not work and gave it up for a socket.
    pub degraded: bool,
}

/// The sockets that a batch goes out of, one a family.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sockets<'a> {
    /// The socket for IPv4 destinations.
    pub v4: Option<&'a Socket>,
    /// The socket for IPv6 destinations.
    pub v6: Option<&'a Socket>,
}

impl<'a> From<&'a Socket> for Sockets<'a> {
    fn from(socket: &'a Socket) -> Self {
        if socket.is_ipv6() {
            Self { v4: None, v6: Some(socket) }
        } else {
            Self { v4: Some(socket), v6: None }
        }
    }
}

impl<'a> Sockets<'a> {
    fn for_path(&self, path: &Path) -> Option<&'a Socket> {
        if path.remote.is_ipv4() { self.v4 } else { self.v6 }
    }
}

/// What `sendmmsg` needs, allocated once; filled and used within one iteration of a flush.
pub(crate) struct Entries {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    about: Box<[About]>,
    len: usize,
}

/// What an entry stands for.
#[derive(Clone, Copy)]
struct About {
    run: usize,
    datagrams: usize,
    bytes: usize,
}

// SAFETY: the pointers are written when entries are filled, followed only by the `sendmmsg` after
// that, within one exclusive borrow of the batch that owns what they point to.
unsafe impl Send for Entries {}
// SAFETY: as above; shared access follows no pointer.
unsafe impl Sync for Entries {}

impl Entries {
    pub(crate) fn new() -> Self {
        // SAFETY: mmsghdr holds pointers and integers only, for which zero is valid.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self {
            headers: vec![header; ENTRIES].into_boxed_slice(),
            vectors: vec![vector; ENTRIES].into_boxed_slice(),
            names: vec![Name::empty(); ENTRIES].into_boxed_slice(),
            controls: vec![Control::new(); ENTRIES].into_boxed_slice(),
            about: vec![About { run: 0, datagrams: 0, bytes: 0 }; ENTRIES].into_boxed_slice(),
            len: 0,
        }
    }

    /// Adds an entry of `datagrams` datagrams of run number `index`, whose payload is `bytes`.
    fn push(&mut self, socket: &Socket, index: usize, run: &Run, datagrams: usize, bytes: &[u8]) {
        let n = self.len;
        let control = &mut self.controls[n];
        control.clear();
        if let Some(source) = socket.source_for(&run.path) {
            control.push_source(&source);
        }
        if run.tos != 0 {
            control.push_tos(run.path.remote.is_ipv6(), run.tos);
        }
        if datagrams > 1 {
            control.push_segment(run.segment);
        }
        let (control_at, control_len) = control.tx();
        self.vectors[n] =
            libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let header = &mut self.headers[n];
        header.msg_len = 0;
        let message = &mut header.msg_hdr;
        message.msg_namelen = self.names[n].set(&run.path.remote);
        message.msg_name = (&raw mut self.names[n]).cast();
        message.msg_iov = &raw mut self.vectors[n];
        message.msg_iovlen = 1;
        message.msg_control = control_at;
        message.msg_controllen = control_len as _;
        message.msg_flags = 0;
        self.about[n] = About { run: index, datagrams, bytes: bytes.len() };
        self.len += 1;
    }
}

/// How entries reach the kernel; tests put a reluctant one in between.
pub(crate) trait Transmit {
    /// Sends `entries`, all filled for `socket`, and returns how many the kernel took.
    fn transmit(&mut self, socket: &Socket, entries: &mut [libc::mmsghdr]) -> io::Result<usize>;
}

/// The kernel itself.
struct Kernel;

impl Transmit for Kernel {
    fn transmit(&mut self, socket: &Socket, entries: &mut [libc::mmsghdr]) -> io::Result<usize> {
        // SAFETY: the entries were filled by `Entries::push` since the batch was last touched, so
        // they point to names, vectors, payload and control messages that are alive, unmoved and
        // as long as they say; the kernel writes only `msg_len` of each.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_fd().as_raw_fd(),
                entries.as_mut_ptr(),
                entries.len() as libc::c_uint,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// The next datagram to send: its run, and its offset there.
#[derive(Clone, Copy, Default)]
struct Cursor {
    run: usize,
    offset: usize,
    trouble: Trouble,
}

/// What went wrong with the run under the cursor so far.
#[derive(Clone, Copy, Default)]
struct Trouble {
    /// The error that made the run be cut into single datagrams.
    cut: Option<i32>,
    /// The path as it was before its source was given up.
    stale: Option<Path>,
    /// Whether that was reported.
    told: bool,
}

impl TxBatch {
    /// Sends everything, and empties the batch whatever happens.
    ///
    /// `sockets` is one socket, or one for each family. When the kernel refuses a run because
    /// offload does not work on its way, the run's bytes are sent singly, and if that succeeds
    /// the socket's capability is cleared for good. When it refuses a source address that this
    /// host has lost, the datagrams are sent without. Any other refusal drops what it concerns.
    ///
    /// # Errors
    ///
    /// Only what makes the socket useless, such as a closed descriptor.
    pub fn flush<'a>(
        &mut self,
        sockets: impl Into<Sockets<'a>>,
        on_full: OnFull,
    ) -> io::Result<Sent> {
        self.flush_with(sockets, on_full, |_| {})
    }

    /// Sends everything as [`Self::flush`] does, and reports what went wrong, run by run.
    ///
    /// # Errors
    ///
    /// As [`Self::flush`].
    pub fn flush_with<'a>(
        &mut self,
        sockets: impl Into<Sockets<'a>>,
        on_full: OnFull,
        report: impl FnMut(&Failure),
    ) -> io::Result<Sent> {
        self.flush_through(&mut Kernel, sockets.into(), on_full, report)
    }

    pub(crate) fn flush_through(
        &mut self,
        transmit: &mut impl Transmit,
        sockets: Sockets<'_>,
        on_full: OnFull,
        report: impl FnMut(&Failure),
    ) -> io::Result<Sent> {
        let mut flush = Flush {
            batch: self,
            sockets,
            on_full,
            deadline: None,
            blocked: [false; 2],
            idle: 0,
            cursor: Cursor::default(),
            sent: Sent::default(),
            report,
        };
        let result = flush.run(transmit);
        let sent = flush.sent;
        self.clear();
        result.map(|()| sent)
    }
}

/// A flush under way.
struct Flush<'a, R> {
    batch: &'a mut TxBatch,
    sockets: Sockets<'a>,
    on_full: OnFull,
    /// When waiting ends; set by the first wait.
    deadline: Option<Instant>,
    /// Whether the send buffer is full and waiting is over, for IPv4 and IPv6.
    blocked: [bool; 2],
    /// How often the kernel was asked in vain since it last took something.
    idle: u32,
    cursor: Cursor,
    sent: Sent,
    report: R,
}

impl<R: FnMut(&Failure)> Flush<'_, R> {
    fn run(&mut self, transmit: &mut impl Transmit) -> io::Result<()> {
        while let Some(run) = self.batch.runs.get(self.cursor.run).copied() {
            let Some(socket) = self.sockets.for_path(&run.path) else {
                self.drop_rest_of_run(FailureKind::Unreachable);
                continue;
            };
            if self.blocked[usize::from(run.path.remote.is_ipv6())] {
                self.drop_rest_of_run(FailureKind::Full);
                continue;
            }
            self.fill(socket);
            let entries = &mut self.batch.entries;
            self.sent.calls += 1;
            match transmit.transmit(socket, &mut entries.headers[..entries.len]) {
                Ok(0) => self.wait(socket, &run),
                Ok(taken) => {
                    for n in 0..taken.min(self.batch.entries.len) {
                        self.took(socket, n);
                    }
                }
                Err(error) => self.refused(socket, &run, error)?,
            }
        }
        Ok(())
    }

    /// Fills entries from the cursor on, up to a change of family.
    fn fill(&mut self, socket: &Socket) {
        let gso = socket.caps().gso();
        let TxBatch { arena, runs, entries, .. } = &mut *self.batch;
        entries.len = 0;
        let mut offset = self.cursor.offset;
        let mut cut = self.cursor.trouble.cut.is_some();
        for (index, run) in runs.iter().enumerate().skip(self.cursor.run) {
            if run.path.remote.is_ipv6() != socket.is_ipv6() {
                break;
            }
            let payload = &arena[run.start as usize..][..run.len as usize];
            loop {
                if entries.len == ENTRIES {
                    return;
                }
                let rest = payload.len() - offset;
                let segment = usize::from(run.segment);
                if gso && !cut || run.count == 1 {
                    let datagrams = rest.div_ceil(segment.max(1)).max(1);
                    // a run of one may be longer than its 16-bit segment length can tell
                    let datagrams = if run.count == 1 { 1 } else { datagrams };
                    entries.push(socket, index, run, datagrams, &payload[offset..]);
                    break;
                }
                let len = rest.min(segment);
                entries.push(socket, index, run, 1, &payload[offset..offset + len]);
                offset += len;
                if offset == payload.len() {
                    break;
                }
            }
            offset = 0;
            cut = false;
        }
    }

    /// Accounts for entry `n`, which the kernel took.
    fn took(&mut self, socket: &Socket, n: usize) {
        let about = self.batch.entries.about[n];
        self.sent.datagrams += about.datagrams;
        self.sent.bytes += about.bytes;
        self.idle = 0;
        let trouble = &mut self.cursor.trouble;
        if let Some(path) = trouble.stale {
            self.sent.stale_source += about.datagrams;
            if !trouble.told {
                trouble.told = true;
                let run = &self.batch.runs[about.run];
                let (datagrams, len) = (about.datagrams, usize::from(run.segment));
                (self.report)(&Failure { path, datagrams, len, kind: None });
            }
        } else if let Some(cut) = trouble.cut {
            // a datagram went out alone and unchanged, so it was the offload that did not work,
            // unless the path only takes what IP may fragment
            if cut != libc::EMSGSIZE && socket.caps().gso() {
                socket.caps().disable_gso();
                self.sent.degraded = true;
            }
        }
        self.advance(about);
    }

    fn advance(&mut self, about: About) {
        self.cursor.offset += about.bytes;
        if self.cursor.offset >= self.batch.runs[about.run].len as usize {
            self.cursor = Cursor { run: about.run + 1, ..Cursor::default() };
        }
    }

    /// Deals with an error, which concerns the first entry, of run `run`.
    fn refused(&mut self, socket: &Socket, run: &Run, error: io::Error) -> io::Result<()> {
        let Some(code) = error.raw_os_error() else { return Err(error) };
        let about = self.batch.entries.about[0];
        match code {
            libc::EAGAIN => self.wait(socket, run),
            libc::EINTR => {
                self.idle += 1;
                if self.idle > ATTEMPTS {
                    self.blocked[usize::from(socket.is_ipv6())] = true;
                }
            }
            libc::EBADF | libc::ENOTSOCK | libc::EFAULT => return Err(error),
            _ if about.datagrams > 1 && offload_may_be_to_blame(code) => {
                self.cursor.trouble.cut = Some(code);
            }
            _ if run.path.local.is_some() && source_may_be_to_blame(code) => {
                self.cursor.trouble.stale = Some(run.path);
                self.batch.runs[about.run].path.local = None;
            }
            // the datagrams of a run have a length, so what is too large for one is for all but,
            // perhaps, the last
            libc::EMSGSIZE if about.datagrams == 1 && run.count > 1 => {
                let segment = usize::from(run.segment);
                let full = run.len as usize / segment * segment;
                let bytes = full.saturating_sub(self.cursor.offset).max(about.bytes);
                let datagrams = bytes.div_ceil(segment);
                self.drop_entry(About { bytes, datagrams, ..about }, FailureKind::TooLarge);
            }
            _ => self.drop_entry(about, kind_of(code)),
        }
        Ok(())
    }

    /// Waits for room in the send buffer, or gives up on the socket for this flush.
    fn wait(&mut self, socket: &Socket, run: &Run) {
        self.idle += 1;
        let OnFull::Wait(limit) = self.on_full else {
            self.blocked[usize::from(run.path.remote.is_ipv6())] = true;
            return;
        };
        let now = Instant::now();
        let deadline = *self.deadline.get_or_insert(now + limit);
        let left = deadline.saturating_duration_since(now);
        let ready = !left.is_zero() && self.idle <= ATTEMPTS;
        if !ready || !socket.wait_writable(left).unwrap_or(false) {
            self.blocked[usize::from(run.path.remote.is_ipv6())] = true;
        }
    }

    /// Drops what is left of the run under the cursor.
    fn drop_rest_of_run(&mut self, kind: FailureKind) {
        let index = self.cursor.run;
        let run = &self.batch.runs[index];
        let bytes = run.len as usize - self.cursor.offset;
        let datagrams = if run.count == 1 { 1 } else { bytes.div_ceil(usize::from(run.segment)) };
        self.drop_entry(About { run: index, datagrams, bytes }, kind);
    }

    fn drop_entry(&mut self, about: About, kind: FailureKind) {
        self.sent.dropped.add(kind, about.datagrams);
        let run = &self.batch.runs[about.run];
        let path = self.cursor.trouble.stale.unwrap_or(run.path);
        let len = if about.datagrams == 1 { about.bytes } else { usize::from(run.segment) };
        (self.report)(&Failure { path, datagrams: about.datagrams, len, kind: Some(kind) });
        self.advance(about);
    }
}

/// Tells whether sending the same bytes singly could help.
fn offload_may_be_to_blame(code: i32) -> bool {
    matches!(code, libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::ENOPROTOOPT | libc::EOPNOTSUPP)
}

/// Tells whether sending from another source address could help.
fn source_may_be_to_blame(code: i32) -> bool {
    matches!(
        code,
        libc::EINVAL
            | libc::EADDRNOTAVAIL
            | libc::ENODEV
            | libc::ENXIO
            | libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::ENETDOWN
    )
}

fn kind_of(code: i32) -> FailureKind {
    match code {
        libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN => FailureKind::Full,
        libc::EMSGSIZE => FailureKind::TooLarge,
        libc::ENETUNREACH
        | libc::EHOSTUNREACH
        | libc::ENETDOWN
        | libc::EHOSTDOWN
        | libc::EADDRNOTAVAIL
        | libc::EAFNOSUPPORT
        | libc::ENODEV
        | libc::ENXIO => FailureKind::Unreachable,
        libc::ECONNREFUSED => FailureKind::Refused,
        libc::EPERM | libc::EACCES => FailureKind::Denied,
        other => FailureKind::Other(other),
    }
}

#[cfg(test)]
mod tests;
