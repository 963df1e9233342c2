//! Edits of peer files: what stays, what goes, what is refused.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

use std::path::Path;
use std::time::Duration;

use stadium_config::{
    EditError, Endpoint, Environment, NewPeer, NewPresharedKey, add_peer, parse, remove_peer,
};
use stadium_proto::identity::{PresharedKey, SecretKey};

const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

fn public(seed: u8) -> String {
    SecretKey::from_seed([seed; 32]).public().to_base64()
}

fn new(name: &str, seed: u8) -> NewPeer {
    NewPeer {
        name: name.to_owned(),
        public_key: SecretKey::from_seed([seed; 32]).public(),
        preshared_key: None,
        endpoint: None,
        allowed_ips: vec![format!("10.7.0.{seed}/32").parse().unwrap()],
        heartbeat: None,
    }
}

fn add(text: &str, peer: &NewPeer) -> Result<String, EditError> {
    add_peer(text, Path::new("x.yaml"), &Environment::default(), peer).map(|t| t.to_string())
}

fn remove(text: &str, peer: &str) -> Result<String, EditError> {
    remove_peer(text, Path::new("x.yaml"), &Environment::default(), peer).map(|t| t.to_string())
}

fn names(text: &str) -> Vec<String> {
    let loaded = parse(text, Path::new("x.yaml"), &Environment::default()).unwrap();
    loaded.file.peers.iter().map(stadium_config::Peer::label).collect()
}

/// Every way of writing a list, with two peers in it but for the first ones.
fn layouts() -> Vec<(usize, String)> {
    let head = format!("# größer\ninterface: {{private_key: {KEY}}}  # ours\n");
    let (a, b) = (public(21), public(22));
    vec![
        (0, head.clone()),
        (0, head.trim_end().to_owned()),
        (0, format!("{head}peers: []   # none yet\nciphers: auto\n")),
        (0, format!("{head}peers:\n# a comment\nciphers: auto\n")),
        (0, format!("{head}peers: null")),
        (0, format!("{{\"interface\": {{\"private_key\": \"{KEY}\"}}}}\n")),
        (0, format!("{{\"interface\": {{\"private_key\": \"{KEY}\"}}, \"peers\": []}}\n")),
        (
            2,
            format!(
                "{head}peers:\n  # the first\n  - name: a   # called so\n    public_key: {a}\n    # \
                 inside\n    allowed_ips: [10.7.0.21/32]\n    # beneath\n\n  # the second\n  - \
                 public_key: {b}\n    name: b\n# after\nciphers: auto\n"
            ),
        ),
        (
            2,
            format!(
                "{head}peers:\n- name: a\n  public_key: {a}\n  allowed_ips:\n  - 10.7.0.21/32\n- \
                 name: b\n  public_key: {b}"
            ),
        ),
        (
            2,
            format!(
                "{head}peers:\n  -\n    name: a\n    public_key: {a}\n  - {{name: b, public_key: {b}}} # b\npost_quantum: off\n"
            ),
        ),
        (2, format!("{head}peers: [{{name: a, public_key: {a}}}, {{name: b, public_key: {b}}}]\n")),
        (
            2,
            format!(
                "{{\n  \"peers\": [\n    {{\"name\": \"a\", \"public_key\": \"{a}\"}},\n    \
                 {{\"name\": \"b\", \"public_key\": \"{b}\"}}\n  ],\n  \"interface\": \
                 {{\"private_key\": \"{KEY}\"}}\n}}\n"
            ),
        ),
    ]
}

#[test]
fn a_peer_is_added_and_removed_in_every_layout_and_comments_stay() {
    for (peers, text) in layouts() {
        for text in [text.clone(), text.replace('\n', "\r\n")] {
            let comments = text.matches('#').count();
            let added = add(&text, &new("carol", 23)).unwrap_or_else(|e| panic!("{text}\n{e}"));
            assert_eq!(names(&added).len(), peers + 1, "{added}");
            assert_eq!(names(&added).last().unwrap(), "carol");
            assert_eq!(added.matches('#').count(), comments, "{added}");
            assert_eq!(added.contains("\r\n"), text.contains("\r\n"));
            let gone = remove(&added, "carol").unwrap_or_else(|e| panic!("{added}\n{e}"));
            assert_eq!(names(&gone), names(&text), "{gone}");
            assert_eq!(gone.matches('#').count(), comments, "{gone}");
            let both = add(&added, &new("dave", 24)).unwrap();
            assert_eq!(names(&both).last().unwrap(), "dave");
        }
    }
}

#[test]
fn all_peers_can_be_removed_one_by_one() {
    for (peers, text) in layouts().into_iter().filter(|(peers, _)| *peers == 2) {
        let one = remove(&text, "a").unwrap_or_else(|e| panic!("{text}\n{e}"));
        assert_eq!(names(&one), ["b"], "{one}");
        let none = remove(&one, &public(22)).unwrap_or_else(|e| panic!("{one}\n{e}"));
        assert_eq!(names(&none), [""; 0], "{none}");
        assert_eq!(peers, 2);
        assert_eq!(names(&add(&none, &new("x", 30)).unwrap()), ["x"]);
    }
}

#[test]
fn everything_but_the_entry_stays_byte_for_byte() {
    let (_, text) = layouts().remove(7);
    let added = add(&text, &new("carol", 23)).unwrap();
    let (before, after) = added.split_once("  - name: carol\n").unwrap();
    let rest = after.split_once("    allowed_ips: [\"10.7.0.23/32\"]\n").unwrap().1;
    assert_eq!(format!("{before}{rest}"), text);
    assert_eq!(remove(&added, "carol").unwrap(), text);
}

#[test]
fn all_keys_of_a_peer_are_written() {
    let peer = NewPeer {
        preshared_key: Some(NewPresharedKey::Inline(PresharedKey::from_base64(KEY).unwrap())),
        endpoint: Some("[2001:db8::1]:7".to_owned()),
        heartbeat: Some(Duration::from_secs(25)),
        ..new("Žofie: \"the\" \\ # 1", 23)
    };
    for (_, text) in layouts() {
        let added = add(&text, &peer).unwrap();
        let file = parse(&added, Path::new("x.yaml"), &Environment::default()).unwrap().file;
        let found = file.peers.last().unwrap();
        assert_eq!(found.name.as_deref(), Some("Žofie: \"the\" \\ # 1"));
        assert_eq!(found.endpoint, Some(Endpoint::Address("[2001:db8::1]:7".parse().unwrap())));
        assert_eq!(found.heartbeat, peer.heartbeat);
        assert!(found.preshared_key.is_some());
    }
}

#[test]
fn what_would_be_wrong_is_refused() {
    let (_, text) = layouts().remove(7);
    let refusal = |peer: &NewPeer| add(&text, peer).unwrap_err().to_string();
    assert!(refusal(&new("a", 23)).contains("is called"), "{}", refusal(&new("a", 23)));
    assert!(refusal(&new("c", 21)).contains("public key"), "{}", refusal(&new("c", 21)));
    assert!(refusal(&new("c", 1)).contains("this node itself"));
    assert!(matches!(remove(&text, "nobody"), Err(EditError::UnknownPeer(_))));
    assert!(matches!(add("interface: [", &new("c", 23)), Err(EditError::Invalid(_))));
}

#[test]
fn aliases_are_left_to_people() {
    let text = format!(
        "interface: {{private_key: {KEY}}}\npeers:\n  - name: a\n    public_key: {}\n    noise: &n \
         {{ratio: off}}\n  - name: b\n    public_key: {}\n    noise: *n\n",
        public(21),
        public(22)
    );
    assert!(matches!(remove(&text, "a"), Err(EditError::Refused(_) | EditError::Layout(_))));
    assert_eq!(names(&remove(&text, "b").unwrap()), ["a"]);
}
