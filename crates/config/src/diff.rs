//! What changed between two peer files, and what each change costs a running daemon.

use std::collections::HashMap;
use std::fmt;

use stadium_proto::identity::PublicKey;

use crate::model::{Interface, Listen, ListenOn, Peer, PeerFile};
use crate::noise::NoiseSettings;
use crate::quantity::format_duration;

/// Says what a change costs; ordered from cheap to dear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Applied at once; sessions go on.
    Live,
    /// Applied by a new handshake with the peers that it concerns.
    Rehandshake,
    /// Takes effect only when the daemon starts again.
    Restart,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Live => "live",
            Self::Rehandshake => "re-handshake",
            Self::Restart => "restart",
        })
    }
}

/// Holds one key whose value changed. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// The key, with a dot between levels: `interface.mtu`; for a peer without a prefix:
    /// `endpoint`, `noise.ratio`.
    pub key: String,
    /// The old value as people read it; a secret is `hidden`, nothing is `none`.
    pub old: String,
    /// The new value, likewise.
    pub new: String,
    /// What this change alone costs.
    pub effect: Effect,
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} → {} ({})", self.key, self.old, self.new, self.effect)
    }
}

/// Says what changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A key outside the list of peers.
    ///
    /// A changed default of `noise` stands here for people, and once more, as
    /// [`What::PeerChanged`], at each peer that it reaches.
    Setting(FieldChange),
    /// A peer is new.
    PeerAdded {
        /// Which.
        public_key: PublicKey,
        /// What people call it.
        label: String,
    },
    /// A peer is gone.
    PeerRemoved {
        /// Which.
        public_key: PublicKey,
        /// What people called it.
        label: String,
    },
    /// A peer stays, and something about it changed.
    PeerChanged {
        /// Which.
        public_key: PublicKey,
        /// What people call it now.
        label: String,
        /// What about it; never empty.
        fields: Vec<FieldChange>,
    },
}

/// Holds one change, and what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The dearest effect of all that is in it.
    pub effect: Effect,
    /// What changed.
    pub what: What,
}

impl fmt::Display for Change {
    /// Writes one line; secrets are hidden.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Setting(field) => field.fmt(f),
            What::PeerAdded { label, .. } => write!(f, "peer {label}: added ({})", self.effect),
            What::PeerRemoved { label, .. } => write!(f, "peer {label}: removed ({})", self.effect),
            What::PeerChanged { label, fields, .. } => {
                write!(f, "peer {label}: ")?;
                for (n, field) in fields.iter().enumerate() {
                    if n > 0 {
                        f.write_str("; ")?;
                    }
                    field.fmt(f)?;
                }
                Ok(())
            }
        }
    }
}

/// Compares two peer files: settings in the order of the file, then peers removed, added and
/// changed. Peers are the same if their public keys are. Empty if nothing changed.
#[must_use]
pub fn diff(old: &PeerFile, new: &PeerFile) -> Vec<Change> {
    let mut fields = Fields::default();
    interface(&old.interface, &new.interface, &mut fields);
    control_and_algorithms(old, new, &mut fields);
    noise(&old.noise, &new.noise, &mut fields);
    let mut changes: Vec<_> = fields
        .0
        .into_iter()
        .map(|field| Change { effect: field.effect, what: What::Setting(field) })
        .collect();
    peers(&old.peers, &new.peers, &mut changes);
    changes
}

#[derive(Default)]
struct Fields(Vec<FieldChange>);

impl Fields {
    fn compare<T: PartialEq>(
        &mut self,
        key: &str,
        effect: Effect,
        old: &T,
        new: &T,
        shown: impl Fn(&T) -> String,
    ) {
        if old != new {
            self.0.push(FieldChange {
                key: key.to_owned(),
                old: shown(old),
                new: shown(new),
                effect,
            });
        }
    }

    /// Compares values that people read as they are printed.
    fn plain<T: PartialEq + fmt::Display>(&mut self, key: &str, effect: Effect, old: &T, new: &T) {
        self.compare(key, effect, old, new, T::to_string);
    }

    fn list<T: PartialEq + fmt::Display>(
        &mut self,
        key: &str,
        effect: Effect,
        old: &Vec<T>,
        new: &Vec<T>,
    ) {
        self.compare(key, effect, old, new, |items| listed(items));
    }
}

fn listed<T: fmt::Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

fn on_off(on: &bool) -> String {
    if *on { "on" } else { "off" }.to_owned()
}

fn or_none<T: fmt::Display>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "none".to_owned(), T::to_string)
}

fn hidden<T>(secret: &Option<T>) -> String {
    if secret.is_some() { "hidden" } else { "none" }.to_owned()
}

fn listening(listen: &Listen) -> String {
    let places: Vec<_> = listen
        .0
        .iter()
        .map(|on| match on {
            ListenOn::Port(0) => "any free port".to_owned(),
            ListenOn::Port(port) => port.to_string(),
            ListenOn::Address(address) => address.to_string(),
        })
        .collect();
    listed(&places)
}

fn interface(old: &Interface, new: &Interface, fields: &mut Fields) {
    use Effect::{Live, Rehandshake, Restart};
    fields.plain("interface.name", Restart, &old.name, &new.name);
    fields.compare("interface.private_key", Restart, &old.private_key, &new.private_key, |key| {
        format!("hidden (public key {})", key.public())
    });
    fields.list("interface.address", Live, &old.address, &new.address);
    fields.compare("interface.listen", Restart, &old.listen, &new.listen, listening);
    fields.plain("interface.mtu", Live, &old.mtu, &new.mtu);
    fields.plain("interface.routes", Live, &old.routes, &new.routes);
    fields.plain("interface.fwmark", Restart, &old.fwmark, &new.fwmark);
    fields.plain("interface.kill_switch", Live, &old.kill_switch, &new.kill_switch);
    fields.compare("interface.lan", Live, &old.lan, &new.lan, on_off);
    fields.list("interface.dns", Live, &old.dns, &new.dns);
    for (key, old, new) in [
        ("interface.hooks.pre_up", &old.hooks.pre_up, &new.hooks.pre_up),
        ("interface.hooks.post_up", &old.hooks.post_up, &new.hooks.post_up),
        ("interface.hooks.pre_down", &old.hooks.pre_down, &new.hooks.pre_down),
        ("interface.hooks.post_down", &old.hooks.post_down, &new.hooks.post_down),
    ] {
        // commands may hold secrets; the privileged helper runs those that it was told at the start
        fields.compare(key, Restart, old, new, |commands| match commands.len() {
            0 => "none".to_owned(),
            1 => "1 command".to_owned(),
            count => format!("{count} commands"),
        });
    }
    fields.plain("interface.mss_clamp", Live, &old.mss_clamp, &new.mss_clamp);
    fields.compare("interface.copy_dscp", Live, &old.copy_dscp, &new.copy_dscp, on_off);
    fields.compare("interface.allow_open", Live, &old.allow_open, &new.allow_open, on_off);
    fields.compare("interface.early_data", Live, &old.early_data, &new.early_data, on_off);
    fields.compare("interface.stealth", Live, &old.stealth, &new.stealth, on_off);
    let keys = (&old.network_key, &new.network_key);
    fields.compare("interface.network_key", Rehandshake, keys.0, keys.1, hidden);
    let rates = (&old.handshake_rate, &new.handshake_rate);
    fields.compare("interface.handshake_rate", Live, rates.0, rates.1, |rate| {
        format!("{} a second, burst {}", rate.per_second, rate.burst)
    });
    fields.plain("interface.workers", Restart, &old.workers, &new.workers);
    fields.plain("interface.offload", Restart, &old.offload, &new.offload);
}

fn control_and_algorithms(old: &PeerFile, new: &PeerFile, fields: &mut Fields) {
    use Effect::{Rehandshake, Restart};
    let control = (&old.control, &new.control);
    fields.compare("control.socket", Restart, &control.0.socket, &control.1.socket, |path| {
        path.display().to_string()
    });
    fields.compare("control.group", Restart, &control.0.group, &control.1.group, or_none);
    fields.compare("control.metrics", Restart, &control.0.metrics, &control.1.metrics, or_none);
    fields.plain("post_quantum", Rehandshake, &old.post_quantum, &new.post_quantum);
    fields.compare("ciphers", Rehandshake, &old.ciphers, &new.ciphers, |ciphers| match ciphers {
        crate::Ciphers::Auto => "auto".to_owned(),
        crate::Ciphers::List(list) => listed(list),
    });
}

fn noise(old: &NoiseSettings, new: &NoiseSettings, fields: &mut Fields) {
    use Effect::{Live, Rehandshake};
    // two laws of one value on the wire are swapped without a handshake
    let size = if old.byte() == new.byte() { Live } else { Rehandshake };
    fields.plain("noise.ratio", Rehandshake, &old.ratio, &new.ratio);
    fields.plain("noise.size", size, &old.size, &new.size);
    fields.plain("noise.filler", Rehandshake, &old.filler, &new.filler);
    fields.plain("noise.minimum", Rehandshake, &old.policy.minimum, &new.policy.minimum);
    fields.plain("noise.accept", Rehandshake, &old.policy.accept, &new.policy.accept);
    fields.compare("noise.budget", Live, &old.budget, &new.budget, or_none);
    fields.plain("noise.engine", Live, &old.engine, &new.engine);
    fields.compare("noise.machine_file", Live, &old.machines, &new.machines, |machines| {
        machines.as_ref().map_or_else(
            || "none".to_owned(),
            |(path, read)| format!("{} ({} machines)", path.display(), read.len()),
        )
    });
}

fn peers(old: &[Peer], new: &[Peer], changes: &mut Vec<Change>) {
    let by_key = |peers: &[Peer]| -> HashMap<PublicKey, usize> {
        peers.iter().enumerate().map(|(n, peer)| (peer.public_key, n)).collect()
    };
    let (was, is) = (by_key(old), by_key(new));
    for peer in old.iter().filter(|peer| !is.contains_key(&peer.public_key)) {
        let what = What::PeerRemoved { public_key: peer.public_key, label: peer.label() };
        changes.push(Change { effect: Effect::Live, what });
    }
    for peer in new {
        let label = peer.label();
        let public_key = peer.public_key;
        let Some(before) = was.get(&public_key).map(|n| &old[*n]) else {
            let what = What::PeerAdded { public_key, label };
            changes.push(Change { effect: Effect::Live, what });
            continue;
        };
        if before == peer {
            continue;
        }
        let mut fields = Fields::default();
        self::peer(before, peer, &mut fields);
        if let Some(effect) = fields.0.iter().map(|field| field.effect).max() {
            let what = What::PeerChanged { public_key, label, fields: fields.0 };
            changes.push(Change { effect, what });
        }
    }
}

fn peer(old: &Peer, new: &Peer, fields: &mut Fields) {
    use Effect::{Live, Rehandshake};
    fields.compare("name", Live, &old.name, &new.name, or_none);
    let secrets = (&old.preshared_key, &new.preshared_key);
    fields.compare("preshared_key", Rehandshake, secrets.0, secrets.1, hidden);
    fields.compare("endpoint", Live, &old.endpoint, &new.endpoint, or_none);
    let sorted = |peer: &Peer| {
        let mut nets = peer.allowed_ips.clone();
        nets.sort_unstable();
        nets
    };
    if sorted(old) != sorted(new) {
        fields.list("allowed_ips", Live, &old.allowed_ips, &new.allowed_ips);
    }
    fields.compare("heartbeat", Live, &old.heartbeat, &new.heartbeat, |heartbeat| {
        heartbeat.map_or_else(|| "off".to_owned(), format_duration)
    });
    fields.plain("handshake", Rehandshake, &old.handshake, &new.handshake);
    noise(&old.noise, &new.noise, fields);
}
