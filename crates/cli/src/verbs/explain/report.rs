//! How an explanation is told.

use std::fmt::Write;

use super::judge::{Explanation, RouteTold, table};
use crate::output::{Paint, Style, printable};

/// Writes one JSON object.
pub(super) fn json(told: &Explanation) -> String {
    serde_json::to_string(told).expect("plain data always serializes") + "\n"
}

/// Writes a line for each part, and a paragraph for each obstacle.
pub(super) fn text(told: &Explanation, style: Style) -> String {
    let mut lines: Vec<(&str, String)> = Vec::new();
    if let Some(peer) = &told.peer {
        let state = peer.state.as_ref().map_or_else(String::new, |state| format!(", {state}"));
        let name = printable(&peer.name);
        let key = if peer.name == peer.public_key {
            String::new()
        } else {
            format!(" ({})", peer.public_key)
        };
        lines.push(("peer", format!("{name}{key} by allowed_ips {}{state}", peer.prefix)));
    }
    if let Some(rule) = &told.rule {
        lines.push(("rule", format!("{}: {}", rule.priority, rule.text)));
    }
    if let Some(found) = &told.route {
        lines.push(("route", route(found)));
    }
    if let Some(mtu) = told.mtu {
        lines.push(("mtu", mtu.to_string()));
    }
    if let Some(endpoint) = &told.endpoint {
        let by =
            endpoint.route.as_ref().map_or_else(String::new, |by| format!(", by {}", route(by)));
        let mark = endpoint.mark.map_or_else(String::new, |mark| format!(", mark {mark:#x}"));
        lines.push(("endpoint", format!("{}{mark}{by}", endpoint.address)));
    }
    let mut text = format!("{}\n", style.paint(Paint::Heading, &told.address.to_string()));
    let write = |text: &mut String, label: &str, value: &str| {
        let label = style.paint(Paint::Faint, label);
        writeln!(text, "  {label:<9} {value}").expect("writing to a string cannot fail");
    };
    for (label, value) in &lines {
        write(&mut text, label, value);
    }
    for reason in &told.reasons {
        let word = style.paint(Paint::Bad, "not carried");
        writeln!(text, "{word} ({}): {}", reason.code, reason.what)
            .and_then(|()| writeln!(text, "  do: {}", reason.remedy))
            .expect("writing to a string cannot fail");
    }
    if let (true, Some(peer)) = (told.carried, &told.peer) {
        let word = style.paint(Paint::Good, "carried");
        writeln!(text, "{word}: {} takes it, through {}", printable(&peer.name), told.interface)
            .expect("writing to a string cannot fail");
    }
    text
}

fn route(route: &RouteTold) -> String {
    let mut text = route.prefix.map_or_else(|| "a route".to_owned(), |net| net.to_string());
    if let Some(gateway) = route.gateway {
        text += &format!(" via {gateway}");
    }
    if let Some(interface) = &route.interface {
        text += &format!(" dev {interface}");
    }
    if let Some(source) = route.source {
        text += &format!(" from {source}");
    }
    text + &format!(" (table {})", table(route.table))
}

#[cfg(test)]
mod tests {
    use super::super::judge::{EndpointTold, PeerTold, Reason, RuleTold};
    use super::*;

    #[test]
    fn every_part_has_a_line() {
        let by = |prefix: &str, interface: &str, gateway: Option<&str>| RouteTold {
            prefix: Some(prefix.parse().unwrap()),
            interface: Some(interface.to_owned()),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            source: None,
            table: 254,
        };
        let mut told = Explanation {
            schema: 1,
            address: "10.7.0.2".parse().unwrap(),
            interface: "stadium0".to_owned(),
            running: true,
            carried: true,
            reasons: Vec::new(),
            peer: Some(PeerTold {
                name: "bob".to_owned(),
                public_key: "KEY=".to_owned(),
                prefix: "10.7.0.2/32".parse().unwrap(),
                state: Some("up".to_owned()),
            }),
            rule: Some(RuleTold {
                priority: 32766,
                table: 254,
                text: "from all lookup main".to_owned(),
            }),
            route: Some(by("10.7.0.0/24", "stadium0", None)),
            mtu: Some(1440),
            endpoint: Some(EndpointTold {
                address: "192.0.2.7:51871".parse().unwrap(),
                mark: None,
                route: Some(by("0.0.0.0/0", "eth0", Some("192.0.2.1"))),
            }),
        };
        assert_eq!(
            text(&told, Style::PLAIN),
            "10.7.0.2\n  \
             peer      bob (KEY=) by allowed_ips 10.7.0.2/32, up\n  \
             rule      32766: from all lookup main\n  \
             route     10.7.0.0/24 dev stadium0 (table main)\n  \
             mtu       1440\n  \
             endpoint  192.0.2.7:51871, by 0.0.0.0/0 via 192.0.2.1 dev eth0 (table main)\n\
             carried: bob takes it, through stadium0\n"
        );
        told.carried = false;
        told.reasons = vec![Reason {
            code: "no-route",
            what: "none".to_owned(),
            remedy: "add one".to_owned(),
        }];
        assert!(
            text(&told, Style::PLAIN).ends_with("not carried (no-route): none\n  do: add one\n")
        );
    }
}
