//! The plain part of YAML, read in one pass.
//!
//! Two parsers read every peer file, so that no file means one thing here and another elsewhere
//! (see [`crate::agree`]). With ten thousand peers that takes longer than all else together, and
//! nearly every file keeps to a part of YAML that nobody reads in two ways: ASCII, block mappings
//! and lists by indentation, values of one line. This module reads that part.
//!
//! Invariant: for a text that [`parse`] takes, the two parsers agree, and on the same tree with
//! the same places; whatever is not certain is left to them, also every error. The tests compare
//! the two ways over files made from all sorts of pieces.

use std::borrow::Cow;

use crate::diagnostic::Position;
use crate::tree::{Content, Entry, Kind, MAX_DEPTH, MAX_NODES, Node, Scalar};

/// The longest key: far below the 1,024 characters after which a parser takes none for a key.
const LONGEST_KEY: usize = 64;

/// Reads `text`; `None` where it is not plain enough to be sure.
pub(crate) fn parse(text: &str) -> Option<Node<'_>> {
    if !text.bytes().all(|byte| byte == b'\n' || matches!(byte, b' '..=b'~')) {
        return None;
    }
    let mut reader = Reader { rest: text, number: 0, line: None, nodes: 0 };
    reader.advance();
    if reader.line?.indent != 0 {
        return None;
    }
    let root = reader.map(0)?;
    // what ended the mapping is no part of it
    reader.line.is_none().then_some(root)
}

/// A line, or what stands behind a dash in one.
#[derive(Clone, Copy)]
struct Line<'t> {
    /// From 1.
    number: u32,
    /// The column of the first character, from 0.
    indent: usize,
    /// From the first character that is no space to the last.
    text: &'t str,
}

impl<'t> Line<'t> {
    /// Where the end of this line stands, of which `rest` is left.
    fn position(&self, rest: &str) -> Option<Position> {
        let column = self.indent + (self.text.len() - rest.len()) + 1;
        Some(Position { line: self.number, column: u32::try_from(column).ok()? })
    }

    /// Returns what follows a dash.
    fn behind_dash(&self) -> Option<Self> {
        let text = self.text.strip_prefix("- ")?.trim_start_matches(' ');
        Some(Self { indent: self.indent + (self.text.len() - text.len()), text, ..*self })
    }

    /// Splits the line into a key and what follows its colon.
    fn key(&self) -> Option<(&'t str, &'t str)> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let len = self.text.bytes().position(|byte| !is_word(byte))?;
        let (key, rest) = self.text.split_at(len);
        if !key.starts_with(|c: char| c.is_ascii_alphabetic()) || len > LONGEST_KEY {
            return None;
        }
        let value = rest.strip_prefix(':')?;
        if !(value.is_empty() || value.starts_with(' ')) {
            return None;
        }
        (kind(key)? == Kind::Text).then_some((key, value.trim_start_matches(' ')))
    }
}

struct Reader<'t> {
    /// Behind the current line.
    rest: &'t str,
    number: u32,
    /// The current line that says something.
    line: Option<Line<'t>>,
    nodes: usize,
}

impl<'t> Reader<'t> {
    /// Goes to the next line that is neither blank nor a comment.
    fn advance(&mut self) {
        self.line = None;
        while !self.rest.is_empty() {
            let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
            self.rest = rest;
            self.number = self.number.saturating_add(1);
            let text = line.trim_start_matches(' ');
            if !text.is_empty() && !text.starts_with('#') {
                let indent = line.len() - text.len();
                let text = text.trim_end_matches(' ');
                self.line = Some(Line { number: self.number, indent, text });
                return;
            }
        }
    }

    fn node(&mut self, position: Position, content: Content<'t>) -> Option<Node<'t>> {
        self.nodes += 1;
        (self.nodes <= MAX_NODES).then_some(Node { position, content })
    }

    fn scalar(&mut self, at: Position, text: &'t str, plain: bool, kind: Kind) -> Option<Node<'t>> {
        self.node(at, Content::Scalar(Scalar { text: Cow::Borrowed(text), plain, kind }))
    }

    /// Reads the mapping that starts with the current line, up to a line further left.
    fn map(&mut self, depth: usize) -> Option<Node<'t>> {
        let first = self.line?;
        if depth > MAX_DEPTH {
            return None;
        }
        let mut entries = Vec::new();
        while let Some(line) = self.line.filter(|line| line.indent >= first.indent) {
            if line.indent > first.indent {
                return None;
            }
            let (key, value) = line.key()?;
            let key = self.scalar(line.position(line.text)?, key, true, Kind::Text)?;
            let value = if is_nothing(value) {
                self.advance();
                self.below(first.indent, depth + 1)?
            } else {
                self.inline(line, value)?
            };
            entries.push(Entry { key, value });
        }
        self.node(first.position(first.text)?, Content::Map(entries))
    }

    /// Reads what stands below a key that is at column `indent`.
    fn below(&mut self, indent: usize, depth: usize) -> Option<Node<'t>> {
        let line = self.line?;
        let listed = line.behind_dash().is_some();
        match line.indent {
            _ if listed && line.indent >= indent => self.list(depth, line.indent == indent),
            deeper if deeper > indent => self.map(depth),
            _ => None,
        }
    }

    /// Reads the list whose first dash starts the current line; `flush`: below its key's column.
    fn list(&mut self, depth: usize, flush: bool) -> Option<Node<'t>> {
        let first = self.line?;
        // to saphyr-parser, a list that is not indented starts behind its first dash
        let start = if flush { first.behind_dash()? } else { first };
        if depth > MAX_DEPTH {
            return None;
        }
        let mut items = Vec::new();
        while let Some(line) = self.line.filter(|line| line.indent >= first.indent) {
            if line.indent > first.indent {
                return None;
            }
            // a list may stand as far left as the key that it belongs to
            let Some(item) = line.behind_dash() else { break };
            items.push(if item.key().is_some() {
                self.line = Some(item);
                self.map(depth + 1)?
            } else {
                self.inline(item, item.text)?
            });
        }
        self.node(start.position(start.text)?, Content::List(items))
    }

    /// Reads a value of one line, the end of `line`, and goes to the next.
    fn inline(&mut self, line: Line<'t>, value: &'t str) -> Option<Node<'t>> {
        let (node, rest) = match value.as_bytes().first()? {
            b'[' => self.flow_list(line, value)?,
            b'{' => self.flow_map(line, value)?,
            _ => self.word(line, value, false)?,
        };
        if !is_nothing(rest.trim_start_matches(' ')) || rest.starts_with('#') {
            return None;
        }
        let begins = self.line?.indent;
        self.advance();
        // a line further right would go on with this value
        self.line.is_none_or(|next| next.indent <= begins).then_some(node)
    }

    /// Reads a single value; returns also what follows it.
    fn word(&mut self, line: Line<'t>, text: &'t str, flow: bool) -> Option<(Node<'t>, &'t str)> {
        let position = line.position(text)?;
        let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''));
        if let Some(quote) = quote {
            let (inside, rest) = text[1..].split_once(quote)?;
            // what follows could go on with it, and a backslash says something else
            if inside.contains('\\') || !(rest.is_empty() || rest.starts_with([' ', ',', ']', '}']))
            {
                return None;
            }
            return Some((self.scalar(position, inside, false, Kind::Text)?, rest));
        }
        let len = plain_len(text, flow)?;
        let (text, rest) = text.split_at(len);
        Some((self.scalar(position, text, true, kind(text)?)?, rest))
    }

    /// Reads `[a, b]`, of single values.
    fn flow_list(&mut self, line: Line<'t>, text: &'t str) -> Option<(Node<'t>, &'t str)> {
        let position = line.position(text)?;
        let mut items = Vec::new();
        let rest = flow(text, ']', |text| {
            let (item, rest) = self.word(line, text, true)?;
            items.push(item);
            Some(rest)
        })?;
        Some((self.node(position, Content::List(items))?, rest))
    }

    /// Reads `{a: b, c: d}`, of single values.
    fn flow_map(&mut self, line: Line<'t>, text: &'t str) -> Option<(Node<'t>, &'t str)> {
        let position = line.position(text)?;
        let mut entries = Vec::new();
        let rest = flow(text, '}', |text| {
            let indent = line.indent + (line.text.len() - text.len());
            let (key, value) = Line { indent, text, ..line }.key()?;
            let key = self.scalar(line.position(text)?, key, true, Kind::Text)?;
            let (value, rest) = self.word(line, value, true)?;
            entries.push(Entry { key, value });
            Some(rest)
        })?;
        Some((self.node(position, Content::Map(entries))?, rest))
    }
}

/// Goes through what stands in brackets, by `item`; returns what follows them.
fn flow<'t>(
    text: &'t str,
    closing: char,
    mut item: impl FnMut(&'t str) -> Option<&'t str>,
) -> Option<&'t str> {
    let mut rest = text[1..].trim_start_matches(' ');
    if let Some(rest) = rest.strip_prefix(closing) {
        return Some(rest);
    }
    loop {
        rest = item(rest)?.trim_start_matches(' ');
        if let Some(rest) = rest.strip_prefix(closing) {
            return Some(rest);
        }
        rest = rest.strip_prefix(',')?.trim_start_matches(' ');
    }
}

/// Tells whether nothing stands here, or a comment.
fn is_nothing(text: &str) -> bool {
    text.is_empty() || text.starts_with('#')
}

/// Returns how long the plain scalar is that `text` starts with.
fn plain_len(text: &str, flow: bool) -> Option<usize> {
    let bytes = text.as_bytes();
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"/+=._@-".contains(byte);
    if !bytes.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || b"/+._".contains(byte)) {
        return None;
    }
    let mut len = 0;
    while let Some(byte) = bytes.get(len) {
        let next = bytes.get(len + 1);
        let goes_on = match byte {
            b':' => next.is_some_and(|next| is_word(next) || *next == b':'),
            b' ' => !flow && next.is_some_and(u8::is_ascii_alphanumeric),
            byte => is_word(byte),
        };
        if !goes_on {
            break;
        }
        len += 1;
    }
    match bytes.get(len) {
        None | Some(b' ') => Some(len),
        Some(b',' | b']' | b'}') if flow => Some(len),
        _ => None,
    }
}

/// Says what a plain scalar is; `None` where a number might be meant, or nothing.
fn kind(text: &str) -> Option<Kind> {
    match text {
        "true" => return Some(Kind::Bool(true)),
        "false" => return Some(Kind::Bool(false)),
        _ => {}
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let plain = text == "0" || !text.starts_with('0');
        return text.parse().ok().filter(|_| plain && text.len() <= 18).map(Kind::Int);
    }
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        let meant = ["null", "true", "false"].iter().any(|word| text.eq_ignore_ascii_case(word));
        return (!meant).then_some(Kind::Text);
    }
    // no way of writing a number has any of these
    let never = |byte: u8| {
        b"/:=@ ".contains(&byte)
            || (byte.is_ascii_alphabetic() && !b"abcdefinox".contains(&byte.to_ascii_lowercase()))
    };
    let dots = text.bytes().filter(|byte| *byte == b'.').count();
    (dots > 1 || text.bytes().any(never)).then_some(Kind::Text)
}

#[cfg(test)]
mod tests;
