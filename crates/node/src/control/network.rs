//! What happens to the network outside: addresses and ways that change, our own interface.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use stadium_proto::engine::{Input, PeerState};
use stadium_proto::peer::PeerId;
use tokio::time::Instant;

use super::Control;
use super::pings::Pings;
use crate::error::RunError;
use crate::system::{Facts, NetworkEvent, NetworkEvents};

/// How long a change is left to settle: one event seldom comes alone.
const SETTLE: Duration = Duration::from_millis(300);

/// The least time between two rounds to all peers.
const RENEWAL_PAUSE: Duration = Duration::from_secs(2);

/// The least time between two repairs.
const REPAIR_PAUSE: Duration = Duration::from_secs(5);

/// What comes from outside.
#[derive(Debug)]
pub(super) enum Outside {
    /// Something changed.
    Event(NetworkEvent),
    /// The kernel will tell no more.
    Blind,
    /// The network has changed and come to rest.
    Renew,
    /// Something of ours is to be put back.
    Repair,
}

/// The watch over the network and what is due because of it.
#[derive(Debug)]
pub(super) struct Network {
    events: Option<NetworkEvents>,
    /// Addresses that were seen: the kernel tells of them again when only their lifetime changes.
    known: HashSet<(u32, IpNet)>,
    /// Whether our interface was up when last heard of.
    up: bool,
    /// Whether the packet filter may be gone: without privilege it cannot be looked at.
    filter_lost: bool,
    renew_at: Option<Instant>,
    renewed: Option<Instant>,
    repair_at: Option<Instant>,
    repaired: Option<Instant>,
}

impl Network {
    pub(super) fn new(events: Option<NetworkEvents>, facts: &Facts) -> Self {
        Self {
            events,
            known: facts.addresses.iter().map(|fact| (fact.index, fact.address)).collect(),
            up: true,
            filter_lost: false,
            renew_at: None,
            renewed: None,
            repair_at: None,
            repaired: None,
        }
    }

    /// Waits for what comes next.
    pub(super) async fn next(&mut self) -> Outside {
        let event = async {
            match &mut self.events {
                Some(events) => events.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = event => match event {
                Some(event) => Outside::Event(event),
                None => {
                    self.events = None;
                    Outside::Blind
                }
            },
            () = wait(self.renew_at) => {
                self.renew_at = None;
                self.renewed = Some(Instant::now());
                Outside::Renew
            }
            () = wait(self.repair_at) => {
                self.repair_at = None;
                self.repaired = Some(Instant::now());
                Outside::Repair
            }
        }
    }

    fn plan_renewal(&mut self) {
        plan(&mut self.renew_at, self.renewed, RENEWAL_PAUSE);
    }

    fn plan_repair(&mut self) {
        if self.up {
            plan(&mut self.repair_at, self.repaired, REPAIR_PAUSE);
        }
    }

    /// Tells whether this machine has an address.
    fn has(&self, ip: IpAddr) -> bool {
        self.known.iter().any(|(_, net)| net.addr() == ip)
    }

    /// Takes an address event; returns whether it is news.
    fn is_news(&mut self, index: u32, address: IpNet, added: bool) -> bool {
        if added {
            self.known.insert((index, address))
        } else {
            self.known.remove(&(index, address))
        }
    }
}

async fn wait(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn plan(at: &mut Option<Instant>, last: Option<Instant>, pause: Duration) {
    if at.is_none() {
        let soon = Instant::now() + SETTLE;
        *at = Some(last.map_or(soon, |last| soon.max(last + pause)));
    }
}

impl Control {
    /// Handles what came from outside.
    ///
    /// # Errors
    /// When it was the end of our interface.
    pub(super) async fn handle_outside(&mut self, outside: Outside) -> Result<(), RunError> {
        match outside {
            Outside::Event(event) => return self.judge(event),
            Outside::Blind => {
                tracing::warn!("the kernel tells no more of the network: changes go unnoticed");
            }
            Outside::Renew => self.renew_paths(),
            Outside::Repair => self.repair().await,
        }
        Ok(())
    }

    /// Judges a change of the network.
    fn judge(&mut self, event: NetworkEvent) -> Result<(), RunError> {
        let own = self.applied.plan().link.index;
        match event {
            NetworkEvent::LinkRemoved(fact) if fact.link.index == own => {
                if self.device.name().is_err() {
                    return Err(self.interface_gone("the kernel removed it"));
                }
                tracing::info!(
                    "{} is in another network namespace now, and goes on working",
                    fact.link
                );
                self.network.up = false;
            }
            NetworkEvent::LinkChanged(fact) if fact.link.index == own => {
                let rose = fact.up && !self.network.up;
                self.network.up = fact.up;
                if rose {
                    // going down took the routes
                    self.network.plan_repair();
                }
            }
            NetworkEvent::LinkRemoved(_) | NetworkEvent::LinkChanged(_) => {}
            NetworkEvent::AddressChanged { index, address, added } => {
                let news = self.network.is_news(index, address, added);
                if news && index != own {
                    self.network.plan_renewal();
                } else if news && !added {
                    self.network.plan_repair();
                }
            }
            NetworkEvent::RouteChanged { ours: true, added, .. }
            | NetworkEvent::RuleChanged { ours: true, added, .. } => {
                if !added {
                    self.network.plan_repair();
                }
            }
            NetworkEvent::RouteChanged { destination, index, .. } => {
                if index != Some(own) && self.endpoints().any(|ip| destination.contains(&ip)) {
                    self.network.plan_renewal();
                }
            }
            NetworkEvent::RuleChanged { .. } => self.network.plan_renewal(),
            NetworkEvent::FilterRemoved => {
                if self.applied.plan().has_filter() {
                    self.network.filter_lost = true;
                    self.network.plan_repair();
                }
            }
            NetworkEvent::Lost => {
                self.network.plan_renewal();
                self.network.plan_repair();
            }
        }
        Ok(())
    }

    /// Has every peer hear from us over the network as it is now. Sessions roam by a ping and need
    /// no handshake for it; where the way to a peer has changed there is one all the same, at once,
    /// so that the indices seen in one network are not seen in the next.
    fn renew_paths(&mut self) {
        let now = self.clock.instant();
        let peers: Vec<PeerId> = self.book.iter().map(|(id, _)| id).collect();
        let mut told = 0;
        for peer in peers {
            let Some(status) = self.engine.peer_status(peer, now) else { continue };
            let endpoint = self.engine.cell(peer).and_then(|cell| cell.endpoint());
            let Some(endpoint) = endpoint else { continue };
            if endpoint.local.is_some_and(|local| !self.network.has(local.ip)) {
                self.handle(Input::SourceLost(peer));
            }
            if status.session.is_some() {
                self.handle(Input::Ping { peer, token: Pings::OUR_OWN });
            } else if status.state != PeerState::Handshaking {
                continue;
            }
            self.handle(Input::PathChanged(peer));
            told += 1;
        }
        if told > 0 {
            tracing::info!(peers = told, "the network has changed: peers hear from us");
        }
    }

    /// Lists where peers are reached now.
    fn endpoints(&self) -> impl Iterator<Item = IpAddr> {
        let cells = self.book.iter().filter_map(|(id, _)| self.engine.cell(id));
        cells.filter_map(|cell| cell.endpoint()).map(|endpoint| endpoint.remote.ip())
    }

    /// Puts back what others have removed.
    async fn repair(&mut self) {
        if std::mem::take(&mut self.network.filter_lost) {
            match self.system.set_filter_again(&self.applied).await {
                Ok(Some(filter)) => tracing::warn!(
                    "somebody may have undone it, it is done again: {}",
                    filter.summary()
                ),
                Ok(None) => {}
                Err(error) => tracing::warn!("cannot put back what others removed: {error}"),
            }
        }
        match self.system.repair(&self.applied).await {
            Ok(missing) => {
                for operation in missing {
                    tracing::warn!(
                        "somebody had undone it, it is done again: {}",
                        operation.summary()
                    );
                }
            }
            Err(error) => tracing::warn!("cannot put back what others removed: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_news_once() {
        let mut network = Network::new(None, &Facts::default());
        let address = "192.0.2.1/24".parse().unwrap();
        assert!(network.is_news(2, address, true));
        assert!(!network.is_news(2, address, true), "only its lifetime changed");
        assert!(network.is_news(3, address, true));
        assert!(network.is_news(2, address, false));
        assert!(!network.is_news(2, address, false));
    }

    #[test]
    fn what_comes_in_a_burst_is_done_once_and_not_too_often() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut network = Network::new(None, &Facts::default());
            network.plan_renewal();
            let first = network.renew_at;
            network.plan_renewal();
            assert_eq!(network.renew_at, first);
            assert!(matches!(network.next().await, Outside::Renew));
            assert_eq!(network.renew_at, None);
            network.plan_renewal();
            assert!(network.renew_at.unwrap() >= first.unwrap() + RENEWAL_PAUSE);
        });
    }
}
