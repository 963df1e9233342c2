//! How large a packet each path really carries: padded pings find out, silence is not trusted.
//!
//! A path may drop what is too large without a word (a black hole: RFC 2923 section 2.1, RFC
//! 4821). So each new session is asked once whether it carries the tunnel's full size; if not, and
//! only if it does carry small ones, the largest size that gets through is searched for and the
//! tunnel's MTU follows. Sessions are renewed while they carry payload, and so is the question.
//!
//! Invariants: a size counts as too large after [`TRIES`] pings without answer, never after one;
//! a peer that answers nothing tells nothing about its path; a noisy session is not asked, as its
//! pings must look like the rest.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use stadium_config::Mtu;
use stadium_proto::engine::Input;
use stadium_proto::peer::PeerId;
use tokio::time::Instant;

use super::Control;
use crate::settings;
use crate::system::{LEAST_MTU, Plan};

/// Pings of one size without answer until it counts as too large.
const TRIES: u32 = 3;

/// The least time that a ping has for its answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// How exact the search is, in bytes.
const STEP: u32 = 8;

/// The mark of our tokens among those of callers' pings.
const TOKEN: u64 = 1 << 63;

/// A size that every path carries, if it carries anything.
const TINY: u32 = 64;

/// The questions under way, and what was found.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// The tunnel's MTU before any path was found to be narrower; 0 before the first question.
    full: u32,
    searches: BTreeMap<PeerId, Asked>,
    /// Peers whose path carries less than the full size.
    limits: BTreeMap<PeerId, u32>,
    /// Answers to pings that are to be taken.
    answers: VecDeque<(PeerId, u64)>,
    /// Of a fixed MTU that is too large, what was said to fit.
    advised: u32,
    tokens: u64,
}

/// A ping that waits for its answer.
#[derive(Debug)]
struct Asked {
    search: Search,
    token: u64,
    due: Instant,
    patience: Duration,
}

impl Paths {
    /// When there is something to do: an answer has come, or a ping has had its time.
    pub(super) fn due(&self) -> Option<Instant> {
        if !self.answers.is_empty() {
            return Some(Instant::now());
        }
        self.searches.values().map(|asked| asked.due).min()
    }

    /// Takes the answer to a ping; returns false where it is not one of ours.
    pub(super) fn answered(&mut self, peer: PeerId, token: u64) -> bool {
        let ours = token & TOKEN != 0;
        if ours {
            self.answers.push_back((peer, token));
        }
        ours
    }

    pub(super) fn forget(&mut self, peer: PeerId) {
        self.searches.remove(&peer);
        self.limits.remove(&peer);
    }

    /// Begins anew with another full size: the peer file says so.
    pub(super) fn reset(&mut self) {
        *self = Self { tokens: self.tokens, ..Self::default() };
    }

    /// The MTU that all paths carry.
    fn least(&self) -> u32 {
        self.limits.values().copied().min().unwrap_or(self.full).min(self.full)
    }

    fn token(&mut self) -> u64 {
        self.tokens += 1;
        TOKEN | self.tokens
    }
}

/// The search for the largest size that a path carries, without any clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Search {
    /// The size that is wanted.
    full: u32,
    /// The largest size that got through.
    good: Option<u32>,
    /// The smallest size that did not.
    bad: u32,
    /// The size under question.
    size: u32,
    tries: u32,
}

/// What a search comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Found {
    /// Ask for this size.
    Ask(u32),
    /// The path carries this much.
    Carries(u32),
    /// The peer answers nothing.
    Nothing,
}

impl Search {
    fn new(full: u32) -> Self {
        Self { full, good: None, bad: full + 1, size: full, tries: 0 }
    }

    /// Asks once more for the same size, or gives it up.
    fn unanswered(&mut self) -> Found {
        self.tries += 1;
        if self.tries < TRIES {
            return Found::Ask(self.size);
        }
        self.bad = self.size;
        if self.size == TINY {
            return Found::Nothing;
        }
        if self.good.is_none() {
            // is it the size, or is nobody there?
            let smaller = if self.size > LEAST_MTU { LEAST_MTU } else { TINY };
            return self.ask(smaller);
        }
        self.next()
    }

    fn answered(&mut self) -> Found {
        if self.size == TINY {
            // not even what IPv6 inside needs gets through: that is as low as it goes
            return Found::Carries(LEAST_MTU);
        }
        self.good = Some(self.size);
        self.next()
    }

    fn next(&mut self) -> Found {
        match self.good {
            Some(good) if good >= self.full || self.bad - good <= STEP => Found::Carries(good),
            Some(good) => self.ask(good + (self.bad - good) / 2),
            None => Found::Nothing,
        }
    }

    fn ask(&mut self, size: u32) -> Found {
        self.size = size;
        self.tries = 0;
        Found::Ask(size)
    }
}

impl Control {
    /// Asks whether the path to a peer with a new session carries the full size.
    pub(super) fn ask_path(&mut self, peer: PeerId) {
        let Some(status) = self.engine.peer_status(peer, self.clock.instant()) else { return };
        let Some(session) = status.session.filter(|session| session.noise.is_off()) else {
            self.paths.searches.remove(&peer);
            return;
        };
        if self.paths.full == 0 {
            self.paths.full = self.mtu;
        }
        // longer packets do not leave, whatever the path
        let limit = u32::try_from(session.payload_limit).unwrap_or(u32::MAX);
        let full = self.paths.full.min(limit);
        // a busy machine is slow to answer
        let patience = PATIENCE.max(status.rtt.unwrap_or_default() * 4);
        self.ping_path(peer, Search::new(full), patience);
    }

    /// Forgets what was found: the peer file asks for another MTU.
    pub(crate) fn restart_path_search(&mut self) {
        self.paths.reset();
    }

    fn ping_path(&mut self, peer: PeerId, search: Search, patience: Duration) {
        let token = self.paths.token();
        let due = Instant::now() + patience;
        self.paths.searches.insert(peer, Asked { search, token, due, patience });
        let size = u16::try_from(search.size).unwrap_or(u16::MAX);
        self.handle(Input::Probe { peer, size, token });
    }

    /// Takes the answer to a padded ping.
    async fn path_answered(&mut self, peer: PeerId, token: u64) {
        if let Some(mut asked) = self.paths.searches.remove(&peer) {
            if asked.token == token {
                let found = asked.search.answered();
                self.follow_path(peer, asked, found).await;
            } else {
                // late: another ping is under way
                self.paths.searches.insert(peer, asked);
            }
        }
    }

    /// Goes on where pings were answered or have had their time.
    pub(super) async fn paths_due(&mut self) {
        while let Some((peer, token)) = self.paths.answers.pop_front() {
            self.path_answered(peer, token).await;
        }
        let now = Instant::now();
        let late: Vec<PeerId> =
            self.paths.searches.iter().filter(|(_, a)| a.due <= now).map(|(id, _)| *id).collect();
        for peer in late {
            if let Some(mut asked) = self.paths.searches.remove(&peer) {
                let found = asked.search.unanswered();
                self.follow_path(peer, asked, found).await;
            }
        }
    }

    async fn follow_path(&mut self, peer: PeerId, asked: Asked, found: Found) {
        match found {
            Found::Ask(_) => self.ping_path(peer, asked.search, asked.patience),
            // the handshakes find out why
            Found::Nothing => {}
            Found::Carries(size) => {
                if size < asked.search.full {
                    self.paths.limits.insert(peer, size);
                } else {
                    self.paths.limits.remove(&peer);
                }
                self.follow_paths(peer).await;
            }
        }
    }

    /// Has the tunnel's MTU fit all paths.
    async fn follow_paths(&mut self, peer: PeerId) {
        let (old, new) = (self.mtu, self.paths.least());
        if old == new {
            return;
        }
        let peer = self.book.label(peer).to_owned();
        if let Mtu::Fixed(_) = self.file.interface.mtu {
            if std::mem::replace(&mut self.paths.advised, new) == new {
                return;
            }
            tracing::warn!(
                peer,
                "the path drops packets that are larger than {new} bytes inside without a word; \
                 interface.mtu is {old}: set it to {new}, or to auto"
            );
            return;
        }
        match self.apply_mtu(new).await {
            Ok(()) if new < old => tracing::warn!(
                peer,
                "the path drops large packets without a word (a black hole): the tunnel's MTU is \
                 lowered from {old} to {new}"
            ),
            Ok(()) => tracing::info!(
                peer,
                "the path carries larger packets again: the tunnel's MTU is raised from {old} to \
                 {new}"
            ),
            Err(error) => tracing::warn!(peer, "the tunnel's MTU stays {old}: {error}"),
        }
    }

    /// Gives the interface, and what depends on its MTU, another one.
    async fn apply_mtu(&mut self, mtu: u32) -> Result<(), crate::system::SystemError> {
        let facts = self.system.facts().await?;
        let running = self.applied.plan();
        let known = self.known_endpoints(&self.file);
        let spec = settings::interface_spec(&self.file, mtu, running.link.index, known);
        let plan = Plan::new(&spec, &facts, Some(running))?;
        self.system.reconcile(&mut self.applied, plan, &mut self.state).await?;
        self.mtu = mtu;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a search over a path that carries `carried`; returns the result and how many pings.
    fn run(full: u32, carried: u32, mut lost: u32) -> (Found, u32) {
        let mut search = Search::new(full);
        let mut pings = 1;
        let mut found = Found::Ask(full);
        while let Found::Ask(size) = found {
            assert_eq!(size, search.size);
            found = if size <= carried && lost == 0 {
                search.answered()
            } else {
                lost = lost.saturating_sub(1);
                search.unanswered()
            };
            if matches!(found, Found::Ask(_)) {
                pings += 1;
            }
            assert!(pings < 64, "it ends");
        }
        (found, pings)
    }

    #[test]
    fn a_path_that_carries_all_costs_one_ping() {
        assert_eq!(run(1420, 1420, 0), (Found::Carries(1420), 1));
        assert_eq!(run(1420, 9000, 2), (Found::Carries(1420), 3), "two that are lost by chance");
    }

    #[test]
    fn a_narrow_path_is_found_within_a_step_and_never_overrated() {
        for full in [1280, 1281, 1420, 1440, 8920, 65475] {
            for carried in [1280, 1281, 1290, 1340, 1400, 1419, 4000, 9000] {
                let (found, pings) = run(full, carried, 0);
                let Found::Carries(size) = found else { panic!("{found:?}") };
                let most = full.min(carried);
                assert!(size <= most && size + STEP >= most, "{full} {carried}: {size}");
                assert!(pings <= 2 + TRIES * 16, "{pings}");
            }
        }
    }

    #[test]
    fn silence_tells_nothing_and_a_path_too_narrow_for_ipv6_ends_at_its_least() {
        assert_eq!(run(1420, 0, 0), (Found::Nothing, 3 * TRIES));
        assert_eq!(run(1420, 700, 0).0, Found::Carries(LEAST_MTU));
        assert_eq!(run(1280, 700, 0).0, Found::Carries(LEAST_MTU));
    }
}
