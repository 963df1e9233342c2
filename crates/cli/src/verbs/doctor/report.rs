//! How findings are told.

use std::fmt::Write;

use serde::Serialize;

use super::facts::{Daemon, Facts};
use super::finding::{Finding, Severity};
use crate::output::{Paint, Style, printable};

/// The version of the JSON object.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    interface: &'a str,
    running: bool,
    findings: &'a [Finding],
}

/// Writes one JSON object.
pub(crate) fn json(facts: &Facts, findings: &[Finding]) -> String {
    let running = matches!(facts.daemon, Daemon::Running(_));
    let report = Report { schema: SCHEMA, interface: &facts.name, running, findings };
    serde_json::to_string(&report).expect("plain data always serializes") + "\n"
}

/// Writes a paragraph for each finding.
pub(crate) fn text(facts: &Facts, findings: &[Finding], style: Style) -> String {
    let mut text = String::new();
    for finding in findings {
        let (paint, word) = match finding.severity {
            Severity::Problem => (Paint::Bad, "problem"),
            Severity::Hint => (Paint::Notice, "hint"),
        };
        let about = finding
            .peer
            .as_ref()
            .map_or_else(String::new, |peer| format!(" (peer {})", printable(peer)));
        let title = style.paint(paint, word);
        let what: Vec<String> = finding.what.lines().map(printable).collect();
        writeln!(text, "{title} {}{about}: {}", finding.code, what.join("\n  "))
            .and_then(|()| writeln!(text, "  do: {}", printable(&finding.remedy)))
            .expect("writing to a string cannot fail");
    }
    let name = printable(&facts.name);
    let end = match (&facts.daemon, findings.is_empty()) {
        (Daemon::Running(running), true) => {
            let peers = running.after.peers.len();
            format!("{name}: nothing found wrong; {peers} in the peer file\n", peers = count(peers))
        }
        (Daemon::Running(_), false) => String::new(),
        (_, true) => {
            format!("{name}: not running; nothing found that `stadium up` would trip over\n")
        }
        (_, false) => format!("{name}: not running\n"),
    };
    text + &end
}

fn count(peers: usize) -> String {
    if peers == 1 { "1 peer".to_owned() } else { format!("{peers} peers") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::doctor::finding;

    #[test]
    fn a_finding_has_its_code_its_peer_and_a_remedy() {
        let facts = Facts::healthy();
        let found = [
            Finding::problem(finding::NAT, "it is silent\nreally", "set heartbeat")
                .about("bob\x1b"),
            Finding::problem(finding::CLOCK, "late", "set it").hint(),
        ];
        assert_eq!(
            text(&facts, &found, Style::PLAIN),
            "problem nat (peer bob\u{fffd}): it is silent\n  really\n  do: set heartbeat\n\
             hint clock: late\n  do: set it\n"
        );
        assert!(text(&facts, &[], Style::PLAIN).contains("nothing found wrong; 1 peer in"));
        let json: serde_json::Value = serde_json::from_str(&json(&facts, &found)).unwrap();
        assert_eq!(json["schema"], 1);
        assert_eq!(json["running"], true);
        assert_eq!(json["findings"][0]["code"], "nat");
        assert_eq!(json["findings"][1]["severity"], "hint");
        assert_eq!(json["findings"][1]["peer"], serde_json::Value::Null);
    }
}
