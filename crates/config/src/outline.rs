//! Where the list `peers` and its entries stand in the text of a peer file, as byte ranges.
//!
//! Invariant: only for edits, whose results are parsed again; where the layout is unusual there
//! is no outline rather than a guess.

use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

/// How deep the walk goes; no peer file nests deeper.
const MAX_DEPTH: usize = 16;

/// Where a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// From its first character to behind its last one that is no space.
    pub(crate) range: Range<usize>,
}

/// How the list of peers is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peers {
    /// There is no such key.
    Absent,
    /// `[]`, `null` or nothing at all: an empty range behind the key.
    Empty { value: Range<usize>, key_end: usize },
    /// `[{…}, {…}]`.
    Flow { items: Vec<Place> },
    /// Lines with dashes.
    Block { items: Vec<Place>, key_end: usize },
}

/// What an edit needs to know of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    /// Whether the whole file is one `{…}`.
    pub(crate) flow: bool,
    /// The column of the top level's keys.
    pub(crate) column: usize,
    /// Behind the last value of the top level.
    pub(crate) end: usize,
    pub(crate) peers: Peers,
}

impl Outline {
    /// Reads the outline; `None` where the text is no mapping, or laid out unusually.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let mut walk = Walk { text, offsets: offsets(text), parser: Parser::new_from_str(text) };
        loop {
            if let Event::DocumentStart(_) = walk.next()?.0 {
                break;
            }
        }
        let (event, span) = walk.next()?;
        let Event::MappingStart(..) = event else { return None };
        let start = walk.byte(span.start.index());
        let flow = text[start..].starts_with('{');
        let column = span.start.col();
        let mut end = start;
        let mut peers = Peers::Absent;
        loop {
            let (event, span) = walk.next()?;
            if let Event::MappingEnd = event {
                return Some(Self { flow, column, end, peers });
            }
            let is_peers = matches!(&event, Event::Scalar(name, ..) if name == "peers");
            let key_end = walk.skip(event, &span, 1)?;
            let (event, span) = walk.next()?;
            end = if is_peers {
                let (found, end) = walk.peers(event, &span, key_end)?;
                peers = found;
                end
            } else {
                walk.skip(event, &span, 1)?.max(key_end)
            };
        }
    }
}

/// The byte of each character; empty where they are the same.
fn offsets(text: &str) -> Vec<usize> {
    if text.is_ascii() {
        return Vec::new();
    }
    text.char_indices().map(|(at, _)| at).chain([text.len()]).collect()
}

struct Walk<'t> {
    text: &'t str,
    offsets: Vec<usize>,
    parser: Parser<'t, StrInput<'t>>,
}

impl<'t> Walk<'t> {
    fn next(&mut self) -> Option<(Event<'t>, Span)> {
        self.parser.next_event()?.ok()
    }

    /// The byte of the character with this number.
    fn byte(&self, index: usize) -> usize {
        if self.offsets.is_empty() {
            index.min(self.text.len())
        } else {
            self.offsets.get(index).copied().unwrap_or(self.text.len())
        }
    }

    /// The place behind the bracket that a closing event is about.
    fn behind_bracket(&self, span: &Span) -> Option<usize> {
        let at = self.byte(span.start.index());
        self.text[at..].starts_with([']', '}']).then_some(at + 1)
    }

    /// Passes over a node; returns where its text ends.
    fn skip(&mut self, event: Event<'t>, span: &Span, depth: usize) -> Option<usize> {
        if depth > MAX_DEPTH {
            return None;
        }
        let start = self.byte(span.start.index());
        match event {
            Event::Scalar(text, style, ..) => {
                let end = self.byte(span.end.index());
                let first = text.split_whitespace().next().unwrap_or("");
                let absent =
                    end <= start || first.is_empty() || !self.text[start..].starts_with(first);
                // where nothing is written the parser names a place somewhere behind
                let nothing = style == ScalarStyle::Plain && absent;
                Some(if nothing { 0 } else { self.text[..end].trim_end().len() })
            }
            Event::Alias(_) => Some(self.byte(span.end.index())),
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                let flow = self.text[start..].starts_with(['[', '{']);
                let mut end = start;
                loop {
                    let (event, span) = self.next()?;
                    match event {
                        Event::SequenceEnd | Event::MappingEnd => {
                            return if flow { self.behind_bracket(&span) } else { Some(end) };
                        }
                        event => end = end.max(self.skip(event, &span, depth + 1)?),
                    }
                }
            }
            _ => None,
        }
    }

    /// Reads the value of `peers`; returns also where its text ends.
    fn peers(&mut self, event: Event<'t>, span: &Span, key_end: usize) -> Option<(Peers, usize)> {
        let start = self.byte(span.start.index());
        let Event::SequenceStart(..) = event else {
            let Event::Scalar(..) = event else { return None };
            let end = self.skip(event, span, 1)?;
            let value = if end == 0 { key_end..key_end } else { start..end };
            let end = value.end;
            return Some((Peers::Empty { value, key_end }, end));
        };
        let flow = self.text[start..].starts_with('[');
        let mut items = Vec::new();
        let mut end = start;
        loop {
            let (event, span) = self.next()?;
            if let Event::SequenceEnd = event {
                let closing = if flow { self.behind_bracket(&span)? } else { end };
                let peers = match (flow, items.is_empty()) {
                    (_, true) => Peers::Empty { value: start..closing, key_end },
                    (true, false) => Peers::Flow { items },
                    (false, false) => Peers::Block { items, key_end },
                };
                return Some((peers, closing));
            }
            let first = self.byte(span.start.index());
            end = self.skip(event, &span, 2)?;
            items.push(Place { range: first..end });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_exact() {
        let text = "ä: 1\npeers: [{a: b }, c ]  # x\n";
        let outline = Outline::of(text).unwrap();
        let Peers::Flow { items } = outline.peers else { panic!("{outline:?}") };
        let shown: Vec<_> = items.iter().map(|item| &text[item.range.clone()]).collect();
        assert_eq!(shown, ["{a: b }", "c"]);
        let text = "peers: []   # x\n";
        let Peers::Empty { value, key_end } = Outline::of(text).unwrap().peers else { panic!() };
        assert_eq!((&text[value], &text[..key_end]), ("[]", "peers"));
        let text = "peers:\n  - a: 1\n    b: |\n      x\n\n  -\n    c: 2 # y\nz: 1\n";
        let Peers::Block { items, .. } = Outline::of(text).unwrap().peers else { panic!() };
        let shown: Vec<_> = items.iter().map(|item| &text[item.range.clone()]).collect();
        assert_eq!(shown, ["a: 1\n    b: |\n      x", "c: 2"]);
        assert_eq!(Outline::of("- a\n"), None);
    }
}
