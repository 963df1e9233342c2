//! A responder that seals what it likes: every cell of a CONSENT wrong in turn.

use std::sync::Arc;

use super::*;
use crate::crypto::{Cipher, HashAlg};
use crate::identity::{Identity, PresharedKey, SecretKey};
use crate::lbm::{AlgorithmList, Cell, ConsentCells, Encoder, Problem, SessionCells, StatusCells};
use crate::time::WallTime;
use crate::wire::{RequestView, VERSION};

fn identity(seed: u8) -> Arc<Identity> {
    Arc::new(Identity::new(SecretKey::from_seed([seed; 32])))
}

fn inputs(index_i: u32) -> InitiatorInputs {
    let now = WallTime(1_790_000_000_000_000_000);
    let target = Target::Encrypted(*identity(2).public());
    InitiatorInputs::hedged(&[4; 32], 1, &identity(1), &target, index_i, now)
}

/// Starts a REQUEST and opens it at the responder.
fn pair(target: Target, post_quantum: PostQuantum) -> (Initiator, OpenedRequest) {
    let params = InitiatorParams {
        identity: identity(1),
        target,
        psk: PresharedKey::NONE,
        network_key: None,
        offer: Offer {
            hashes: AlgorithmList::of_hashes(&[HashAlg::Sha256, HashAlg::Sha512]),
            ciphers: AlgorithmList::of_ciphers(&[Cipher::Aes256Gcm]),
            noise: 0x92,
            payload_limit: 1420,
            features: Features(3),
            lanes: 2,
        },
        post_quantum,
    };
    let args = RequestArgs { filler: Filler::UpTo(1400), ..RequestArgs::default() };
    let (initiator, request) = Initiator::start(params, &inputs(77), &args).unwrap();
    let statics = ResponderStatics::new(identity(2), None);
    let opened = statics.open(&RequestView::parse(&request).unwrap()).unwrap();
    (initiator, opened)
}

fn encrypted() -> Target {
    Target::Encrypted(*identity(2).public())
}

/// The cells of an honest consent.
fn honest() -> SessionCells<'static> {
    SessionCells {
        version: VERSION,
        hash: 1,
        signature_key: None,
        cipher: 2,
        noise: 0x92,
        payload_limit: 1420,
        index_r: 5,
        session_id: 1,
        features: 1,
        lanes: 3,
        ticket: None,
        filler: None,
    }
}

fn sealed(opened: &OpenedRequest, cipher: Cipher, lbm: Vec<u8>) -> Vec<u8> {
    opened.seal(cipher, &[6; 32], None, &PresharedKey::NONE, lbm).unwrap().1
}

fn answer(cells: SessionCells<'_>) -> Result<Answer, Refusal> {
    let (initiator, opened) = pair(encrypted(), PostQuantum::Off);
    let lbm = ConsentCells::Session(cells).encode();
    initiator.open_consent(&sealed(&opened, Cipher::Aes256Gcm, lbm))
}

#[test]
fn an_honest_consent_is_taken() {
    let Ok(Answer::Session(session)) = answer(honest()) else { panic!("it is honest") };
    assert_eq!((session.index_r, session.lanes_i, session.lanes_r), (5, 2, 3));
    assert_eq!(session.features, Features(1));
    assert!(answer(SessionCells { filler: Some(&[1; 9]), ..honest() }).is_ok());
}

#[test]
fn every_wrong_cell_is_refused() {
    let malformed = |cell, problem| Refusal::Malformed(LbmError { cell: Some(cell), problem });
    for (cells, refusal) in [
        (SessionCells { version: 2, ..honest() }, Refusal::Version(2)),
        (SessionCells { hash: 3, ..honest() }, Refusal::NotOffered),
        (SessionCells { hash: 77, ..honest() }, Refusal::NotOffered),
        (SessionCells { cipher: 1, ..honest() }, Refusal::NotOffered),
        (SessionCells { cipher: 77, ..honest() }, Refusal::NotOffered),
        (SessionCells { noise: 0, ..honest() }, Refusal::NoiseChanged),
        (SessionCells { noise: 0x93, ..honest() }, Refusal::NoiseChanged),
        (SessionCells { features: 4, ..honest() }, Refusal::NotOffered),
        (SessionCells { features: 7, ..honest() }, Refusal::NotOffered),
        (SessionCells { ticket: Some(1), ..honest() }, Refusal::NotOffered),
        (
            SessionCells { payload_limit: 1279, ..honest() },
            malformed(Cell::PAYLOAD_LIMIT, Problem::OutOfRange),
        ),
        (SessionCells { index_r: 0, ..honest() }, malformed(Cell::INDEX_R, Problem::OutOfRange)),
        (SessionCells { lanes: 0, ..honest() }, malformed(Cell::LANES, Problem::OutOfRange)),
        (SessionCells { lanes: 65, ..honest() }, malformed(Cell::LANES, Problem::OutOfRange)),
        (
            SessionCells { signature_key: Some(&[1; 32]), ..honest() },
            malformed(Cell::SIGNATURE_KEY, Problem::Forbidden),
        ),
    ] {
        assert_eq!(answer(cells).unwrap_err(), refusal, "{cells:?}");
    }
}

#[test]
fn a_session_under_a_cipher_that_was_not_offered_is_refused() {
    let (initiator, opened) = pair(encrypted(), PostQuantum::Off);
    let lbm = ConsentCells::Session(SessionCells { cipher: 1, ..honest() }).encode();
    let datagram = sealed(&opened, Cipher::ChaCha20Poly1305, lbm);
    assert_eq!(initiator.open_consent(&datagram).unwrap_err(), Refusal::NotOffered);
    // but a status under the cipher that everyone has is taken
    let status = ConsentCells::Status(StatusCells {
        version: 1,
        signature_key: None,
        noise: None,
        status: 8,
    });
    let datagram = sealed(&opened, Cipher::ChaCha20Poly1305, status.encode());
    assert!(matches!(initiator.open_consent(&datagram), Ok(Answer::Refused(_))));
}

#[test]
fn a_status_has_its_own_cells_only() {
    let (initiator, opened) = pair(encrypted(), PostQuantum::Off);
    let status = |cells: &[(Cell, u64)]| {
        let mut lbm = Encoder::new();
        for (cell, value) in cells {
            lbm.uint(*cell, *value);
        }
        initiator.open_consent(&sealed(&opened, Cipher::Aes256Gcm, lbm.finish()))
    };
    let (version, index, code) = ((Cell::VERSION, 1), (Cell::INDEX_R, 0), (Cell::STATUS, 8));
    assert!(status(&[version, index, code]).is_ok());
    assert!(status(&[version, index, (Cell::STATUS, 200)]).is_ok());
    for bad in [
        &[version, (Cell::HASH, 1), index, code][..],
        &[version, (Cell::NOISE, 0), index, code],
        &[version, index, (Cell::SESSION_ID, 1), code],
        &[version, (Cell::INDEX_R, 1), code],
        &[version, index, (Cell::STATUS, 256)],
        &[(Cell::VERSION, 2), index, code],
        &[index, code],
    ] {
        assert!(status(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn what_follows_the_cells_is_a_signature_in_an_open_handshake_only() {
    let (initiator, opened) = pair(encrypted(), PostQuantum::Off);
    let lbm = ConsentCells::Session(honest()).encode();
    let datagram = sealed(&opened, Cipher::Aes256Gcm, [&lbm[..], &[0; 64]].concat());
    assert_eq!(initiator.open_consent(&datagram).unwrap_err(), Refusal::SignatureLength);

    let (initiator, opened) = pair(Target::open(true, None), PostQuantum::Off);
    let open = |key: &[u8; 32], more: &[u8]| {
        let cells = SessionCells { signature_key: Some(key), ..honest() };
        let lbm = ConsentCells::Session(cells).encode();
        initiator.open_consent(&sealed(&opened, Cipher::Aes256Gcm, [&lbm[..], more].concat()))
    };
    let own = *identity(2).public().as_bytes();
    assert!(open(&own, &[]).is_ok());
    assert_eq!(open(&own, &[0]).unwrap_err(), Refusal::SignatureLength);
    // another key than the one that signs
    assert_eq!(open(identity(3).public().as_bytes(), &[]).unwrap_err(), Refusal::BadSignature);
    let mut identity_point = [0; 32];
    identity_point[0] = 1;
    assert_eq!(open(&identity_point, &[]).unwrap_err(), Refusal::BadKey);
}

#[test]
fn a_status_with_a_kem_ciphertext_is_refused() {
    let (initiator, mut opened) = pair(encrypted(), PostQuantum::Offer);
    opened.check_kem_key().unwrap();
    let status = ConsentCells::Status(StatusCells {
        version: 1,
        signature_key: None,
        noise: None,
        status: 8,
    });
    let seal = |message: Option<&[u8; 32]>| {
        let none = &PresharedKey::NONE;
        opened.seal(Cipher::Aes256Gcm, &[6; 32], message, none, status.encode()).unwrap().1
    };
    assert_eq!(initiator.open_consent(&seal(Some(&[1; 32]))).unwrap_err(), Refusal::KemUnasked);
    assert!(initiator.open_consent(&seal(None)).is_ok());
}

#[test]
fn a_kem_ciphertext_that_was_not_asked_for_is_refused() {
    let (initiator, opened) = pair(encrypted(), PostQuantum::Off);
    let datagram = sealed(&opened, Cipher::Aes256Gcm, ConsentCells::Session(honest()).encode());
    let (head, c2) = datagram.split_at(42);
    let mut with = [&head[..40], &[0x40, 0x04], &[7; 1088][..], c2].concat();
    assert_eq!(initiator.open_consent(&with).unwrap_err(), Refusal::KemUnasked);
    with.truncate(42 + 1088);
    assert!(initiator.open_consent(&with).is_err());
}
