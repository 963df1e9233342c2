//! From a peer file to a running node, or, at the first failure, back to nothing.
//!
//! The order: our name, what a killed daemon left, the plan, the port, `pre_up`, the interface,
//! its addresses and routes, the control socket; then privileges go, and only then come engine and
//! workers, who meet the network. `post_up` runs beside the loop, by the helper.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use stadium_config::{AutoOff, Endpoint, Mtu, PeerFile, Routes, Switch};
use stadium_proto::engine::{Change, Engine};
use stadium_proto::identity::Identity;
use stadium_proto::timers::Timers;
use stadium_tun::{Device, Options};
use tokio::sync::mpsc;

use super::book::Book;
use super::feed::Feed;
use super::lookup::Lookups;
use super::network::Network;
use super::outbox::Outbox;
use super::paths::Paths;
use super::pings::Pings;
use super::{Control, scrape, server};
use crate::alarm::Alarm;
use crate::clock::Clock;
use crate::confine::{self, Needs};
use crate::error::RunError;
use crate::helper::{Bounds, Helper};
use crate::inbound::Late;
use crate::notice::NOTICES;
use crate::resolve::resolve;
use crate::run::Confinement;
use crate::settings;
use crate::sockets::{self, Bound};
use crate::system::{self, Applied, HookStage, Operation, Plan, StateFile, System};
use crate::workers::{Drain, WorkerSetup, Workers};

/// How long start-up waits for endpoint names; the MTU depends on the addresses.
const NAMES_TIMEOUT: Duration = Duration::from_secs(3);

/// What a peer file amounts to on this machine, before anything is done.
#[derive(Debug)]
pub(crate) struct Prospect {
    pub(crate) plan: Plan,
    pub(crate) mtu: u32,
    /// The addresses of each peer's endpoint, in the order of the file.
    pub(crate) addresses: Vec<Vec<SocketAddr>>,
}

/// Resolves endpoints and MTU and makes the plan.
///
/// # Errors
/// What the peer file asks for and this machine or version cannot do.
pub(crate) async fn prospect(system: &System, file: &PeerFile) -> Result<Prospect, RunError> {
    let addresses = resolve_all(file).await;
    let known: Vec<IpAddr> = addresses.iter().flatten().map(SocketAddr::ip).collect();
    let mtu = match file.interface.mtu {
        Mtu::Fixed(mtu) => mtu.into(),
        Mtu::Auto => {
            let mut endpoints = Vec::new();
            for (peer, found) in file.peers.iter().zip(&addresses) {
                match found.as_slice() {
                    [] if peer.endpoint.is_some() => endpoints.push(None),
                    found => endpoints.extend(found.iter().map(|address| Some(address.ip()))),
                }
            }
            system.auto_mtu(&endpoints, None).await
        }
    };
    let facts = system.facts().await?;
    let spec = settings::interface_spec(file, mtu, 0, known);
    let plan = Plan::new(&spec, &facts, None)?;
    Ok(Prospect { plan, mtu, addresses })
}

/// Looks up all endpoints for a bounded time; what is not found by then has no address yet.
async fn resolve_all(file: &PeerFile) -> Vec<Vec<SocketAddr>> {
    join_all(file.peers.iter().map(|peer| async {
        match &peer.endpoint {
            None => Vec::new(),
            Some(Endpoint::Address(address)) => vec![settings::canonical(*address)],
            Some(Endpoint::Name { host, port }) => {
                let found = tokio::time::timeout(NAMES_TIMEOUT, resolve(host, *port)).await;
                let found = found.ok().and_then(Result::ok).unwrap_or_default();
                found.into_iter().map(settings::canonical).collect()
            }
        }
    }))
    .await
}

/// How a node runs, beside what its peer file says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    pub(crate) timers: Timers,
    pub(crate) clock: Clock,
    /// How it gives up its privileges; `None` keeps them.
    pub(crate) confinement: Option<&'a Confinement>,
}

/// Brings a node up; it answers nobody before [`Control::run`].
///
/// # Errors
/// The first step that failed; everything before it is undone.
pub(crate) async fn start(file: PeerFile, way: Way<'_>) -> Result<Control, RunError> {
    let system = System::connect()?;
    let name = file.interface.name.to_string();
    let socket = settings::absolute(&file.control.socket);
    let path = StateFile::path_for(&socket);
    let (mut state, cleared) = system.claim(&path, &name, starts_closed(&file)).await?;
    for line in cleared {
        tracing::warn!("a killed daemon of {name} had left something: {line}");
    }
    match raise(&system, file, way, socket, &mut state).await {
        Ok(raised) => Ok(raised.into_control(system, state)),
        Err(error) => {
            if state.holds_something() {
                tracing::warn!(
                    "what a killed daemon of {name} left holds on: nothing leaves beside the \
                     tunnel until `stadium up {name}` or `stadium down {name}`"
                );
            } else if let Err(error) = state.remove() {
                tracing::warn!("while undoing the start: {error}");
            }
            Err(error)
        }
    }
}

/// Whether the packet filter that a killed daemon left may stay until the new one stands: there
/// will be one, and no name has to be looked up before.
fn starts_closed(file: &PeerFile) -> bool {
    let named = |peer: &stadium_config::Peer| matches!(peer.endpoint, Some(Endpoint::Name { .. }));
    file.has_default_route()
        && file.interface.routes == Routes::Auto
        && file.interface.kill_switch != Switch::Off
        && !file.peers.iter().any(named)
}

/// A node that stands, but for what [`start`] holds.
struct Raised {
    file: PeerFile,
    mtu: u32,
    socket: PathBuf,
    addresses: Vec<Vec<SocketAddr>>,
    applied: Applied,
    device: Device,
    open: Open,
}

/// What is open: sockets, engine, workers.
struct Open {
    engine: Engine,
    clock: Clock,
    outbox: Outbox,
    drain: Drain,
    late: Late,
    workers: Workers,
    worker_count: usize,
    notices: mpsc::Receiver<crate::notice::Notice>,
    listener: tokio::net::UnixListener,
    scraped: Option<tokio::net::TcpListener>,
    network: Network,
    alarm: Alarm,
}

/// Everything after the claim.
async fn raise(
    system: &System,
    file: PeerFile,
    way: Way<'_>,
    socket: PathBuf,
    state: &mut StateFile,
) -> Result<Raised, RunError> {
    system.ensure_name_is_free(file.interface.name.as_str()).await?;
    let Prospect { plan, mtu, addresses } = prospect(system, &file).await?;
    for warning in &plan.warnings {
        tracing::warn!("{warning}");
    }
    let worker_count = settings::workers(&file);
    let offload = file.interface.offload == AutoOff::Auto;
    let bound = sockets::bind(&file.interface.listen, worker_count, plan.fwmark, offload)?;
    let port = bound.port();
    let post_down = plan.hooks(HookStage::PostDown, port);
    let up = async {
        system.run_hooks(&plan.hooks(HookStage::PreUp, port)).await?;
        let device = Device::create(&Options {
            queues: worker_count,
            offload,
            ..Options::named(file.interface.name.as_str())
        })?;
        let applied = system.apply(plan.with_index(device.ifindex()), state).await?;
        let setting = Setting { system, file: &file, way, mtu, worker_count, applied: &applied };
        match open(&setting, &device, bound, &socket, state).await {
            Ok(open) => Ok(Raised { file, mtu, socket, addresses, applied, device, open }),
            Err(error) => {
                for error in system.take_down(applied, state).await {
                    tracing::warn!("while undoing the start: {error}");
                }
                Err(error)
            }
        }
    };
    match up.await {
        Ok(raised) => Ok(raised),
        Err(error) => {
            // what pre_up hooks did is theirs to undo
            let _ = system.run_hooks(&post_down).await;
            Err(error)
        }
    }
}

/// What [`open`] is told.
struct Setting<'a> {
    system: &'a System,
    file: &'a PeerFile,
    way: Way<'a>,
    mtu: u32,
    worker_count: usize,
    applied: &'a Applied,
}

/// Opens the control socket, makes the engine and starts the workers.
async fn open(
    setting: &Setting<'_>,
    device: &Device,
    bound: Bound,
    socket: &Path,
    state: &mut StateFile,
) -> Result<Open, RunError> {
    let Setting { system, file, way, mtu, worker_count, applied } = *setting;
    let Way { timers, clock, confinement } = way;
    let events = system::watch()
        .inspect_err(|error| tracing::warn!("changes of the network go unnoticed: {error}"))
        .ok();
    let network = Network::new(events, &system.facts().await?);
    let alarm = Alarm::new().map_err(|error| RunError::io("make a timer", &error))?;
    let scraped = match file.control.metrics {
        Some(address) => Some(scrape::listen(address).await?),
        None => None,
    };
    let listener = server::listen(socket, file.control.group.as_deref())?;
    let listening = async {
        state.add_file(socket)?;
        if let Some(confinement) = confinement {
            confine(confinement, system, file, applied, bound.port(), socket).await?;
        }
        Ok(())
    };
    let listening: Result<(), RunError> = listening.await;
    let opened = || {
        listening?;
        let engine = Engine::new(
            Identity::new(file.interface.private_key.clone()),
            file.interface.network_key.clone(),
            settings::engine(file, mtu, worker_count, device.offload().csum, timers),
            Box::new(system_entropy),
            clock.now(),
        );
        let (sender, notices) = mpsc::channel(NOTICES);
        let data = bound.sets.first().cloned().unwrap_or_default();
        let copy_dscp = file.interface.copy_dscp;
        let drain = Drain::new(engine.shared().clone(), data, copy_dscp);
        let queue = device
            .queues()
            .first()
            .ok_or_else(|| RunError::failed("the interface has no queue"))?;
        let late = Late::new(Arc::clone(queue), engine.shared().clone());
        let workers = Workers::start(WorkerSetup {
            shared: engine.shared().clone(),
            queues: device.queues().to_vec(),
            sockets: bound.sets.clone(),
            notices: sender,
            clock,
            copy_dscp,
        })
        .map_err(|error| RunError::io("start the workers", &error))?;
        Ok((engine, drain, late, workers, notices))
    };
    match opened() {
        Ok((engine, drain, late, workers, notices)) => Ok(Open {
            engine,
            clock,
            outbox: Outbox::new(bound),
            drain,
            late,
            workers,
            worker_count,
            notices,
            listener,
            scraped,
            network,
            alarm,
        }),
        Err(error) => {
            let _ = std::fs::remove_file(socket);
            Err(error)
        }
    }
}

/// Hands everything that takes privilege to a helper, and gives up our own.
async fn confine(
    confinement: &Confinement,
    system: &System,
    file: &PeerFile,
    applied: &Applied,
    port: u16,
    socket: &Path,
) -> Result<(), RunError> {
    let plan = applied.plan();
    let stages = [HookStage::PostUp, HookStage::PreDown, HookStage::PostDown];
    let hooks = stages.into_iter().flat_map(|stage| plan.hooks(stage, port));
    let hooks = hooks.filter_map(|operation| match operation {
        Operation::RunHook(hook) => Some(hook),
        _ => None,
    });
    let bounds = Bounds { link: plan.link.clone(), hooks: hooks.collect() };
    let helper = Helper::start(&confinement.helper, bounds).await?;
    tracing::debug!(pid = helper.pid(), "the privileged helper runs");
    system.delegate(helper);
    let folder = |path: &Path| path.parent().map(Path::to_owned);
    let mut read = confinement.read.clone();
    read.extend(folder(&settings::absolute(&file.path)));
    confine::enter(&Needs { read, write: folder(socket).into_iter().collect() })
}

/// Fills `bytes` from the operating system.
fn system_entropy(bytes: &mut [u8]) {
    // Linux has had the call since 3.17 and it cannot fail once the pool is ready
    getrandom::fill(bytes).expect("the operating system has randomness");
}

impl Raised {
    fn into_control(self, system: System, state: StateFile) -> Control {
        let Self { file, mtu, socket, addresses, applied, device, open } = self;
        let feed = Feed::new(file.interface.name.as_str());
        let mut control = Control {
            engine: open.engine,
            clock: open.clock,
            outbox: open.outbox,
            drain: open.drain,
            late: open.late,
            book: Book::default(),
            file,
            mtu,
            worker_count: open.worker_count,
            started: open.clock.instant(),
            device,
            workers: open.workers,
            notices: open.notices,
            listener: Some(open.listener),
            socket,
            lookups: Lookups::new(),
            network: open.network,
            pings: Pings::default(),
            paths: Paths::default(),
            feed,
            scraped: open.scraped,
            confirm_by: None,
            alarm: open.alarm,
            system,
            state,
            applied,
        };
        control.introduce_peers(addresses);
        control
    }
}

impl Control {
    /// Tells the engine of all peers of the file, and starts to look for those without address.
    fn introduce_peers(&mut self, addresses: Vec<Vec<SocketAddr>>) {
        let now = self.clock.now();
        let mut changes = Vec::with_capacity(self.file.peers.len());
        for (peer, found) in self.file.peers.iter().zip(&addresses) {
            let mut config = settings::peer(peer);
            config.endpoint = found.first().copied();
            changes.push(Change::Add(Box::new(config)));
        }
        let results = self.engine.apply(now, changes, &mut self.outbox);
        for ((peer, found), result) in self.file.peers.iter().zip(addresses).zip(results) {
            match result {
                Ok(Some(id)) => {
                    self.book.set(id, peer);
                    if let Some(entry) = self.book.get_mut(id)
                        && !found.is_empty()
                    {
                        entry.end_lookup(Some(found), now.instant);
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::error!(peer = peer.label(), "left out: {error}"),
            }
        }
        self.configure_noise();
        self.look_up_unknown();
    }
}
