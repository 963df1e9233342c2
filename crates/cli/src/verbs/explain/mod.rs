//! `stadium explain`: which peer, rule, route, MTU and endpoint would carry an address.
//!
//! The kernel is asked for its own answer twice: as anybody's packet to the address, and as the
//! daemon's marked datagram to the endpoint.

mod judge;
mod report;

use std::net::IpAddr;

use clap::Args;
use stadium_config::{Endpoint, Target};
use stadium_node::api::{Client, ClientError};
use stadium_node::{Question, resolve_now, survey};

use crate::arguments::positive_duration;
use crate::failure::{Code, Failure};
use crate::mark::own_mark;
use crate::output::{self, Style};
use crate::target::{place, target};
use judge::{Candidate, Facts};

/// Say which peer, rule, route, MTU and endpoint would carry an address, or why none would
///
/// Ends with 0 where a peer would carry it, with 1 where none would, with 3 where the daemon
/// does not run.
#[derive(Debug, Args)]
#[command(after_help = "Example: stadium explain stadium0 192.168.5.7")]
pub(crate) struct Explain {
    /// The interface's name, or its peer file
    #[arg(value_parser = target, value_name = "IFACE|FILE")]
    iface: Target,
    /// The address that a packet would go to
    #[arg(value_name = "IP")]
    address: IpAddr,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// How long a name of an endpoint may take to resolve
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = positive_duration)]
    wait: std::time::Duration,
}

impl Explain {
    /// Asks, judges and tells.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let facts = self.gather()?;
        let running = facts.running;
        let told = judge::explain(facts);
        output::data(if self.json {
            report::json(&told)
        } else {
            report::text(&told, Style::of(&std::io::stdout()))
        })?;
        match (running, told.carried) {
            (true, true) => Ok(()),
            (true, false) => Err(Failure::Reported(Code::Failed)),
            (false, _) => Err(Failure::Reported(Code::NotRunning)),
        }
    }

    fn gather(&self) -> Result<Facts, Failure> {
        let place = place(&self.iface)?;
        let status = match Client::connect(&place.socket).and_then(|mut client| client.status()) {
            Ok(status) => status.interfaces.into_iter().next(),
            Err(ClientError::NotRunning { .. } | ClientError::Closed { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let loaded = stadium_config::load(&self.iface.peer_file());
        let file = match (loaded, &status) {
            (Ok(loaded), _) => Some(loaded.file),
            (Err(wrong), None) => return Err(Failure::usage(wrong.to_string())),
            // the daemon knows what is in force
            (Err(_), Some(_)) => None,
        };
        let address = self.address.to_canonical();
        let mut candidates: Vec<Candidate> = match (&status, &file) {
            (Some(status), _) => status.peers.iter().map(Candidate::of_status).collect(),
            (None, Some(file)) => file.peers.iter().map(Candidate::of_file).collect(),
            (None, None) => Vec::new(),
        };
        candidates.retain(|peer| peer.prefix(address).is_some());
        let peer = candidates
            .into_iter()
            .max_by_key(|peer| peer.prefix(address).map_or(0, |net| net.prefix_len()));
        let endpoint = match peer.as_ref().map(|peer| (peer.endpoint, &peer.configured)) {
            Some((Some(known), _)) => Some(known),
            Some((None, Some(named @ Endpoint::Name { .. }))) => {
                let found = resolve_now(std::slice::from_ref(named), self.wait)?;
                found.into_iter().next().and_then(Result::ok).and_then(|all| all.first().copied())
            }
            _ => None,
        };
        let machine = survey(&[])?.facts;
        let name = place.name.to_string();
        let mark = own_mark(file.as_ref().map(|file| file.interface.fwmark), &machine, &name);
        let mut questions = vec![Question { destination: address, mark: None }];
        questions.extend(endpoint.map(|at| Question { destination: at.ip().to_canonical(), mark }));
        let mut ways = survey(&questions)?.ways.into_iter();
        let inner = ways.next().expect("one answer for each question");
        let outer = endpoint.zip(ways.next());
        let routes = file.as_ref().map(|file| file.interface.routes);
        let mtu = status.as_ref().map(|status| status.mtu);
        let running = status.is_some();
        Ok(Facts { address, name, running, routes, mtu, mark, peer, inner, outer, machine })
    }
}
