//! What a plain peer file says of its daemon, without reading the rest for its meaning.

use std::path::PathBuf;

use crate::plain;
use crate::tree::{Content, Kind, Node, Scalar};

/// The two keys of a peer file that say where its daemon is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    /// `interface.name`, as it stands there.
    pub name: Option<String>,
    /// `control.socket`, as it stands there.
    pub socket: Option<PathBuf>,
}

/// Looks through the text of a peer file, whatever errors are elsewhere in it.
///
/// `None` where it is not plain enough to be sure; then a whole YAML parser has to say.
#[must_use]
pub fn glance(text: &str) -> Option<Glance> {
    let root = plain::parse(text)?;
    Some(Glance {
        name: word(&root, "interface", "name")?,
        socket: word(&root, "control", "socket")?.map(PathBuf::from),
    })
}

/// Finds the text at a key of a section: the outer `None` is doubt, the inner one absence.
fn word(root: &Node<'_>, section: &str, key: &str) -> Option<Option<String>> {
    let Some(section) = value(root, section)? else { return Some(None) };
    match value(section, key)?.map(|node| &node.content) {
        None => Some(None),
        Some(Content::Scalar(Scalar { text, kind: Kind::Text, .. })) => {
            Some(Some(text.to_string()))
        }
        Some(_) => None,
    }
}

/// Finds the value of a key that stands in a mapping once, likewise.
fn value<'n, 't>(node: &'n Node<'t>, key: &str) -> Option<Option<&'n Node<'t>>> {
    let Content::Map(entries) = &node.content else { return None };
    let is_key = |node: &Node<'_>| matches!(&node.content, Content::Scalar(s) if s.text == key);
    let mut found = entries.iter().filter(|entry| is_key(&entry.key));
    let first = found.next().map(|entry| &entry.value);
    found.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sure_is_told() {
        let seen = |text: &str| glance(text).map(|seen| (seen.name, seen.socket));
        let text = "interface:\n  name: wan\ncontrol: {socket: \"/run/x.sock\"}\npeers: []\n";
        assert_eq!(seen(text), Some((Some("wan".into()), Some("/run/x.sock".into()))));
        assert_eq!(seen("interface:\n  nam: x\n"), Some((None, None)));
        for doubtful in [
            "interface:\n  name: a\n  name: b\n",
            "interface: a\n",
            "interface:\n  name: 5\n",
            "interface:\n  name: [a]\n",
            "interface: {name: \u{e4}}\n",
            "",
        ] {
            assert_eq!(seen(doubtful), None, "{doubtful}");
        }
    }
}
