//! Figures for people: sizes, ages and times in the unit that fits.

/// Writes a number of bytes with three digits or so: `0 B`, `1.21 KiB`, `15.0 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    // what would round to 1024 is written in the next unit
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = match value {
        _ if value < 9.995 => 2,
        _ if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// Writes a time span in its two largest units: `12 s`, `2 m 5 s`, `3 h 1 m`, `5 d 2 h`.
pub(crate) fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if seconds < 60 => format!("{seconds} s"),
        () if minutes < 60 => format!("{minutes} m {} s", seconds % 60),
        () if hours < 24 => format!("{hours} h {} m", minutes % 60),
        () => format!("{days} d {} h", hours % 24),
    }
}

/// Writes a round-trip time with three digits or so: `0.40 ms`, `12.3 ms`, `250 ms`.
pub(crate) fn milliseconds(time: f64) -> String {
    let decimals = match time {
        _ if time < 9.995 => 2,
        _ if time < 99.95 => 1,
        _ => 0,
    };
    format!("{time:.decimals$} ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_the_fitting_unit() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1240, "1.21 KiB"),
            (1024 * 1024 - 1, "1.00 MiB"),
            (15 * 1024 * 1024 * 1024, "15.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn spans_take_two_units() {
        let cases = [
            (-1.0, "0 s"),
            (12.9, "12 s"),
            (125.0, "2 m 5 s"),
            (10_860.0, "3 h 1 m"),
            (439_200.0, "5 d 2 h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn round_trips_keep_three_digits() {
        assert_eq!(milliseconds(0.4), "0.40 ms");
        assert_eq!(milliseconds(12.34), "12.3 ms");
        assert_eq!(milliseconds(250.4), "250 ms");
    }
}
