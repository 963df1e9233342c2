//! Impairments in words: `loss=30% delay=5ms..20ms reorder=0.1/8`.
//!
//! | setting | value | meaning |
//! |---|---|---|
//! | `loss`, `duplicate`, `corrupt` | `0.3` or `30%` | probability |
//! | `delay` | `5ms`, `5ms..20ms`, `5ms..20ms/unordered` | travel time, also such that datagrams overtake each other |
//! | `reorder` | `0.1`, `0.1/8`, `0.1/8/50ms` | probability, depth (3), patience (20 ms) |
//! | `rate` | `10mbit`, `10mbit/64k`, `off` | bits a second, bytes that may wait (100 ms worth) |
//! | `mtu` | `1400`, `off` | largest payload in bytes |
//! | `clear` | – | makes the link perfect |

use std::{fmt, str::FromStr, time::Duration};

use crate::link::{Delay, Impairments, Rate, Reorder};

/// One change to [`Impairments`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Setting {
    /// Sets the probability of loss.
    Loss(f64),
    /// Sets the probability of a second copy.
    Duplicate(f64),
    /// Sets the probability of flipped bits.
    Corrupt(f64),
    /// Sets the travel time.
    Delay(Delay),
    /// Sets the holding back.
    Reorder(Reorder),
    /// Sets or lifts the limit of the rate.
    Rate(Option<Rate>),
    /// Sets or lifts the limit of the size.
    Mtu(Option<usize>),
    /// Makes the link perfect.
    Clear,
}

impl Setting {
    /// Reads the value of a named setting.
    ///
    /// # Errors
    ///
    /// When there is no such setting, or the value is not of its form.
    pub fn parse(key: &str, value: &str) -> Result<Self, SettingError> {
        let wrong = |expected| SettingError { setting: format!("{key}={value}"), expected };
        match key {
            "loss" => probability(value).map(Self::Loss).ok_or_else(|| wrong(PROBABILITY)),
            "duplicate" => {
                probability(value).map(Self::Duplicate).ok_or_else(|| wrong(PROBABILITY))
            }
            "corrupt" => probability(value).map(Self::Corrupt).ok_or_else(|| wrong(PROBABILITY)),
            "delay" => delay(value).map(Self::Delay).ok_or_else(|| wrong(DELAY)),
            "reorder" => reorder(value).map(Self::Reorder).ok_or_else(|| wrong(REORDER)),
            "rate" if value == "off" => Ok(Self::Rate(None)),
            "rate" => rate(value).map(|rate| Self::Rate(Some(rate))).ok_or_else(|| wrong(RATE)),
            "mtu" if value == "off" => Ok(Self::Mtu(None)),
            "mtu" => value.parse().map(|mtu| Self::Mtu(Some(mtu))).map_err(|_| wrong(MTU)),
            _ => Err(wrong(KEYS)),
        }
    }

    /// Makes the change.
    pub fn apply(self, impairments: &mut Impairments) {
        match self {
            Self::Loss(probability) => impairments.loss = probability,
            Self::Duplicate(probability) => impairments.duplicate = probability,
            Self::Corrupt(probability) => impairments.corrupt = probability,
            Self::Delay(delay) => impairments.delay = delay,
            Self::Reorder(reorder) => impairments.reorder = reorder,
            Self::Rate(rate) => impairments.rate = rate,
            Self::Mtu(mtu) => impairments.mtu = mtu,
            Self::Clear => *impairments = Impairments::NONE,
        }
    }
}

impl FromStr for Setting {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        if text == "clear" {
            return Ok(Self::Clear);
        }
        match text.split_once('=') {
            Some((key, value)) => Self::parse(key, value),
            None => Err(SettingError { setting: text.to_owned(), expected: KEYS }),
        }
    }
}

impl FromStr for Impairments {
    type Err = SettingError;

    /// Reads settings separated by white space, on top of a perfect link.
    fn from_str(text: &str) -> Result<Self, SettingError> {
        let mut impairments = Self::NONE;
        for word in text.split_whitespace() {
            word.parse::<Setting>()?.apply(&mut impairments);
        }
        Ok(impairments)
    }
}

/// A setting that is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    setting: String,
    expected: &'static str,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not understood: {}", self.setting, self.expected)
    }
}

impl std::error::Error for SettingError {}

/// Reads a span of time: a whole or decimal number with `ns`, `us`, `ms`, `s`, `m` or `h`.
///
/// # Errors
///
/// When the number or its unit is missing, or the number is negative or too large.
pub fn duration(text: &str) -> Result<Duration, SettingError> {
    span(text).ok_or_else(|| SettingError { setting: text.to_owned(), expected: DURATION })
}

fn span(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text);
    let seconds = match unit {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        // a bare nought needs no unit
        "" if number == "0" => 1.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

fn probability(text: &str) -> Option<f64> {
    let probability = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().ok()? / 100.0,
        None => text.parse().ok()?,
    };
    (0.0..=1.0).contains(&probability).then_some(probability)
}

fn delay(text: &str) -> Option<Delay> {
    let (range, ordered) = match text.strip_suffix("/unordered") {
        Some(range) => (range, false),
        None => (text, true),
    };
    let (min, max) = range.split_once("..").unwrap_or((range, range));
    let delay = Delay { min: span(min)?, max: span(max)?, ordered };
    (delay.min <= delay.max).then_some(delay)
}

fn reorder(text: &str) -> Option<Reorder> {
    let mut parts = text.split('/');
    let reorder = Reorder {
        probability: probability(parts.next()?)?,
        depth: parts.next().map_or(Some(3), |depth| depth.parse().ok())?,
        patience: parts.next().map_or(Some(Impairments::NONE.reorder.patience), span)?,
    };
    parts.next().is_none().then_some(reorder)
}

fn rate(text: &str) -> Option<Rate> {
    let (speed, queue) = match text.split_once('/') {
        Some((speed, queue)) => (speed, Some(queue)),
        None => (text, None),
    };
    let (number, unit) = split_unit(speed);
    let factor = match unit {
        "bit" => 1,
        "kbit" => 1_000,
        "mbit" => 1_000_000,
        "gbit" => 1_000_000_000,
        _ => return None,
    };
    let bytes_per_second = number.parse::<u64>().ok()?.checked_mul(factor)? / 8;
    let queue_bytes = match queue {
        Some(queue) => bytes(queue)?,
        None => bytes_per_second / 10,
    };
    (bytes_per_second > 0).then_some(Rate { bytes_per_second, queue_bytes })
}

fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "" => 1,
        "k" => 1 << 10,
        "M" => 1 << 20,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

const KEYS: &str = "the settings are loss, duplicate, corrupt, delay, reorder, rate and mtu, each key=value, and clear";
const PROBABILITY: &str = "write a probability from 0 to 1, or from 0% to 100%";
const DELAY: &str =
    "write a time (5ms), a range (5ms..20ms) or a range that reorders (5ms..20ms/unordered)";
const REORDER: &str = "write a probability, and perhaps depth and patience: 0.1, 0.1/8, 0.1/8/50ms";
const RATE: &str =
    "write bits a second, and perhaps bytes that may wait: 10mbit, 10mbit/64k, or off";
const MTU: &str = "write a number of bytes, or off";
const DURATION: &str = "write a number with ns, us, ms, s, m or h, as in 20ms";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_add_up() {
        let got: Impairments =
            "loss=30% delay=5ms..20ms reorder=0.1/8/50ms rate=8mbit/64k mtu=1400 duplicate=0.01"
                .parse()
                .unwrap();
        let want = Impairments {
            loss: 0.3,
            duplicate: 0.01,
            corrupt: 0.0,
            delay: Delay {
                min: Duration::from_millis(5),
                max: Duration::from_millis(20),
                ordered: true,
            },
            reorder: Reorder { probability: 0.1, depth: 8, patience: Duration::from_millis(50) },
            rate: Some(Rate { bytes_per_second: 1_000_000, queue_bytes: 65_536 }),
            mtu: Some(1400),
        };
        assert_eq!(got, want);
        assert_eq!("loss=1 clear".parse(), Ok(Impairments::NONE));
        assert_eq!("rate=8kbit rate=off mtu=9 mtu=off".parse(), Ok(Impairments::NONE));
        let unordered: Impairments = "delay=0..1.5s/unordered".parse().unwrap();
        assert!(!unordered.delay.ordered);
        assert_eq!(unordered.delay.max, Duration::from_millis(1500));
    }

    #[test]
    fn mistakes_are_named_with_a_remedy() {
        for wrong in [
            "loss",
            "loss=",
            "loss=1.1",
            "loss=-1%",
            "loss=nan",
            "delay=5",
            "delay=9ms..1ms",
            "delay=-1s",
            "reorder=0.1/x",
            "reorder=0.1/1/1s/1",
            "rate=10",
            "rate=1bit",
            "rate=1mbit/2q",
            "rate=99999999999999999999gbit",
            "mtu=big",
            "los=0.1",
            "clear=1",
            "delay=1e400s",
        ] {
            let error = wrong.parse::<Impairments>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{wrong}` is not understood: ")), "{error}");
            assert!(error.len() > wrong.len() + 40, "{error}");
        }
        assert!(duration("5").unwrap_err().to_string().contains("20ms"));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
    }
}
