//! Clocks: of this machine against its own files, and of peers against what they said before.

use std::time::Duration;

use super::super::facts::Facts;
use super::super::finding::{self, Finding};

/// By how much a file may be newer than now: file systems and rounding.
const TOLERANCE: Duration = Duration::from_secs(60);

pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(ahead) = facts.written_ahead().filter(|ahead| *ahead > TOLERANCE) {
        found.push(Finding::problem(
            finding::CLOCK,
            format!(
                "this machine's clock is behind: the peer file was written {} min in the future",
                ahead.as_secs() / 60
            ),
            "set the clock (`timedatectl set-ntp true`); peers take the timestamp of a handshake \
             only if it is newer than the last, or after one more round trip",
        ));
    }
    let (stale, lately) =
        facts.running().map_or((0, 0), |running| running.drops("stale_timestamp"));
    if stale > 0 {
        let finding = Finding::problem(
            finding::CLOCK,
            format!(
                "{stale} handshakes came with a timestamp that was not newer than the peer's last \
                 one, {lately} of them just now: a peer's clock has gone back, or two nodes have \
                 its key"
            ),
            "set the clock of the peer (`timedatectl set-ntp true`)",
        );
        let failing = lately > 0 && facts.peers.iter().any(|peer| !facts.is_up(peer));
        found.push(if failing { finding } else { finding.hint() });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::doctor::finding::Severity;

    #[test]
    fn a_file_from_the_future_tells_of_a_late_clock() {
        let mut facts = Facts::healthy();
        facts.written = Some(facts.now + Duration::from_secs(30));
        assert!(check(&facts).is_empty());
        facts.written = Some(facts.now + Duration::from_secs(7200));
        assert!(
            check(&facts)[0].what.contains("119 min") || check(&facts)[0].what.contains("120 min")
        );
    }

    #[test]
    fn stale_timestamps_are_a_hint_while_all_is_up() {
        let mut facts = Facts::healthy();
        facts.running_mut().after.drops.stale_timestamp = 2;
        assert_eq!(check(&facts)[0].severity, Severity::Hint);
        facts.running_mut().after.peers[0].state = stadium_node::api::PeerState::Handshaking;
        assert_eq!(check(&facts)[0].severity, Severity::Problem);
    }
}
