//! Engines: what decides when noise goes out and how long real packets wait for it.
//!
//! An engine is local policy (`noise.md` §4): receivers drop noise whatever its schedule, so the
//! two ends need not agree on one. It sees counts and times, never bytes, has no clock and does no
//! I/O; its caller keeps the packets that wait and hands over what the engine releases.
//!
//! | engine | schedule | real packets wait |
//! |---|---|---|
//! | [`Ledger`](LedgerEngine) | bursts independent of the traffic, long-run ratio | to the next tick |
//! | [`Constant`](ConstantEngine) | one rate, always | for a free slot |
//! | [`Shaped`](ShapedEngine) | surges that decay, the other direction tied | for a slot, boundedly |
//! | `Machine` | what machines of a file say, the ratio at most | while a machine blocks, boundedly |
//!
//! Contract with the caller, for all engines: real packets leave in the order in which they came;
//! [`NoiseEngine::poll`] is called when [`NoiseEngine::next_deadline`] has come, and also as often
//! as the caller likes; what an engine asks to send is booked as sent, and the caller tells what
//! was refused, shed or dropped.

mod constant;
mod ledger;
#[cfg(feature = "machine")]
mod machine;
#[cfg(all(test, feature = "machine"))]
pub(crate) mod machine_testing;
mod shaped;
mod tick;

pub use constant::ConstantEngine;
pub use ledger::LedgerEngine;
#[cfg(feature = "machine")]
pub use machine::MachineEngine;
pub use shaped::ShapedEngine;
pub use tick::{TICK, Ticks};

use super::{LedgerCounts, Machines, NoiseRatio, NoiseRng};
use crate::time::Instant;
use core::fmt;
use core::time::Duration;

/// Names an engine (`noise.engine` of the peer file).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// Bursts independent of the traffic, and the byte's ratio in the long run.
    #[default]
    Ledger,
    /// Surges that decay; real packets are delayed to fit.
    Shaped,
    /// A constant rate of packets of one size.
    Constant,
    /// State machines from a file; in builds with the feature `machine` only, and settings that
    /// name it are refused in others.
    Machine,
}

impl EngineKind {
    /// Every engine.
    pub const ALL: [Self; 4] = [Self::Ledger, Self::Shaped, Self::Constant, Self::Machine];

    /// Returns the word of the peer file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Shaped => "shaped",
            Self::Constant => "constant",
            Self::Machine => "machine",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Real packets wait no longer than this for a machine that blocks, whatever it asks for.
pub const LONGEST_BLOCK: Duration = Duration::from_millis(1_000);

/// Says what becomes of real packets that have just come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// So many of them, from the first on, join those that wait; the others are dropped, as the
    /// queue is full.
    Hold(u32),
    /// All go now, after those that wait, and so much noise among them.
    Send {
        /// Noise packets.
        noise: u32,
    },
}

/// Says what goes out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// How many of the packets that wait, the longest waiting first.
    pub real: u32,
    /// How many noise packets, at random places among them.
    pub noise: u32,
    /// When they are handed to the socket, if that is to be an exact moment: seal now, wait, send.
    /// So the time that sealing takes does not show.
    pub at: Option<Instant>,
}

impl Release {
    /// Tells whether nothing goes out.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.real == 0 && self.noise == 0
    }
}

/// Schedules the noise of one direction of a connection, on one lane.
pub trait NoiseEngine: fmt::Debug + Send {
    /// Takes notice of `n` real packets that came to be sent.
    fn on_real(&mut self, now: Instant, n: u32) -> Arrival;

    /// Takes notice of frames received from the peer since the last call, and of real packets
    /// that went to it on other lanes (counted as `real`).
    fn on_peer(&mut self, now: Instant, real: u32, noise: u32);

    /// Takes notice that the socket refused noise packets.
    fn on_refused(&mut self, noise: u32);

    /// Takes notice that noise packets were not sent because of the budget.
    fn on_shed(&mut self, noise: u32);

    /// Takes notice that the caller dropped all packets that waited.
    fn on_dropped(&mut self);

    /// Takes notice of a new session: the seed that both ends share, and when it began.
    fn rekey(&mut self, now: Instant, seed: &[u8; 32], start: Instant);

    /// Returns when [`Self::poll`] is due.
    fn next_deadline(&self, now: Instant) -> Option<Instant>;

    /// Returns what goes out now.
    fn poll(&mut self, now: Instant) -> Release;

    /// Returns how many packets wait.
    fn held(&self) -> u32;

    /// Reads the account.
    fn counts(&self) -> LedgerCounts;
}

/// What an engine is made of.
#[derive(Debug)]
pub struct EngineParams<'a> {
    /// The ratio that was agreed; not [`NoiseRatio::Off`].
    pub ratio: NoiseRatio,
    /// How many lanes divide ratio and rate between them.
    pub share: u32,
    /// Bits per second that a connection may use (`noise.budget`), its share of this lane.
    ///
    /// The constant engine sends at this rate, the shaped one surges to it.
    pub rate: Option<u64>,
    /// Bits of a full datagram with its outer headers.
    pub datagram_bits: u64,
    /// The seed that both ends share.
    pub seed: &'a [u8; 32],
    /// When the session began.
    pub start: Instant,
    /// The machines, for the engine that has any.
    pub machines: &'a Machines,
    /// This end's own randomness.
    pub private: NoiseRng,
}

/// Makes an engine.
#[must_use]
pub fn build(kind: EngineKind, params: EngineParams<'_>, now: Instant) -> Box<dyn NoiseEngine> {
    match kind {
        EngineKind::Ledger => Box::new(LedgerEngine::new(params, now)),
        EngineKind::Constant => Box::new(ConstantEngine::new(params, now)),
        EngineKind::Shaped => Box::new(ShapedEngine::new(params, now)),
        #[cfg(feature = "machine")]
        EngineKind::Machine => Box::new(MachineEngine::new(params, now)),
        // no settings name it: there is no `Machines` to have
        #[cfg(not(feature = "machine"))]
        EngineKind::Machine => Box::new(LedgerEngine::new(params, now)),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! What tests of all engines need.

    use super::*;

    pub(crate) const RATIOS: [NoiseRatio; 6] = [
        NoiseRatio::OneToEight,
        NoiseRatio::OneToFour,
        NoiseRatio::OneToTwo,
        NoiseRatio::OneToOne,
        NoiseRatio::TwoToOne,
        NoiseRatio::FourToOne,
    ];

    /// Bits of a full datagram over IPv4: 1,420 + 32 + 8 + 20 bytes.
    pub(crate) const BITS: u64 = 1_480 * 8;

    pub(crate) fn at(seconds: f64) -> Instant {
        Instant::from_nanos((seconds * 1e9) as u64)
    }

    fn machines() -> &'static Machines {
        static NONE: std::sync::LazyLock<Machines> = std::sync::LazyLock::new(Machines::default);
        &NONE
    }

    pub(crate) fn params(ratio: NoiseRatio, rate: Option<u64>, seed: u8) -> EngineParams<'static> {
        EngineParams {
            ratio,
            share: 1,
            rate,
            datagram_bits: BITS,
            seed: &[42; 32],
            start: Instant::ZERO,
            machines: machines(),
            private: NoiseRng::new(&[seed; 32]),
        }
    }

    /// What an engine sent: when, how many real ones, how much noise.
    #[derive(Debug, Default)]
    pub(crate) struct Log {
        pub(crate) sent: Vec<(Instant, u32, u32)>,
        pub(crate) real: u64,
        pub(crate) noise: u64,
        pub(crate) dropped: u64,
        /// How long each real packet waited.
        pub(crate) waits: Vec<Duration>,
        waiting: std::collections::VecDeque<Instant>,
    }

    impl Log {
        pub(crate) fn arrive(&mut self, engine: &mut dyn NoiseEngine, now: Instant, n: u32) {
            self.poll_until(engine, now);
            match engine.on_real(now, n) {
                Arrival::Hold(held) => {
                    self.waiting.extend((0..held).map(|_| now));
                    self.dropped += u64::from(n - held);
                }
                Arrival::Send { noise } => {
                    let held = self.waiting.len() as u32;
                    self.waiting.extend((0..n).map(|_| now));
                    self.note(now, Release { real: held + n, noise, at: None });
                }
            }
            assert_eq!(engine.held() as usize, self.waiting.len());
        }

        pub(crate) fn poll_until(&mut self, engine: &mut dyn NoiseEngine, end: Instant) {
            let mut now = Instant::ZERO;
            let mut polls = 0;
            while let Some(next) = engine.next_deadline(now).filter(|n| *n <= end) {
                polls += 1;
                assert!(polls < 50_000_000, "an engine spins at {now:?}");
                now = now.max(next);
                let release = engine.poll(now);
                self.note(now, release);
                assert_eq!(engine.held() as usize, self.waiting.len());
            }
        }

        fn note(&mut self, now: Instant, release: Release) {
            if release.is_empty() {
                return;
            }
            let at = release.at.unwrap_or(now);
            assert!(at >= now, "a release lies in the past");
            for _ in 0..release.real {
                let since = self.waiting.pop_front().expect("only what waits is released");
                self.waits.push(at.saturating_since(since));
            }
            self.real += u64::from(release.real);
            self.noise += u64::from(release.noise);
            self.sent.push((at, release.real, release.noise));
        }

        /// The share of packets that waited at most so long.
        pub(crate) fn wait_ms(&mut self, share: f64) -> f64 {
            self.waits.sort_unstable();
            let at = ((self.waits.len() as f64 * share) as usize).min(self.waits.len() - 1);
            self.waits[at].as_secs_f64() * 1e3
        }
    }
}
