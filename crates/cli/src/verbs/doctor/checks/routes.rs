//! Routes: outside to the endpoints, inside to the allowed IPs.

use ipnet::IpNet;
use stadium_config::Routes;
use stadium_node::system::{NoWay, Way};

use super::super::facts::{Facts, PeerFacts};
use super::super::finding::{self, Finding};

/// How many prefixes of one peer are named.
const NAMED: usize = 3;

/// The rules that every kernel has: `local`, `main`, `default`.
const USUAL_PRIORITIES: [u32; 3] = [0, 32766, 32767];

pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    for peer in &facts.peers {
        found.extend(outer(facts, peer));
        found.extend(inner(facts, peer));
    }
    found
}

fn outer(facts: &Facts, peer: &PeerFacts) -> Option<Finding> {
    let (address, way) = peer.outer.as_ref()?;
    let finding = match way {
        Err(why) => Finding::problem(
            finding::NO_ROUTE,
            format!("this machine has no way to the endpoint {address}: {}", words(why)),
            "look at `ip route get` of that address; is the network up, is there a default route?",
        ),
        Ok(way) if way.index.is_some() && way.index == facts.index() => Finding::problem(
            finding::NO_ROUTE,
            format!(
                "the endpoint {address} is routed into {} itself: the tunnel would carry its own \
                 datagrams",
                facts.name
            ),
            "narrow `allowed_ips`, or add a route to the endpoint by the machine's own gateway",
        ),
        Ok(_) => return None,
    };
    Some(finding.about(&peer.label))
}

fn words(why: &NoWay) -> String {
    match why {
        NoWay::Unreachable => "no route leads there".to_owned(),
        NoWay::Prohibited => "a route or rule prohibits it".to_owned(),
        NoWay::Other(why) => why.clone(),
    }
}

fn inner(facts: &Facts, peer: &PeerFacts) -> Option<Finding> {
    // without the interface there is nothing to lead into
    let index = facts.index().filter(|_| facts.running().is_some())?;
    let astray: Vec<_> = peer
        .inner
        .iter()
        .filter(|(_, way)| !matches!(way, Ok(way) if way.index == Some(index) || way.local))
        .collect();
    let (first, way) = astray.first()?;
    let prefixes: Vec<String> = astray.iter().take(NAMED).map(|(net, _)| net.to_string()).collect();
    let more = match astray.len() {
        ..=NAMED => String::new(),
        count => format!(" and {} more", count - NAMED),
    };
    let names = facts.link_names();
    let instead = match way {
        Ok(Way { index: Some(other), .. }) => {
            let link = names.get(other).copied().unwrap_or("another interface");
            format!("{first} leads into {link} instead")
        }
        Ok(_) => format!("{first} leads nowhere"),
        Err(why) => words(why),
    };
    let remedy = remedy(facts, first);
    let finding = Finding::problem(
        finding::MISSING_ROUTE,
        format!(
            "allowed_ips {}{more} do not lead into {}: {instead}",
            prefixes.join(", "),
            facts.name
        ),
        remedy,
    );
    // routes of the operator's own may depend on more than the destination
    let own = routes(facts) != Some(Routes::Auto)
        && facts.machine.rules.iter().any(|rule| !USUAL_PRIORITIES.contains(&rule.priority));
    let finding = if own { finding.hint() } else { finding };
    Some(finding.about(&peer.label))
}

fn routes(facts: &Facts) -> Option<Routes> {
    facts.file.valid().map(|file| file.interface.routes)
}

fn remedy(facts: &Facts, prefix: &IpNet) -> String {
    let name = &facts.name;
    match routes(facts) {
        Some(Routes::Off) => format!(
            "`interface.routes: off` leaves that to you: `ip route add {prefix} dev {name}`, or \
             set it to auto"
        ),
        Some(Routes::Table(table)) => {
            format!("add a rule that looks into the table: `ip rule add to {prefix} table {table}`")
        }
        _ => format!("remove the other route, or see `stadium explain {name} {}`", prefix.addr()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_to_the_endpoint_is_found() {
        let mut facts = Facts::healthy();
        facts.peers[0].outer = Some(("192.0.2.7".parse().unwrap(), Err(NoWay::Unreachable)));
        assert_eq!(check(&facts)[0].code, finding::NO_ROUTE);
    }

    #[test]
    fn a_tunnel_in_itself_is_found() {
        let mut facts = Facts::healthy();
        if let Some((_, Ok(way))) = &mut facts.peers[0].outer {
            way.index = Some(7);
        }
        assert!(check(&facts)[0].what.contains("its own datagrams"));
    }

    #[test]
    fn another_interface_that_wins_is_named() {
        let mut facts = Facts::healthy();
        if let Ok(way) = &mut facts.peers[0].inner[0].1 {
            way.index = Some(2);
        }
        let found = check(&facts);
        assert_eq!(found[0].code, finding::MISSING_ROUTE);
        assert!(found[0].what.contains("eth0"), "{}", found[0].what);
        // in another namespace nothing can be said
        facts.machine.links.retain(|link| link.link.name != "stadium0");
        assert!(check(&facts).is_empty());
    }
}
