//! `stadium peer list`: the peers of the peer file.

use clap::Args;
use serde::Serialize;
use stadium_config::{Target, format_duration};

use crate::failure::Failure;
use crate::output;
use crate::peer_file;
use crate::target::target;

/// List the peers of the peer file
///
/// Also where no daemon runs; `stadium status` shows what goes on.
#[derive(Debug, Args)]
pub(super) struct List {
    /// The interface's name, or its peer file
    #[arg(value_parser = target)]
    iface: Target,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

/// One peer as it is printed; secrets have no place here.
#[derive(Debug, Serialize)]
struct Line {
    name: Option<String>,
    public_key: String,
    endpoint: Option<String>,
    allowed_ips: Vec<String>,
    heartbeat: Option<String>,
    preshared_key: bool,
}

impl List {
    /// Prints the peers in the file's order.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let file = peer_file::load(&self.iface.peer_file())?.file;
        let lines: Vec<Line> = file
            .peers
            .iter()
            .map(|peer| Line {
                name: peer.name.clone(),
                public_key: peer.public_key.to_base64(),
                endpoint: peer.endpoint.as_ref().map(ToString::to_string),
                allowed_ips: peer.allowed_ips.iter().map(ToString::to_string).collect(),
                heartbeat: peer.heartbeat.map(format_duration),
                preshared_key: peer.preshared_key.is_some(),
            })
            .collect();
        if self.json {
            let text = serde_json::to_string(&lines).expect("plain data always serializes");
            return output::data(text + "\n");
        }
        output::data(table(&lines))
    }
}

/// Writes aligned columns; what is absent is a dash.
fn table(lines: &[Line]) -> String {
    let dash = || "-".to_owned();
    let rows: Vec<[String; 4]> = lines
        .iter()
        .map(|line| {
            [
                line.name.as_deref().map_or_else(dash, output::printable),
                line.public_key.clone(),
                line.endpoint.clone().unwrap_or_else(dash),
                match line.allowed_ips.is_empty() {
                    true => dash(),
                    false => line.allowed_ips.join(", "),
                },
            ]
        })
        .collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for [name, key, endpoint, allowed] in &rows {
        let [a, b, c] = widths;
        text += &format!("{name:<a$}  {key:<b$}  {endpoint:<c$}  {allowed}\n");
    }
    text
}
