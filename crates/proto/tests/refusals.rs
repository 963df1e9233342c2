//! What both roles refuse, and the sizes of handshakes.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::Arc;

use stadium_proto::crypto::{Cipher, HashAlg};
use stadium_proto::handshake::{
    Answer, AnswerError, Features, Filler, Grant, Initiator, InitiatorInputs, InitiatorParams,
    Kind, Offer, OpenFailure, OpenedRequest, PostQuantum, Refusal, RequestArgs, ResponderInputs,
    ResponderStatics, Retry, StartError, StatusCode, Target, build_error, build_retry,
};
use stadium_proto::identity::{Identity, NetworkKey, PresharedKey, SecretKey};
use stadium_proto::lbm::AlgorithmList;
use stadium_proto::time::WallTime;
use stadium_proto::wire::{self, MAX_REQUEST_LEN, RequestView};
use support::load;

fn identity(seed: u8) -> Arc<Identity> {
    Arc::new(Identity::new(SecretKey::from_seed([seed; 32])))
}

fn offer() -> Offer {
    Offer {
        hashes: AlgorithmList::of_hashes(&[HashAlg::Sha256]),
        ciphers: AlgorithmList::of_ciphers(&[Cipher::ChaCha20Poly1305]),
        noise: 0,
        payload_limit: 1420,
        features: Features::NONE,
        lanes: 1,
    }
}

fn params(target: Target) -> InitiatorParams {
    InitiatorParams {
        identity: identity(1),
        target,
        psk: PresharedKey::NONE,
        network_key: None,
        offer: offer(),
        post_quantum: PostQuantum::Off,
    }
}

fn encrypted() -> Target {
    Target::Encrypted(*identity(2).public())
}

/// Inputs that differ with `salt`.
fn inputs(salt: u8) -> InitiatorInputs {
    let now = WallTime(1_790_000_000_123_456_789);
    InitiatorInputs::hedged(&[salt; 32], 7, &identity(1), &encrypted(), 0x0102_0304, now)
}

fn begin(params: InitiatorParams, args: &RequestArgs<'_>) -> (Initiator, Vec<u8>) {
    Initiator::start(params, &inputs(9), args).unwrap()
}

fn start(params: InitiatorParams) -> (Initiator, Vec<u8>) {
    begin(params, &RequestArgs::default())
}

fn statics() -> ResponderStatics {
    ResponderStatics::new(identity(2), None)
}

fn open(request: &[u8]) -> OpenedRequest {
    statics().open(&RequestView::parse(request).unwrap()).unwrap()
}

fn grant() -> Grant {
    Grant {
        hash: HashAlg::Sha256,
        cipher: Cipher::ChaCha20Poly1305,
        payload_limit: 1420,
        features: Features(u64::MAX),
        lanes: 1,
        session_id: 1,
        accept_ticket: false,
        post_quantum: true,
    }
}

fn answer_inputs(request: &OpenedRequest) -> ResponderInputs {
    ResponderInputs::hedged(&[8; 32], 3, request, 0x89ab_cdef)
}

fn consent(request: OpenedRequest, grant: &Grant, psk: &PresharedKey) -> Vec<u8> {
    let inputs = answer_inputs(&request);
    request.consent(&inputs, grant, psk).unwrap().1
}

fn status(request: OpenedRequest, code: StatusCode, noise: Option<u8>) -> Vec<u8> {
    let inputs = answer_inputs(&request);
    request.status(&inputs, code, noise, Cipher::ChaCha20Poly1305).unwrap()
}

fn refusal(initiator: &Initiator, datagram: &[u8]) -> Refusal {
    initiator.open_consent(datagram).unwrap_err()
}

/// The kinds of handshake that the tests below go through.
fn kinds() -> Vec<InitiatorParams> {
    let mut kinds = Vec::new();
    for target in [encrypted(), Target::open(true, None), Target::open(false, None)] {
        for post_quantum in [PostQuantum::Off, PostQuantum::Offer] {
            kinds.push(InitiatorParams { post_quantum, ..params(target) });
        }
    }
    kinds
}

#[test]
fn every_changed_byte_of_a_request_is_refused() {
    for params in kinds() {
        let (_, request) = start(params);
        let statics = statics();
        let view = RequestView::parse(&request).unwrap();
        assert!(statics.mac_key(&view).verify(&view, None));
        for byte in 0..request.len() {
            let mut changed = request.clone();
            changed[byte] ^= 0x10;
            let Ok(view) = RequestView::parse(&changed) else { continue };
            assert!(!statics.mac_key(&view).verify(&view, None), "byte {byte}");
        }
    }
}

#[test]
fn c1_and_its_transcript_are_authenticated() {
    // behind the mac: what a node of the network could forge
    for params in kinds() {
        let kind = params.target.kind();
        let (_, request) = start(params);
        let statics = statics();
        for byte in 8..request.len() - 16 {
            let mut changed = request.clone();
            changed[byte] ^= 0x10;
            let Ok(view) = RequestView::parse(&changed) else { continue };
            let opened = statics.open(&view);
            match kind {
                Kind::Encrypted if byte != 8 => assert_eq!(
                    opened.err(),
                    Some(OpenFailure::Error(StatusCode::CANNOT_DECRYPT)),
                    "byte {byte}"
                ),
                // read as an open request, C1 is nonsense; an open one is signed
                Kind::Encrypted | Kind::Open => {
                    assert!(matches!(opened, Err(OpenFailure::Silent(_))), "byte {byte}");
                }
                // nobody vouches for it, so it must only not panic
                Kind::Anonymous => drop(opened),
            }
        }
    }
}

#[test]
fn every_changed_byte_of_an_answer_is_refused_and_changes_nothing() {
    for params in kinds() {
        let (initiator, request) = start(params);
        let mut answers = vec![consent(open(&request), &grant(), &PresharedKey::NONE)];
        if initiator.kind().is_named() {
            answers.push(status(open(&request), StatusCode::BUSY, None));
        }
        for answer in answers {
            for byte in 0..answer.len() {
                let mut changed = answer.clone();
                changed[byte] ^= 0x04;
                refusal(&initiator, &changed);
            }
            for len in 0..answer.len() {
                refusal(&initiator, &answer[..len]);
            }
            refusal(&initiator, &[&answer[..], &[0]].concat());
            // all that left it as it was
            initiator.open_consent(&answer).unwrap();
            initiator.open_consent(&answer).unwrap();
        }
    }
}

#[test]
fn another_request_another_answer() {
    let (first, request) = start(params(encrypted()));
    let mut other = inputs(10);
    other.index_i = 5;
    let (second, _) =
        Initiator::start(params(encrypted()), &other, &RequestArgs::default()).unwrap();
    let answer = consent(open(&request), &grant(), &PresharedKey::NONE);
    assert_eq!(refusal(&second, &answer), Refusal::OtherRequest);
    let view = RequestView::parse(&request).unwrap();
    let retry = Retry { cookie: [1; 16], challenge: None };
    let retry = build_retry(statics().retry_key(&view), &view, &retry, &[2; 24]);
    assert_eq!(second.open_retry(&retry), Err(Refusal::OtherRequest));
    let error = build_error(&view, StatusCode::CANNOT_DECRYPT).unwrap();
    assert_eq!(second.open_error(&error), Err(Refusal::OtherRequest));
    assert_eq!(first.open_error(&error).unwrap().code, StatusCode::CANNOT_DECRYPT);
}

#[test]
fn a_consent_needs_the_preshared_key_but_a_status_does_not() {
    let psk = PresharedKey::from_bytes([7; 32]);
    let with = |psk: &PresharedKey| InitiatorParams { psk: psk.clone(), ..params(encrypted()) };
    let (initiator, request) = start(with(&psk));
    let none = PresharedKey::NONE;
    assert_eq!(
        refusal(&initiator, &consent(open(&request), &grant(), &none)),
        Refusal::WithoutPresharedKey
    );
    let answer = status(open(&request), StatusCode::UNKNOWN_PEER, None);
    let Answer::Refused(refused) = initiator.open_consent(&answer).unwrap() else {
        panic!("a status was sent");
    };
    assert_eq!((refused.code, refused.noise), (StatusCode::UNKNOWN_PEER, None));
    let other = PresharedKey::from_bytes([8; 32]);
    assert_eq!(refusal(&initiator, &consent(open(&request), &grant(), &other)), Refusal::BadTag);
    let (initiator, request) = start(with(&none));
    assert_eq!(refusal(&initiator, &consent(open(&request), &grant(), &psk)), Refusal::BadTag);
    // in an anonymous handshake it is always zero
    let anonymous = InitiatorParams { psk: psk.clone(), ..params(Target::open(false, None)) };
    let (initiator, request) = start(anonymous);
    let answer = consent(open(&request), &grant(), &other);
    assert!(matches!(initiator.open_consent(&answer), Ok(Answer::Session(_))));
}

#[test]
fn a_grant_that_does_not_fit_makes_no_consent() {
    let (initiator, request) = start(params(encrypted()));
    let granted = |grant: &Grant| {
        let opened = open(&request);
        let inputs = answer_inputs(&opened);
        opened.consent(&inputs, grant, &PresharedKey::NONE).map(|_| ())
    };
    for bad in [
        Grant { cipher: Cipher::Aes256Gcm, ..grant() },
        Grant { hash: HashAlg::Sha512, ..grant() },
        Grant { accept_ticket: true, ..grant() },
        Grant { lanes: 0, ..grant() },
        Grant { lanes: 65, ..grant() },
        Grant { payload_limit: 1279, ..grant() },
    ] {
        assert_eq!(granted(&bad), Err(AnswerError::Grant), "{bad:?}");
    }
    assert_eq!(granted(&grant()), Ok(()));
    let opened = open(&request);
    let zero = ResponderInputs { index_r: 0, ephemeral: [1; 32], kem_message: [0; 32] };
    let failed = opened.consent(&zero, &grant(), &PresharedKey::NONE);
    assert_eq!(failed.unwrap_err(), AnswerError::Grant);
    // a status comes under a cipher that was offered, or the one that everyone has
    let opened = open(&request);
    let inputs = answer_inputs(&opened);
    let aes = opened.status(&inputs, StatusCode::BUSY, None, Cipher::Aes256Gcm).unwrap();
    assert_eq!(refusal(&initiator, &aes), Refusal::NotOffered);
}

#[test]
fn features_are_the_common_ones() {
    let mut asked = params(encrypted());
    asked.offer.features = Features::STREAMS.union(Features::CHECKSUM_OFFLOAD);
    let (initiator, request) = start(asked);
    let mine = Features::STREAMS.union(Features::EARLY_DATA);
    let answer = consent(open(&request), &Grant { features: mine, ..grant() }, &PresharedKey::NONE);
    let Answer::Session(session) = initiator.open_consent(&answer).unwrap() else {
        panic!("a session was granted");
    };
    assert_eq!(session.features, Features::STREAMS);
    assert!(!session.features.contains(Features::EARLY_DATA));
}

#[test]
fn required_post_quantum_refuses_a_session_without_but_takes_a_status() {
    let required = InitiatorParams { post_quantum: PostQuantum::Require, ..params(encrypted()) };
    let (initiator, request) = start(required);
    let without = Grant { post_quantum: false, ..grant() };
    let answer = consent(open(&request), &without, &PresharedKey::NONE);
    assert_eq!(refusal(&initiator, &answer), Refusal::PostQuantumRequired);
    let answer = status(open(&request), StatusCode::BUSY, None);
    assert!(matches!(initiator.open_consent(&answer), Ok(Answer::Refused(_))));
    let answer = consent(open(&request), &grant(), &PresharedKey::NONE);
    let Answer::Session(session) = initiator.open_consent(&answer).unwrap() else {
        panic!("a session was granted");
    };
    assert!(session.post_quantum);
}

#[test]
fn an_open_responder_is_compared_or_pinned() {
    let expected = *identity(2).public();
    let stranger = *identity(3).public();
    for (remote, outcome) in [
        (None, Ok(expected)),
        (Some(expected), Ok(expected)),
        (Some(stranger), Err(Refusal::OtherRemote)),
    ] {
        for named in [false, true] {
            let (initiator, request) = start(params(Target::open(named, remote)));
            let answer = consent(open(&request), &grant(), &PresharedKey::NONE);
            match (initiator.open_consent(&answer), outcome) {
                (Ok(Answer::Session(session)), Ok(key)) => assert_eq!(session.remote, Some(key)),
                (Err(refusal), Err(expected)) => assert_eq!(refusal, expected),
                (got, _) => panic!("{got:?}"),
            }
        }
    }
}

#[test]
fn ones_own_key_is_refused_everywhere() {
    // configured as a peer
    let own = Target::Encrypted(*identity(1).public());
    let failed = Initiator::start(params(own), &inputs(9), &RequestArgs::default());
    assert_eq!(failed.unwrap_err(), StartError::OwnKey);
    // in a REQUEST
    let mut mirror = params(Target::open(true, None));
    mirror.identity = identity(2);
    let (_, request) = start(mirror);
    let view = RequestView::parse(&request).unwrap();
    assert_eq!(statics().open(&view).err(), Some(OpenFailure::Silent(Refusal::OwnKey)));
    // in a CONSENT
    let (initiator, request) = start(params(Target::open(false, None)));
    let mirror = ResponderStatics::new(identity(1), None);
    let opened = mirror.open(&RequestView::parse(&request).unwrap()).unwrap();
    let answer = consent(opened, &grant(), &PresharedKey::NONE);
    assert_eq!(refusal(&initiator, &answer), Refusal::OwnKey);
}

#[test]
fn weak_ephemerals_are_refused() {
    let (initiator, request) = start(params(encrypted()));
    let mut answer = consent(open(&request), &grant(), &PresharedKey::NONE);
    for point in load("primitives")["x25519_low_order"].as_array().unwrap() {
        let point: [u8; 32] = support::array(point);
        answer[8..40].copy_from_slice(&point);
        assert_eq!(refusal(&initiator, &answer), Refusal::WeakPoint);
        let mut request = request.clone();
        request[13..45].copy_from_slice(&point);
        let view = RequestView::parse(&request).unwrap();
        assert_eq!(statics().open(&view).err(), Some(OpenFailure::Silent(Refusal::WeakPoint)));
        // anonymous: the first DH is the one of the answer
        let (_, mut request) = start(params(Target::open(false, None)));
        request[13..45].copy_from_slice(&point);
        let opened = open(&request);
        let inputs = answer_inputs(&opened);
        let failed = opened.consent(&inputs, &grant(), &PresharedKey::NONE);
        assert_eq!(failed.unwrap_err(), AnswerError::WeakPoint);
    }
}

#[test]
fn an_anonymous_initiator_gets_no_status() {
    let (_, request) = start(params(Target::open(false, None)));
    let opened = open(&request);
    let inputs = answer_inputs(&opened);
    let failed = opened.status(&inputs, StatusCode::BUSY, None, Cipher::ChaCha20Poly1305);
    assert_eq!(failed, Err(AnswerError::Anonymous));
}

#[test]
fn a_clear_error_is_for_encrypted_handshakes_and_two_codes() {
    let (initiator, request) = start(params(Target::open(true, None)));
    let view = RequestView::parse(&request).unwrap();
    assert_eq!(build_error(&view, StatusCode::CANNOT_DECRYPT), None);
    let forged = wire::error(2, 1, view.index_i(), view.mac());
    assert_eq!(initiator.open_error(&forged), Err(Refusal::ErrorCode));
    let (initiator, request) = start(params(encrypted()));
    let view = RequestView::parse(&request).unwrap();
    for code in 0..=255 {
        let forged = wire::error(code, 1, view.index_i(), view.mac());
        assert_eq!(initiator.open_error(&forged).is_ok(), code == 1 || code == 2);
        assert_eq!(build_error(&view, StatusCode(code)).is_some(), code == 1 || code == 2);
    }
}

#[test]
fn the_network_key_decides_who_gets_an_answer() {
    let key = NetworkKey::from_bytes([5; 32]);
    for target in [encrypted(), Target::open(true, None)] {
        let inside = InitiatorParams { network_key: Some(key.clone()), ..params(target) };
        let (_, request) = start(inside);
        let view = RequestView::parse(&request).unwrap();
        assert!(!statics().mac_key(&view).verify(&view, None));
        let statics = ResponderStatics::new(identity(2), Some(&key));
        assert!(statics.mac_key(&view).verify(&view, None));
    }
}

#[test]
fn a_bad_kem_key_is_told_before_and_at_the_answer() {
    // an open request is not sealed: its key can be changed, and the signature is skipped when
    // it is anonymous
    let asked =
        InitiatorParams { post_quantum: PostQuantum::Offer, ..params(Target::open(false, None)) };
    let (_, mut request) = start(asked);
    let marker = [0x0b, 0x59, 0x04, 0xa0];
    let at = request.windows(4).position(|window| window == marker).unwrap() + 4;
    request[at..at + 3].fill(0xff);
    let mut opened = open(&request);
    assert!(opened.offered().hybrid);
    assert!(opened.check_kem_key().is_err());
    let inputs = answer_inputs(&opened);
    let failed = opened.consent(&inputs, &grant(), &PresharedKey::NONE);
    assert_eq!(failed.unwrap_err(), AnswerError::BadKemKey);
    // a responder that does without does not look at it
    let opened = open(&request);
    let without = Grant { post_quantum: false, ..grant() };
    let inputs = answer_inputs(&opened);
    assert!(opened.consent(&inputs, &without, &PresharedKey::NONE).is_ok());
}

#[test]
fn mistakes_of_the_caller_are_told() {
    let fails = |params: InitiatorParams, inputs: &InitiatorInputs, args: &RequestArgs<'_>| {
        Initiator::start(params, inputs, args).unwrap_err()
    };
    let usual = RequestArgs::default();
    let mut zero = inputs(9);
    zero.index_i = 0;
    assert_eq!(fails(params(encrypted()), &zero, &usual), StartError::ZeroIndex);
    let flag = Target::Open { flag: 0x7a, named: true, remote: None };
    assert_eq!(fails(params(flag), &inputs(9), &usual), StartError::Flag);
    let ticket = RequestArgs { ticket: Some(1), challenge: Some([1; 12]), ..usual };
    assert_eq!(fails(params(encrypted()), &inputs(9), &ticket), StartError::Ticket);
    let ticket = RequestArgs { ticket: Some(1), ..usual };
    assert_eq!(fails(params(Target::open(true, None)), &inputs(9), &ticket), StartError::Ticket);
    let mut low = params(encrypted());
    low.offer.payload_limit = 1279;
    assert_eq!(fails(low, &inputs(9), &usual), StartError::Offer);
    for lanes in [0, 65] {
        let mut bad = params(encrypted());
        bad.offer.lanes = lanes;
        assert_eq!(fails(bad, &inputs(9), &usual), StartError::Offer);
    }
    for len in [1300, 100_000] {
        let filler = vec![0; len];
        let args = RequestArgs { filler: Filler::Bytes(&filler), ..usual };
        let failed = fails(params(encrypted()), &inputs(9), &args);
        assert!(matches!(failed, StartError::TooLong(too) if too > MAX_REQUEST_LEN));
        assert!(failed.to_string().contains("filler"));
    }
}

#[test]
fn debug_of_handshake_values_shows_no_secret() {
    let asked = InitiatorParams {
        psk: PresharedKey::from_bytes([0xd7; 32]),
        network_key: Some(NetworkKey::from_bytes([0xd7; 32])),
        ..params(encrypted())
    };
    let mut secret = inputs(9);
    secret.ephemeral = [0xd7; 32];
    secret.connection_key = [0xd7; 32];
    let shown_inputs = format!("{secret:?} {asked:?}");
    let (initiator, request) = Initiator::start(asked, &secret, &RequestArgs::default()).unwrap();
    let opened = open(&request);
    let answer_inputs = answer_inputs(&opened);
    let shown = format!("{shown_inputs} {initiator:?} {opened:?} {answer_inputs:?}");
    let (session, _) = opened.consent(&answer_inputs, &grant(), &PresharedKey::NONE).unwrap();
    let shown = format!("{shown} {session:?} {:?}", session.early_secret());
    assert!(!shown.contains("215") && !shown.contains("d7d7") && shown.contains(".."), "{shown}");
}

/// `sizes.json`: which cells each line has.
#[test]
fn sizes() {
    let sizes = load("sizes");
    let mut seen = 0;
    for (name, expected) in sizes.as_object().unwrap() {
        seen += 1;
        if name == "RETRY" || name == "ERROR" {
            let len = if name == "RETRY" { wire::RETRY_LEN } else { wire::ERROR_LEN };
            assert_eq!(len as u64, expected.as_u64().unwrap());
            continue;
        }
        let has = |word: &str| name.contains(word);
        let target = if has("open") { Target::open(!has("anonymous"), None) } else { encrypted() };
        let mut asked = params(target);
        let all = has("all");
        if all {
            asked.offer.hashes = AlgorithmList::of_hashes(HashAlg::ALL);
            asked.offer.ciphers = AlgorithmList::of_ciphers(Cipher::ALL);
            asked.offer.noise = 0x92;
            asked.offer.features = Features(7);
            asked.offer.lanes = 64;
        }
        if has("hybrid") {
            asked.post_quantum = PostQuantum::Offer;
        }
        let args = RequestArgs {
            challenge: has("echo").then_some([1; 12]),
            ticket: has("ticket").then_some(0xffff_ffff),
            filler: if has("not filled") { Filler::None } else { Filler::Usual },
            ..RequestArgs::default()
        };
        let (initiator, request) = begin(asked, &args);
        assert_eq!(request.len() as u64, expected["request"].as_u64().unwrap(), "{name}");
        let opened = open(&request);
        let inputs = answer_inputs(&opened);
        let mine = Grant {
            features: if all { Features(3) } else { Features::NONE },
            lanes: 64,
            ..grant()
        };
        match (opened.consent(&inputs, &mine, &PresharedKey::NONE), expected["consent"].as_u64()) {
            (Ok((_, answer)), Some(len)) => {
                assert_eq!(answer.len() as u64, len, "{name}");
                assert!(matches!(initiator.open_consent(&answer), Ok(Answer::Session(_))));
            }
            (Err(AnswerError::TooLong { answer, request }), None) => assert!(answer > request),
            (got, _) => panic!("{name}: {:?}", got.map(|(_, answer)| answer.len())),
        }
    }
    assert_eq!(seen, 20);
}

/// `judge.json`, as far as opening goes; the policy behind it is the engine's.
#[test]
fn judged_requests_open_or_fail_as_they_should() {
    let judge = load("judge");
    let responder =
        Identity::new(SecretKey::from_seed(support::array(&judge["responder"]["seed"])));
    let network_key = NetworkKey::from_bytes(support::array(&judge["network_key"]));
    let statics = ResponderStatics::new(Arc::new(responder), Some(&network_key));
    let (mut opened, mut errors) = (0, 0);
    for case in judge["cases"].as_array().unwrap() {
        let (why, expect) = (case["why"].as_str().unwrap(), case["expect"].as_str().unwrap());
        let request = support::bytes(&case["request"]);
        let outcome = RequestView::parse(&request).ok().and_then(|view| {
            let mac = statics.mac_key(&view).verify(&view, None);
            mac.then(|| statics.open(&view))
        });
        match (expect.split_once(':'), outcome) {
            (Some(("error", code)), Some(Err(OpenFailure::Error(got)))) => {
                assert_eq!(got.0.to_string(), code, "{why}");
                errors += 1;
            }
            (Some(("status", _)), Some(Ok(_))) => opened += 1,
            (None, Some(Ok(_))) if expect == "consent" => opened += 1,
            (None, _) if expect == "retry" || expect == "silent" => {}
            (_, outcome) => panic!("{why}: expected {expect}, but {outcome:?}"),
        }
    }
    assert!(opened >= 20 && errors >= 2, "{opened} {errors}");
}
