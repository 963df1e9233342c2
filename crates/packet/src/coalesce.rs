//! Joins packets of a flow into runs that the kernel takes as one superpacket.
//!
//! Invariants:
//!
//! - Every packet that is pushed comes out exactly once, and packets of one flow in the order they
//!   were pushed.
//! - A run cut by [`Segments`](crate::segment::Segments), or by the kernel, gives back the packets
//!   that it was made of, byte for byte. One exception: packets whose IPv4 identification is the same
//!   throughout and that must not be fragmented get rising ones (RFC 6864 §4.1 gives the field no
//!   meaning there).
//! - A packet whose checksum is wrong is never joined: it reaches the receiver as wrong as it came.
//! - Nothing is allocated after [`Coalescer::new`], and each push does bounded work.
//!
//! The rules are those of generic receive offload: a packet extends the newest run of its flow, never
//! an older one, or it ends that run.

mod flow;
mod run;

use crate::checksum::{Checksum, PartialChecksum, PartialError};
use crate::ip::IpView;
use flow::{Class, Key, Mergeable};
use run::Open;
pub use run::{RUN_PACKETS_MAX, Run, Span};

/// Most runs that are open at once; with more flows than that, the oldest run is handed out.
const OPEN_MAX: usize = 16;
const _: () = assert!(OPEN_MAX <= 255 && size_of::<Open>() * OPEN_MAX <= 16 * 1024);

/// Names the protocols whose packets may be joined: those that the TUN device can cut again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// TCP over IPv4 and IPv6 (`TUN_F_TSO4`, `TUN_F_TSO6`).
    pub tcp: bool,
    /// UDP over IPv4 and IPv6 (`TUN_F_USO4`, `TUN_F_USO6`).
    pub udp: bool,
}

/// Joins the packets of a batch into runs.
///
/// Packets stay where they were opened, in one slab; the coalescer keeps offsets. Between the first
/// [`push`](Self::push) of a batch and its [`flush`](Self::flush), bytes of packets already pushed
/// must not change; bytes elsewhere in the slab may, so that the next packet can be opened.
///
/// ```
/// use stadium_packet::{Checksum, Coalescer, IpView, Run};
/// use stadium_packet::coalesce::Merge;
///
/// # fn batch(slab: &[u8], packets: &[std::ops::Range<usize>], write: &mut impl FnMut(&Run<'_>)) {
/// let mut coalescer = Coalescer::new(Merge { tcp: true, udp: false }); // once for each worker
/// let mut sink = |run: Run<'_>| write(&run);
/// for range in packets {
///     let Ok(ip) = IpView::parse(&slab[range.clone()]) else { continue };
///     let _dropped = coalescer.push(slab, range.start, ip, Checksum::Full, &mut sink);
/// }
/// coalescer.flush(slab, &mut sink);
/// # }
/// ```
#[derive(Debug)]
pub struct Coalescer {
    merge: Merge,
    /// Slots of `keys` and `open` in use, in the order in which their runs were begun.
    order: [u8; OPEN_MAX],
    len: usize,
    keys: [Key; OPEN_MAX],
    open: Box<[Open; OPEN_MAX]>,
}

impl Coalescer {
    /// Allocates a coalescer; it is used for every batch.
    pub fn new(merge: Merge) -> Self {
        Self {
            merge,
            order: std::array::from_fn(|slot| slot as u8),
            len: 0,
            keys: [Key::default(); OPEN_MAX],
            open: Box::new([const { Open::EMPTY }; OPEN_MAX]),
        }
    }

    /// Changes what may be joined, as when the device turned out not to take it.
    ///
    /// Runs that are open stay as they are: call it between batches.
    pub fn set_merge(&mut self, merge: Merge) {
        self.merge = merge;
    }

    /// Takes the next packet of the batch: the one at `start` of `slab`, as `ip` sees it.
    ///
    /// `checksum` is [`Checksum::Partial`] when the peer vouches for the content (`protocol.md` §6,
    /// header flag bit 0). Runs that are complete, or that this packet must not overtake, go to
    /// `sink` at once.
    ///
    /// # Errors
    ///
    /// [`PartialError`] when the packet may not carry a partial checksum; it is dropped.
    #[inline]
    pub fn push(
        &mut self,
        slab: &[u8],
        start: usize,
        ip: IpView<'_>,
        checksum: Checksum,
        sink: &mut impl FnMut(Run<'_>),
    ) -> Result<(), PartialError> {
        debug_assert!(
            slab.get(start..).is_some_and(|rest| std::ptr::eq(rest.as_ptr(), ip.packet().as_ptr())),
            "the view must lie at `start` of the slab"
        );
        let whole = Span { start: start as u32, len: ip.len() as u32 };
        match Class::of(&ip, self.merge) {
            Class::Mergeable(packet) => {
                match self.find(&packet.key) {
                    None => {}
                    Some(at) => match self.slot(at).extend(slab, whole, &packet, checksum) {
                        Extended::Open => return Ok(()),
                        Extended::Complete => {
                            self.emit(at, slab, sink);
                            return Ok(());
                        }
                        Extended::Refused => self.emit(at, slab, sink),
                        Extended::Corrupt => {
                            self.emit(at, slab, sink);
                            return alone(slab, whole, &ip, checksum, sink);
                        }
                    },
                }
                if packet.ends_run {
                    return alone(slab, whole, &ip, checksum, sink);
                }
                self.begin(slab, whole, &packet, checksum, sink);
                Ok(())
            }
            Class::Alone(key) => {
                match key.map(|key| self.find(&key)) {
                    Some(Some(at)) => self.emit(at, slab, sink),
                    Some(None) => {}
                    None => self.emit_between(&ip, slab, sink),
                }
                alone(slab, whole, &ip, checksum, sink)
            }
        }
    }

    /// Ends the batch: hands out all open runs, in the order in which they were begun.
    #[inline]
    pub fn flush(&mut self, slab: &[u8], sink: &mut impl FnMut(Run<'_>)) {
        for at in 0..self.len {
            self.slot(at).emit(slab, sink);
        }
        self.len = 0;
    }

    /// Finds the open run of a flow, by its place in `order`; the newest runs are the likeliest.
    #[inline]
    fn find(&self, key: &Key) -> Option<usize> {
        let slots = self.order.get(..self.len)?;
        slots.iter().rposition(|&slot| self.keys[usize::from(slot) % OPEN_MAX].is(key))
    }

    #[inline]
    fn slot(&mut self, at: usize) -> &mut Open {
        &mut self.open[usize::from(self.order[at]) % OPEN_MAX]
    }

    /// Hands out the run at place `at` and frees its slot.
    fn emit(&mut self, at: usize, slab: &[u8], sink: &mut impl FnMut(Run<'_>)) {
        self.slot(at).emit(slab, sink);
        self.order[at..self.len].rotate_left(1);
        self.len -= 1;
    }

    /// Hands out all runs with a packet's addresses: a packet without ports may belong to any of
    /// their flows, as a fragment does.
    fn emit_between(&mut self, ip: &IpView<'_>, slab: &[u8], sink: &mut impl FnMut(Run<'_>)) {
        let key = Key::of_addresses(ip);
        let mut at = 0;
        while at < self.len {
            if self.keys[usize::from(self.order[at]) % OPEN_MAX].has_addresses_of(&key) {
                self.emit(at, slab, sink);
            } else {
                at += 1;
            }
        }
    }

    fn begin(
        &mut self,
        slab: &[u8],
        whole: Span,
        packet: &Mergeable<'_>,
        checksum: Checksum,
        sink: &mut impl FnMut(Run<'_>),
    ) {
        if self.len == OPEN_MAX {
            self.emit(0, slab, sink);
        }
        let slot = usize::from(self.order[self.len]) % OPEN_MAX;
        self.len += 1;
        self.keys[slot] = packet.key;
        self.open[slot].begin(whole, packet, checksum);
    }
}

/// Hands out a packet as it came.
fn alone(
    slab: &[u8],
    whole: Span,
    ip: &IpView<'_>,
    checksum: Checksum,
    sink: &mut impl FnMut(Run<'_>),
) -> Result<(), PartialError> {
    let place = match checksum {
        Checksum::Full => None,
        Checksum::Partial => Some(PartialChecksum::locate(ip)?),
    };
    sink(Run::alone(slab, &[whole], place));
    Ok(())
}

/// Says what became of a packet that was offered to the open run of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extended {
    /// It was taken, and the run may grow further.
    Open,
    /// It was taken, and the run is complete.
    Complete,
    /// It does not continue the run.
    Refused,
    /// It would continue the run, but its checksum is wrong.
    Corrupt,
}
