//! The driver: one task for each server or client, which owns the socket and the engine.
//!
//! Invariants: only this task calls the engine; each turn of its loop does a bounded amount of
//! work; a session that its users see is in `entries` exactly as long as it has not ended.
//!
//! | module | concept |
//! |---|---|
//! | `outbox` | what the engine puts out, and the socket |
//! | `receive` | datagrams in: to the engine, or opened and delivered |
//! | `transmit` | messages out: turns, sealing, batches |
//! | `life` | the engine's events, and how sessions begin and end |
//! | `commands` | what users ask for |
//! | `early` | early data, in both directions |

mod commands;
mod early;
mod life;
mod outbox;
mod receive;
mod transmit;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stadium_proto::engine::{Engine, Event, Input, Now};
use stadium_proto::shared::Shared;
use stadium_proto::time::Instant;
use stadium_udp::Socket;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use crate::clock;
use crate::config::{Common, Limits};
use crate::endpoint::Endpoint;
use crate::session::SessionInner;
use crate::tickets::TicketStore;
pub(crate) use life::Connecting;
pub(crate) use outbox::send as send_first;
use outbox::{Fd, Outbox};

/// How many times a turn looks for more datagrams.
const RECEIVES_PER_TURN: usize = 4;

/// The task behind a server or a client.
pub(crate) struct Driver {
    engine: Engine,
    shared: Arc<Shared>,
    socket: Arc<AsyncFd<Fd>>,
    endpoint: Arc<Endpoint>,
    /// Sessions by their slot in the engine.
    entries: Vec<Option<Entry>>,
    live: usize,
    /// When sessions are looked at for idleness.
    idle: BTreeSet<(Instant, u32)>,
    idle_timeout: Option<Duration>,
    limits: Limits,
    /// Slots of sessions that this side has begun to close.
    closing: Vec<u32>,
    pings: HashMap<u64, oneshot::Sender<Option<Duration>>>,
    next_token: u64,
    stopping: Option<Stopping>,
    /// Only at a client.
    connecting: Option<Connecting>,
    /// Where tickets go; only at a client.
    tickets: Option<TicketStore>,
    /// By slot, the ids of sessions whose early data may come before they are confirmed.
    early: HashMap<u32, u64>,
    is_client: bool,
    events: VecDeque<Event>,
    /// Messages on their way from a queue into a batch.
    scratch: VecDeque<Bytes>,
    /// The send buffer was full: the socket is to become writable first.
    congested: bool,
}

/// A session as the driver sees it.
struct Entry {
    session: Arc<SessionInner>,
    addr: SocketAddr,
    /// When the session is in `idle`.
    idle_at: Option<Instant>,
    /// It has messages to send and waits for keys.
    parked: bool,
    done: Vec<oneshot::Sender<()>>,
}

/// A shutdown under way.
struct Stopping {
    until: Instant,
    done: Vec<oneshot::Sender<()>>,
}

impl Driver {
    /// Makes a driver for a socket that is bound, and an engine that knows its peers.
    pub(crate) fn new(
        engine: Engine,
        socket: Socket,
        endpoint: Arc<Endpoint>,
        common: &Common,
    ) -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "its successor is unsafe; `Fd` owns its descriptor and never replaces it"
        )]
        let socket = AsyncFd::new(Fd(socket))?;
        Ok(Self {
            shared: Arc::clone(engine.shared()),
            engine,
            socket: Arc::new(socket),
            is_client: endpoint.directory.is_none(),
            endpoint,
            entries: Vec::new(),
            live: 0,
            idle: BTreeSet::new(),
            idle_timeout: common.idle_timeout,
            limits: common.limits,
            closing: Vec::new(),
            pings: HashMap::new(),
            next_token: 0,
            stopping: None,
            connecting: None,
            tickets: None,
            early: HashMap::new(),
            events: VecDeque::new(),
            scratch: VecDeque::new(),
            congested: false,
        })
    }

    /// Runs until everything is over.
    ///
    /// Boxed, so that the task holds it once: a program may have thousands of clients.
    pub(crate) async fn run(mut self: Box<Self>) {
        let socket = Arc::clone(&self.socket);
        let endpoint = Arc::clone(&self.endpoint);
        let alarm = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(alarm);
        let mut armed = None;
        // what happened before there was a driver
        self.settle(clock::now());
        loop {
            let now = clock::now();
            self.run_timers(now);
            self.run_commands(now);
            if !self.congested {
                self.transmit(now);
            }
            self.finish_closing(now);
            if self.is_over(now) {
                break;
            }
            let deadline = self.next_deadline();
            if armed != deadline {
                if let Some(at) = deadline {
                    alarm.as_mut().reset(clock::on_tokio(at));
                }
                armed = deadline;
            }
            tokio::select! {
                ready = socket.readable() => match ready {
                    Ok(mut guard) => match self.receive(RECEIVES_PER_TURN) {
                        Ok(true) => {}
                        Ok(false) => guard.clear_ready(),
                        Err(error) => {
                            tracing::error!(%error, "the socket cannot be read");
                            break;
                        }
                    },
                    Err(error) => {
                        tracing::error!(%error, "the socket cannot be watched");
                        break;
                    }
                },
                ready = socket.writable(), if self.congested => {
                    self.congested = false;
                    if let Ok(mut guard) = ready {
                        // if it is writable still, the next look says so at once
                        guard.clear_ready();
                    }
                }
                () = endpoint.wake.notified() => {}
                () = &mut alarm, if deadline.is_some() => armed = None,
            }
        }
        self.shut_down();
    }

    /// Gives the engine an input; what follows waits in `events`.
    fn feed(&mut self, now: Now, input: Input<'_>) {
        let mut out = Outbox::new(&self.socket.get_ref().0, &mut self.events);
        self.engine.handle(now, input, &mut out);
    }

    /// Gives the engine an input and does what follows from it.
    fn handle(&mut self, now: Now, input: Input<'_>) {
        self.feed(now, input);
        self.settle(now);
    }

    fn entry(&mut self, slot: u32) -> Option<&mut Entry> {
        self.entries.get_mut(slot as usize)?.as_mut()
    }

    /// Does what is due.
    fn run_timers(&mut self, now: Now) {
        if self.engine.next_timeout().is_some_and(|(at, _)| at <= now.instant) {
            self.handle(now, Input::Timeout);
        }
        self.end_idle(now);
        self.check_connecting(now);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let engine = self.engine.next_timeout().map(|(at, _)| at);
        let idle = self.idle.first().map(|(at, _)| *at);
        let connecting = self.connecting.as_ref().map(Connecting::deadline);
        let stopping = self.stopping.as_ref().map(|stopping| stopping.until);
        [engine, idle, connecting, stopping].into_iter().flatten().min()
    }

    /// Tells whether there is nothing left to do.
    fn is_over(&self, now: Now) -> bool {
        if self.is_client && self.live == 0 && self.connecting.is_none() {
            return true;
        }
        let Some(stopping) = &self.stopping else { return false };
        let queued = self.endpoint.has_ready() && !self.congested;
        self.live == 0 || (now.instant >= stopping.until && !queued)
    }
}
