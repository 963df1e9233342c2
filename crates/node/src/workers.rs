//! The data-plane workers: plain threads, run to completion, one outbound and one inbound for
//! each TUN queue.
//!
//! A worker owns everything that it writes but counters and stamps: its queue, its sockets, its
//! slabs, its lane. Between workers nothing is shared per packet.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::event::EventfdFlags;
use rustix::fd::OwnedFd;
use stadium_packet::vnet::VnetHdr;
use stadium_proto::peer::PeerCell;
use stadium_proto::shared::Shared;
use stadium_proto::time::Instant;
use stadium_udp::Sockets;
use tokio::sync::mpsc::Sender;

use crate::clock::Clock;
use crate::inbound;
use crate::notice::Notice;
use crate::outbound::{self, EarlyPackets, Pipeline};

/// Whether packets ask for noise at all: always, but in the build that `scripts/bench --instructions`
/// compares with, to tell what noise costs where it is off.
#[allow(unexpected_cfgs, reason = "no build of the program sets it")]
pub(crate) const NOISE: bool = !cfg!(stadium_without_noise);

/// The sockets of one worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct SocketSet {
    /// Receives and sends IPv4.
    pub(crate) v4: Option<Arc<stadium_udp::Socket>>,
    /// Receives and sends IPv6.
    pub(crate) v6: Option<Arc<stadium_udp::Socket>>,
    /// Only receive: further addresses to listen on.
    pub(crate) more: Vec<Arc<stadium_udp::Socket>>,
}

impl SocketSet {
    /// Lends the sockets that send.
    pub(crate) fn senders(&self) -> Sockets<'_> {
        Sockets { v4: self.v4.as_deref(), v6: self.v6.as_deref() }
    }

    /// Lends the sockets that receive.
    pub(crate) fn receivers(&self) -> impl Iterator<Item = &Arc<stadium_udp::Socket>> {
        self.v4.iter().chain(&self.v6).chain(&self.more)
    }
}

/// Everything that the workers need.
#[derive(Debug)]
pub(crate) struct WorkerSetup {
    /// What the engine publishes.
    pub(crate) shared: Arc<Shared>,
    /// One TUN queue a worker.
    pub(crate) queues: Vec<Arc<stadium_tun::Queue>>,
    /// One set of sockets a worker, as many as queues.
    pub(crate) sockets: Vec<SocketSet>,
    /// Where notices go.
    pub(crate) notices: Sender<Notice>,
    /// The clock.
    pub(crate) clock: Clock,
    /// Whether the DSCP of inner packets is copied to outer ones.
    pub(crate) copy_dscp: bool,
}

/// The running workers.
#[derive(Debug)]
pub(crate) struct Workers {
    /// Becomes readable, and stays so, when the workers shall end.
    stop: Arc<OwnedFd>,
    /// Each wakes an outbound worker, to look what has changed about noise.
    wakes: Vec<Arc<OwnedFd>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts all workers.
    ///
    /// # Errors
    /// When a thread or a descriptor cannot be had.
    pub(crate) fn start(setup: WorkerSetup) -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let stop = Arc::new(rustix::event::eventfd(0, flags)?);
        let mut workers = Self { stop, wakes: Vec::new(), threads: Vec::new() };
        let notices = &setup.notices;
        for (number, (queue, sockets)) in setup.queues.iter().zip(&setup.sockets).enumerate() {
            // lane 0 is control's
            let lane = u8::try_from(number + 1).map_err(|_| io::ErrorKind::InvalidInput)?;
            let pipeline =
                Pipeline::new(Arc::clone(&setup.shared), sockets.clone(), lane, setup.copy_dscp);
            let wake = Arc::new(rustix::event::eventfd(0, flags)?);
            workers.wakes.push(Arc::clone(&wake));
            let worker = outbound::Worker::new(
                Arc::clone(queue),
                pipeline,
                setup.notices.clone(),
                setup.clock,
                wake,
            );
            let name = format!("outbound{number}");
            workers.spawn(name, notices, move |stop| worker.run(stop))?;
            let worker = inbound::Worker::new(
                Arc::clone(queue),
                sockets,
                Arc::clone(&setup.shared),
                setup.notices.clone(),
                setup.clock,
            );
            let name = format!("inbound{number}");
            workers.spawn(name, notices, move |stop| worker.run(stop))?;
        }
        Ok(workers)
    }

    fn spawn(
        &mut self,
        name: String,
        notices: &Sender<Notice>,
        run: impl FnOnce(&OwnedFd) + Send + 'static,
    ) -> io::Result<()> {
        let stop = Arc::clone(&self.stop);
        let obituary = Obituary { name: name.clone(), notices: notices.clone() };
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let _obituary = obituary;
            run(&stop);
        })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Has the outbound workers look for noisy sessions: one has begun, or settings have changed.
    pub(crate) fn wake(&self) {
        for wake in &self.wakes {
            // a full counter wakes as well
            let _ = rustix::io::write(&**wake, &1_u64.to_ne_bytes());
        }
    }

    /// Ends all workers and waits for them.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // the counter of an eventfd takes this much whatever it holds, unless it was stopped before
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker ended in a panic");
            }
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.end();
    }
}

/// Tells control of a worker that panics: half a data path is worse than none.
struct Obituary {
    name: String,
    notices: Sender<Notice>,
}

impl Drop for Obituary {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // a full queue: the worker that goes on will have to do until it ends
            let _ = self.notices.try_send(Notice::WorkerDied(std::mem::take(&mut self.name)));
        }
    }
}

/// Sends what waited for a session, on control's own lane 0.
#[derive(Debug)]
pub(crate) struct Drain {
    pipeline: Pipeline,
}

impl Drain {
    /// Makes control's own little outbound path; it sends DATA from `sockets`.
    pub(crate) fn new(shared: Arc<Shared>, sockets: SocketSet, copy_dscp: bool) -> Self {
        Self { pipeline: Pipeline::new(shared, sockets, 0, copy_dscp) }
    }

    /// Sends all packets that wait for a session with the peer of `cell`, first those of `early`
    /// that did not go ahead.
    ///
    /// What can still not be sent is dropped and counted, so that it cannot go round in circles.
    pub(crate) fn drain(&mut self, cell: &PeerCell, early: &mut EarlyPackets, now: Instant) {
        let plain = VnetHdr::PLAIN.encode();
        while let Some(packet) = early.take_rest() {
            self.pipeline.push_waiting(now, &plain, &packet);
        }
        while let Some(waiting) = cell.waiting.pop() {
            if let Some((header, packet)) = waiting.split_first_chunk() {
                self.pipeline.push_waiting(now, header, packet);
            }
        }
        self.pipeline.flush(|_| {});
    }
}
