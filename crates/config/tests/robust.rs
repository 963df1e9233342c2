//! No text makes the parser panic, hang, or show a secret.

mod common;

use std::path::Path;

use common::secret;
use proptest::prelude::*;
use stadium_config::{Environment, parse};

fn valid() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/reference.yaml");
    std::fs::read_to_string(path)
        .expect("the reference is there")
        .replace("private_key_file: stadium0.key", &format!("private_key: {}", secret(1)))
        .replace("network_key_file: net.key", &format!("network_key: {}", secret(2)))
        .replace("preshared_key_file: bob.psk", &format!("preshared_key: {}", secret(3)))
}

/// Parses, and checks what is said about it.
fn check(text: &str) {
    let found = match parse(text, Path::new("a.yaml"), &Environment::default()) {
        Ok(loaded) => {
            assert_eq!(loaded.warnings.errors(), 0);
            assert!(!format!("{:?}", loaded.file).contains(&secret(1)));
            loaded.warnings
        }
        Err(errors) => {
            assert!(errors.errors() > 0);
            errors
        }
    };
    // to YAML 1.1 these all end a line
    let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() + 1;
    for item in &found {
        assert!((1..=lines).contains(&(item.position.line as usize)), "{item} in {text:?}");
        assert!(item.position.column >= 1);
        let printable = item.message.chars().all(|c| !c.is_control());
        assert!(printable && item.message.len() < 500, "{item:?}");
    }
    let mut places: Vec<_> = found.iter().map(|item| item.position).collect();
    places.sort_unstable();
    assert!(found.iter().map(|item| item.position).eq(places));
}

#[test]
fn the_start_of_the_mutations_is_valid() {
    let loaded = parse(&valid(), Path::new("a.yaml"), &Environment::default()).unwrap();
    assert!(loaded.warnings.is_empty());
}

#[test]
fn every_line_may_be_missing_doubled_or_shifted() {
    let text = valid();
    let lines: Vec<_> = text.lines().collect();
    for at in 0..lines.len() {
        let mut missing = lines.clone();
        missing.remove(at);
        check(&missing.join("\n"));
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at]);
        check(&doubled.join("\r\n"));
        for shift in
            [" ", "\t", "- ", "&a ", "*a ", "!b ", "? ", "| ", "> ", "%", "---\n", "{", "]"]
        {
            let line = format!("{shift}{}", lines[at]);
            let mut shifted = lines.clone();
            shifted[at] = &line;
            check(&shifted.join("\n"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_text(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn text_of_yaml_characters(text in "[a-c0-2 \\t\\n\\r:\\-\\[\\]{},#&*!|>'\"%@`?~=<\u{feff}\u{85}\u{2028}]{0,60}") {
        check(&text);
    }

    #[test]
    fn text_of_known_words(words in prop::collection::vec(prop::sample::select(vec![
        "interface", "private_key", "peers", "public_key", "noise", "ratio", "allowed_ips", ": ",
        ":\n  ", "\n", "\n  ", "\n- ", "\n  - ", "[", "]", "{", "}", ", ", "\"", "'", "off", "1:1",
        "10.0.0.0/8", "::/0", "&a ", "*a", "null", "0x1f", "1e3", "|\n  ", "#", "---", "\t",
    ]), 0..40)) {
        check(&words.concat());
    }

    #[test]
    fn a_valid_file_with_some_characters_changed(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<char>(), 0..3usize), 1..4)
    ) {
        let mut text: Vec<char> = valid().chars().collect();
        for (at, with, how) in changes {
            let at = at.index(text.len());
            match how {
                0 => text[at] = with,
                1 => text.insert(at, with),
                _ => drop(text.remove(at)),
            }
        }
        let text: String = text.into_iter().collect();
        check(&text);
    }
}

#[test]
fn ten_thousand_peers() {
    use std::fmt::Write as _;

    let mut text = format!("interface:\n  private_key: {}\npeers:\n", secret(1));
    for n in 0..10_000u32 {
        let mut seed = [0xff; 32];
        seed[..4].copy_from_slice(&n.to_le_bytes());
        let key = stadium_proto::identity::SecretKey::from_seed(seed).public();
        write!(
            text,
            "  - name: peer-{n}\n    public_key: {key}\n    endpoint: 192.0.2.1:{}\n    \
             allowed_ips: [10.{}.{}.0/24, \"fd07:{n:x}::/64\"]\n    heartbeat: 25s\n",
            n + 1,
            n / 256,
            n % 256,
        )
        .unwrap();
    }
    let start = std::time::Instant::now();
    let loaded = parse(&text, Path::new("a.yaml"), &Environment::default()).unwrap();
    println!("10,000 peers in {:?}", start.elapsed());
    assert_eq!(loaded.file.peers.len(), 10_000);
    let start = std::time::Instant::now();
    assert!(stadium_config::diff(&loaded.file, &loaded.file).is_empty());
    println!("compared in {:?}", start.elapsed());
    // the last peer takes what the first has: found among all of them
    let text = text.replace("10.39.15.0/24", "10.0.0.0/24");
    let errors = parse(&text, Path::new("a.yaml"), &Environment::default()).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(
        errors.to_string().contains("another peer has 10.0.0.0/24 already (line 7)"),
        "{errors}"
    );
}
