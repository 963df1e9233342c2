//! Where secrets are looked for, and who else can read them.

mod common;

use std::fs;

use common::{Folder, key, secret};
use stadium_config::{Environment, HookTrust, Loaded, load_in};

const FILE: &str = "interface:\n  private_key_file: node.key\n";

fn load(folder: &Folder, name: &str) -> Loaded {
    load_in(&folder.path().join(name), &Environment::default()).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn a_secret_file_is_relative_to_the_peer_file_and_trimmed() {
    let folder = Folder::new();
    folder.file("node.key", format!("  {}\n\n", secret(3)), 0o600);
    folder.file("a.yaml", FILE, 0o644);
    let loaded = load(&folder, "a.yaml");
    assert_eq!(loaded.file.interface.private_key.public().to_base64(), key(3));
    assert!(loaded.warnings.is_empty() && !loaded.file.inline_secrets);
}

#[test]
fn credentials_are_looked_for_second() {
    let (folder, credentials) = (Folder::new(), Folder::new());
    let path = folder.file("a.yaml", FILE, 0o600);
    let environment = Environment { credentials: Some(credentials.path().to_owned()) };
    let errors = load_in(&path, &environment).unwrap_err();
    assert!(errors.to_string().contains("a.yaml:2:21: error: cannot read the private key from "));
    // systemd lets a group read them where the service has a user of its own
    credentials.file("node.key", secret(4), 0o440);
    let loaded = load_in(&path, &environment).unwrap();
    assert_eq!(loaded.file.interface.private_key.public().to_base64(), key(4));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    folder.file("node.key", secret(5), 0o600);
    let loaded = load_in(&path, &environment).unwrap();
    assert_eq!(loaded.file.interface.private_key.public().to_base64(), key(5));
}

#[test]
fn a_loose_secret_file_is_a_warning_and_strictly_an_error() {
    let folder = Folder::new();
    let path = folder.file("a.yaml", FILE, 0o600);
    for (mode, word) in [(0o644, "read"), (0o640, "read"), (0o622, "write")] {
        let node_key = folder.file("node.key", secret(3), mode);
        let loaded = load(&folder, "a.yaml");
        let line = format!(
            "{}:2:21: warning: others can {word} the secret file {} (mode {mode:04o}); run \
             `chmod 600 {}`",
            path.display(),
            node_key.display(),
            node_key.display()
        );
        assert_eq!(loaded.warnings.to_string(), line);
        let errors = loaded.strict().unwrap_err();
        assert_eq!(errors.to_string(), line.replace(": warning: ", ": error: "));
    }
}

#[test]
fn a_loose_peer_file_matters_with_a_secret_in_it() {
    let folder = Folder::new();
    let text = format!("interface:\n  private_key: {}\n", secret(3));
    folder.file("a.yaml", &text, 0o640);
    let loaded = load(&folder, "a.yaml");
    let warning = loaded.warnings.to_string();
    assert!(warning.contains("a.yaml:2:16: warning: others can read this file (mode 0640)"));
    assert!(loaded.file.inline_secrets && loaded.strict().is_err());
    folder.file("a.yaml", text, 0o600);
    assert!(load(&folder, "a.yaml").strict().is_ok());
}

#[test]
fn hooks_are_trusted_by_owner_and_mode() {
    use std::os::unix::fs::MetadataExt as _;

    let folder = Folder::new();
    folder.file("node.key", secret(3), 0o600);
    let text = format!("{FILE}  hooks: {{post_up: [\"true\"]}}\n");
    let path = folder.file("a.yaml", &text, 0o600);
    let owner = fs::metadata(path).unwrap().uid();
    let loaded = load(&folder, "a.yaml");
    if owner == 0 {
        assert_eq!(loaded.file.hook_trust, HookTrust::RootOnly);
        assert!(loaded.warnings.is_empty());
        folder.file("a.yaml", text, 0o620);
        let loaded = load(&folder, "a.yaml");
        assert_eq!(loaded.file.hook_trust, HookTrust::WritableByOthers(0o620));
        assert!(loaded.warnings.to_string().contains(":3:3: warning: the hooks will not run"));
        let path = folder.file("b.yaml", FILE, 0o600);
        std::os::unix::fs::chown(path, Some(1234), None).unwrap();
        assert_eq!(load(&folder, "b.yaml").file.hook_trust, HookTrust::OwnedBy(1234));
    } else {
        assert_eq!(loaded.file.hook_trust, HookTrust::OwnedBy(owner));
    }
}
