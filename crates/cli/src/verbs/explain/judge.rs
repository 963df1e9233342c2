//! From facts to an explanation: pure.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::Serialize;
use stadium_config::{Endpoint, Routes};
use stadium_node::api::PeerStatus;
use stadium_node::system::{Facts as Machine, Family, NoWay, RuleFact, TABLE_MAIN, Way};

/// What the explanation is made from.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) address: IpAddr,
    /// The interface.
    pub(super) name: String,
    pub(super) running: bool,
    /// `interface.routes`, where the peer file could be read.
    pub(super) routes: Option<Routes>,
    /// The interface's MTU, bytes.
    pub(super) mtu: Option<u32>,
    /// The mark of the daemon's datagrams.
    pub(super) mark: Option<u32>,
    /// The peer with the longest matching prefix.
    pub(super) peer: Option<Candidate>,
    /// The way of a packet to the address.
    pub(super) inner: Result<Way, NoWay>,
    /// The way of a datagram to the endpoint.
    pub(super) outer: Option<(SocketAddr, Result<Way, NoWay>)>,
    pub(super) machine: Machine,
}

/// A peer that may have the address.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) label: String,
    pub(super) public_key: String,
    pub(super) allowed_ips: Vec<IpNet>,
    /// Where datagrams go, as far as it is known without asking a name server.
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) configured: Option<Endpoint>,
    /// Where its session stands, where a daemon runs.
    pub(super) state: Option<String>,
}

impl Candidate {
    pub(super) fn of_status(peer: &PeerStatus) -> Self {
        Self {
            label: peer.label().to_owned(),
            public_key: peer.public_key.clone(),
            allowed_ips: peer.allowed_ips.clone(),
            endpoint: peer.endpoint,
            configured: None,
            state: Some(peer.state.to_string()),
        }
    }

    pub(super) fn of_file(peer: &stadium_config::Peer) -> Self {
        Self {
            label: peer.label(),
            public_key: peer.public_key.to_string(),
            allowed_ips: peer.allowed_ips.clone(),
            endpoint: match peer.endpoint {
                Some(Endpoint::Address(address)) => Some(address),
                _ => None,
            },
            configured: peer.endpoint.clone(),
            state: None,
        }
    }

    /// The longest prefix of the peer that holds the address.
    pub(super) fn prefix(&self, address: IpAddr) -> Option<IpNet> {
        let holding = self.allowed_ips.iter().filter(|net| net.contains(&address));
        holding.max_by_key(|net| net.prefix_len()).copied()
    }
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Explanation {
    pub(super) schema: u32,
    pub(super) address: IpAddr,
    pub(super) interface: String,
    pub(super) running: bool,
    /// Whether a packet to the address would leave through the tunnel.
    pub(super) carried: bool,
    /// Why not; empty where it is carried.
    pub(super) reasons: Vec<Reason>,
    pub(super) peer: Option<PeerTold>,
    /// The policy rule that the route was found by.
    pub(super) rule: Option<RuleTold>,
    pub(super) route: Option<RouteTold>,
    /// The largest packet that the interface takes towards the address, bytes.
    pub(super) mtu: Option<u32>,
    pub(super) endpoint: Option<EndpointTold>,
}

/// One reason that the address is not carried; codes never change their meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Reason {
    pub(super) code: &'static str,
    pub(super) what: String,
    pub(super) remedy: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct PeerTold {
    pub(super) name: String,
    pub(super) public_key: String,
    /// The allowed prefix that matches.
    pub(super) prefix: IpNet,
    pub(super) state: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct RuleTold {
    pub(super) priority: u32,
    pub(super) table: u32,
    /// As `ip rule` would say it.
    pub(super) text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct RouteTold {
    pub(super) prefix: Option<IpNet>,
    pub(super) interface: Option<String>,
    pub(super) gateway: Option<IpAddr>,
    pub(super) source: Option<IpAddr>,
    pub(super) table: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct EndpointTold {
    pub(super) address: SocketAddr,
    /// The mark that the datagrams carry.
    pub(super) mark: Option<u32>,
    pub(super) route: Option<RouteTold>,
}

/// Makes the explanation.
pub(super) fn explain(facts: Facts) -> Explanation {
    let index = facts.machine.links.iter().find(|link| link.link.name == facts.name);
    let index = index.map(|link| link.link.index);
    let mut reasons = Vec::new();
    let mut not = |code, what: String, remedy: String| reasons.push(Reason { code, what, remedy });
    let (address, name) = (facts.address, &facts.name);

    if let Some(kind) = reserved(address) {
        let what = format!("{address} is {kind}: no peer can be reached by it");
        not("reserved", what, "ask for an address of a peer".to_owned());
    } else if let Ok(Way { local: true, .. }) = facts.inner {
        let what = format!("{address} is an address of this machine: packets to it never leave");
        not("own-address", what, "ask for an address of a peer".to_owned());
    } else {
        if !facts.running {
            let what = format!("{name} is not running");
            not(
                "not-running",
                what,
                format!("`stadium up {name}`; what follows is what it would do"),
            );
        }
        if facts.peer.is_none() {
            not(
                "not-allowed",
                format!(
                    "{address} is in no peer's allowed_ips: what enters {name} for it is dropped"
                ),
                "add it, or a network around it, to the `allowed_ips` of the peer that has it"
                    .to_owned(),
            );
        }
        match (&facts.inner, index) {
            (_, None) if facts.running => not(
                "interface-gone",
                format!("the interface {name} is not in this network namespace"),
                "ask in the namespace that it was moved to".to_owned(),
            ),
            (Ok(way), Some(own)) if way.index == Some(own) => {}
            // before `up` there is no route to be had
            (_, None) => {}
            (Ok(way), Some(_)) => not(
                "other-interface",
                format!(
                    "the kernel sends it by {}: route {} of table {} wins",
                    link(&facts.machine, way).unwrap_or_else(|| "several interfaces".to_owned()),
                    way.prefix.map_or_else(|| "(unknown)".to_owned(), |net| net.to_string()),
                    table(way.table),
                ),
                into_the_interface(&facts),
            ),
            (Err(why), Some(_)) => not(
                "no-route",
                match why {
                    NoWay::Unreachable => format!("the kernel has no route to {address}"),
                    NoWay::Prohibited => format!("a rule or route prohibits {address}"),
                    NoWay::Other(why) => format!("the kernel has no way to {address}: {why}"),
                },
                into_the_interface(&facts),
            ),
        }
        match (&facts.peer, &facts.outer) {
            (Some(peer), None) => not(
                "no-endpoint",
                format!("it is not known where {} is: this side can only wait for it", peer.label),
                "give the peer an `endpoint`, or have it begin".to_owned(),
            ),
            (Some(_), Some((at, Err(_)))) => not(
                "no-route-to-endpoint",
                format!("the kernel has no way to the endpoint {at}"),
                "is the network up, is there a default route?".to_owned(),
            ),
            (Some(_), Some((at, Ok(way)))) if index.is_some() && way.index == index => not(
                "endpoint-in-tunnel",
                format!("the endpoint {at} is routed into {name} itself"),
                "narrow `allowed_ips`, or route the endpoint by the machine's own gateway"
                    .to_owned(),
            ),
            _ => {}
        }
    }
    let rule = facts.inner.as_ref().ok().and_then(|way| rule(&facts.machine, address, way));
    let route = facts.inner.as_ref().ok().map(|way| told(&facts.machine, way));
    let limits = [facts.mtu, facts.inner.as_ref().ok().and_then(|way| way.mtu)];
    let through = facts.inner.as_ref().is_ok_and(|way| index.is_some() && way.index == index);
    let endpoint = facts.outer.map(|(address, way)| EndpointTold {
        address,
        mark: facts.mark,
        route: way.ok().map(|way| told(&facts.machine, &way)),
    });
    let peer = facts.peer.and_then(|peer| {
        let prefix = peer.prefix(address)?;
        let Candidate { label: name, public_key, state, .. } = peer;
        Some(PeerTold { name, public_key, prefix, state })
    });
    Explanation {
        schema: 1,
        address,
        interface: facts.name,
        running: facts.running,
        carried: reasons.is_empty(),
        reasons,
        peer,
        rule,
        route,
        mtu: if through { limits.into_iter().flatten().min() } else { None },
        endpoint,
    }
}

/// Says why an address belongs to nobody.
fn reserved(address: IpAddr) -> Option<&'static str> {
    let multicast = address.is_multicast().then_some("a multicast address");
    let unspecified = address.is_unspecified().then_some("no address at all");
    let loopback = address.is_loopback().then_some("a loopback address");
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    multicast
        .or(unspecified)
        .or(loopback)
        .or(broadcast.then_some("the broadcast address"))
        .or(link_local.then_some("a link-local address"))
}

fn into_the_interface(facts: &Facts) -> String {
    let (name, address) = (&facts.name, facts.address);
    match facts.routes {
        Some(Routes::Off) => format!(
            "`interface.routes: off` leaves routes to you: `ip route add {address} dev {name}`"
        ),
        Some(Routes::Table(table)) => format!(
            "`interface.routes` put the routes into table {table}: `ip rule add to {address} table \
             {table}`"
        ),
        _ if facts.peer.is_none() => {
            "it gets a route as soon as it is in a peer's `allowed_ips`".to_owned()
        }
        _ => "remove the other route, or make the prefix in `allowed_ips` longer".to_owned(),
    }
}

fn link(machine: &Machine, way: &Way) -> Option<String> {
    machine.link_name(way.index?).map(str::to_owned)
}

fn told(machine: &Machine, way: &Way) -> RouteTold {
    RouteTold {
        prefix: way.prefix,
        interface: link(machine, way),
        gateway: way.gateway,
        source: way.source,
        table: way.table,
    }
}

/// Names a table as `ip` does.
pub(super) fn table(number: u32) -> String {
    match number {
        TABLE_MAIN => "main".to_owned(),
        253 => "default".to_owned(),
        255 => "local".to_owned(),
        number => number.to_string(),
    }
}

/// The first rule by which an unmarked packet finds the route.
fn rule(machine: &Machine, address: IpAddr, way: &Way) -> Option<RuleTold> {
    let leads = |rule: &&RuleFact| {
        let mark = rule.mark.is_none_or(|mark| (mark == 0) != rule.invert);
        let suppressed = rule
            .suppress_prefix_length
            .zip(way.prefix)
            .is_some_and(|(shortest, net)| u32::from(net.prefix_len()) <= shortest);
        rule.family == Family::of(address) && rule.table == way.table && mark && !suppressed
    };
    let rule = machine.rules.iter().filter(leads).min_by_key(|rule| rule.priority)?;
    let not = if rule.invert { "not " } else { "" };
    let mark = rule.mark.map_or_else(String::new, |mark| format!(" fwmark {mark:#x}"));
    let suppress = rule
        .suppress_prefix_length
        .map_or_else(String::new, |length| format!(" suppress_prefixlength {length}"));
    let text = format!("{not}from all{mark} lookup {}{suppress}", table(rule.table));
    Some(RuleTold { priority: rule.priority, table: rule.table, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use stadium_node::system::{Link, LinkFact};

    fn facts(address: &str) -> Facts {
        let link = |name: &str, index| LinkFact {
            link: Link { name: name.to_owned(), index },
            mtu: 1500,
            up: true,
            moved: false,
        };
        let rule = |priority, table, mark, suppress| RuleFact {
            family: Family::V4,
            priority,
            table,
            mark,
            invert: mark.is_some(),
            suppress_prefix_length: suppress,
            ours: mark.is_some(),
        };
        let machine = Machine {
            links: vec![link("eth0", 2), link("stadium0", 7)],
            rules: vec![
                rule(0, 255, None, None),
                rule(32764, TABLE_MAIN, None, Some(0)),
                rule(32765, 51871, Some(51871), None),
                rule(32766, TABLE_MAIN, None, None),
            ],
            ..Machine::default()
        };
        let way = |index, prefix: &str, table| Way {
            index: Some(index),
            table,
            prefix: Some(prefix.parse().unwrap()),
            gateway: None,
            source: Some("10.7.0.1".parse().unwrap()),
            mtu: None,
            local: false,
        };
        Facts {
            address: address.parse().unwrap(),
            name: "stadium0".to_owned(),
            running: true,
            routes: Some(Routes::Auto),
            mtu: Some(1440),
            mark: Some(51871),
            peer: Some(Candidate {
                label: "bob".to_owned(),
                public_key: "KEY=".to_owned(),
                allowed_ips: vec!["10.0.0.0/8".parse().unwrap(), "10.7.0.0/24".parse().unwrap()],
                endpoint: Some("192.0.2.7:51871".parse().unwrap()),
                configured: None,
                state: Some("up".to_owned()),
            }),
            inner: Ok(way(7, "10.7.0.0/24", TABLE_MAIN)),
            outer: Some(("192.0.2.7:51871".parse().unwrap(), Ok(way(2, "0.0.0.0/0", TABLE_MAIN)))),
            machine,
        }
    }

    fn codes(facts: Facts) -> Vec<&'static str> {
        explain(facts).reasons.iter().map(|reason| reason.code).collect()
    }

    #[test]
    fn what_is_carried_has_everything_told() {
        let told = explain(facts("10.7.0.2"));
        assert!(told.carried);
        assert_eq!(told.peer.unwrap().prefix.to_string(), "10.7.0.0/24", "the longest");
        let rule = told.rule.unwrap();
        assert_eq!(
            (rule.priority, rule.text.as_str()),
            (32764, "from all lookup main suppress_prefixlength 0")
        );
        assert_eq!(told.route.unwrap().interface.as_deref(), Some("stadium0"));
        assert_eq!(told.mtu, Some(1440));
        let endpoint = told.endpoint.unwrap();
        assert_eq!(endpoint.route.unwrap().interface.as_deref(), Some("eth0"));
    }

    #[test]
    fn a_default_route_is_found_by_the_rule_of_the_policy() {
        let mut facts = facts("198.51.100.1");
        if let Ok(way) = &mut facts.inner {
            (way.table, way.prefix) = (51871, Some("0.0.0.0/0".parse().unwrap()));
        }
        let rule = explain(facts).rule.unwrap();
        assert_eq!(rule.text, "not from all fwmark 0xca9f lookup 51871");
    }

    #[test]
    fn each_obstacle_has_its_code() {
        assert_eq!(codes(facts("224.0.0.1")), ["reserved"]);
        assert_eq!(codes(facts("255.255.255.255")), ["reserved"]);
        assert_eq!(codes(facts("fe80::1")), ["reserved"]);
        let mut local = facts("10.7.0.1");
        local.inner.as_mut().unwrap().local = true;
        assert_eq!(codes(local), ["own-address"]);
        let mut nobody = facts("10.9.0.1");
        (nobody.peer, nobody.outer) = (None, None);
        assert_eq!(codes(nobody), ["not-allowed"]);
        let mut other = facts("10.7.0.2");
        other.inner.as_mut().unwrap().index = Some(2);
        let told = explain(other);
        assert!(told.reasons[0].what.contains("eth0"), "{}", told.reasons[0].what);
        assert_eq!((told.reasons[0].code, told.mtu), ("other-interface", None));
        let mut none = facts("10.7.0.2");
        none.inner = Err(NoWay::Unreachable);
        none.outer = None;
        assert_eq!(codes(none), ["no-route", "no-endpoint"]);
        let mut lost = facts("10.7.0.2");
        lost.outer.as_mut().unwrap().1 = Err(NoWay::Unreachable);
        assert_eq!(codes(lost), ["no-route-to-endpoint"]);
        let mut nested = facts("10.7.0.2");
        nested.outer.as_mut().unwrap().1.as_mut().unwrap().index = Some(7);
        assert_eq!(codes(nested), ["endpoint-in-tunnel"]);
        let mut down = facts("10.7.0.2");
        (down.running, down.machine.links) = (false, Vec::new());
        assert_eq!(codes(down), ["not-running"]);
    }
}
