//! The one executor of [`Operation`]s: apply with rollback, take down, reconcile, clear.
//!
//! Invariants: a failed `apply` or `reconcile` leaves the system as it was; nothing is removed
//! that was not added here; removing what is gone already is success, so that an interface moved
//! to another namespace, or deleted by hand, comes down quietly.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use futures_util::future::join_all;

use super::dns::{self, Resolver};
use super::error::{Errno, ErrorKind, SystemError};
use super::facts::{Facts, LinkFact, SRC_VALID_MARK};
use super::filter;
use super::hooks::HOOK_TIMEOUT;
use super::mtu::auto_mtu;
use super::netlink::{Netlink, question_failed};
use super::operation::{Family, Link, Operation, Target};
use super::plan::Plan;
use super::state::{self, Found, State, StateFile};
use crate::helper::Helper;

/// How many route changes are under way at once; the socket buffer holds their answers.
const ROUTES_AT_ONCE: usize = 64;

/// The privileged hand of the node: everything it changes in the system goes through here.
///
/// It lives in the network namespace of the thread that connected it, and serves requests on the
/// tokio runtime it was connected in.
#[derive(Clone, Debug)]
pub struct System {
    pub(super) netlink: Netlink,
    /// Who carries operations out once this process has given up its privileges.
    helper: Arc<OnceLock<Helper>>,
}

/// What stands after a plan was applied, and how to take it down.
#[derive(Debug)]
pub struct Applied {
    plan: Plan,
    done: Vec<Step>,
}

/// An operation that was carried out.
#[derive(Clone, Debug)]
struct Step {
    operation: Operation,
    undo: Option<Operation>,
}

impl Applied {
    /// The plan that stands.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

/// What [`System::clear_leftovers`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Leftovers {
    /// There was nothing.
    Nothing,
    /// The daemon lives: nothing was touched.
    Running {
        /// Its process.
        pid: u32,
    },
    /// A killed daemon's remains were cleared; each is one line for people.
    Cleared(Vec<String>),
}

impl System {
    /// Connects to the kernel; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When no netlink socket can be had.
    pub fn connect() -> Result<Self, SystemError> {
        Ok(Self { netlink: Netlink::open()?, helper: Arc::default() })
    }

    /// Reads what a plan is made from. Needs no privilege.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn facts(&self) -> Result<Facts, SystemError> {
        Facts::read(&self.netlink).await
    }

    /// Finds an interface by name in our namespace.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn link(&self, name: &str) -> Result<Option<LinkFact>, SystemError> {
        self.netlink.link_by_name(name).await.map_err(question_failed("look for an interface"))
    }

    /// Finds an interface by index in our namespace; `None` too when it was moved to another one.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn link_by_index(&self, index: u32) -> Result<Option<LinkFact>, SystemError> {
        self.netlink.link_by_index(index).await.map_err(question_failed("look for an interface"))
    }

    /// Refuses an interface name that is taken.
    ///
    /// With several queues the kernel would silently join a TUN of that name.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] when there is such an interface.
    pub async fn ensure_name_is_free(&self, name: &str) -> Result<(), SystemError> {
        match self.link(name).await? {
            None => Ok(()),
            Some(_) => Err(SystemError::new(
                ErrorKind::Exists,
                format!("an interface {name} exists already"),
            )
            .with_remedy(format!(
                "stop what made it (`ip link del {name}` if nothing does), or choose another \
                 interface.name"
            ))),
        }
    }

    /// The largest packet that fits the way to `destination`, `None` where there is no way.
    ///
    /// The route's own MTU or learned path MTU counts before that of the outgoing link.
    pub async fn path_mtu(&self, destination: IpAddr, mark: Option<u32>) -> Option<u32> {
        let lookup = self.netlink.lookup(destination.to_canonical(), mark).await.ok()?;
        match (lookup.mtu, lookup.index) {
            (Some(mtu), _) => Some(mtu),
            (None, Some(index)) => self.netlink.link_by_index(index).await.ok()?.map(|l| l.mtu),
            (None, None) => None,
        }
    }

    /// Resolves `interface.mtu: auto` over the endpoints; `None` is one that has no address yet.
    pub async fn auto_mtu(&self, endpoints: &[Option<IpAddr>], mark: Option<u32>) -> u32 {
        let mut paths = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            paths.push(match endpoint {
                Some(address) => (*address, self.path_mtu(*address, mark).await),
                None => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), None),
            });
        }
        auto_mtu(paths)
    }

    /// Carries out one operation; returns what undoes it, `None` where nothing is to be undone.
    ///
    /// # Errors
    /// What the kernel or the hook reported, with a remedy where one is known.
    pub async fn execute(&self, operation: &Operation) -> Result<Option<Operation>, SystemError> {
        match self.helper.get() {
            Some(helper) => helper.execute(operation).await,
            None => self.carry_out(operation).await,
        }
    }

    /// Has `helper` carry out all operations from now on; of two, the first stays.
    pub(crate) fn delegate(&self, helper: Helper) {
        let _ = self.helper.set(helper);
    }

    /// The helper that carries operations out, if one does.
    pub(crate) fn helper(&self) -> Option<&Helper> {
        self.helper.get()
    }

    async fn carry_out(&self, operation: &Operation) -> Result<Option<Operation>, SystemError> {
        let netlink = &self.netlink;
        if let Some(link) = device(operation)
            && link.index == 0
        {
            return Err(SystemError::new(
                ErrorKind::Absent,
                format!("cannot {operation}: the interface does not exist yet"),
            ));
        }
        let outcome = match operation {
            Operation::SetMtu { link, mtu } => match netlink.link_by_index(link.index).await {
                Ok(Some(before)) if before.mtu == *mtu => return Ok(None),
                Ok(Some(before)) => {
                    let undo = Operation::SetMtu { link: link.clone(), mtu: before.mtu };
                    netlink.set_mtu(link.index, *mtu).await.map(|()| Some(undo))
                }
                Ok(None) => Err(Errno::NODEV),
                Err(errno) => Err(errno),
            },
            Operation::SetUp(link) => match netlink.link_by_index(link.index).await {
                Ok(Some(before)) if before.up => return Ok(None),
                Ok(Some(_)) => {
                    if let Err(errno) = netlink.no_link_local(link.index).await {
                        // there may be no IPv6 at all
                        tracing::debug!("{link} keeps IPv6 addresses of the kernel's: {errno}");
                    }
                    netlink.set_up(link.index, true).await.map(|()| operation.inverse())
                }
                Ok(None) => Err(Errno::NODEV),
                Err(errno) => Err(errno),
            },
            Operation::SetDown(link) => absent_is_done(netlink.set_up(link.index, false).await),
            Operation::AddAddress { link, address } => {
                netlink.add_address(link.index, *address).await.map(|()| operation.inverse())
            }
            Operation::RemoveAddress { link, address } => {
                absent_is_done(netlink.remove_address(link.index, *address).await)
            }
            Operation::AddRoute(route) => {
                netlink.add_route(route).await.map(|()| operation.inverse())
            }
            Operation::RemoveRoute(route) => absent_is_done(netlink.remove_route(route).await),
            Operation::AddRule(rule) => netlink.add_rule(*rule).await.map(|()| operation.inverse()),
            Operation::RemoveRule(rule) => absent_is_done(netlink.remove_rule(*rule).await),
            Operation::KeepSecondaries(link) => {
                let path = format!("/proc/sys/net/ipv4/conf/{link}/promote_secondaries");
                return std::fs::write(path, "1")
                    .map(|()| None)
                    .map_err(|error| SystemError::from_io(operation, &error));
            }
            Operation::SetFilter(filter) => filter::set(filter).map(|()| operation.inverse()),
            Operation::RemoveFilter(interface) => absent_is_done(filter::remove(interface)),
            Operation::HonourMarks => write_setting("1").map(|()| operation.inverse()),
            Operation::IgnoreMarks => write_setting("0").map(|()| None),
            Operation::SetDns(dns) => return dns.set().await.map(|()| operation.inverse()),
            Operation::RestoreDns { interface, resolver } => {
                return dns::restore(interface, *resolver).await.map(|()| None);
            }
            Operation::RunHook(hook) => return hook.run(HOOK_TIMEOUT).await.map(|()| None),
        };
        outcome.map_err(|errno| explain(operation, errno))
    }

    /// Claims an interface for this process: refuses while a daemon runs it, clears what a killed
    /// one left, writes the state file. Also returns a line for everything that was cleared.
    ///
    /// With `keep_filter` the packet filter of a killed daemon stays until [`System::apply`] puts
    /// a new one in its place: between the two nothing leaks.
    ///
    /// # Errors
    /// [`ErrorKind::Running`], or the failure to clear or to write.
    pub async fn claim(
        &self,
        path: &Path,
        interface: &str,
        keep_filter: bool,
    ) -> Result<(StateFile, Vec<String>), SystemError> {
        let lock = state::lock_folder(path)?;
        let mut kept = Vec::new();
        let cleared = match state::find(path)? {
            Found::Nothing => Vec::new(),
            Found::Alive(state) => return Err(state::running(&state)),
            Found::Dead(mut state) => {
                if keep_filter && state::is_here(&state) {
                    let ours = Operation::RemoveFilter(interface.to_owned());
                    kept = state.undo.extract_if(.., |undo| *undo == ours).collect();
                }
                self.clear(path, state).await?
            }
        };
        let file = StateFile::create(path, interface, kept)?;
        drop(lock);
        Ok((file, cleared))
    }

    /// Clears what a killed daemon left, for `down`. A living one is not touched.
    ///
    /// # Errors
    /// When something could not be removed; the state file stays then.
    pub async fn clear_leftovers(&self, path: &Path) -> Result<Leftovers, SystemError> {
        let is_there = path.try_exists();
        if !is_there
            .map_err(|e| SystemError::from_io(format_args!("read {}", path.display()), &e))?
        {
            return Ok(Leftovers::Nothing);
        }
        let lock = state::lock_folder(path)?;
        let found = match state::find(path)? {
            Found::Nothing => Leftovers::Nothing,
            Found::Alive(state) => Leftovers::Running { pid: state.process.pid },
            Found::Dead(state) => Leftovers::Cleared(self.clear(path, state).await?),
        };
        drop(lock);
        Ok(found)
    }

    async fn clear(&self, path: &Path, state: State) -> Result<Vec<String>, SystemError> {
        let mut cleared = Vec::new();
        if state::is_here(&state) {
            for undo in state.undo.iter().rev() {
                // Only removals of our own kinds: the file is data, not a script.
                if matches!(
                    undo,
                    Operation::RemoveRule(_)
                        | Operation::RemoveRoute(_)
                        | Operation::RemoveFilter(_)
                        | Operation::RestoreDns { .. }
                        | Operation::IgnoreMarks
                ) {
                    self.execute(undo).await?;
                    cleared.push(undo.to_string());
                }
            }
        } else if !state.undo.is_empty() {
            tracing::warn!(
                "a killed daemon left rules or routes in another network namespace; \
                 they end with it: see `ip rule` there"
            );
        }
        for file in &state.files {
            if file.exists() {
                state::remove_file(file)?;
                cleared.push(format!("remove {}", file.display()));
            }
        }
        state::remove_file(path)?;
        Ok(cleared)
    }

    /// Carries out a plan on an interface that exists (see [`Plan::with_index`]).
    ///
    /// # Errors
    /// The first failure; what was done before it is undone, in reverse.
    pub async fn apply(&self, plan: Plan, state: &mut StateFile) -> Result<Applied, SystemError> {
        state.set_index(plan.link.index)?;
        let mut done = Vec::with_capacity(plan.operations.len());
        match self.advance(&plan.operations, &mut done, state).await {
            Ok(()) => Ok(Applied { plan, done }),
            Err(error) => {
                self.retreat(done, state).await;
                Err(error)
            }
        }
    }

    /// Runs operations one after the other, as [`Plan::hooks`] returns them.
    ///
    /// # Errors
    /// The first failure of a hook that must succeed; that of another is logged.
    pub async fn run_hooks(&self, hooks: &[Operation]) -> Result<(), SystemError> {
        for operation in hooks {
            if let Err(error) = self.execute(operation).await {
                match operation {
                    Operation::RunHook(hook) if !hook.stage.must_succeed() => {
                        tracing::warn!("{error}");
                    }
                    _ => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Takes down exactly what `applied` added, newest first. Failures are logged and returned;
    /// the rest goes on.
    ///
    /// An interface that was moved to another namespace is left to vanish with its descriptor.
    pub async fn take_down(&self, mut applied: Applied, state: &mut StateFile) -> Vec<SystemError> {
        if !self.is_here(&applied.plan.link).await {
            // Another interface may have the index by now. Routes and rules name themselves ours.
            applied.done.retain(|step| device(&step.operation).is_none());
        }
        self.retreat(applied.done, state).await
    }

    /// Whether an interface is in our namespace under its index and name.
    async fn is_here(&self, link: &Link) -> bool {
        let found = self.link_by_index(link.index).await;
        matches!(found, Ok(Some(found)) if found.link.name == link.name)
    }

    /// Changes what stands into what `new` wants, without touching what both want.
    ///
    /// Returns what was done. New addresses come before old ones go, so that the kernel does not
    /// flush the routes of an interface whose last address goes. While the interface is in another
    /// namespace its addresses and routes are the operator's: only the rest changes.
    ///
    /// # Errors
    /// The first failure; what stood before is restored.
    pub async fn reconcile(
        &self,
        applied: &mut Applied,
        new: Plan,
        state: &mut StateFile,
    ) -> Result<Vec<Operation>, SystemError> {
        let mut new = new;
        if !self.is_here(&applied.plan.link).await {
            tracing::info!("{} is in another namespace: its routes stay as they are", new.link);
            applied.done.retain(|step| device(&step.operation).is_none());
            new.operations.retain(|operation| device(operation).is_none());
        }
        let wanted: HashSet<&Operation> = new.operations.iter().collect();
        let present: HashSet<&Operation> =
            applied.done.iter().map(|step| &step.operation).collect();
        let (first, last): (Vec<Operation>, Vec<Operation>) = new
            .operations
            .iter()
            .filter(|operation| !present.contains(operation))
            .cloned()
            .partition(|o| !matches!(o, Operation::AddRoute(_) | Operation::AddRule(_)));
        let replaced: Vec<Operation> = applied
            .done
            .iter()
            .map(|step| &step.operation)
            .filter(|old| first.iter().any(|new| new.replaces(old)))
            .cloned()
            .collect();
        let gone: Vec<Step> = applied
            .done
            .iter()
            .filter(|step| !wanted.contains(&step.operation))
            .filter(|step| !replaced.contains(&step.operation))
            .cloned()
            .collect();
        let (addresses, routes): (Vec<Step>, Vec<Step>) =
            gone.into_iter().partition(|s| matches!(s.operation, Operation::AddAddress { .. }));
        let (early, late): (Vec<Step>, Vec<Step>) =
            addresses.into_iter().partition(|step| blocks(&step.operation, &first));
        let addresses_go = !early.is_empty() || !late.is_empty();
        if !late.is_empty() {
            self.keep_secondaries(&applied.plan.link).await;
        }
        let mut added = Vec::new();
        let mut removed = Vec::new();
        let outcome = async {
            self.withdraw(early, &mut removed, state).await?;
            self.advance(&first, &mut added, state).await?;
            // Before the routes: the network of an address may become a route of ours.
            self.withdraw(late, &mut removed, state).await?;
            self.advance(&last, &mut added, state).await?;
            self.withdraw(routes, &mut removed, state).await
        }
        .await;
        if let Err(error) = outcome {
            self.retreat(added, state).await;
            for operation in removed.iter().rev().chain(&replaced) {
                state.before(operation)?;
                if let Err(error) = self.execute(operation).await {
                    tracing::warn!("while restoring what stood: {error}");
                }
            }
            self.repair(applied).await?;
            return Err(error);
        }
        let mut executed: Vec<Operation> = removed.iter().filter_map(Operation::inverse).collect();
        executed.extend(added.iter().map(|step| step.operation.clone()));
        let removed: HashSet<Operation> = removed.into_iter().collect();
        applied.done.retain(|step| !removed.contains(&step.operation));
        // What replaces an old step takes its place, and what was before both is what taking down
        // restores.
        for step in added {
            match applied.done.iter_mut().find(|old| step.operation.replaces(&old.operation)) {
                Some(old) => old.operation = step.operation,
                None if matches!(step.operation, Operation::SetFilter(_)) => {
                    applied.done.insert(0, step);
                }
                None => applied.done.push(step),
            }
        }
        applied.plan = new;
        if addresses_go {
            // With an address the kernel may take routes that lead through it.
            executed.extend(self.repair(applied).await?);
        }
        Ok(executed)
    }

    /// Tells the kernel to keep the other IPv4 addresses of a network when its first one goes,
    /// and with them the routes of the interface. It is our interface's own setting. Where it
    /// cannot be had, [`System::repair`] puts back what went.
    async fn keep_secondaries(&self, link: &Link) {
        if let Err(error) = self.execute(&Operation::KeepSecondaries(link.clone())).await {
            tracing::debug!("{error}");
        }
    }

    /// Puts back whatever of `applied` others have removed; returns what that was.
    ///
    /// Nothing happens while the interface is not in our namespace.
    ///
    /// # Errors
    /// When the kernel does not answer or refuses.
    pub async fn repair(&self, applied: &Applied) -> Result<Vec<Operation>, SystemError> {
        let missing = self.missing(&applied.plan).await?;
        for operation in &missing {
            match self.execute(operation).await {
                // Somebody was faster.
                Err(error) if error.kind == ErrorKind::Exists => {}
                other => drop(other?),
            }
        }
        Ok(missing)
    }

    /// Sets the packet filter of `applied` once more, if it has one; returns what was done.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn set_filter_again(
        &self,
        applied: &Applied,
    ) -> Result<Option<Operation>, SystemError> {
        let operations = &applied.plan.operations;
        let filter = operations.iter().find(|o| matches!(o, Operation::SetFilter(_)));
        let Some(filter) = filter else { return Ok(None) };
        self.execute(filter).await?;
        Ok(Some(filter.clone()))
    }

    /// Lists what a plan wants and the system lacks.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn missing(&self, plan: &Plan) -> Result<Vec<Operation>, SystemError> {
        let facts = self.facts().await?;
        let index = plan.link.index;
        let Some(link) = facts.links.iter().find(|l| l.link == plan.link) else {
            return Ok(Vec::new());
        };
        let ours: HashSet<_> =
            facts.routes.iter().filter(|r| r.ours).map(|r| r.destination).collect();
        let is_there = |operation: &Operation| match operation {
            Operation::SetMtu { mtu, .. } => link.mtu == *mtu,
            Operation::SetUp(_) => link.up,
            Operation::AddAddress { address, .. } => {
                facts.addresses.iter().any(|a| a.index == index && a.address == *address)
            }
            // The set spares the search for most of many routes.
            Operation::AddRoute(route) => {
                ours.contains(&route.destination) && facts.has_route(route)
            }
            Operation::AddRule(rule) => facts.rules.iter().any(|r| r.is(rule)),
            Operation::HonourMarks => facts.marks_honoured,
            Operation::SetDns(dns) if dns.resolver == Resolver::File => {
                dns::is_ours(&dns.interface)
            }
            Operation::SetFilter(filter) => filter::has_table(&filter.interface) != Some(false),
            _ => true,
        };
        Ok(plan.operations.iter().filter(|operation| !is_there(operation)).cloned().collect())
    }

    /// Carries out operations in order, routes in groups, and notes what was done.
    async fn advance(
        &self,
        operations: &[Operation],
        done: &mut Vec<Step>,
        state: &mut StateFile,
    ) -> Result<(), SystemError> {
        let mut rest = operations;
        while let Some(first) = rest.first() {
            let group = if is_device_route(first) {
                rest.iter().take_while(|o| is_device_route(o)).take(ROUTES_AT_ONCE).count()
            } else {
                1
            };
            let (now, later) = rest.split_at(group);
            for operation in now {
                state.before(operation)?;
            }
            let outcomes = join_all(now.iter().map(|o| self.execute(o))).await;
            let mut failure = None;
            for (operation, outcome) in now.iter().zip(outcomes) {
                match outcome {
                    Ok(undo) => done.push(Step { operation: operation.clone(), undo }),
                    Err(error) => {
                        if let Some(undo) = operation.inverse() {
                            state.after_undo(&undo)?;
                        }
                        failure.get_or_insert(error);
                    }
                }
            }
            if let Some(error) = failure {
                return Err(error);
            }
            rest = later;
        }
        Ok(())
    }

    /// Undoes steps newest first; failures are logged and returned.
    async fn retreat(&self, done: Vec<Step>, state: &mut StateFile) -> Vec<SystemError> {
        let mut failures = Vec::new();
        let mut undo: Vec<Operation> = done.into_iter().filter_map(|step| step.undo).collect();
        undo.reverse();
        let mut rest = undo.as_slice();
        while let Some(first) = rest.first() {
            let group = if is_device_route(first) {
                rest.iter().take_while(|o| is_device_route(o)).take(ROUTES_AT_ONCE).count()
            } else {
                1
            };
            let (now, later) = rest.split_at(group);
            let outcomes = join_all(now.iter().map(|o| self.execute(o))).await;
            for (operation, outcome) in now.iter().zip(outcomes) {
                let outcome = match outcome {
                    // What is gone needs no undoing.
                    Err(error) if error.kind == ErrorKind::Absent => Ok(None),
                    other => other,
                };
                if let Err(error) = outcome.map(drop).and_then(|()| state.after_undo(operation)) {
                    tracing::warn!("{error}");
                    failures.push(error);
                }
            }
            rest = later;
        }
        failures
    }

    /// Undoes steps newest first; the first failure ends it. `removed` gets their operations.
    async fn withdraw(
        &self,
        steps: Vec<Step>,
        removed: &mut Vec<Operation>,
        state: &mut StateFile,
    ) -> Result<(), SystemError> {
        for step in steps.into_iter().rev() {
            // The MTU is replaced, not put back first; an interface stays up.
            if let Some(undo) = step.operation.inverse()
                && !matches!(step.operation, Operation::SetUp(_))
            {
                self.execute(&undo).await?;
                state.after_undo(&undo)?;
                removed.push(step.operation);
            }
        }
        Ok(())
    }
}

/// Writes the setting that lets reverse-path checks see marks.
fn write_setting(value: &str) -> Result<(), Errno> {
    std::fs::write(SRC_VALID_MARK, value)
        .map_err(|error| error.raw_os_error().map_or(Errno::IO, Errno))
}

/// Counts the removal of what is gone as done.
fn absent_is_done(outcome: Result<(), Errno>) -> Result<Option<Operation>, Errno> {
    match outcome {
        Err(errno) if !errno.is_absent() => Err(errno),
        _ => Ok(None),
    }
}

/// The interface that an addition needs.
fn device(operation: &Operation) -> Option<&Link> {
    match operation {
        Operation::SetMtu { link, .. }
        | Operation::SetUp(link)
        | Operation::AddAddress { link, .. } => Some(link),
        Operation::AddRoute(route) => match &route.target {
            Target::Device(link) => Some(link),
            Target::Unreachable => None,
        },
        _ => None,
    }
}

/// Whether many of these may be under way at once, in any order.
fn is_device_route(operation: &Operation) -> bool {
    match operation {
        Operation::AddRoute(route) | Operation::RemoveRoute(route) => {
            matches!(route.target, Target::Device(_))
        }
        _ => false,
    }
}

/// Whether an old address must go before a new one can come: IPv6 allows an address only once
/// on an interface, whatever its prefix length.
fn blocks(old: &Operation, new: &[Operation]) -> bool {
    let Operation::AddAddress { address: old, .. } = old else { return false };
    old.addr().is_ipv6()
        && new.iter().any(|operation| {
            matches!(operation, Operation::AddAddress { address, .. } if address.addr() == old.addr())
        })
}

/// Says what a failed operation means.
fn explain(operation: &Operation, errno: Errno) -> SystemError {
    let error = SystemError::from_errno(operation.summary(), errno);
    match (operation, errno) {
        (Operation::AddAddress { link, address }, Errno::PERM | Errno::ACCESS)
            if Family::of(address.addr()) == Family::V6 && ipv6_is_off(&link.name) =>
        {
            SystemError { kind: ErrorKind::Unsupported, ..error }.with_remedy(format!(
                "IPv6 is switched off here: set net.ipv6.conf.{}.disable_ipv6 to 0, or take the \
                 address out of interface.address",
                link.name
            ))
        }
        (Operation::AddAddress { .. }, Errno::EXIST) => {
            error.with_remedy("the interface has it already: name it once in interface.address")
        }
        (Operation::AddRoute(_), Errno::EXIST) => error.with_remedy(
            "another route has the prefix: take it out of allowed_ips, remove that route, or set \
             interface.routes to off or {table: N}",
        ),
        _ => error,
    }
}

fn ipv6_is_off(name: &str) -> bool {
    std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"))
        .map_or(true, |text| text.trim() != "0")
}

#[cfg(test)]
mod tests;
