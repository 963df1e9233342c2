//! Policy routing for a default route: own table, own mark, two rules a family.
//!
//! Our datagrams carry a mark. Everything without it looks its route up in our table, whose
//! default route leads into the tunnel; before that, every packet looks into `main` with default
//! routes passed over, so that networks with a route of their own stay as they are. No route or
//! rule of others is touched.
//!
//! With the kill switch the table also holds an unreachable default route of the worst metric.
//! It and the rules outlive the interface and the daemon, so that nothing falls back to the
//! machine's own default route when the tunnel dies, in the family that has no tunnel either.
//! What a route cannot stop (hosts on networks of this machine, more specific routes that the
//! network announces) the packet filter does: see [`super::filter`].

use serde::{Deserialize, Serialize};
use stadium_config::{Fwmark, Routes, Switch};

use super::error::{ErrorKind, SystemError};
use super::facts::Facts;
use super::operation::{Family, Link, Operation, Route, Rule, RuleKind, TABLE_MAIN, Target};
use super::spec::InterfaceSpec;

/// The first number tried for mark and table.
const FIRST_NUMBER: u32 = 51871;

/// How many numbers are tried.
const NUMBERS: u32 = 1000;

/// The metric that every other route beats.
const LAST_METRIC: u32 = u32::MAX;

/// The numbers of one interface's policy routing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Policy {
    /// The mark of our own datagrams.
    pub mark: u32,
    /// The table with the default route.
    pub table: u32,
    /// Whether traffic is refused rather than sent outside when the tunnel dies.
    pub kill_switch: bool,
    /// The families whose default route leads into the tunnel.
    pub defaults: Vec<Family>,
    /// The families under these rules, with the priority of the second rule; the first has one
    /// less. With the kill switch both, else those of `defaults`.
    pub families: Vec<(Family, u32)>,
}

impl Policy {
    /// Chooses the numbers for default routes in the families `defaults`, `None` for none.
    pub(super) fn choose(
        spec: &InterfaceSpec,
        defaults: &[Family],
        facts: &Facts,
        running: Option<&Self>,
    ) -> Result<Option<Self>, SystemError> {
        if defaults.is_empty() {
            return if spec.kill_switch == Switch::On {
                Err(SystemError::new(
                    ErrorKind::Unsupported,
                    "interface.kill_switch is on, but no default route leads into the tunnel",
                )
                .with_remedy(match spec.routes {
                    Routes::Auto => {
                        "add 0.0.0.0/0 and ::/0 to a peer's allowed_ips, or set it to auto"
                    }
                    _ => "set interface.routes to auto, or kill_switch to auto",
                }))
            } else {
                Ok(None)
            };
        }
        if spec.fwmark == Fwmark::Off || spec.fwmark == Fwmark::Mark(0) {
            return Err(SystemError::new(
                ErrorKind::Unsupported,
                "a default route in allowed_ips needs a mark, or the tunnel would carry its own \
                 datagrams",
            )
            .with_remedy("set interface.fwmark to auto, or interface.routes to off"));
        }
        let kill_switch = spec.kill_switch != Switch::Off;
        let (mark, table) = match (running, spec.fwmark) {
            (Some(running), Fwmark::Auto) => (running.mark, running.table),
            (Some(running), Fwmark::Mark(mark)) if running.mark == mark => (mark, running.table),
            (_, Fwmark::Mark(mark)) => (mark, free_table(facts)?),
            (_, _) => free_table(facts).map(|number| (number, number))?,
        };
        let mut families = Vec::new();
        for family in Family::BOTH {
            let wanted = defaults.contains(&family) || kill_switch;
            if wanted && (family == Family::V4 || facts.ipv6) {
                let kept = running.and_then(|r| r.families.iter().find(|(f, _)| *f == family));
                let priority = match kept {
                    Some((_, priority)) => *priority,
                    None => free_priority(facts, family)?,
                };
                families.push((family, priority));
            }
        }
        let tunnelled =
            |f: &Family| defaults.contains(f) && (*f == Family::V4 || facts.takes_ipv6(spec.index));
        let defaults = families.iter().map(|(f, _)| *f).filter(tunnelled).collect();
        Ok(Some(Self { mark, table, kill_switch, defaults, families }))
    }

    /// The operations, in an order in which nothing leaks and nothing is cut off half-way.
    pub(super) fn operations(&self, link: &Link) -> Vec<Operation> {
        let mut operations = Vec::new();
        for (family, _) in &self.families {
            let route = |target, metric| {
                let destination = family.default_prefix();
                Operation::AddRoute(Route { destination, target, table: self.table, metric })
            };
            if self.kill_switch {
                operations.push(route(Target::Unreachable, LAST_METRIC));
            }
            if self.defaults.contains(family) {
                operations.push(route(Target::Device(link.clone()), 0));
            }
        }
        for (family, priority) in &self.families {
            let rule =
                |priority, kind| Operation::AddRule(Rule { family: *family, priority, kind });
            let not_marked = RuleKind::NotMarked { mark: self.mark, table: self.table };
            operations.push(rule(*priority - 1, RuleKind::SuppressDefault));
            operations.push(rule(*priority, not_marked));
        }
        operations
    }

    /// Whether the peers' datagrams have to be marked: a strict `rp_filter`, which IPv6 has not,
    /// asks for the way back, and without the mark that would lead into the tunnel.
    pub(super) fn marks_answers(&self, facts: &Facts) -> bool {
        facts.strict_reverse_path && self.families.iter().any(|(f, _)| *f == Family::V4)
    }

    pub(super) fn warn(&self, spec: &InterfaceSpec, facts: &Facts, warnings: &mut Vec<String>) {
        if self.marks_answers(facts) && !facts.nftables {
            warnings.push(
                "rp_filter is strict (1): answers of peers may be dropped under a default route; \
                 set net.ipv4.conf.all.rp_filter and that of the outer interface to 2"
                    .to_owned(),
            );
        }
        for family in Family::BOTH {
            if !self.families.iter().any(|(f, _)| *f == family)
                && (family == Family::V4 || facts.ipv6)
            {
                warnings.push(format!(
                    "{family} has no default route into the tunnel and no kill switch: it stays \
                     outside"
                ));
            }
        }
        if self.kill_switch {
            if spec.lan {
                warnings.push(
                    "interface.lan is on: private ranges that are not the tunnel's own stay \
                     outside it, in the open"
                        .to_owned(),
                );
            } else {
                warnings.push(
                    "the kill switch lets nothing out beside the tunnel: networks this machine \
                     is attached to are cut off, with SSH and name servers there; \
                     interface.lan: on leaves private ranges open"
                        .to_owned(),
                );
            }
            if spec.dns.is_empty() {
                warnings.push(
                    "interface.dns names no server: name servers that are not reached through \
                     the tunnel answer no more"
                        .to_owned(),
                );
            }
        }
    }
}

fn free_table(facts: &Facts) -> Result<u32, SystemError> {
    (FIRST_NUMBER..FIRST_NUMBER + NUMBERS)
        .find(|number| {
            facts.table_is_free(*number) && !facts.rules.iter().any(|r| r.mark == Some(*number))
        })
        .ok_or_else(|| {
            SystemError::new(
                ErrorKind::Unsupported,
                format!("no routing table from {FIRST_NUMBER} up is free"),
            )
            .with_remedy("see `ip rule` for what uses them")
        })
}

/// A priority before every rule of others, with room for one more before it.
fn free_priority(facts: &Facts, family: Family) -> Result<u32, SystemError> {
    let first = facts
        .rules
        .iter()
        .filter(|r| r.family == family && r.priority > 0)
        .map(|r| r.priority)
        .min()
        .unwrap_or(32766)
        .min(32766);
    if first < 3 {
        return Err(SystemError::new(
            ErrorKind::Exists,
            format!("an {family} rule of priority {first} leaves no room for ours before it"),
        )
        .with_remedy("see `ip rule` and move it, or set interface.routes to {table: N}"));
    }
    debug_assert_ne!(TABLE_MAIN, FIRST_NUMBER);
    Ok(first - 1)
}
