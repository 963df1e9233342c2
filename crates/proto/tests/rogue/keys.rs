//! Public keys that no node has.

use curve25519_dalek::{
    constants::EIGHT_TORSION,
    edwards::{CompressedEdwardsY, EdwardsPoint},
};

/// Encodings that are no public key, and why.
pub(crate) fn bad_points(good: &[u8; 32]) -> Vec<(String, [u8; 32])> {
    let mut all = Vec::new();
    for (n, point) in EIGHT_TORSION.iter().enumerate() {
        all.push((format!("the point of small order {n}"), point.compress().to_bytes()));
    }
    let point = CompressedEdwardsY(*good).decompress().unwrap();
    for n in [1, 2, 4] {
        let mixed: EdwardsPoint = point + EIGHT_TORSION[n];
        all.push((format!("a key and the point of small order {n}"), mixed.compress().to_bytes()));
    }
    // p + 1 stands for y = 1, p for y = 0
    let mut p = [0xff; 32];
    (p[0], p[31]) = (0xed, 0x7f);
    all.push(("an encoding of 0 that is not canonical".into(), p));
    p[0] = 0xee;
    all.push(("an encoding of 1 that is not canonical".into(), p));
    all.push(("a y without an x".into(), off_curve()));
    let mut negative_zero = [0; 32];
    (negative_zero[0], negative_zero[31]) = (1, 0x80);
    all.push(("x = 0 with its sign set".into(), negative_zero));
    all
}

fn off_curve() -> [u8; 32] {
    (2_u8..)
        .map(|y| {
            let mut bytes = [0; 32];
            bytes[0] = y;
            bytes
        })
        .find(|bytes| CompressedEdwardsY(*bytes).decompress().is_none())
        .unwrap()
}

/// The points of the Montgomery curve and its twist whose Diffie-Hellman result is all zeros.
pub(crate) fn weak_x25519() -> Vec<[u8; 32]> {
    let of = |low: u8| {
        let mut bytes = [0; 32];
        bytes[0] = low;
        bytes
    };
    let near_p = |low: u8| {
        let mut bytes = [0xff; 32];
        (bytes[0], bytes[31]) = (low, 0x7f);
        bytes
    };
    let eight: [u8; 32] = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ];
    let other_eight: [u8; 32] = [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ];
    vec![of(0), of(1), eight, other_eight, near_p(0xec), near_p(0xed), near_p(0xee)]
}
