//! The sections `noise:` (of the file and of a peer), and the keys `post_quantum` and `ciphers`.

use stadium_proto::crypto::Cipher;
use stadium_proto::noise::{NoiseByte, NoiseFiller, NoiseRatio, NoiseSize};

use crate::diagnostic::Diagnostics;
use crate::model::{Ciphers, PostQuantum};
use crate::noise::{NoiseEngine, NoiseSettings, SizeLaw};
use crate::section::{BYTE_KEYS, NOISE_KEYS, Section};
use crate::tree::{Content, Node};
use crate::value;

const RATIOS: &[(&str, NoiseRatio)] = &[
    ("off", NoiseRatio::Off),
    ("1:8", NoiseRatio::OneToEight),
    ("1:4", NoiseRatio::OneToFour),
    ("1:2", NoiseRatio::OneToTwo),
    ("1:1", NoiseRatio::OneToOne),
    ("2:1", NoiseRatio::TwoToOne),
    ("4:1", NoiseRatio::FourToOne),
];
const FILLERS: &[(&str, NoiseFiller)] =
    &[("off", NoiseFiller::Off), ("full", NoiseFiller::Full), ("random", NoiseFiller::Random)];

/// Reads the key `noise` of `parent` over the settings that hold where it is silent.
pub(crate) fn read(
    parent: &Section<'_, '_>,
    defaults: NoiseSettings,
    list: &mut Diagnostics,
) -> NoiseSettings {
    let mut settings = defaults;
    let Some(node) = parent.node("noise") else { return settings };
    if !matches!(node.content, Content::Map(_)) {
        let off = parent.read("noise", list, |node| {
            value::word(node, &[("off", ())])
                .map_err(|message| format!("{message}, or keys, as `{{ratio: \"1:1\"}}`"))
        });
        if off.is_some() {
            settings.ratio = NoiseRatio::Off;
            settings.filler = NoiseFiller::Off;
        }
        return settings;
    }
    let Some(section) = Section::open(node, "noise", NOISE_KEYS, list) else { return settings };
    let words = &mut settings;
    if let Some(ratio) = section.read("ratio", list, |node| value::word(node, RATIOS)) {
        words.ratio = ratio;
    }
    if let Some(size) = section.read("size", list, |node| value::word(node, SizeLaw::WORDS)) {
        words.size = size;
    }
    if let Some(filler) = section.read("filler", list, |node| value::word(node, FILLERS)) {
        words.filler = filler;
    }
    if let Some(budget) = section.read("budget", list, value::rate) {
        words.budget = Some(budget);
    }
    if let Some(engine) = section.read("engine", list, |node| value::word(node, NoiseEngine::WORDS))
    {
        words.engine = engine;
    }
    let policy = &mut settings.policy;
    policy.minimum = bound(&section, "minimum", "noise.minimum", policy.minimum, list);
    policy.accept = bound(&section, "accept", "noise.accept", policy.accept, list);
    if !policy.is_satisfiable() {
        let key = if section.node("accept").is_some() { "accept" } else { "minimum" };
        list.error(
            section.key_position(key),
            format!(
                "`accept` ({}) is weaker than `minimum` ({}), so that nothing could be granted; \
                 raise the one or lower the other",
                policy.accept, policy.minimum
            ),
        );
    }
    warn(&section, &settings, list);
    settings
}

/// Reads `minimum` or `accept`: each field over that of `byte`.
fn bound(
    parent: &Section<'_, '_>,
    key: &'static str,
    path: &'static str,
    byte: NoiseByte,
    list: &mut Diagnostics,
) -> NoiseByte {
    let Some(node) = parent.node(key) else { return byte };
    if !matches!(node.content, Content::Map(_)) {
        let off = parent.read(key, list, |node| {
            value::word(node, &[("off", ())])
                .map_err(|message| format!("{message}, or keys, as `{{ratio: \"1:1\"}}`"))
        });
        let silent = NoiseByte::new(NoiseRatio::Off, byte.size(), NoiseFiller::Off);
        return if off.is_some() { silent } else { byte };
    }
    let Some(section) = Section::open(node, path, BYTE_KEYS, list) else { return byte };
    let ratio = section.read("ratio", list, |node| value::word(node, RATIOS));
    let size = section.read("size", list, size_bound);
    let filler = section.read("filler", list, |node| value::word(node, FILLERS));
    NoiseByte::new(
        ratio.unwrap_or(byte.ratio()),
        size.unwrap_or(byte.size()),
        filler.unwrap_or(byte.filler()),
    )
}

fn size_bound(node: &Node<'_>) -> Result<NoiseSize, String> {
    value::word(node, SizeLaw::WORDS).map(SizeLaw::on_wire)
}

/// Warns of settings that do not do what they seem to.
fn warn(section: &Section<'_, '_>, settings: &NoiseSettings, list: &mut Diagnostics) {
    let ratio = settings.ratio;
    if section.node("ratio").is_some() && ratio > settings.policy.accept.ratio() {
        list.warn(
            section.key_position("ratio"),
            format!(
                "this node asks for noise of {ratio}, but refuses it when the peer asks (accept: \
                 {}); write `accept: {{ratio: \"{ratio}\"}}`",
                settings.policy.accept.ratio()
            ),
        );
    }
    if ratio != NoiseRatio::Off && ratio < settings.policy.minimum.ratio() {
        list.warn(
            section.key_position("minimum"),
            format!(
                "this node asks for noise of {ratio}, but refuses so little when the peer asks \
                 (minimum: {}); raise `ratio`, or lower the minimum",
                settings.policy.minimum.ratio()
            ),
        );
    }
    let told_apart = matches!(settings.size, SizeLaw::Mean | SizeLaw::Half);
    if ratio != NoiseRatio::Off && settings.filler == NoiseFiller::Full && told_apart {
        list.warn(
            section.key_position("size"),
            format!(
                "with `filler: full` real packets have one size and noise of size {} another, so \
                 that it hides nothing; write `size: match`",
                settings.size
            ),
        );
    }
}

/// Reads `post_quantum` and `ciphers`.
pub(crate) fn algorithms(top: &Section<'_, '_>, list: &mut Diagnostics) -> (PostQuantum, Ciphers) {
    let post_quantum = top
        .read("post_quantum", list, |node| value::word(node, PostQuantum::WORDS))
        .unwrap_or_default();
    (post_quantum, ciphers(top, list))
}

fn ciphers(top: &Section<'_, '_>, list: &mut Diagnostics) -> Ciphers {
    const EXAMPLE: &str = "aes-256-gcm, chacha20-poly1305";
    let names: Vec<_> = Cipher::ALL.iter().map(|cipher| (cipher.name(), *cipher)).collect();
    let Some(node) = top.node("ciphers") else { return Ciphers::Auto };
    if !matches!(node.content, Content::List(_)) {
        top.read("ciphers", list, |node| {
            value::word(node, &[("auto", ())])
                .map_err(|message| format!("{message}, or a list, as `[{EXAMPLE}]`"))
        });
        return Ciphers::Auto;
    }
    let mut chosen: Vec<Cipher> = Vec::new();
    for (cipher, position) in top.list("ciphers", EXAMPLE, list, |node| value::word(node, &names)) {
        if chosen.contains(&cipher) {
            list.error(
                position,
                format!("`ciphers`: {cipher} stands here twice; remove one of them"),
            );
        } else {
            chosen.push(cipher);
        }
    }
    match &node.content {
        Content::List(items) if items.is_empty() => {
            list.error(
                node.position,
                format!("`ciphers` is empty; write `[{EXAMPLE}]`, or `auto`"),
            );
        }
        _ => {}
    }
    if chosen.is_empty() { Ciphers::Auto } else { Ciphers::List(chosen) }
}
