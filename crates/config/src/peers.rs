//! The list `peers:`, each for itself and all against each other.

use std::collections::HashMap;
use std::time::Duration;

use ipnet::IpNet;
use stadium_proto::identity::{KeyError, PresharedKey, PublicKey};

use crate::diagnostic::{Diagnostics, Position, quoted};
use crate::load::{Context, Known};
use crate::model::{HandshakeKind, Peer};
use crate::noise::NoiseSettings;
use crate::section::{PEER_KEYS, Section, describe};
use crate::tree::{Content, Entry, Node};
use crate::value;
use crate::{secret, secret::PRESHARED_KEY, settings};

/// A heartbeat is at least a second, at most a day apart.
const HEARTBEAT: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(86_400);

/// Up to how many keys one thread checks: a check takes some 30 µs.
const KEYS_PER_THREAD: usize = 256;

/// Where the keys of a peer stand.
pub(crate) struct Places {
    /// Where `handshake` stands; where the peer starts if it does not.
    pub(crate) handshake: Position,
    /// Where `allowed_ips` stands, likewise.
    pub(crate) allowed: Position,
}

/// What one peer takes away from all others.
#[derive(Default)]
struct Taken<'n> {
    names: HashMap<&'n str, Position>,
    keys: HashMap<PublicKey, Position>,
    /// The prefix, which peer of the list has it, and where.
    prefixes: HashMap<IpNet, (usize, Position)>,
}

/// Reads the list, and where each peer's keys stand. What is wrong with a peer is reported, and the
/// peer left out.
pub(crate) fn read(
    top: &Section<'_, '_>,
    own_key: Option<&PublicKey>,
    noise: &NoiseSettings,
    context: &mut Context<'_>,
) -> (Vec<Peer>, Vec<Places>) {
    let Some(node) = top.node("peers") else { return Default::default() };
    let items = match &node.content {
        Content::List(items) => items,
        _ if node.is_null() => return Default::default(),
        other => {
            context.diagnostics.error(
                node.position,
                format!(
                    "`peers` must be a list, not {}; start each peer with `- public_key: KEY`",
                    describe(other)
                ),
            );
            return Default::default();
        }
    };
    let checked = check_keys(items, &context.known);
    let mut taken = Taken::default();
    let mut found = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
    for (index, (item, key)) in items.iter().zip(checked).enumerate() {
        found.extend(peer(index, item, key, own_key, noise, &mut taken, context));
    }
    found
}

/// The verdict on a public key; `None` where there is none to check.
type Checked = Option<Result<PublicKey, KeyError>>;

/// Checks all public keys that are not known, by several threads where there are many.
fn check_keys(items: &[Node<'_>], known: &Known) -> Vec<Checked> {
    let texts: Vec<_> = items.iter().map(public_key_text).collect();
    let check_one =
        |text: &str| PublicKey::from_base64_or_known(text, |key| known.get(key).copied());
    let check = |texts: &[Option<&str>]| -> Vec<Checked> {
        texts.iter().map(|text| text.map(check_one)).collect()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = texts.len().div_ceil(cores.min(16)).max(KEYS_PER_THREAD);
    if texts.len() <= share {
        return check(&texts);
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            texts.chunks(share).map(|part| (part, scope.spawn(move || check(part)))).collect();
        threads
            .into_iter()
            .flat_map(|(part, thread)| thread.join().unwrap_or_else(|_| check(part)))
            .collect()
    })
}

fn public_key_text<'n>(item: &'n Node<'_>) -> Option<&'n str> {
    let Content::Map(entries) = &item.content else { return None };
    let is_key = |entry: &&Entry<'_>| value::as_word(&entry.key) == Some("public_key");
    value::as_word(&entries.iter().find(is_key)?.value)
}

fn peer<'n>(
    index: usize,
    item: &'n Node<'_>,
    key: Checked,
    own_key: Option<&PublicKey>,
    noise: &NoiseSettings,
    taken: &mut Taken<'n>,
    context: &mut Context<'_>,
) -> Option<(Peer, Places)> {
    if item.is_null() {
        context.diagnostics.error(
            item.position,
            "this peer is empty; write `public_key: KEY` and more, or remove the `-`",
        );
        return None;
    }
    let section = Section::open(item, "peers", PEER_KEYS, &mut context.diagnostics)?;
    let preshared_key = secret::read(
        &section,
        &PRESHARED_KEY,
        context,
        PresharedKey::from_base64,
        PresharedKey::as_bytes,
    );
    let list = &mut context.diagnostics;
    let name = name(&section, taken, list);
    let public_key = public_key(&section, key, own_key, taken, list);
    let endpoint = section.read("endpoint", list, value::endpoint);
    let allowed_ips = allowed_ips(index, &section, taken, list);
    let heartbeat = section.read("heartbeat", list, |node| {
        if value::as_word(node) == Some("off") {
            return Ok(None);
        }
        value::duration(node, HEARTBEAT).map(Some).map_err(|message| format!("{message}, or `off`"))
    });
    let handshake = section
        .read("handshake", list, |node| value::word(node, HandshakeKind::WORDS))
        .unwrap_or_default();
    let noise = settings::read(&section, noise.clone(), context);
    let peer = Peer {
        name,
        public_key: public_key?,
        preshared_key,
        endpoint,
        allowed_ips,
        heartbeat: heartbeat.flatten(),
        handshake,
        noise,
    };
    let places = Places {
        handshake: section.key_position("handshake"),
        allowed: section.key_position("allowed_ips"),
    };
    Some((peer, places))
}

fn name<'n>(
    section: &Section<'n, '_>,
    taken: &mut Taken<'n>,
    list: &mut Diagnostics,
) -> Option<String> {
    let name = section.read("name", list, value::printable)?;
    let position = section.key_position("name");
    if let Some(first) = taken.names.get(name) {
        list.error(
            section.node("name")?.position,
            format!(
                "another peer is called {} already (line {}); choose another name",
                quoted(name),
                first.line
            ),
        );
    } else {
        taken.names.insert(name, position);
    }
    Some(name.to_owned())
}

fn public_key(
    section: &Section<'_, '_>,
    key: Checked,
    own_key: Option<&PublicKey>,
    taken: &mut Taken<'_>,
    list: &mut Diagnostics,
) -> Option<PublicKey> {
    if section.lacks("public_key") {
        list.error(
            section.position,
            "this peer has no `public_key`; write the one that `stadium pubkey` prints there",
        );
    }
    let node = section.node("public_key")?;
    let key = section.read("public_key", list, |node| {
        value::text(node)?;
        match key {
            Some(Ok(key)) => Ok(key),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("this is no public key; write one".to_owned()),
        }
    })?;
    if own_key == Some(&key) {
        list.error(
            node.position,
            "this is the public key of this node itself; write the peer's, or remove this peer",
        );
    }
    match taken.keys.get(&key) {
        Some(first) => list.error(
            node.position,
            format!(
                "another peer has this public key already (line {}); remove one of them, or \
                 correct the key",
                first.line
            ),
        ),
        None => {
            taken.keys.insert(key, node.position);
        }
    }
    Some(key)
}

fn allowed_ips(
    index: usize,
    section: &Section<'_, '_>,
    taken: &mut Taken<'_>,
    list: &mut Diagnostics,
) -> Vec<IpNet> {
    let found = section.list("allowed_ips", "10.7.0.2/32", list, value::prefix);
    let mut nets = Vec::with_capacity(found.len());
    for (given, position) in found {
        let net = given.trunc();
        if net != given {
            list.warn(
                position,
                format!("{given} has host bits set and is taken for {net}; write {net}"),
            );
        }
        match taken.prefixes.get(&net) {
            Some((other, first)) if *other != index => list.error(
                position,
                format!(
                    "another peer has {net} already (line {}); leave it to one of them, or make \
                     one of the two longer",
                    first.line
                ),
            ),
            Some(_) => {
                list.warn(position, format!("this peer has {net} twice; remove one of them"));
            }
            None => {
                taken.prefixes.insert(net, (index, position));
                nets.push(net);
            }
        }
    }
    nets
}
