//! Sending: an arena of bytes and the runs that they form.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::addr::Path;
use crate::caps::{MAX_RUN, MAX_SEGMENTS};
use crate::flush::Entries;

/// Consecutive datagrams of equal length to one destination, only the last shorter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) path: Path,
    pub(crate) tos: u8,
    /// Whether a further datagram may join: not after a shorter one.
    open: bool,
    /// The length of each datagram but the last.
    pub(crate) segment: u16,
    pub(crate) count: u16,
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl Run {
    fn accepts(&self, len: usize, path: &Path, tos: u8) -> bool {
        self.open
            && len <= usize::from(self.segment)
            && len > 0
            && usize::from(self.count) < MAX_SEGMENTS
            && self.len as usize + len <= MAX_RUN
            && self.tos == tos
            && self.path == *path
    }
}

/// Why [`TxBatch::reserve`] has no space to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveError {
    /// The arena or the list of runs is full: flush the batch and try again.
    Full,
    /// No flush helps: the length is beyond the arena, or beyond any datagram.
    TooLong,
}

impl fmt::Display for ReserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the batch is full and must be flushed first",
            Self::TooLong => "no batch of this size can hold that many bytes",
        })
    }
}

impl std::error::Error for ReserveError {}

/// Datagrams to send, in order, written straight into an arena; everything is allocated once.
///
/// `reserve` lends space at the arena's end, the caller writes and seals there, and `commit`
/// makes it a datagram; a [`Reservation`] that is dropped without leaves no trace. Only the
/// newest run is ever extended, so datagrams leave in the order of their commits.
pub struct TxBatch {
    pub(crate) arena: Box<[u8]>,
    tail: usize,
    pub(crate) runs: Vec<Run>,
    max_runs: usize,
    datagrams: usize,
    pub(crate) entries: Entries,
}

impl fmt::Debug for TxBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxBatch")
            .field("arena", &self.arena.len())
            .field("bytes", &self.tail)
            .field("runs", &self.runs)
            .finish_non_exhaustive()
    }
}

impl TxBatch {
    /// The smallest arena: room for the longest datagram.
    pub const MIN_ARENA: usize = 65_536;

    /// Makes a batch of `arena` bytes, at least [`Self::MIN_ARENA`], for up to `runs` runs.
    ///
    /// 256 KiB hold four full runs and fit a second-level cache.
    #[must_use]
    pub fn new(arena: usize, runs: usize) -> Self {
        // offsets are 32 bits
        let arena = arena.clamp(Self::MIN_ARENA, 1 << 30);
        let max_runs = runs.clamp(1, 1024);
        Self {
            arena: vec![0; arena].into_boxed_slice(),
            tail: 0,
            runs: Vec::with_capacity(max_runs),
            max_runs,
            datagrams: 0,
            entries: Entries::new(),
        }
    }

    /// Lends `len` bytes at the end of the arena; they hold whatever was written there last.
    ///
    /// # Errors
    ///
    /// [`ReserveError::Full`] when the batch must be flushed first, [`ReserveError::TooLong`]
    /// when that would not help.
    pub fn reserve(&mut self, len: usize) -> Result<Reservation<'_>, ReserveError> {
        if len > self.arena.len() {
            return Err(ReserveError::TooLong);
        }
        if len > self.arena.len() - self.tail || self.runs.len() >= self.max_runs {
            return Err(ReserveError::Full);
        }
        Ok(Reservation { batch: self, len })
    }

    /// Tells whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Returns the number of datagrams to send.
    #[must_use]
    pub fn datagrams(&self) -> usize {
        self.datagrams
    }

    /// Returns the number of payload bytes to send.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tail
    }

    /// Returns the number of runs to send, each a system call's entry where offload works.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Forgets all datagrams unsent.
    pub fn clear(&mut self) {
        self.runs.clear();
        self.tail = 0;
        self.datagrams = 0;
    }

    fn append(&mut self, len: usize, path: &Path, tos: u8) {
        let start = self.tail;
        self.tail += len;
        self.datagrams += 1;
        if let Some(run) = self.runs.last_mut()
            && run.accepts(len, path, tos)
        {
            run.count += 1;
            // both fit: `accepts` bounds the sum, and `reserve` the length
            run.len += len as u32;
            run.open = len == usize::from(run.segment);
            return;
        }
        self.runs.push(Run {
            path: *path,
            tos,
            open: len > 0 && len <= usize::from(u16::MAX),
            segment: len.min(usize::from(u16::MAX)) as u16,
            count: 1,
            start: start as u32,
            len: len as u32,
        });
    }
}

/// Space at the end of a batch's arena, as a slice of bytes to write into.
///
/// Dropping it without a commit leaves the batch as it was.
#[derive(Debug)]
#[must_use = "space that is not committed is not sent"]
pub struct Reservation<'a> {
    batch: &'a mut TxBatch,
    len: usize,
}

impl Reservation<'_> {
    /// Makes the space one datagram on `path` with the type-of-service byte `tos`.
    pub fn commit(self, path: &Path, tos: u8) {
        let len = self.len;
        self.batch.append(len, path, tos);
    }

    /// Makes the first `len` bytes one datagram and gives the rest back.
    ///
    /// # Panics
    ///
    /// If `len` is more than was reserved: a bug of the caller.
    pub fn commit_len(self, len: usize, path: &Path, tos: u8) {
        assert!(len <= self.len, "a commit is within its reservation");
        self.batch.append(len, path, tos);
    }

    /// Makes the space datagrams of `segment` bytes each, of which the last may be shorter.
    ///
    /// They join runs just as if each were committed by itself. When the list of runs has no
    /// room for as many as the limits of a datagram and of offload demand, nothing is committed.
    ///
    /// # Errors
    ///
    /// [`ReserveError::Full`]: the batch must be flushed first, or has too few runs.
    ///
    /// # Panics
    ///
    /// If `segment` is 0: a bug of the caller.
    pub fn commit_run(self, segment: usize, path: &Path, tos: u8) -> Result<(), ReserveError> {
        assert!(segment > 0, "a run has a segment length");
        let Self { batch, len } = self;
        let per_run = (MAX_RUN / segment).clamp(1, MAX_SEGMENTS);
        // at worst the newest run takes none
        if batch.runs.len() + len.div_ceil(segment).div_ceil(per_run) > batch.max_runs {
            return Err(ReserveError::Full);
        }
        let mut rest = len;
        while rest > 0 {
            let datagram = rest.min(segment);
            batch.append(datagram, path, tos);
            rest -= datagram;
        }
        Ok(())
    }
}

impl Deref for Reservation<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.batch.arena[self.batch.tail..self.batch.tail + self.len]
    }
}

impl DerefMut for Reservation<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.batch.arena[self.batch.tail..self.batch.tail + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        Path::to(([192, 0, 2, 1], port).into())
    }

    fn commit(batch: &mut TxBatch, len: usize, port: u16, tos: u8) {
        batch.reserve(len).unwrap().commit(&path(port), tos);
    }

    fn shape(batch: &TxBatch) -> Vec<(u16, u16, u32, u32)> {
        batch.runs.iter().map(|r| (r.count, r.segment, r.start, r.len)).collect()
    }

    #[test]
    fn equal_lengths_form_a_run_and_a_shorter_one_closes_it() {
        let mut batch = TxBatch::new(0, 16);
        for len in [100, 100, 100, 40, 100, 40, 40] {
            commit(&mut batch, len, 1, 0);
        }
        assert_eq!(shape(&batch), [(4, 100, 0, 340), (2, 100, 340, 140), (1, 40, 480, 40)]);
        assert_eq!((batch.datagrams(), batch.bytes()), (7, 520));
    }

    #[test]
    fn a_longer_datagram_starts_a_run() {
        let mut batch = TxBatch::new(0, 16);
        for len in [50, 51, 51] {
            commit(&mut batch, len, 1, 0);
        }
        assert_eq!(shape(&batch), [(1, 50, 0, 50), (2, 51, 50, 102)]);
    }

    #[test]
    fn destination_source_and_service_separate_runs() {
        let mut batch = TxBatch::new(0, 16);
        commit(&mut batch, 10, 1, 0);
        commit(&mut batch, 10, 2, 0);
        commit(&mut batch, 10, 1, 0);
        commit(&mut batch, 10, 1, 2);
        let local = Some(crate::LocalAddr::new([192, 0, 2, 9].into()));
        batch.reserve(10).unwrap().commit(&Path { local, ..path(1) }, 2);
        assert_eq!(batch.runs(), 5);
    }

    #[test]
    fn a_run_leaves_room_for_headers() {
        let mut batch = TxBatch::new(1 << 20, 16);
        for _ in 0..46 {
            commit(&mut batch, 1_424, 1, 0);
        }
        assert_eq!(batch.runs[0].count, 45, "46 would be 65,546 bytes on Ethernet");
        assert!(batch.runs.iter().all(|run| run.len as usize <= MAX_RUN));
    }

    #[test]
    fn a_dropped_reservation_leaves_no_trace() {
        let mut batch = TxBatch::new(0, 16);
        commit(&mut batch, 10, 1, 0);
        batch.reserve(500).unwrap().fill(1);
        commit(&mut batch, 10, 1, 0);
        assert_eq!(shape(&batch), [(2, 10, 0, 20)]);
    }

    #[test]
    fn runs_stay_within_the_kernels_limits() {
        let mut batch = TxBatch::new(1 << 20, 64);
        for _ in 0..MAX_SEGMENTS + 1 {
            commit(&mut batch, 10, 1, 0);
        }
        assert_eq!(batch.runs[0].count as usize, MAX_SEGMENTS);
        assert_eq!(batch.runs[1].count, 1);
        batch.clear();
        for _ in 0..50 {
            commit(&mut batch, 1452, 1, 0);
        }
        assert_eq!(shape(&batch)[0], (45, 1452, 0, 65_340));
        assert_eq!(shape(&batch)[1].0, 5);
    }

    #[test]
    fn a_run_committed_at_once_equals_one_committed_singly() {
        for (len, segment) in [(300, 100), (310, 100), (99, 100), (80_000, 1452), (7000, 70)] {
            let mut singly = TxBatch::new(1 << 20, 64);
            let mut at_once = TxBatch::new(1 << 20, 64);
            let mut rest = len;
            while rest > 0 {
                let datagram = segment.min(rest);
                commit(&mut singly, datagram, 1, 0);
                rest -= datagram;
            }
            at_once.reserve(len).unwrap().commit_run(segment, &path(1), 0).unwrap();
            assert_eq!(shape(&singly), shape(&at_once));
            assert_eq!(singly.datagrams(), at_once.datagrams());
        }
    }

    #[test]
    fn full_is_not_the_same_as_too_long() {
        let mut batch = TxBatch::new(0, 2);
        assert_eq!(batch.reserve(TxBatch::MIN_ARENA + 1).unwrap_err(), ReserveError::TooLong);
        commit(&mut batch, 1, 1, 0);
        assert_eq!(batch.reserve(TxBatch::MIN_ARENA).unwrap_err(), ReserveError::Full);
        let space = batch.reserve(60_000).unwrap();
        assert_eq!(space.commit_run(100, &path(2), 0), Err(ReserveError::Full));
        assert_eq!(batch.runs(), 1);
        commit(&mut batch, 1, 2, 0);
        assert_eq!(batch.reserve(1).unwrap_err(), ReserveError::Full);
        batch.clear();
        assert!(batch.reserve(TxBatch::MIN_ARENA).is_ok());
    }

    #[test]
    fn empty_datagrams_stand_alone() {
        let mut batch = TxBatch::new(0, 16);
        for len in [10, 0, 0, 10] {
            commit(&mut batch, len, 1, 0);
        }
        assert_eq!(batch.runs(), 4);
    }
}
