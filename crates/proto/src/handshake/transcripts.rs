//! Replays the transcripts step by step: `h` and `ck` after every step of the key schedule.
//!
//! The whole datagrams are compared in `tests/transcripts.rs`; this tells where they part.

use std::sync::Arc;

use serde_json::Value;

use super::consent::open_c2;
use super::symmetric::{Step, Symmetric};
use super::*;
use crate::crypto::Cipher;
use crate::identity::{Identity, NetworkKey, PresharedKey, SecretKey};
use crate::lbm::AlgorithmList;
use crate::time::WallTime;
use crate::wire::{ConsentView, RequestView};

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    if value.is_null() { [0; N] } else { bytes(value).try_into().unwrap() }
}

fn list(value: &Value) -> AlgorithmList {
    let codes: Vec<u64> =
        value.as_array().unwrap().iter().map(|code| code.as_u64().unwrap()).collect();
    AlgorithmList::new(&codes).unwrap()
}

fn identity(side: &Value) -> Arc<Identity> {
    Arc::new(Identity::new(SecretKey::from_seed(array(&side["seed"]))))
}

fn step(value: &Value) -> Step {
    let k = if value["k"].is_null() { &value["t"] } else { &value["k"] };
    Step { h: array(&value["h"]), ck: array(&value["ck"]), k: (!k.is_null()).then(|| array(k)) }
}

/// Compares the steps that are there with the first ones of the transcript.
fn compare(what: &str, name: &str, state: &Symmetric, handshake: &Value) -> usize {
    let expected = handshake["steps"].as_array().unwrap();
    assert!(state.trace.len() <= expected.len(), "{name}, {what}");
    for (got, expected) in state.trace.iter().zip(expected) {
        assert_eq!(*got, step(expected), "{name}, {what}: after {}", expected["step"]);
    }
    state.trace.len()
}

fn start(file: &Value, handshake: &Value) -> (Initiator, Vec<u8>) {
    let (options, responder) = (&file["options"], identity(&file["responder"]));
    let mine = &options["initiator"];
    let target = if options["open"] == true {
        let flag = options["flag"].as_u64().unwrap() as u8;
        Target::Open { flag, named: options["anonymous"] == false, remote: None }
    } else {
        Target::Encrypted(*responder.public())
    };
    let network_key = match file["network_key"].as_str().unwrap() {
        "" => None,
        _ => Some(NetworkKey::from_bytes(array(&file["network_key"]))),
    };
    let params = InitiatorParams {
        identity: identity(&file["initiator"]),
        target,
        psk: PresharedKey::from_bytes(array(&file["psk"])),
        network_key,
        offer: Offer {
            hashes: list(&mine["hashes"]),
            ciphers: list(&mine["symmetric"]),
            noise: mine["noise"].as_u64().unwrap() as u8,
            payload_limit: mine["limit"].as_u64().unwrap() as u16,
            features: Features(mine["features"].as_u64().unwrap()),
            lanes: mine["lanes"].as_u64().unwrap() as u8,
        },
        post_quantum: if options["pq"] == true { PostQuantum::Offer } else { PostQuantum::Off },
    };
    let (inputs, arguments) = (&handshake["inputs"], &handshake["arguments"]);
    let inputs = InitiatorInputs {
        index_i: u32::from_le_bytes(array(&inputs["index_i"])),
        ephemeral: array(&inputs["e_i"]),
        connection_key: array(&inputs["K_c"]),
        kem_seed: array(&inputs["kem_dz"]),
        now: WallTime(inputs["now_ns"].as_u64().unwrap()),
    };
    let filler = arguments["filler"].as_str().map(|text| hex::decode(text).unwrap());
    let args = RequestArgs {
        cookie: (!arguments["cookie"].is_null()).then(|| array(&arguments["cookie"])),
        challenge: (!arguments["challenge"].is_null()).then(|| array(&arguments["challenge"])),
        ticket: arguments["ticket"].as_u64().map(|ticket| ticket as u32),
        filler: filler.as_deref().map_or(Filler::Usual, Filler::Bytes),
        version: arguments["cells"]["0x1"].as_u64().unwrap_or(1) as u8,
    };
    Initiator::start(params, &inputs, &args).unwrap()
}

#[test]
fn every_step_of_the_schedule() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
    let mut steps = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.starts_with("transcript-") {
            continue;
        }
        let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for handshake in file["handshakes"].as_array().unwrap() {
            let (initiator, request) = start(&file, handshake);
            steps += compare("request", &name, &initiator.sym, handshake);

            let answered =
                ["consent", "status"].contains(&handshake["answer_kind"].as_str().unwrap());
            if !answered {
                assert_eq!(
                    initiator.sym.trace.len(),
                    handshake["steps"].as_array().unwrap().len(),
                    "{name}"
                );
                continue;
            }
            // the responder has the same transcript after C1, where its REQUEST opens
            let statics = ResponderStatics::new(identity(&file["responder"]), None);
            let opened = statics.open(&RequestView::parse(&request).unwrap()).unwrap();
            compare("responder", &name, &opened.sym, handshake);

            let answer = bytes(&handshake["answer"]);
            let view = ConsentView::parse(&answer).unwrap();
            let mixed = initiator.mix_consent(&view).unwrap();
            let cipher = Cipher::from_code(u64::from(view.symmetric())).unwrap();
            let psk =
                if handshake["answer_kind"] == "status" || file["options"]["anonymous"] == true {
                    PresharedKey::NONE
                } else {
                    PresharedKey::from_bytes(array(&file["psk"]))
                };
            let (mut sym, text) = open_c2(&mixed, cipher, &psk, view.c2()).unwrap();
            assert_eq!(*text, bytes(&handshake["consent"]["plaintext"]), "{name}");
            assert_eq!(sym.consent_key(cipher).as_bytes(), &array(&handshake["consent"]["k2"]));
            sym.mix_hash(&[view.c2()]);
            let count = compare("consent", &name, &sym, handshake);
            assert_eq!(count, handshake["steps"].as_array().unwrap().len(), "{name}");
            assert_eq!(sym.h(), &array(&handshake["consent"]["h_final"]));
        }
    }
    assert!(steps > 200, "{steps}");
}
