//! The mappings of a peer file against the keys that they may have.

use crate::diagnostic::{Diagnostics, Position, quoted};
use crate::suggest::nearest;
use crate::tree::{Content, Entry, Kind, Node};

/// The keys of every mapping, by what messages call the mapping.
pub(crate) const SECTIONS: &[(&str, &[&str])] = &[
    (FILE, FILE_KEYS),
    ("interface", INTERFACE_KEYS),
    ("interface.routes", ROUTES_KEYS),
    ("interface.hooks", HOOKS_KEYS),
    ("interface.handshake_rate", RATE_KEYS),
    ("control", CONTROL_KEYS),
    ("noise", NOISE_KEYS),
    ("noise.minimum", BYTE_KEYS),
    ("noise.accept", BYTE_KEYS),
    ("peers", PEER_KEYS),
];
pub(crate) const FILE: &str = "the file";
pub(crate) const FILE_KEYS: &[&str] =
    &["interface", "control", "noise", "post_quantum", "ciphers", "peers"];
pub(crate) const INTERFACE_KEYS: &[&str] = &[
    "name",
    "private_key",
    "private_key_file",
    "address",
    "listen",
    "mtu",
    "routes",
    "fwmark",
    "kill_switch",
    "lan",
    "dns",
    "hooks",
    "mss_clamp",
    "copy_dscp",
    "allow_open",
    "early_data",
    "stealth",
    "network_key",
    "network_key_file",
    "handshake_rate",
    "workers",
    "offload",
];
pub(crate) const ROUTES_KEYS: &[&str] = &["table"];
pub(crate) const HOOKS_KEYS: &[&str] = &["pre_up", "post_up", "pre_down", "post_down"];
pub(crate) const RATE_KEYS: &[&str] = &["per_second", "burst"];
pub(crate) const CONTROL_KEYS: &[&str] = &["socket", "group", "metrics"];
pub(crate) const NOISE_KEYS: &[&str] =
    &["ratio", "size", "filler", "minimum", "accept", "budget", "engine", "machine_file"];
pub(crate) const BYTE_KEYS: &[&str] = &["ratio", "size", "filler"];
pub(crate) const PEER_KEYS: &[&str] = &[
    "name",
    "public_key",
    "preshared_key",
    "preshared_key_file",
    "endpoint",
    "allowed_ips",
    "heartbeat",
    "handshake",
    "noise",
];

/// A mapping whose keys are known; what is wrong with them has been reported.
pub(crate) struct Section<'n, 't> {
    /// What messages call it, such as `interface.hooks`.
    pub(crate) path: &'static str,
    /// Where it starts.
    pub(crate) position: Position,
    keys: &'static [&'static str],
    found: Vec<Option<&'n Entry<'t>>>,
    /// Known keys that unknown ones were probably meant for.
    misspelt: Vec<&'static str>,
}

impl<'n, 't> Section<'n, 't> {
    /// Opens a mapping; nothing at all stands for an empty one.
    pub(crate) fn open(
        node: &'n Node<'t>,
        path: &'static str,
        keys: &'static [&'static str],
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let mut section = Self {
            path,
            position: node.position,
            keys,
            found: vec![None; keys.len()],
            misspelt: Vec::new(),
        };
        match &node.content {
            Content::Map(entries) => {
                for entry in entries {
                    section.place(entry, diagnostics);
                }
            }
            _ if node.is_null() => {}
            other => {
                diagnostics.error(
                    node.position,
                    format!(
                        "{} must be a mapping, not {}; write `key: value` lines, indented alike \
                         (keys: {})",
                        shown(path),
                        describe(other),
                        keys.join(", ")
                    ),
                );
                return None;
            }
        }
        Some(section)
    }

    /// Puts an entry where its key belongs, or says why it belongs nowhere.
    fn place(&mut self, entry: &'n Entry<'t>, diagnostics: &mut Diagnostics) {
        let position = entry.key.position;
        let Content::Scalar(key) = &entry.key.content else {
            let message = format!(
                "a key must be a word, not {}; write one of: {}",
                describe(&entry.key.content),
                self.keys.join(", ")
            );
            diagnostics.error(position, message);
            return;
        };
        let Some(index) = self.keys.iter().position(|known| *known == key.text) else {
            let (message, meant) = unknown(&key.text, self.path, self.keys);
            self.misspelt.extend(meant);
            diagnostics.error(position, message);
            return;
        };
        match self.found[index] {
            Some(first) => diagnostics.error(
                position,
                format!(
                    "`{}` stands in {} twice (first in line {}); remove one of them",
                    key.text,
                    shown(self.path),
                    first.key.position.line
                ),
            ),
            None => self.found[index] = Some(entry),
        }
    }

    /// Stands for a section that the file does not have.
    pub(crate) fn absent(path: &'static str, keys: &'static [&'static str]) -> Self {
        let found = vec![None; keys.len()];
        Self { path, position: Position::START, keys, found, misspelt: Vec::new() }
    }

    fn entry(&self, key: &str) -> Option<&'n Entry<'t>> {
        let index = self.keys.iter().position(|known| *known == key);
        debug_assert!(index.is_some(), "`{key}` is no key of {}", self.path);
        self.found[index?]
    }

    /// Returns the value of a key.
    pub(crate) fn node(&self, key: &str) -> Option<&'n Node<'t>> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Tells whether a key that is not there is worth a word: not if it seems to be misspelt,
    /// which has been reported.
    pub(crate) fn lacks(&self, key: &str) -> bool {
        self.node(key).is_none() && !self.misspelt.contains(&key)
    }

    /// Returns where a key stands; where the section starts if it does not.
    pub(crate) fn key_position(&self, key: &str) -> Position {
        self.entry(key).map_or(self.position, |entry| entry.key.position)
    }

    /// Reads a value; what `parse` says is wrong with it is reported at its place.
    pub(crate) fn read<T>(
        &self,
        key: &str,
        diagnostics: &mut Diagnostics,
        parse: impl FnOnce(&'n Node<'t>) -> Result<T, String>,
    ) -> Option<T> {
        let node = self.node(key)?;
        if node.is_null() {
            diagnostics.error(
                self.key_position(key),
                format!("`{key}` has no value; write one, or remove the key for its default"),
            );
            return None;
        }
        match parse(node) {
            Ok(value) => Some(value),
            Err(message) => {
                diagnostics.error(node.position, format!("`{key}`: {message}"));
                None
            }
        }
    }

    /// Reads a list; what is wrong with an item is reported at the item.
    ///
    /// Nothing at all stands for an empty list.
    pub(crate) fn list<T>(
        &self,
        key: &str,
        example: &str,
        diagnostics: &mut Diagnostics,
        mut parse: impl FnMut(&'n Node<'t>) -> Result<T, String>,
    ) -> Vec<(T, Position)> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let items = match &node.content {
            Content::List(items) => items,
            _ if node.is_null() => return Vec::new(),
            other => {
                diagnostics.error(
                    node.position,
                    format!(
                        "`{key}` must be a list, not {}; write `{key}: [{example}]`",
                        describe(other)
                    ),
                );
                return Vec::new();
            }
        };
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            match parse(item) {
                Ok(value) => values.push((value, item.position)),
                Err(message) => diagnostics.error(item.position, format!("`{key}`: {message}")),
            }
        }
        values
    }
}

/// Says that a key is unknown, and which one was probably meant, if any was.
fn unknown(key: &str, path: &str, keys: &'static [&'static str]) -> (String, Option<&'static str>) {
    let said = format!("unknown key {} in {}", quoted(key), shown(path));
    let elsewhere =
        SECTIONS.iter().find(|(other, known)| *other != path && known.contains(&key)).map(|s| s.0);
    if let Some(other) = elsewhere {
        return (format!("{said}; it belongs to {}: check the indentation", shown(other)), None);
    }
    match nearest(key, keys.iter().copied()) {
        Some(known) => (format!("{said}; did you mean `{known}`?"), Some(known)),
        None => (format!("{said}; remove it (known here: {})", keys.join(", ")), None),
    }
}

/// Writes what a section is called in a sentence.
fn shown(path: &str) -> String {
    match path {
        FILE => "the file's top level".to_owned(),
        "peers" => "a peer".to_owned(),
        _ => format!("`{path}`"),
    }
}

/// Says in words what a value is.
pub(crate) fn describe(content: &Content<'_>) -> &'static str {
    match content {
        Content::List(_) => "a list",
        Content::Map(_) => "a mapping",
        Content::Scalar(scalar) => match scalar.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "true or false",
            Kind::Int(_) | Kind::Float => "a number",
            Kind::Text => "text",
        },
    }
}
