//! Usage, version, completions, manual pages.

use std::process::{Command, Stdio};

use crate::support::{Folder, argument, stadium};

const VERBS: [&str; 17] = [
    "up",
    "confirm",
    "down",
    "status",
    "reload",
    "wait",
    "ping",
    "peer",
    "check",
    "noise",
    "import",
    "init",
    "genkey",
    "pubkey",
    "genpsk",
    "completions",
    "man",
];

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_possible() {
    for arguments in [
        &[][..],
        &["fly"],
        &["up"],
        &["up", "a b"],
        &["up", "x", "--detach", "--dry-run"],
        &["up", "x", "--log-file", "/tmp/x"],
        &["status", "--interval", "1s"],
        &["wait", "x", "--timeout", "soon"],
        &["ping", "x"],
        &["ping", "x", "bob", "-i", "0s"],
        &["completions", "basic"],
        &["genkey", "--log-format", "xml"],
    ] {
        let ended = stadium(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(!ended.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn version_and_help_are_data() {
    let version = stadium(&["--version"]);
    assert_eq!(version.code, 0);
    assert_eq!(version.stdout, format!("stadium {}\n", env!("CARGO_PKG_VERSION")));
    let help = stadium(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    for verb in VERBS {
        assert!(help.stdout.contains(&format!("\n  {verb} ")), "{verb}");
        assert_eq!(stadium(&[verb, "--help"]).code, 0, "{verb}");
    }
    assert!(help.stdout.contains("Exit codes"));
    assert!(!stadium(&["up", "--help"]).stdout.contains("--detached"));
}

#[test]
fn completions_come_for_the_common_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stadium(&["completions", shell]);
        assert_eq!((script.code, script.stderr.as_str()), (0, ""), "{shell}");
        assert!(script.stdout.contains("genpsk"), "{shell}");
    }
}

#[test]
fn every_verb_has_a_manual_page() {
    let all = stadium(&["man"]);
    assert_eq!((all.code, all.stderr.as_str()), (0, ""));
    let folder = Folder::new();
    let written = stadium(&["man", &argument(&folder.path("man1"))]);
    assert_eq!((written.code, written.stdout.as_str()), (0, ""));
    for verb in VERBS {
        assert!(all.stdout.contains(&format!(".TH stadium-{verb} ")), "{verb}");
        let page = std::fs::read_to_string(folder.path(&format!("man1/stadium-{verb}.1"))).unwrap();
        assert!(page.contains(&format!(".TH stadium-{verb} ")), "{verb}");
    }
    assert!(folder.path("man1/stadium.1").exists());
    assert!(!folder.path("man1/stadium-help.1").exists());
    let nowhere = stadium(&["man", "/proc/nowhere"]);
    assert_eq!(nowhere.code, 1);
    assert!(nowhere.stderr.contains("/proc/nowhere"), "{}", nowhere.stderr);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_stadium"))
        .arg("man")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}

#[test]
fn errors_come_as_json_where_that_is_asked_for() {
    let ended = stadium(&["--log-format", "json", "down", "/nonexistent/x.yaml"]);
    assert_eq!(ended.code, 2);
    let error: serde_json::Value = serde_json::from_str(&ended.stderr).unwrap();
    assert_eq!(error["level"], "ERROR");
    assert_eq!(error["exit_code"], 2);
}
