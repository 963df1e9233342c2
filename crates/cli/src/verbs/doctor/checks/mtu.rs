//! Large packets that get lost on the way.

use super::super::facts::Facts;
use super::super::finding::{self, Finding};

pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    let mtu = facts.running().map_or(0, |running| running.after.mtu);
    let judged = facts.peers.iter().filter_map(|peer| {
        let echo = peer.echo?;
        let finding = match (echo.small, echo.large) {
            (true, true) => return None,
            (true, false) => Finding::problem(
                finding::MTU_BLACK_HOLE,
                format!(
                    "{} answers small pings through the tunnel, but none of {mtu} bytes: the way \
                     between the two carries less than the interface's MTU promises, and nobody \
                     says so",
                    echo.target
                ),
                format!(
                    "set `interface.mtu` lower on both sides (try {}, at least 1280), and let ICMP \
                     \"fragmentation needed\" and \"packet too big\" through the firewalls between",
                    (mtu.saturating_sub(80)).max(1280)
                ),
            ),
            (false, _) => {
                peer.heartbeat.flatten()?;
                Finding::problem(
                    finding::INNER_SILENCE,
                    format!(
                        "the session works, but {} does not answer pings through it",
                        echo.target
                    ),
                    "perhaps its firewall drops pings; else see whether it has that address and a \
                     route back (run the doctor there)",
                )
                .hint()
            }
        };
        Some(finding.about(&peer.label))
    });
    judged.collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::facts::InnerEcho;
    use super::*;

    #[test]
    fn only_large_ones_lost_is_a_black_hole() {
        let mut facts = Facts::healthy();
        let target = "10.7.0.2".parse().unwrap();
        facts.peers[0].echo = Some(InnerEcho { target, small: true, large: false });
        let found = check(&facts);
        assert_eq!(found[0].code, finding::MTU_BLACK_HOLE);
        assert!(found[0].remedy.contains("1360"));
        facts.peers[0].echo = Some(InnerEcho { target, small: false, large: false });
        assert_eq!(check(&facts)[0].code, finding::INNER_SILENCE);
        facts.peers[0].heartbeat = Some(None);
        assert!(check(&facts).is_empty(), "the session itself is silent");
    }
}
