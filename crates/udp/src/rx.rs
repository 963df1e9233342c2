//! Receiving: `recvmmsg` into a slab, several datagrams a message with `UDP_GRO`.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};

use crate::addr::{LocalAddr, Name};
use crate::cmsg::Control;
use crate::socket::Socket;

/// Bytes of the slab that a message may fill: the most that IP or the kernel's merging produce.
pub const SLOT: usize = 65_536;

/// The most messages of one `recvmmsg`.
const MAX_MESSAGES: usize = 1024;

/// How often a call is repeated after an error that concerns no message, such as an interruption.
const ATTEMPTS: usize = 8;

/// One received message: where it lies in the slab, and what is known of it.
///
/// The kernel may have merged several datagrams of one flow, all of `stride` bytes but the last,
/// which may be shorter; they have addresses and type of service in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The address and port of the sender.
    pub remote: SocketAddr,
    /// The address that the sender spoke to, if [`crate::Options::local_addr`] asked for it.
    pub local: Option<LocalAddr>,
    /// The type-of-service byte, if [`crate::Options::tos`] asked for it, else 0.
    pub tos: u8,
    /// The length of each datagram but the last, at least 1, at most `len`.
    pub stride: usize,
    /// The offset of the first byte in the slab.
    pub start: usize,
    /// The length of all datagrams together, at least 1.
    pub len: usize,
}

impl Message {
    /// Returns where the message lies in the slab.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.len
    }

    /// Returns where each datagram lies in the slab, in the order of arrival.
    pub fn datagrams(&self) -> impl ExactSizeIterator<Item = Range<usize>> + use<> {
        let (start, len, stride) = (self.start, self.len, self.stride);
        (0..len.div_ceil(stride)).map(move |n| {
            let offset = n * stride;
            start + offset..start + len.min(offset + stride)
        })
    }

    /// Returns the path for an answer: to the sender, from the address that it spoke to.
    #[must_use]
    pub fn path(&self) -> crate::Path {
        crate::Path { remote: self.remote, local: self.local }
    }
}

/// What was received and not handed on, since the batch was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxCounters {
    /// Messages that did not fit, or whose control messages did not.
    pub truncated: u64,
    /// Datagrams without payload, and messages without a usable sender.
    pub empty: u64,
}

/// A slab of message buffers with everything that `recvmmsg` needs, allocated once.
pub struct RxBatch {
    slab: Box<[u8]>,
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    messages: Vec<Message>,
    full: bool,
    counters: RxCounters,
}

// SAFETY: the pointers in `headers` and `vectors` are written at the start of each `recv`, point
// into boxes that the same value owns, and are not followed at any other time.
unsafe impl Send for RxBatch {}
// SAFETY: as above; shared access reads `slab` and `messages` only.
unsafe impl Sync for RxBatch {}

impl std::fmt::Debug for RxBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RxBatch")
            .field("capacity", &self.headers.len())
            .field("messages", &self.messages)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl RxBatch {
    /// Makes room for `messages` messages of [`SLOT`] bytes each (at least 1, at most 1,024).
    #[must_use]
    pub fn new(messages: usize) -> Self {
        let count = messages.clamp(1, MAX_MESSAGES);
        // SAFETY: mmsghdr holds pointers and integers only, for which zero is valid.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self {
            slab: vec![0; count * SLOT].into_boxed_slice(),
            headers: vec![header; count].into_boxed_slice(),
            vectors: vec![vector; count].into_boxed_slice(),
            names: vec![Name::empty(); count].into_boxed_slice(),
            controls: vec![Control::new(); count].into_boxed_slice(),
            messages: Vec::with_capacity(count),
            full: false,
            counters: RxCounters::default(),
        }
    }

    /// Takes what waits in the socket, up to the capacity, and returns the number of messages.
    ///
    /// What the batch held before is gone. 0 means that nothing usable came; [`Self::is_full`]
    /// tells whether more may wait. Never sleeps.
    ///
    /// # Errors
    ///
    /// The kernel's; not `WouldBlock`, which is a batch without messages.
    pub fn recv(&mut self, socket: &Socket) -> io::Result<usize> {
        self.messages.clear();
        self.full = false;
        self.prepare();
        let received = self.fill(socket)?;
        self.full = received == self.headers.len();
        for slot in 0..received {
            self.admit(slot);
        }
        Ok(self.messages.len())
    }

    /// Points the kernel's structures at the buffers and restores the lengths it overwrote.
    fn prepare(&mut self) {
        let parts = self
            .headers
            .iter_mut()
            .zip(&mut self.vectors)
            .zip(self.names.iter_mut().zip(&mut self.controls))
            .zip(self.slab.chunks_exact_mut(SLOT));
        for (((header, vector), (name, control)), slot) in parts {
            vector.iov_base = slot.as_mut_ptr().cast();
            vector.iov_len = SLOT;
            let (control_at, control_len) = control.rx();
            let message = &mut header.msg_hdr;
            message.msg_name = std::ptr::from_mut(name).cast();
            message.msg_namelen = Name::LEN;
            message.msg_iov = vector;
            message.msg_iovlen = 1;
            message.msg_control = control_at;
            message.msg_controllen = control_len as _;
            message.msg_flags = 0;
            header.msg_len = 0;
        }
    }

    /// Calls the kernel, and returns the number of headers that it filled.
    fn fill(&mut self, socket: &Socket) -> io::Result<usize> {
        let mut error = io::Error::from(io::ErrorKind::Interrupted);
        for _ in 0..ATTEMPTS {
            // SAFETY: every header was just pointed at a name, a vector, a slot and a control
            // buffer of its own by `prepare`, all owned by `self`, which is exclusively borrowed;
            // the lengths are those of the buffers.
            let received = unsafe {
                libc::recvmmsg(
                    socket.as_fd().as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    self.headers.len() as libc::c_uint,
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                )
            };
            if let Ok(received) = usize::try_from(received) {
                return Ok(received.min(self.headers.len()));
            }
            error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(0),
                // a checksum error or a reported ICMP error concerns a message that is gone
                Some(
                    libc::EINTR
                    | libc::ECONNREFUSED
                    | libc::EHOSTUNREACH
                    | libc::ENETUNREACH
                    | libc::EMSGSIZE
                    | libc::EPROTO,
                ) => {}
                _ => return Err(error),
            }
        }
        match error.kind() {
            io::ErrorKind::Interrupted => Ok(0),
            _ => Err(error),
        }
    }

    /// Turns a filled header into a message, or counts why not.
    fn admit(&mut self, slot: usize) {
        let header = &self.headers[slot];
        let len = header.msg_len as usize;
        if header.msg_hdr.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 || len > SLOT {
            self.counters.truncated += 1;
            return;
        }
        let remote = self.names[slot].parse(header.msg_hdr.msg_namelen);
        let (Some(remote), 1..) = (remote, len) else {
            self.counters.empty += 1;
            return;
        };
        // its type differs between C libraries
        #[allow(clippy::unnecessary_cast)]
        let about = self.controls[slot].parse(header.msg_hdr.msg_controllen as usize);
        let stride = about.stride.filter(|stride| (1..len).contains(stride)).unwrap_or(len);
        self.messages.push(Message {
            remote,
            local: about.local,
            tos: about.tos,
            stride,
            start: slot * SLOT,
            len,
        });
    }

    /// Tells whether the last [`Self::recv`] filled every buffer, so that more may wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Returns the messages of the last [`Self::recv`].
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Lends messages and slab together: open in place, then use all of them at once.
    pub fn split(&mut self) -> (&[Message], &mut [u8]) {
        (&self.messages, &mut self.slab)
    }

    /// Returns what was received and not handed on.
    #[must_use]
    pub fn counters(&self) -> RxCounters {
        self.counters
    }
}
