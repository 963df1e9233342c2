//! What is wrong with a peer file, where, and what to do.

use std::fmt;
use std::path::{Path, PathBuf};

/// Tells whether a diagnostic forbids the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file can be used all the same.
    Warning,
    /// The file is refused.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// Names a place in a peer file: line and column in characters, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl Position {
    /// The start of the file, for what is wrong with the file as a whole.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Holds one finding.
///
/// Never contains a secret, and no control character of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where it is.
    pub position: Position,
    /// Whether the file is refused for it.
    pub severity: Severity,
    /// What is wrong, and after a semicolon what to do.
    pub message: String,
    /// Whether it is a warning that a strict check takes for an error.
    pub strict: bool,
}

impl fmt::Display for Diagnostic {
    /// Writes `LINE:COL: error: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.position, self.severity, self.message)
    }
}

/// Holds everything found in one peer file, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    path: PathBuf,
    items: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Starts an empty list for the file at `path`.
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), items: Vec::new() }
    }

    /// Returns the list of one error about the file as a whole.
    pub(crate) fn of_file(path: &Path, message: impl Into<String>) -> Self {
        let mut list = Self::new(path);
        list.error(Position::START, message);
        list
    }

    pub(crate) fn error(&mut self, position: Position, message: impl Into<String>) {
        self.push(position, Severity::Error, message.into(), false);
    }

    pub(crate) fn warn(&mut self, position: Position, message: impl Into<String>) {
        self.push(position, Severity::Warning, message.into(), false);
    }

    /// Adds a warning that a strict check takes for an error.
    pub(crate) fn warn_strict(&mut self, position: Position, message: impl Into<String>) {
        self.push(position, Severity::Warning, message.into(), true);
    }

    fn push(&mut self, position: Position, severity: Severity, message: String, strict: bool) {
        self.items.push(Diagnostic { position, severity, message, strict });
    }

    /// Puts the findings in the order of the file; those of one place keep theirs.
    pub(crate) fn sorted(mut self) -> Self {
        self.items.sort_by_key(|item| item.position);
        self
    }

    /// Turns the warnings that matter to a strict check into errors.
    pub(crate) fn stricter(mut self) -> Self {
        for item in &mut self.items {
            if item.strict {
                item.severity = Severity::Error;
            }
        }
        self
    }

    /// Returns the path of the file, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Goes through the findings in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.items.iter()
    }

    /// Returns how many findings there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Tells whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns how many of the findings are errors.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.items.iter().filter(|item| item.severity == Severity::Error).count()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    /// Writes a line `FILE:LINE:COL: error: what is wrong; what to do` for each, without a
    /// line break after the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, item) in self.items.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{item}", self.path.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Quotes text of the file for a message: escaped, and cut after 40 characters.
pub(crate) fn quoted(text: &str) -> String {
    const LIMIT: usize = 40;
    let mut shown = String::from("`");
    for (n, c) in text.chars().enumerate() {
        if n == LIMIT {
            shown.push('…');
            break;
        }
        if is_printable(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_default());
        }
    }
    shown.push('`');
    shown
}

/// Tells whether a character may stand in a message or name: no control character, no line or
/// paragraph separator, nothing invisible that reorders or hides what follows.
pub(crate) fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_each() {
        let mut list = Diagnostics::new(Path::new("a.yaml"));
        list.warn_strict(Position { line: 2, column: 3 }, "loose; chmod 600");
        list.error(Position::START, "bad; better");
        let list = list.sorted();
        assert_eq!(
            list.to_string(),
            "a.yaml:1:1: error: bad; better\na.yaml:2:3: warning: loose; chmod 600"
        );
        assert_eq!((list.errors(), list.stricter().errors()), (1, 2));
    }

    #[test]
    fn quoting_hides_control_characters_and_length() {
        assert_eq!(quoted("a\x1b[0m\u{202e}b"), "`a\\u{1b}[0m\\u{202e}b`");
        assert_eq!(quoted(&"x".repeat(50)).chars().count(), 43);
    }
}
