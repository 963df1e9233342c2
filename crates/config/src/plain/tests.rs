//! What is read in one pass is what the two parsers read.

use proptest::prelude::*;

use super::*;
use crate::{agree, tree};

/// What the two parsers read together; `None` where they refuse the text.
fn slow(text: &str) -> Option<Node<'_>> {
    let mut root = tree::parse(text).ok()?;
    agree::resolve(text, &mut root).ok()?;
    Some(root)
}

/// Compares, and tells whether the text was plain enough.
fn agrees(text: &str) -> bool {
    let Some(quick) = parse(text) else { return false };
    let slow = slow(text).unwrap_or_else(|| panic!("only one takes it:\n{text}"));
    // all but the kinds of floats, which never are
    assert_eq!(format!("{quick:?}"), format!("{slow:?}"), "\n{text}");
    true
}

const FILE: &str = "\
# a comment
interface:
  name: stadium0   # another
  private_key: cOIS3pc+ZtEQhTRyOmzhxSPFpHjHcUBR4b2C9yJBkVY=
  address: [10.7.0.1/24, \"fd07::1/64\", fd08::1/64]
  listen: 51871
  mtu: auto
  hooks: {pre_up: [], post_up: []}

  lan: false
control:
  socket: /run/stadium/stadium0.sock
noise: {ratio: '1:1', size: match}
post_quantum: prefer
ciphers: [aes-256-gcm, chacha20-poly1305]
peers:
  - name: bob the second
    public_key: /OIS3pc+ZtEQhTRyOmzhxSPFpHjHcUBR4b2C9yJBkVY=
    endpoint: bob.example.net:51871
    allowed_ips: [10.7.0.2/32,192.168.5.0/24]
    heartbeat: 25s
  # one more
  - public_key: 9OIS3pc+ZtEQhTRyOmzhxSPFpHjHcUBR4b2C9yJBkVY=
    endpoint: 192.0.2.1:51871
    allowed_ips:
      - 10.7.0.3/32
      - \"fd07::3/128\"
    noise:
      ratio: 1:4
";

#[test]
fn usual_files_are_plain() {
    let nested =
        FILE.replace("{pre_up: [], post_up: []}", "\n    pre_up:\n    - a\n    post_up: []");
    let flow_free = FILE.replace("{pre_up: [], post_up: []}", "auto");
    assert!(parse(FILE).is_none(), "brackets in brackets are left to the parsers");
    assert!(agrees(&flow_free) && agrees(&nested));
    assert!(agrees("peers:\n- a: 1\n  b: 2\n-   c: 3\nnext: x\n"));
    assert!(agrees("a: b"));
    for number in 0..flow_free.len() {
        agrees(&flow_free[..number]);
        agrees(&flow_free[number..]);
    }
}

#[test]
fn what_is_not_certain_is_left_to_the_parsers() {
    for text in [
        "",
        "a",
        "- a",
        "a:",
        "a: ~",
        "a: null",
        "a: True",
        "a: 0x10",
        "a: 010",
        "a: 1.5",
        "a: 1e3",
        "a: .inf",
        "a: -1",
        "a: +1",
        "a: 1_0",
        "a: b: c",
        "a: b\n  c",
        "a: |\n  b",
        "a: &x b",
        "a: *x",
        "a: !!str b",
        "a: \"x\\n\"",
        "a: 'it''s'",
        "a: \"b\"c",
        "a: [b, [c]]",
        "a: [b,]",
        "a: [b\n]",
        "a:\tb",
        "a: b\r\n",
        "a: \u{e4}",
        "---\na: b",
        "a: b\n...",
        "? a\n: b",
        "a: b#c",
        "a: [b]#c",
        "a : b",
        "\"a\": b",
        "a:\n b: c\n  d: e",
        "a:\n  b: c\n d: e",
        "- - a",
        " a: b",
        "{a: b}",
        "a: b\n- c",
        "a: @b",
        "a: `b",
        "a: b,c\n",
        "a: {b}",
        "a: {b: }",
        "a: [b: c]",
        "true: a",
        "a: \"b\" c",
        "a: b:",
        "a: [b:]",
        "a: \"b\n  c\"",
        "a: 2d",
    ] {
        assert!(parse(text).is_none(), "{text:?}");
    }
}

#[test]
fn words_are_what_serde_yaml_takes_them_for() {
    let letters = b"0123456789abcdefinoxTRUEtrulsy.+-_:/=~@%";
    let mut state = 1_u64;
    let mut taken = 0;
    for _ in 0..60_000 {
        let mut word = String::new();
        for _ in 0..=(state >> 60) % 8 {
            state =
                state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
            word.push(char::from(letters[(state >> 33) as usize % letters.len()]));
        }
        let texts = [format!("a: {word}\n"), format!("a: [{word}, {word}]\n")];
        taken += texts.iter().filter(|text| agrees(text)).count();
    }
    assert!(taken > 10_000, "{taken}");
}

/// A value of one line, plain or not.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::sample::select(&[
            "b", "10.7.0.2/32", "fd07::1/64", "25s", "1:1", "51871", "true", "off", "\"x y\"", "'x'",
            "[]", "[a, b]", "[10.7.0.2/32,fd07::/64]", "[ a ]", "{a: b}", "{}", "{a: 1, b: \"c\"}",
            "a b", "peer one", "k=", "a # b", "a#b", "\"a\" # b", "a:b", "", "# c",
        ][..]).prop_map(str::to_owned),
        1 => "[ -~]{0,8}",
        1 => "[a-c0-2:, .\\[\\]{}\"'#-]{0,10}",
    ]
}

/// A line of a file.
fn line() -> impl Strategy<Value = String> {
    let indent = prop::sample::select(&["", "", "  ", "  ", "    ", " ", "      "][..]);
    let dash = prop::sample::select(&["", "", "", "- ", "-  ", "-"][..]);
    let key =
        prop::sample::select(&["a: ", "b: ", "c:", "key_2: ", "", "a : ", "true: ", "a:b: "][..]);
    let end = prop::sample::select(&["", "", "", " ", "  # end"][..]);
    (indent, dash, key, value(), end)
        .prop_map(|(indent, dash, key, value, end)| format!("{indent}{dash}{key}{value}{end}\n"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]
    #[test]
    fn both_ways_agree(lines in prop::collection::vec(line(), 1..7)) {
        agrees(&lines.concat());
        // under keys that are sound, so that more of them get far
        agrees(&format!("x:\n  y: z\n{}", lines.concat()));
        agrees(&format!("x:\n{}z: 1\n", lines.concat()));
    }
}
