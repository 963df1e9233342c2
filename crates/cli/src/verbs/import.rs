//! `stadium import`: a WireGuard `.conf` becomes a peer file.
//!
//! Keys cannot come along: WireGuard's are X25519, Stadium's are Ed25519, and there is no way
//! from one to the other. What is not taken over is said, line by line.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use stadium_config::{Environment, InterfaceName, name_of_file, yaml_text};
use stadium_proto::identity::{PublicKey, SecretKey};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::output;
use crate::verbs::genkey::fresh_key;

/// The most bytes that a `.conf` has.
const MAX_CONF: u64 = 4 << 20;

/// Turn a WireGuard .conf into a peer file, with a new key
///
/// Takes over addresses, port, MTU, DNS, table, mark, and of each peer its endpoint, allowed IPs
/// and keepalive. Keys cannot be converted (WireGuard's are X25519, Stadium's are Ed25519): this
/// node gets a new one, and peers are commented out until you give theirs with --key.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: stadium import /etc/wireguard/wg0.conf --out stadium0.yaml --key \
                        WGKEY=STADIUMKEY"
)]
pub(crate) struct Import {
    /// The WireGuard file
    #[arg(value_name = "FILE.conf")]
    conf: PathBuf,
    /// Write the peer file here (0600, never over another) instead of to stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A peer's WireGuard public key, and the Stadium public key it has now
    #[arg(long, value_name = "WGKEY=KEY", value_parser = key_pair)]
    key: Vec<(String, PublicKey)>,
}

/// What a `.conf` says, secrets left out.
#[derive(Debug, Default, PartialEq, Eq)]
struct Conf {
    interface: Vec<(String, String)>,
    peers: Vec<Vec<(String, String)>>,
    /// What is left behind, with its line, for people.
    left: Vec<String>,
}

impl Import {
    /// Writes the peer file, and on stderr what did not come along.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let shown = self.conf.display();
        let cannot = |error| Failure::usage(format!("{shown}:1:1: error: cannot read it: {error}"));
        let mut text = Zeroizing::new(String::new());
        File::open(&self.conf)
            .and_then(|file| file.take(MAX_CONF).read_to_string(&mut text))
            .map_err(cannot)?;
        let conf = parse(&text)
            .map_err(|(line, what)| Failure::usage(format!("{shown}:{line}:1: error: {what}")))?;
        let named = self.out.as_deref().unwrap_or(&self.conf);
        let name = name_of_file(named).map_err(|error| {
            Failure::usage(format!("{}: {error}; choose another file name", named.display()))
        })?;
        let keys: HashMap<&str, PublicKey> =
            self.key.iter().map(|(old, new)| (old.as_str(), *new)).collect();
        let key = fresh_key()?;
        let file = write(&conf, &name, &key, &keys);
        stadium_config::parse(&file, Path::new("imported.yaml"), &Environment::default()).map_err(
            |wrong| {
                let lines: Vec<_> = wrong.iter().map(|item| item.message.as_str()).collect();
                Failure::usage(format!(
                    "{shown}:1:1: error: it makes no valid peer file: {}",
                    lines.join("\n")
                ))
            },
        )?;
        match &self.out {
            None => output::data(&*file)?,
            Some(out) => {
                let mut options = File::options();
                let options = options.write(true).create_new(true).mode(0o600);
                let written = options.open(out).and_then(|mut to| to.write_all(file.as_bytes()));
                written.map_err(|error| {
                    Failure::failed(format!("cannot write {}: {error}", out.display()))
                })?;
                output::data(format!("{}\n", key.public().to_base64()))?;
            }
        }
        for line in &conf.left {
            output::message(&format!("{shown}:{line}"));
        }
        let without = conf.peers.iter().filter(|peer| !is_known(peer, &keys)).count();
        output::message(
            "WireGuard's keys (X25519) cannot be converted to Stadium's (Ed25519): this node has a \
             new one",
        );
        if without > 0 {
            output::message(&format!(
                "{without} of {} peers are commented out until you put in the key that `stadium \
                 init` shows there",
                conf.peers.len()
            ));
        }
        Ok(())
    }
}

fn key_pair(text: &str) -> Result<(String, PublicKey), String> {
    // both end in `=` themselves
    let (old, new) = text
        .find("==")
        .map(|at| (&text[..=at], &text[at + 2..]))
        .ok_or("write the two keys with = between them")?;
    let new = PublicKey::from_base64(new).map_err(|error| error.to_string())?;
    Ok((old.to_owned(), new))
}

fn is_known(peer: &[(String, String)], keys: &HashMap<&str, PublicKey>) -> bool {
    value(peer, "publickey").is_some_and(|key| keys.contains_key(key))
}

fn value<'c>(section: &'c [(String, String)], key: &str) -> Option<&'c str> {
    section.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

/// All values of a key that may stand several times, each a list with commas.
fn values<'c>(section: &'c [(String, String)], key: &str) -> Vec<&'c str> {
    let all = section.iter().filter(|(name, _)| name == key);
    all.flat_map(|(_, value)| value.split(',').map(str::trim)).filter(|v| !v.is_empty()).collect()
}

/// What is taken over.
const TAKEN: [&str; 11] = [
    "address",
    "listenport",
    "mtu",
    "dns",
    "table",
    "fwmark",
    "publickey",
    "endpoint",
    "allowedips",
    "persistentkeepalive",
    "privatekey",
];

/// Reads a `.conf`; fails with a line and what is wrong there.
fn parse(text: &str) -> Result<Conf, (usize, String)> {
    let mut conf = Conf::default();
    let mut in_peer = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        match line.to_ascii_lowercase().as_str() {
            "[interface]" => in_peer = Some(false),
            "[peer]" => {
                in_peer = Some(true);
                conf.peers.push(Vec::new());
            }
            _ => {
                let (key, value) = line
                    .split_once('=')
                    .ok_or((number, "this is no line of a WireGuard file: no `=`".to_owned()))?;
                let key = key.trim().to_ascii_lowercase();
                if key == "presharedkey" {
                    conf.left.push(format!(
                        "{number}: the preshared key stays behind; make one with `stadium genpsk`"
                    ));
                    continue;
                }
                if !TAKEN.contains(&key.as_str()) {
                    conf.left.push(format!(
                        "{number}: `{}` is not taken over{}",
                        output::printable(&key),
                        match key.as_str() {
                            "preup" | "postup" | "predown" | "postdown" =>
                                "; see interface.hooks, whose environment is another",
                            _ => "",
                        }
                    ));
                    continue;
                }
                if key == "privatekey" {
                    continue;
                }
                let entry = (key, value.trim().to_owned());
                match in_peer {
                    Some(true) => {
                        if let Some(peer) = conf.peers.last_mut() {
                            peer.push(entry);
                        }
                    }
                    Some(false) => conf.interface.push(entry),
                    None => return Err((number, "this stands before any section".to_owned())),
                }
            }
        }
    }
    match in_peer {
        Some(_) => Ok(conf),
        None => Err((1, "this is no WireGuard file: it has no [Interface]".to_owned())),
    }
}

/// Writes the peer file.
fn write(
    conf: &Conf,
    name: &InterfaceName,
    key: &SecretKey,
    keys: &HashMap<&str, PublicKey>,
) -> Zeroizing<String> {
    let list = |values: &[&str]| {
        values.iter().map(|value| yaml_text(value)).collect::<Vec<_>>().join(", ")
    };
    let secret = key.to_base64();
    let size = 4096 + conf.peers.iter().flatten().map(|(_, value)| value.len() + 64).sum::<usize>();
    // all the room at once, so that growing leaves no copy of the secret behind
    let mut text = Zeroizing::new(String::with_capacity(size + conf.peers.len() * 256));
    let mut line = |parts: &[&str]| {
        parts.iter().for_each(|part| text.push_str(part));
        text.push('\n');
    };
    line(&["# Imported from WireGuard. Keys cannot be converted: this one is new."]);
    line(&["# Public key of this node: ", &key.public().to_base64()]);
    line(&["interface:"]);
    line(&["  name: ", &yaml_text(name.as_str())]);
    line(&["  private_key: ", &secret]);
    let interface = &conf.interface;
    let addresses: Vec<String> = values(interface, "address")
        .iter()
        .map(|address| match (address.contains('/'), address.contains(':')) {
            (true, _) => (*address).to_owned(),
            (false, false) => format!("{address}/32"),
            (false, true) => format!("{address}/128"),
        })
        .collect();
    line(&["  address: [", &list(&addresses.iter().map(String::as_str).collect::<Vec<_>>()), "]"]);
    for (theirs, ours) in [("listenport", "listen"), ("mtu", "mtu")] {
        if let Some(value) = value(interface, theirs) {
            line(&["  ", ours, ": ", value]);
        }
    }
    let servers: Vec<&str> = values(interface, "dns")
        .into_iter()
        .filter(|server| server.parse::<std::net::IpAddr>().is_ok())
        .collect();
    if !servers.is_empty() {
        line(&["  dns: [", &list(&servers), "]"]);
    }
    match value(interface, "table").map(str::to_ascii_lowercase).as_deref() {
        None | Some("auto" | "main") => {}
        Some("off") => line(&["  routes: off"]),
        Some(number) => line(&["  routes: {table: ", number, "}"]),
    }
    match value(interface, "fwmark") {
        None | Some("0" | "off") => {}
        Some(mark) => line(&["  fwmark: ", mark]),
    }
    let any = conf.peers.iter().any(|peer| is_known(peer, keys));
    line(&[if any { "peers:" } else { "peers: []" }]);
    for (number, peer) in (1..).zip(&conf.peers) {
        let old = value(peer, "publickey").unwrap_or("none");
        let known = keys.get(old);
        let off = if known.is_some() { "" } else { "#" };
        line(&["  # WireGuard public key: ", &output::printable(old)]);
        line(&[off, "  - name: peer", &number.to_string()]);
        let new = known
            .map_or_else(|| "KEY   # put its Stadium key here".to_owned(), PublicKey::to_base64);
        line(&[off, "    public_key: ", &new]);
        if let Some(endpoint) = value(peer, "endpoint") {
            line(&[off, "    endpoint: ", &yaml_text(endpoint)]);
        }
        line(&[off, "    allowed_ips: [", &list(&values(peer, "allowedips")), "]"]);
        match value(peer, "persistentkeepalive") {
            None | Some("0" | "off") => {}
            Some(seconds) => line(&[off, "    heartbeat: ", seconds, "s"]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = "[Interface]\nPrivateKey = c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U=\n\
                        Address = 10.0.0.1/24, fd00::1/64\nAddress=10.9.0.1\nListenPort = 51820 # x\n\
                        DNS = 1.1.1.1, lan\nMTU=1400\nTable = 77\nPostUp = iptables -A X\n\n[Peer]\n\
                        PublicKey = AAAA=\nPresharedKey = BBBB=\nAllowedIPs = 10.0.0.2/32\nAllowedIPs = \
                        fd00::2/128\nEndpoint = [2001:db8::1]:51820\nPersistentKeepalive = 25\n[Peer]\n\
                        publickey = CCCC=\nallowedips = 0.0.0.0/0\n";

    fn imported(keys: &[(&str, u8)]) -> (String, stadium_config::PeerFile) {
        let conf = parse(CONF).unwrap();
        let keys = keys
            .iter()
            .map(|(old, seed)| (*old, SecretKey::from_seed([*seed; 32]).public()))
            .collect();
        let name = InterfaceName::new("wg0").unwrap();
        let text = write(&conf, &name, &SecretKey::from_seed([1; 32]), &keys);
        let loaded = stadium_config::parse(&text, Path::new("a.yaml"), &Environment::default());
        (text.to_string(), loaded.unwrap_or_else(|wrong| panic!("{text:?}\n{wrong}")).file)
    }

    #[test]
    fn everything_but_keys_comes_along() {
        let (_, file) = imported(&[("AAAA=", 2), ("CCCC=", 3)]);
        let addresses: Vec<_> = file.interface.address.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.0.1/24", "fd00::1/64", "10.9.0.1/32"]);
        assert_eq!(file.interface.mtu, stadium_config::Mtu::Fixed(1400));
        assert_eq!(file.interface.routes, stadium_config::Routes::Table(77));
        assert_eq!(file.interface.dns, ["1.1.1.1".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!(file.peers.len(), 2);
        assert_eq!(file.peers[0].endpoint.as_ref().unwrap().to_string(), "[2001:db8::1]:51820");
        assert_eq!(file.peers[0].heartbeat, Some(std::time::Duration::from_secs(25)));
        assert_eq!(file.peers[0].allowed_ips.len(), 2);
        assert!(file.peers[0].preshared_key.is_none());
    }

    #[test]
    fn peers_without_a_key_are_commented_out_and_nothing_secret_is_kept() {
        let (text, file) = imported(&[("CCCC=", 3)]);
        assert_eq!(file.peers.len(), 1);
        assert!(text.contains("#  - name: peer1\n"), "{text}");
        assert!(!text.contains("c2VjcmV0") && !text.contains("BBBB"), "{text}");
        assert_eq!(imported(&[]).1.peers.len(), 0);
        let left = parse(CONF).unwrap().left;
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left[0].starts_with("9: `postup`") && left[1].contains("genpsk"), "{left:?}");
    }

    #[test]
    fn what_is_no_wireguard_file_is_refused_with_its_line() {
        assert_eq!(parse("").unwrap_err().0, 1);
        assert_eq!(parse("a = b\n").unwrap_err().0, 1);
        assert_eq!(parse("[Interface]\n\nnonsense\n").unwrap_err().0, 3);
    }

    #[test]
    fn a_pair_of_keys_is_split_where_the_first_ends() {
        let new = SecretKey::from_seed([2; 32]).public();
        let pair = key_pair(&format!("AAAA=={}", new.to_base64())).unwrap();
        assert_eq!(pair, ("AAAA=".to_owned(), new));
        assert!(key_pair("AAAA").is_err());
    }
}
