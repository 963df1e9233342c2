//! Cells as bytes, so that every one can be wrong in every way.

/// A list of cells: key, and the encoded value.
#[derive(Clone, Debug)]
pub(crate) struct Cells(pub(crate) Vec<(u64, Vec<u8>)>);

impl Cells {
    /// Sets a cell, in its place by key.
    pub(crate) fn with(mut self, key: u64, value: Vec<u8>) -> Self {
        self.0.retain(|(each, _)| *each != key);
        let at = self.0.partition_point(|(each, _)| *each < key);
        self.0.insert(at, (key, value));
        self
    }

    /// Takes a cell out.
    pub(crate) fn without(mut self, key: u64) -> Self {
        self.0.retain(|(each, _)| *each != key);
        self
    }

    /// Adds a cell at the end, whatever its key.
    pub(crate) fn then(mut self, key: u64, value: Vec<u8>) -> Self {
        self.0.push((key, value));
        self
    }

    /// Encodes the map as it is.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = head(5, self.0.len() as u64);
        for (key, value) in &self.0 {
            out.extend(uint(*key));
            out.extend(value);
        }
        out
    }
}

/// A CBOR head in its shortest form.
fn head(major: u8, argument: u64) -> Vec<u8> {
    let major = major << 5;
    match argument {
        0..=23 => vec![major | argument as u8],
        24..=0xff => vec![major | 24, argument as u8],
        0x100..=0xffff => [&[major | 25][..], &(argument as u16).to_be_bytes()].concat(),
        0x1_0000..=0xffff_ffff => [&[major | 26][..], &(argument as u32).to_be_bytes()].concat(),
        _ => [&[major | 27][..], &argument.to_be_bytes()].concat(),
    }
}

pub(crate) fn uint(value: u64) -> Vec<u8> {
    head(0, value)
}

pub(crate) fn bytes(value: &[u8]) -> Vec<u8> {
    [&head(2, value.len() as u64)[..], value].concat()
}

pub(crate) fn array(values: &[u64]) -> Vec<u8> {
    let items: Vec<u8> = values.iter().flat_map(|value| uint(*value)).collect();
    [head(4, values.len() as u64), items].concat()
}

/// Values that no LBM holds, whatever the cell: what CBOR has besides, and longer forms of what
/// LBM has.
pub(crate) fn foreign_values() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("an integer in one byte too many", vec![0x18, 0x01]),
        ("an integer in two bytes too many", vec![0x19, 0x00, 0x01]),
        ("an integer in four bytes too many", vec![0x1a, 0, 0, 0, 1]),
        ("an integer in eight bytes too many", vec![0x1b, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("a length in one byte too many", vec![0x58, 0x01, 0xaa]),
        ("an indefinite byte string", vec![0x5f, 0x41, 0xaa, 0xff]),
        ("an indefinite array", vec![0x9f, 0x01, 0xff]),
        ("an empty array", vec![0x80]),
        ("an array of 17 integers", array(&[1; 17])),
        ("an array with a length in one byte too many", vec![0x98, 0x01, 0x01]),
        ("an array with an integer in one byte too many", vec![0x81, 0x18, 0x01]),
        ("an array of byte strings", vec![0x81, 0x41, 0xaa]),
        ("an array in an array", vec![0x81, 0x81, 0x01]),
        ("a map", vec![0xa1, 0x01, 0x01]),
        ("a negative integer", vec![0x20]),
        ("a text", vec![0x61, 0x61]),
        ("a tagged integer", vec![0xc1, 0x01]),
        ("false", vec![0xf4]),
        ("null", vec![0xf6]),
        ("a half float", vec![0xf9, 0x3c, 0x00]),
        ("a break", vec![0xff]),
        ("a reserved head", vec![0x1c]),
        ("a byte string that claims 2^63 bytes", vec![0x5b, 0x80, 0, 0, 0, 0, 0, 0, 0]),
    ]
}

/// Maps that are none, made of a good one.
pub(crate) fn broken_maps(good: &Cells) -> Vec<(&'static str, Vec<u8>)> {
    let map = good.encode();
    let count = good.0.len() as u8;
    assert!(count < 20, "the head of the map is one byte");
    let headed = |head: &[u8]| [head, &map[1..]].concat();
    let (key, value) = good.0.last().unwrap().clone();
    vec![
        ("nothing", vec![]),
        ("an empty map", vec![0xa0]),
        ("an array for a map", headed(&[0x80 | count])),
        ("a map with a longer head than needed", headed(&[0xb8, count])),
        ("an indefinite map", [&headed(&[0xbf])[..], &[0xff]].concat()),
        ("a map that claims a cell more", headed(&[0xa0 | (count + 1)])),
        ("a map that claims 2^32 cells", headed(&[0xba, 0xff, 0xff, 0xff, 0xff])),
        ("a map cut short", map[..map.len() - 1].to_vec()),
        ("a cell twice", good.clone().then(key, value).encode()),
        ("cells out of order", {
            let mut cells = good.clone();
            let last = cells.0.len() - 1;
            cells.0.swap(last, last - 1);
            cells.encode()
        }),
        ("33 cells", {
            let mut cells = good.clone();
            for key in 0x80..0x80 + 33 - u64::from(count) {
                cells = cells.then(key, uint(0));
            }
            cells.encode()
        }),
        ("a key in one byte too many", {
            let mut bytes = map.clone();
            bytes.splice(1..2, [0x18, 0x01]);
            bytes
        }),
        ("a key that is a text", {
            let mut bytes = map.clone();
            bytes.splice(1..2, [0x61, 0x61]);
            bytes
        }),
        ("a negative key", {
            let mut bytes = map;
            bytes[1] = 0x20;
            bytes
        }),
    ]
}
