//! `peer` and `import`, with files and against a pretended daemon.

use stadium_node::api::{Effect, ReloadChange, ReloadReport, Request, Response};

use crate::support::{Daemon, Folder, argument, stadium};

const KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// A fresh peer file with an address.
fn fresh(folder: &Folder) -> String {
    let file = argument(&folder.path("p0.yaml"));
    assert_eq!(stadium(&["init", &file]).code, 0);
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("address: []", "address: [10.7.0.1/24, \"fd07::1/64\"]");
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn peers_come_and_go_and_the_comments_stay() {
    let folder = Folder::new();
    let file = fresh(&folder);
    let before = std::fs::read_to_string(&file).unwrap();
    let add = ["peer", "add", &file, "bob", "--public-key", KEY, "--endpoint", "bob.example:7"];
    let added = stadium(&[&add[..], &["--allowed-ips", "10.7.0.2/32,192.168.5.0/24"]].concat());
    assert_eq!((added.code, added.stdout.as_str()), (0, ""), "{}", added.stderr);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches('#').count(), before.matches('#').count());
    let list = stadium(&["peer", "list", &file, "--json"]);
    let peers: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
    assert_eq!(peers[0]["name"], "bob");
    assert_eq!(peers[0]["endpoint"], "bob.example:7");
    assert_eq!(peers[0]["allowed_ips"][1], "192.168.5.0/24");
    assert!(stadium(&["peer", "list", &file]).stdout.starts_with("bob  11qY"));

    let again = stadium(&["peer", "add", &file, "bob", "--public-key", KEY]);
    assert_eq!(again.code, 2);
    assert!(again.stderr.contains("bob"), "{}", again.stderr);
    let endpoint = ["peer", "add", &file, "eve", "--public-key", KEY, "--endpoint", "nowhere"];
    assert_eq!(stadium(&endpoint).code, 2);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "a refused edit changes nothing");

    assert_eq!(stadium(&["peer", "remove", &file, "nobody"]).code, 2);
    assert_eq!(stadium(&["peer", "remove", &file, "bob"]).code, 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
}

#[test]
fn an_invitation_is_a_valid_file_that_fits_this_one() {
    let folder = Folder::new();
    let file = fresh(&folder);
    let out = argument(&folder.path("phone.yaml"));
    let invite = ["peer", "invite", &file, "phone", "--endpoint", "vpn.example:7", "--out", &out];
    let first = stadium(&[&invite[..], &["--qr"]].concat());
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert!(first.stdout.contains('█'), "{}", first.stdout);
    assert_eq!(stadium(&["check", "--strict", &out]).code, 0);
    assert_eq!(stadium(&["check", "--strict", &file]).code, 0);
    let read = |path: &str| -> serde_yaml::Value {
        serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let (ours, theirs) = (read(&file), read(&out));
    assert_eq!(theirs["interface"]["address"][0], "10.7.0.2/24");
    assert_eq!(theirs["interface"]["address"][1], "fd07::2/64");
    assert_eq!(ours["peers"][0]["allowed_ips"][0], "10.7.0.2/32");
    assert_eq!(ours["peers"][0]["preshared_key"], theirs["peers"][0]["preshared_key"]);
    assert_eq!(theirs["peers"][0]["endpoint"], "vpn.example:7");
    let listed = stadium(&["peer", "list", &out, "--json"]).stdout;
    assert!(listed.contains("10.7.0.0/24"), "{listed}");

    // never over another, and then nothing is added either
    assert_eq!(stadium(&[&invite[..], &["--own-name", "hub"]].concat()).code, 1);
    assert_eq!(read(&file)["peers"].as_sequence().unwrap().len(), 1);
    let second = stadium(&["peer", "invite", &file, "tablet", "--endpoint", "[2001:db8::1]:7"]);
    assert_eq!(second.code, 0, "{}", second.stderr);
    assert!(second.stdout.contains("10.7.0.3/24"), "{}", second.stdout);
}

#[test]
fn a_secret_is_not_put_where_others_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let key = folder.write("own.key", "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=\n");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let file = folder.write(
        "q0.yaml",
        "interface: {private_key_file: own.key, address: [10.7.0.1/24]}\npeers: []\n",
    );
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ended = stadium(&["peer", "invite", &file, "phone", "--endpoint", "vpn.example:7"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("preshared_key_file: phone.psk"), "{text}");
    let mode = std::fs::metadata(folder.path("phone.psk")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(stadium(&["check", "--strict", &file]).code, 0);
}

#[test]
fn a_daemon_that_runs_is_told() {
    let daemon = Daemon::start(|_| {
        Some(Response::Reload(ReloadReport {
            applied: true,
            changes: vec![ReloadChange { what: "peer bob: added".into(), effect: Effect::Live }],
            warnings: Vec::new(),
        }))
    });
    let key = "private_key: nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
    let text = format!("interface: {{{key}}}\ncontrol: {{socket: test0.sock}}\n");
    std::fs::write(&daemon.iface, text).unwrap();
    let other = "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=";
    let added = stadium(&["peer", "add", &daemon.iface, "bob", "--public-key", other]);
    assert_eq!(added.code, 0, "{}", added.stderr);
    assert!(added.stderr.contains("live  peer bob: added"), "{}", added.stderr);
    assert_eq!(daemon.requests(), [Request::Reload { dry_run: false }]);
}

#[test]
fn an_import_says_what_stays_behind() {
    let folder = Folder::new();
    let conf = folder.write(
        "wg0.conf",
        "[Interface]\nPrivateKey = aaaa\nAddress = 10.0.0.1/24\nPostUp = x\n[Peer]\nPublicKey = \
         bbbb=\nAllowedIPs = 10.0.0.2/32\nEndpoint = 192.0.2.1:51820\n",
    );
    let out = argument(&folder.path("wg0.yaml"));
    let ended = stadium(&["import", &conf, "--out", &out]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(ended.stdout.len(), 45, "the new public key");
    assert!(ended.stderr.contains("X25519") && ended.stderr.contains(":4: `postup`"));
    assert_eq!(stadium(&["check", "--strict", &out]).code, 0);
    assert_eq!(stadium(&["import", &conf, "--out", &out]).code, 1);
    assert_eq!(stadium(&["import", "/nonexistent.conf"]).code, 2);
}
