//! Whole handshakes and their DATA, byte for byte, in both roles, through the public API.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use serde_json::Value;
use stadium_proto::crypto::{Cipher, HashAlg, OpenKey, SealKey, Secret};
use stadium_proto::handshake::{
    Answer, EarlySecret, Established, Initiator, MacKey, OpenFailure, OpenedRequest,
    ResponderStatics, Retry, RetryKey, StatusCode, build_error, build_retry,
};
use stadium_proto::wire::{Counter, DATA_HEADER_LEN, DataHeader, MAX_REQUEST_LEN, RequestView};
use support::{Transcript, array, bytes, flag, transcripts, uint};

/// Makes the REQUEST of a handshake, which must be the one of the transcript.
fn request(transcript: &Transcript, handshake: &Value) -> (Initiator, Vec<u8>) {
    let (initiator, request) = transcript.with_args(handshake, |args| {
        Initiator::start(transcript.params(), &transcript.inputs(handshake), args).unwrap()
    });
    assert_eq!(hex::encode(&request), handshake["request"], "{}", transcript.name);
    assert_eq!(initiator.mac(), &array(&handshake["mac"]));
    assert_eq!(initiator.h(), &array(&handshake["h_after_C1"]));
    (initiator, request)
}

fn statics(transcript: &Transcript) -> ResponderStatics {
    ResponderStatics::new(transcript.responder.clone(), transcript.network_key.as_ref())
}

/// Opens a REQUEST at the responder, after its mac.
fn open(
    transcript: &Transcript,
    handshake: &Value,
    request: &[u8],
) -> Result<OpenedRequest, OpenFailure> {
    let statics = statics(transcript);
    let view = RequestView::parse(request).unwrap();
    assert_eq!(statics.mac_key(&view).as_bytes(), &array(&handshake["mk"]));
    let cookie = &handshake["arguments"]["cookie"];
    let cookie = (!cookie.is_null()).then(|| array(cookie));
    assert!(statics.mac_key(&view).verify(&view, cookie.as_ref()));
    assert!(!statics.mac_key(&view).verify(&view, Some(&[1; 16])));
    assert_eq!(statics.mac_key(&view).verify(&view, None), cookie.is_none());
    statics.open(&view)
}

fn check_session(transcript: &Transcript, handshake: &Value, session: &Established) {
    let name = &transcript.name;
    let keys = &handshake["data_keys"];
    assert_eq!(session.keys.i2r.as_bytes(), &array(&keys["i2r"]), "{name}");
    assert_eq!(session.keys.r2i.as_bytes(), &array(&keys["r2i"]), "{name}");
    assert_eq!(session.keys.early.as_bytes(), &array(&keys["early"]), "{name}");
    assert_eq!(session.keys.export.as_bytes(), &array(&keys["export"]), "{name}");
    let agreed = &handshake["session"];
    assert_eq!(u64::from(session.index_i), uint(&agreed["index_i"]));
    assert_eq!(u64::from(session.index_r), uint(&agreed["index_r"]));
    assert_eq!(u64::from(session.hash.code()), uint(&agreed["hash"]));
    assert_eq!(u64::from(session.cipher.code()), uint(&agreed["symmetric"]));
    assert_eq!(session.features.0, uint(&agreed["features"]));
    assert_eq!(u64::from(session.payload_limit), uint(&agreed["limit"]));
    assert_eq!(u64::from(session.lanes_i), uint(&agreed["lanes_i"]));
    assert_eq!(u64::from(session.lanes_r), uint(&agreed["lanes_r"]));
    assert_eq!(session.post_quantum, flag(&agreed["kem"]));
    assert_eq!(u64::from(session.noise), uint(&transcript.options()["initiator"]["noise"]));
    assert_eq!(session.timestamp, uint(&handshake["cells"]["0x8"]));
    assert_eq!(session.session_id, uint(&handshake["consent"]["cells"]["0xd"]));
    assert_eq!(
        session.ticket.map(u64::from),
        handshake["consent"]["cells"]["0x10"].as_u64(),
        "{name}"
    );
}

/// Seals and opens one DATA datagram of a vector.
fn check_data(frame: &Value, index: u32, lane: u8, flags: u8, seal: &SealKey, open: &OpenKey) {
    let counter = Counter::new(lane, uint(&frame["sequence"]));
    let header = DataHeader { flags, index, counter };
    assert_eq!(hex::encode(counter.nonce()), frame["nonce"]);
    assert_eq!(hex::encode(header.to_bytes()), frame["ad"]);
    let mut datagram = header.to_bytes().to_vec();
    datagram.extend_from_slice(&bytes(&frame["plaintext"]));
    let (ad, text) = datagram.split_at_mut(DATA_HEADER_LEN);
    let tag = seal.seal(counter.nonce(), ad, text);
    datagram.extend_from_slice(&tag);
    assert_eq!(hex::encode(&datagram), frame["datagram"]);

    assert_eq!(DataHeader::parse(&datagram), Ok(header));
    let (ad, sealed) = datagram.split_at_mut(DATA_HEADER_LEN);
    let (text, tag) = sealed.split_last_chunk_mut().unwrap();
    open.open(counter.nonce(), ad, text, tag).unwrap();
    assert_eq!(hex::encode(text), frame["plaintext"]);
}

#[test]
fn consents_and_their_data() {
    let (mut consents, mut frames) = (0, 0);
    for name in transcripts() {
        let transcript = Transcript::load(&name);
        let mut sessions: Vec<(Established, Established)> = Vec::new();
        for handshake in transcript.handshakes() {
            let (initiator, request) = request(&transcript, handshake);
            if handshake["answer_kind"] != "consent" {
                continue;
            }
            consents += 1;
            // as responder
            let opened = open(&transcript, handshake, &request).unwrap();
            assert_eq!(opened.h(), &array(&handshake["h_after_C1"]));
            assert_eq!(opened.index_i(), initiator.index_i());
            assert_eq!(opened.kind(), initiator.kind());
            let named = opened.kind().is_named();
            assert_eq!(opened.remote(), named.then(|| transcript.initiator.public()));
            let (grant, offered) = (transcript.grant(handshake), *opened.offered());
            assert_eq!(
                offered.hashes.choose_hash(&transcript.hashes_of_responder()),
                Some(grant.hash)
            );
            assert_eq!(
                offered.ciphers.choose_cipher(&transcript.ciphers_of_responder()),
                Some(grant.cipher)
            );
            let inputs = transcript.responder_inputs(handshake);
            let (responder_session, answer) =
                opened.consent(&inputs, &grant, &transcript.psk).unwrap();
            assert_eq!(hex::encode(&answer), handshake["answer"], "{name}");
            assert!(answer.len() <= request.len() && request.len() <= MAX_REQUEST_LEN);
            check_session(&transcript, handshake, &responder_session);

            // as initiator
            let Answer::Session(initiator_session) = initiator.open_consent(&answer).unwrap()
            else {
                panic!("{name}: a session was granted");
            };
            check_session(&transcript, handshake, &initiator_session);
            assert_eq!(initiator_session.remote.as_ref(), Some(transcript.responder.public()));
            assert_eq!(initiator_session.local_index(), responder_session.remote_index());
            assert_eq!(initiator_session.remote_index(), responder_session.local_index());
            assert_eq!(initiator_session.tx_lanes(), responder_session.rx_lanes());
            assert_eq!(initiator_session.rx_lanes(), responder_session.tx_lanes());

            for frame in handshake["data"].as_array().into_iter().flatten() {
                let (from, to) = match frame["direction"].as_str().unwrap() {
                    "i2r" => (&*initiator_session, &responder_session),
                    _ => (&responder_session, &*initiator_session),
                };
                let (lane, flags) = (uint(&frame["lane"]) as u8, uint(&frame["flags"]) as u8);
                let (seal, open) = (from.seal_key(), to.open_key());
                check_data(frame, from.remote_index(), lane, flags, &seal, &open);
                frames += 1;
            }

            if let Some(early) = handshake["early"].as_object() {
                let (before, _) = sessions.last().unwrap();
                let secret = before.early_secret();
                assert_eq!(u64::from(secret.hash().code()), uint(&early["hash"]));
                assert_eq!(u64::from(secret.cipher().code()), uint(&early["symmetric"]));
                assert_eq!(secret.key(initiator.h()).as_bytes(), &array(&early["key"]));
                let ticket = initiator.ticket().unwrap();
                assert_eq!(u64::from(ticket), uint(&transcript.json["ticket"]["ticket"]));
                assert_eq!(initiator_session.ticket, Some(ticket));
                let (seal, open) = (secret.seal_key(initiator.h()), secret.open_key(initiator.h()));
                for frame in early["frames"].as_array().unwrap() {
                    check_data(frame, ticket, 0, 0, &seal, &open);
                    frames += 1;
                }
            }
            sessions.push((*initiator_session, responder_session));
        }
        if let Some(ticket) = transcript.json["ticket"].as_object() {
            let (initiator, responder) = &sessions[0];
            assert_eq!(
                initiator.early_secret().key(&[0; 32]),
                responder.early_secret().key(&[0; 32])
            );
            assert_eq!(initiator.keys.early.as_bytes(), &array(&ticket["early"]));
            let mut datagram = bytes(&ticket["datagram_r2i"]);
            let header = DataHeader::parse(&datagram).unwrap();
            assert_eq!(header.index, initiator.local_index());
            let (ad, sealed) = datagram.split_at_mut(DATA_HEADER_LEN);
            let (text, tag) = sealed.split_last_chunk_mut().unwrap();
            initiator.open_key().open(header.counter.nonce(), ad, text, tag).unwrap();
            assert!(hex::encode(text).starts_with(ticket["frame"].as_str().unwrap()));
        }
    }
    assert!(consents >= 20 && frames >= 80, "{consents} {frames}");
}

#[test]
fn statuses() {
    let mut count = 0;
    for name in transcripts() {
        let transcript = Transcript::load(&name);
        for handshake in transcript.handshakes() {
            if handshake["answer_kind"] != "status" {
                continue;
            }
            count += 1;
            let (initiator, request) = request(&transcript, handshake);
            let opened = open(&transcript, handshake, &request).unwrap();
            let code = StatusCode(uint(&handshake["status"]) as u8);
            let offered = *opened.offered();
            let cipher = offered
                .ciphers
                .choose_cipher(&transcript.ciphers_of_responder())
                .unwrap_or(Cipher::ChaCha20Poly1305);
            let noise = uint(&transcript.options()["responder"]["noise_max"]) as u8;
            let inputs = transcript.responder_inputs(handshake);
            let answer = opened.status(&inputs, code, Some(noise), cipher).unwrap();
            assert_eq!(hex::encode(&answer), handshake["answer"], "{name}");

            let Answer::Refused(refused) = initiator.open_consent(&answer).unwrap() else {
                panic!("{name}: a status was sent");
            };
            assert_eq!(refused.code, code);
            assert_eq!(
                refused.noise.map(u64::from),
                handshake["consent"]["cells"]["0x7"].as_u64(),
                "{name}"
            );
            assert_eq!(refused.remote.as_ref(), Some(transcript.responder.public()));
        }
    }
    assert!(count >= 8, "{count}");
}

#[test]
fn retries() {
    let mut count = 0;
    for name in transcripts() {
        let transcript = Transcript::load(&name);
        for handshake in transcript.handshakes() {
            if handshake["answer_kind"] != "retry" {
                continue;
            }
            count += 1;
            let (initiator, request) = request(&transcript, handshake);
            let expected = &handshake["retry"];
            let statics = statics(&transcript);
            let view = RequestView::parse(&request).unwrap();
            assert_eq!(statics.retry_key(&view).as_bytes(), &array(&expected["key"]));
            assert_eq!(view.mac(), &array(&expected["ad"]));
            let challenge: [u8; 12] = array(&expected["challenge"]);
            let retry = Retry {
                cookie: array(&expected["cookie"]),
                challenge: (challenge != [0; 12]).then_some(challenge),
            };
            let nonce = array(&handshake["inputs"]["retry_nonce"]);
            let answer = build_retry(statics.retry_key(&view), &view, &retry, &nonce);
            assert_eq!(hex::encode(answer), handshake["answer"], "{name}");
            assert_eq!(initiator.open_retry(&answer), Ok(retry));
            for byte in 0..answer.len() {
                let mut changed = answer;
                changed[byte] ^= 1;
                assert!(initiator.open_retry(&changed).is_err(), "byte {byte}");
            }
        }
    }
    assert!(count >= 4, "{count}");
}

#[test]
fn errors() {
    let transcript = Transcript::load("transcript-error-version");
    let handshake = &transcript.handshakes()[0];
    let (initiator, request) = request(&transcript, handshake);
    let failure = open(&transcript, handshake, &request).unwrap_err();
    assert_eq!(failure, OpenFailure::Error(StatusCode::UNSUPPORTED_VERSION));
    let view = RequestView::parse(&request).unwrap();
    let answer = build_error(&view, StatusCode::UNSUPPORTED_VERSION).unwrap();
    assert_eq!(hex::encode(answer), handshake["answer"]);
    let hint = initiator.open_error(&answer).unwrap();
    assert_eq!(u64::from(hint.code.0), uint(&handshake["error"]["code"]));
    assert_eq!(u64::from(hint.max_version), uint(&handshake["error"]["max_version"]));
    assert_eq!(build_error(&view, StatusCode::BUSY), None);
    for byte in [0, 1, 3, 4, 7, 8, 23] {
        let mut changed = answer;
        changed[byte] ^= 0x40;
        assert!(initiator.open_error(&changed).is_err(), "byte {byte}");
    }
}

#[test]
fn guard_keys_depend_on_the_kind_and_the_network_key() {
    let transcript = Transcript::load("transcript-network-key");
    let (v_r, network_key) = (transcript.responder.public(), transcript.network_key.as_ref());
    let mac = [
        MacKey::new(Some(v_r), network_key),
        MacKey::new(Some(v_r), None),
        MacKey::new(None, network_key),
        MacKey::new(None, None),
    ];
    let retry = [
        RetryKey::new(Some(v_r), network_key),
        RetryKey::new(Some(v_r), None),
        RetryKey::new(None, network_key),
        RetryKey::new(None, None),
    ];
    let mut keys: Vec<_> = mac.iter().map(MacKey::as_bytes).collect();
    keys.extend(retry.iter().map(RetryKey::as_bytes));
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 8);
}

#[test]
fn early_keys_depend_on_the_request() {
    let secret = |hash| EarlySecret::new(Secret::new([1; 32]), hash, Cipher::Aes256Gcm, 1420);
    let key = secret(HashAlg::Sha256).key(&[2; 32]);
    assert_ne!(key, secret(HashAlg::Sha256).key(&[3; 32]));
    assert_ne!(key, secret(HashAlg::Blake2s256).key(&[2; 32]));
}
