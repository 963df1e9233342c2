//! REQUEST (`protocol.md` §2 to §5): a view re-assembles to the same bytes, nothing forged opens, and
//! whatever a stranger seals correctly opens exactly if the table of cells allows it.

use std::sync::{Arc, LazyLock};

use stadium_proto::{
    crypto::{Cipher, HashAlg},
    handshake::{
        AnswerError, Kind, MacKey, OpenFailure, OpenedRequest, Refusal, ResponderInputs,
        ResponderStatics, StatusCode,
    },
    identity::PresharedKey,
    lbm::{Map, RequestCells, read_version},
    wire::{ConsentView, MAX_REQUEST_LEN, RequestView, request_header},
};

use crate::{
    input::Input,
    rogue::{self, INDEX_I, Signing, VARIANTS},
};

/// Checks one input: a choice, then a datagram or cells.
///
/// # Panics
///
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    if choice & 1 == 0 {
        return raw(input.rest());
    }
    let flag = if choice & 2 == 0 { 0x7a } else { rogue::OPEN };
    let signing = Signing::ALL[usize::from(choice >> 2 & 3)];
    sealed(flag, signing, choice >> 4, input.rest());
}

fn raw(datagram: &[u8]) {
    let Ok(view) = RequestView::parse(datagram) else { return };
    assert!(datagram.starts_with(b"StadiumP") && datagram.len() <= MAX_REQUEST_LEN);
    let header = request_header(view.flag(), view.index_i(), view.ephemeral());
    assert_eq!([&header, view.c1(), view.mac()].concat(), datagram);
    assert_eq!([view.before_mac(), view.mac()].concat(), datagram);
    // the corpus has good ones, as a stranger who listens has
    let heard = |part: fn(&RequestView<'_>) -> Vec<u8>| {
        VARIANTS.iter().any(|variant| {
            let request = &rogue::scenario(*variant).request;
            part(&RequestView::parse(request).expect("a started REQUEST is one")) == part(&view)
        })
    };
    if statics().mac_key(&view).verify(&view, None) {
        assert!(heard(|view| view.bytes().to_vec()), "a forged mac verifies");
    }
    match statics().open(&view) {
        Ok(opened) => {
            let forged =
                opened.kind() != Kind::Anonymous && !heard(|view| view.before_mac().to_vec());
            assert!(!forged, "a forged request opens");
        }
        Err(OpenFailure::Error(code)) => {
            assert!(view.is_encrypted() && code == StatusCode::CANNOT_DECRYPT);
        }
        Err(OpenFailure::Silent(_)) => {}
    }
}

fn sealed(flag: u8, signing: Signing, answer: u8, lbm: &[u8]) {
    let (datagram, text) = rogue::request(flag, lbm, signing);
    let Ok(view) = RequestView::parse(&datagram) else {
        assert!(text.is_empty() || datagram.len() > MAX_REQUEST_LEN);
        return;
    };
    let encrypted = flag == 0x7a;
    assert_eq!((view.is_encrypted(), view.index_i()), (encrypted, INDEX_I));
    assert!(statics().mac_key(&view).verify(&view, None));
    let other = MacKey::new(Some(rogue::initiator().public()), None);
    assert!(!other.verify(&view, None), "a mac for another node verifies");

    // the cells as they would be read from the text, which may begin with other cells than meant
    let prefix = Map::decode_prefix(&text).ok();
    let cells = prefix
        .as_ref()
        .and_then(|(map, _)| RequestCells::from_map(encrypted, map).ok())
        .filter(|cells| cells.version == 1);
    let rest = prefix.as_ref().map_or(&[][..], |(_, len)| &text[*len..]);
    let wanted = cells.is_some_and(|cells| match cells.signature_key {
        None => rest.is_empty(),
        Some(key) => {
            let whole = text.len() - rest.len() == lbm.len();
            key == rogue::initiator().public().as_bytes() && whole && signing == Signing::Right
        }
    });
    match statics().open(&view) {
        Ok(opened) => {
            assert!(wanted, "it opens and should not");
            let cells = cells.expect("wanted");
            let offered = opened.offered();
            assert_eq!(opened.index_i(), INDEX_I);
            assert_eq!(opened.ephemeral(), view.ephemeral());
            assert_eq!(opened.remote().map(|key| key.as_bytes()), cells.signature_key);
            assert_eq!(offered.hashes.as_slice(), cells.hashes.as_slice());
            assert_eq!(offered.ciphers.as_slice(), cells.ciphers.as_slice());
            assert_eq!((offered.noise, offered.lanes), (cells.noise, cells.lanes));
            assert_eq!(offered.timestamp, cells.timestamp);
            assert_eq!(offered.challenge.as_ref(), cells.challenge);
            assert_eq!(offered.payload_limit, cells.payload_limit);
            assert_eq!(offered.features.0, cells.features);
            assert_eq!((offered.ticket, offered.hybrid), (cells.ticket, cells.kem_key.is_some()));
            answers(opened, datagram.len(), answer);
        }
        Err(failure) => {
            assert!(!wanted, "it should open: {failure:?}");
            let other_version = read_version(&text).is_ok_and(|version| version != 1);
            let error = OpenFailure::Error(StatusCode::UNSUPPORTED_VERSION);
            assert_eq!(failure == error, other_version && encrypted);
            assert_ne!(failure, OpenFailure::Error(StatusCode::CANNOT_DECRYPT));
            assert_ne!(failure, OpenFailure::Silent(Refusal::BadTag));
        }
    }
}

/// Answers a request: nothing is longer than it, and nothing is granted that was not offered.
fn answers(opened: OpenedRequest, request_len: usize, answer: u8) {
    let inputs = ResponderInputs { index_r: 9, ephemeral: [7; 32], kem_message: [8; 32] };
    let offered = *opened.offered();
    let (kind, hybrid) = (opened.kind(), offered.hybrid);
    let (datagram, needed) = if answer & 1 == 0 {
        let mut grant = rogue::grant();
        let hash = offered.hashes.choose_hash(&[HashAlg::Sha512, HashAlg::Blake2s256]);
        let cipher = offered.ciphers.choose_cipher(&[Cipher::Aes256Gcm]);
        grant.hash = hash.unwrap_or(grant.hash);
        grant.cipher = cipher.unwrap_or(grant.cipher);
        grant.post_quantum = answer & 2 == 0;
        grant.accept_ticket = answer & 4 != 0;
        let fits = offered.hashes.contains(u64::from(grant.hash.code()))
            && offered.ciphers.contains(u64::from(grant.cipher.code()))
            && (!grant.accept_ticket || offered.ticket.is_some());
        match opened.consent(&inputs, &grant, &PresharedKey::NONE) {
            Ok((established, datagram)) => {
                assert!(fits);
                assert_eq!((established.hash, established.cipher), (grant.hash, grant.cipher));
                assert_eq!(established.post_quantum, hybrid && grant.post_quantum);
                assert_eq!(established.payload_limit, offered.payload_limit.min(1420));
                assert_eq!(established.noise, offered.noise);
                assert!(offered.features.contains(established.features));
                assert_eq!(established.ticket.is_some(), grant.accept_ticket);
                (datagram, 0)
            }
            Err(AnswerError::Grant) => {
                assert!(!fits);
                return;
            }
            Err(AnswerError::BadKemKey) => {
                assert!(hybrid);
                return;
            }
            Err(AnswerError::TooLong { request, answer }) => {
                assert_eq!(request, request_len);
                (Vec::new(), answer)
            }
            Err(error) => panic!("{error}"),
        }
    } else {
        let code = StatusCode([3, 5, 6, 7, 8, 10, 11][usize::from(answer >> 1) % 7]);
        let noise = (code == StatusCode::NOISE_REFUSED).then_some(0x20);
        match opened.status(&inputs, code, noise, Cipher::ChaCha20Poly1305) {
            Ok(datagram) => {
                assert_ne!(kind, Kind::Anonymous);
                (datagram, 0)
            }
            Err(AnswerError::Anonymous) => {
                assert_eq!(kind, Kind::Anonymous);
                return;
            }
            Err(AnswerError::TooLong { request, answer }) => {
                assert_eq!(request, request_len);
                (Vec::new(), answer)
            }
            Err(error) => panic!("{error}"),
        }
    };
    if datagram.is_empty() {
        assert!(needed > request_len);
        return;
    }
    assert!(datagram.len() <= request_len, "the answer is longer than its request");
    let view = ConsentView::parse(&datagram).expect("an answer is a CONSENT");
    assert_eq!(view.index_i(), INDEX_I);
}

fn statics() -> &'static ResponderStatics {
    static STATICS: LazyLock<ResponderStatics> =
        LazyLock::new(|| ResponderStatics::new(Arc::clone(rogue::responder()), None));
    &STATICS
}
