//! Keys, signatures, X25519, HKDF, ML-KEM and ERROR against `primitives.json`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use stadium_proto::crypto::{
    BadKemKey, DhSecret, HashAlg, KemPublic, KemSecret, hkdf_expand, hkdf_extract_expand, sha256,
    verify_strict,
};
use stadium_proto::identity::{Identity, KeyError, PublicKey, SecretKey};
use stadium_proto::wire::{self, ErrorView};
use support::{array, bytes, flag, load, uint};

fn cases(name: &str) -> Vec<serde_json::Value> {
    let cases = load("primitives")[name].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

#[test]
fn transcript_starts_from_the_name() {
    let name = b"StadiumP/1 IKpsk2+sig X25519 MLKEM768 Ed25519 ChaChaPoly SHA256";
    assert_eq!(sha256(&[name]), array(&load("primitives")["h0"]));
}

#[test]
fn identities() {
    for case in cases("identities") {
        let identity = Identity::new(SecretKey::from_seed(array(&case["seed"])));
        assert_eq!(identity.public().as_bytes(), &array(&case["V"]));
        assert_eq!(identity.public().x25519(), &array(&case["S"]));
        assert_eq!(identity.dh().as_bytes(), &array(&case["S_secret"]));
        assert_eq!(identity.dh().public(), array(&case["S"]));
        let (seed, public) = (case["seed_b64"].as_str().unwrap(), case["V_b64"].as_str().unwrap());
        assert_eq!(&SecretKey::from_base64(seed).unwrap(), identity.secret());
        assert_eq!(identity.secret().to_base64().as_str(), seed);
        assert_eq!(&PublicKey::from_base64(public).unwrap(), identity.public());
        assert_eq!(identity.public().to_string(), public);
        assert_eq!(PublicKey::from_slice(&bytes(&case["V"])).as_ref(), Ok(identity.public()));
    }
}

#[test]
fn refused_keys() {
    for case in cases("refused_keys") {
        let why = case["why"].as_str().unwrap();
        let refused = PublicKey::from_slice(&bytes(&case["V"])).unwrap_err();
        let expected: &[KeyError] = match why {
            "31 bytes" => &[KeyError::Length(31)],
            "identity point" | "order 2" | "order 4" | "order 8" => &[KeyError::SmallOrder],
            // of small order, and here also canonical: the sign bit belongs to x
            "order 4, sign bit" => &[KeyError::SmallOrder, KeyError::NotCanonical],
            "mixed order: good key + order 2" => &[KeyError::MixedOrder],
            _ => &[KeyError::NotCanonical],
        };
        assert!(expected.contains(&refused), "{why}: {refused:?}");
    }
}

#[test]
fn signatures() {
    for case in cases("signatures") {
        let accepted = PublicKey::from_bytes(&array(&case["V"])).is_ok_and(|key| {
            verify_strict(&key, &bytes(&case["message"]), &array(&case["signature"]))
        });
        assert_eq!(accepted, flag(&case["accept"]), "{}", case["why"]);
    }
}

#[test]
fn signing_verifies_and_every_bit_counts() {
    let identity = Identity::new(SecretKey::from_seed([3; 32]));
    let signature = identity.sign(b"message");
    assert!(verify_strict(identity.public(), b"message", &signature));
    assert!(!verify_strict(identity.public(), b"messagf", &signature));
    for bit in 0..512 {
        let mut changed = signature;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!verify_strict(identity.public(), b"message", &changed), "bit {bit}");
    }
}

#[test]
fn low_order_points_agree_on_nothing() {
    let secret = DhSecret::from_bytes(&[0x42; 32]);
    for point in load("primitives")["x25519_low_order"].as_array().unwrap() {
        assert!(secret.agree(&array(point)).is_none(), "{point}");
        let mut high_bit: [u8; 32] = array(point);
        high_bit[31] |= 0x80;
        assert!(secret.agree(&high_bit).is_none(), "{point}");
    }
    assert!(secret.agree(&secret.public()).is_some());
}

#[test]
fn error_datagram() {
    let case = &load("primitives")["error"];
    let datagram = bytes(&case["datagram"]);
    let index_i = uint(&case["index_i"]) as u32;
    let view = ErrorView::parse(&datagram).unwrap();
    assert_eq!(u64::from(view.code()), uint(&case["code"]));
    assert_eq!(u64::from(view.max_version()), uint(&case["max_version"]));
    assert_eq!(view.index_i(), index_i);
    assert_eq!(view.echo(), &array(&case["echo"]));
    assert_eq!(wire::error(view.code(), view.max_version(), index_i, view.echo())[..], datagram);
}

#[test]
fn hkdf() {
    let cases = cases("hkdf");
    assert_eq!(cases.len(), HashAlg::ALL.len());
    for case in cases {
        let alg = HashAlg::from_code(uint(&case["hash"])).unwrap();
        let (salt, ikm, info) = (bytes(&case["salt"]), bytes(&case["ikm"]), bytes(&case["info"]));
        let (first, second) = info.split_at(info.len() / 2);
        let out: [u8; 32] = array(&case["out"]);
        assert_eq!(hkdf_expand(alg, &bytes(&case["prk"]), &[&info]).as_bytes(), &out);
        let [whole, parts, other] =
            hkdf_extract_expand(alg, &salt, &ikm, [&[&info], &[first, second], &[b"other"]]);
        assert_eq!((whole.as_bytes(), parts.as_bytes()), (&out, &out));
        assert_ne!(other, whole);
    }
}

#[test]
fn ml_kem_768() {
    for case in cases("ml_kem_768") {
        let secret = KemSecret::from_seed(array(&case["d_z"]));
        let public = secret.public();
        assert_eq!(public[..], bytes(&case["ek"]));
        let (ciphertext, shared) =
            KemPublic::from_bytes(&public).unwrap().encapsulate(&array(&case["m"]));
        assert_eq!(ciphertext[..], bytes(&case["ct"]));
        assert_eq!(shared.as_bytes(), &array(&case["ss"]));
        assert_eq!(secret.decapsulate(&ciphertext), shared);
        let mut changed = ciphertext;
        changed[0] ^= 1;
        assert_ne!(secret.decapsulate(&changed), shared);
    }
}

#[test]
fn ml_kem_keys_that_are_not_reduced_are_refused() {
    let good = KemSecret::from_seed([5; 64]).public();
    assert!(KemPublic::from_bytes(&good).is_ok());
    // coefficients have 12 bits each, in the first 1,152 bytes; the modulus is 3,329
    for (place, value) in [(0, 3329u16), (0, 4095), (767, 3329), (767, 4095), (400, 3329)] {
        let mut bad = good.clone();
        let at = place / 2 * 3;
        if place % 2 == 0 {
            bad[at] = value as u8;
            bad[at + 1] = bad[at + 1] & 0xf0 | (value >> 8) as u8;
        } else {
            bad[at + 1] = bad[at + 1] & 0x0f | (value << 4) as u8;
            bad[at + 2] = (value >> 4) as u8;
        }
        assert_eq!(KemPublic::from_bytes(&bad).err(), Some(BadKemKey), "{place} {value}");
        // 3,328 is the largest that is reduced
        let mut reduced = bad.clone();
        let value = 3328u16;
        if place % 2 == 0 {
            reduced[at] = value as u8;
            reduced[at + 1] = reduced[at + 1] & 0xf0 | (value >> 8) as u8;
        } else {
            reduced[at + 1] = reduced[at + 1] & 0x0f | (value << 4) as u8;
            reduced[at + 2] = (value >> 4) as u8;
        }
        assert!(KemPublic::from_bytes(&reduced).is_ok());
    }
}
