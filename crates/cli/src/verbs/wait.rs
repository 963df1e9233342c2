//! `stadium wait`: until the peers have a session.

use std::time::{Duration, Instant};

use clap::Args;
use stadium_config::Target;
use stadium_node::api::{Client, ClientError, InterfaceStatus, PeerState, PeerStatus};

use crate::arguments::duration;
use crate::failure::Failure;
use crate::output;
use crate::target::{Place, place, target};

/// How often the daemon is asked.
const POLL: Duration = Duration::from_millis(50);

/// How often handshakes are asked for again, where a peer gave up or was idle.
const NUDGE: Duration = Duration::from_secs(1);

/// Wait until the peers have a session
///
/// Waits for the daemon too, and starts handshakes with peers whose endpoint is known. Ends
/// with 1 when the time is over, with 3 when the daemon was never there.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// The interface's name, or its peer file
    #[arg(value_parser = target)]
    iface: Target,
    /// Wait for this peer only: its name or public key (may be given several times)
    #[arg(long, value_name = "NAME")]
    peer: Vec<String>,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    timeout: Duration,
}

impl Wait {
    /// Polls until every wanted peer is up.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let place = place(&self.iface)?;
        let deadline = Instant::now() + self.timeout;
        let mut daemon: Option<Client> = None;
        let mut missing: Option<String> = None;
        let mut next_nudge = Instant::now();
        loop {
            match self.poll(&place, &mut daemon, &mut next_nudge) {
                Ok(None) => return Ok(()),
                Ok(Some(still)) => missing = Some(still),
                Err(Failed::Retry) => daemon = None,
                Err(Failed::For(failure)) => return Err(failure),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(POLL.min(left));
        }
        let time = self.timeout.as_secs_f64();
        Err(match missing {
            Some(missing) => Failure::failed(format!("after {time} s: {missing}")),
            None => Failure::not_running(format!(
                "after {time} s still nobody answers on {}; start it with `stadium up`",
                place.socket.display()
            )),
        })
    }

    /// Asks once; `None`: every wanted peer is up, else what is missing.
    fn poll(
        &self,
        place: &Place,
        daemon: &mut Option<Client>,
        next_nudge: &mut Instant,
    ) -> Result<Option<String>, Failed> {
        let client = match daemon {
            Some(client) => client,
            None => {
                *next_nudge = Instant::now();
                daemon.insert(Client::connect(&place.socket)?)
            }
        };
        let status = client.status()?;
        let mut waiting = Vec::new();
        for interface in &status.interfaces {
            for peer in self.wanted(interface)? {
                if peer.state != PeerState::Up {
                    waiting.push(peer);
                }
            }
        }
        if waiting.is_empty() {
            return Ok(None);
        }
        if Instant::now() >= *next_nudge {
            *next_nudge = Instant::now() + NUDGE;
            for peer in &waiting {
                if peer.state != PeerState::Handshaking {
                    client.connect_peers(Some(&peer.public_key))?;
                }
            }
        }
        Ok(Some(describe(&waiting)))
    }

    /// Lists the peers to wait for.
    fn wanted<'a>(&self, interface: &'a InterfaceStatus) -> Result<Vec<&'a PeerStatus>, Failed> {
        if self.peer.is_empty() {
            return Ok(interface.peers.iter().collect());
        }
        let find = |wanted: &String| {
            interface
                .peers
                .iter()
                .find(|peer| peer.name.as_ref() == Some(wanted) || peer.public_key == *wanted)
                .ok_or_else(|| Failed::For(unknown_peer(interface, wanted)))
        };
        self.peer.iter().map(find).collect()
    }
}

/// Why asking once gave no answer.
enum Failed {
    /// The daemon is not there (yet, or any more).
    Retry,
    /// Trying again cannot help.
    For(Failure),
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::NotRunning { .. } | ClientError::Closed { .. } => Self::Retry,
            ClientError::Refused(refusal) if refusal.kind.exit_code() == 3 => Self::Retry,
            error => Self::For(error.into()),
        }
    }
}

fn unknown_peer(interface: &InterfaceStatus, wanted: &str) -> Failure {
    let known: Vec<_> =
        interface.peers.iter().map(|peer| output::printable(peer.label())).collect();
    let known = match known.len() {
        0 => "it has no peers".to_owned(),
        1..=10 => format!("its peers are {}", known.join(", ")),
        more => format!("it has {more} others, see `stadium status {}`", interface.name),
    };
    Failure::usage(format!(
        "{} has no peer `{}`; {known}",
        interface.name,
        output::printable(wanted)
    ))
}

/// Names the peers without a session, each with why as far as that is known.
fn describe(waiting: &[&PeerStatus]) -> String {
    const SHOWN: usize = 10;
    let mut parts: Vec<_> = waiting
        .iter()
        .take(SHOWN)
        .map(|peer| {
            let label = output::printable(peer.label());
            match (peer.last_error, peer.endpoint) {
                (Some(error), _) => format!("{label} ({}: {error})", peer.state),
                (None, None) => {
                    format!("{label} ({}; it has no endpoint here, so it must start)", peer.state)
                }
                (None, Some(_)) => format!("{label} ({})", peer.state),
            }
        })
        .collect();
    if waiting.len() > SHOWN {
        parts.push(format!("and {} more", waiting.len() - SHOWN));
    }
    format!("no session with {}; see `stadium status`", parts.join(", "))
}
