//! Writes good inputs into the corpora, for the fuzzer to start from: `cargo run --example seeds`.

use std::{collections::BTreeMap, fs, path::Path};

use stadium_fuzz::{
    cbor::{Item, write_map},
    peer_file::SECRETS,
    rogue::{self, VARIANTS},
};
use stadium_proto::{
    frame::{CloseReason, Control},
    identity::SecretKey,
};

fn main() {
    let key = |byte: u8| Item::Bytes(vec![byte; 32]);
    let named = Item::Bytes(rogue::initiator().public().as_bytes().to_vec());
    let responder = Item::Bytes(rogue::responder().public().as_bytes().to_vec());
    let time = Item::Uint(1_790_000_000_118_292_480);
    let uint = Item::Uint;
    let encrypted = write_map(&[
        (0x01, uint(1)),
        (0x02, Item::Array(vec![2, 1])),
        (0x03, uint(1)),
        (0x04, named.clone()),
        (0x05, Item::Array(vec![1, 2])),
        (0x06, key(6)),
        (0x07, uint(0x20)),
        (0x08, time.clone()),
        (0x09, Item::Bytes(vec![9; 12])),
        (0x0a, uint(1420)),
        (0x0e, uint(7)),
        (0x0f, uint(4)),
        (0x40, Item::Bytes(vec![0; 40])),
    ]);
    let open = write_map(&[
        (0x01, uint(1)),
        (0x04, named),
        (0x08, time.clone()),
        (0x0a, uint(1420)),
        (0x40, Item::Bytes(vec![0; 90])),
    ]);
    let anonymous = write_map(&[(0x01, uint(1)), (0x08, time), (0x0a, uint(1280))]);
    // a good consent, but for one cell
    let session_but = |open: bool, cell: u64, item: Option<Item>| {
        let mut cells: BTreeMap<_, _> = [(0x01, 1), (0x02, 2), (0x05, 1), (0x0a, 1400), (0x0c, 77)]
            .into_iter()
            .chain([(0x0d, 5), (0x0e, 1), (0x0f, 2), (0x11, 0)])
            .map(|(key, value)| (key, Item::Uint(value)))
            .collect();
        if open {
            cells.insert(0x04, responder.clone());
        }
        match item {
            Some(item) => cells.insert(cell, item),
            None => cells.remove(&cell),
        };
        write_map(&cells.into_iter().collect::<Vec<_>>())
    };
    let session = |open: bool| session_but(open, 0x11, Some(Item::Uint(0)));
    let status = write_map(&[(0x01, uint(1)), (0x07, uint(0)), (0x0c, uint(0)), (0x11, uint(7))]);

    for (name, bytes) in [
        ("encrypted", &encrypted),
        ("open", &open),
        ("anonymous", &anonymous),
        ("session", &session(false)),
        ("session-open", &session(true)),
        ("status", &status),
    ] {
        write("lbm", name, &[bytes]);
    }
    write("request", "encrypted", &[&[0x01], &encrypted]);
    write("request", "encrypted-status", &[&[0x31], &encrypted]);
    write("request", "open", &[&[0x03], &open]);
    write("request", "anonymous", &[&[0x07], &anonymous]);
    for (at, variant) in (0..).zip(VARIANTS) {
        let scenario = rogue::scenario(variant);
        write("request", &format!("raw-{at}"), &[&[0], &scenario.request]);
        write(
            "consent",
            &format!("session-{at}"),
            &[&[at, 2, 0, 0], &session(!variant.is_encrypted())],
        );
        write("consent", &format!("status-{at}"), &[&[at, 2, 0x22, 0], &status]);
        write("consent", &format!("changed-{at}"), &[&[at, 1, 0, 60, 3]]);
        write("retry_error", &format!("retry-{at}"), &[&[at, 1, 40, 1], &[5; 60]]);
        write("retry_error", &format!("error-{at}"), &[&[at, 2, 2, 1, 99, 0]]);
    }
    let odd = [(0x01, 2), (0x02, 3), (0x05, 2), (0x07, 0x20), (0x0a, 1279), (0x0c, 0), (0x0e, 8)]
        .into_iter()
        .chain([(0x0f, 0), (0x0f, 65), (0x10, 9), (0x11, 6)]);
    for (cell, value) in odd {
        let cells = session_but(false, cell, Some(Item::Uint(value)));
        write("consent", &format!("odd-{cell:02x}-{value}"), &[&[0, 2, 0, 0], &cells]);
    }
    for cell in [0x01, 0x02, 0x05, 0x0a, 0x0c, 0x0d, 0x11] {
        let cells = session_but(false, cell, None);
        write("consent", &format!("without-{cell:02x}"), &[&[0, 2, 0, 0], &cells]);
    }
    for (name, control) in [
        ("ping", Control::Ping { id: 1 << 40 }),
        ("pong", Control::Pong { id: 3 }),
        ("close", Control::Close { reason: CloseReason::IDLE }),
        ("ticket", Control::Ticket { ticket: 70_000, lifetime_s: 3600 }),
    ] {
        let mut buffer = [0; 32];
        let len = control.encode(&mut buffer);
        write("control", name, &[&buffer[1..len], &[0; 4]]);
        write("frame", name, &[&[1], &buffer[..len]]);
    }
    write("frame", "sealed", &[&[2, 1, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 20, 3], &[0x45; 60]]);
    write("frame", "header", &[&[0, 4, 1, 0, 0, 1, 2, 3, 4], &[0; 60]]);
    write("replay", "window", &[&[0, 0, 1, 40, 0, 2, 9, 0, 3, 1, 0, 4, 2, 0]]);
    write("vnet_segment", "tcp4", &[&[1, 0x04, 1, 1, 0, 0, 9, 0, 0, 0, 1, 0x03, 0x20, 1, 0x20, 0]]);
    write("vnet_segment", "udp6", &[&[1, 0x03, 1, 1, 0, 0, 9, 0, 0, 0, 1, 0x03, 0x20, 1, 0x20, 0]]);
    let flow = |bits: u8| [bits, 1, 1, 0, 0, 9, 0, 0, 0, 1, 0x03, 0x20];
    let run: Vec<u8> = (0..20).flat_map(|at| [at % 3, 0x78, at]).collect();
    peer_files();
    write("coalesce", "three", &[&[0], &flow(0x04), &flow(0x01), &flow(0x03), &run]);
}

/// The example files of the project, with their secrets in place.
fn peer_files() {
    let secrets =
        [("private_key", SECRETS[0]), ("preshared_key", SECRETS[1]), ("network_key", SECRETS[1])];
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let text = fs::read_to_string(examples.join("reference.yaml")).expect("the reference is there");
    let mut plain = String::new();
    // comments would only make the fuzzer slow
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let key = line.split(':').next().unwrap_or(line);
        let name = key.trim_start();
        let known = secrets.iter().find(|(secret, _)| name == format!("{secret}_file"));
        let line = match known {
            Some((_, secret)) => format!("{}: {secret}", key.trim_end_matches("_file")),
            None => line.to_owned(),
        };
        plain.push_str(&line);
        plain.push('\n');
    }
    write("peer_file", "reference", &[plain.as_bytes()]);
    let name = "wg0".parse().expect("a name");
    let text = stadium_config::template(&name, 51871, &SecretKey::from_seed([1; 32]));
    write("peer_file", "template", &[text.as_bytes()]);
    write(
        "peer_file",
        "minimal",
        &[format!("interface: {{private_key: {}}}", SECRETS[0]).as_bytes()],
    );
}

fn write(target: &str, name: &str, parts: &[&[u8]]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder).expect("the corpora can be written");
    fs::write(folder.join(format!("seed-{name}")), parts.concat()).expect("and their files");
}
