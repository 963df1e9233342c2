//! The published schema of `status --json` holds for what the program prints.

use jsonschema::Validator;
use serde_json::{Value, json};
use stadium_node::api::{
    Drops, HandshakeKind, InterfaceStatus, LastError, NoiseStatus, Offload, PeerState, PeerStatus,
    Received, SCHEMA, Sent, SessionStatus, Status,
};

use crate::support::stadium;

const KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

fn schema() -> Value {
    serde_json::from_str(include_str!("../../schema/status.schema.json")).unwrap()
}

fn validator() -> Validator {
    jsonschema::validator_for(&schema()).unwrap()
}

fn peer(full: bool) -> PeerStatus {
    PeerStatus {
        name: full.then(|| "bob".to_owned()),
        public_key: KEY.to_owned(),
        endpoint: full.then(|| "[2001:db8::7]:51871".parse().unwrap()),
        allowed_ips: vec!["10.7.0.2/32".parse().unwrap(), "fd07::/64".parse().unwrap()],
        state: if full { PeerState::Up } else { PeerState::Idle },
        last_error: (!full).then_some(LastError::NameDoesNotResolve),
        session: full.then(|| SessionStatus {
            id: 7,
            age_s: 31.5,
            cipher: "aes-256-gcm".to_owned(),
            hash: "sha-256".to_owned(),
            post_quantum: true,
            handshake: HandshakeKind::Encrypted,
            lanes: 2,
        }),
        handshakes: 3,
        last_handshake: full.then_some(jiff::Timestamp::UNIX_EPOCH),
        last_received: full.then(|| "2026-01-01T00:00:00.123456789Z".parse().unwrap()),
        rx: Received { bytes: u64::MAX, ..Received::default() },
        tx: Sent::default(),
        rtt_ms: full.then_some(0.4),
        noise: NoiseStatus::from_byte(130, false),
    }
}

fn sample() -> Value {
    let status = Status::new(vec![InterfaceStatus {
        name: "stadium0".to_owned(),
        public_key: KEY.to_owned(),
        listen: vec!["0.0.0.0:51871".parse().unwrap(), "[::]:51871".parse().unwrap()],
        mtu: 1420,
        workers: 2,
        offload: Offload { tun: true, udp_gso: true, udp_gro: true },
        uptime_s: 12.3,
        drops: Drops::default(),
        peers: vec![peer(true), peer(false)],
    }]);
    serde_json::to_value(status).unwrap()
}

#[test]
fn full_sparse_and_empty_statuses_are_valid() {
    let validator = validator();
    for status in [sample(), serde_json::to_value(Status::default()).unwrap()] {
        if let Err(error) = validator.validate(&status) {
            panic!("{error} at {}", error.instance_path());
        }
    }
    let printed = stadium(&["status", "none-such-0", "--json"]);
    assert!(validator.is_valid(&serde_json::from_str(&printed.stdout).unwrap()));
}

#[test]
fn what_breaks_the_contract_is_not_valid() {
    let validator = validator();
    let cases: [(&str, Value); 9] = [
        ("/schema", json!(2)),
        ("/interfaces/0/mtu", json!("1420")),
        ("/interfaces/0/uptime_s", json!(null)),
        ("/interfaces/0/drops/replay", json!(1.5)),
        ("/interfaces/0/drops/replay", json!(null)),
        ("/interfaces/0/peers/0/state", json!("connected")),
        ("/interfaces/0/peers/0/last_error", json!("bad luck")),
        ("/interfaces/0/peers/0/last_handshake", json!(1_700_000_000)),
        ("/interfaces/0/peers/0/session/cipher", json!("rot13")),
    ];
    for (place, wrong) in cases {
        let mut status = sample();
        *status.pointer_mut(place).unwrap() = wrong;
        assert!(!validator.is_valid(&status), "{place}");
    }
    for name in Drops::NAMES {
        let mut status = sample();
        status["interfaces"][0]["drops"].as_object_mut().unwrap().remove(*name).unwrap();
        assert!(!validator.is_valid(&status), "drops without {name}");
    }
    for name in ["endpoint", "last_error", "session", "rtt_ms", "noise"] {
        let mut status = sample();
        status["interfaces"][0]["peers"][0].as_object_mut().unwrap().remove(name).unwrap();
        assert!(!validator.is_valid(&status), "a peer without {name}");
    }
}

#[test]
fn added_fields_are_allowed() {
    let mut status = sample();
    status["interfaces"][0]["peers"][0]["mood"] = json!("good");
    assert!(validator().is_valid(&status));
}

#[test]
fn the_schema_number_is_that_of_the_code() {
    assert_eq!(schema()["properties"]["schema"]["const"], SCHEMA);
}
