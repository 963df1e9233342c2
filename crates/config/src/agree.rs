//! The values of a peer file, by serde_yaml, laid over the tree that knows the places.
//!
//! serde_yaml (libyaml underneath) and saphyr-parser read the same text independently. This
//! module drives serde_yaml along the tree: what serde_yaml says a plain scalar is, the tree
//! takes over; where the two read different structures or different text, the file is refused,
//! because what a person or another tool would read there is anybody's guess.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::diagnostic::Position;
use crate::tree::{Content, Kind, Node, Scalar};

/// Where the parsers disagree, or where serde_yaml refuses what saphyr-parser takes.
#[derive(Debug)]
pub(crate) struct Disagreement {
    pub(crate) position: Position,
    /// What serde_yaml says where it cannot read the text at all.
    pub(crate) syntax: Option<String>,
}

/// Sets the kind of every scalar of `root`, as serde_yaml reads `text`.
pub(crate) fn resolve(text: &str, root: &mut Node<'_>) -> Result<(), Disagreement> {
    let mut differs = None;
    let seed = Reader { node: root, differs: &mut differs };
    let Err(error) = seed.deserialize(serde_yaml::Deserializer::from_str(text)) else {
        return Ok(());
    };
    if let Some(position) = differs {
        return Err(Disagreement { position, syntax: None });
    }
    let position = error.location().map_or(Position::START, |at| {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).max(1);
        Position { line: number(at.line()), column: number(at.column()) }
    });
    Err(Disagreement { position, syntax: Some(error.to_string()) })
}

/// Reads what belongs to one node.
struct Reader<'n, 't, 'd> {
    node: &'n mut Node<'t>,
    differs: &'d mut Option<Position>,
}

impl<'t> Reader<'_, 't, '_> {
    fn differ<E: serde::de::Error>(self) -> E {
        self.differs.get_or_insert(self.node.position);
        E::custom("the YAML parsers disagree")
    }

    fn scalar(&mut self) -> Option<&mut Scalar<'t>> {
        match &mut self.node.content {
            Content::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// Takes over a value that only a plain scalar can have.
    fn plain<E: serde::de::Error>(mut self, kind: Kind) -> Result<(), E> {
        match self.scalar() {
            Some(scalar) if scalar.plain && says(&scalar.text, kind) => {
                scalar.kind = kind;
                Ok(())
            }
            _ => Err(self.differ()),
        }
    }
}

/// Tells whether the text that one parser read is what the other one typed.
fn says(text: &str, kind: Kind) -> bool {
    match kind {
        Kind::Null => matches!(text, "" | "~" | "null" | "Null" | "NULL"),
        Kind::Bool(value) => text.eq_ignore_ascii_case(if value { "true" } else { "false" }),
        Kind::Int(value) => {
            let (negative, digits) = match text.strip_prefix('-') {
                Some(digits) => (true, digits),
                None => (false, text.strip_prefix('+').unwrap_or(text)),
            };
            let (digits, radix) = match digits.get(..2) {
                Some("0x") => (&digits[2..], 16),
                Some("0o") => (&digits[2..], 8),
                Some("0b") => (&digits[2..], 2),
                _ => (digits, 10),
            };
            i128::from_str_radix(digits, radix)
                .is_ok_and(|n| value == if negative { -n } else { n })
        }
        // no key takes one: it is enough that there is something that begins as a number does
        Kind::Float => text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)),
        Kind::Text => true,
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML without tags")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.plain(Kind::Null)
    }

    /// An empty document.
    fn visit_none<E: serde::de::Error>(self) -> Result<(), E> {
        self.plain(Kind::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.plain(Kind::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.plain(Kind::Int(value.into()))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.plain(Kind::Int(value.into()))
    }

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<(), E> {
        self.plain(Kind::Int(value))
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<(), E> {
        self.plain(i128::try_from(value).map_or(Kind::Float, Kind::Int))
    }

    fn visit_f64<E: serde::de::Error>(self, _value: f64) -> Result<(), E> {
        self.plain(Kind::Float)
    }

    fn visit_str<E: serde::de::Error>(mut self, value: &str) -> Result<(), E> {
        match self.scalar() {
            Some(scalar) if scalar.text == value => Ok(()),
            _ => Err(self.differ()),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let position = self.node.position;
        let Content::List(items) = &mut self.node.content else { return Err(self.differ()) };
        let mut items = items.iter_mut();
        loop {
            let Some(node) = items.next() else {
                return match seq.next_element::<serde::de::IgnoredAny>()? {
                    None => Ok(()),
                    Some(_) => Err(disagree(self.differs, position)),
                };
            };
            let place = node.position;
            if seq.next_element_seed(Reader { node, differs: self.differs })?.is_none() {
                return Err(disagree(self.differs, place));
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let position = self.node.position;
        let Content::Map(entries) = &mut self.node.content else { return Err(self.differ()) };
        let mut entries = entries.iter_mut();
        loop {
            let Some(entry) = entries.next() else {
                return match map.next_key::<serde::de::IgnoredAny>()? {
                    None => Ok(()),
                    Some(_) => Err(disagree(self.differs, position)),
                };
            };
            let place = entry.key.position;
            let key = Reader { node: &mut entry.key, differs: self.differs };
            if map.next_key_seed(key)?.is_none() {
                return Err(disagree(self.differs, place));
            }
            map.next_value_seed(Reader { node: &mut entry.value, differs: self.differs })?;
        }
    }
}

fn disagree<E: serde::de::Error>(differs: &mut Option<Position>, position: Position) -> E {
    differs.get_or_insert(position);
    E::custom("the YAML parsers disagree")
}
