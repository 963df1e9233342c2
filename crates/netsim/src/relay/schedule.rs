//! What changes when while the relay runs.
//!
//! One step a line: a time since the start, whom it concerns, what happens. `#` starts a comment.
//!
//! ```text
//! 0s     both      loss=1% delay=1ms..5ms
//! 10s    forward   loss=30%
//! 20s    both      clear
//! 25s    both      down
//! 27s    both      up
//! 30s    roam               # the upstream sees each client at a new port
//! 60s    repeat             # starts again at 0s
//! ```
//!
//! A setting changes what it names and leaves the rest; `clear` makes the link perfect.

use std::{fmt, str::FromStr, time::Duration};

use super::Direction;
use crate::{link::nanos, settings, settings::Setting};

/// Steps in the order of their times.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule {
    steps: Vec<(u64, Step)>,
    /// After how many nanoseconds it starts again.
    period: Option<u64>,
    next: usize,
    /// When the present round began.
    round: u64,
}

/// Something that a schedule does to the relay.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Changes the impairments of these directions.
    Impair(Vec<Direction>, Vec<Setting>),
    /// Takes these directions up or down.
    SetUp(Vec<Direction>, bool),
    /// Gives every client a new port towards the upstream.
    Roam,
}

impl Schedule {
    /// Says when the next step is due, in nanoseconds since the start.
    pub fn next_due(&self) -> Option<u64> {
        let due = match self.steps.get(self.next) {
            Some((at, _)) => *at,
            None => self.period?,
        };
        Some(self.round.saturating_add(due))
    }

    /// Takes the next step that is due by `now`.
    pub fn take_due(&mut self, now: u64) -> Option<Step> {
        while self.next_due().is_some_and(|due| due <= now) {
            if let Some((_, step)) = self.steps.get(self.next) {
                self.next += 1;
                return Some(step.clone());
            }
            self.round += self.period?;
            self.next = 0;
            if self.steps.is_empty() {
                return None;
            }
        }
        None
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let mut schedule = Self::default();
        for (line, content) in (1..).zip(text.lines()) {
            let wrong = |what: String| ScheduleError { line, what };
            let mut words = content.split('#').next().unwrap_or("").split_whitespace();
            let Some(time) = words.next() else { continue };
            let at: Duration = settings::duration(time).map_err(|e| wrong(e.to_string()))?;
            let at = nanos(at);
            if schedule.period.is_some() {
                return Err(wrong("nothing can follow `repeat`: make it the last line".into()));
            }
            if schedule.steps.last().is_some_and(|(before, _)| *before > at) {
                return Err(wrong(format!(
                    "`{time}` is earlier than the line before: order lines by time"
                )));
            }
            let whom = words.next().unwrap_or("");
            let words: Vec<_> = words.collect();
            let directions = match whom {
                "both" => vec![Direction::Forward, Direction::Backward],
                "forward" => vec![Direction::Forward],
                "backward" => vec![Direction::Backward],
                "roam" | "repeat" if !words.is_empty() => {
                    return Err(wrong(format!("`{whom}` takes nothing: end the line after it")));
                }
                "roam" => {
                    schedule.steps.push((at, Step::Roam));
                    continue;
                }
                "repeat" if at == 0 => {
                    return Err(wrong(
                        "`repeat` needs a time above 0, the length of a round".into(),
                    ));
                }
                "repeat" => {
                    schedule.period = Some(at);
                    continue;
                }
                other => {
                    return Err(wrong(format!(
                        "`{other}` is not understood: write both, forward, backward, roam or repeat"
                    )));
                }
            };
            let step = match words[..] {
                [] => {
                    return Err(wrong(format!(
                        "nothing follows `{whom}`: write up, down or settings such as loss=1%"
                    )));
                }
                ["up"] => Step::SetUp(directions, true),
                ["down"] => Step::SetUp(directions, false),
                _ => {
                    let settings: Result<_, _> = words.iter().map(|word| word.parse()).collect();
                    Step::Impair(directions, settings.map_err(|error| wrong(format!("{error}")))?)
                }
            };
            schedule.steps.push((at, step));
        }
        Ok(schedule)
    }
}

/// A line of a schedule that is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleError {
    line: usize,
    what: String,
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for ScheduleError {}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn steps_come_in_time_and_again() {
        let mut schedule: Schedule = "
            # a comment
            0s both loss=50% mtu=9   # another
            1s forward down
            1s roam
            3s repeat"
            .parse()
            .unwrap();
        let mut seen = Vec::new();
        for now in 0..7 {
            assert!(schedule.next_due().is_some_and(|due| due >= now * SECOND));
            while let Some(step) = schedule.take_due(now * SECOND) {
                seen.push((now, step));
            }
        }
        let both = vec![Direction::Forward, Direction::Backward];
        let impair = Step::Impair(both, vec![Setting::Loss(0.5), Setting::Mtu(Some(9))]);
        let down = Step::SetUp(vec![Direction::Forward], false);
        let round = |start: u64| {
            [(start, impair.clone()), (start + 1, down.clone()), (start + 1, Step::Roam)]
        };
        let want: Vec<_> =
            [0, 3, 6].into_iter().flat_map(round).filter(|(at, _)| *at < 7).collect();
        assert_eq!(seen, want);
    }

    #[test]
    fn an_empty_schedule_is_never_due() {
        let mut schedule: Schedule = " # nothing\n\n".parse().unwrap();
        assert_eq!((schedule.next_due(), schedule.take_due(u64::MAX)), (None, None));
        let mut schedule: Schedule = "1s repeat".parse().unwrap();
        assert_eq!(schedule.take_due(5 * SECOND), None);
    }

    #[test]
    fn mistakes_name_their_line() {
        for (text, want) in [
            ("0s both loss=2", "line 1: `loss=2` is not understood"),
            ("\n0 both up\n1 both up", "line 3: `1` is not understood"),
            ("2s both up\n1s both up", "line 2: `1s` is earlier"),
            ("2s sideways up", "line 1: `sideways`"),
            ("2s", "line 1: `` is not understood"),
            ("2s both", "line 1: nothing follows `both`"),
            ("2s both up loss=1", "line 1: `up` is not understood"),
            ("2s roam now", "line 1: `roam` takes nothing"),
            ("0s repeat", "line 1: `repeat` needs"),
            ("2s repeat\n3s roam", "line 2: nothing can follow"),
        ] {
            let error = text.parse::<Schedule>().unwrap_err().to_string();
            assert!(error.starts_with(want), "{error}");
        }
    }
}
