//! From the network to the TUN: receive a batch, open each datagram in place, join what belongs
//! together, write each run with one call.

mod counts;
mod late;
mod pipeline;
mod profiles;
mod sink;

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use stadium_proto::shared::Shared;
use stadium_tun::Queue;
use stadium_udp::{RxBatch, Socket};
use tokio::sync::mpsc::Sender;

use crate::clock::Clock;
use crate::notice::Notice;
use crate::workers::SocketSet;
pub(crate) use late::Late;
use pipeline::Pipeline;
use sink::QueueSink;

/// Messages of one batch, 64 KiB of address space each.
const MESSAGES: usize = 8;
/// Batches of one socket before the others have their turn.
const MAX_BATCHES: usize = 8;

/// One inbound worker.
#[derive(Debug)]
pub(crate) struct Worker {
    sockets: Vec<Arc<Socket>>,
    pipeline: Pipeline,
    sink: QueueSink,
    notices: Sender<Notice>,
    clock: Clock,
}

impl Worker {
    pub(crate) fn new(
        queue: Arc<Queue>,
        sockets: &SocketSet,
        shared: Arc<Shared>,
        notices: Sender<Notice>,
        clock: Clock,
    ) -> Self {
        let offload = queue.offload();
        Self {
            sockets: sockets.receivers().cloned().collect(),
            pipeline: Pipeline::new(shared, notices.clone(), offload),
            sink: QueueSink::new(queue),
            notices,
            clock,
        }
    }

    /// Runs until `stop` is readable or the device is gone.
    pub(crate) fn run(mut self, stop: &OwnedFd) {
        let sockets = std::mem::take(&mut self.sockets);
        let mut batch = RxBatch::new(MESSAGES);
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(sockets.len() + 1);
        fds.push(PollFd::new(stop, PollFlags::IN));
        fds.extend(sockets.iter().map(|s| PollFd::from_borrowed_fd(s.as_fd(), PollFlags::IN)));
        loop {
            // an interrupted wait is a spurious wake-up: nothing is marked, nothing is read
            if poll(&mut fds, None).is_err() {
                continue;
            }
            if !fds[0].revents().is_empty() {
                return;
            }
            for (socket, fd) in sockets.iter().zip(&fds[1..]) {
                if !fd.revents().is_empty() {
                    self.receive(socket, &mut batch);
                }
            }
            if self.sink.is_gone() {
                let gone = "the interface was deleted".to_owned();
                // control may be ending itself, or has heard of it from another worker
                let _ = self.notices.try_send(Notice::DeviceGone(gone));
                return;
            }
        }
    }

    /// Handles what a socket holds, up to a bound.
    fn receive(&mut self, socket: &Socket, batch: &mut RxBatch) {
        for _ in 0..MAX_BATCHES {
            // an error of a receiving socket is that of an earlier send: told there
            let Ok(received) = batch.recv(socket) else { return };
            if received == 0 {
                return;
            }
            let now = self.clock.instant();
            let more = batch.is_full();
            let (messages, slab) = batch.split();
            self.pipeline.handle(now, messages, slab, &mut self.sink);
            if let Some(merge) = self.sink.take_degraded() {
                self.pipeline.set_merge(merge);
            }
            if !more || self.sink.is_gone() {
                return;
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! What tests of both directions together need.

    pub(crate) use super::pipeline::Pipeline as Inbound;
    pub(crate) use super::sink::Sink;
}
