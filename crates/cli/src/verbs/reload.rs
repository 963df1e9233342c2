//! `stadium reload`: the changed peer file takes effect.

use std::fmt::Write;

use clap::Args;
use stadium_config::Target;
use stadium_node::api::{Client, ClientError, Effect, ReloadReport};

use crate::failure::Failure;
use crate::output::{self, Paint, Style};
use crate::target::{place, target};

/// Apply the changed peer file; unchanged peers keep their sessions
///
/// Prints each change with what it takes: live, re-handshake or restart. A bad file changes
/// nothing. SIGHUP to the daemon does the same.
#[derive(Debug, Args)]
pub(crate) struct Reload {
    /// The interface's name, or its peer file
    #[arg(value_parser = target)]
    iface: Target,
    /// Only print what would change
    #[arg(long)]
    diff: bool,
}

impl Reload {
    /// Has the daemon reload and prints its report.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let place = place(&self.iface)?;
        let mut client = Client::connect(&place.socket).map_err(|error| self.explain(error))?;
        let report = client.reload(self.diff)?;
        for warning in &report.warnings {
            output::message(&output::printable(warning));
        }
        output::data(render(&report, Style::of(&std::io::stdout())))?;
        if report.changes.is_empty() {
            output::message(&format!("{}: nothing changed in the peer file", place.name));
        }
        let restarts = report.changes.iter().filter(|c| c.effect == Effect::Restart).count();
        if restarts > 0 && report.applied {
            output::message(&format!(
                "{restarts} of these take effect only after `stadium down` and `stadium up`"
            ));
        }
        Ok(())
    }
}

impl Reload {
    /// Looks for the reason that no daemon is found in the peer file, which says where it is.
    fn explain(&self, error: ClientError) -> Failure {
        if let (Target::File(path), ClientError::NotRunning { .. }) = (&self.iface, &error)
            && let Err(wrong) = stadium_config::load(path)
        {
            return Failure::usage(wrong.to_string());
        }
        error.into()
    }
}

/// Writes a line for each change: what it takes, and what it is.
fn render(report: &ReloadReport, style: Style) -> String {
    let mut text = String::new();
    for change in &report.changes {
        let paint = match change.effect {
            Effect::Live => Paint::Good,
            Effect::Rehandshake => Paint::Notice,
            Effect::Restart => Paint::Bad,
        };
        let effect = style.paint(paint, change.effect.as_str());
        writeln!(text, "{effect:<12}  {}", output::printable(&change.what))
            .expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use stadium_node::api::ReloadChange;

    #[test]
    fn each_change_has_a_line_with_its_effect() {
        let change = |what: &str, effect| ReloadChange { what: what.into(), effect };
        let report = ReloadReport {
            applied: true,
            changes: vec![
                change("peer bob: heartbeat: 25s", Effect::Live),
                change("peer eve: preshared key (hidden)", Effect::Rehandshake),
                change("interface: workers: 4", Effect::Restart),
            ],
            warnings: Vec::new(),
        };
        assert_eq!(
            render(&report, Style::PLAIN),
            "live          peer bob: heartbeat: 25s\n\
             re-handshake  peer eve: preshared key (hidden)\n\
             restart       interface: workers: 4\n"
        );
    }
}
