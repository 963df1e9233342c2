//! The mark that a daemon's own datagrams carry, found from outside.

use stadium_config::Fwmark;
use stadium_node::system::Facts;

/// Finds the mark of a daemon's own datagrams: the peer file's, or that of the policy routing by
/// which a default route leads into the interface `name`.
pub(crate) fn own_mark(configured: Option<Fwmark>, facts: &Facts, name: &str) -> Option<u32> {
    if let Some(Fwmark::Mark(mark)) = configured {
        return Some(mark);
    }
    let index = facts.links.iter().find(|link| link.link.name == name)?.link.index;
    let ours = facts.routes.iter().filter(|route| route.ours && route.index == Some(index));
    ours.filter(|route| route.destination.prefix_len() == 0).find_map(|route| {
        facts.rules.iter().find(|rule| rule.ours && rule.table == route.table)?.mark
    })
}
