//! A session as its users see it, and what it shares with the driver.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use stadium_proto::frame::StreamHeader;
use stadium_proto::identity::PublicKey;
use stadium_proto::peer::{PeerCell, PeerId};
use tokio::sync::{Notify, oneshot};

use crate::channel::{Channel, Pushed, cost, lock};
use crate::config::Limits;
use crate::endpoint::{Command, Endpoint};
use crate::error::{Closed, SendError, StreamError};
use crate::stream::Stream;

/// A session between a client and a server: messages, in streams or plain.
///
/// Messages are datagrams: whole, authenticated, encrypted, none twice; but they may be lost or
/// overtake each other, as the network has it. Sending waits while a queue is full; received
/// messages that nobody takes are dropped when theirs is.
///
/// A session goes on through rekeys and changes of address. Clones are the same session. A
/// session of a [`Server`](crate::Server) lives until one side closes it or it times out; that of
/// a [`Client`](crate::Client) ends with the client.
#[derive(Clone)]
pub struct Session {
    pub(crate) inner: Arc<SessionInner>,
}

/// What a session has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionStats {
    /// Messages that were sent.
    pub sent: u64,
    /// Messages that were received, dropped ones left out.
    pub received: u64,
    /// Received messages that were dropped, since nobody took those before them.
    pub dropped: u64,
    /// Streams that are open, or wait to be accepted.
    pub streams: usize,
}

impl Session {
    /// Returns the session's number: the server counts from 1 and never uses one twice.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.inner.id
    }

    /// Returns the key that the other side has proved; `None` for an anonymous client.
    #[must_use]
    pub fn peer_key(&self) -> Option<PublicKey> {
        self.inner.key
    }

    /// Returns where the other side is; it may move while the session goes on.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        self.inner.remote()
    }

    /// Tells whether the other side has proved that it receives what is sent to it.
    ///
    /// False only at a server with early data, while a session has nothing else yet: its
    /// messages are authentic and no replay, but answers wait for the handshake, which may fail.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.inner.confirmed.load(SeqCst)
    }

    /// Tells whether this side asked for the session: true at the client.
    #[must_use]
    pub fn is_initiator(&self) -> bool {
        self.inner.initiator
    }

    /// Returns the longest message that can be sent, in bytes.
    #[must_use]
    pub fn max_message_len(&self) -> usize {
        self.inner.max_message.load(Relaxed)
    }

    /// Sends a plain message, waiting while the queue is full.
    ///
    /// It has left this function when it is queued; nothing tells whether it arrives. Dropping
    /// the future before it is ready sends nothing.
    ///
    /// # Errors
    /// [`SendError::TooLong`] and [`SendError::Closed`].
    pub async fn send(&self, message: impl Into<Bytes>) -> Result<(), SendError> {
        self.inner.send(&self.inner.main, message.into()).await
    }

    /// Sends a plain message if there is room in the queue.
    ///
    /// # Errors
    /// [`SendError::Full`], and as [`Self::send`].
    pub fn try_send(&self, message: impl Into<Bytes>) -> Result<(), SendError> {
        self.inner.try_send(&self.inner.main, &message.into())
    }

    /// Receives a plain message. What had come before the session ended can still be taken.
    ///
    /// Dropping the future before it is ready loses nothing.
    ///
    /// # Errors
    /// Why the session has ended.
    pub async fn recv(&self) -> Result<Bytes, Closed> {
        self.inner.recv(&self.inner.main).await
    }

    /// Opens the stream of a number, which is the same on both sides: whatever one sends on it,
    /// the other receives on it. Costs nothing on the wire.
    ///
    /// # Errors
    /// [`StreamError`]: number 0, a number that is open already, too many streams, or the
    /// session has ended.
    pub fn open_stream(&self, id: u32) -> Result<Stream, StreamError> {
        self.inner.open_stream(id)
    }

    /// Waits for a message on a stream that is not open on this side, and opens it.
    ///
    /// # Errors
    /// Why the session has ended.
    pub async fn accept_stream(&self) -> Result<Stream, Closed> {
        loop {
            let came = self.inner.stream_came.notified();
            tokio::pin!(came);
            came.as_mut().enable();
            if let Some(stream) = self.inner.accept_waiting() {
                return Ok(stream);
            }
            if let Some(closed) = self.inner.closed.get() {
                return Err(*closed);
            }
            came.await;
        }
    }

    /// Asks the other side for a sign of life and returns how long it took.
    ///
    /// # Errors
    /// Why the session has ended; [`Closed::TimedOut`] if no answer came within 10 s, though the
    /// session may go on.
    pub async fn ping(&self) -> Result<Duration, Closed> {
        let (reply, answer) = oneshot::channel();
        self.inner.endpoint.command(Command::Ping { session: Arc::clone(&self.inner), reply });
        match answer.await {
            Ok(Some(rtt)) => Ok(rtt),
            Ok(None) => Err(Closed::TimedOut),
            Err(_) => Err(self.inner.closed.get().copied().unwrap_or(Closed::Shutdown)),
        }
    }

    /// Sends what is queued, tells the other side that the session is over, and ends it.
    ///
    /// Returns once that has left this host.
    pub async fn close(&self) {
        let (done, left) = oneshot::channel();
        self.inner.closing.store(true, SeqCst);
        let session = Arc::clone(&self.inner);
        self.inner.endpoint.command(Command::Close { session, done: Some(done) });
        // the driver drops the sender if the session is over already
        let _ = left.await;
    }

    /// Waits until the session has ended and returns why.
    pub async fn closed(&self) -> Closed {
        loop {
            let ended = self.inner.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if let Some(closed) = self.inner.closed.get() {
                return *closed;
            }
            ended.await;
        }
    }

    /// Returns why the session has ended, if it has.
    #[must_use]
    pub fn close_reason(&self) -> Option<Closed> {
        self.inner.closed.get().copied()
    }

    /// Returns what the session has carried.
    #[must_use]
    pub fn stats(&self) -> SessionStats {
        self.inner.stats()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.inner.id)
            .field("peer_key", &self.inner.key)
            .field("closed", &self.inner.closed.get())
            .finish_non_exhaustive()
    }
}

/// What the users of a session share with the driver.
#[derive(Debug)]
pub(crate) struct SessionInner {
    pub(crate) id: u64,
    pub(crate) slot: PeerId,
    pub(crate) key: Option<PublicKey>,
    pub(crate) initiator: bool,
    pub(crate) cell: Arc<PeerCell>,
    pub(crate) limits: Limits,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) max_message: AtomicUsize,
    pub(crate) confirmed: AtomicBool,
    /// Where early data came from, as long as nothing else is known.
    pub(crate) early_addr: OnceLock<SocketAddr>,
    /// Stream 0: the plain messages.
    pub(crate) main: Arc<Channel>,
    streams: Mutex<Streams>,
    stream_came: Notify,
    /// Streams with something to send, in the order of their turns.
    pub(crate) schedule: Mutex<VecDeque<Arc<Channel>>>,
    /// Whether the session is in the endpoint's schedule, or waits for keys.
    pub(crate) scheduled: AtomicBool,
    /// What the messages that were received and not taken cost.
    buffered: AtomicUsize,
    /// Whether the session is in the server's queue of received messages.
    pub(crate) in_mail: AtomicBool,
    /// This side has begun to close.
    pub(crate) closing: AtomicBool,
    closed: OnceLock<Closed>,
    ended: Notify,
    pub(crate) sent: AtomicU64,
    received: AtomicU64,
}

#[derive(Debug, Default)]
struct Streams {
    open: HashMap<u32, Entry>,
    /// Numbers that the other side has used first, in order; some may be open by now.
    waiting: VecDeque<u32>,
    /// Messages of streams beyond the limit.
    dropped: u64,
}

#[derive(Debug)]
struct Entry {
    channel: Arc<Channel>,
    /// Whether there is a [`Stream`] for it.
    claimed: bool,
}

impl SessionInner {
    pub(crate) fn new(
        id: u64,
        initiator: bool,
        key: Option<PublicKey>,
        cell: Arc<PeerCell>,
        limits: Limits,
        endpoint: Arc<Endpoint>,
    ) -> Self {
        Self {
            id,
            slot: cell.id(),
            key,
            initiator,
            cell,
            limits,
            endpoint,
            max_message: AtomicUsize::new(0),
            confirmed: AtomicBool::new(false),
            early_addr: OnceLock::new(),
            main: Arc::new(Channel::new(0)),
            streams: Mutex::default(),
            stream_came: Notify::new(),
            schedule: Mutex::default(),
            scheduled: AtomicBool::new(false),
            buffered: AtomicUsize::new(0),
            in_mail: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            closed: OnceLock::new(),
            ended: Notify::new(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        }
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        let endpoint = self.cell.endpoint().map(|endpoint| endpoint.remote);
        // a session has one of the two: an endpoint is only ever replaced by another
        let addr = endpoint.or_else(|| self.early_addr.get().copied());
        addr.unwrap_or_else(|| ([0, 0, 0, 0], 0).into())
    }

    /// Takes over the payload limit of the keys that are in use.
    pub(crate) fn set_payload_limit(&self, limit: usize) {
        self.max_message.store(limit.saturating_sub(StreamHeader::LEN), Relaxed);
    }

    pub(crate) fn close_reason(&self) -> Option<Closed> {
        self.closed.get().copied()
    }

    /// Ends the session for its users.
    pub(crate) fn finish(&self, why: Closed) {
        if self.closed.set(why).is_err() {
            return;
        }
        lock(&self.schedule).clear();
        self.main.clear_outgoing();
        self.main.wake_all();
        {
            let streams = lock(&self.streams);
            for entry in streams.open.values() {
                entry.channel.clear_outgoing();
                entry.channel.wake_all();
            }
        }
        self.stream_came.notify_waiters();
        self.ended.notify_waiters();
    }

    pub(crate) fn try_send(
        self: &Arc<Self>,
        channel: &Arc<Channel>,
        message: &Bytes,
    ) -> Result<(), SendError> {
        if let Some(closed) = self.closed.get() {
            return Err(SendError::Closed(*closed));
        }
        if self.closing.load(Relaxed) {
            return Err(SendError::Closed(Closed::Locally));
        }
        let max = self.max_message.load(Relaxed);
        if message.len() > max {
            return Err(SendError::TooLong { len: message.len(), max });
        }
        match channel.push_outgoing(message, self.limits.send_queue) {
            Pushed::Full => Err(SendError::Full),
            Pushed::Queued => Ok(()),
            Pushed::Schedule => {
                lock(&self.schedule).push_back(Arc::clone(channel));
                if !self.scheduled.swap(true, SeqCst) {
                    self.endpoint.schedule(Arc::clone(self));
                }
                Ok(())
            }
        }
    }

    pub(crate) async fn send(
        self: &Arc<Self>,
        channel: &Arc<Channel>,
        message: Bytes,
    ) -> Result<(), SendError> {
        loop {
            match self.try_send(channel, &message) {
                Err(SendError::Full) => {}
                result => return result,
            }
            let room = channel.writable.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            match self.try_send(channel, &message) {
                Err(SendError::Full) => room.await,
                result => return result,
            }
        }
    }

    pub(crate) fn try_recv(&self, channel: &Channel) -> Option<Bytes> {
        let message = channel.pop_incoming()?;
        self.buffered.fetch_sub(cost(message.len()), Relaxed);
        Some(message)
    }

    pub(crate) async fn recv(&self, channel: &Channel) -> Result<Bytes, Closed> {
        loop {
            if let Some(message) = self.try_recv(channel) {
                return Ok(message);
            }
            let came = channel.readable.notified();
            tokio::pin!(came);
            came.as_mut().enable();
            if let Some(message) = self.try_recv(channel) {
                return Ok(message);
            }
            if let Some(closed) = self.closed.get() {
                return Err(*closed);
            }
            came.await;
        }
    }

    /// Takes a received message in, or drops it where there is no room.
    pub(crate) fn deliver(self: &Arc<Self>, stream: u32, message: &[u8]) {
        if stream == 0 {
            if self.keep(&self.main, message) {
                self.endpoint.mail(self);
            }
            return;
        }
        let mut streams = lock(&self.streams);
        let room = streams.open.len() < self.limits.streams;
        if let Some(entry) = streams.open.get(&stream) {
            let channel = Arc::clone(&entry.channel);
            drop(streams);
            self.keep(&channel, message);
        } else if room {
            let channel = Arc::new(Channel::new(stream));
            let entry = Entry { channel: Arc::clone(&channel), claimed: false };
            streams.open.insert(stream, entry);
            if streams.waiting.len() >= self.limits.streams {
                // numbers that were opened otherwise and dropped since
                let Streams { open, waiting, .. } = &mut *streams;
                waiting.retain(|id| open.get(id).is_some_and(|entry| !entry.claimed));
            }
            streams.waiting.push_back(stream);
            drop(streams);
            self.keep(&channel, message);
            self.stream_came.notify_one();
        } else {
            streams.dropped += 1;
        }
    }

    fn keep(&self, channel: &Channel, message: &[u8]) -> bool {
        let buffered = self.buffered.load(Relaxed);
        let cost = cost(message.len());
        if buffered + cost > self.limits.receive_bytes {
            channel.count_dropped();
            return false;
        }
        // before the push, as the message may be taken at once
        self.buffered.fetch_add(cost, Relaxed);
        let kept = channel.push_incoming(message, self.limits.receive_queue);
        if kept {
            self.received.fetch_add(1, Relaxed);
        } else {
            self.buffered.fetch_sub(cost, Relaxed);
        }
        kept
    }

    fn open_stream(self: &Arc<Self>, id: u32) -> Result<Stream, StreamError> {
        if let Some(closed) = self.closed.get() {
            return Err(StreamError::Closed(*closed));
        }
        if id == 0 {
            return Err(StreamError::Reserved);
        }
        let mut streams = lock(&self.streams);
        let full = streams.open.len() >= self.limits.streams;
        let channel = match streams.open.get_mut(&id) {
            Some(entry) if entry.claimed => return Err(StreamError::InUse(id)),
            Some(entry) => {
                entry.claimed = true;
                Arc::clone(&entry.channel)
            }
            None if full => return Err(StreamError::TooMany(self.limits.streams)),
            None => {
                let channel = Arc::new(Channel::new(id));
                let entry = Entry { channel: Arc::clone(&channel), claimed: true };
                streams.open.insert(id, entry);
                channel
            }
        };
        Ok(Stream::new(Arc::clone(self), channel))
    }

    /// Opens the next stream that the other side has used first.
    fn accept_waiting(self: &Arc<Self>) -> Option<Stream> {
        let mut streams = lock(&self.streams);
        while let Some(id) = streams.waiting.pop_front() {
            let more = !streams.waiting.is_empty();
            if let Some(entry) = streams.open.get_mut(&id)
                && !entry.claimed
            {
                entry.claimed = true;
                let channel = Arc::clone(&entry.channel);
                drop(streams);
                if more {
                    // another task may wait too
                    self.stream_came.notify_one();
                }
                return Some(Stream::new(Arc::clone(self), channel));
            }
        }
        None
    }

    /// Forgets a stream; what is queued to be sent still goes.
    pub(crate) fn drop_stream(&self, channel: &Channel) {
        lock(&self.streams).open.remove(&channel.id);
        let bytes = channel.abandon();
        self.buffered.fetch_sub(bytes, Relaxed);
    }

    fn stats(&self) -> SessionStats {
        let streams = lock(&self.streams);
        let of_streams: u64 = streams.open.values().map(|entry| entry.channel.dropped()).sum();
        SessionStats {
            sent: self.sent.load(Relaxed),
            received: self.received.load(Relaxed),
            dropped: self.main.dropped() + of_streams + streams.dropped,
            streams: streams.open.len(),
        }
    }
}
