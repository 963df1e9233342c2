//! Name servers while the interface is up: systemd-resolved, resolvconf, or `/etc/resolv.conf`.
//!
//! Invariants: whoever manages the machine's name servers is asked, in that order, and a file is
//! written only where nobody does; what stood before comes back, also after a kill, from what is
//! written down beside it; what another program has put there meanwhile is left alone.

mod file;
mod program;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::error::SystemError;
pub(super) use file::is_ours;

/// Where the C library looks for name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Who manages the machine's name servers.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Resolver {
    /// systemd-resolved, through `resolvectl`; what it is told of an interface goes with it.
    Resolved,
    /// Debian's resolvconf or openresolv.
    Resolvconf,
    /// Nobody: `/etc/resolv.conf` is a file.
    #[default]
    File,
}

impl Resolver {
    /// Finds out who manages the name servers here.
    pub(super) fn detect() -> Self {
        let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
        let target = std::fs::canonicalize(RESOLV_CONF).unwrap_or_default();
        if is_resolved(&text, &target.to_string_lossy()) && program::find("resolvectl").is_some() {
            return Self::Resolved;
        }
        match program::find("resolvconf") {
            // the name is also resolved's own, which manages nothing here as was just seen
            Some(path) if !is_resolvectl(&path) => Self::Resolvconf,
            _ => Self::File,
        }
    }
}

/// Whether `resolv.conf` leads to systemd-resolved: by its link, or by its stub's address.
fn is_resolved(text: &str, target: &str) -> bool {
    target.starts_with("/run/systemd/resolve/")
        || target.starts_with("/usr/lib/systemd/")
        || text.lines().any(|line| {
            let mut words = line.split_ascii_whitespace();
            words.next() == Some("nameserver")
                && matches!(words.next(), Some("127.0.0.53" | "127.0.0.54"))
        })
}

fn is_resolvectl(path: &std::path::Path) -> bool {
    let target = std::fs::canonicalize(path).unwrap_or_default();
    target.file_name().is_some_and(|name| name == "resolvectl")
}

/// What one interface wants of the machine's name servers.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Dns {
    /// The interface's name.
    pub interface: String,
    /// The servers, in the order they are asked.
    pub servers: Vec<IpAddr>,
    /// Whom to tell.
    pub resolver: Resolver,
}

impl Dns {
    /// Tells of our servers. What another interface of ours has set is not overwritten.
    pub(super) async fn set(&self) -> Result<(), SystemError> {
        let interface = self.interface.as_str();
        match self.resolver {
            Resolver::File => file::set(RESOLV_CONF.as_ref(), interface, &self.servers),
            Resolver::Resolvconf => {
                let mut text = String::new();
                for server in &self.servers {
                    text += &format!("nameserver {server}\n");
                }
                // metric 0 and exclusive where that is understood, as openresolv does
                let name = record(interface);
                program::run("resolvconf", &["-a", &name, "-m", "0", "-x"], Some(&text)).await
            }
            Resolver::Resolved => {
                let servers: Vec<String> = self.servers.iter().map(ToString::to_string).collect();
                let mut command = vec!["dns", interface];
                command.extend(servers.iter().map(String::as_str));
                program::run("resolvectl", &command, None).await?;
                // every name, before what other interfaces would have answered
                program::run("resolvectl", &["domain", interface, "~."], None).await?;
                program::run("resolvectl", &["default-route", interface, "yes"], None).await
            }
        }
    }
}

/// Has everything as it was before [`Dns::set`]; nothing to do is success.
pub(super) async fn restore(interface: &str, resolver: Resolver) -> Result<(), SystemError> {
    match resolver {
        Resolver::File => file::restore(RESOLV_CONF.as_ref(), interface),
        Resolver::Resolvconf => {
            program::run("resolvconf", &["-d", &record(interface), "-f"], None).await
        }
        Resolver::Resolved => {
            // where the interface is gone already, its settings went with it
            if let Err(error) = program::run("resolvectl", &["revert", interface], None).await {
                tracing::debug!("{error}");
            }
            Ok(())
        }
    }
}

/// Under which name resolvconf keeps ours: `tun.` puts it before other interfaces (Debian's
/// `interface-order`).
fn record(interface: &str) -> String {
    format!("tun.{interface}")
}

impl fmt::Display for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolved => "systemd-resolved",
            Self::Resolvconf => "resolvconf",
            Self::File => RESOLV_CONF,
        })
    }
}

impl fmt::Display for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<String> = self.servers.iter().map(ToString::to_string).collect();
        write!(f, "name servers {} by {}", servers.join(", "), self.resolver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolved_is_known_by_link_or_stub() {
        assert!(is_resolved("", "/run/systemd/resolve/stub-resolv.conf"));
        assert!(is_resolved("# x\nnameserver 127.0.0.53\noptions edns0\n", "/etc/resolv.conf"));
        assert!(!is_resolved("nameserver 192.168.5.1\n", "/etc/resolv.conf"));
        assert!(!is_resolved("# nameserver 127.0.0.53\n", "/run/NetworkManager/resolv.conf"));
    }

    #[test]
    fn reads_in_plain_words() {
        let dns = Dns {
            interface: "stadium0".into(),
            servers: vec!["10.7.0.1".parse().unwrap(), "fd07::1".parse().unwrap()],
            resolver: Resolver::File,
        };
        assert_eq!(dns.to_string(), "name servers 10.7.0.1, fd07::1 by /etc/resolv.conf");
    }
}
