//! `init` and `check`, and `up` as far as the peer file.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Folder, argument, stadium, stadium_with};

fn mode(path: &std::path::Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn init_writes_once_what_check_accepts() {
    let folder = Folder::new();
    let path = folder.path("new/stadium0.yaml");
    let file = argument(&path);
    let first = stadium(&["init", &file]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert_eq!(first.stdout.len(), 45, "{}", first.stdout);
    assert!(first.stderr.contains(&file), "{}", first.stderr);
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));

    let text = std::fs::read_to_string(&path).unwrap();
    let value: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    let port = value["interface"]["listen"].as_u64().unwrap();
    assert!((49152..=65535).contains(&port), "{port}");
    let key = value["interface"]["private_key"].as_str().unwrap();
    assert_eq!(stadium_with(&["pubkey"], key.as_bytes()).stdout, first.stdout);
    assert!(!first.stderr.contains(key) && !first.stdout.contains(key));

    let check = stadium(&["check", "--strict", &file]);
    assert_eq!((check.code, check.stderr.as_str()), (0, ""));
    assert!(check.stdout.contains("valid: interface stadium0, 0 peers"), "{}", check.stdout);

    let second = stadium(&["init", &file]);
    assert_eq!((second.code, second.stdout.as_str()), (1, ""));
    assert!(second.stderr.contains("exists already"), "{}", second.stderr);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn two_nodes_get_keys_and_ports_of_their_own() {
    let folder = Folder::new();
    let (one, other) = (argument(&folder.path("a.yaml")), argument(&folder.path("b.yaml")));
    assert_ne!(stadium(&["init", &one]).stdout, stadium(&["init", &other]).stdout);
}

#[test]
fn init_refuses_a_name_that_no_interface_can_have() {
    let folder = Folder::new();
    let path = folder.path("much-too-long-for-an-interface.yaml");
    let ended = stadium(&["init", &argument(&path)]);
    assert_eq!(ended.code, 2);
    assert!(!path.exists());
}

#[test]
fn check_and_up_name_the_line_of_every_error() {
    let folder = Folder::new();
    let file = folder.write(
        "bad.yaml",
        "interface:\n  private_key: short\n  adress: [10.7.0.1/24]\npeers:\n  - endpoint: 1\n",
    );
    for arguments in [
        &["check", &*file][..],
        &["check", "--strict", &*file],
        &["up", &*file],
        &["up", "--dry-run", &*file],
        &["up", "--detach", &*file],
    ] {
        let ended = stadium(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{arguments:?}: {}", ended.stderr);
        let lines: Vec<_> =
            ended.stderr.lines().filter(|line| line.contains(": error: ")).collect();
        assert!(lines.len() >= 3, "{}", ended.stderr);
        assert!(lines.iter().all(|line| line.starts_with(&format!("{file}:"))), "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("{file}:3:3: error: ")), "{}", ended.stderr);
        assert!(ended.stderr.contains("address"), "{}", ended.stderr);
    }
}

#[test]
fn a_file_that_is_not_there_is_wrong_usage() {
    for arguments in [
        ["check", "/nonexistent/stadium0.yaml"],
        ["up", "/nonexistent/stadium0.yaml"],
        ["status", "/nonexistent/stadium0.yaml"],
        ["down", "/nonexistent/stadium0.yaml"],
    ] {
        let ended = stadium(&arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(ended.stderr.contains("/nonexistent/stadium0.yaml"), "{}", ended.stderr);
    }
}

#[test]
fn others_reading_a_secret_is_a_warning_and_strictly_an_error() {
    let folder = Folder::new();
    let file = argument(&folder.path("loose.yaml"));
    assert_eq!(stadium(&["init", &file]).code, 0);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let check = stadium(&["check", &file]);
    assert_eq!(check.code, 0);
    assert!(check.stderr.contains(": warning: "), "{}", check.stderr);
    let strict = stadium(&["check", "--strict", &file]);
    assert_eq!(strict.code, 2);
    assert!(strict.stderr.contains(": error: "), "{}", strict.stderr);
}

#[test]
fn a_dry_run_says_what_it_would_do_and_hides_secrets() {
    let folder = Folder::new();
    let file = argument(&folder.path("dry0.yaml"));
    assert_eq!(stadium(&["init", &file]).code, 0);
    let text = std::fs::read_to_string(&file).unwrap();
    let value: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    let key = value["interface"]["private_key"].as_str().unwrap();
    let dry = stadium(&["up", "--dry-run", &file]);
    assert_eq!(dry.code, 0, "{}", dry.stderr);
    assert!(dry.stdout.contains("dry0"), "{}", dry.stdout);
    assert!(!dry.stdout.contains(key) && !dry.stderr.contains(key));
}
