//! All 256 values of cell `0x07`, against the vectors.

use serde_json::Value;
use stadium_proto::noise::NoiseByte;

#[test]
fn all_values() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/noise-byte.json");
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(cases.len(), 256);
    let mut accepted = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let number = |key: &str| u8::try_from(case[key].as_u64().unwrap()).unwrap();
        let value = number("byte");
        assert_eq!(usize::from(value), index);
        let byte = NoiseByte::try_from(value);
        assert_eq!(byte.is_ok(), case["accept"].as_bool().unwrap(), "{value}");
        let Ok(byte) = byte else {
            assert!(case["strength"].is_null());
            continue;
        };
        assert_eq!(byte.value(), value);
        assert_eq!(byte.ratio() as u8, number("ratio"), "{value}");
        assert_eq!(byte.size() as u8, number("size"), "{value}");
        assert_eq!(byte.filler() as u8, number("filler"), "{value}");
        let strength: Vec<u64> =
            case["strength"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        assert_eq!(byte.strength().map(u64::from).to_vec(), strength, "{value}");
        accepted.push((byte, strength));
    }
    assert_eq!(accepted.len(), 63);
    for (a, strength_a) in &accepted {
        for (b, strength_b) in &accepted {
            assert_eq!(a.cmp(b), strength_a.cmp(strength_b));
        }
    }
}
