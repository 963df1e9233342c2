//! What to tell a person whose peer file is no YAML.

use crate::agree::Disagreement;
use crate::diagnostic::{Diagnostics, Position};
use crate::tree::{Failure, position_of};

/// What to do about a message of the YAML parser: the first entry whose words are in it.
const REMEDIES: &[(&str, &str)] = &[
    ("mapping values are not allowed", INDENT_OR_QUOTE),
    ("block mapping", INDENT),
    ("block collection", INDENT),
    ("block sequence entries", INDENT),
    ("ndentation", INDENT),
    ("indented", INDENT),
    ("tab", "indent with spaces, two a level"),
    ("simple key", "write `key: value`, with a space after the colon"),
    ("':'", "write `key: value`, with a space after the colon"),
    ("flow mapping", "close the braces and separate by commas: `{a: 1, b: 2}`"),
    ("flow sequence", "close the brackets and separate by commas: `[a, b]`"),
    ("bracket", "close the brackets and separate by commas: `[a, b]`"),
    ("quoted", "close the quote, and escape what is inside"),
    ("anchor", "define `&name` before `*name` is used, or write the value out"),
    ("alias", "define `&name` before `*name` is used, or write the value out"),
    ("tag", "a peer file has no YAML tags; quote a value that starts with `!`"),
    ("directive", "remove the line that starts with `%`"),
    ("byte order mark", "remove the invisible character"),
    ("document", "a peer file is one YAML document: remove `---` and `...`"),
    ("unexpected character", "put the value in quotes"),
    ("unprintable", "remove the invisible character"),
    ("control characters", "remove the invisible character"),
];
const INDENT: &str = "line it up with the lines beside it: keys of one mapping, and the `-` of one \
                      list, start in the same column";
const INDENT_OR_QUOTE: &str = "line it up with the lines beside it; a value that contains `: ` \
                               must be in quotes";
const BRACKETED: &str = "put an IPv6 address with a port in quotes: \"[2001:db8::1]:51871\"";
const DISAGREE: &str = "two YAML parsers read this differently; put the value in quotes, or write \
                        it more plainly";

/// Tells whether `text` has only characters that YAML allows, and reports the first other one.
///
/// The parsers take some of them for text, and others for an error elsewhere.
pub(crate) fn printable(text: &str, diagnostics: &mut Diagnostics) -> bool {
    let allowed = |c: char| {
        matches!(c, '\t' | '\n' | '\r' | '\u{85}')
            || !(c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))
    };
    let Some((at, c)) = text.char_indices().find(|(_, c)| !allowed(*c)) else { return true };
    let before = &text[..at];
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).saturating_add(1);
    let line = before.rfind('\n').map_or(before, |end| &before[end + 1..]);
    let position = Position {
        line: number(before.matches('\n').count()),
        column: number(line.chars().count()),
    };
    diagnostics.error(
        position,
        format!("the invisible character U+{:04X} has no place in YAML; remove it", u32::from(c)),
    );
    false
}

/// Reports that there is no tree.
pub(crate) fn report(failure: &Failure, text: &str, diagnostics: &mut Diagnostics) {
    match failure {
        Failure::Syntax(error) => {
            // the parser asks for recursion limits and the like in words of its own
            broken(position_of(error.marker()), error.info(), text, diagnostics);
        }
        Failure::Refused(position, message) => diagnostics.error(*position, *message),
    }
}

/// Reports that the second parser reads something else, or nothing.
pub(crate) fn report_disagreement(found: &Disagreement, text: &str, diagnostics: &mut Diagnostics) {
    match &found.syntax {
        Some(info) => {
            let info = info.split(" at line ").next().unwrap_or(info);
            broken(found.position, info, text, diagnostics);
        }
        None => diagnostics.error(found.position, DISAGREE),
    }
}

fn broken(position: Position, info: &str, text: &str, diagnostics: &mut Diagnostics) {
    // the parser may give up at the end of the line before
    if let Some(tab) = tab_in_indentation(text, position.line.saturating_add(1)) {
        diagnostics.error(tab, "a tab in the indentation; indent with spaces, two a level");
        return;
    }
    let position = if info.contains("simple key") {
        line_before(text, position)
    } else {
        position.min(end_of(text))
    };
    let bracketed = text
        .lines()
        .nth(position.line as usize - 1)
        .is_some_and(|line| line.contains(": [") && line.contains("]:"));
    let remedy = if bracketed {
        BRACKETED
    } else {
        REMEDIES
            .iter()
            .find(|(words, _)| info.contains(words))
            .map_or("correct the YAML here, or in the line before", |(_, remedy)| remedy)
    };
    diagnostics.error(position, format!("this is not YAML ({info}); {remedy}"));
}

/// Finds the start of what the parser took for a key until it was past its end, without a colon.
fn line_before(text: &str, end: Position) -> Position {
    let lines = text.lines().zip(1..end.line);
    let last =
        lines.filter(|(line, _)| !matches!(line.trim().chars().next(), None | Some('#'))).last();
    last.map_or(end, |(line, number)| {
        let indentation = line.chars().take_while(|c| *c == ' ').count();
        let column = u32::try_from(indentation).unwrap_or(u32::MAX).saturating_add(1);
        Position { line: number, column }
    })
}

/// Finds the end of the last line that is not blank.
fn end_of(text: &str) -> Position {
    let last = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()).last();
    last.map_or(Position::START, |(line, number)| {
        let column = u32::try_from(line.trim_end().chars().count()).unwrap_or(u32::MAX);
        Position { line: number, column: column.saturating_add(1) }
    })
}

/// Finds the first tab that indents something, down to the line where the parser gave up.
fn tab_in_indentation(text: &str, last_line: u32) -> Option<Position> {
    text.lines().zip(1..=last_line).find_map(|(line, number)| {
        let indentation = line.len() - line.trim_start_matches([' ', '\t']).len();
        let tab = line[..indentation].find('\t')?;
        let content = line[indentation..].chars().next()?;
        (content != '#').then_some(Position {
            line: number,
            column: u32::try_from(tab).unwrap_or(u32::MAX).saturating_add(1),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tabs_are_found_where_they_indent() {
        let at = |text, last| tab_in_indentation(text, last);
        assert_eq!(at("a:\n \tb: 1", 2), Some(Position { line: 2, column: 2 }));
        assert_eq!(at("a:\n \tb: 1", 1), None);
        assert_eq!(at("a:\t1\n\t# comment\n\t\n", 9), None);
    }
}
