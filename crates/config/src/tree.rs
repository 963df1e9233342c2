//! A peer file as a tree that knows where everything stands.
//!
//! saphyr-parser gives the events and their places; serde_yaml decides what each plain scalar
//! is (see [`crate::agree`]). Invariants: the tree is at most [`MAX_DEPTH`] deep and has at most
//! [`MAX_NODES`] nodes, aliases counted as what they stand for, so no small file makes a large
//! tree; scalars borrow from the text where they can, so that it can be wiped as a whole.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

use crate::diagnostic::Position;

/// How deep a peer file nests at most; the schema needs 5.
pub(crate) const MAX_DEPTH: usize = 16;
/// How many nodes there are at most: ten thousand peers have some 250,000.
pub(crate) const MAX_NODES: usize = 2_000_000;

/// What a scalar is, by the core schema of YAML 1.2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Another number.
    Float,
    /// Everything else, and whatever is quoted.
    Text,
}

/// A scalar: its text without quotes.
#[derive(Clone, Debug)]
pub(crate) struct Scalar<'t> {
    pub(crate) text: Cow<'t, str>,
    pub(crate) plain: bool,
    pub(crate) kind: Kind,
}

/// A key of a mapping and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'t> {
    pub(crate) key: Node<'t>,
    pub(crate) value: Node<'t>,
}

/// What stands at a place.
#[derive(Clone, Debug)]
pub(crate) enum Content<'t> {
    Scalar(Scalar<'t>),
    List(Vec<Node<'t>>),
    Map(Vec<Entry<'t>>),
}

/// A value, and where it starts.
#[derive(Clone, Debug)]
pub(crate) struct Node<'t> {
    pub(crate) position: Position,
    pub(crate) content: Content<'t>,
}

impl Node<'_> {
    /// Tells whether nothing stands here.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar(scalar) if scalar.kind == Kind::Null)
    }
}

/// Why there is no tree.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The text is no YAML.
    Syntax(ScanError),
    /// The text is YAML that a peer file must not use: where, what, and what to do.
    Refused(Position, &'static str),
}

impl From<ScanError> for Failure {
    fn from(error: ScanError) -> Self {
        Self::Syntax(error)
    }
}

/// Converts a place of the parser, which counts columns from 0.
pub(crate) fn position_of(marker: &Marker) -> Position {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Position { line: number(marker.line()).max(1), column: number(marker.col()).saturating_add(1) }
}

const TOO_DEEP: &str = "the file nests deeper than any peer file; check brackets and indentation";
const TOO_MANY: &str = "the file has more values than any peer file; split it, or remove aliases";
const TAGGED: &str = "a peer file has no YAML tags; remove the word that starts with `!`";
const SECOND: &str = "a second YAML document starts here; a peer file is one: remove the `---`";
const EMPTY: &str = "the file is empty; `stadium init` writes one to start from";
const LOOPING: &str = "this alias stands inside what it repeats; write the value out";

/// Parses `text`, which must be a single document.
pub(crate) fn parse(text: &str) -> Result<Node<'_>, Failure> {
    let mut builder =
        Builder { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    let root = builder.document()?;
    Ok(root)
}

struct Builder<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    /// Finished nodes by the number of their anchor, with the number of nodes in each.
    anchors: HashMap<usize, (Node<'t>, usize)>,
    nodes: usize,
}

impl<'t> Builder<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Failure> {
        match self.parser.next_event() {
            Some(event) => Ok(event?),
            None => Err(Failure::Refused(Position::START, EMPTY)),
        }
    }

    fn document(&mut self) -> Result<Node<'t>, Failure> {
        loop {
            match self.next()?.0 {
                Event::DocumentStart(_) => break,
                Event::StreamEnd => return Err(Failure::Refused(Position::START, EMPTY)),
                _ => {}
            }
        }
        let (event, span) = self.next()?;
        let root = self.node(event, &span, 0)?;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(_) => {
                    return Err(Failure::Refused(position_of(&span.start), SECOND));
                }
                _ => {}
            }
        }
    }

    fn node(&mut self, event: Event<'t>, span: &Span, depth: usize) -> Result<Node<'t>, Failure> {
        let position = position_of(&span.start);
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Failure::Refused(position, TOO_MANY));
        }
        if depth > MAX_DEPTH {
            return Err(Failure::Refused(position, TOO_DEEP));
        }
        let first = self.nodes;
        let (content, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some() {
                    return Err(Failure::Refused(position, TAGGED));
                }
                let plain = style == ScalarStyle::Plain;
                (Content::Scalar(Scalar { text, plain, kind: Kind::Text }), anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                if tag.is_some() {
                    return Err(Failure::Refused(position, TAGGED));
                }
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, &span, depth + 1)?),
                    }
                }
                (Content::List(items), anchor)
            }
            Event::MappingStart(anchor, tag) => {
                if tag.is_some() {
                    return Err(Failure::Refused(position, TAGGED));
                }
                let mut entries = Vec::new();
                loop {
                    match self.next()? {
                        (Event::MappingEnd, _) => break,
                        (event, span) => {
                            let key = self.node(event, &span, depth + 1)?;
                            let (event, span) = self.next()?;
                            let value = self.node(event, &span, depth + 1)?;
                            entries.push(Entry { key, value });
                        }
                    }
                }
                (Content::Map(entries), anchor)
            }
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor) else {
                    return Err(Failure::Refused(position, LOOPING));
                };
                self.nodes += size;
                if self.nodes > MAX_NODES {
                    return Err(Failure::Refused(position, TOO_MANY));
                }
                return Ok(node.clone());
            }
            _ => return Err(Failure::Refused(position, EMPTY)),
        };
        let node = Node { position, content };
        if anchor != 0 {
            let size = self.nodes + 1 - first;
            self.nodes += size;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }
}
