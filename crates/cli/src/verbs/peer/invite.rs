//! `stadium peer invite`: a new peer's whole file, and the peer here, in one step.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use stadium_config::{
    Environment, NewPeer, NewPresharedKey, PeerFile, Target, add_peer, format_duration, yaml_text,
};
use stadium_proto::identity::{PresharedKey, SecretKey};
use zeroize::Zeroizing;

use super::add::heartbeat;
use super::change::{Change, write_secret};
use crate::failure::Failure;
use crate::output;
use crate::target::target;
use crate::verbs::genkey::{fresh_key, random};

/// Make the whole peer file of a new peer, and add the peer here
///
/// The new peer gets a key, a preshared key and the next free address of every network of this
/// interface. Its file goes to stdout, to FILE, or on the screen as a QR code; nobody else has
/// its private key, this node forgets it.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: stadium peer invite stadium0 phone --endpoint vpn.example.net:51871 --qr"
)]
pub(super) struct Invite {
    /// The interface's name, or its peer file
    #[arg(value_parser = target)]
    iface: Target,
    /// What the new peer is called here
    name: String,
    /// Where the new peer reaches this node: an address or a name, and a port
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: String,
    /// What this node is called there [default: the interface's name]
    #[arg(long, value_name = "NAME")]
    own_name: Option<String>,
    /// What the new peer sends here, separated by commas [default: the interface's networks]
    #[arg(long, value_name = "PREFIXES", value_delimiter = ',')]
    allowed_ips: Vec<IpNet>,
    /// How often the new peer pings this node
    #[arg(long, value_name = "TIME", default_value = "25s", value_parser = heartbeat)]
    heartbeat: Duration,
    /// Write the new peer's file here instead of to stdout; never overwrites
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Show the new peer's file as a QR code
    #[arg(long)]
    qr: bool,
}

impl Invite {
    /// Makes the file, adds the peer, and only then hands the file out.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let change = Change::begin(&self.iface)?;
        let loaded = stadium_config::parse(&change.text, &change.path, &change.environment)
            .map_err(|wrong| Failure::usage(wrong.to_string()))?;
        let file = loaded.file;
        let addresses = free_addresses(&file)?;
        let (key, preshared) = (fresh_key()?, PresharedKey::from_bytes(*random()?));
        let invitation = self.invitation(&file, &addresses, &key, &preshared)?;
        let code = if self.qr { Some(code(&invitation)?) } else { None };
        if let Some(out) = &self.out
            && out.symlink_metadata().is_ok()
        {
            return Err(Failure::failed(format!(
                "{} exists already, and stays as it is; choose another --out",
                out.display()
            )));
        }
        // a secret has no place in a file that others can read
        let beside = change.is_exposed().then(|| key_file(&change.path, &self.name));
        let peer = NewPeer {
            name: self.name.clone(),
            public_key: key.public(),
            preshared_key: Some(match &beside {
                Some(path) => NewPresharedKey::File(path.file_name().unwrap_or_default().into()),
                None => NewPresharedKey::Inline(preshared.clone()),
            }),
            endpoint: None,
            allowed_ips: addresses.iter().map(|address| IpNet::from(address.addr())).collect(),
            heartbeat: None,
        };
        if let Some(path) = &beside {
            write_secret(path, &format!("{}\n", *preshared.to_base64()))?;
        }
        let edited = add_peer(&change.text, &change.path, &change.environment, &peer);
        let edited = edited.map_err(|error| {
            if let Some(path) = &beside {
                let _ = std::fs::remove_file(path);
            }
            change.refused(error)
        })?;
        if let Some(out) = &self.out {
            write_secret(out, &invitation)?;
        }
        let taken = change.finish(&edited);
        match (&self.out, code) {
            (Some(out), code) => {
                output::message(&format!("the peer file for {} is {}", self.name, out.display()));
                code.map_or(Ok(()), output::data)?;
            }
            (None, Some(code)) => output::data(code)?,
            (None, None) => output::data(&*invitation)?,
        }
        taken
    }

    /// Writes the new peer's file, and checks it as `stadium check` would.
    fn invitation(
        &self,
        file: &PeerFile,
        addresses: &[IpNet],
        key: &SecretKey,
        preshared: &PresharedKey,
    ) -> Result<Zeroizing<String>, Failure> {
        let interface = &file.interface;
        let list = |nets: &[IpNet]| {
            nets.iter().map(|net| format!("\"{net}\"")).collect::<Vec<_>>().join(", ")
        };
        let networks: Vec<IpNet> = interface.address.iter().map(IpNet::trunc).collect();
        let allowed = if self.allowed_ips.is_empty() { &networks } else { &self.allowed_ips };
        let own_name = self.own_name.as_deref().unwrap_or(interface.name.as_str());
        let (secret, psk) = (key.to_base64(), preshared.to_base64());
        let network = interface.network_key.as_ref().map(|key| key.to_base64());
        let heartbeat = format_duration(self.heartbeat);
        // all the room at once, so that growing leaves no copy of a secret behind
        let mut text = Zeroizing::new(String::with_capacity(8192));
        let mut line = |parts: &[&str]| {
            parts.iter().for_each(|part| text.push_str(part));
            text.push('\n');
        };
        line(&["# ", &output::printable(&self.name), ", invited by ", own_name]);
        line(&["interface:"]);
        line(&["  name: ", &yaml_text(interface.name.as_str())]);
        line(&["  private_key: ", &secret]);
        line(&["  address: [", &list(addresses), "]"]);
        if let Some(network) = &network {
            line(&["  network_key: ", network]);
        }
        line(&["peers:"]);
        line(&["  - name: ", &yaml_text(own_name)]);
        line(&["    public_key: ", &interface.private_key.public().to_base64()]);
        line(&["    preshared_key: ", &psk]);
        line(&["    endpoint: ", &yaml_text(&self.endpoint)]);
        line(&["    allowed_ips: [", &list(allowed), "]"]);
        line(&["    heartbeat: ", &heartbeat]);
        stadium_config::parse(&text, Path::new("invitation.yaml"), &Environment::default())
            .map_err(|wrong| {
                let lines: Vec<_> = wrong.iter().map(|item| item.message.as_str()).collect();
                Failure::usage(format!("no invitation can be made: {}", lines.join("\n")))
            })?;
        Ok(text)
    }
}

/// Finds, in each network of the interface, the first address that nobody has; the same number
/// in all of them where that is free.
fn free_addresses(file: &PeerFile) -> Result<Vec<IpNet>, Failure> {
    let taken = |address: &IpNet| {
        let host = IpNet::from(address.addr());
        file.interface.address.iter().any(|own| own.addr() == address.addr())
            || file.peers.iter().flat_map(|peer| &peer.allowed_ips).any(|net| {
                // a network that leads elsewhere takes only what it is narrower than ours for
                net.contains(&host) && !net.contains(&address.trunc())
            })
    };
    let mut found = Vec::new();
    for own in &file.interface.address {
        let bits = own.max_prefix_len() - own.prefix_len();
        if bits < 2 {
            continue;
        }
        let hosts = 1_u128.checked_shl(bits.into()).map_or(u128::MAX, |size| size - 1).min(1 << 20);
        let free = (1..hosts).filter_map(|number| host(own, number)).find(|net| !taken(net));
        found.push(free.ok_or_else(|| {
            Failure::failed(format!(
                "no address of {} is free; widen it, or use `peer add`",
                own.trunc()
            ))
        })?);
    }
    if found.is_empty() {
        return Err(Failure::usage(format!(
            "{}:1:1: error: the interface has no network to take an address from; write \
             `address: [10.7.0.1/24]` under `interface`",
            file.path.display()
        )));
    }
    Ok(found)
}

/// The address with this number in the network of `own`.
fn host(own: &IpNet, number: u128) -> Option<IpNet> {
    let address = match own.network() {
        std::net::IpAddr::V4(base) => {
            let number = u32::try_from(number).ok()?;
            std::net::Ipv4Addr::from(u32::from(base).checked_add(number)?).into()
        }
        std::net::IpAddr::V6(base) => {
            std::net::Ipv6Addr::from(u128::from(base).checked_add(number)?).into()
        }
    };
    IpNet::new(address, own.prefix_len()).ok()
}

/// Where the preshared key goes if it must not stand in the peer file.
fn key_file(peer_file: &Path, name: &str) -> PathBuf {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    let name: String = name.chars().take(64).map(safe).collect();
    peer_file.with_file_name(format!("{name}.psk"))
}

/// Draws a QR code that a camera reads off a terminal.
fn code(text: &str) -> Result<String, Failure> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).map_err(|error| {
        Failure::failed(format!("the file is too long for a QR code ({error}); use --out"))
    })?;
    // dark modules are the terminal's background: most terminals are dark, cameras take both
    Ok(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build()
        + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(address: &str, allowed: &str) -> PeerFile {
        let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
        let other = SecretKey::from_seed([9; 32]).public();
        let text = format!(
            "interface: {{private_key: {key}, address: [{address}]}}\npeers: [{{public_key: \
             {other}, allowed_ips: [{allowed}]}}]\n"
        );
        let loaded = stadium_config::parse(&text, Path::new("a.yaml"), &Environment::default());
        loaded.unwrap_or_else(|wrong| panic!("{wrong}")).file
    }

    fn free(address: &str, allowed: &str) -> Vec<String> {
        let found = free_addresses(&file(address, allowed)).unwrap_or_else(|e| panic!("{e:?}"));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_first_free_address_of_each_network_is_taken() {
        assert_eq!(free("10.7.0.1/24", ""), ["10.7.0.2/24"]);
        assert_eq!(free("10.7.0.1/24", "10.7.0.2/32, 10.7.0.3/32"), ["10.7.0.4/24"]);
        assert_eq!(free("10.7.0.2/24", ""), ["10.7.0.1/24"]);
        assert_eq!(
            free("10.7.0.1/24, \"fd07::1/64\"", "10.7.0.2/32"),
            ["10.7.0.3/24", "fd07::2/64"]
        );
        assert_eq!(free("10.7.0.1/24", "10.7.0.0/28"), ["10.7.0.16/24"]);
        assert_eq!(free("10.7.0.1/24", "0.0.0.0/0"), ["10.7.0.2/24"], "an exit is no neighbour");
        assert_eq!(free("10.7.0.1/32, 10.8.0.1/24", ""), ["10.8.0.2/24"]);
    }

    #[test]
    fn a_network_without_room_is_a_failure() {
        assert!(free_addresses(&file("10.7.0.1/30", "10.7.0.2/32")).is_err());
        assert!(free_addresses(&file("10.7.0.1/32", "")).is_err());
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        let path = key_file(Path::new("/etc/stadium/a.yaml"), "../../x y");
        assert_eq!(path, Path::new("/etc/stadium/______x_y.psk"));
    }
}
