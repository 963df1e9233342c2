//! What comes in from noisy peers, as `status --noise` shows it.

use std::sync::Arc;

use stadium_proto::frame::Frame;
use stadium_proto::noise::Profile;
use stadium_proto::peer::PeerCell;
use stadium_proto::time::Instant;

/// The profiles that one worker writes, by the peers' slots.
#[derive(Debug, Default)]
pub(super) struct Profiles(Vec<Option<(Arc<PeerCell>, Arc<Profile>)>>);

/// The profile of the peer at hand.
#[derive(Debug)]
pub(super) struct Received(Arc<Profile>);

impl Profiles {
    /// Returns the profile of a peer; its first frame makes it.
    pub(super) fn of(&mut self, cell: &Arc<PeerCell>) -> Received {
        let slot = cell.id().0 as usize;
        if self.0.len() <= slot {
            self.0.resize_with(slot + 1, || None);
        }
        match &mut self.0[slot] {
            Some((known, profile)) if Arc::ptr_eq(known, cell) => Received(Arc::clone(profile)),
            place => {
                let profile = Arc::new(Profile::default());
                cell.add_rx_profile(Arc::clone(&profile));
                *place = Some((Arc::clone(cell), Arc::clone(&profile)));
                Received(profile)
            }
        }
    }
}

impl Received {
    /// Notes an opened frame with its filler.
    #[inline]
    pub(super) fn note(&self, now: Instant, frame: &[u8]) {
        let Ok(kind) = Frame::parse(frame) else { return };
        if let Frame::Packet { length, .. } = kind {
            self.0.inside(now, length, 1);
        }
        self.0.outside(now, frame.len(), 1, matches!(kind, Frame::Noise));
    }
}
