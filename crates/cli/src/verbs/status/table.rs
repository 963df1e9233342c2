//! The status for people: a block for each interface, aligned columns for its peers.

use std::fmt::{self, Write};

use jiff::Timestamp;
use stadium_node::api::{InterfaceStatus, PeerState, PeerStatus, Status};

use super::units;
use crate::output::{Paint, Style, printable};

/// The headings of the peers' columns.
const COLUMNS: [&str; 9] =
    ["PEER", "STATE", "ENDPOINT", "HANDSHAKE", "SESSION", "RX", "TX", "RTT", "NOISE"];

/// The column that is coloured by state.
const STATE: usize = 1;

/// How many characters of a peer's name or key its column shows.
const LONGEST_LABEL: usize = 24;

/// Writes all of `status` as of `now`.
pub(crate) fn render(status: &Status, now: Timestamp, style: Style) -> String {
    let mut text = String::new();
    for (number, interface) in status.interfaces.iter().enumerate() {
        let gap = if number > 0 { "\n" } else { "" };
        text.push_str(gap);
        head(&mut text, interface, style)
            .and_then(|()| peers(&mut text, &interface.peers, now, style))
            .expect("writing to a string cannot fail");
    }
    text
}

/// Writes what concerns the interface as a whole.
fn head(text: &mut String, interface: &InterfaceStatus, style: Style) -> fmt::Result {
    let listen: Vec<_> = interface.listen.iter().map(ToString::to_string).collect();
    let offload = [
        (interface.offload.tun, "tun"),
        (interface.offload.udp_gso, "udp gso"),
        (interface.offload.udp_gro, "udp gro"),
    ];
    let offload: Vec<_> = offload.iter().filter(|(used, _)| *used).map(|(_, name)| *name).collect();
    let drops: Vec<_> = interface
        .drops
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    let title = format!("interface {}", printable(&interface.name));
    writeln!(text, "{}", style.paint(Paint::Heading, &title))?;
    let lines = [
        ("public key", printable(&interface.public_key)),
        ("listening", or_none(listen.join(", "))),
        ("mtu", interface.mtu.to_string()),
        ("workers", interface.workers.to_string()),
        ("offload", or_none(offload.join(", "))),
        ("up for", units::span(interface.uptime_s)),
        ("dropped", or_none(drops.join(", "))),
    ];
    for (label, value) in lines {
        writeln!(text, "  {:<10}  {value}", style.paint(Paint::Faint, label))?;
    }
    Ok(())
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}

/// Writes a table of the peers; beneath each row what is too long for columns.
fn peers(text: &mut String, peers: &[PeerStatus], now: Timestamp, style: Style) -> fmt::Result {
    if peers.is_empty() {
        return writeln!(text, "  no peers");
    }
    let rows: Vec<_> = peers.iter().map(|peer| row(peer, now)).collect();
    let mut widths = COLUMNS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    text.push('\n');
    columns(text, &COLUMNS.map(str::to_owned), &widths, |_| Paint::Heading, style)?;
    for (peer, row) in peers.iter().zip(&rows) {
        let paint = match peer.state {
            PeerState::Up => Some(Paint::Good),
            PeerState::Handshaking => Some(Paint::Notice),
            PeerState::Down => Some(Paint::Bad),
            PeerState::Idle | PeerState::Closed => Some(Paint::Faint),
        };
        let paint = |column| paint.filter(|_| column == STATE).unwrap_or(Paint::Plain);
        columns(text, row, &widths, paint, style)?;
        details(text, peer, style)?;
    }
    Ok(())
}

/// Writes one row, its cells padded to `widths` but for the last.
fn columns(
    text: &mut String,
    cells: &[String; COLUMNS.len()],
    widths: &[usize; COLUMNS.len()],
    paint: impl Fn(usize) -> Paint,
    style: Style,
) -> fmt::Result {
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let width = if column + 1 == COLUMNS.len() { 0 } else { *width };
        write!(text, "  {:<width$}", style.paint(paint(column), cell))?;
    }
    text.push('\n');
    Ok(())
}

/// Fills the columns of one peer; what is absent is a dash.
fn row(peer: &PeerStatus, now: Timestamp) -> [String; COLUMNS.len()] {
    let dash = || "-".to_owned();
    let mut label = printable(peer.label());
    if label.chars().count() > LONGEST_LABEL {
        label = label.chars().take(LONGEST_LABEL - 1).collect();
        label.push('…');
    }
    let age =
        |then: Timestamp| format!("{} ago", units::span(now.duration_since(then).as_secs_f64()));
    let noise = match peer.noise.byte {
        0 => "off".to_owned(),
        _ => format!("{} {} {}", peer.noise.ratio, peer.noise.size, peer.noise.filler),
    };
    [
        label,
        peer.state.to_string(),
        peer.endpoint.map_or_else(dash, |endpoint| endpoint.to_string()),
        peer.last_handshake.map_or_else(dash, age),
        peer.session.as_ref().map_or_else(dash, |session| session.id.to_string()),
        units::bytes(peer.rx.bytes),
        units::bytes(peer.tx.bytes),
        peer.rtt_ms.map_or_else(dash, units::milliseconds),
        printable(&noise),
    ]
}

/// Writes the lines beneath a peer's row: its key, prefixes, session and last error.
fn details(text: &mut String, peer: &PeerStatus, style: Style) -> fmt::Result {
    let mut line = |label: &str, value: &str, paint: Paint| {
        let label = style.paint(Paint::Faint, label);
        writeln!(text, "      {label:<11}  {}", style.paint(paint, value))
    };
    line("public key", &printable(&peer.public_key), Paint::Plain)?;
    let allowed: Vec<_> = peer.allowed_ips.iter().map(ToString::to_string).collect();
    line("allowed ips", &or_none(allowed.join(", ")), Paint::Plain)?;
    if let Some(session) = &peer.session {
        let mut parts = vec![printable(&session.cipher), printable(&session.hash)];
        parts.push(
            if session.post_quantum { "post-quantum" } else { "not post-quantum" }.to_owned(),
        );
        parts.push(format!("{} handshake", session.handshake.as_str()));
        parts.push(format!(
            "{} {}",
            session.lanes,
            if session.lanes == 1 { "lane" } else { "lanes" }
        ));
        line("session", &parts.join(", "), Paint::Plain)?;
    }
    if let Some(error) = peer.last_error {
        line("last error", error.as_str(), Paint::Bad)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use stadium_node::api::{
        Drops, HandshakeKind, LastError, NoiseStatus, Offload, Received, Sent, SessionStatus,
    };

    fn peer(name: &str) -> PeerStatus {
        PeerStatus {
            name: Some(name.to_owned()),
            public_key: "KEYKEYKEY=".to_owned(),
            endpoint: None,
            allowed_ips: vec!["10.7.0.2/32".parse().unwrap()],
            state: PeerState::Idle,
            last_error: None,
            session: None,
            handshakes: 0,
            last_handshake: None,
            last_received: None,
            rx: Received::default(),
            tx: Sent::default(),
            rtt_ms: None,
            noise: NoiseStatus::default(),
        }
    }

    fn sample() -> Status {
        let now = Timestamp::UNIX_EPOCH;
        let up = PeerStatus {
            endpoint: Some("192.0.2.7:51871".parse().unwrap()),
            state: PeerState::Up,
            session: Some(SessionStatus {
                id: 7,
                age_s: 31.0,
                cipher: "aes-256-gcm".to_owned(),
                hash: "sha-256".to_owned(),
                post_quantum: true,
                handshake: HandshakeKind::Encrypted,
                lanes: 2,
            }),
            last_handshake: Some(now),
            rx: Received { bytes: 2048, ..Received::default() },
            rtt_ms: Some(0.4),
            noise: NoiseStatus::from_byte(130, false),
            ..peer("bob")
        };
        let down = PeerStatus {
            state: PeerState::Down,
            last_error: Some(LastError::NoAnswer),
            ..peer("a peer whose name is longer than its column")
        };
        Status::new(vec![InterfaceStatus {
            name: "stadium0".to_owned(),
            public_key: "OWNKEY=".to_owned(),
            listen: vec!["0.0.0.0:51871".parse().unwrap(), "[::]:51871".parse().unwrap()],
            mtu: 1420,
            workers: 2,
            offload: Offload { tun: true, udp_gso: true, udp_gro: false },
            uptime_s: 125.0,
            drops: Drops { replay: 3, ..Drops::default() },
            peers: vec![up, down],
        }])
    }

    #[test]
    fn columns_align_and_absent_values_are_dashes() {
        let now = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(31);
        let text = render(&sample(), now, Style::PLAIN);
        let expected = "\
interface stadium0
  public key  OWNKEY=
  listening   0.0.0.0:51871, [::]:51871
  mtu         1420
  workers     2
  offload     tun, udp gso
  up for      2 m 5 s
  dropped     3 replay

  PEER                      STATE  ENDPOINT         HANDSHAKE  SESSION  RX        TX   RTT      NOISE
  bob                       up     192.0.2.7:51871  31 s ago   7        2.00 KiB  0 B  0.40 ms  1:1 match full
      public key   KEYKEYKEY=
      allowed ips  10.7.0.2/32
      session      aes-256-gcm, sha-256, post-quantum, encrypted handshake, 2 lanes
  a peer whose name is lo…  down   -                -          -        0 B       0 B  -        off
      public key   KEYKEYKEY=
      allowed ips  10.7.0.2/32
      last error   no answer
";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_interface_without_peers_says_so_and_several_are_set_apart() {
        let mut status = sample();
        status.interfaces[0].peers.clear();
        status.interfaces.push(status.interfaces[0].clone());
        let text = render(&status, Timestamp::UNIX_EPOCH, Style::PLAIN);
        assert_eq!(text.matches("  no peers\n").count(), 2);
        assert!(text.contains("no peers\n\ninterface stadium0\n"));
        assert_eq!(render(&Status::default(), Timestamp::UNIX_EPOCH, Style::PLAIN), "");
    }
}
