//! The vectors of `judge.json`: one REQUEST to a responder as new, and what it does.

use super::{Outbox, at, entropy, peer_config};
use crate::{
    crypto::{Cipher, HashAlg},
    engine::{Change, Engine, Input, Now, PostQuantum, Settings, respond::Judgement},
    identity::{Identity, NetworkKey, PresharedKey, PublicKey, SecretKey},
    noise::{NoiseByte, NoisePolicy},
    time::WallTime,
    wire::{ErrorView, KIND_CONSENT, KIND_ERROR, KIND_RETRY, RequestView},
};
use serde_json::Value;

fn bytes<const N: usize>(value: &Value) -> [u8; N] {
    hex::decode(value.as_str().unwrap()).unwrap().try_into().unwrap()
}

fn uints(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect()
}

/// The status that an engine as new answers; its datagram is sealed to an ephemeral whose secret
/// the vectors keep.
fn status_of(engine: &mut Engine, now: Now, request: &[u8]) -> String {
    let mut opened = engine.statics.open(&RequestView::parse(request).unwrap()).unwrap();
    match engine.judge(now, &mut opened) {
        Judgement::Status(code, _) => format!("status:{}", code.0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_responder_judges_as_the_vectors_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/judge.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let source = format!("{}:{}", all["source"]["ip"].as_str().unwrap(), all["source"]["port"]);
    let now =
        Now { instant: at(0).instant, wall: WallTime::from_nanos(all["now_ns"].as_u64().unwrap()) };
    let cases = all["cases"].as_array().unwrap();
    assert!(cases.len() >= 50);
    for case in cases {
        let why = case["why"].as_str().unwrap();
        let config = &case["responder"];
        let noise = NoisePolicy {
            minimum: NoiseByte::WEAKEST,
            accept: NoiseByte::try_from(config["noise_max"].as_u64().unwrap() as u8).unwrap(),
        };
        let ciphers = uints(&config["symmetric"]);
        let hashes = uints(&config["hashes"]);
        let settings = Settings {
            ciphers: ciphers.iter().map(|c| Cipher::from_code(*c).unwrap()).collect(),
            hashes: hashes.iter().map(|c| HashAlg::from_code(*c).unwrap()).collect(),
            post_quantum: match config["pq"].as_str().unwrap() {
                "prefer" => PostQuantum::Prefer,
                "require" => PostQuantum::Require,
                _ => PostQuantum::Off,
            },
            stealth: config["stealth"].as_bool().unwrap(),
            allow_open: config["allow_open"].as_bool().unwrap(),
            allow_anonymous: config["allow_anonymous"].as_bool().unwrap(),
            noise,
            ..Settings::default()
        };
        let new_engine = || {
            let identity = Identity::new(SecretKey::from_seed(bytes(&all["responder"]["seed"])));
            let network_key = NetworkKey::from_bytes(bytes(&all["network_key"]));
            Engine::new(identity, Some(network_key), settings.clone(), entropy(7), now)
        };
        let (mut engine, mut twin) = (new_engine(), new_engine());
        let mut out = Outbox::default();
        let key = PublicKey::from_bytes(&bytes(&all["initiator"]["V"])).unwrap();
        let mut peer = peer_config(key, None);
        peer.preshared_key = PresharedKey::from_bytes(bytes(&all["psk"]));
        peer.noise_policy = noise;
        twin.apply(now, [Change::Add(Box::new(peer.clone()))], &mut out)[0].unwrap();
        let id = engine.apply(now, [Change::Add(Box::new(peer))], &mut out)[0].unwrap().unwrap();
        let record = config["largest_timestamp"].as_u64();
        engine.peer_mut(id).unwrap().largest_timestamp = record;
        if config["loaded"].as_bool().unwrap() {
            engine.handle(now, Input::QueueDepth(1_000), &mut out);
        }
        let request = hex::decode(case["request"].as_str().unwrap()).unwrap();
        let remote = source.parse().unwrap();
        let input = Input::Handshake { remote, local: None, datagram: &request };
        engine.handle(now, input, &mut out);

        let expected = case["expect"].as_str().unwrap();
        let dropped: u64 = engine.shared().drops.all().iter().sum();
        if expected == "silent" {
            assert!(out.sent.is_empty(), "{why}");
            assert_eq!(dropped, 1, "{why}");
            continue;
        }
        let [(to, answer)] = &out.sent[..] else { panic!("{why}: one answer") };
        assert_eq!(to.remote, remote, "{why}");
        assert!(answer.len() <= request.len(), "{why}");
        let got = match answer[0] {
            KIND_RETRY => "retry".to_owned(),
            KIND_ERROR => format!("error:{}", ErrorView::parse(answer).unwrap().code()),
            KIND_CONSENT => {
                let pending: usize = engine.peers.iter().flatten().map(|p| p.pending.len()).sum();
                if pending == 1 {
                    "consent".to_owned()
                } else {
                    status_of(&mut twin, now, &request)
                }
            }
            other => panic!("{why}: {other}"),
        };
        assert_eq!(got, expected, "{why}");
        assert_eq!(dropped, u64::from(got != "consent"), "{why}");
    }
}
