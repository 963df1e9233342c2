//! The control side: one task that owns the engine and everything that is not a packet.
//!
//! Invariants: only this task calls the engine, so that every fact has one writer; each turn of
//! the loop does a bounded amount of work; whatever brought the interface up is taken down
//! again, newest first, however the loop ends.
//!
//! | module | concept |
//! |---|---|
//! | `start` | from a peer file to a running node, or back to nothing |
//! | `outbox` | what the engine puts out |
//! | `early` | what goes along with a handshake |
//! | `events` | what follows from the engine's events |
//! | `book` | names and endpoints of peers |
//! | `lookup` | endpoint names |
//! | `network` | what happens to the network outside |
//! | `server`, `requests` | the control socket |
//! | `paths` | how large a packet each path carries |
//! | `feed` | events for subscribers |
//! | `scrape` | metrics over HTTP |
//! | `pings` | heartbeats that callers wait for |

mod book;
mod early;
mod events;
mod feed;
mod lookup;
mod network;
mod outbox;
mod paths;
mod pings;
mod requests;
mod scrape;
mod server;
mod start;

use std::path::PathBuf;
use std::time::Duration;

use stadium_config::PeerFile;
use stadium_proto::engine::{Engine, Input, OpenedNotice};
use stadium_proto::time::Instant;
use stadium_tun::Device;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::alarm::Alarm;
use crate::clock::Clock;
use crate::error::RunError;
use crate::inbound::Late;
use crate::notice::{Notice, SendFailure};
use crate::service::ServiceManager;
use crate::signals::{Signal, Signals};
use crate::system::{Applied, HookStage, StateFile, System, SystemError};
use crate::workers::{Drain, Workers};
use book::Book;
use feed::Feed;
use lookup::Lookups;
use network::{Network, Outside};
pub(crate) use outbox::Outbox;
use paths::Paths;
use pings::Pings;
use server::Command;
pub(crate) use start::{Way, prospect, start};

/// How many notices one turn of the loop handles.
const NOTICES_PER_TURN: usize = 64;

/// How many requests of callers wait for the loop.
const COMMANDS: usize = 16;

/// By how much the two clocks drift apart when the machine slept.
const SLEPT: Duration = Duration::from_secs(1);

/// A running node.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) engine: Engine,
    pub(crate) clock: Clock,
    pub(crate) outbox: Outbox,
    drain: Drain,
    late: Late,
    book: Book,
    /// The peer file as it is in force.
    pub(crate) file: PeerFile,
    /// The MTU of the interface as the plan has it.
    pub(crate) mtu: u32,
    pub(crate) worker_count: usize,
    pub(crate) started: Instant,
    pub(crate) device: Device,
    workers: Workers,
    notices: mpsc::Receiver<Notice>,
    listener: Option<UnixListener>,
    socket: PathBuf,
    lookups: Lookups,
    network: Network,
    pings: Pings,
    paths: Paths,
    feed: Feed,
    scraped: Option<TcpListener>,
    /// When the interface goes down again unless somebody confirms it.
    confirm_by: Option<tokio::time::Instant>,
    alarm: Alarm,
    pub(crate) system: System,
    pub(crate) state: StateFile,
    pub(crate) applied: Applied,
}

/// What made the loop turn.
enum Turn {
    Alarm,
    Notices,
    /// Nobody is left to send any.
    NoWorkers,
    Command(Option<Command>),
    Signal(Signal),
    Lookup(lookup::Found),
    Outside(Outside),
    Hook(Result<(), SystemError>),
    /// What paths carry is to be followed up.
    Paths,
    /// A sign of life is due.
    Watchdog,
    /// Nobody has confirmed the interface.
    Unconfirmed,
}

/// Where the node's life stands.
#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// `post_up` hooks run.
    Starting,
    Running,
    /// `pre_down` hooks run.
    Stopping,
}

/// The hooks that run beside the loop.
type HookTask = JoinHandle<Result<(), SystemError>>;

impl Control {
    /// Runs until somebody ends it, and takes everything down; `ready` is called when it is up.
    ///
    /// # Errors
    /// Why the node ended without being asked to.
    pub(crate) async fn run(
        mut self,
        mut signals: Signals,
        ready: impl FnOnce(),
    ) -> Result<(), RunError> {
        let (commands_in, mut commands) = mpsc::channel(COMMANDS);
        let (listener, scraped, feed) =
            (self.listener.take(), self.scraped.take(), self.feed.clone());
        let server = tokio::spawn(async move {
            let scrapers = commands_in.clone();
            let scrape = async {
                match scraped {
                    Some(listener) => scrape::serve(listener, scrapers).await,
                    None => std::future::pending().await,
                }
            };
            let callers = async {
                match listener {
                    Some(listener) => server::serve(listener, commands_in, feed).await,
                    None => std::future::pending().await,
                }
            };
            tokio::join!(scrape, callers);
        });
        let manager = ServiceManager::of_environment();
        let mut watchdog =
            manager.as_ref().and_then(ServiceManager::watchdog).map(tokio::time::interval);
        let mut ready = Some(ready);
        let mut phase = Phase::Starting;
        let mut hooks = Some(self.hooks(HookStage::PostUp));
        let mut failure = None;
        let mut notices = Vec::with_capacity(NOTICES_PER_TURN);
        let mut sleep = SleepWatch::new(self.clock);
        loop {
            self.settle();
            self.alarm.set(self.engine.next_timeout().map(|(at, _)| at));
            let turn = tokio::select! {
                () = self.alarm.rings() => Turn::Alarm,
                count = self.notices.recv_many(&mut notices, NOTICES_PER_TURN) => {
                    if count == 0 { Turn::NoWorkers } else { Turn::Notices }
                }
                command = commands.recv() => Turn::Command(command),
                signal = signals.next() => Turn::Signal(signal),
                found = self.lookups.next() => Turn::Lookup(found),
                outside = self.network.next() => Turn::Outside(outside),
                result = finished(&mut hooks) => Turn::Hook(result),
                () = passes(self.paths.due()) => Turn::Paths,
                () = ticks(&mut watchdog) => Turn::Watchdog,
                () = passes(self.confirm_by) => Turn::Unconfirmed,
            };
            if sleep.slept(self.clock) {
                tracing::info!("the machine slept: sessions are renewed");
                self.handle(Input::NetworkChanged);
            }
            let mut stop = false;
            match turn {
                Turn::Alarm => self.handle(Input::Timeout),
                Turn::Notices => {
                    if let Err(error) = self.handle_notices(&mut notices) {
                        failure = Some(error);
                        break;
                    }
                }
                Turn::NoWorkers => {
                    failure = Some(worker_died("every worker"));
                    break;
                }
                Turn::Command(Some(command)) => {
                    stop = self.handle_command(command, phase == Phase::Stopping).await;
                }
                // the server holds a sender as long as this loop runs
                Turn::Command(None) => {}
                Turn::Signal(Signal::Reload) => self.reload_on_signal().await,
                Turn::Signal(Signal::Stop(name)) => {
                    tracing::info!("{name}: {} goes down", self.file.interface.name);
                    if phase == Phase::Stopping {
                        // asked twice: the hooks are not waited for
                        break;
                    }
                    stop = true;
                }
                Turn::Watchdog => {
                    if let Some(manager) = &manager {
                        manager.alive();
                    }
                }
                Turn::Unconfirmed => {
                    self.confirm_by = None;
                    let name = &self.file.interface.name;
                    tracing::warn!("nobody has confirmed {name} in time: it goes down again");
                    failure = Some(RunError::failed(format!(
                        "nobody has run `stadium confirm {name}` in time: everything is as before"
                    )));
                    stop = true;
                }
                Turn::Paths => self.paths_due().await,
                Turn::Lookup(found) => self.handle_lookup(found),
                Turn::Outside(outside) => {
                    if let Err(error) = self.handle_outside(outside).await {
                        failure = Some(error);
                        break;
                    }
                }
                Turn::Hook(result) => match (&phase, result) {
                    (Phase::Starting, Ok(())) => {
                        phase = Phase::Running;
                        self.say_up();
                        if let Some(manager) = &manager {
                            manager.ready(&format!("{} is up", self.file.interface.name));
                        }
                        if let Some(ready) = ready.take() {
                            ready();
                        }
                    }
                    (Phase::Starting, Err(error)) => {
                        failure = Some(error.into());
                        stop = true;
                    }
                    (Phase::Running | Phase::Stopping, _) => break,
                },
            }
            if stop && phase != Phase::Stopping {
                phase = Phase::Stopping;
                self.confirm_by = None;
                if let Some(manager) = &manager {
                    manager.stopping();
                }
                if let Some(running) = hooks.take() {
                    running.abort();
                }
                hooks = Some(self.hooks(HookStage::PreDown));
            }
        }
        if let Some(running) = hooks.take() {
            running.abort();
        }
        server.abort();
        self.shut_down().await;
        failure.map_or(Ok(()), Err)
    }

    /// Has the node go down again after a time, unless somebody confirms it.
    pub(crate) fn confirm_within(&mut self, time: Option<Duration>) {
        self.confirm_by = time.map(|time| tokio::time::Instant::now() + time);
    }

    /// Gives the engine an input now.
    pub(crate) fn handle(&mut self, input: Input<'_>) {
        self.engine.handle(self.clock.now(), input, &mut self.outbox);
    }

    /// Handles a turn's notices; how many wait behind them tells how loaded the node is.
    fn handle_notices(&mut self, notices: &mut Vec<Notice>) -> Result<(), RunError> {
        let handshakes =
            notices.iter().filter(|notice| matches!(notice, Notice::Handshake { .. })).count();
        if handshakes > 0 {
            self.handle(Input::QueueDepth(self.notices.len() + handshakes));
        }
        for notice in notices.drain(..) {
            match notice {
                Notice::Handshake { remote, local, datagram } => {
                    self.handle(Input::Handshake { remote, local, datagram: &datagram });
                }
                Notice::Opened { index, remote, local, highest, first, control } => {
                    let control = &*control;
                    self.handle(Input::Opened(OpenedNotice {
                        index,
                        remote,
                        local,
                        highest,
                        first,
                        control,
                    }));
                }
                Notice::Early { remote, local, tos, datagram } => {
                    self.open_early(remote, local, tos, datagram);
                }
                Notice::Wanted(peer) => self.handle(Input::Wanted(peer)),
                Notice::SendFailed { peer, failure: SendFailure::Unreachable } => {
                    self.unreachable(peer);
                }
                Notice::SendFailed { peer, failure: SendFailure::Other } => {
                    tracing::debug!(peer = self.book.label(peer), "datagrams cannot be sent");
                }
                Notice::DeviceGone(why) => return Err(self.interface_gone(&why)),
                Notice::WorkerDied(name) => return Err(worker_died(&name)),
            }
            self.settle();
        }
        Ok(())
    }

    /// Says that the interface was deleted by somebody else.
    fn interface_gone(&self, why: &str) -> RunError {
        let name = &self.file.interface.name;
        tracing::error!("the interface {name} is gone ({why}): shutting down");
        RunError::failed(format!(
            "the interface {name} was deleted by somebody else; bring it up again with `stadium \
             up`"
        ))
    }

    fn say_up(&self) {
        let listen: Vec<String> =
            self.outbox.bound.listen.iter().map(ToString::to_string).collect();
        let offload = self.device.offload();
        tracing::info!(
            public_key = %self.engine.public_key(),
            listen = listen.join(", "),
            mtu = self.mtu,
            workers = self.worker_count,
            peers = self.file.peers.len(),
            tun_offload = offload.tso,
            "{} is up",
            self.file.interface.name,
        );
    }

    /// Starts the hooks of a stage beside the loop.
    fn hooks(&self, stage: HookStage) -> HookTask {
        let hooks = self.applied.plan().hooks(stage, self.outbox.bound.port());
        let system = self.system.clone();
        tokio::spawn(async move { system.run_hooks(&hooks).await })
    }

    /// Closes all sessions and takes down everything that was brought up.
    async fn shut_down(mut self) {
        let name = self.file.interface.name.to_string();
        // callers that come now find nobody
        if let Err(error) = std::fs::remove_file(&self.socket) {
            tracing::debug!(%error, "the control socket is gone already");
        }
        self.feed.tell(None, crate::api::What::Stopping);
        self.handle(Input::Shutdown);
        self.settle();
        self.pings.end_all();
        let post_down = self.applied.plan().hooks(HookStage::PostDown, self.outbox.bound.port());
        self.workers.stop();
        let left = self.system.take_down(self.applied, &mut self.state).await;
        for error in &left {
            tracing::warn!("while going down: {error}");
        }
        // the interface goes with its last queue
        drop(self.device);
        drop(self.outbox);
        // of these stages no failure comes back
        let _ = self.system.run_hooks(&post_down).await;
        if left.is_empty() {
            if let Err(error) = self.state.remove() {
                tracing::warn!("while going down: {error}");
            }
            tracing::info!("{name} is down");
        } else {
            // the state file says what stands: whoever may remove it finds it there
            tracing::warn!("{name} is down, and not all is removed: `stadium down` clears it");
        }
    }
}

/// Says that a worker panicked; the message of the panic is on stderr.
fn worker_died(name: &str) -> RunError {
    tracing::error!("{name} ended in a panic: shutting down");
    RunError::failed(format!(
        "{name} ended in a panic, which is a bug; its message stands above: please report it"
    ))
}

/// Waits for the next beat, for ever where there is none.
async fn ticks(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Waits for a moment, for ever where there is none.
async fn passes(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Waits for hooks that run, for ever where none do.
async fn finished(hooks: &mut Option<HookTask>) -> Result<(), SystemError> {
    let Some(task) = hooks else { return std::future::pending().await };
    let result = task.await;
    *hooks = None;
    match result {
        Ok(result) => result,
        // it panicked; its message is in the log
        Err(error) => Err(SystemError::new(
            crate::system::ErrorKind::Hook,
            format!("hooks ended early: {error}"),
        )),
    }
}

/// Notices that the machine slept: one clock went on, the other did not.
struct SleepWatch {
    ahead: Duration,
}

impl SleepWatch {
    fn new(clock: Clock) -> Self {
        Self { ahead: clock.slept() }
    }

    fn slept(&mut self, clock: Clock) -> bool {
        let ahead = clock.slept();
        let slept = ahead > self.ahead + SLEPT;
        self.ahead = ahead;
        slept
    }
}
