//! Durations (`25s`), rates (`20mbit`) and sizes (`15GiB`) as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Reports text that is no duration, rate or size; its text says what to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadQuantity(&'static str);

impl fmt::Display for BadQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadQuantity {}

const DURATION: BadQuantity =
    BadQuantity("write a number with its unit (ms, s, m, h, d), as `25s`");
const RATE: BadQuantity =
    BadQuantity("write a number with its unit (bit, kbit, mbit, gbit: per second), as `20mbit`");
const SIZE: BadQuantity =
    BadQuantity("write a number with its unit (B, kB, MB, GB, TB, KiB, MiB, GiB, TiB), as `15GiB`");

/// Splits `25s` into 25 and `s`, and what follows.
fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number = text[..digits].parse().ok()?;
    let rest = &text[digits..];
    let unit = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    (unit > 0).then(|| (number, &rest[..unit], &rest[unit..]))
}

/// Reads a duration: a whole number and a unit, also several of them (`1m30s`).
///
/// # Errors
///
/// Fails for other text, and for more than 2^64 − 1 milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, BadQuantity> {
    let mut total = 0u64;
    let mut rest = text;
    loop {
        let (number, unit, next) = number_and_unit(rest).ok_or(DURATION)?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(DURATION),
        };
        total = number.checked_mul(millis).and_then(|n| total.checked_add(n)).ok_or(DURATION)?;
        if next.is_empty() {
            return Ok(Duration::from_millis(total));
        }
        rest = next;
    }
}

/// Writes a duration as [`parse_duration`] reads it; below a millisecond it is cut off.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    const UNITS: [(u128, &str); 5] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (unit, name) in UNITS {
        if rest >= unit {
            text += &format!("{}{name}", rest / unit);
            rest %= unit;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Holds a rate in bits per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(pub u64);

impl Rate {
    /// Returns the rate in whole bytes per second.
    #[must_use]
    pub const fn bytes_per_second(self) -> u64 {
        self.0 / 8
    }
}

impl FromStr for Rate {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<Self, BadQuantity> {
        let (number, unit, rest) = number_and_unit(text).ok_or(RATE)?;
        let unit = match unit {
            "bit" => 1,
            "kbit" => 1_000,
            "mbit" => 1_000_000,
            "gbit" => 1_000_000_000,
            _ => return Err(RATE),
        };
        if !(rest.is_empty() || rest == "/s") {
            return Err(RATE);
        }
        number.checked_mul(unit).map(Self).ok_or(RATE)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(1_000_000_000, "gbit"), (1_000_000, "mbit"), (1_000, "kbit")] {
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}bit", self.0)
    }
}

/// Holds a size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<Self, BadQuantity> {
        let (number, unit, rest) = number_and_unit(text).ok_or(SIZE)?;
        let unit = match unit {
            "B" => 1,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return Err(SIZE),
        };
        if !rest.is_empty() {
            return Err(SIZE);
        }
        number.checked_mul(unit).map(Self).ok_or(SIZE)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in
            [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
        {
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("25s", 25_000),
            ("2m", 120_000),
            ("1m30s", 90_000),
            ("250ms", 250),
            ("1d", 86_400_000),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis));
            assert_eq!(format_duration(duration), text);
        }
        assert_eq!(format_duration(Duration::ZERO), "0s");
        for bad in ["", "25", "s", "-1s", "1.5s", "25 s", "25s ", "1y", "99999999999999999999s"] {
            assert_eq!(parse_duration(bad), Err(DURATION), "{bad}");
        }
        assert!(parse_duration(&format!("{}d", u64::MAX / 1000)).is_err());
    }

    #[test]
    fn rates_and_sizes() {
        for (text, bits) in [("20mbit", 20_000_000), ("1gbit", 1_000_000_000), ("7bit", 7)] {
            assert_eq!(text.parse(), Ok(Rate(bits)));
            assert_eq!(Rate(bits).to_string(), text);
        }
        assert_eq!("500kbit/s".parse(), Ok(Rate(500_000)));
        assert_eq!(Rate(20_000_000).bytes_per_second(), 2_500_000);
        for bad in ["20", "mbit", "20Mb", "20 mbit", "20mbit/h", "99999999999gbit"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
        assert_eq!("15GiB".parse(), Ok(Size(15 << 30)));
        assert_eq!("3kB".parse(), Ok(Size(3_000)));
        assert_eq!(Size(15 << 30).to_string(), "15GiB");
        assert_eq!(Size(3_000).to_string(), "3000B");
        assert!("15".parse::<Size>().is_err() && "15GiBs".parse::<Size>().is_err());
    }
}
