//! From the TUN to the network: read a superpacket, route it once, cut it straight into the
//! arena, seal each segment there, send the runs.

mod early;
#[cfg(feature = "lab")]
mod lab;
mod noise;
mod pipeline;
mod too_big;

use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use stadium_proto::peer::PeerCell;
use stadium_proto::time::Instant;
use stadium_tun::{Fault, Queue, SuperpacketBuf};
use stadium_udp::{Failure, FailureKind};
use tokio::sync::mpsc::Sender;

use crate::clock::Clock;
use crate::notice::{Notice, SendFailure};
pub(crate) use early::EarlyPackets;
pub(crate) use pipeline::{Pipeline, Pushed};
use too_big::TooBig;

/// The most superpackets of one wake-up before the worker looks whether it shall end.
const MAX_SUPERPACKETS: usize = 64;
/// A batch is sent when it holds this many bytes, so that queues stay short.
const FLUSH_BYTES: usize = 128 * 1024;
/// How long a worker sleeps at most where the device only says that it is down.
const DOWN_PAUSE: Duration = Duration::from_millis(100);
/// The least time between two notices of failed sending.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// One outbound worker.
#[derive(Debug)]
pub(crate) struct Worker {
    queue: Arc<Queue>,
    pipeline: Pipeline,
    notices: Sender<Notice>,
    clock: Clock,
    last_failure: Option<Instant>,
    too_big: TooBig,
    /// Becomes readable when control has changed something about noise.
    wake: Arc<OwnedFd>,
}

impl Worker {
    pub(crate) fn new(
        queue: Arc<Queue>,
        pipeline: Pipeline,
        notices: Sender<Notice>,
        clock: Clock,
        wake: Arc<OwnedFd>,
    ) -> Self {
        let too_big = TooBig::default();
        Self { queue, pipeline, notices, clock, last_failure: None, too_big, wake }
    }

    /// Runs until `stop` is readable or the device is gone.
    pub(crate) fn run(mut self, stop: &OwnedFd) {
        let mut buffer = SuperpacketBuf::new();
        loop {
            match self.batch(&mut buffer) {
                Ok(true) => {
                    let [stopped, woken] = are_readable([stop, &*self.wake]);
                    if stopped {
                        return;
                    }
                    if woken {
                        self.attend();
                    }
                }
                Ok(false) => {
                    let queue = Arc::clone(&self.queue);
                    let wake = Arc::clone(&self.wake);
                    let mut fds = [
                        PollFd::new(stop, PollFlags::IN),
                        PollFd::from_borrowed_fd(std::os::fd::AsFd::as_fd(&*queue), PollFlags::IN),
                        PollFd::new(&*wake, PollFlags::IN),
                    ];
                    // an interrupted wait is a spurious wake-up
                    let _ = poll(&mut fds, self.until_tick().map(timespec).as_ref());
                    if !fds[0].revents().is_empty() {
                        return;
                    }
                    if !fds[2].revents().is_empty() {
                        self.attend();
                    }
                }
                Err(Fault::Gone) => {
                    let gone = "the interface was deleted".to_owned();
                    // control may be ending itself, or has heard of it from another worker
                    let _ = self.notices.try_send(Notice::DeviceGone(gone));
                    return;
                }
                Err(_) => {
                    // reading fails while the interface is down; look again now and then
                    let mut fds = [PollFd::new(stop, PollFlags::IN)];
                    let pause = self.until_tick().map_or(DOWN_PAUSE, |tick| tick.min(DOWN_PAUSE));
                    let _ = poll(&mut fds, Some(&timespec(pause)));
                    if !fds[0].revents().is_empty() {
                        return;
                    }
                }
            }
        }
    }

    /// Returns how long the worker may sleep until the next tick of a noisy peer, if there is one.
    fn until_tick(&self) -> Option<Duration> {
        let next = self.pipeline.next_tick()?;
        Some(next.saturating_since(self.clock.instant()))
    }

    /// Looks what has changed about noise.
    fn attend(&mut self) {
        let mut count = [0; 8];
        // the counter is only there to wake
        let _ = rustix::io::read(&*self.wake, &mut count);
        self.pipeline.attend(self.clock.instant());
    }

    /// Sends what noisy peers have waiting for this moment.
    #[cold]
    fn tick(&mut self, now: Instant) {
        let mut failed = None;
        self.pipeline.tick(now, |failure| failed = Some(*failure));
        if let Some(failure) = failed {
            self.tell(now, &failure);
        }
    }

    /// Handles what waits, up to a bound; returns whether more may wait.
    fn batch(&mut self, buffer: &mut SuperpacketBuf) -> Result<bool, Fault> {
        let now = self.clock.instant();
        if self.pipeline.next_tick().is_some_and(|next| next <= now) {
            self.tick(now);
        }
        let mut result = Ok(true);
        for _ in 0..MAX_SUPERPACKETS {
            let superpacket = match self.queue.read(buffer) {
                Ok(Some(superpacket)) => superpacket,
                Ok(None) => {
                    result = Ok(false);
                    break;
                }
                Err(fault) => {
                    result = Err(fault);
                    break;
                }
            };
            let notices = &self.notices;
            let wanted = |cell: &PeerCell| want(notices, cell);
            match self.pipeline.push(now, superpacket, wanted) {
                Pushed::Done => {}
                Pushed::Full => {
                    self.flush(now);
                    // what does not fit into an empty arena was counted as too large
                    let notices = &self.notices;
                    let wanted = |cell: &PeerCell| want(notices, cell);
                    self.pipeline.push_rest(now, superpacket, wanted);
                }
                Pushed::TooBig(mtu) => self.too_big.tell(now, &self.queue, superpacket, mtu),
            }
            if self.pipeline.bytes() >= FLUSH_BYTES {
                self.flush(now);
            }
        }
        self.flush(now);
        result
    }

    fn flush(&mut self, now: Instant) {
        let mut failed = None;
        self.pipeline.flush(|failure| failed = Some(*failure));
        if let Some(failure) = failed {
            self.tell(now, &failure);
        }
    }

    /// Tells control that sending failed, at most about once a second.
    fn tell(&mut self, now: Instant, failure: &Failure) {
        let recently = self.last_failure.is_some_and(|at| now.saturating_since(at) < FAILURE_PAUSE);
        let kind = match failure.kind {
            Some(FailureKind::Unreachable) => SendFailure::Unreachable,
            Some(FailureKind::Full | FailureKind::TooLarge) | None => return,
            Some(_) => SendFailure::Other,
        };
        if recently {
            return;
        }
        self.last_failure = Some(now);
        if let Some(peer) = self.pipeline.peer_at(failure.path.remote) {
            let _ = self.notices.try_send(Notice::SendFailed { peer, failure: kind });
        }
    }
}

/// Wakes control for the first packet that waits for a session.
fn want(notices: &Sender<Notice>, cell: &PeerCell) {
    // a permit first: the flag that the cell sets is not to be lost with a full queue
    if let Ok(permit) = notices.try_reserve()
        && cell.want_session()
    {
        permit.send(Notice::Wanted(cell.id()));
    }
}

fn timespec(duration: Duration) -> rustix::time::Timespec {
    rustix::time::Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// Tells which of two descriptors are readable now.
fn are_readable(fds: [&OwnedFd; 2]) -> [bool; 2] {
    let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::IN));
    let _ = poll(&mut fds, Some(&timespec(Duration::ZERO)));
    fds.map(|fd| !fd.revents().is_empty())
}
