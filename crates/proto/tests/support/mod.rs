//! Reads test vectors (`vectors/README.md`) and turns them into this crate's inputs.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses a part")]

use std::sync::Arc;

use serde_json::Value;
use stadium_proto::crypto::{Cipher, HashAlg};
use stadium_proto::handshake::{
    Features, Filler, Grant, InitiatorInputs, InitiatorParams, Offer, PostQuantum, RequestArgs,
    ResponderInputs, Target,
};
use stadium_proto::identity::{Identity, NetworkKey, PresharedKey, SecretKey};
use stadium_proto::lbm::AlgorithmList;
use stadium_proto::time::WallTime;

/// Reads `vectors/NAME.json`.
pub fn load(name: &str) -> Value {
    let path = format!("{}/tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&path).expect(&path)).expect(&path)
}

/// Names of all transcripts.
pub fn transcripts() -> Vec<String> {
    let folder = format!("{}/tests/vectors", env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
        .filter(|name| name.starts_with("transcript-"))
        .collect();
    names.sort();
    assert!(names.len() >= 24, "vectors are missing");
    names
}

pub fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("a hex string")).expect("hex")
}

pub fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().expect("the length of the field")
}

/// A field that may be absent or `null`.
pub fn array_or_zero<const N: usize>(value: &Value) -> [u8; N] {
    if value.is_null() { [0; N] } else { array(value) }
}

pub fn uint(value: &Value) -> u64 {
    value.as_u64().expect("an integer")
}

pub fn uints(value: &Value) -> Vec<u64> {
    value.as_array().expect("a list").iter().map(uint).collect()
}

pub fn flag(value: &Value) -> bool {
    value.as_bool().expect("a boolean")
}

pub fn index(value: &Value) -> u32 {
    if value.is_null() { 0 } else { u32::from_le_bytes(array(value)) }
}

/// A whole transcript file.
pub struct Transcript {
    pub name: String,
    pub json: Value,
    pub initiator: Arc<Identity>,
    pub responder: Arc<Identity>,
    pub psk: PresharedKey,
    pub network_key: Option<NetworkKey>,
}

impl Transcript {
    pub fn load(name: &str) -> Self {
        let json = load(name);
        let identity =
            |side: &Value| Arc::new(Identity::new(SecretKey::from_seed(array(&side["seed"]))));
        let network_key = match json["network_key"].as_str() {
            Some("") => None,
            _ => Some(NetworkKey::from_bytes(array(&json["network_key"]))),
        };
        Self {
            name: name.to_owned(),
            initiator: identity(&json["initiator"]),
            responder: identity(&json["responder"]),
            psk: PresharedKey::from_bytes(array(&json["psk"])),
            network_key,
            json,
        }
    }

    pub fn handshakes(&self) -> &[Value] {
        self.json["handshakes"].as_array().expect("a list")
    }

    pub fn options(&self) -> &Value {
        &self.json["options"]
    }

    pub fn target(&self) -> Target {
        if flag(&self.options()["open"]) {
            Target::Open {
                flag: uint(&self.options()["flag"]) as u8,
                named: !flag(&self.options()["anonymous"]),
                remote: Some(*self.responder.public()),
            }
        } else {
            Target::Encrypted(*self.responder.public())
        }
    }

    pub fn params(&self) -> InitiatorParams {
        let options = &self.options()["initiator"];
        InitiatorParams {
            identity: Arc::clone(&self.initiator),
            target: self.target(),
            psk: self.psk.clone(),
            network_key: self.network_key.clone(),
            offer: Offer {
                hashes: AlgorithmList::new(&uints(&options["hashes"])).unwrap(),
                ciphers: AlgorithmList::new(&uints(&options["symmetric"])).unwrap(),
                noise: uint(&options["noise"]) as u8,
                payload_limit: uint(&options["limit"]) as u16,
                features: Features(uint(&options["features"])),
                lanes: uint(&options["lanes"]) as u8,
            },
            post_quantum: if flag(&self.options()["pq"]) {
                PostQuantum::Offer
            } else {
                PostQuantum::Off
            },
        }
    }

    pub fn inputs(&self, handshake: &Value) -> InitiatorInputs {
        let inputs = &handshake["inputs"];
        InitiatorInputs {
            index_i: index(&inputs["index_i"]),
            ephemeral: array(&inputs["e_i"]),
            connection_key: array_or_zero(&inputs["K_c"]),
            kem_seed: array_or_zero(&inputs["kem_dz"]),
            now: WallTime(uint(&inputs["now_ns"])),
        }
    }

    pub fn responder_inputs(&self, handshake: &Value) -> ResponderInputs {
        let inputs = &handshake["inputs"];
        ResponderInputs {
            index_r: index(&inputs["index_r"]),
            ephemeral: array_or_zero(&inputs["e_r"]),
            kem_message: array_or_zero(&inputs["kem_m"]),
        }
    }

    /// Calls `f` with the arguments of a REQUEST, which borrow its filler.
    pub fn with_args<R>(&self, handshake: &Value, f: impl FnOnce(&RequestArgs<'_>) -> R) -> R {
        let arguments = &handshake["arguments"];
        for name in arguments.as_object().expect("arguments").keys() {
            assert!(["cookie", "challenge", "ticket", "filler", "cells"].contains(&name.as_str()));
        }
        let filler = (!arguments["filler"].is_null()).then(|| bytes(&arguments["filler"]));
        let cells = &arguments["cells"];
        if let Some(cells) = cells.as_object() {
            assert!(cells.len() == 1 && cells.contains_key("0x1"), "only the version is replaced");
        }
        f(&RequestArgs {
            cookie: (!arguments["cookie"].is_null()).then(|| array(&arguments["cookie"])),
            challenge: (!arguments["challenge"].is_null()).then(|| array(&arguments["challenge"])),
            ticket: arguments["ticket"].as_u64().map(|ticket| ticket as u32),
            filler: filler.as_deref().map_or(Filler::Usual, Filler::Bytes),
            version: cells["0x1"].as_u64().unwrap_or(1) as u8,
        })
    }

    /// What the responder of the transcript grants to this handshake.
    pub fn grant(&self, handshake: &Value) -> Grant {
        let mine = &self.options()["responder"];
        let session = &handshake["session"];
        Grant {
            hash: HashAlg::from_code(uint(&session["hash"])).unwrap(),
            cipher: Cipher::from_code(uint(&session["symmetric"])).unwrap(),
            payload_limit: uint(&mine["limit"]) as u16,
            features: Features(uint(&mine["features"])),
            lanes: uint(&mine["lanes"]) as u8,
            session_id: uint(&handshake["consent"]["cells"]["0xd"]),
            accept_ticket: !handshake["consent"]["cells"]["0x10"].is_null(),
            post_quantum: flag(&session["kem"]),
        }
    }

    pub fn ciphers_of_responder(&self) -> Vec<Cipher> {
        uints(&self.options()["responder"]["symmetric"])
            .into_iter()
            .filter_map(Cipher::from_code)
            .collect()
    }

    pub fn hashes_of_responder(&self) -> Vec<HashAlg> {
        uints(&self.options()["responder"]["hashes"])
            .into_iter()
            .filter_map(HashAlg::from_code)
            .collect()
    }
}
