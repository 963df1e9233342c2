//! The judgement for people: a block for each peer, what matters most first.

use std::fmt::{self, Write};

use super::report::{Agreement, PeerReport, Report};
use crate::output::{Paint, Style, printable};

/// Columns of text behind the label of a line.
const WIDTH: usize = 88;
/// Columns of a label.
const LABEL: usize = 8;

/// Writes the whole report.
pub(super) fn render(report: &Report, style: Style) -> String {
    let mut text = String::new();
    for (number, peer) in report.peers.iter().enumerate() {
        text.push_str(if number > 0 { "\n" } else { "" });
        block(&mut text, peer, report.other_file.as_deref(), style)
            .expect("writing to a string cannot fail");
    }
    if report.peers.is_empty() {
        text.push_str("no peers\n");
    }
    text
}

fn block(text: &mut String, peer: &PeerReport, other: Option<&str>, style: Style) -> fmt::Result {
    let title = format!("peer {}", printable(&peer.label));
    writeln!(text, "{}", style.paint(Paint::Heading, &title))?;
    let budget = match peer.budget_bits {
        Some(bits) => format!(", budget {:.3} Mbit/s", bits as f64 / 1e6),
        None => String::new(),
    };
    line(
        text,
        "asks",
        &format!("{}; engine {}{budget}", peer.asked.words(), peer.engine),
        Paint::Plain,
        style,
    )?;
    match &peer.other {
        None => {
            let verdict = outcome("a peer with the default `accept`", &peer.default_peer);
            line(text, "peer", &verdict.0, verdict.1, style)?;
        }
        Some(both) => {
            let other = other.unwrap_or("the other end");
            for (who, agreement) in [
                ("when this node asks, the two", &both.asking),
                ("when the other node asks, the two", &both.answering),
            ] {
                if let Some(agreement) = agreement {
                    let (words, paint) = outcome(who, agreement);
                    line(text, "agree", &words, paint, style)?;
                }
            }
            line(
                text,
                "other",
                &format!("{}: engine {}", printable(other), both.engine),
                Paint::Plain,
                style,
            )?;
            for remark in &both.remarks {
                line(text, "other", remark, Paint::Notice, style)?;
            }
        }
    }
    for finding in &peer.findings {
        let paint = match finding.weight {
            "bad" => Paint::Bad,
            "leak" => Paint::Notice,
            _ => Paint::Plain,
        };
        line(text, finding.weight, &finding.text, paint, style)?;
    }
    for cost in &peer.costs {
        let words = format!(
            "{}: {:.0} kbit/s, and {:.0} kbit/s more through noise: {:.1} GiB more a month ({})",
            cost.load, cost.plain_kbit_s, cost.added_kbit_s, cost.added_gib_month, cost.description
        );
        line(text, "cost", &words, Paint::Plain, style)?;
    }
    if let Some(path) = &peer.path {
        line(text, "path", &path.text, Paint::Plain, style)?;
        let assumed = match peer.limit_assumed {
            true => " (assumed: `mtu: auto` looks at the route when the interface comes up)",
            false => "",
        };
        line(text, "mtu", &format!("{}{assumed}", peer.payload_limit), Paint::Plain, style)?;
    }
    if peer.added_delay_ms > 0.0 {
        let words = format!("a round trip takes up to {} ms longer", peer.added_delay_ms);
        line(text, "delay", &words, Paint::Plain, style)?;
    }
    Ok(())
}

fn outcome(who: &str, agreement: &Agreement) -> (String, Paint) {
    let paint = match (agreement.agreed, agreement.weaker) {
        (true, false) => Paint::Good,
        (true, true) => Paint::Notice,
        (false, _) => Paint::Bad,
    };
    let verb = match (who.ends_with("two"), agreement.agreed) {
        (true, _) => agreement.text.clone(),
        (false, true) if !agreement.weaker => "agrees".to_owned(),
        (false, true) => format!("agrees to no more than {}", agreement.byte.words()),
        (false, false) => {
            format!("refuses: it grants at most {}", agreement.byte.words())
        }
    };
    (format!("{who} {verb}"), paint)
}

/// Writes a label and words, broken into lines.
fn line(text: &mut String, label: &str, words: &str, paint: Paint, style: Style) -> fmt::Result {
    let mut label = label;
    let mut row = String::new();
    for word in words.split(' ').chain([""]) {
        let last = word.is_empty();
        if last || row.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(
                text,
                "  {:<LABEL$}{}",
                style.paint(Paint::Faint, label),
                style.paint(paint, &row)
            )?;
            label = "";
            row.clear();
        }
        if !row.is_empty() {
            row.push(' ');
        }
        row.push_str(word);
    }
    Ok(())
}
