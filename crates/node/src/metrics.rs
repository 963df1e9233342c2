//! The status as Prometheus text: the same figures, as counters and gauges.
//!
//! Invariants: names and labels are a contract with dashboards; a label's value is escaped; a
//! peer without a name is labelled by its public key.

use std::fmt::Write;

use crate::api::{InterfaceStatus, PeerState, PeerStatus, Status};

/// What the answer says that it is (Prometheus text format, version 0.0.4).
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All states, for a gauge that is 1 for one of them.
const STATES: [PeerState; 5] =
    [PeerState::Up, PeerState::Handshaking, PeerState::Idle, PeerState::Closed, PeerState::Down];

/// Writes all figures of `status`.
pub(crate) fn render(status: &Status) -> String {
    let mut text = Text(String::with_capacity(4096));
    text.family("stadium_build_info", "gauge", "The version that runs.");
    text.line("stadium_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    for interface in &status.interfaces {
        render_interface(&mut text, interface);
    }
    text.0
}

fn render_interface(text: &mut Text, interface: &InterfaceStatus) {
    let label = [("interface", interface.name.as_str())];
    text.family("stadium_uptime_seconds", "gauge", "Seconds since the interface came up.");
    text.line("stadium_uptime_seconds", &label, interface.uptime_s);
    text.family("stadium_mtu_bytes", "gauge", "The MTU inside the tunnel.");
    text.line("stadium_mtu_bytes", &label, interface.mtu);
    text.family("stadium_workers", "gauge", "Pairs of data-plane workers.");
    text.line("stadium_workers", &label, interface.workers);
    text.family("stadium_offload", "gauge", "Whether an offload is in use.");
    let offload = &interface.offload;
    for (kind, used) in
        [("tun", offload.tun), ("udp_gso", offload.udp_gso), ("udp_gro", offload.udp_gro)]
    {
        let labels = [("interface", interface.name.as_str()), ("kind", kind)];
        text.line("stadium_offload", &labels, u8::from(used));
    }
    text.family("stadium_drops_total", "counter", "Dropped packets and datagrams by reason.");
    for (reason, count) in interface.drops.iter() {
        let labels = [("interface", interface.name.as_str()), ("reason", reason)];
        text.line("stadium_drops_total", &labels, count);
    }
    text.family("stadium_peers", "gauge", "Peers by state.");
    for state in STATES {
        let labels = [("interface", interface.name.as_str()), ("state", state.as_str())];
        let count = interface.peers.iter().filter(|peer| peer.state == state).count();
        text.line("stadium_peers", &labels, count);
    }
    render_peers(text, interface);
}

/// A figure of a peer: name, type, help, and how it is read.
type Figure = (&'static str, &'static str, &'static str, fn(&PeerStatus) -> Option<f64>);

/// The counters of a peer, which stay integers.
type Counter = (&'static str, &'static str, fn(&PeerStatus) -> u64);

const COUNTERS: [Counter; 10] = [
    ("stadium_receive_bytes_total", "Bytes of inner packets from the peer.", |p| p.rx.bytes),
    ("stadium_receive_packets_total", "Inner packets from the peer.", |p| p.rx.packets),
    ("stadium_receive_noise_bytes_total", "Bytes of noise packets from the peer.", |p| {
        p.rx.noise_bytes
    }),
    ("stadium_receive_noise_packets_total", "Noise packets from the peer.", |p| p.rx.noise_packets),
    ("stadium_transmit_bytes_total", "Bytes of inner packets to the peer.", |p| p.tx.bytes),
    ("stadium_transmit_packets_total", "Inner packets to the peer.", |p| p.tx.packets),
    ("stadium_transmit_noise_bytes_total", "Bytes of noise packets to the peer.", |p| {
        p.tx.noise_bytes
    }),
    ("stadium_transmit_noise_packets_total", "Noise packets to the peer.", |p| p.tx.noise_packets),
    ("stadium_transmit_filler_bytes_total", "Bytes of filler in data to the peer.", |p| {
        p.tx.filler_bytes
    }),
    ("stadium_handshakes_total", "Handshakes that completed.", |p| p.handshakes),
];

const GAUGES: [Figure; 4] = [
    ("stadium_session_age_seconds", "gauge", "Age of the session.", |p| {
        p.session.as_ref().map(|session| session.age_s)
    }),
    ("stadium_rtt_seconds", "gauge", "The last round trip of a heartbeat.", |p| {
        p.rtt_ms.map(|rtt| rtt / 1_000.0)
    }),
    (
        "stadium_last_handshake_timestamp_seconds",
        "gauge",
        "When the last handshake completed.",
        |p| p.last_handshake.map(|at| at.as_duration().as_secs_f64()),
    ),
    ("stadium_last_received_timestamp_seconds", "gauge", "When the peer was heard last.", |p| {
        p.last_received.map(|at| at.as_duration().as_secs_f64())
    }),
];

fn render_peers(text: &mut Text, interface: &InterfaceStatus) {
    let name = interface.name.as_str();
    text.family("stadium_peer_up", "gauge", "Whether the peer has a session.");
    for peer in &interface.peers {
        let labels = [("interface", name), ("peer", peer.label())];
        text.line("stadium_peer_up", &labels, u8::from(peer.state == PeerState::Up));
    }
    text.family("stadium_peer_error", "gauge", "Why the peer has no session.");
    for peer in &interface.peers {
        if let Some(error) = peer.last_error {
            let labels = [("interface", name), ("peer", peer.label()), ("error", error.as_str())];
            text.line("stadium_peer_error", &labels, 1);
        }
    }
    for (family, help, read) in COUNTERS {
        text.family(family, "counter", help);
        for peer in &interface.peers {
            text.line(family, &[("interface", name), ("peer", peer.label())], read(peer));
        }
    }
    for (family, kind, help, read) in GAUGES {
        text.family(family, kind, help);
        for peer in &interface.peers {
            if let Some(value) = read(peer) {
                text.line(family, &[("interface", name), ("peer", peer.label())], value);
            }
        }
    }
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}")
            .expect("writing to a string cannot fail");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (number, (label, value)) in labels.iter().enumerate() {
            self.0.push_str(if number == 0 { "{" } else { "," });
            self.0.push_str(label);
            self.0.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        writeln!(self.0, "}} {value}").expect("writing to a string cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Drops, LastError, NoiseStatus, Offload, Received, Sent};

    fn status() -> Status {
        let peer = |name: &str| PeerStatus {
            name: Some(name.to_owned()),
            public_key: "KEY=".to_owned(),
            endpoint: None,
            allowed_ips: Vec::new(),
            state: PeerState::Up,
            last_error: None,
            session: None,
            handshakes: 3,
            last_handshake: None,
            last_received: None,
            rx: Received { bytes: u64::MAX, ..Received::default() },
            tx: Sent::default(),
            rtt_ms: Some(1.5),
            noise: NoiseStatus::default(),
        };
        let down = PeerStatus {
            name: None,
            state: PeerState::Down,
            last_error: Some(LastError::NoAnswer),
            rtt_ms: None,
            ..peer("")
        };
        Status::new(vec![InterfaceStatus {
            name: "stadium0".to_owned(),
            public_key: "OWN=".to_owned(),
            listen: Vec::new(),
            mtu: 1420,
            workers: 2,
            offload: Offload::default(),
            uptime_s: 12.5,
            drops: Drops { replay: 3, ..Drops::default() },
            peers: vec![peer("a \"b\" \\ c"), down],
        }])
    }

    #[test]
    fn figures_are_those_of_the_status() {
        let text = render(&status());
        for line in [
            "stadium_uptime_seconds{interface=\"stadium0\"} 12.5",
            "stadium_drops_total{interface=\"stadium0\",reason=\"replay\"} 3",
            "stadium_peers{interface=\"stadium0\",state=\"down\"} 1",
            "stadium_peer_up{interface=\"stadium0\",peer=\"a \\\"b\\\" \\\\ c\"} 1",
            "stadium_peer_up{interface=\"stadium0\",peer=\"KEY=\"} 0",
            "stadium_peer_error{interface=\"stadium0\",peer=\"KEY=\",error=\"no answer\"} 1",
            "stadium_receive_bytes_total{interface=\"stadium0\",peer=\"KEY=\"} 18446744073709551615",
            "stadium_rtt_seconds{interface=\"stadium0\",peer=\"a \\\"b\\\" \\\\ c\"} 0.0015",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nin\n{text}");
        }
    }

    #[test]
    fn each_family_is_announced_once_and_every_line_belongs_to_one() {
        let text = render(&status());
        let mut families = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let name = rest.split(' ').next().unwrap();
                assert!(!families.contains(&name), "{name} twice");
                families.push(name);
            } else if !line.starts_with('#') {
                let name = line.split('{').next().unwrap();
                assert_eq!(families.last(), Some(&name), "{line}");
                assert_eq!(
                    name.ends_with("_total"),
                    text.contains(&format!("# TYPE {name} counter"))
                );
            }
        }
        assert!(families.len() > 20);
    }
}
