//! Resolves endpoint names without holding up whoever asks.
//!
//! A literal address never meets the resolver. A name is looked up by the system on a thread of
//! its own, bounded in number and in time, with every address of both families. The thread is
//! not one of the runtime's: a resolver that hangs would hold up the daemon's end otherwise.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

/// How long a name may take.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How many names are looked up at once.
const AT_ONCE: usize = 16;

static LOOKUPS: Semaphore = Semaphore::const_new(AT_ONCE);

/// Why an endpoint has no address now.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ResolveError {
    /// The name does not exist or the resolver does not answer; in its words.
    Failed(String),
    /// The resolver knows the name but no address of it.
    Empty,
    /// It took longer than [`RESOLVE_TIMEOUT`].
    TimedOut,
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => write!(f, "name does not resolve: {why}"),
            Self::Empty => f.write_str("name does not resolve: it has no address"),
            Self::TimedOut => {
                write!(f, "name does not resolve: no answer within {} s", RESOLVE_TIMEOUT.as_secs())
            }
        }
    }
}

impl std::error::Error for ResolveError {}

/// Resolves a host, a name or a literal address with or without brackets, to its addresses.
///
/// Every address once, families alternating so that a dead one costs one attempt, in the
/// resolver's order otherwise (RFC 8305 section 4).
///
/// # Errors
/// [`ResolveError`], to be tried again later: a name that fails now is no reason to give up.
pub async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    if let Some(address) = literal(host) {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let answer = tokio::time::timeout(RESOLVE_TIMEOUT, look_up(host.to_owned(), port))
        .await
        .unwrap_or(Err(ResolveError::TimedOut))?;
    let addresses = interleave(answer.into_iter());
    if addresses.is_empty() { Err(ResolveError::Empty) } else { Ok(addresses) }
}

/// Asks the system's resolver, which blocks, on a thread of its own.
async fn look_up(host: String, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    let failed = |why: String| ResolveError::Failed(why);
    let permit = LOOKUPS.acquire().await.map_err(|e| failed(e.to_string()))?;
    let (sender, answer) = oneshot::channel();
    let work = move || {
        // Held by the thread: one that hangs after its question timed out still counts.
        let _permit = permit;
        // The asker may be gone.
        let _ = sender.send((host.as_str(), port).to_socket_addrs().map(Vec::from_iter));
    };
    std::thread::Builder::new()
        .name("resolve".to_owned())
        .spawn(work)
        .map_err(|e| failed(e.to_string()))?;
    answer.await.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))
}

/// Reads a literal address, IPv6 with or without brackets.
pub fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// Drops repetitions and alternates the families, beginning with that of the first address.
fn interleave(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut unique: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if !unique.contains(&address) {
            unique.push(address);
        }
    }
    let Some(first) = unique.first().map(SocketAddr::is_ipv6) else { return unique };
    let (same, other): (Vec<_>, Vec<_>) = unique.into_iter().partition(|a| a.is_ipv6() == first);
    let mut merged = Vec::with_capacity(same.len() + other.len());
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    loop {
        let pair = (same.next(), other.next());
        if pair == (None, None) {
            return merged;
        }
        merged.extend(pair.0);
        merged.extend(pair.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn literals_need_no_resolver() {
        let v6: SocketAddr = "[fd07::1]:51871".parse().unwrap();
        assert_eq!(now(resolve("fd07::1", 51871)), Ok(vec![v6]));
        assert_eq!(now(resolve("[fd07::1]", 51871)), Ok(vec![v6]));
        assert_eq!(now(resolve("192.0.2.1", 7)), Ok(vec!["192.0.2.1:7".parse().unwrap()]));
    }

    #[test]
    fn names_go_through_the_system() {
        let found = now(resolve("localhost", 9)).unwrap();
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 9), "{found:?}");
    }

    #[test]
    fn many_names_take_turns() {
        let all = (0..100).map(|port| resolve("localhost", port));
        let found = now(futures_util::future::join_all(all));
        assert!(found.iter().all(Result::is_ok));
    }

    #[test]
    fn failures_are_values() {
        let error = now(resolve("no such name.invalid", 9)).unwrap_err();
        assert!(error.to_string().starts_with("name does not resolve"), "{error}");
    }

    #[test]
    fn families_alternate_and_repetitions_go() {
        let list = ["[::1]:1", "[::2]:1", "[::1]:1", "1.1.1.1:1", "[::3]:1"];
        let merged = interleave(list.iter().map(|a| a.parse().unwrap()));
        let text: Vec<String> = merged.iter().map(SocketAddr::to_string).collect();
        assert_eq!(text, ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
    }
}
