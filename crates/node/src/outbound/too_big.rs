//! What a sender hears whose packets the other side does not take.
//!
//! The interface's MTU is this side's own; what a session takes is the least of both sides'
//! (`protocol.md` §6). Without a word about it, larger packets would vanish for ever.

use std::time::Duration;

use stadium_packet::IpView;
use stadium_packet::too_big::{NOTICE_MAX, too_big};
use stadium_proto::time::Instant;
use stadium_tun::{Queue, Superpacket};

/// The most notices of one worker within [`PERIOD`]: a sender needs one for each destination.
const NOTICES: u32 = 200;

/// The time that [`NOTICES`] counts for.
const PERIOD: Duration = Duration::from_secs(1);

/// Writes notices to the TUN, a bounded number a second.
#[derive(Debug, Default)]
pub(super) struct TooBig {
    begun: Instant,
    told: u32,
}

impl TooBig {
    /// Tells the sender of a superpacket how long its packets may be.
    #[cold]
    pub(super) fn tell(
        &mut self,
        now: Instant,
        queue: &Queue,
        superpacket: Superpacket<'_>,
        mtu: u32,
    ) {
        if !self.may(now) {
            return;
        }
        let mut notice = [0; NOTICE_MAX];
        let Ok(ip) = IpView::parse(superpacket.packet) else { return };
        let Some(length) = too_big(&ip, mtu, &mut notice) else { return };
        // a notice that finds no room is like one that was lost: the next packet makes another
        let _ = queue.write_packet(&notice[..length]);
    }

    fn may(&mut self, now: Instant) -> bool {
        if now.saturating_since(self.begun) >= PERIOD {
            (self.begun, self.told) = (now, 0);
        }
        self.told += 1;
        self.told <= NOTICES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_bounded_in_each_second() {
        let mut limit = TooBig::default();
        let at = |ms: u64| Instant::ZERO + Duration::from_millis(5_000 + ms);
        let told = (0..1_000).filter(|ms| limit.may(at(ms / 2))).count();
        assert_eq!(told, 200);
        assert!(limit.may(at(1_000)));
    }
}
