//! From a peer file's wishes and the machine's state to an ordered list of operations.
//!
//! A plan is computed, never executed, here: `up` applies it, `up --dry-run` prints it, `reload`
//! compares two of them. Planning refuses what could only half work.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use stadium_config::{AutoOff, Fwmark, Hooks, Routes};

use super::dns::Dns;
use super::error::{ErrorKind, SystemError};
use super::facts::{Facts, RouteFact};
use super::filter::{Filter, KillSwitch};
use super::hooks::{Hook, HookEnvironment, HookStage};
use super::operation::{Family, Link, Operation, Route, TABLE_MAIN, Target};
use super::policy::Policy;
use super::spec::InterfaceSpec;

/// How many instances of one warning are named before the rest is only counted.
const NAMED: usize = 3;

/// The most pairs of prefixes compared in search of overlaps that are only worth a warning.
const OVERLAP_WORK: usize = 1_000_000;

/// The ordered operations that bring an interface up, and what belongs to them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The interface.
    pub link: Link,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// What is done once the interface exists, in this order.
    pub operations: Vec<Operation>,
    /// The mark our own datagrams must carry from before the first rule stands.
    pub fwmark: Option<u32>,
    /// The policy routing of a default route, kept across reloads.
    pub policy: Option<Policy>,
    /// What is legal but probably not meant, in plain words.
    pub warnings: Vec<String>,
    hooks: Hooks,
    file: PathBuf,
}

impl Plan {
    /// Computes the plan for `spec` on a machine that looks like `facts`.
    ///
    /// `running` is the plan in force at a reload: its policy numbers are kept.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] for a prefix that another interface has in the same table with the
    /// same metric, [`ErrorKind::Unsupported`] for wishes that contradict each other or the
    /// machine, [`ErrorKind::Hook`] for hooks that may not run.
    pub fn new(
        spec: &InterfaceSpec,
        facts: &Facts,
        running: Option<&Self>,
    ) -> Result<Self, SystemError> {
        refuse_untrusted_hooks(spec)?;
        refuse_addresses_without_ipv6(spec, facts)?;
        let mut warnings = Vec::new();
        warn_of_addresses(spec, facts, &mut warnings);

        let link = spec.link();
        let mut operations = vec![Operation::SetMtu { link: link.clone(), mtu: spec.mtu }];
        operations.extend(
            unique(&spec.addresses)
                .map(|address| Operation::AddAddress { link: link.clone(), address }),
        );
        operations.push(Operation::SetUp(link.clone()));

        let allowed: Vec<IpNet> =
            unique(&spec.allowed_ips.iter().map(IpNet::trunc).collect::<Vec<_>>()).collect();
        let defaults: Vec<Family> = Family::BOTH
            .into_iter()
            .filter(|f| spec.routes == Routes::Auto && allowed.contains(&f.default_prefix()))
            .collect();
        let policy =
            Policy::choose(spec, &defaults, facts, running.and_then(|p| p.policy.as_ref()))?;
        // Kept across reloads, though the setting is seen as honoured then.
        let honours = |p: &Policy| p.marks_answers(facts) && facts.nftables;
        let before = running.is_some_and(|p| p.operations.contains(&Operation::HonourMarks));
        if policy.as_ref().is_some_and(honours) && (before || !facts.marks_honoured) {
            operations.push(Operation::HonourMarks);
        }
        if let Some(policy) = &policy {
            operations.extend(policy.operations(&link));
            policy.warn(spec, facts, &mut warnings);
        }

        let mut routes = device_routes(spec, &link, &allowed);
        if !facts.takes_ipv6(spec.index) {
            let all = routes.len();
            routes.retain(|r| r.destination.addr().is_ipv4());
            if routes.len() < all {
                warnings.push(format!(
                    "IPv6 is switched off here (net.ipv6.conf.default.disable_ipv6): its routes of \
                     allowed_ips are left out, {} in all",
                    all - routes.len()
                ));
            }
        }
        refuse_conflicts(&routes, facts, &mut warnings)?;
        warn_of_overlaps(&routes, facts, &mut warnings);
        warn_of_loops(spec, &routes, facts, &mut warnings);
        operations.extend(routes.into_iter().map(Operation::AddRoute));

        if !spec.dns.is_empty() {
            warn_of_name_servers(spec, &allowed, &mut warnings);
            // Last, when they can be reached.
            operations.push(Operation::SetDns(Box::new(Dns {
                interface: spec.name.clone(),
                servers: spec.dns.clone(),
                resolver: facts.resolver,
            })));
        }
        if let Some(filter) = filter(spec, policy.as_ref(), &allowed, facts, &mut warnings)? {
            // First up and last down, so that nothing leaks on the way.
            operations.insert(0, Operation::SetFilter(Box::new(filter)));
        }

        let fwmark = policy.as_ref().map(|p| p.mark).or(match spec.fwmark {
            Fwmark::Mark(mark) => Some(mark),
            Fwmark::Auto | Fwmark::Off => None,
        });
        Ok(Self {
            link,
            mtu: spec.mtu,
            operations,
            fwmark,
            policy,
            warnings,
            hooks: spec.hooks.clone(),
            file: spec.file.clone(),
        })
    }

    /// The same plan for the interface that now exists under `index`.
    #[must_use]
    pub fn with_index(mut self, index: u32) -> Self {
        self.link.index = index;
        for operation in &mut self.operations {
            match operation {
                Operation::SetMtu { link, .. }
                | Operation::AddAddress { link, .. }
                | Operation::RemoveAddress { link, .. }
                | Operation::SetUp(link)
                | Operation::SetDown(link)
                | Operation::KeepSecondaries(link) => link.index = index,
                Operation::AddRoute(route) | Operation::RemoveRoute(route) => {
                    if let Target::Device(link) = &mut route.target {
                        link.index = index;
                    }
                }
                Operation::AddRule(_)
                | Operation::RemoveRule(_)
                | Operation::SetFilter(_)
                | Operation::RemoveFilter(_)
                | Operation::HonourMarks
                | Operation::IgnoreMarks
                | Operation::SetDns(_)
                | Operation::RestoreDns { .. }
                | Operation::RunHook(_) => {}
            }
        }
        self
    }

    /// Whether a packet filter of ours stands.
    pub fn has_filter(&self) -> bool {
        self.operations.iter().any(|operation| matches!(operation, Operation::SetFilter(_)))
    }

    /// The hooks of one stage as operations; `port` is the bound UDP port, 0 if none yet.
    pub fn hooks(&self, stage: HookStage, port: u16) -> Vec<Operation> {
        let environment = HookEnvironment {
            interface: self.link.name.clone(),
            file: self.file.clone(),
            mtu: self.mtu,
            port,
        };
        let hook = |command: &String| {
            let (command, environment) = (command.clone(), environment.clone());
            Operation::RunHook(Hook { stage, command, environment })
        };
        commands(&self.hooks, stage).iter().map(hook).collect()
    }
}

/// Prints what `up` would do, one step a line, for `up --dry-run`.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for hook in self.hooks(HookStage::PreUp, 0) {
            writeln!(f, "{hook}")?;
        }
        if let Some(mark) = self.fwmark {
            writeln!(f, "mark own datagrams {mark:#x}")?;
        }
        writeln!(f, "create interface {}", self.link)?;
        for operation in &self.operations {
            writeln!(f, "{operation}")?;
        }
        for hook in self.hooks(HookStage::PostUp, 0) {
            writeln!(f, "{hook}")?;
        }
        Ok(())
    }
}

/// The commands of one stage.
fn commands(hooks: &Hooks, stage: HookStage) -> &[String] {
    match stage {
        HookStage::PreUp => &hooks.pre_up,
        HookStage::PostUp => &hooks.post_up,
        HookStage::PreDown => &hooks.pre_down,
        HookStage::PostDown => &hooks.post_down,
    }
}

/// Keeps the first of equals, in order.
fn unique(prefixes: &[IpNet]) -> impl Iterator<Item = IpNet> {
    let mut seen = HashSet::with_capacity(prefixes.len());
    prefixes.iter().copied().filter(move |p| seen.insert(*p))
}

fn refuse_untrusted_hooks(spec: &InterfaceSpec) -> Result<(), SystemError> {
    if spec.hooks.is_empty() || spec.hook_trust.may_run() {
        return Ok(());
    }
    let file = spec.file.display();
    let why = spec.hook_trust;
    Err(SystemError::new(ErrorKind::Hook, format!("the hooks of {file} may not run: {why}"))
        .with_remedy(format!("chown root {file} && chmod go-w {file}, or remove the hooks")))
}

fn refuse_addresses_without_ipv6(spec: &InterfaceSpec, facts: &Facts) -> Result<(), SystemError> {
    match spec.addresses.iter().find(|a| a.addr().is_ipv6()) {
        Some(address) if !facts.takes_ipv6(spec.index) => Err(SystemError::new(
            ErrorKind::Unsupported,
            format!("{} cannot have the address {address}: IPv6 is switched off here", spec.name),
        )
        .with_remedy(
            "set net.ipv6.conf.default.disable_ipv6 to 0, or take it out of interface.address",
        )),
        _ => Ok(()),
    }
}

/// The routes of allowed IPs into the interface.
fn device_routes(spec: &InterfaceSpec, link: &Link, allowed: &[IpNet]) -> Vec<Route> {
    let table = match spec.routes {
        Routes::Off => return Vec::new(),
        Routes::Auto => TABLE_MAIN,
        Routes::Table(table) => table,
    };
    // The kernel itself routes the networks of the addresses, in main only; an IPv4 host address
    // has none there.
    let connected: HashSet<IpNet> = spec
        .addresses
        .iter()
        .filter(|a| table == TABLE_MAIN && (a.prefix_len() < 32 || a.addr().is_ipv6()))
        .map(IpNet::trunc)
        .collect();
    allowed
        .iter()
        // A default route in auto mode belongs to the policy.
        .filter(|p| spec.routes != Routes::Auto || p.prefix_len() > 0)
        .filter(|p| !connected.contains(p))
        .map(|p| Route { destination: *p, target: Target::Device(link.clone()), table, metric: 0 })
        .collect()
}

/// What is asked of the packet filter, `None` for nothing.
fn filter(
    spec: &InterfaceSpec,
    policy: Option<&Policy>,
    allowed: &[IpNet],
    facts: &Facts,
    warnings: &mut Vec<String>,
) -> Result<Option<Filter>, SystemError> {
    let mark = policy.filter(|policy| policy.marks_answers(facts)).map(|policy| policy.mark);
    let policy = policy.filter(|policy| policy.kill_switch);
    let clamp = spec.mss_clamp == AutoOff::Auto;
    if !facts.nftables {
        return match policy {
            Some(_) => Err(SystemError::new(
                ErrorKind::Unsupported,
                "the kill switch of a default route needs nf_tables, which this kernel has not",
            )
            .with_remedy("load the module nf_tables, or set interface.kill_switch to off")),
            None => {
                if clamp {
                    warnings.push(
                        "segment sizes of forwarded connections stay as they are: this kernel \
                         has no nf_tables (interface.mss_clamp: off says no more of it)"
                            .to_owned(),
                    );
                }
                Ok(None)
            }
        };
    }
    let kill_switch = policy.map(|policy| {
        let networks = spec.addresses.iter().map(IpNet::trunc);
        let inside = KillSwitch::inside(networks.chain(allowed.iter().copied()));
        let outside = |ip: &&IpAddr| !inside.iter().any(|prefix| prefix.contains(*ip));
        KillSwitch {
            mark: policy.mark,
            lan: spec.lan,
            addresses: unique(&spec.addresses).map(|a| a.addr()).collect(),
            dns: spec.dns.iter().filter(outside).copied().collect(),
            inside: if spec.lan { inside } else { Vec::new() },
        }
    });
    if kill_switch.is_none() && mark.is_none() && !clamp {
        return Ok(None);
    }
    let clamp = clamp.then_some(spec.mtu);
    Ok(Some(Filter { interface: spec.name.clone(), kill_switch, mark, clamp }))
}

/// Says who has a route.
fn owner(fact: &RouteFact, facts: &Facts) -> String {
    let by = match fact.protocol {
        super::ROUTE_PROTOCOL => " (another Stadium)",
        2 => " (its own network)",
        16 => " (DHCP)",
        _ => "",
    };
    match fact.index.and_then(|index| facts.link_name(index)) {
        Some(name) => format!("dev {name}{by}"),
        None if fact.unreachable => "an unreachable route".to_owned(),
        None => "a route of another program".to_owned(),
    }
}

/// Refuses a prefix that the kernel would refuse, and warns of one that only one side can have.
fn refuse_conflicts(
    routes: &[Route],
    facts: &Facts,
    warnings: &mut Vec<String>,
) -> Result<(), SystemError> {
    let mut present: HashMap<(IpNet, u32), Vec<&RouteFact>> = HashMap::new();
    for fact in &facts.routes {
        present.entry((fact.destination, fact.table)).or_default().push(fact);
    }
    for route in routes {
        let Target::Device(link) = &route.target else { continue };
        let metric = if route.destination.addr().is_ipv4() { 0 } else { 1024 };
        for fact in present.get(&(route.destination, route.table)).into_iter().flatten() {
            // Our own interface: a reload.
            if link.index != 0 && fact.index == Some(link.index) {
                continue;
            }
            let prefix = route.destination;
            let owner = owner(fact, facts);
            if fact.metric == metric {
                return Err(SystemError::new(
                    ErrorKind::Exists,
                    format!("allowed_ips {prefix} cannot be routed to {link}: {owner} has it"),
                )
                .with_remedy(
                    "take the prefix out of allowed_ips, remove that route, or set \
                     interface.routes to off or {table: N}",
                ));
            }
            let wins = if fact.metric < metric { "that route" } else { "the tunnel" };
            warnings.push(format!(
                "allowed_ips {prefix} is also routed to {owner} with metric {}: {wins} wins",
                fact.metric
            ));
        }
    }
    Ok(())
}

/// Warns of routes of others that take a part of a prefix out of the tunnel.
fn warn_of_overlaps(routes: &[Route], facts: &Facts, warnings: &mut Vec<String>) {
    let others: Vec<&RouteFact> =
        facts.routes.iter().filter(|f| !f.ours && f.destination.prefix_len() > 0).collect();
    if others.len().saturating_mul(routes.len()) > OVERLAP_WORK {
        return;
    }
    for route in routes {
        let Target::Device(link) = &route.target else { continue };
        let inside: Vec<&&RouteFact> = others
            .iter()
            .filter(|f| {
                f.table == route.table
                    && f.destination != route.destination
                    && route.destination.contains(&f.destination)
                    && (link.index == 0 || f.index != Some(link.index))
                    // IPv6 has these two on every interface.
                    && !is_link_local(&f.destination)
            })
            .collect();
        if inside.is_empty() {
            continue;
        }
        let mut named: Vec<String> = inside
            .iter()
            .take(NAMED)
            .map(|f| format!("{} {}", f.destination, owner(f, facts)))
            .collect();
        if inside.len() > NAMED {
            named.push(format!("{} more", inside.len() - NAMED));
        }
        warnings.push(format!(
            "a part of allowed_ips {} stays outside the tunnel: {}",
            route.destination,
            named.join(", ")
        ));
    }
}

fn is_link_local(prefix: &IpNet) -> bool {
    match prefix.addr() {
        IpAddr::V4(address) => address.is_link_local() || address.is_multicast(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
    }
}

/// Warns of name servers that no peer carries.
fn warn_of_name_servers(spec: &InterfaceSpec, allowed: &[IpNet], warnings: &mut Vec<String>) {
    for server in &spec.dns {
        if !allowed.iter().any(|prefix| prefix.contains(server)) {
            warnings.push(format!(
                "interface.dns {server} is in no peer's allowed_ips: it is asked outside the tunnel"
            ));
        }
    }
}

/// Warns of peers that would only be reached through the tunnel to them.
fn warn_of_loops(
    spec: &InterfaceSpec,
    routes: &[Route],
    facts: &Facts,
    warnings: &mut Vec<String>,
) {
    for endpoint in &spec.endpoints {
        let ours = routes
            .iter()
            .filter(|r| r.table == TABLE_MAIN && r.destination.contains(endpoint))
            .max_by_key(|r| r.destination.prefix_len());
        let Some(ours) = ours else { continue };
        // A host on a network of this machine, or with a route of its own, is reached directly.
        let closer = facts.routes.iter().any(|f| {
            f.table == TABLE_MAIN
                && !f.ours
                && f.destination.contains(endpoint)
                && f.destination.prefix_len() > ours.destination.prefix_len()
        });
        if !closer {
            warnings.push(format!(
                "the endpoint {endpoint} lies inside allowed_ips {}: the tunnel would carry its \
                 own datagrams; narrow the prefix or set interface.routes to {{table: N}}",
                ours.destination
            ));
        }
    }
}

/// Warns of addresses and networks that this machine has elsewhere already.
fn warn_of_addresses(spec: &InterfaceSpec, facts: &Facts, warnings: &mut Vec<String>) {
    for address in &spec.addresses {
        for fact in facts.addresses.iter().filter(|f| spec.index == 0 || f.index != spec.index) {
            let Some(name) = facts.link_name(fact.index) else { continue };
            if fact.address.addr() == address.addr() {
                warnings.push(format!("address {} is also assigned to {name}", address.addr()));
            } else if fact.address.trunc() == address.trunc() && !is_link_local(address) {
                warnings.push(format!("network {} is also that of {name}", address.trunc()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
