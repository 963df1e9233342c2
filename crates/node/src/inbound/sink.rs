//! Writing to the TUN, and what to do when the kernel does not take a run.

use std::sync::Arc;

use stadium_packet::IpView;
use stadium_packet::checksum::{Checksum, fill_partial};
use stadium_packet::coalesce::{Merge, Run};
use stadium_packet::segment::Segments;
use stadium_packet::vnet::Gso;
use stadium_proto::drop::DropReason;
use stadium_tun::{Fault, Queue};

/// Takes opened packets, joined into runs.
pub(crate) trait Sink {
    /// Writes a run; why it was dropped, if it was, and how many packets of it.
    fn write(&mut self, run: &Run<'_>) -> Result<(), (DropReason, usize)>;
}

/// Writes to a queue of the TUN device.
#[derive(Debug)]
pub(super) struct QueueSink {
    queue: Arc<Queue>,
    merge: Merge,
    degraded: bool,
    gone: bool,
    /// Room to put a refused run together and to cut it again; allocated when it first happens.
    scratch: Vec<u8>,
}

/// What a queue's offload lets the coalescer join.
pub(super) fn merge_for(offload: stadium_tun::Offload) -> Merge {
    Merge { tcp: offload.tso, udp: offload.uso }
}

impl QueueSink {
    pub(crate) fn new(queue: Arc<Queue>) -> Self {
        let merge = merge_for(queue.offload());
        Self { queue, merge, degraded: false, gone: false, scratch: Vec::new() }
    }

    /// Tells whether the device is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Returns what may still be joined, after the kernel refused a run whose packets it took.
    pub(crate) fn take_degraded(&mut self) -> Option<Merge> {
        std::mem::take(&mut self.degraded).then_some(self.merge)
    }

    /// Notes a fault and tells how it counts.
    fn fault(&mut self, fault: Fault) -> DropReason {
        match fault {
            Fault::Full => DropReason::QueueFull,
            Fault::Gone => {
                self.gone = true;
                DropReason::NoRoute
            }
            Fault::Refused => DropReason::Malformed,
            _ => DropReason::NoRoute,
        }
    }

    /// Writes the packets of a refused run one by one, with full checksums.
    #[cold]
    fn write_singly(&mut self, run: &Run<'_>) -> Result<(), (DropReason, usize)> {
        let mut whole = std::mem::take(&mut self.scratch);
        whole.clear();
        whole.extend_from_slice(run.header);
        for slice in run.slices() {
            whole.extend_from_slice(slice);
        }
        let result = self.cut_and_write(run, &mut whole);
        self.scratch = whole;
        result
    }

    fn cut_and_write(
        &mut self,
        run: &Run<'_>,
        whole: &mut [u8],
    ) -> Result<(), (DropReason, usize)> {
        if run.vnet.gso == Gso::None {
            if fill_partial(whole).is_err() {
                return Err((DropReason::Malformed, 1));
            }
            return self.queue.write_packet(whole).map_err(|fault| (self.fault(fault), 1));
        }
        let packets = run.packets();
        let Ok(ip) = IpView::parse(whole) else { return Err((DropReason::Malformed, packets)) };
        let Ok(segments) = Segments::new(run.vnet, ip, Checksum::Full) else {
            return Err((DropReason::Malformed, packets));
        };
        let mut packet = vec![0; segments.max_segment_len()];
        let mut dropped = Ok(());
        for index in 0..segments.count() {
            let length = segments.write(index, &mut packet);
            if let Err(fault) = self.queue.write_packet(&packet[..length]) {
                let count = match dropped {
                    Err((_, count)) => count,
                    Ok(()) => 0,
                };
                dropped = Err((self.fault(fault), count + 1));
            }
        }
        if dropped.is_ok() {
            // the packets were good, so the kernel does not take such runs
            match run.vnet.gso {
                Gso::UdpL4 => self.merge.udp = false,
                _ => self.merge.tcp = false,
            }
            self.queue.give_up(run.vnet.gso);
            self.degraded = true;
            tracing::warn!("the TUN device refuses joined packets: writing them one by one");
        }
        dropped
    }
}

impl Sink for QueueSink {
    #[inline]
    fn write(&mut self, run: &Run<'_>) -> Result<(), (DropReason, usize)> {
        match self.queue.write_run(run) {
            Ok(()) => Ok(()),
            Err(Fault::Refused) if run.vnet.gso != Gso::None || run.vnet.needs_checksum() => {
                self.write_singly(run)
            }
            Err(fault) => Err((self.fault(fault), run.packets())),
        }
    }
}
