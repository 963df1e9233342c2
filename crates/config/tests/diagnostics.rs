//! Every class of error and warning, with its exact place.

mod common;

use common::{Folder, key, marked, secret};
use stadium_config::{Environment, Severity, load_in, parse};

/// Checks what is said about a file. `▶` stands before every place that something is said about.
fn said(text: &str, expected: &[&str]) {
    let text = text
        .replace("SECRET", &secret(1))
        .replace("OWN", &key(1))
        .replace("KEY2", &key(2))
        .replace("KEY3", &key(3));
    let (text, places) = marked(&text);
    assert_eq!(places.len(), expected.len(), "as many marks as messages: {text}");
    let path = std::path::Path::new("stadium0.yaml");
    let found = match parse(&text, path, &Environment::default()) {
        Ok(loaded) => loaded.warnings,
        Err(errors) => errors,
    };
    let lines: Vec<_> = found.to_string().lines().map(str::to_owned).collect();
    let places: Vec<_> =
        places.iter().map(|(line, column)| format!("stadium0.yaml:{line}:{column}: ")).collect();
    let matches =
        lines.len() == expected.len()
            && lines.iter().zip(&places).zip(expected).all(|((line, place), words)| {
                line.starts_with(place.as_str()) && line.contains(words)
            });
    assert!(
        matches,
        "in\n{text}\nexpected {places:?} {expected:#?}\nfound\n{}",
        if lines.is_empty() { "nothing".to_owned() } else { lines.join("\n") }
    );
    for item in &found {
        assert!(item.message.contains(['?', ';']), "no remedy: {item}");
        assert!(!item.message.contains(&secret(1)), "shows a secret: {item}");
        let severity = if item.severity == Severity::Error { ": error: " } else { ": warning: " };
        assert!(item.to_string().contains(severity));
    }
}

/// The same for a file whose interface is `rest` after a valid key.
fn interface(rest: &str, expected: &[&str]) {
    said(&format!("interface:\n  private_key: SECRET\n{rest}\n"), expected);
}

/// The same for a file with one peer, `rest` after a valid key.
fn peer(rest: &str, expected: &[&str]) {
    said(
        &format!("interface: {{private_key: SECRET}}\npeers:\n- public_key: KEY2\n{rest}\n"),
        expected,
    );
}

#[test]
fn unknown_keys_name_the_nearest() {
    said(
        "interface:\n  private_key: SECRET\n  ▶lisen: 1\n  ▶ListenPort: 1\n▶colour: red\n",
        &[
            "unknown key `lisen` in `interface`; did you mean `listen`?",
            "unknown key `ListenPort` in `interface`; did you mean `listen`?",
            "unknown key `colour` in the file's top level; remove it (known here: interface, ",
        ],
    );
    peer(
        "  ▶persistent_keepalive: 25s\n  noise: {▶rate: 1:1}",
        &["did you mean `heartbeat`?", "in `noise`; did you mean `ratio`?"],
    );
}

#[test]
fn keys_in_the_wrong_place_are_an_indentation() {
    said(
        "interface:\n  private_key: SECRET\n▶listen: 1\npeers:\n- public_key: KEY2\n  ▶mtu: 1400\n",
        &[
            "unknown key `listen` in the file's top level; it belongs to `interface`: check the indentation",
            "unknown key `mtu` in a peer; it belongs to `interface`",
        ],
    );
}

#[test]
fn a_misspelt_key_is_not_missing_besides() {
    said("▶interfce: {private_key: SECRET}\n", &["did you mean `interface`?"]);
    said("interface: {▶privat_key: SECRET}\n", &["did you mean `private_key`?"]);
    said(
        "interface: {private_key: SECRET}\npeers:\n- ▶publik_key: KEY2\n",
        &["did you mean `public_key`?"],
    );
}

#[test]
fn keys_that_are_no_words() {
    interface("  ▶[a]: 1\n  ▶{b: 1}: 1", &["a key must be a word, not a list", "not a mapping"]);
    interface("  ▶5: 1\n  ▶<<: {mtu: 1400}", &["unknown key `5`", "unknown key `<<`"]);
}

#[test]
fn duplicate_keys() {
    interface(
        "  mtu: 1400\n  ▶mtu: 1500\n  ▶private_key: SECRET",
        &["`mtu` stands in `interface` twice (first in line 3)", "(first in line 2)"],
    );
    peer("  ▶public_key: KEY3", &["`public_key` stands in a peer twice (first in line 3)"]);
}

#[test]
fn a_file_needs_an_interface_and_a_key() {
    said("▶peers: []\n", &["the file has no `interface`"]);
    said("▶interface: {}\n", &["`interface` has no private key; make one with"]);
    said("▶interface:\n", &["`interface` has no private key"]);
    said("interface: ▶[]\n", &["`interface` must be a mapping, not a list"]);
    said("▶- interface\n", &["the file's top level must be a mapping, not a list"]);
    said("▶", &["the file is empty"]);
    said("▶# nothing\n", &["the file is empty"]);
}

#[test]
fn private_keys() {
    said("interface: {private_key: ▶c2hvcnQ=}\n", &["a key is 44 characters of base64"]);
    said("interface: {private_key: ▶5}\n", &["a private key is text"]);
    said("interface: {▶private_key: }\n", &["`private_key` has no value"]);
    said("interface: {private_key: ▶[SECRET]}\n", &["a private key is text"]);
    let zeros = "A".repeat(43);
    said(&format!("interface: {{private_key: ▶{zeros}=}}\n"), &["all zeros"]);
    said(&format!("interface: {{private_key: ▶{zeros}!}}\n"), &["not the base64"]);
    said(
        "interface: {private_key: SECRET, ▶private_key_file: /nowhere/key}\n",
        &["`private_key_file` stands beside `private_key`; remove one"],
    );
}

#[test]
fn secret_files() {
    said(
        "interface: {private_key_file: ▶/nowhere/a.key}\n",
        &["cannot read the private key from /nowhere/a.key: no such file or directory; make it \
           with `umask 077; stadium genkey > /nowhere/a.key`"],
    );
    interface(
        "  network_key_file: ▶/\n",
        &["cannot read the network key from /: it is a folder; correct the path"],
    );
    interface("  network_key_file: ▶/dev/zero\n", &["it is too long for a key file"]);
    peer("  preshared_key_file: ▶\"\"", &["`preshared_key_file`: this is no path"]);
    peer("  preshared_key_file: ▶[a]", &["text is wanted here, not a list"]);
}

#[test]
fn public_keys() {
    let refused = [
        ("AAAA", "44 characters"),
        // not on the curve
        ("AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "not an Ed25519 public key"),
        // the identity
        ("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "small order"),
    ];
    for (text, words) in refused {
        said(
            &format!("interface: {{private_key: SECRET}}\npeers:\n- public_key: ▶{text}\n"),
            &[words],
        );
    }
    said(
        "interface: {private_key: SECRET}\npeers:\n- public_key: ▶OWN\n- ▶name: x\n- public_key: ▶5\n",
        &["the public key of this node itself", "this peer has no `public_key`", "text is wanted"],
    );
    said(
        "interface: {private_key: SECRET}\npeers:\n- public_key: KEY2\n- public_key: ▶KEY2\n",
        &["another peer has this public key already (line 3)"],
    );
}

#[test]
fn names_of_peers() {
    said(
        "interface: {private_key: SECRET}\npeers:\n- {name: bob, public_key: KEY2}\n\
         - {name: ▶bob, public_key: KEY3}\n",
        &["another peer is called `bob` already (line 3)"],
    );
    peer("  name: ▶\"a\\u202eb\"", &["U+202E cannot be printed"]);
    peer("  name: ▶\"\"", &["the text is empty"]);
    peer(
        "  name: ▶7",
        &["text is wanted here, not a number; put it in quotes if it is meant so: \"7\""],
    );
    peer("  name: ▶true", &["text is wanted here, not true or false"]);
}

#[test]
fn prefixes() {
    said(
        "interface: {private_key: SECRET}\npeers:\n\
         - {public_key: KEY2, allowed_ips: [10.7.0.0/24, \"::/0\"]}\n\
         - {public_key: KEY3, allowed_ips: [▶▶10.7.0.9/24, ▶\"::/0\"]}\n",
        &[
            "10.7.0.9/24 has host bits set and is taken for 10.7.0.0/24; write 10.7.0.0/24",
            "another peer has 10.7.0.0/24 already (line 3)",
            "another peer has ::/0 already (line 3)",
        ],
    );
    peer(
        "  allowed_ips: [▶10.0.0.0/33]",
        &["the prefix length of `10.0.0.0/33` is out of range; write a number from 0 to 32"],
    );
    peer("  allowed_ips: [▶\"fd00::/129\"]", &["from 0 to 128"]);
    peer("  allowed_ips: [▶10.0.0.256/8, ▶x]", &["no address prefix", "`x` is no address prefix"]);
    peer(
        "  allowed_ips: ▶10.0.0.0/8",
        &["must be a list, not text; write `allowed_ips: [10.7.0.2/32]`"],
    );
    peer("  allowed_ips: [▶5]", &["text is wanted here, not a number"]);
    peer("  allowed_ips: [10.0.0.0/8, ▶10.0.0.0/8]", &["warning: this peer has 10.0.0.0/8 twice"]);
}

#[test]
fn endpoints() {
    for (text, words) in [
        ("bob", "has no port"),
        ("\"bob:\"", "is no port"),
        ("bob:0", "is no port"),
        ("bob:+5", "is no port"),
        ("bob:65536", "is no port"),
        ("\"fd00::1\"", "has no port; write \"[fd00::1]:51871\""),
        ("\"fd00::x:5\"", "no IPv6 address with a port"),
        ("192.0.2.300:5", "`192.0.2.300` is no IPv4 address"),
        ("0.0.0.0:5", "no peer has the address 0.0.0.0"),
        ("\"[ff02::1]:5\"", "no peer has the address ff02::1"),
        ("192.0.2.1:0", "port 0"),
        ("-bob:5", "no host name"),
        ("a b:5", "no host name"),
        ("bücher.example:5", "`xn--`"),
        ("5", "text is wanted here"),
    ] {
        peer(&format!("  endpoint: ▶{text}"), &[words]);
    }
}

#[test]
fn heartbeats_and_handshakes() {
    peer(
        "  heartbeat: ▶25",
        &["`25` is no duration; write a number with its unit (ms, s, m, h, d), as `25s`"],
    );
    peer("  heartbeat: ▶0s", &["out of range; write 1s to 1d, or `off`"]);
    peer("  heartbeat: ▶2d", &["out of range"]);
    peer("  handshake: ▶opn", &["unknown value `opn`; did you mean `open`?"]);
    peer("  handshake: ▶tls", &["unknown value `tls`; write encrypted or open"]);
    peer("  heartbeat: off", &[]);
}

#[test]
fn interface_values() {
    for (line, words) in [
        ("name: ▶a b", "`a b` is no interface name: an interface name has only"),
        ("name: ▶sixteen-letters-", "at most 15 characters"),
        ("name: ▶lo", "the kernel keeps"),
        ("mtu: ▶1279", "1279 is out of range; write a whole number from 1280 to 65535, or `auto`"),
        ("mtu: ▶70000", "out of range"),
        ("mtu: ▶-1", "out of range"),
        ("mtu: ▶99999999999999999999", "out of range"),
        ("mtu: ▶1400.5", "`1400.5` is no whole number"),
        ("mtu: ▶\"1400\"", "unknown value `1400`"),
        ("mtu: ▶big", "or a number of bytes"),
        ("listen: ▶65536", "out of range"),
        ("listen: ▶\"51871\"", "this is quoted; remove the quotes"),
        ("listen: ▶host:51871", "no address with a port"),
        ("listen: ▶[]", "the list is empty"),
        ("listen: ▶[1, 1]", "twice"),
        ("listen: ▶224.0.0.1:5", "multicast"),
        ("routes: ▶none", "write auto or off, or `{table: 51871}`"),
        ("routes: {table: ▶0}", "out of range"),
        ("routes: {table: ▶255}", "the kernel's own"),
        ("routes: ▶{}", "names no table"),
        ("fwmark: ▶0", "or `off`"),
        ("fwmark: ▶x", "or a number"),
        ("kill_switch: ▶maybe", "write auto, on or off"),
        ("lan: ▶perhaps", "write true, false, on or off"),
        ("copy_dscp: ▶3", "unknown value `3`"),
        ("mss_clamp: ▶on", "write auto or off"),
        ("dns: [▶example.net]", "no IP address"),
        ("dns: ▶10.7.0.1", "must be a list"),
        ("hooks: {pre_up: ▶echo}", "must be a list"),
        ("hooks: {pre_up: [▶\"\"]}", "the command is empty"),
        ("hooks: {▶preup: []}", "unknown key `preup` in `interface.hooks`; did you mean `pre_up`?"),
        ("handshake_rate: {burst: ▶0}", "out of range"),
        ("handshake_rate: ▶20", "must be a mapping, not a number"),
        ("workers: ▶65", "from 1 to 64"),
        ("workers: ▶many", "or a number from 1 to 64"),
        (
            "address: [▶10.7.0.0/24]",
            "names the network, not an address in it; write one as `10.7.0.1/24`",
        ),
        ("address: [▶0.0.0.0/0]", "no interface has the address"),
        ("address: [10.7.0.1/24, ▶10.7.0.1/16]", "twice (first in line 3)"),
        ("▶mtu:", "`mtu` has no value"),
    ] {
        interface(&format!("  {line}"), &[words]);
    }
    for line in [
        "mtu: auto",
        "listen: 0",
        "listen: [51871, \"[::1]:5\"]",
        "fwmark: 0x1234",
        "lan: off",
        "kill_switch: on",
        "kill_switch: true",
        "address: [10.7.0.1, \"fd07::1/64\", 10.9.0.0/31]",
        "hooks:",
        "workers: 4",
        "offload: off",
        "routes: {table: 51871}",
    ] {
        interface(&format!("  {line}"), &[]);
    }
}

#[test]
fn control_values() {
    let control = |rest: &str, expected: &[&str]| {
        said(&format!("interface: {{private_key: SECRET}}\ncontrol: {rest}\n"), expected);
    };
    control("{socket: ▶/run/}", &["no path of a file"]);
    control(&format!("{{▶socket: /{}}}", "x".repeat(107)), &["longer than 107 bytes"]);
    control("{group: ▶a b}", &["no group has this name"]);
    control("{metrics: ▶9871}", &["no address with a port"]);
    control("{metrics: ▶127.0.0.1:0}", &["port 0"]);
    control("{metrics: ▶0.0.0.0:9871}", &["warning: metrics on 0.0.0.0:9871 can be read"]);
    control("{metrics: 127.0.0.1:9871, group: 5}", &[]);
    control("{metrics: \"[::1]:9871\"}", &[]);
}

#[test]
fn noise_and_algorithms() {
    let file = |rest: &str, expected: &[&str]| {
        said(&format!("interface: {{private_key: SECRET}}\n{rest}\n"), expected);
    };
    file("noise: {ratio: ▶3:1}", &["unknown value `3:1`; did you mean"]);
    file("noise: {size: ▶big}", &["write match, uniform, mean or half"]);
    file("noise: {filler: ▶max}", &["write off, full or random"]);
    file("noise: {budget: ▶20}", &["`20` is no rate; write a number with its unit"]);
    file("noise: {budget: ▶0mbit}", &["a rate of 0"]);
    file("noise: {engine: ▶motor}", &["ledger, shaped, constant or machine"]);
    file(
        "noise: {accept: {▶rati: off}}",
        &["unknown key `rati` in `noise.accept`; did you mean `ratio`?"],
    );
    file("noise: ▶on", &["or keys, as `{ratio: \"1:1\"}`"]);
    file(
        "noise: {minimum: {ratio: \"2:1\"}, ▶accept: {ratio: \"1:1\"}}",
        &["is weaker than `minimum`"],
    );
    file("noise: {▶ratio: \"4:1\"}", &["warning: this node asks for noise of 4:1, but refuses"]);
    file(
        "noise: {ratio: \"1:8\", ▶minimum: {ratio: \"1:4\"}}",
        &["warning: this node asks for noise of 1:8"],
    );
    file("noise: {ratio: \"1:1\", ▶size: mean, filler: full}", &["warning: with `filler: full`"]);
    file("noise: off", &[]);
    file("noise: {ratio: 1:1, filler: full, minimum: off, accept: {size: half, ratio: 4:1}}", &[]);
    file("post_quantum: ▶maybe", &["write prefer, require or off"]);
    file("post_quantum: false", &[]);
    file("ciphers: ▶aes", &["or a list"]);
    file("ciphers: ▶[]", &["`ciphers` is empty"]);
    file("ciphers: [aes-256-gcm, ▶aes-256-gcm]", &["stands here twice"]);
    file("ciphers: [▶aes-128-gcm]", &["did you mean `aes-256-gcm`?"]);
}

#[test]
fn settings_without_effect_are_warned_of() {
    interface("  ▶lan: on", &["warning: `lan` does nothing without a peer that has 0.0.0.0/0"]);
    interface("  stealth: true\n  ▶allow_open: true", &["warning: `allow_open` does nothing"]);
    interface(
        "  ▶hooks: {post_up: [\"true\"]}",
        &["warning: the hooks will not run, because the text does not come from a regular file"],
    );
    peer(
        "  ▶handshake: open\n  noise: {ratio: \"1:1\"}",
        &["warning: an open handshake shows the noise parameters"],
    );
    said(
        "interface: {private_key: SECRET, early_data: true, address: [10.7.0.1/24]}\npeers:\n\
         - public_key: KEY2\n  ▶allowed_ips: [10.7.0.1/32]\n  ▶handshake: open\n",
        &["warning: this peer has 10.7.0.1/32", "warning: an open handshake carries no early data"],
    );
}

#[test]
fn lists_of_peers() {
    said(
        "interface: {private_key: SECRET}\npeers: ▶{bob: 1}\n",
        &["`peers` must be a list, not a mapping"],
    );
    said(
        "interface: {private_key: SECRET}\npeers:\n- ▶5\n-▶\n",
        &["a peer must be a mapping, not a number", "this peer is empty"],
    );
    said("interface: {private_key: SECRET}\npeers:\n", &[]);
}

#[test]
fn what_is_no_yaml() {
    const LINE_UP: &str = "line it up with the lines beside it";
    interface("   listen▶: 1", &[LINE_UP]);
    interface(" ▶listen: 1", &[LINE_UP]);
    said("peers:\n  - a: 1\n ▶- b: 1\n", &[LINE_UP]);
    said("peers:\n  - a: 1\n   ▶b: 1\n", &[LINE_UP]);
    interface("▶\tlisten: 1", &["a tab in the indentation; indent with spaces"]);
    interface("  name: a▶: b", &["a value that contains `: ` must be in quotes"]);
    interface("  ▶listen 1", &["write `key: value`, with a space after the colon"]);
    interface("  ▶listen:1\n  # comment\n", &["write `key: value`, with a space after the colon"]);
    interface("  dns: [a, b▶}", &["close the brackets"]);
    interface("  listen: [1, 2▶\n\n", &["close the brackets"]);
    interface("  name: ▶\"abc\n", &["close the quote"]);
    interface("  endpoint: [2001:db8::1]▶:5", &["in quotes: \"[2001:db8::1]:51871\""]);
    interface("  name: ▶!x abc", &["no YAML tags"]);
    interface("  name: ▶*x", &["define `&name`"]);
    interface("  name: a▶\u{1}b", &["the invisible character U+0001 has no place in YAML"]);
    said("interface: {private_key: SECRET}\n▶---\na: 1\n", &["a second YAML document"]);
    said("interface: ▶@a\n", &["put the value in quotes"]);
    let deep = "[".repeat(17);
    said(&format!("{deep}▶{}", "[".repeat(100)), &["nests deeper than any peer file"]);
}

#[test]
fn anchors_are_allowed_and_bombs_are_not() {
    said(
        "interface: {private_key: SECRET}\nnoise: &n {ratio: \"1:1\", filler: full}\npeers:\n\
         - {public_key: KEY2, noise: *n}\n",
        &[],
    );
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..10 {
        let items = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb += &format!("a{n}: &a{n} [{items}]\n");
    }
    let path = std::path::Path::new("bomb.yaml");
    let errors = parse(&bomb, path, &Environment::default()).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(errors.to_string().contains("more values than any peer file"), "{errors}");
    let errors = parse("a: &a [*a]", path, &Environment::default()).unwrap_err();
    assert!(
        errors.to_string().contains("define `&name`") || errors.to_string().contains("alias"),
        "{errors}"
    );
}

#[test]
fn all_errors_come_at_once_and_in_order() {
    said(
        "interface:\n  private_key: ▶short\n  mtu: ▶1\n  ▶lisen: 5\ncontrol: {group: ▶\"\"}\n\
         noise: {ratio: ▶9:1}\npeers:\n- public_key: ▶bad\n  heartbeat: ▶5\n- ▶name: x\n",
        &[
            "44 characters",
            "`mtu`: 1 is out of range",
            "unknown key `lisen`",
            "`group`",
            "`ratio`",
            "44 characters",
            "`heartbeat`",
            "no `public_key`",
        ],
    );
}

#[test]
fn files_that_cannot_be_read() {
    let folder = Folder::new();
    let environment = Environment::default();
    let missing = folder.path().join("missing.yaml");
    let errors = load_in(&missing, &environment).unwrap_err();
    assert_eq!(
        errors.to_string(),
        format!(
            "{}:1:1: error: cannot read the peer file: no such file or directory; check the path; \
             `stadium init` writes a new file",
            missing.display()
        )
    );
    let errors = load_in(folder.path(), &environment).unwrap_err();
    assert!(errors.to_string().contains("it is a folder"), "{errors}");
    let binary = folder.file("b.yaml", b"a: 1\nb: \xff\n", 0o600);
    let errors = load_in(&binary, &environment).unwrap_err();
    assert!(errors.to_string().contains("b.yaml:2:4: error: this byte is no UTF-8"), "{errors}");
    let nameless =
        folder.file("my file.yaml", format!("interface: {{private_key: {}}}", secret(1)), 0o600);
    let errors = load_in(&nameless, &environment).unwrap_err();
    assert!(
        errors.to_string().contains(":1:1: error: the file's name gives no interface name"),
        "{errors}"
    );
}
