//! Edits of a peer file's text that leave comments, order and layout alone.
//!
//! The text is spliced at places that the parser knows, never written anew. Invariant: what an
//! edit returns was parsed again and is the file from before plus or minus exactly one peer; an
//! edit that would be anything else is refused.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use stadium_proto::identity::{PresharedKey, PublicKey};
use zeroize::Zeroizing;

use crate::diagnostic::{Diagnostics, Severity, quoted};
use crate::load::{Environment, parse};
use crate::model::PeerFile;
use crate::outline::{Outline, Peers, Place};
use crate::quantity::format_duration;

/// Describes a peer to be added.
#[derive(Clone, Debug)]
pub struct NewPeer {
    /// What it is called.
    pub name: String,
    /// Its key.
    pub public_key: PublicKey,
    /// The key shared with it, or where that is.
    pub preshared_key: Option<NewPresharedKey>,
    /// Where it is reached, as the peer file writes it.
    pub endpoint: Option<String>,
    /// The inner addresses that are its own.
    pub allowed_ips: Vec<IpNet>,
    /// How often it is pinged.
    pub heartbeat: Option<Duration>,
}

/// Says how a preshared key goes into the file.
#[derive(Clone, Debug)]
pub enum NewPresharedKey {
    /// As text of the file.
    Inline(PresharedKey),
    /// As the path of a file, absolute or relative to the peer file.
    File(PathBuf),
}

/// Says why a text was not edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// The file is invalid as it stands.
    Invalid(Diagnostics),
    /// The file would be invalid afterwards; what would be wrong, a line each.
    Refused(Vec<String>),
    /// No peer has that name or key.
    UnknownPeer(String),
    /// The text is laid out in a way that this edit does not master; what to do by hand.
    Layout(&'static str),
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(diagnostics) => diagnostics.fmt(f),
            Self::Refused(lines) => f.write_str(&lines.join("\n")),
            Self::UnknownPeer(name) => {
                write!(f, "no peer is called {} or has that key", quoted(name))
            }
            Self::Layout(what) => {
                write!(f, "the file is laid out in a way that this does not master; {what}")
            }
        }
    }
}

impl std::error::Error for EditError {}

/// Returns `text`, a peer file that is at `path`, with one peer more at the end of its list.
///
/// # Errors
/// [`EditError`]: the file is invalid, or would be with this peer; nothing is returned then.
pub fn add_peer(
    text: &str,
    path: &Path,
    environment: &Environment,
    peer: &NewPeer,
) -> Result<Zeroizing<String>, EditError> {
    let before = parse(text, path, environment).map_err(EditError::Invalid)?.file;
    let outline = outline(text)?;
    let mut edited = Text::of(text);
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    match &outline.peers {
        Peers::Absent if outline.flow => {
            let list = Zeroizing::new(format!(", \"peers\": [{}]", *flow_entry(peer)));
            edited.replace(outline.end..outline.end, &list);
        }
        Peers::Absent => {
            let mut block = Zeroizing::new(String::with_capacity(ENTRY));
            if !text.is_empty() && !text.ends_with('\n') {
                block.push_str(newline);
            }
            let indent = " ".repeat(outline.column);
            block.push_str(&format!("{indent}peers:{newline}"));
            block.push_str(&block_entry(peer, outline.column + 2, newline));
            edited.replace(text.len()..text.len(), &block);
        }
        Peers::Empty { value, .. } if outline.flow => {
            edited.replace(value.clone(), &Zeroizing::new(format!("[{}]", *flow_entry(peer))));
        }
        Peers::Empty { value, key_end } => {
            let colon = colon_after(text, *key_end)?;
            let line_end = line_end(text, value.end.max(colon));
            let block = block_after(text, line_end, peer, outline.column + 2, newline);
            edited.replace(line_end..line_end, &block);
            // nothing stays between the colon and a comment but spaces
            edited.replace(colon..value.end.max(colon), "");
        }
        Peers::Flow { items } => {
            let end = items.last().map_or(outline.end, |item| item.range.end);
            edited.replace(end..end, &Zeroizing::new(format!(", {}", *flow_entry(peer))));
        }
        Peers::Block { items, .. } => {
            let last = items.last().ok_or(EditError::Layout(BY_HAND))?;
            let (_, column) = dash(text, last)?;
            let end = end_with_comments(text, last, column);
            edited.replace(end..end, &block_after(text, end, peer, column, newline));
        }
    }
    let edited = edited.finish();
    let mut after = parse(&edited, path, environment).map_err(|wrong| refused(&wrong))?.file;
    // the new peer may be the first to bring one
    after.inline_secrets = before.inline_secrets;
    let same = after.peers.len() == before.peers.len() + 1
        && after.peers.last().is_some_and(|added| added.public_key == peer.public_key)
        && without(after, before.peers.len()) == before;
    if same { Ok(edited) } else { Err(EditError::Layout(BY_HAND)) }
}

/// Returns `text`, a peer file that is at `path`, without the peer that is called `peer` or has
/// that public key. Comments beside the peer's keys go with it, those around it stay.
///
/// # Errors
/// [`EditError`]: there is no such peer, or the file is invalid; nothing is returned then.
pub fn remove_peer(
    text: &str,
    path: &Path,
    environment: &Environment,
    peer: &str,
) -> Result<Zeroizing<String>, EditError> {
    let before = parse(text, path, environment).map_err(EditError::Invalid)?.file;
    let is_it = |p: &crate::model::Peer| {
        p.name.as_deref() == Some(peer) || p.public_key.to_base64() == peer
    };
    let index = before
        .peers
        .iter()
        .position(is_it)
        .ok_or_else(|| EditError::UnknownPeer(peer.to_owned()))?;
    let outline = outline(text)?;
    let mut edited = Text::of(text);
    match &outline.peers {
        Peers::Flow { items } => {
            let item = items.get(index).ok_or(EditError::Layout(BY_HAND))?;
            edited.replace(with_comma(text, &item.range, index), "");
        }
        Peers::Block { items, key_end } => {
            let item = items.get(index).ok_or(EditError::Layout(BY_HAND))?;
            let (line_start, column) = dash(text, item)?;
            edited.replace(line_start..end_with_comments(text, item, column), "");
            if items.len() == 1 {
                let colon = colon_after(text, *key_end)?;
                edited.replace(colon..colon, " []");
            }
        }
        Peers::Absent | Peers::Empty { .. } => return Err(EditError::Layout(BY_HAND)),
    }
    let edited = edited.finish();
    let after = parse(&edited, path, environment).map_err(|wrong| refused(&wrong))?.file;
    let mut expected = before;
    expected.peers.remove(index);
    let inline = after.inline_secrets;
    let expected = PeerFile { inline_secrets: inline, ..expected };
    if after == expected { Ok(edited) } else { Err(EditError::Layout(BY_HAND)) }
}

const BY_HAND: &str = "edit the list `peers` by hand, then `stadium reload`";

/// How much room an entry gets at once, so that growing leaves no copy of a secret behind.
const ENTRY: usize = 4096;

fn outline(text: &str) -> Result<Outline, EditError> {
    Outline::of(text).ok_or(EditError::Layout(BY_HAND))
}

/// What would be wrong, without places: the text that they are in is not on disk.
fn refused(wrong: &Diagnostics) -> EditError {
    let errors = wrong.iter().filter(|item| item.severity == Severity::Error);
    EditError::Refused(errors.map(|item| item.message.clone()).collect())
}

fn without(mut file: PeerFile, peers: usize) -> PeerFile {
    file.peers.truncate(peers);
    file
}

/// A text with replacements, applied from the back so that places stay true.
struct Text<'t> {
    text: &'t str,
    changes: Vec<(Range<usize>, Zeroizing<String>)>,
}

impl<'t> Text<'t> {
    fn of(text: &'t str) -> Self {
        Self { text, changes: Vec::new() }
    }

    fn replace(&mut self, range: Range<usize>, with: &str) {
        self.changes.push((range, Zeroizing::new(with.to_owned())));
    }

    fn finish(mut self) -> Zeroizing<String> {
        self.changes.sort_by_key(|(range, _)| (range.start, range.end));
        let grown: usize = self.changes.iter().map(|(_, with)| with.len()).sum();
        let mut whole = Zeroizing::new(String::with_capacity(self.text.len() + grown));
        let mut at = 0;
        for (range, with) in &self.changes {
            whole.push_str(&self.text[at..range.start.max(at)]);
            whole.push_str(with);
            at = range.end.max(at);
        }
        whole.push_str(&self.text[at..]);
        whole
    }
}

/// The place behind the line break after `at`; the end of the text where there is none.
fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |found| at + found + 1)
}

/// Where the line of an entry's dash starts, and the column of the dash.
fn dash(text: &str, item: &Place) -> Result<(usize, usize), EditError> {
    let before = text[..item.range.start].trim_end();
    let before = before.strip_suffix('-').ok_or(EditError::Layout(BY_HAND))?;
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let indent = &before[line_start..];
    if indent.chars().all(|c| c == ' ') {
        Ok((line_start, indent.len()))
    } else {
        Err(EditError::Layout(BY_HAND))
    }
}

/// Where an entry's lines end, comments beneath it that are indented deeper than its dash included.
fn end_with_comments(text: &str, item: &Place, column: usize) -> usize {
    let mut end = line_end(text, item.range.end);
    while let Some(line) = text[end..].lines().next() {
        let trimmed = line.trim_start();
        if !trimmed.starts_with('#') || line.len() - trimmed.len() <= column {
            break;
        }
        end = line_end(text, end);
    }
    end
}

/// The place behind the colon of a key that ends at `at`.
fn colon_after(text: &str, at: usize) -> Result<usize, EditError> {
    let rest = text[at..].trim_start_matches([' ', '\t', '"', '\'']);
    let place = text.len() - rest.len();
    if rest.starts_with(':') { Ok(place + 1) } else { Err(EditError::Layout(BY_HAND)) }
}

/// An item of a flow list with the comma that belongs to it.
fn with_comma(text: &str, item: &Range<usize>, index: usize) -> Range<usize> {
    let after = text[item.end..].trim_start();
    if index == 0 && after.starts_with(',') {
        let rest = after[1..].trim_start_matches([' ', '\t']);
        return item.start..text.len() - rest.len();
    }
    let before = text[..item.start].trim_end();
    match before.strip_suffix(',') {
        Some(before) => before.len()..item.end,
        None => item.clone(),
    }
}

/// An entry's lines for the place `at`, which may be the end of a text without a line break.
fn block_after(
    text: &str,
    at: usize,
    peer: &NewPeer,
    column: usize,
    newline: &str,
) -> Zeroizing<String> {
    let mut block = Zeroizing::new(String::with_capacity(ENTRY));
    if !text[..at].ends_with('\n') {
        block.push_str(newline);
    }
    block.push_str(&block_entry(peer, column, newline));
    block
}

fn block_entry(peer: &NewPeer, column: usize, newline: &str) -> Zeroizing<String> {
    let mut block = Zeroizing::new(String::with_capacity(ENTRY));
    for (number, (key, value)) in fields(peer).iter().enumerate() {
        block.push_str(&" ".repeat(column));
        block.push_str(if number == 0 { "- " } else { "  " });
        block.push_str(key);
        block.push_str(": ");
        block.push_str(value);
        block.push_str(newline);
    }
    block
}

/// The entry as JSON, which a flow mapping of YAML is too.
fn flow_entry(peer: &NewPeer) -> Zeroizing<String> {
    let mut flow = Zeroizing::new(String::with_capacity(ENTRY));
    flow.push('{');
    for (number, (key, value)) in fields(peer).iter().enumerate() {
        if number > 0 {
            flow.push_str(", ");
        }
        flow.push_str(&format!("\"{key}\": "));
        if value.starts_with(['"', '[']) {
            flow.push_str(value);
        } else {
            flow.push('"');
            flow.push_str(value);
            flow.push('"');
        }
    }
    flow.push('}');
    flow
}

/// The keys of an entry with their values as YAML.
fn fields(peer: &NewPeer) -> Vec<(&'static str, Zeroizing<String>)> {
    let mut fields = vec![
        ("name", Zeroizing::new(yaml_text(&peer.name))),
        ("public_key", Zeroizing::new(peer.public_key.to_base64())),
    ];
    match &peer.preshared_key {
        Some(NewPresharedKey::Inline(key)) => fields.push(("preshared_key", key.to_base64())),
        Some(NewPresharedKey::File(path)) => fields
            .push(("preshared_key_file", Zeroizing::new(yaml_text(&path.display().to_string())))),
        None => {}
    }
    if let Some(endpoint) = &peer.endpoint {
        fields.push(("endpoint", Zeroizing::new(yaml_text(endpoint))));
    }
    if !peer.allowed_ips.is_empty() {
        let nets: Vec<_> = peer.allowed_ips.iter().map(|net| format!("\"{net}\"")).collect();
        fields.push(("allowed_ips", Zeroizing::new(format!("[{}]", nets.join(", ")))));
    }
    if let Some(heartbeat) = peer.heartbeat {
        fields.push(("heartbeat", Zeroizing::new(format_duration(heartbeat))));
    }
    fields
}

/// Writes text as a YAML scalar: plain where no parser could take it for anything else.
#[must_use]
pub fn yaml_text(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if plain {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
