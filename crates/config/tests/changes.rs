//! What a changed file means for a running daemon.

mod common;

use std::path::Path;

use common::{key, secret};
use stadium_config::{Change, Effect, Environment, PeerFile, What, diff, parse};

fn file(text: &str) -> PeerFile {
    let text = text
        .replace("SECRET2", &secret(2))
        .replace("SECRET", &secret(1))
        .replace("BOB", &key(7))
        .replace("CAROL", &key(8))
        .replace("PSK2", &secret(10))
        .replace("PSK", &secret(9));
    parse(&text, Path::new("a.yaml"), &Environment::default())
        .unwrap_or_else(|errors| panic!("{errors}\n{text}"))
        .file
}

fn changes(old: &str, new: &str) -> Vec<Change> {
    let changes = diff(&file(old), &file(new));
    let back = diff(&file(new), &file(old));
    assert_eq!(changes.len(), back.len(), "as many changes one way as the other");
    for change in &changes {
        for number in [1, 2, 9, 10] {
            assert!(!change.to_string().contains(&secret(number)), "shows a secret: {change}");
        }
    }
    changes
}

#[test]
fn nothing_changes_between_equal_files() {
    let text = "interface: {private_key: SECRET}\nnoise: {ratio: 1:1}\npeers: [{public_key: BOB, preshared_key: PSK}]\n";
    assert_eq!(changes(text, text), []);
    let other = "peers:\n- preshared_key: PSK\n  public_key: BOB\nnoise: {ratio: \"1:1\"}\ninterface:\n  private_key: SECRET\n  mtu: auto\n";
    assert_eq!(changes(text, other), []);
}

#[test]
fn every_setting_has_its_effect() {
    use Effect::{Live, Rehandshake, Restart};
    for (change, effect, shown) in [
        ("name: b", Restart, "interface.name: a → b (restart)"),
        ("listen: 5", Restart, "interface.listen: any free port → 5 (restart)"),
        ("workers: 3", Restart, "interface.workers: auto → 3 (restart)"),
        ("offload: off", Restart, "interface.offload: auto → off (restart)"),
        ("fwmark: 7", Restart, "interface.fwmark: auto → 7 (restart)"),
        ("network_key: PSK", Rehandshake, "interface.network_key: none → hidden (re-handshake)"),
        ("mtu: 1400", Live, "interface.mtu: auto → 1400 (live)"),
        ("address: [10.7.0.1/24]", Live, "interface.address: none → 10.7.0.1/24 (live)"),
        ("routes: {table: 5}", Live, "interface.routes: auto → table 5 (live)"),
        ("kill_switch: off", Live, "interface.kill_switch: auto → off (live)"),
        ("dns: [10.7.0.1]", Live, "interface.dns: none → 10.7.0.1 (live)"),
        ("hooks: {post_up: [a]}", Restart, "interface.hooks.post_up: none → 1 command (restart)"),
        ("mss_clamp: off", Live, "interface.mss_clamp: auto → off (live)"),
        ("copy_dscp: true", Live, "interface.copy_dscp: off → on (live)"),
        ("allow_open: true", Live, "interface.allow_open: off → on (live)"),
        ("early_data: true", Live, "interface.early_data: off → on (live)"),
        ("stealth: true", Live, "interface.stealth: off → on (live)"),
        ("lan: true", Live, "interface.lan: off → on (live)"),
        (
            "handshake_rate: {burst: 9}",
            Live,
            "interface.handshake_rate: 20 a second, burst 5 → 20 a second, burst 9 (live)",
        ),
    ] {
        let old = "interface:\n  private_key: SECRET\n";
        let found = changes(old, &format!("{old}  {change}\n"));
        // the default socket follows the name
        let found: Vec<_> =
            found.iter().filter(|c| !c.to_string().starts_with("control.socket")).collect();
        assert_eq!(found.len(), 1, "{change}");
        assert_eq!((found[0].effect, found[0].to_string().as_str()), (effect, shown));
    }
    for (change, effect, shown) in [
        ("control: {group: vpn}", Restart, "control.group: none → vpn (restart)"),
        (
            "control: {metrics: 127.0.0.1:9}",
            Restart,
            "control.metrics: none → 127.0.0.1:9 (restart)",
        ),
        ("control: {socket: /a}", Restart, "control.socket: /run/stadium/a.sock → /a (restart)"),
        ("post_quantum: require", Rehandshake, "post_quantum: prefer → require (re-handshake)"),
        ("ciphers: [aes-256-gcm]", Rehandshake, "ciphers: auto → aes-256-gcm (re-handshake)"),
        ("noise: {ratio: 1:8}", Rehandshake, "noise.ratio: off → 1:8 (re-handshake)"),
        ("noise: {budget: 1mbit}", Live, "noise.budget: none → 1mbit (live)"),
        ("noise: {engine: shaped}", Live, "noise.engine: ledger → shaped (live)"),
        ("noise: {size: uniform}", Live, "noise.size: match → uniform (live)"),
    ] {
        let old = "interface: {private_key: SECRET}\n";
        let found = changes(old, &format!("{old}{change}\n"));
        assert_eq!(found.len(), 1, "{change}");
        assert_eq!((found[0].effect, found[0].to_string().as_str()), (effect, shown));
    }
}

#[test]
fn another_key_is_another_node() {
    let found = changes("interface: {private_key: SECRET}", "interface: {private_key: SECRET2}");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].effect, Effect::Restart);
    assert!(found[0].to_string().contains(&key(2)));
}

#[test]
fn peers_come_go_and_change() {
    let old = "interface: {private_key: SECRET}\npeers:\n\
               - {public_key: BOB, name: bob, preshared_key: PSK, allowed_ips: [10.0.0.1, 10.0.0.2]}\n";
    let with = |peers: &str| format!("interface: {{private_key: SECRET}}\npeers:\n{peers}");
    let found = changes(old, &with("- {public_key: CAROL}\n"));
    assert!(matches!(&found[0].what, What::PeerRemoved { label, .. } if label == "bob"));
    assert!(matches!(&found[1].what, What::PeerAdded { label, .. } if *label == key(8)));
    assert_eq!(found.len(), 2);

    let found = changes(
        old,
        &with(
            "- {public_key: BOB, name: bert, preshared_key: PSK2, allowed_ips: [10.0.0.2, 10.0.0.1], \
             heartbeat: 25s}\n- {public_key: CAROL}\n",
        ),
    );
    assert_eq!(found.len(), 2);
    let What::PeerChanged { label, fields, .. } = &found[0].what else { panic!("{found:?}") };
    let keys: Vec<_> = fields.iter().map(|field| (&*field.key, field.effect)).collect();
    assert_eq!(label, "bert");
    assert_eq!(
        keys,
        [
            ("name", Effect::Live),
            ("preshared_key", Effect::Rehandshake),
            ("heartbeat", Effect::Live)
        ]
    );
    assert_eq!(found[0].effect, Effect::Rehandshake);
    assert_eq!(
        found[0].to_string(),
        "peer bert: name: bob → bert (live); preshared_key: hidden → hidden (re-handshake); \
         heartbeat: off → 25s (live)"
    );
}

#[test]
fn a_default_reaches_the_peers_that_do_not_override_it() {
    let peers = "peers:\n- {public_key: BOB, noise: off}\n- {public_key: CAROL}\n";
    let found = changes(
        &format!("interface: {{private_key: SECRET}}\n{peers}"),
        &format!("interface: {{private_key: SECRET}}\nnoise: {{ratio: 1:1}}\n{peers}"),
    );
    let shown: Vec<_> = found.iter().map(Change::to_string).collect();
    assert_eq!(
        shown,
        [
            "noise.ratio: off → 1:1 (re-handshake)".to_owned(),
            format!("peer {}: noise.ratio: off → 1:1 (re-handshake)", key(8)),
        ]
    );
}
