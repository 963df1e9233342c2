//! Early data that overtook its REQUEST: control opens it when it has answered that.
//!
//! A worker reads a REQUEST and the early data behind it within microseconds, but the key for the
//! data is made by control, later. So what comes in under the index of a ticket follows its
//! REQUEST through control's queue.

use std::net::SocketAddr;
use std::sync::Arc;

use stadium_proto::drop::DropReason;
use stadium_proto::peer::LocalAddress;
use stadium_proto::session::DataHeader;
use stadium_proto::shared::Shared;
use stadium_proto::time::Instant;
use stadium_tun::Queue;
use stadium_udp::{LocalAddr, Message};
use tokio::sync::mpsc;

use super::pipeline::Pipeline;
use super::sink::QueueSink;
use crate::notice::Notice;

/// How many control frames one datagram may tell of, and more.
const TOLD: usize = 4;

/// Control's own inbound path.
#[derive(Debug)]
pub(crate) struct Late {
    shared: Arc<Shared>,
    pipeline: Pipeline,
    sink: QueueSink,
    /// Where notices of early data go: it confirms nothing and controls nothing, so to nobody.
    told: mpsc::Receiver<Notice>,
}

impl Late {
    /// Makes the path, which writes packets to `queue`.
    pub(crate) fn new(queue: Arc<Queue>, shared: Arc<Shared>) -> Self {
        let (notices, told) = mpsc::channel(TOLD);
        let pipeline = Pipeline::new(Arc::clone(&shared), notices, queue.offload());
        Self { shared, pipeline, sink: QueueSink::new(queue), told }
    }

    /// Opens a datagram and writes the packet in it, if its REQUEST was taken meanwhile.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        local: Option<LocalAddress>,
        tos: u8,
        mut datagram: Box<[u8]>,
    ) {
        let index = DataHeader::parse(&datagram).map(|header| header.index);
        if index.is_ok_and(|index| self.shared.session(index).is_none()) {
            self.shared.drops.count(DropReason::UnknownIndex);
            return;
        }
        let local = local.map(|local| LocalAddr { ip: local.ip, ifindex: local.interface });
        let (stride, len) = (datagram.len(), datagram.len());
        let message = Message { remote, local, tos, stride, start: 0, len };
        self.pipeline.handle(now, &[message], &mut datagram, &mut self.sink);
        if let Some(merge) = self.sink.take_degraded() {
            self.pipeline.set_merge(merge);
        }
        while self.told.try_recv().is_ok() {}
    }
}
