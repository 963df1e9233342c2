//! A look at the machine for programs that explain it: facts, and the ways that packets would take.
//!
//! Nothing is changed, and no privilege is needed.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use stadium_config::Endpoint;

use crate::error::RunError;
use crate::resolve::{ResolveError, resolve};
use crate::settings;
use crate::system::{Facts, NoWay, System, Way};

/// Asks which way a packet would take.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Question {
    /// Where the packet goes to.
    pub destination: IpAddr,
    /// The mark that it carries, `None` for none.
    pub mark: Option<u32>,
}

/// What a look at the machine found.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Links, addresses, routes, rules.
    pub facts: Facts,
    /// The answers, in the order of the questions.
    pub ways: Vec<Result<Way, NoWay>>,
}

/// Looks at the machine's network, in the namespace of the calling thread.
///
/// # Errors
/// [`RunError`] when the kernel does not answer.
pub fn survey(questions: &[Question]) -> Result<Survey, RunError> {
    let runtime = crate::run::runtime()?;
    runtime.block_on(async {
        let system = System::connect()?;
        let facts = system.facts().await?;
        let mut ways = Vec::with_capacity(questions.len());
        for question in questions {
            ways.push(system.way(question.destination, question.mark).await);
        }
        Ok(Survey { facts, ways })
    })
}

/// Looks up all `endpoints` at once, no longer than `limit`; the answers stand in their order.
///
/// # Errors
/// [`RunError`] when no runtime can be had; each name's own failure is its answer.
pub fn resolve_now(
    endpoints: &[Endpoint],
    limit: Duration,
) -> Result<Vec<Result<Vec<SocketAddr>, ResolveError>>, RunError> {
    let runtime = crate::run::runtime()?;
    let found = runtime.block_on(join_all(endpoints.iter().map(|endpoint| async {
        match endpoint {
            Endpoint::Address(address) => Ok(vec![settings::canonical(*address)]),
            Endpoint::Name { host, port } => {
                let found = tokio::time::timeout(limit, resolve(host, *port)).await;
                let found = found.unwrap_or(Err(ResolveError::TimedOut))?;
                Ok(found.into_iter().map(settings::canonical).collect())
            }
        }
    })));
    // a name that is still looked up holds up nobody
    runtime.shutdown_background();
    Ok(found)
}
