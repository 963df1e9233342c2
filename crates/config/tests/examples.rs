//! The examples in `configs/`: valid, without a warning, and meaning what they say.

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Folder, key, secret};
use stadium_config::{
    AutoOff, Ciphers, Endpoint, Environment, Fwmark, HandshakeKind, ListenOn, Loaded, Mtu,
    NoiseEngine, PostQuantum, Rate, Routes, SizeLaw, Switch, Workers, load_in,
};
use stadium_proto::crypto::Cipher;
use stadium_proto::noise::{NoiseByte, NoiseFiller, NoiseRatio};

fn examples() -> Vec<PathBuf> {
    fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("the folder of examples is there") {
            let path = entry.expect("it can be listed").path();
            if path.is_dir() {
                collect(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                into.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs")), &mut found);
    found
}

/// Loads an example as a user would have it: 0600, the key files made.
fn load_example(path: &Path) -> Loaded {
    let folder = Folder::new();
    let text = fs::read_to_string(path).expect("an example can be read");
    for (number, line) in (100..).zip(text.lines().filter(|line| !line.trim().starts_with('#'))) {
        if let Some((_, file)) = line.split_once("_file: ") {
            folder.file(file, secret(number) + "\n", 0o600);
        }
    }
    let copy = folder.file("stadium0.yaml", &text, 0o600);
    let loaded = load_in(&copy, &Environment::default()).unwrap_or_else(|e| panic!("{e}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    loaded.strict().expect("without a warning nothing is stricter")
}

#[test]
fn all_are_valid_without_a_warning() {
    let examples = examples();
    assert!(examples.len() >= 9, "{examples:?}");
    for path in examples {
        let file = load_example(&path).file;
        assert!(!file.inline_secrets && !file.peers.is_empty(), "{}", path.display());
    }
}

#[test]
fn the_two_ends_of_an_example_know_each_other() {
    let load = |name: &str| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/");
        load_example(&Path::new(path).join(name)).file
    };
    for (one, other) in [
        ("two-hosts/alice.yaml", "two-hosts/bob.yaml"),
        ("lan-to-lan/office.yaml", "lan-to-lan/warehouse.yaml"),
        ("roaming-client/server.yaml", "roaming-client/laptop.yaml"),
        ("hub/hub.yaml", "hub/spoke.yaml"),
    ] {
        let (one, other) = (load(one), load(other));
        for (here, there) in [(&one, &other), (&other, &one)] {
            for address in &here.interface.address {
                let taken = there
                    .peers
                    .iter()
                    .flat_map(|peer| &peer.allowed_ips)
                    .any(|net| net.contains(&address.addr()));
                assert!(taken, "{address} is nobody's in {}", there.path.display());
            }
            assert!(here.peers.iter().chain(&there.peers).any(|peer| peer.endpoint.is_some()));
        }
    }
    assert!(load("roaming-client/laptop.yaml").has_default_route());
}

#[test]
fn the_reference_has_every_key_and_its_values() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/reference.yaml");
    let file = load_example(Path::new(path)).file;
    let interface = &file.interface;
    assert_eq!(interface.name.as_str(), "stadium0");
    assert_eq!(interface.address, ["10.7.0.1/24".parse().unwrap(), "fd07::1/64".parse().unwrap()]);
    assert_eq!(interface.listen.0, [ListenOn::Port(51_871)]);
    assert_eq!(interface.listen.addresses().len(), 2);
    assert_eq!((interface.mtu, interface.routes), (Mtu::Auto, Routes::Auto));
    assert_eq!((interface.fwmark, interface.kill_switch), (Fwmark::Auto, Switch::Auto));
    assert_eq!((interface.workers, interface.offload), (Workers::Auto, AutoOff::Auto));
    assert!(interface.hooks.is_empty() && interface.network_key.is_some());
    assert_eq!((interface.handshake_rate.per_second, interface.handshake_rate.burst), (20, 5));
    assert_eq!(file.control.group.as_deref(), Some("vpn"));
    assert_eq!(file.control.metrics, Some(SocketAddr::from(([127, 0, 0, 1], 9871))));
    assert_eq!(file.noise.byte().value(), 130);
    assert_eq!((file.noise.size, file.noise.engine), (SizeLaw::Match, NoiseEngine::Ledger));
    assert_eq!(file.noise.budget, Some(Rate(20_000_000)));
    assert_eq!(file.noise.policy.minimum, NoiseByte::WEAKEST);
    assert_eq!(file.noise.policy.accept, NoiseByte::STRONGEST);
    assert_eq!(file.post_quantum, PostQuantum::Prefer);
    assert_eq!(file.ciphers, Ciphers::List(vec![Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305]));
    let [bob, carol] = &*file.peers else { panic!("two peers") };
    let host = "bob.example.net".to_owned();
    assert_eq!(bob.endpoint, Some(Endpoint::Name { host, port: 51_871 }));
    assert_eq!(bob.heartbeat, Some(Duration::from_secs(25)));
    assert_eq!(bob.handshake, HandshakeKind::Encrypted);
    assert!(bob.preshared_key.is_some() && bob.allowed_ips.len() == 3);
    assert_eq!((bob.noise.ratio, bob.noise.filler), (NoiseRatio::Off, NoiseFiller::Full));
    assert_eq!(carol.noise, file.noise);
    assert_eq!(file.peer_named("carol").unwrap(), carol);
    assert_eq!(file.peer(&bob.public_key).unwrap(), bob);
}

#[test]
fn a_key_is_all_that_is_needed() {
    let folder = Folder::new();
    let json = format!("{{\"interface\": {{\"private_key\": \"{}\"}}}}", secret(1));
    let path = folder.file("net7.yaml", json, 0o600);
    let Loaded { file, warnings, .. } = load_in(&path, &Environment::default()).unwrap();
    assert!(warnings.is_empty());
    assert_eq!(file.interface.name.as_str(), "net7");
    assert_eq!(file.interface.private_key.public().to_base64(), key(1));
    assert_eq!(file.control.socket, Path::new("/run/stadium/net7.sock"));
    assert_eq!(file.interface.listen.0, [ListenOn::Port(0)]);
    assert!(file.peers.is_empty() && file.noise.is_off() && file.inline_secrets);
    assert_eq!(file.noise.policy.accept.to_string(), "1:1 match full");
    assert!(!format!("{file:?}").contains(&secret(1)));
}
