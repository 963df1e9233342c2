//! The oracle of LBM and of control maps: the part of deterministic CBOR (RFC 8949 §4.2.1) that
//! `protocol.md` uses, read and written in the plainest way.

/// A value of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An unsigned integer.
    Uint(u64),
    /// A byte string.
    Bytes(Vec<u8>),
    /// An array of unsigned integers.
    Array(Vec<u64>),
}

/// How large maps and arrays may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most entries of a map.
    pub entries: u64,
    /// The fewest items of an array.
    pub items_min: u64,
    /// The most items of an array.
    pub items_max: u64,
}

/// Entries of a map in their order.
pub type Entries = Vec<(u64, Item)>;

/// Reads the map at the front of the bytes, and tells how long it is.
///
/// `None` for all that is not deterministic, has other types, or is beyond the limits.
pub fn read_map(bytes: &[u8], limits: Limits) -> Option<(Entries, usize)> {
    let mut at = 0;
    let (MAP, count) = head(bytes, &mut at)? else { return None };
    if count > limits.entries {
        return None;
    }
    let mut entries: Entries = Vec::new();
    for _ in 0..count {
        let (UINT, key) = head(bytes, &mut at)? else { return None };
        if entries.last().is_some_and(|(last, _)| *last >= key) {
            return None;
        }
        let item = match head(bytes, &mut at)? {
            (UINT, value) => Item::Uint(value),
            (BYTES, len) => {
                let end = at.checked_add(usize::try_from(len).ok()?)?;
                let value = bytes.get(at..end)?.to_vec();
                at = end;
                Item::Bytes(value)
            }
            (ARRAY, len) if (limits.items_min..=limits.items_max).contains(&len) => {
                let mut values = Vec::new();
                for _ in 0..len {
                    let (UINT, value) = head(bytes, &mut at)? else { return None };
                    values.push(value);
                }
                Item::Array(values)
            }
            _ => return None,
        };
        entries.push((key, item));
    }
    Some((entries, at))
}

/// Writes a map.
pub fn write_map(entries: &[(u64, Item)]) -> Vec<u8> {
    let mut out = Vec::new();
    write_head(&mut out, MAP, entries.len() as u64);
    for (key, item) in entries {
        write_head(&mut out, UINT, *key);
        match item {
            Item::Uint(value) => write_head(&mut out, UINT, *value),
            Item::Bytes(value) => {
                write_head(&mut out, BYTES, value.len() as u64);
                out.extend(value);
            }
            Item::Array(values) => {
                write_head(&mut out, ARRAY, values.len() as u64);
                values.iter().for_each(|value| write_head(&mut out, UINT, *value));
            }
        }
    }
    out
}

/// Reads a head in its shortest form: major type and argument.
fn head(bytes: &[u8], at: &mut usize) -> Option<(u8, u64)> {
    let first = *bytes.get(*at)?;
    let (major, short) = (first >> 5, first & 0x1f);
    let width = match short {
        0..=23 => 0,
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _ => return None,
    };
    let body = bytes.get(*at + 1..*at + 1 + width)?;
    *at += 1 + width;
    if width == 0 {
        return Some((major, u64::from(short)));
    }
    let argument = body.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let least = [24, 1 << 8, 1 << 16, 1 << 32][width.ilog2() as usize];
    (argument >= least).then_some((major, argument))
}

fn write_head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    match argument {
        0..24 => out.push(major | argument as u8),
        24..0x100 => out.extend([major | 24, argument as u8]),
        0x100..0x1_0000 => {
            out.push(major | 25);
            out.extend((argument as u16).to_be_bytes());
        }
        0x1_0000..0x1_0000_0000 => {
            out.push(major | 26);
            out.extend((argument as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend(argument.to_be_bytes());
        }
    }
}

const UINT: u8 = 0;
const BYTES: u8 = 2;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
