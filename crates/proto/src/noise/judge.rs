//! What noise settings hide and cost, judged before they run (`stadium noise FILE`).
//!
//! Plain rules and sums over the settings: nothing here is measured. The findings say what still
//! tells noise from data or one activity from another; the costs are those of three loads, each
//! described, both directions together.

use super::engine::{EngineKind, TICK};
use super::tx::OUTER;
use super::{NoiseByte, NoiseConfig, NoiseFiller, NoisePolicy, NoiseRatio, SizeLaw, Verdict};
use crate::session::OVERHEAD;
use core::fmt;

/// What is judged: the settings towards one peer.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The byte that is asked for, or was agreed.
    pub byte: NoiseByte,
    /// This node's own choices.
    pub config: NoiseConfig,
    /// Largest frame and filler, in bytes.
    pub limit: usize,
    /// Whether the handshake is open, so that the byte is readable.
    pub open: bool,
}

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The settings do not do what they seem to.
    Bad,
    /// Something stays visible.
    Leak,
    /// Good to know.
    Note,
}

impl Weight {
    /// Returns the word that begins a line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Leak => "leak",
            Self::Note => "note",
        }
    }
}

/// What the settings hide, or do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Neither noise packets nor filler.
    Off,
    /// The engine has no say without noise packets.
    EngineIdle(EngineKind),
    /// Real packets have one size, noise another.
    SeparableBySize(SizeLaw),
    /// Without filler, noise sizes of this law differ from real ones.
    SizesDiffer(SizeLaw),
    /// Real packets keep their sizes.
    SizesShow,
    /// Random filler breaks up runs of equal length and leaves the longest sizes visible.
    RandomFiller,
    /// Sizes are hidden, times are not.
    TimesShow,
    /// So little noise blurs little.
    LittleNoise(NoiseRatio),
    /// Noise of 4:1 and bursts of its own: what the long run still tells.
    BurstsBlur,
    /// Shaped traffic still shows when there is any.
    SurgesShow,
    /// Only that the connection is up shows.
    ConstantHides,
    /// What is hidden is up to the machines.
    MachinesDecide,
    /// Machines know no sizes, so that real packets must have one.
    MachinesNeedFiller,
    /// The budget is below what a browsing load needs at this ratio.
    BudgetShort,
    /// The handshake is open: everyone reads the parameters.
    OpenHandshake,
    /// Noise hides what, never that: handshakes are recognisable.
    HandshakeShows,
}

impl Finding {
    /// Returns how much it weighs.
    #[must_use]
    pub const fn weight(self) -> Weight {
        match self {
            Self::SeparableBySize(_) | Self::EngineIdle(_) | Self::MachinesNeedFiller => {
                Weight::Bad
            }
            Self::Off
            | Self::SizesDiffer(_)
            | Self::SizesShow
            | Self::TimesShow
            | Self::LittleNoise(_)
            | Self::BudgetShort
            | Self::OpenHandshake => Weight::Leak,
            Self::RandomFiller
            | Self::BurstsBlur
            | Self::SurgesShow
            | Self::ConstantHides
            | Self::MachinesDecide
            | Self::HandshakeShows => Weight::Note,
        }
    }

    /// Returns the name that programs know it by; it stays while the words change.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::EngineIdle(_) => "engine_idle",
            Self::SeparableBySize(_) => "separable_by_size",
            Self::SizesDiffer(_) => "sizes_differ",
            Self::SizesShow => "sizes_show",
            Self::RandomFiller => "random_filler",
            Self::TimesShow => "times_show",
            Self::LittleNoise(_) => "little_noise",
            Self::BurstsBlur => "bursts_blur",
            Self::SurgesShow => "surges_show",
            Self::ConstantHides => "constant_hides",
            Self::MachinesDecide => "machines_decide",
            Self::MachinesNeedFiller => "machines_need_filler",
            Self::BudgetShort => "budget_short",
            Self::OpenHandshake => "open_handshake",
            Self::HandshakeShows => "handshake_shows",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("no noise, no filler: sizes and times of all packets show"),
            Self::EngineIdle(engine) => write!(
                f,
                "`engine: {engine}` does nothing without noise packets; set a `ratio`, or leave \
                 the engine out"
            ),
            Self::SeparableBySize(law) => write!(
                f,
                "with `filler: full` real packets have one size and noise of size {} another: \
                 noise is told apart at a glance; write `size: match`",
                word(*law)
            ),
            Self::SizesDiffer(law) => write!(
                f,
                "noise of size {} is not mixed as real packets are, so that many are told apart; \
                 `size: match` draws from the real mix",
                word(*law)
            ),
            Self::SizesShow => f.write_str(
                "real packets keep their sizes, which name pages and applications; \
                 `filler: full` gives all packets one size",
            ),
            Self::RandomFiller => f.write_str(
                "random filler blurs sizes, gives each run another length and so costs offload; \
                 `filler: full` hides more and costs less",
            ),
            Self::TimesShow => f.write_str(
                "sizes are hidden, times and counts of packets are not: pages stay recognisable \
                 without noise packets",
            ),
            Self::LittleNoise(ratio) => {
                write!(f, "noise of {ratio} changes counts by little: activities stay recognisable")
            }
            Self::BurstsBlur => f.write_str(
                "bursts of noise blur which page is loaded and when; long observation, and that \
                 somebody is active at all, still tell",
            ),
            Self::SurgesShow => {
                f.write_str("surges hide what is loaded, not when; packets wait up to 750 ms")
            }
            Self::ConstantHides => {
                f.write_str("one rate, one size, always: only that the connection is up shows")
            }
            Self::MachinesDecide => f.write_str(
                "what is hidden is up to the machines; the ratio is the most that they get",
            ),
            Self::MachinesNeedFiller => f.write_str(
                "machines know no sizes: noise has that of full packets, real packets their own; \
                 write `filler: full`",
            ),
            Self::BudgetShort => f.write_str(
                "the budget is below what browsing needs at this ratio: noise is shed when it is \
                 wanted most",
            ),
            Self::OpenHandshake => {
                f.write_str("the handshake is open: everyone on the way reads the noise parameters")
            }
            Self::HandshakeShows => f.write_str(
                "handshakes are recognisable: noise hides what is sent, not that a tunnel is; \
                 who watches both ends, correlates",
            ),
        }
    }
}

const fn word(law: SizeLaw) -> &'static str {
    match law {
        SizeLaw::Match => "match",
        SizeLaw::Uniform => "uniform",
        SizeLaw::Mean => "mean",
        SizeLaw::Half => "half",
    }
}

/// A load, both directions together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// What it is called.
    pub name: &'static str,
    /// What it stands for.
    pub description: &'static str,
    /// Packets a second and their bytes, down and up.
    pub packets: [(f64, f64); 2],
    /// Hours a day.
    pub hours: f64,
}

/// The loads whose cost is told.
pub const LOADS: [Load; 3] = [
    Load {
        name: "idle",
        description: "a packet every two seconds, all day",
        packets: [(0.25, 80.0), (0.25, 80.0)],
        hours: 24.0,
    },
    Load {
        name: "browsing",
        description: "a page of 2.4 MB a minute, four hours a day",
        packets: [(30.0, 1_300.0), (15.0, 90.0)],
        hours: 4.0,
    },
    Load {
        name: "bulk",
        description: "a download of 50 Mbit/s, one hour a day",
        packets: [(4_600.0, 1_360.0), (2_300.0, 60.0)],
        hours: 1.0,
    },
];

/// What a load costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// The load.
    pub load: Load,
    /// The load itself through the tunnel, without noise, in kbit/s.
    pub plain_kbit: f64,
    /// What noise and filler add, in kbit/s.
    pub added_kbit: f64,
    /// What they add in a month of 30 days of such hours, in GiB.
    pub added_gib_month: f64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<8} {:>8.0} kbit/s, and {:>8.0} kbit/s more: {:>7.1} GiB a month ({})",
            self.load.name,
            self.plain_kbit,
            self.added_kbit,
            self.added_gib_month,
            self.load.description
        )
    }
}

/// What the settings mean for the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathNeed {
    /// Bytes of the longest IP datagram, over IPv4 and over IPv6.
    pub datagram: (usize, usize),
    /// Whether every datagram is that long.
    pub always: bool,
}

impl fmt::Display for PathNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (v4, v6) = self.datagram;
        if self.always {
            write!(
                f,
                "every datagram has {v4} bytes over IPv4, {v6} over IPv6: a path that does not take \
                 them carries nothing at all, not even a ping; if nothing passes, lower `mtu`"
            )
        } else {
            write!(
                f,
                "datagrams have up to {v4} bytes over IPv4, {v6} over IPv6, noise among them: on \
                 a path that takes less, the long ones are lost; if so, lower `mtu`"
            )
        }
    }
}

/// The judgement of one peer's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// What it is about, the weightiest first.
    pub findings: Vec<Finding>,
    /// What the loads cost.
    pub costs: Vec<Cost>,
    /// What the path must take; `None` where sizes are those of the packets alone.
    pub path: Option<PathNeed>,
    /// What noise adds to the delay of a round trip at most, in milliseconds.
    pub delay_ms: f64,
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{}: {finding}", finding.weight().as_str())?;
        }
        for cost in &self.costs {
            writeln!(f, "cost: {cost}")?;
        }
        if let Some(path) = self.path {
            writeln!(f, "path: {path}")?;
        }
        if self.delay_ms > 0.0 {
            writeln!(f, "delay: up to {} ms more on a round trip", self.delay_ms)?;
        }
        Ok(())
    }
}

/// Judges the settings towards one peer.
#[must_use]
pub fn judge(subject: &Subject) -> Judgement {
    let mut findings = findings(subject);
    findings.sort_by_key(|finding| finding.weight());
    let noisy = subject.byte.ratio() != NoiseRatio::Off;
    let path = match subject.byte.filler() {
        NoiseFiller::Off if !noisy => None,
        filler => Some(PathNeed {
            datagram: (subject.limit + OVERHEAD + 28, subject.limit + OVERHEAD + OUTER),
            always: filler == NoiseFiller::Full,
        }),
    };
    let delay_ms = match subject.config.engine {
        _ if !noisy => 0.0,
        EngineKind::Ledger => 2.0 * TICK.as_secs_f64() * 1e3,
        EngineKind::Shaped => 1_500.0,
        EngineKind::Constant => 500.0,
        EngineKind::Machine => 2.0 * super::engine::LONGEST_BLOCK.as_secs_f64() * 1e3,
    };
    let costs = LOADS.into_iter().map(|load| cost(subject, load)).collect();
    Judgement { findings, costs, path, delay_ms }
}

fn findings(subject: &Subject) -> Vec<Finding> {
    let Subject { byte, ref config, open, .. } = *subject;
    let mut found = Vec::new();
    let noisy = byte.ratio() != NoiseRatio::Off;
    let law = SizeLaw::of(byte.size(), config.uniform);
    if byte.is_off() {
        found.push(Finding::Off);
    }
    if !noisy && config.engine != EngineKind::Ledger {
        found.push(Finding::EngineIdle(config.engine));
    }
    match byte.filler() {
        NoiseFiller::Off if noisy => found.push(Finding::SizesShow),
        NoiseFiller::Random => found.push(Finding::RandomFiller),
        _ => {}
    }
    if noisy && law != SizeLaw::Match {
        found.push(match byte.filler() {
            NoiseFiller::Full => Finding::SeparableBySize(law),
            _ => Finding::SizesDiffer(law),
        });
    }
    if !noisy && !byte.is_off() {
        found.push(Finding::TimesShow);
    }
    if noisy {
        found.push(match config.engine {
            EngineKind::Constant => Finding::ConstantHides,
            EngineKind::Shaped => Finding::SurgesShow,
            EngineKind::Ledger if byte.ratio() < NoiseRatio::OneToOne => {
                Finding::LittleNoise(byte.ratio())
            }
            EngineKind::Ledger => Finding::BurstsBlur,
            EngineKind::Machine => Finding::MachinesDecide,
        });
        if config.engine == EngineKind::Machine && byte.filler() != NoiseFiller::Full {
            found.push(Finding::MachinesNeedFiller);
        }
        let unlimited = NoiseConfig { budget: None, ..config.clone() };
        let browsing = cost(&Subject { config: unlimited, ..subject.clone() }, LOADS[1]);
        let short = config.budget.is_some_and(|bits| bits as f64 / 1e3 < browsing.added_kbit);
        if short && config.engine == EngineKind::Ledger {
            found.push(Finding::BudgetShort);
        }
    }
    if open && !byte.is_off() {
        found.push(Finding::OpenHandshake);
    }
    if !byte.is_off() {
        found.push(Finding::HandshakeShows);
    }
    found
}

/// Sums up what a load costs, both directions.
fn cost(subject: &Subject, load: Load) -> Cost {
    let Subject { byte, ref config, limit, .. } = *subject;
    let limit = limit as f64;
    let bits = |bytes: f64| (bytes + (OVERHEAD + 28) as f64) * 8.0;
    let (num, den) = byte.ratio().fraction();
    let ratio = f64::from(num) / f64::from(den);
    let law = SizeLaw::of(byte.size(), config.uniform);
    let (mut plain, mut total) = (0.0, 0.0);
    for (rate, bytes) in load.packets {
        let bytes = f64::min(bytes, limit);
        let filled = match byte.filler() {
            NoiseFiller::Off => bytes,
            NoiseFiller::Full => limit,
            NoiseFiller::Random => (bytes + limit) / 2.0,
        };
        let noise = match law {
            SizeLaw::Match | SizeLaw::Mean => filled,
            SizeLaw::Uniform => limit / 2.0,
            SizeLaw::Half => limit / 4.0,
        };
        plain += rate * bits(bytes);
        let real = rate * bits(filled);
        let budget = config.budget.map_or(f64::INFINITY, |bits| bits as f64);
        let noise = rate * ratio * bits(noise);
        total += match config.engine {
            _ if ratio == 0.0 => real,
            // at most, with machines
            EngineKind::Ledger | EngineKind::Machine => real + noise.min(budget),
            // what does not fit waits or is dropped
            EngineKind::Constant => config.budget.unwrap_or(4_000_000) as f64,
            // a surge's noise for each page: 1.8 seconds of the top rate, once a minute at most
            EngineKind::Shaped => {
                let top = config.budget.unwrap_or(8_000_000) as f64;
                let surges = if load.name == "browsing" { top * 1.8 / 60.0 } else { 0.0 };
                real + noise.max(surges)
            }
        };
    }
    let added = (total - plain).max(0.0);
    let month = added * load.hours * 3_600.0 * 30.0 / 8.0;
    Cost {
        load,
        plain_kbit: plain / 1e3,
        added_kbit: added / 1e3,
        added_gib_month: month / f64::from(1 << 30),
    }
}

/// How a negotiation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Both agree on a byte, after so many refusals.
    Agreed {
        /// The byte.
        byte: NoiseByte,
        /// Refusals on the way.
        refusals: u8,
    },
    /// They do not: `noise refused`, again and again.
    Refused {
        /// The last byte that was asked for.
        asked: NoiseByte,
        /// The strongest byte that the other side grants.
        granted: NoiseByte,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agreed { byte, refusals: 0 } => write!(f, "agree on {byte}"),
            Self::Agreed { byte, .. } => write!(f, "agree on {byte}, after a counter-proposal"),
            Self::Refused { asked, granted } => write!(
                f,
                "do not agree: {asked} is asked for, at most {granted} is granted; lower \
                 `minimum` at the one or raise `accept` at the other"
            ),
        }
    }
}

/// Plays the negotiation of `protocol.md` §7 between a requester and a responder.
#[must_use]
pub fn negotiate(wanted: NoiseByte, requester: &NoisePolicy, responder: &NoisePolicy) -> Outcome {
    let mut asked = wanted;
    for refusals in 0..=3 {
        match responder.judge(asked) {
            Verdict::Grant(byte) => return Outcome::Agreed { byte, refusals },
            Verdict::Refuse { counter } => match requester.retry(asked, counter) {
                Some(next) if refusals < 3 => asked = next,
                _ => return Outcome::Refused { asked, granted: counter },
            },
        }
    }
    Outcome::Refused { asked, granted: responder.accept }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::NoiseSize;

    fn subject(ratio: NoiseRatio, size: NoiseSize, filler: NoiseFiller) -> Subject {
        Subject {
            byte: NoiseByte::new(ratio, size, filler),
            config: NoiseConfig::default(),
            limit: 1_420,
            open: false,
        }
    }

    #[test]
    fn the_recommended_settings_have_nothing_bad() {
        let judged = judge(&subject(NoiseRatio::OneToOne, NoiseSize::Any, NoiseFiller::Full));
        assert!(judged.findings.iter().all(|f| f.weight() == Weight::Note), "{judged}");
        let path = judged.path.unwrap();
        assert_eq!((path.datagram, path.always), ((1_480, 1_500), true));
        assert!(judged.delay_ms <= 3.0);
    }

    #[test]
    fn full_filler_with_small_noise_is_bad() {
        let judged = judge(&subject(NoiseRatio::FourToOne, NoiseSize::Half, NoiseFiller::Full));
        assert_eq!(judged.findings[0], Finding::SeparableBySize(SizeLaw::Half));
        assert!(judged.to_string().starts_with("bad: with `filler: full`"), "{judged}");
    }

    #[test]
    fn costs_add_up() {
        let judged = judge(&subject(NoiseRatio::OneToOne, NoiseSize::Any, NoiseFiller::Full));
        let browsing = judged.costs[1];
        // 45 packets a second of 1,480 bytes, twice, less 30 of 1,360 and 15 of 150
        let expected = (45.0 * 2.0 * 1_480.0 - 30.0 * 1_360.0 - 15.0 * 150.0) * 8.0 / 1e3;
        assert!((browsing.added_kbit - expected).abs() < 0.1, "{browsing}");
        let gib = expected * 1e3 / 8.0 * 4.0 * 3_600.0 * 30.0 / f64::from(1 << 30);
        assert!((browsing.added_gib_month - gib).abs() < 0.01);
        let off = judge(&subject(NoiseRatio::Off, NoiseSize::Any, NoiseFiller::Off));
        assert!(off.costs.iter().all(|cost| cost.added_kbit == 0.0));
        assert_eq!(off.path, None);
    }

    #[test]
    fn a_budget_bounds_the_cost_and_too_small_a_one_is_told() {
        let mut subject = subject(NoiseRatio::FourToOne, NoiseSize::Any, NoiseFiller::Full);
        subject.config.budget = Some(500_000);
        let judged = judge(&subject);
        assert!(judged.findings.contains(&Finding::BudgetShort), "{judged}");
        subject.config.budget = Some(20_000_000);
        let judged = judge(&subject);
        assert!(!judged.findings.contains(&Finding::BudgetShort), "{judged}");
        assert!(judged.costs[2].added_kbit < 2.0 * 20_000.0 + 80_000.0, "{judged}");
    }

    #[test]
    fn a_constant_rate_costs_the_same_at_every_load() {
        let mut subject = subject(NoiseRatio::OneToOne, NoiseSize::Any, NoiseFiller::Full);
        subject.config.engine = EngineKind::Constant;
        let judged = judge(&subject);
        let totals: Vec<f64> = judged.costs.iter().map(|c| c.plain_kbit + c.added_kbit).collect();
        assert!((totals[0] - 8_000.0).abs() < 1e-6 && (totals[1] - 8_000.0).abs() < 1e-6);
        assert!(judged.findings.contains(&Finding::ConstantHides));
        subject.byte = NoiseByte::new(NoiseRatio::Off, NoiseSize::Any, NoiseFiller::Full);
        assert!(judge(&subject).findings.contains(&Finding::EngineIdle(EngineKind::Constant)));
    }

    #[test]
    fn every_byte_can_be_judged() {
        for value in 0..=u8::MAX {
            let Ok(byte) = NoiseByte::try_from(value) else { continue };
            for engine in EngineKind::ALL {
                let config = NoiseConfig { engine, ..NoiseConfig::default() };
                let judged = judge(&Subject { byte, config, limit: 1_420, open: true });
                assert!(!judged.findings.is_empty());
                let text = judged.to_string();
                assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
            }
        }
    }

    #[test]
    fn negotiations_end_as_on_the_wire() {
        let byte = |text: &str| {
            let mut words = text.split(' ');
            let mut next = || words.next().unwrap();
            NoiseByte::new(
                next().parse().unwrap(),
                next().parse().unwrap(),
                next().parse().unwrap(),
            )
        };
        let usual = NoisePolicy::default();
        let wanted = byte("1:1 match full");
        assert_eq!(
            negotiate(wanted, &usual, &usual),
            Outcome::Agreed { byte: wanted, refusals: 0 }
        );
        let weak = NoisePolicy { accept: byte("1:4 match full"), ..usual };
        let agreed = negotiate(wanted, &usual, &weak);
        assert_eq!(agreed, Outcome::Agreed { byte: byte("1:4 match full"), refusals: 1 });
        assert_eq!(agreed.to_string(), "agree on 1:4 match full, after a counter-proposal");
        let proud = NoisePolicy { minimum: byte("1:2 half off"), ..usual };
        assert!(matches!(negotiate(wanted, &proud, &weak), Outcome::Refused { .. }));
    }
}
