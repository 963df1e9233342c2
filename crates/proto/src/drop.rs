//! Why a datagram or packet was dropped: values that index counters, never strings.

use core::sync::atomic::{AtomicU64, Ordering};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Names the reason for which a datagram or packet was dropped.
        ///
        /// The names are those of `drops` in `status --json` (`interface.md`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[$doc])* $variant,)*
        }

        impl DropReason {
            /// Lists all reasons in the order of the status output.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the name used in status output and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

reasons! {
    /// Wrong length, reserved bits, or an encoding that the specification refuses.
    Malformed = "malformed",
    /// The `mac` of a REQUEST does not verify: not meant for this node or this network.
    BadMac = "bad_mac",
    /// The source has used up its handshake tokens.
    RateLimited = "rate_limited",
    /// A signature does not verify.
    BadSignature = "bad_signature",
    /// The sender proved its key, but no peer has it.
    UnknownPeer = "unknown_peer",
    /// The timestamp is not larger than the largest that was accepted from that peer.
    StaleTimestamp = "stale_timestamp",
    /// A REQUEST that was seen or answered in the last 120 s.
    RepeatedRequest = "repeated_request",
    /// No session, pending session or handshake has this receiver index.
    UnknownIndex = "unknown_index",
    /// An AEAD tag does not verify.
    BadTag = "bad_tag",
    /// The counter was seen before or is older than the replay window.
    Replay = "replay",
    /// Policy refuses it: the inner source does not belong to the peer, or the handshake's kind
    /// is not allowed.
    NotAllowed = "not_allowed",
    /// No peer's allowed IPs hold the destination.
    NoRoute = "no_route",
    /// The peer has no session and none could be made, or the session is past its time.
    NoSession = "no_session",
    /// Larger than the payload limit or the path takes.
    TooLarge = "too_large",
    /// A bounded queue was full.
    QueueFull = "queue_full",
}

/// The number of drop reasons.
pub const DROP_REASONS: usize = DropReason::ALL.len();

/// Counts drops by reason; shared between threads, relaxed atomics only.
#[derive(Debug, Default)]
pub struct DropCounters([AtomicU64; DROP_REASONS]);

impl DropCounters {
    /// Counts `n` drops for `reason`.
    #[inline]
    pub fn add(&self, reason: DropReason, n: u64) {
        self.0[reason as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// Counts one drop for `reason`.
    #[inline]
    pub fn count(&self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Returns the count of one reason.
    #[must_use]
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }

    /// Returns all counts, in the order of [`DropReason::ALL`].
    #[must_use]
    pub fn all(&self) -> [u64; DROP_REASONS] {
        core::array::from_fn(|i| self.0[i].load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_contract_of_the_status_output() {
        let names: Vec<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(
            names,
            [
                "malformed",
                "bad_mac",
                "rate_limited",
                "bad_signature",
                "unknown_peer",
                "stale_timestamp",
                "repeated_request",
                "unknown_index",
                "bad_tag",
                "replay",
                "not_allowed",
                "no_route",
                "no_session",
                "too_large",
                "queue_full",
            ]
        );
    }

    #[test]
    fn counts_go_to_their_own_reason() {
        let drops = DropCounters::default();
        drops.count(DropReason::Replay);
        drops.add(DropReason::QueueFull, 3);
        assert_eq!(drops.of(DropReason::Replay), 1);
        assert_eq!(drops.of(DropReason::QueueFull), 3);
        assert_eq!(drops.all().iter().sum::<u64>(), 4);
    }
}
