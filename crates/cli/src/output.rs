//! Where text goes: data to stdout, messages to stderr, colour only where it is wanted.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use crate::failure::Failure;

/// Writes data to stdout and flushes it.
pub(crate) fn data(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_ref())?;
    stdout.flush()?;
    Ok(())
}

/// Writes one message line to stderr; a stderr that is gone is no reason to fail.
pub(crate) fn message(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes an error to stderr; lines that name a file and a place already say that they are one.
pub(crate) fn error(text: &str) {
    if text.lines().all(is_diagnostic) {
        message(text);
    } else {
        let style = Style::of(&io::stderr());
        message(&format!("{} {text}", style.paint(Paint::Bad, "error:")));
    }
}

/// Tells a line of the form `FILE:LINE:COL: error: …` or `FILE: error: …`.
fn is_diagnostic(line: &str) -> bool {
    line.contains(": error: ") || line.contains(": warning: ")
}

/// Says what a piece of text means; the terminal shows it as colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Nothing special.
    Plain,
    /// All is well.
    Good,
    /// Something goes on, or deserves a look.
    Notice,
    /// Something is wrong.
    Bad,
    /// A heading.
    Heading,
    /// Of second rank.
    Faint,
}

/// Decides whether text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    colour: bool,
}

impl Style {
    /// Never colours.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { colour: false };

    /// Colours on a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { colour: stream.is_terminal() && !refused }
    }

    /// Tells whether this style colours at all.
    pub(crate) fn colours(self) -> bool {
        self.colour
    }

    /// Returns `text`, which pads like a string, in the colour of `paint`.
    pub(crate) fn paint(self, paint: Paint, text: &str) -> Painted<'_> {
        let codes = match paint {
            _ if !self.colour => "",
            Paint::Plain => "",
            Paint::Good => "\x1b[32m",
            Paint::Notice => "\x1b[33m",
            Paint::Bad => "\x1b[31m",
            Paint::Heading => "\x1b[1m",
            Paint::Faint => "\x1b[2m",
        };
        Painted { codes, text }
    }
}

/// Text with the codes that colour it; padding counts the text only.
#[derive(Debug)]
pub(crate) struct Painted<'a> {
    codes: &'static str,
    text: &'a str,
}

impl fmt::Display for Painted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.codes)?;
        f.pad(self.text)?;
        f.write_str(if self.codes.is_empty() { "" } else { "\x1b[0m" })
    }
}

/// Replaces control characters, so that a name cannot steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_counts_the_text_and_not_its_colour() {
        let style = Style { colour: true };
        assert_eq!(format!("{:<4}|", style.paint(Paint::Good, "up")), "\x1b[32mup  \x1b[0m|");
        assert_eq!(format!("{:>4}|", Style::PLAIN.paint(Paint::Good, "up")), "  up|");
    }

    #[test]
    fn diagnostics_are_told_from_other_errors() {
        assert!(is_diagnostic("a.yaml:1:2: error: unknown key"));
        assert!(!is_diagnostic("not running: there is no control socket"));
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(printable("bob\x1b[2J\n"), "bob\u{fffd}[2J\u{fffd}");
    }
}
