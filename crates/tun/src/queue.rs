//! A queue of a TUN device: superpackets in and out.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use stadium_packet::coalesce::{RUN_PACKETS_MAX, Run};
use stadium_packet::vnet::{Gso, VnetError, VnetHdr};
use tun_rs::SyncDevice;

use crate::error::Fault;
use crate::offload::{Offload, Refused};

/// The most slices of one write besides both headers.
pub const MAX_SLICES: usize = 256;
const _: () = assert!(MAX_SLICES >= RUN_PACKETS_MAX && MAX_SLICES + 2 <= 1024);

/// Slices that the usual run does with, to keep the list of a write short.
const USUAL_SLICES: usize = RUN_PACKETS_MAX;

/// The longest packet that the kernel hands over.
const PACKET: usize = 65_536;

/// Where packets start in a buffer: on a 16-byte boundary, with the header right before.
const START: usize = 16;
const _: () = assert!(START >= VnetHdr::LEN);

/// How often an interrupted call is repeated.
const ATTEMPTS: usize = 8;

/// One queue: a non-blocking descriptor that one thread may read while another writes.
#[derive(Debug)]
pub struct Queue {
    device: Inner,
    offload: Offload,
    refused: Arc<Refused>,
}

struct Inner(SyncDevice);

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_fd().fmt(f)
    }
}

impl Queue {
    pub(crate) fn new(device: SyncDevice, offload: Offload, refused: Arc<Refused>) -> Self {
        Self { device: Inner(device), offload, refused }
    }

    pub(crate) fn device(&self) -> &SyncDevice {
        &self.device.0
    }

    /// Returns what the kernel does for this queue, without what was given up.
    #[must_use]
    pub fn offload(&self) -> Offload {
        self.refused.of(self.offload)
    }

    /// Gives up superpackets of a kind for the whole device: the kernel granted them, refused one
    /// ([`Fault::Refused`]), and took the same packets singly.
    pub fn give_up(&self, gso: Gso) {
        self.refused.note(gso);
    }

    /// Reads one superpacket into `buf`, which lends it until it is used again.
    ///
    /// [`None`] means that nothing waits: poll for reading.
    ///
    /// # Errors
    ///
    /// [`Fault`], in particular [`Fault::Gone`] when the interface was deleted.
    pub fn read<'b>(&self, buf: &'b mut SuperpacketBuf) -> Result<Option<Superpacket<'b>>, Fault> {
        buf.len = 0;
        let from = if self.offload.has_header() { START - VnetHdr::LEN } else { START };
        for _ in 0..ATTEMPTS {
            match self.device().recv(&mut buf.bytes[from..]) {
                Ok(read) if from + read > START => {
                    if from == START {
                        buf.bytes[START - VnetHdr::LEN..START].fill(0);
                    }
                    buf.len = from + read - START;
                    return Ok(buf.superpacket());
                }
                // the kernel never does; a packet without bytes is none
                Ok(_) => return Ok(None),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Ok(None),
                    _ => return Err(Fault::of(&error)),
                },
            }
        }
        Ok(None)
    }

    /// Writes one packet or superpacket whose bytes lie in several places, with one call.
    ///
    /// `header` and `slices` follow each other and make up the packet; `vnet` tells how the
    /// kernel shall cut it, and is left out where the device has no offload. Nothing is copied.
    ///
    /// # Errors
    ///
    /// [`Fault`]; the packet is not written. [`Fault::Refused`] also for a packet in more than
    /// [`MAX_SLICES`] slices, and for one to be cut or summed up where the device has no offload:
    /// such a packet would arrive broken.
    pub fn write<'s>(
        &self,
        vnet: &VnetHdr,
        header: &'s [u8],
        slices: impl ExactSizeIterator<Item = &'s [u8]>,
    ) -> Result<(), Fault> {
        if !self.offload.has_header() && (vnet.gso != Gso::None || vnet.needs_checksum()) {
            return Err(Fault::Refused);
        }
        let encoded = vnet.encode();
        let encoded = if self.offload.has_header() { &encoded[..] } else { &[] };
        let ends = [IoSlice::new(encoded), IoSlice::new(header)];
        #[expect(clippy::redundant_closure, reason = "the closure shortens the lifetime")]
        let slices = ends.into_iter().chain(slices.map(|slice| IoSlice::new(slice)));
        if slices.size_hint().0 <= USUAL_SLICES + 2 {
            self.write_list::<{ USUAL_SLICES + 2 }>(slices)
        } else if slices.size_hint().0 <= MAX_SLICES + 2 {
            self.write_list::<{ MAX_SLICES + 2 }>(slices)
        } else {
            Err(Fault::Refused)
        }
    }

    /// Writes what a coalescer made of a batch.
    ///
    /// # Errors
    ///
    /// As for [`Self::write`].
    pub fn write_run(&self, run: &Run<'_>) -> Result<(), Fault> {
        self.write(&run.vnet, run.header, run.slices())
    }

    /// Writes one packet that stands for itself and has its full checksum.
    ///
    /// # Errors
    ///
    /// As for [`Self::write`].
    pub fn write_packet(&self, packet: &[u8]) -> Result<(), Fault> {
        self.write(&VnetHdr::PLAIN, packet, [].into_iter())
    }

    /// Writes at most `N` slices; more would be an iterator that lied about its length.
    fn write_list<'s, const N: usize>(
        &self,
        slices: impl Iterator<Item = IoSlice<'s>>,
    ) -> Result<(), Fault> {
        let mut list = [IoSlice::new(&[]); N];
        let mut len = 0;
        for slice in slices {
            *list.get_mut(len).ok_or(Fault::Refused)? = slice;
            len += 1;
        }
        for _ in 0..ATTEMPTS {
            match self.device().send_vectored(&list[..len]) {
                // a TUN device takes a packet whole or not at all
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::of(&error)),
            }
        }
        Err(Fault::Full)
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device().as_fd()
    }
}

/// A packet or superpacket as it was read, borrowed from its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superpacket<'b> {
    /// The header that the kernel put before it; of zeros where the device has no offload.
    pub header: &'b [u8; VnetHdr::LEN],
    /// The packet, IP header first.
    pub packet: &'b [u8],
}

impl Superpacket<'_> {
    /// Reads how the packet is to be cut, and whether its checksum is partial.
    ///
    /// # Errors
    ///
    /// [`VnetError`] when the kernel says something that Stadium does not know.
    pub fn vnet(&self) -> Result<VnetHdr, VnetError> {
        VnetHdr::decode(self.header)
    }
}

/// Room for one superpacket with its header, allocated once.
pub struct SuperpacketBuf {
    bytes: Box<[u8]>,
    /// The length of the packet that starts at [`START`], 0 for none.
    len: usize,
}

impl std::fmt::Debug for SuperpacketBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SuperpacketBuf").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Default for SuperpacketBuf {
    fn default() -> Self {
        Self::new()
    }
}

impl SuperpacketBuf {
    /// Allocates a buffer for the longest superpacket.
    #[must_use]
    pub fn new() -> Self {
        Self { bytes: vec![0; START + PACKET].into_boxed_slice(), len: 0 }
    }

    /// Lends what was read last, if anything was.
    #[must_use]
    pub fn superpacket(&self) -> Option<Superpacket<'_>> {
        if self.len == 0 {
            return None;
        }
        let (before, packet) = self.bytes.split_at(START);
        let header = before.last_chunk()?;
        Some(Superpacket { header, packet: &packet[..self.len] })
    }
}

/// Several buffers that one wake-up fills.
#[derive(Debug)]
pub struct ReadBatch {
    bufs: Box<[SuperpacketBuf]>,
    filled: usize,
}

impl ReadBatch {
    /// Allocates `count` buffers, at least one.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { bufs: (0..count.max(1)).map(|_| SuperpacketBuf::new()).collect(), filled: 0 }
    }

    /// Reads until nothing waits or every buffer is full, and returns how many were filled.
    ///
    /// What the batch held before is gone.
    ///
    /// # Errors
    ///
    /// [`Fault`] of the read that failed; what was read before it is lent nevertheless.
    pub fn fill(&mut self, queue: &Queue) -> Result<usize, Fault> {
        self.filled = 0;
        for buf in &mut self.bufs {
            if queue.read(buf)?.is_none() {
                break;
            }
            self.filled += 1;
        }
        Ok(self.filled)
    }

    /// Tells whether the last [`Self::fill`] filled every buffer, so that more may wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.filled == self.bufs.len()
    }

    /// Lends what the last [`Self::fill`] read, in the order of arrival.
    pub fn superpackets(&self) -> impl Iterator<Item = Superpacket<'_>> {
        self.bufs[..self.filled].iter().filter_map(SuperpacketBuf::superpacket)
    }
}
