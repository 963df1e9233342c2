//! Drops of one batch, added to the shared counters once.

use stadium_proto::drop::{DROP_REASONS, DropReason};
use stadium_proto::shared::Shared;

/// Counts drops by reason without touching shared memory.
#[derive(Debug, Default)]
pub(super) struct Counts {
    counts: [u32; DROP_REASONS],
    any: bool,
}

impl Counts {
    /// Counts one drop.
    #[inline]
    pub(super) fn add(&mut self, reason: DropReason) {
        self.any = true;
        let count = &mut self.counts[reason as usize];
        *count = count.saturating_add(1);
    }

    /// Adds all counts to the shared ones.
    #[inline]
    pub(super) fn settle(&mut self, shared: &Shared) {
        if !self.any {
            return;
        }
        for (&reason, count) in DropReason::ALL.iter().zip(&mut self.counts) {
            let n = std::mem::take(count);
            if n > 0 {
                shared.drops.add(reason, u64::from(n));
            }
        }
        self.any = false;
    }
}
