//! What packet filters do with Stadium's datagrams: nftables' ruleset, read and followed.
//!
//! A rule counts only where everything in it is understood and matches for sure; in doubt the
//! datagram passes. So a filter that is named here does drop.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::super::facts::Filtered;

/// How deep chains may call each other; the kernel allows 16.
const DEPTH: usize = 16;

/// The packet that is followed: the first datagram of a peer, or to one.
#[derive(Debug, Clone, Copy)]
struct Packet<'a> {
    ipv6: bool,
    port: u16,
    incoming: bool,
    links: &'a [String],
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// Goes on with the next rule.
    Next,
    /// Goes back to the calling chain.
    Return,
    /// Passes this hook, or may.
    Pass,
    /// Is dropped there.
    Drop(String),
}

/// Looks for filters that drop datagrams to or from the ports of `listen`.
pub(super) fn look(listen: &[SocketAddr], links: &[String]) -> Vec<Filtered> {
    let output = Command::new("nft")
        .args(["-j", "list", "ruleset"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    // no such program, or no permission: nothing can be said
    let Some(output) = output.ok().filter(|output| output.status.success()) else {
        return Vec::new();
    };
    let Ok(ruleset) = serde_json::from_slice::<Value>(&output.stdout) else { return Vec::new() };
    let mut found = Vec::new();
    for address in listen.iter().filter(|address| address.port() != 0) {
        for incoming in [true, false] {
            let packet = Packet { ipv6: address.is_ipv6(), port: address.port(), incoming, links };
            if let Some(place) = dropped(&ruleset, &packet) {
                let filtered = Filtered { hook: if incoming { "input" } else { "output" }, place };
                if !found.contains(&filtered) {
                    found.push(filtered);
                }
            }
        }
    }
    found
}

/// Follows a packet through every base chain of its hook; says where it is dropped.
fn dropped(ruleset: &Value, packet: &Packet<'_>) -> Option<String> {
    let objects = ruleset["nftables"].as_array()?;
    let families: [&str; 2] = ["inet", if packet.ipv6 { "ip6" } else { "ip" }];
    let hook = if packet.incoming { "input" } else { "output" };
    let chains = objects.iter().map(|object| &object["chain"]);
    for chain in chains.filter(|chain| chain["hook"] == hook) {
        if !families.iter().any(|family| chain["family"] == *family) || chain["type"] != "filter" {
            continue;
        }
        match follow(objects, chain, packet, 0) {
            Fate::Drop(place) => return Some(place),
            Fate::Pass => {}
            Fate::Next | Fate::Return if chain["policy"] == "drop" => {
                return Some(format!("the policy of {}", title(chain)));
            }
            Fate::Next | Fate::Return => {}
        }
    }
    None
}

fn title(chain: &Value) -> String {
    let part = |name: &str| chain[name].as_str().unwrap_or_default().to_owned();
    format!("chain {} {} {}", part("family"), part("table"), part("name"))
}

fn follow(objects: &[Value], chain: &Value, packet: &Packet<'_>, depth: usize) -> Fate {
    if depth > DEPTH {
        return Fate::Pass;
    }
    let rules = objects.iter().map(|object| &object["rule"]).filter(|rule| {
        rule["chain"] == chain["name"]
            && rule["table"] == chain["table"]
            && rule["family"] == chain["family"]
    });
    for rule in rules {
        match apply(objects, chain, rule, packet, depth) {
            Fate::Next => {}
            fate => return fate,
        }
    }
    Fate::Next
}

/// Applies one rule; one that may match and may pass the packet ends the search.
fn apply(
    objects: &[Value],
    chain: &Value,
    rule: &Value,
    packet: &Packet<'_>,
    depth: usize,
) -> Fate {
    let mut sure = true;
    for statement in rule["expr"].as_array().into_iter().flatten() {
        let Some((kind, body)) = statement.as_object().and_then(|object| object.iter().next())
        else {
            continue;
        };
        let called = |body: &Value| {
            objects.iter().map(|object| &object["chain"]).find(|other| {
                other["name"] == body["target"]
                    && other["table"] == chain["table"]
                    && other["family"] == chain["family"]
            })
        };
        match kind.as_str() {
            "match" => match matches(body, packet) {
                Some(true) => {}
                Some(false) => return Fate::Next,
                None => sure = false,
            },
            "counter" | "log" | "comment" | "mangle" | "notrack" => {}
            // also where it only may match
            "accept" | "queue" => return Fate::Pass,
            "drop" | "reject" => {
                return if sure {
                    Fate::Drop(format!("a rule of {}", title(chain)))
                } else {
                    Fate::Next
                };
            }
            "return" => return if sure { Fate::Return } else { Fate::Pass },
            "jump" | "goto" => {
                let Some(target) = called(body) else { return Fate::Pass };
                match follow(objects, target, packet, depth + 1) {
                    Fate::Drop(place) if sure => return Fate::Drop(place),
                    Fate::Drop(_) | Fate::Next | Fate::Return if kind == "jump" => {
                        return Fate::Next;
                    }
                    Fate::Drop(_) => return Fate::Pass,
                    Fate::Next | Fate::Return => return Fate::Return,
                    Fate::Pass => return Fate::Pass,
                }
            }
            // limits, sets, extensions of iptables: it may or may not match
            _ => sure = false,
        }
    }
    Fate::Next
}

/// Tells whether a condition holds for the packet; `None`: it depends.
fn matches(body: &Value, packet: &Packet<'_>) -> Option<bool> {
    let (left, right) = (&body["left"], &body["right"]);
    let hit = if let Some(key) = left["meta"]["key"].as_str() {
        match key {
            "l4proto" => contains(right, &["udp", "17"]),
            "nfproto" => contains(right, &[if packet.ipv6 { "ipv6" } else { "ipv4" }]),
            "iif" | "iifname" if packet.incoming => link(right, packet.links),
            "oif" | "oifname" if !packet.incoming => link(right, packet.links),
            _ => None,
        }
    } else if left["ct"]["key"] == "state" {
        contains(right, &["new"])
    } else if let Some(protocol) = left["payload"]["protocol"].as_str() {
        match (protocol, left["payload"]["field"].as_str()?) {
            ("udp" | "th", "dport") if packet.incoming => number(right, packet.port),
            ("udp" | "th", "sport") if !packet.incoming => number(right, packet.port),
            ("ip", "protocol") | ("ip6", "nexthdr") => contains(right, &["udp", "17"]),
            ("udp" | "th", _) => None,
            ("ip", _) => (packet.ipv6).then_some(false),
            ("ip6", _) => (!packet.ipv6).then_some(false),
            // another protocol over IP
            ("tcp" | "icmp" | "icmpv6" | "sctp" | "dccp" | "esp" | "ah" | "udplite", _) => {
                return Some(false);
            }
            _ => None,
        }
    } else {
        None
    };
    match body["op"].as_str() {
        Some("==" | "in") => hit,
        Some("!=") => hit.map(|hit| !hit),
        _ => None,
    }
}

/// Whether one of `words` is the value, or in the set or list that it is.
fn contains(value: &Value, words: &[&str]) -> Option<bool> {
    match value {
        Value::String(text) if text.starts_with('@') => None,
        Value::String(text) => Some(words.contains(&text.as_str())),
        Value::Number(number) => Some(words.contains(&number.to_string().as_str())),
        Value::Array(items) => any(items.iter().map(|item| contains(item, words))),
        Value::Object(object) => contains(object.get("set")?, words),
        _ => None,
    }
}

/// Whether a number is the value, or in the range, set or list that it is.
fn number(value: &Value, wanted: u16) -> Option<bool> {
    match value {
        Value::Number(number) => Some(number.as_u64() == Some(wanted.into())),
        Value::Array(items) => any(items.iter().map(|item| number(item, wanted))),
        Value::Object(object) => match (object.get("range"), object.get("set")) {
            (Some(range), _) => {
                let (from, to) = (range.get(0)?.as_u64()?, range.get(1)?.as_u64()?);
                Some((from..=to).contains(&wanted.into()))
            }
            (None, Some(set)) => number(set, wanted),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the packet comes or goes by the named interface; it may be any of several.
fn link(value: &Value, links: &[String]) -> Option<bool> {
    let names: Vec<&str> = match value {
        Value::String(name) => vec![name],
        Value::Object(object) => {
            object.get("set")?.as_array()?.iter().filter_map(Value::as_str).collect()
        }
        _ => return None,
    };
    if names.iter().any(|name| name.contains(['*', '@'])) {
        return None;
    }
    match links {
        // nobody's datagrams come over the loopback
        [] if names == ["lo"] => Some(false),
        [] => None,
        [only] => Some(names.contains(&only.as_str())),
        several => {
            let hits = several.iter().filter(|link| names.contains(&link.as_str())).count();
            match hits {
                0 => Some(false),
                hits if hits == several.len() => Some(true),
                _ => None,
            }
        }
    }
}

fn any(mut answers: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    answers.try_fold(false, |found, answer| Some(found || answer?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ruleset(policy: &str, rules: &[Value]) -> Value {
        let mut objects = vec![
            json!({"metainfo": {"version": "1.0.6"}}),
            json!({"chain": {"family": "inet", "table": "t", "name": "in", "type": "filter", "hook": "input", "prio": 0, "policy": policy}}),
            json!({"chain": {"family": "inet", "table": "t", "name": "sub"}}),
        ];
        for (chain, expr) in rules.iter().map(|rule| (&rule[0], &rule[1])) {
            objects.push(
                json!({"rule": {"family": "inet", "table": "t", "chain": chain, "expr": expr}}),
            );
        }
        json!({"nftables": objects})
    }

    fn fate(policy: &str, rules: &[Value]) -> Option<String> {
        let links = ["eth0".to_owned()];
        let packet = Packet { ipv6: false, port: 51871, incoming: true, links: &links };
        dropped(&ruleset(policy, rules), &packet)
    }

    fn dport(right: Value) -> Value {
        json!({"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": right}})
    }

    #[test]
    fn a_policy_drops_what_no_rule_lets_in() {
        assert_eq!(fate("drop", &[]).unwrap(), "the policy of chain inet t in");
        assert_eq!(fate("accept", &[]), None);
        let accept = json!({"accept": null});
        assert_eq!(fate("drop", &[json!(["in", [dport(json!(51871)), accept]])]), None);
        assert_eq!(
            fate("drop", &[json!(["in", [dport(json!({"range": [51000, 52000]})), accept]])]),
            None
        );
        assert_eq!(
            fate("drop", &[json!(["in", [dport(json!({"set": [22, 51871]})), accept]])]),
            None
        );
        assert!(fate("drop", &[json!(["in", [dport(json!(22)), accept]])]).is_some());
        assert_eq!(
            fate("drop", &[json!(["in", [dport(json!("@ports")), accept]])]),
            None,
            "in doubt"
        );
        let established = json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}});
        assert!(fate("drop", &[json!(["in", [established, accept]])]).is_some());
        let lo =
            json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}});
        assert!(fate("drop", &[json!(["in", [lo, accept]])]).is_some());
    }

    #[test]
    fn a_rule_drops_only_for_sure() {
        let drop = json!({"drop": null});
        let found = fate("accept", &[json!(["in", [dport(json!(51871)), {"counter": {}}, drop]])]);
        assert_eq!(found.unwrap(), "a rule of chain inet t in");
        assert_eq!(
            fate("accept", &[json!(["in", [dport(json!(51871)), {"limit": {}}, drop]])]),
            None
        );
        assert_eq!(fate("accept", &[json!(["in", [{"xt": null}, drop]])]), None);
        let jump = json!(["in", [{"jump": {"target": "sub"}}]]);
        assert!(fate("accept", &[jump.clone(), json!(["sub", [drop]])]).is_some());
        let back = json!(["sub", [dport(json!(51871)), {"return": null}]]);
        assert_eq!(fate("accept", &[jump, back, json!(["sub", [drop]])]), None);
    }
}
