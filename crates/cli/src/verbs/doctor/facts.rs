//! Everything that the checks judge, gathered beforehand: plain data.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use stadium_config::{Diagnostics, Endpoint, PeerFile};
use stadium_node::api::{Event, InterfaceStatus, PeerState, PeerStatus};
use stadium_node::system::{Facts as Machine, NoWay, Way};

/// All facts of one look.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The interface's name.
    pub(crate) name: String,
    /// The peer file's path.
    pub(crate) path: PathBuf,
    /// The peer file.
    pub(crate) file: FileFact,
    /// When the peer file was written.
    pub(crate) written: Option<SystemTime>,
    /// The time of the look.
    pub(crate) now: SystemTime,
    /// The daemon.
    pub(crate) daemon: Daemon,
    /// Links, addresses, routes and rules.
    pub(crate) machine: Machine,
    /// Kernel settings and counters.
    pub(crate) kernel: Kernel,
    /// What packet filters do with Stadium's datagrams.
    pub(crate) filters: Vec<Filtered>,
    /// What the caller may do.
    pub(crate) permission: Permission,
    /// The ports of the peer file that somebody else has.
    pub(crate) taken: Vec<Taken>,
    /// The peers.
    pub(crate) peers: Vec<PeerFacts>,
}

/// What became of the peer file.
#[derive(Debug)]
pub(crate) enum FileFact {
    /// It is valid.
    Valid(Box<PeerFile>),
    /// There is none.
    Missing,
    /// It cannot be read; why.
    Unreadable(String),
    /// It is wrong.
    Invalid(Diagnostics),
}

impl FileFact {
    pub(crate) fn valid(&self) -> Option<&PeerFile> {
        match self {
            Self::Valid(file) => Some(file),
            _ => None,
        }
    }
}

/// What became of the daemon.
#[derive(Debug)]
pub(crate) enum Daemon {
    /// None runs.
    Absent,
    /// The caller may not ask it.
    Forbidden(String),
    /// It does not answer; why.
    Mute(String),
    /// It answers.
    Running(Box<Running>),
}

/// What a running daemon said.
#[derive(Debug)]
pub(crate) struct Running {
    /// Its status before anything was tried.
    pub(crate) before: InterfaceStatus,
    /// Its status afterwards.
    pub(crate) after: InterfaceStatus,
    /// What happened lately, oldest first.
    pub(crate) history: Vec<Event>,
}

impl Running {
    /// Counts what was dropped for `reason` in all, and while the doctor looked.
    pub(crate) fn drops(&self, reason: &str) -> (u64, u64) {
        let of = |status: &InterfaceStatus| {
            status.drops.iter().find(|(name, _)| *name == reason).map_or(0, |(_, count)| count)
        };
        let total = of(&self.after);
        (total, total.saturating_sub(of(&self.before)))
    }
}

/// Kernel settings, and counters with their growth while the doctor looked.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    /// `net.ipv4.ip_forward`, `None` where it cannot be read.
    pub(crate) forward_v4: Option<bool>,
    /// `net.ipv6.conf.all.forwarding`.
    pub(crate) forward_v6: Option<bool>,
    /// How many packets arrived for addresses that are not this machine's: IPv4, IPv6.
    pub(crate) not_ours: [Counter; 2],
    /// How many packets the reverse-path filter dropped.
    pub(crate) reverse_path: Counter,
    /// The interfaces with a strict reverse-path filter.
    pub(crate) strict: Vec<String>,
}

/// A counter of the kernel.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counter {
    pub(crate) total: u64,
    pub(crate) growth: u64,
}

/// A rule that drops Stadium's datagrams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filtered {
    /// `input` or `output`.
    pub(crate) hook: &'static str,
    /// Where in the ruleset.
    pub(crate) place: String,
}

/// What the caller may do.
#[derive(Debug, Default)]
pub(crate) struct Permission {
    /// Whether it may change the network (`CAP_NET_ADMIN`).
    pub(crate) net_admin: bool,
    /// Why no TUN interface can be made, where that is so.
    pub(crate) tun: Option<String>,
}

/// A port that somebody else has.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) address: SocketAddr,
    /// The process that has it, where it can be seen.
    pub(crate) holder: Option<String>,
}

/// What is known of one peer.
#[derive(Debug)]
pub(crate) struct PeerFacts {
    /// Its name or public key.
    pub(crate) label: String,
    pub(crate) public_key: String,
    /// The endpoint of the peer file.
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) allowed_ips: Vec<IpNet>,
    /// What the endpoint's name resolves to.
    pub(crate) resolved: Option<Result<Vec<SocketAddr>, String>>,
    /// The way to where datagrams go.
    pub(crate) outer: Option<(IpAddr, Result<Way, NoWay>)>,
    /// The ways to the first address of each allowed prefix.
    pub(crate) inner: Vec<(IpNet, Result<Way, NoWay>)>,
    /// Whether a handshake was tried.
    pub(crate) tried: bool,
    /// The answer to a heartbeat, where one was sent.
    pub(crate) heartbeat: Option<Option<f64>>,
    /// What came back through the tunnel, where it was tried.
    pub(crate) echo: Option<InnerEcho>,
    /// What came back from a silent peer's endpoint.
    pub(crate) probe: Option<Probe>,
}

/// Pings through the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InnerEcho {
    pub(crate) target: IpAddr,
    /// Whether a small one came back.
    pub(crate) small: bool,
    /// Whether one as large as the interface allows came back.
    pub(crate) large: bool,
}

/// What came back from an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) at: SocketAddr,
    /// Of its port.
    pub(crate) port: Answer,
    /// Of a port of the same host where nothing should be.
    pub(crate) other: Answer,
    /// Whether the host answers pings; `None`: it cannot be tried.
    pub(crate) echo: Option<bool>,
}

/// What came back for a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing.
    Silence,
    /// That nothing listens there.
    Refused,
    /// That there is no way.
    Unreachable,
    /// This machine did not let it out.
    Forbidden,
}

impl Facts {
    /// What the running daemon said.
    pub(crate) fn running(&self) -> Option<&Running> {
        match &self.daemon {
            Daemon::Running(running) => Some(running),
            _ => None,
        }
    }

    /// The daemon's last word on a peer.
    pub(crate) fn status_of(&self, peer: &PeerFacts) -> Option<&PeerStatus> {
        let peers = &self.running()?.after.peers;
        peers.iter().find(|status| status.public_key == peer.public_key)
    }

    /// Whether a peer has a session.
    pub(crate) fn is_up(&self, peer: &PeerFacts) -> bool {
        self.status_of(peer).is_some_and(|status| status.state == PeerState::Up)
    }

    /// Whether a peer that should have a session has none.
    pub(crate) fn is_failing(&self, peer: &PeerFacts) -> bool {
        self.running().is_some() && peer.tried && !self.is_up(peer)
    }

    /// The index of the interface, where it is in this namespace.
    pub(crate) fn index(&self) -> Option<u32> {
        self.machine.links.iter().find(|link| link.link.name == self.name).map(|l| l.link.index)
    }

    /// The names of interfaces by index.
    pub(crate) fn link_names(&self) -> BTreeMap<u32, &str> {
        self.machine.links.iter().map(|link| (link.link.index, link.link.name.as_str())).collect()
    }

    /// How far the file's time lies in the future.
    pub(crate) fn written_ahead(&self) -> Option<Duration> {
        self.written?.duration_since(self.now).ok()
    }
}

#[cfg(test)]
mod sample {
    use super::*;
    use stadium_node::api::{Drops, NoiseStatus, Offload, Received, Sent};
    use stadium_node::system::{Link, LinkFact};

    pub(crate) const KEY: &str = "KEYKEYKEY=";

    impl Facts {
        /// A running interface with one peer, all of it well.
        pub(crate) fn healthy() -> Self {
            let peer = PeerStatus {
                name: Some("bob".to_owned()),
                public_key: KEY.to_owned(),
                endpoint: Some("192.0.2.7:51871".parse().unwrap()),
                allowed_ips: vec!["10.7.0.2/32".parse().unwrap()],
                state: PeerState::Up,
                last_error: None,
                session: None,
                handshakes: 1,
                last_handshake: None,
                last_received: None,
                rx: Received::default(),
                tx: Sent::default(),
                rtt_ms: Some(0.4),
                noise: NoiseStatus::default(),
            };
            let status = InterfaceStatus {
                name: "stadium0".to_owned(),
                public_key: "OWN=".to_owned(),
                listen: vec!["0.0.0.0:51871".parse().unwrap()],
                mtu: 1440,
                workers: 2,
                offload: Offload { tun: true, udp_gso: true, udp_gro: true },
                uptime_s: 100.0,
                drops: Drops::default(),
                peers: vec![peer],
            };
            let link = |name: &str, index| LinkFact {
                link: Link { name: name.to_owned(), index },
                mtu: 1500,
                up: true,
                moved: false,
            };
            let machine = Machine {
                links: vec![link("lo", 1), link("eth0", 2), link("stadium0", 7)],
                ipv6: true,
                ..Machine::default()
            };
            let way = |index| Way {
                index: Some(index),
                table: 254,
                prefix: None,
                gateway: None,
                source: Some("192.0.2.1".parse().unwrap()),
                mtu: None,
                local: false,
            };
            let prefix: IpNet = "10.7.0.2/32".parse().unwrap();
            Self {
                name: "stadium0".to_owned(),
                path: "/etc/stadium/stadium0.yaml".into(),
                file: FileFact::Missing,
                written: None,
                now: SystemTime::now(),
                daemon: Daemon::Running(Box::new(Running {
                    before: status.clone(),
                    after: status,
                    history: Vec::new(),
                })),
                machine,
                kernel: Kernel {
                    forward_v4: Some(false),
                    forward_v6: Some(false),
                    ..Kernel::default()
                },
                filters: Vec::new(),
                permission: Permission { net_admin: true, tun: None },
                taken: Vec::new(),
                peers: vec![PeerFacts {
                    label: "bob".to_owned(),
                    public_key: KEY.to_owned(),
                    endpoint: Some(Endpoint::Address("192.0.2.7:51871".parse().unwrap())),
                    allowed_ips: vec![prefix],
                    resolved: None,
                    outer: Some(("192.0.2.7".parse().unwrap(), Ok(way(2)))),
                    inner: vec![(prefix, Ok(way(7)))],
                    tried: false,
                    heartbeat: Some(Some(0.4)),
                    echo: Some(InnerEcho {
                        target: "10.7.0.2".parse().unwrap(),
                        small: true,
                        large: true,
                    }),
                    probe: None,
                }],
            }
        }

        /// The same with a peer whose handshake fails.
        pub(crate) fn failing(error: Option<stadium_node::api::LastError>) -> Self {
            let mut facts = Self::healthy();
            {
                let running = facts.running_mut();
                running.after.peers[0].state = PeerState::Handshaking;
                running.after.peers[0].last_error = error;
            }
            let peer = &mut facts.peers[0];
            (peer.tried, peer.heartbeat, peer.echo) = (true, None, None);
            facts
        }

        pub(crate) fn running_mut(&mut self) -> &mut Running {
            match &mut self.daemon {
                Daemon::Running(running) => running,
                _ => panic!("the sample runs"),
            }
        }
    }
}
