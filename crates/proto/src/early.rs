//! Early data: DATA that goes along with a REQUEST, to a ticket (`protocol.md` §6).
//!
//! Invariants: at most [`FRAMES`] frames are sealed under a key; each REQUEST makes a key of its
//! own, so a repeated frame never meets a nonce again.

use crate::{
    drop::DropReason,
    handshake::EarlySecret,
    session::{OVERHEAD, TxSession},
    time::Instant,
};
use core::time::Duration;

/// The most frames under a key.
pub const FRAMES: u64 = 16;
/// How long a key of early data is used.
pub const KEY_LIFE: Duration = Duration::from_secs(10);
/// The longest life of a ticket.
pub const TICKET_LIFE: Duration = Duration::from_secs(3_600);

/// Seals the early data that follows one REQUEST.
#[derive(Debug)]
pub struct EarlyTx {
    tx: TxSession,
}

impl EarlyTx {
    /// Makes the sender of early data to `ticket` after the REQUEST whose transcript hash after
    /// C1 is `h`.
    #[must_use]
    pub fn new(ticket: u32, secret: &EarlySecret, h: &[u8; 32], now: Instant) -> Self {
        let limit = usize::from(secret.payload_limit());
        let until = now.saturating_add(KEY_LIFE);
        Self { tx: TxSession::early(ticket, secret.seal_key(h), limit, until) }
    }

    /// Returns the largest frame and filler, in bytes.
    #[must_use]
    pub fn payload_limit(&self) -> usize {
        self.tx.payload_limit()
    }

    /// Seals the next datagram in place: header, frame and filler, room for the tag, as
    /// [`TxSession::seal`] has it.
    ///
    /// # Errors
    /// [`DropReason::QueueFull`] after [`FRAMES`] frames, [`DropReason::NoSession`] after
    /// [`KEY_LIFE`], [`DropReason::TooLarge`], and [`DropReason::Malformed`] for a datagram
    /// without room for header and tag. The frame is to wait for the session then.
    pub fn seal_next(&self, now: Instant, datagram: &mut [u8]) -> Result<(), DropReason> {
        let length = datagram.len().checked_sub(OVERHEAD).ok_or(DropReason::Malformed)?;
        if length > self.tx.payload_limit() {
            return Err(DropReason::TooLarge);
        }
        if !self.tx.is_usable(now) {
            return Err(DropReason::NoSession);
        }
        if self.tx.frames() >= FRAMES {
            return Err(DropReason::QueueFull);
        }
        let counter = self.tx.reserve(0, 1).map_err(|_| DropReason::QueueFull)?;
        self.tx.seal(counter, 0, datagram);
        Ok(())
    }
}
