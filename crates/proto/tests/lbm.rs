//! The LBM codec against its vectors, and against arbitrary input.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use proptest::prelude::*;
use stadium_proto::lbm::{
    Cell, ConsentCells, Encoder, LbmError, MAX_CELLS, Map, RequestCells, Value, read_version,
};
use support::{bytes, flag, load};

/// The cell as the vectors write it.
fn named(error: LbmError) -> serde_json::Value {
    error.cell.map_or(serde_json::Value::Null, |cell| cell.to_string().into())
}

fn to_json(value: &Value<'_>) -> serde_json::Value {
    match value {
        Value::Uint(value) => (*value).into(),
        Value::Bytes(value) => hex::encode(value).into(),
        Value::Array(items) => items.iter().collect::<Vec<_>>().into(),
    }
}

fn encode(map: &Map<'_>) -> Vec<u8> {
    let mut encoder = Encoder::new();
    for (cell, value) in map.cells() {
        encoder.value(*cell, value);
    }
    encoder.finish()
}

#[test]
fn encodings() {
    let cases = load("lbm");
    let cases = cases.as_array().unwrap();
    assert!(cases.len() > 80);
    for case in cases {
        let why = &case["why"];
        let encoded = bytes(&case["bytes"]);
        match Map::decode(&encoded) {
            Ok(map) => {
                assert!(flag(&case["accept"]), "accepted: {why}");
                let cells: serde_json::Map<_, _> =
                    map.known().map(|(cell, value)| (cell.to_string(), to_json(&value))).collect();
                assert_eq!(serde_json::Value::Object(cells), case["cells"], "{why}");
                assert_eq!(encode(&map), encoded, "{why}");
            }
            Err(error) => {
                assert!(!flag(&case["accept"]), "refused: {why}: {error}");
                assert_eq!(named(error), case["cell"], "{why}: {error}");
            }
        }
    }
}

#[test]
fn messages() {
    let cases = load("cells");
    let cases = cases.as_array().unwrap();
    assert!(cases.len() > 80);
    for case in cases {
        let why = &case["why"];
        let encoded = bytes(&case["bytes"]);
        let encrypted = flag(&case["encrypted"]);
        let message = case["message"].as_str().unwrap();
        let judged = match message {
            "request" => RequestCells::decode(encrypted, &encoded).map(|cells| {
                if why == "the least" {
                    assert_eq!(cells.encode(encrypted), encoded);
                }
            }),
            _ => ConsentCells::decode(encrypted, &encoded).map(|cells| {
                let status = matches!(cells, ConsentCells::Status(_));
                assert_eq!(status, message == "status", "{why}");
                if why != "optional" || matches!(cells, ConsentCells::Session(_)) {
                    assert_eq!(cells.encode(), encoded, "{why}");
                }
            }),
        };
        assert_eq!(judged.is_ok(), flag(&case["accept"]), "{why}: {judged:?} {case}");
        if let Err(error) = judged {
            assert_eq!(named(error), case["cell"], "{why} {case}");
        }
    }
}

#[test]
fn version_is_read_before_what_follows() {
    // version 2, then an unknown critical cell; version 2, then nothing although two are claimed
    assert_eq!(read_version(&[0xa2, 1, 2, 0x12, 0]), Ok(2));
    assert_eq!(read_version(&[0xa2, 1, 2]), Ok(2));
    assert_eq!(read_version(&[0xa1, 1, 0x18, 0x7f]), Ok(127));
    for bad in [
        &[][..],
        &[0xa0],
        &[0x80],
        &[0xa1],
        &[0xa1, 1],
        &[0xa1, 2, 1],
        &[0xa1, 1, 0x18, 0x80],
        &[0xa1, 1, 0x18, 1],
        &[0xa1, 1, 0x41, 1],
        &[0xb8, 1, 1, 1],
        &[0xb8, 33, 1, 1],
    ] {
        assert!(read_version(bad).is_err(), "{bad:02x?}");
    }
}

#[test]
fn every_prefix_of_a_message_is_refused() {
    let cases = load("cells");
    for case in cases.as_array().unwrap().iter().filter(|case| flag(&case["accept"])) {
        let encoded = bytes(&case["bytes"]);
        for len in 0..encoded.len() {
            assert!(Map::decode(&encoded[..len]).is_err(), "{} of {case}", len);
        }
    }
}

#[test]
fn debug_shows_no_values() {
    let mut lbm = Encoder::new();
    lbm.bytes(Cell::CONNECTION_KEY, &[0x5a; 32]);
    let shown = format!("{lbm:?}");
    let encoded = lbm.finish();
    let map = format!("{:?}", Map::decode(&encoded).unwrap());
    assert_eq!(map, "{0x6}");
    assert!(!shown.contains("5a") && !shown.contains("90"), "{shown}");
}

#[derive(Clone, Debug)]
enum Owned {
    Uint(u64),
    Bytes(Vec<u8>),
    Array(Vec<u64>),
}

/// Integers of every length.
fn any_uint() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0u32..64).prop_map(|(value, shift)| value >> shift)
}

fn any_value() -> impl Strategy<Value = Owned> {
    prop_oneof![
        any_uint().prop_map(Owned::Uint),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(Owned::Bytes),
        proptest::collection::vec(any_uint(), 1..=16).prop_map(Owned::Array),
    ]
}

fn any_cell() -> impl Strategy<Value = u64> {
    prop_oneof![1u64..=0x11, 0x40u64..0x80, any_uint().prop_map(|key| key.max(0x40))]
}

/// Bytes that are often nearly a map.
fn nearly_cbor() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        (0u8..24).prop_map(|byte| vec![byte]),
        any::<u8>().prop_map(|byte| vec![0x18, byte]),
        any::<u16>().prop_map(|word| [&[0x19][..], &word.to_be_bytes()].concat()),
        (0u8..4).prop_map(|len| [&[0x40 | len][..], &vec![7; usize::from(len)]].concat()),
        (0u8..4).prop_map(|len| [&[0x80 | len][..], &vec![1; usize::from(len)]].concat()),
        any::<u8>().prop_map(|byte| vec![byte]),
    ];
    (0u8..6, proptest::collection::vec(token, 0..14))
        .prop_map(|(count, tokens)| [&[0xa0 | count][..], &tokens.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn decoding_gives_back_what_was_encoded(
        cells in proptest::collection::btree_map(any_cell(), any_value(), 0..=MAX_CELLS)
    ) {
        let mut encoder = Encoder::new();
        for (key, value) in &cells {
            match value {
                Owned::Uint(value) => encoder.uint(Cell(*key), *value),
                Owned::Bytes(value) => encoder.bytes(Cell(*key), value),
                Owned::Array(values) => encoder.array(Cell(*key), values),
            };
        }
        let encoded = encoder.finish();
        let map = Map::decode(&encoded).unwrap();
        prop_assert_eq!(map.cells().len(), cells.len());
        for (key, value) in &cells {
            let same = match (map.value(Cell(*key)), value) {
                (Some(Value::Uint(got)), Owned::Uint(value)) => got == *value,
                (Some(Value::Bytes(got)), Owned::Bytes(value)) => got == value,
                (Some(Value::Array(got)), Owned::Array(values)) => {
                    got.len() == values.len() && got.iter().eq(values.iter().copied())
                }
                _ => false,
            };
            prop_assert!(same, "cell {:#x}", key);
        }
    }

    #[test]
    fn only_the_canonical_form_decodes(input in prop_oneof![
        nearly_cbor(),
        proptest::collection::vec(any::<u8>(), 0..200),
    ]) {
        let _ = read_version(&input);
        if let Ok((map, len)) = Map::decode_prefix(&input) {
            prop_assert_eq!(&encode(&map)[..], &input[..len]);
            prop_assert_eq!(Map::decode(&input).is_ok(), len == input.len());
            for encrypted in [false, true] {
                let _ = RequestCells::from_map(encrypted, &map);
                let _ = ConsentCells::from_map(encrypted, &map);
            }
        }
    }

    #[test]
    fn a_changed_message_never_panics(
        case in 0usize..90, at in any::<prop::sample::Index>(), to in any::<u8>()
    ) {
        let cases = load("cells");
        let cases = cases.as_array().unwrap();
        let mut encoded = bytes(&cases[case % cases.len()]["bytes"]);
        let at = at.index(encoded.len());
        encoded[at] = to;
        for encrypted in [false, true] {
            if RequestCells::decode(encrypted, &encoded).is_ok()
                || ConsentCells::decode(encrypted, &encoded).is_ok()
            {
                prop_assert_eq!(encode(&Map::decode(&encoded).unwrap()), encoded.clone());
            }
        }
    }
}
