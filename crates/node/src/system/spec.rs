//! What a peer file wants of the system, and nothing else of it.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use stadium_config::{AutoOff, Fwmark, HookTrust, Hooks, PeerFile, Routes, Switch};

use super::operation::Link;

/// What a validated peer file wants of the system, its MTU and endpoints resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceSpec {
    /// The interface's name.
    pub name: String,
    /// Its index, 0 while it does not exist.
    pub index: u32,
    /// Its MTU in bytes (see [`super::System::auto_mtu`]).
    pub mtu: u32,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// The allowed IPs of all peers.
    pub allowed_ips: Vec<IpNet>,
    /// `interface.routes`.
    pub routes: Routes,
    /// `interface.fwmark`.
    pub fwmark: Fwmark,
    /// `interface.kill_switch`.
    pub kill_switch: Switch,
    /// `interface.lan`.
    pub lan: bool,
    /// `interface.dns`.
    pub dns: Vec<IpAddr>,
    /// `interface.mss_clamp`.
    pub mss_clamp: AutoOff,
    /// The known addresses of the peers, to notice tunnels that would carry themselves.
    pub endpoints: Vec<IpAddr>,
    /// `interface.hooks`.
    pub hooks: Hooks,
    /// Whether they may run.
    pub hook_trust: HookTrust,
    /// The peer file's path, for the hooks.
    pub file: PathBuf,
}

impl InterfaceSpec {
    /// A wish for nothing but a name and an MTU.
    pub fn new(name: impl Into<String>, mtu: u32) -> Self {
        Self {
            name: name.into(),
            index: 0,
            mtu,
            addresses: Vec::new(),
            allowed_ips: Vec::new(),
            routes: Routes::default(),
            fwmark: Fwmark::default(),
            kill_switch: Switch::default(),
            lan: false,
            dns: Vec::new(),
            mss_clamp: AutoOff::Off,
            endpoints: Vec::new(),
            hooks: Hooks::default(),
            hook_trust: HookTrust::NotAFile,
            file: PathBuf::new(),
        }
    }

    /// Takes from a peer file what concerns the system; `mtu` is resolved, `endpoints` are the
    /// addresses of the peers known so far.
    pub fn of(file: &PeerFile, mtu: u32, endpoints: Vec<IpAddr>) -> Self {
        let interface = &file.interface;
        Self {
            name: interface.name.to_string(),
            index: 0,
            mtu,
            addresses: interface.address.clone(),
            allowed_ips: file.peers.iter().flat_map(|p| &p.allowed_ips).copied().collect(),
            routes: interface.routes,
            fwmark: interface.fwmark,
            kill_switch: interface.kill_switch,
            lan: interface.lan,
            dns: interface.dns.clone(),
            mss_clamp: interface.mss_clamp,
            endpoints,
            hooks: interface.hooks.clone(),
            hook_trust: file.hook_trust,
            file: file.path.clone(),
        }
    }

    /// The same wish for the interface that exists under `index`, for a reload.
    #[must_use]
    pub fn with_index(mut self, index: u32) -> Self {
        self.index = index;
        self
    }

    pub(super) fn link(&self) -> Link {
        Link { name: self.name.clone(), index: self.index }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn takes_what_concerns_the_system_from_a_peer_file() {
        let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
        let text = format!(
            "interface:\n  private_key: {key}\n  address: [10.7.0.1/24]\n  routes: {{table: 99}}\n  \
             fwmark: 7\n  kill_switch: off\n  hooks: {{post_up: [\"true\"]}}\n"
        );
        let environment = stadium_config::Environment::default();
        let loaded = stadium_config::parse(&text, Path::new("/tmp/stadium7.yaml"), &environment);
        let file = loaded.unwrap().file;
        let endpoint: IpAddr = "192.0.2.1".parse().unwrap();
        let spec = InterfaceSpec::of(&file, 1400, vec![endpoint]).with_index(3);
        assert_eq!(spec.link(), Link { name: "stadium7".into(), index: 3 });
        assert_eq!(
            (spec.mtu, spec.routes, spec.fwmark),
            (1400, Routes::Table(99), Fwmark::Mark(7))
        );
        assert_eq!((spec.kill_switch, spec.endpoints), (Switch::Off, vec![endpoint]));
        assert_eq!(spec.addresses, ["10.7.0.1/24".parse().unwrap()]);
        assert_eq!(spec.hooks.post_up, ["true"]);
        assert!(!spec.hook_trust.may_run(), "text is no file of root's");
    }
}
