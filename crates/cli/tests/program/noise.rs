//! `noise`, `status --noise`, and what `check` and `up` say of noise.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use stadium_node::api::{
    Inside, InterfaceNoise, NoiseDirection, NoiseProfiles, NoiseStatus, Outside, PeerNoise,
    Request, Response,
};

use crate::support::{Daemon, Folder, stadium, stadium_with};

/// A private key and its public one.
fn keys() -> (String, String) {
    let private = stadium(&["genkey"]).stdout.trim().to_owned();
    let public = stadium_with(&["pubkey"], private.as_bytes()).stdout.trim().to_owned();
    (private, public)
}

/// Two files of one connection; only the first knows where the other is.
fn ends(folder: &Folder, first: &str, second: &str) -> (String, String) {
    let ((one, one_public), (two, two_public)) = (keys(), keys());
    let file = |key: &str, peer: &str, endpoint: &str, name: &str, noise: &str| {
        format!(
            "interface: {{private_key: {key}, mtu: 1420}}\n{noise}\npeers:\n  - {{name: {name}, \
             public_key: {peer}, allowed_ips: [10.7.0.2/32]{endpoint}}}\n"
        )
    };
    let endpoint = ", endpoint: \"192.0.2.1:5\"";
    let ends = [
        folder.write("one0.yaml", &file(&one, &two_public, endpoint, "two", first)),
        folder.write("two0.yaml", &file(&two, &one_public, "", "one", second)),
    ];
    for path in &ends {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let [first, second] = ends;
    (first, second)
}

#[test]
fn settings_are_judged_with_their_cost() {
    let folder = Folder::new();
    let (file, _) = ends(&folder, "noise: {ratio: \"1:1\", filler: full}", "");
    let told = stadium(&["noise", &file]);
    assert_eq!((told.code, told.stderr.as_str()), (0, ""));
    for words in [
        "peer two",
        "asks    ratio 1:1, size match, filler full; engine ledger",
        "a peer with the default `accept` agrees",
        "note    bursts of noise blur",
        "cost    idle: ",
        "cost    browsing: ",
        "cost    bulk: ",
        "every datagram has 1480 bytes over IPv4, 1500 over IPv6",
        "a round trip takes up to 2.5 ms longer",
    ] {
        assert!(told.stdout.contains(words), "{words}\nin\n{}", told.stdout);
    }
    assert!(told.stdout.lines().all(|line| line.chars().count() <= 100), "{}", told.stdout);

    let json: Value = serde_json::from_str(&stadium(&["noise", &file, "--json"]).stdout).unwrap();
    assert_eq!(json["schema"], 1);
    let peer = &json["peers"][0];
    assert_eq!((&peer["asked"]["byte"], &peer["payload_limit"]), (&130.into(), &1420.into()));
    assert_eq!((&peer["path"]["ipv4"], &peer["path"]["always"]), (&1480.into(), &true.into()));
    let costs = peer["costs"].as_array().unwrap();
    let loads: Vec<_> = costs.iter().map(|cost| cost["load"].as_str().unwrap()).collect();
    assert_eq!(loads, ["idle", "browsing", "bulk"]);
    // 45 packets a second of 1,480 bytes, twice, less 30 of 1,360 and 15 of 150
    assert_eq!(costs[1]["added_kbit_s"], 721.2);
    assert!(costs[1]["added_gib_month"].as_f64().unwrap() > 30.0);
    assert_eq!(peer["other"], Value::Null);
}

#[test]
fn what_separates_is_said_first_and_too_strong_a_wish_is_told() {
    let folder = Folder::new();
    let noise = "noise: {ratio: \"4:1\", size: half, filler: full, accept: {ratio: \"4:1\"}}";
    let (file, _) = ends(&folder, noise, "");
    let told = stadium(&["noise", &file]);
    assert_eq!(told.code, 0);
    assert!(told.stderr.contains("hides nothing"), "{}", told.stderr);
    assert!(told.stdout.contains("agrees to no more than ratio 1:1"), "{}", told.stdout);
    let findings: Vec<_> = told.stdout.lines().filter(|line| !line.starts_with("   ")).collect();
    let first = findings.iter().position(|line| line.starts_with("  bad ")).unwrap();
    let note = findings.iter().position(|line| line.starts_with("  note ")).unwrap();
    assert!(first < note, "{}", told.stdout);
}

#[test]
fn two_files_are_held_against_each_other() {
    let folder = Folder::new();
    let strong = "noise: {ratio: \"4:1\", filler: full, accept: {ratio: \"4:1\"}}";
    let (one, two) = ends(&folder, strong, "noise: {accept: {ratio: \"1:2\"}, engine: shaped}");
    let weaker = stadium(&["noise", &one, "--other", &two]);
    assert_eq!((weaker.code, weaker.stderr.as_str()), (0, ""), "{}", weaker.stdout);
    assert!(weaker.stdout.contains("the two agree on 1:2 match full, after a counter-proposal"));
    assert!(weaker.stdout.contains("`ledger` from here, `shaped` from there"), "{}", weaker.stdout);
    let json = stadium(&["noise", &one, "--other", &two, "--json"]).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    let peer = &json["peers"][0];
    assert_eq!(peer["other"]["asking"]["weaker"], true);
    assert_eq!(peer["other"]["answering"], Value::Null, "it knows no endpoint");
    assert_eq!((&peer["judged"]["ratio"], &peer["asked"]["ratio"]), (&"1:2".into(), &"4:1".into()));

    let proud = "noise: {ratio: \"4:1\", filler: full, minimum: {ratio: \"1:1\"}}";
    let (one, two) = ends(&folder, proud, "noise: {accept: {ratio: \"1:2\"}}");
    let refused = stadium(&["noise", &one, "--other", &two]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("no session will stand with two"), "{}", refused.stderr);
    assert!(refused.stdout.contains("do not agree"), "{}", refused.stdout);

    let elsewhere = Folder::new();
    let (stranger, _) = ends(&elsewhere, "", "");
    let wrong = stadium(&["noise", &one, "--other", &stranger]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (2, ""));
    assert!(wrong.stderr.contains("not each other's peers"), "{}", wrong.stderr);
}

#[test]
fn a_peer_that_is_not_there_and_a_file_that_is_wrong() {
    let folder = Folder::new();
    let (file, _) = ends(&folder, "noise: {ratio: \"3:1\"}", "");
    let wrong = stadium(&["noise", &file]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (2, ""));
    assert!(wrong.stderr.contains(&format!("{file}:2:")), "{}", wrong.stderr);
    let (file, _) = ends(&folder, "", "");
    let nobody = stadium(&["noise", &file, "--peer", "carol"]);
    assert_eq!(nobody.code, 2);
    assert!(nobody.stderr.contains("no peer `carol`"), "{}", nobody.stderr);
    assert_eq!(stadium(&["noise", &file, "--peer", "two"]).code, 0);
}

#[test]
fn check_and_up_agree_on_machines() {
    let folder = Folder::new();
    let (file, _) = ends(&folder, "noise: {ratio: \"1:1\", filler: full, engine: machine}", "");
    for arguments in [&["check", &*file][..], &["up", "--dry-run", &*file], &["noise", &*file]] {
        let ended = stadium(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(ended.stderr.contains(&format!("{file}:2:")), "{}", ended.stderr);
        let remedy = if cfg!(feature = "machine") { "machine_file" } else { "--features machine" };
        assert!(ended.stderr.contains(remedy), "{}", ended.stderr);
    }
}

fn profiles() -> NoiseProfiles {
    let direction = NoiseDirection {
        packets: 8,
        bytes: 800,
        filler_bytes: 10_560,
        noise_packets: 8,
        noise_bytes: 11_360,
        ratio: Some(1.0),
        agreed_ratio: 1.0,
        owed: Some(3),
        shed: Some(0),
        overhead_percent: Some(2740.0),
        inside: Inside { sizes: vec![0, 8], gaps: vec![7] },
        outside: Outside { real_sizes: vec![0; 24], noise_sizes: vec![0; 24], gaps: vec![15] },
    };
    NoiseProfiles::new(vec![InterfaceNoise {
        name: "test0".to_owned(),
        peers: vec![PeerNoise {
            name: Some("bob".to_owned()),
            public_key: "KEY=".to_owned(),
            noise: NoiseStatus::from_byte(130, false),
            engine: "ledger".to_owned(),
            budget_bits: None,
            tx: Some(direction),
            rx: None,
        }],
    }])
}

#[test]
fn the_live_profile_is_asked_for_and_shown() {
    for json in [false, true] {
        let daemon = Daemon::start(|_| Some(Response::Noise(profiles())));
        let mut arguments = vec!["status", &daemon.iface, "--noise"];
        arguments.extend(json.then_some("--json"));
        let ended = stadium(&arguments);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
        if json {
            let expected = serde_json::to_string(&profiles()).unwrap() + "\n";
            assert_eq!(ended.stdout, expected);
        } else {
            assert!(ended.stdout.contains("sent       real  8 packets"), "{}", ended.stdout);
            assert!(ended.stdout.contains("3 noise packets owed"), "{}", ended.stdout);
        }
        assert_eq!(daemon.requests(), [Request::Noise]);
    }
}
