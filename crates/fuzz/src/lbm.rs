//! LBM (`protocol.md` §3): what decodes is exactly what the oracle takes, and encodes to the same
//! bytes; typed cells survive a round trip.

use stadium_proto::lbm::{ConsentCells, Encoder, Map, RequestCells, Value, read_version};

use crate::cbor::{self, Item, Limits};

/// The limits of LBM.
pub const LIMITS: Limits = Limits { entries: 32, items_min: 1, items_max: 16 };

/// Checks one input.
///
/// # Panics
///
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let want = oracle(data);
    match (Map::decode_prefix(data), &want) {
        (Ok((map, len)), Some((entries, want_len))) => {
            assert_eq!((len, map.cells().len()), (*want_len, entries.len()));
            let mut again = Encoder::new();
            for ((cell, value), (key, item)) in map.cells().iter().zip(entries) {
                assert_eq!(cell.0, *key);
                assert_eq!(map.value(*cell), Some(*value));
                assert!(same(value, item), "{cell}: {value:?} is not {item:?}");
                again.value(*cell, value);
            }
            assert_eq!(again.finish(), &data[..len], "another encoding decodes");
            assert_eq!(cbor::write_map(entries), &data[..len]);
        }
        (Err(_), None) => {}
        (got, _) => panic!("decoded {got:?}, the oracle says {want:?}"),
    }
    let whole = want.filter(|(_, len)| *len == data.len());
    assert_eq!(Map::decode(data).is_ok(), whole.is_some());
    for encrypted in [false, true] {
        round_trips(encrypted, data);
    }
}

/// Reads the map at the front as LBM allows it: unknown cells below `0x40` are refused.
pub fn oracle(bytes: &[u8]) -> Option<(cbor::Entries, usize)> {
    cbor::read_map(bytes, LIMITS)
        .filter(|(entries, _)| entries.iter().all(|(key, _)| matches!(key, 0x01..=0x11 | 0x40..)))
}

fn same(value: &Value<'_>, item: &Item) -> bool {
    match (value, item) {
        (Value::Uint(value), Item::Uint(item)) => value == item,
        (Value::Bytes(value), Item::Bytes(item)) => value == item,
        (Value::Array(values), Item::Array(items)) => {
            values.len() == items.len() && values.iter().eq(items.iter().copied())
        }
        _ => false,
    }
}

/// Checks that cells which were taken mean the same after being written, and that the writer is
/// canonical.
fn round_trips(encrypted: bool, data: &[u8]) {
    if let Ok(cells) = RequestCells::decode(encrypted, data) {
        assert_eq!(read_version(data), Ok(cells.version));
        let text = cells.encode(encrypted);
        assert_eq!(RequestCells::decode(encrypted, &text), Ok(cells));
        let (entries, _) = oracle(&text).expect("what is written is LBM");
        assert_eq!(cbor::write_map(&entries), text);
        request_keeps_the_table(encrypted, data);
    }
    if let Ok(cells) = ConsentCells::decode(encrypted, data) {
        assert_eq!(read_version(data), Ok(cells.version()));
        let text = cells.encode();
        assert_eq!(ConsentCells::decode(encrypted, &text), Ok(cells));
        // no message is both
        assert!(RequestCells::decode(encrypted, data).is_err());
    }
}

/// Checks the table's rows of a REQUEST on the map as the oracle reads it.
fn request_keeps_the_table(encrypted: bool, data: &[u8]) {
    let (entries, _) = oracle(data).expect("it decoded");
    let has = |cell: u64| entries.iter().any(|(key, _)| *key == cell);
    assert!([0x01, 0x08, 0x0a].iter().all(|cell| has(*cell)), "a cell is missing");
    assert!(![0x0c, 0x0d, 0x11].iter().any(|cell| has(*cell)), "a cell is forbidden");
    if encrypted {
        assert!((0x02..=0x06).all(has), "a cell of an encrypted request is missing");
    } else {
        assert!(!has(0x06) && !has(0x10), "a cell is forbidden in an open request");
        assert!(!has(0x03) || has(0x04), "an algorithm without a key");
    }
    assert!(!(has(0x09) && has(0x10)), "a ticket together with a challenge");
}
