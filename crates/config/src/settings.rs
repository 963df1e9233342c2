//! The sections `noise:` (of the file and of a peer), and the keys `post_quantum` and `ciphers`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use stadium_proto::crypto::Cipher;
use stadium_proto::noise::{MachineError, Machines, NoiseByte, NoiseFiller, NoiseRatio, NoiseSize};

use crate::diagnostic::Diagnostics;
use crate::load::Context;
use crate::model::{Ciphers, PostQuantum};
use crate::noise::{NoiseEngine, NoiseSettings, SizeLaw};
use crate::section::{BYTE_KEYS, NOISE_KEYS, Section};
use crate::tree::{Content, Node};
use crate::{secret, value};

/// The most bytes that a file of machines has.
const MOST_OF_MACHINES: u64 = 1 << 20;

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
    context: &mut Context<'_>,
) -> NoiseSettings {
    let mut settings = defaults;
    let list = &mut context.diagnostics;
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
    machines(&section, &mut settings, context);
    settings
}

/// Reads `machine_file`, and refuses what the engine `machine` cannot run with.
fn machines(section: &Section<'_, '_>, settings: &mut NoiseSettings, context: &mut Context<'_>) {
    let chosen = settings.engine == NoiseEngine::Machine;
    if chosen && !Machines::BUILT {
        context
            .diagnostics
            .error(section.key_position("engine"), MachineError::NotBuilt.to_string());
        return;
    }
    if !chosen {
        if section.node("machine_file").is_some() {
            context.diagnostics.warn(
                section.key_position("machine_file"),
                format!(
                    "`machine_file` does nothing with `engine: {}`; write `engine: machine`",
                    settings.engine
                ),
            );
        }
        return;
    }
    if section.node("machine_file").is_some() {
        settings.machines = machine_file(section, context);
    } else if settings.machines.is_none() {
        context.diagnostics.error(
            section.key_position("engine"),
            "`engine: machine` needs machines; write `machine_file: PATH`, a file with a machine \
             of maybenot a line",
        );
    }
    if settings.ratio != NoiseRatio::Off && settings.filler != NoiseFiller::Full {
        let key = if section.node("filler").is_some() { "filler" } else { "engine" };
        context.diagnostics.error(
            section.key_position(key),
            "`engine: machine` knows one size of packets only; write `filler: full`",
        );
    }
}

fn machine_file(
    section: &Section<'_, '_>,
    context: &mut Context<'_>,
) -> Option<(PathBuf, Machines)> {
    let position = section.node("machine_file")?.position;
    let named = section.read("machine_file", &mut context.diagnostics, |node| {
        let text = value::text(node)?;
        if text.is_empty() || text.contains('\0') {
            return Err("this is no path of a file; write one".to_owned());
        }
        Ok(text.to_owned())
    })?;
    let path = context.resolve(&named);
    let read = read_text(&path).map_err(|error| {
        format!(
            "cannot read the machines from {}: {}; correct the path, or the permissions of the \
             file",
            path.display(),
            secret::reason(&error)
        )
    });
    let parsed = read.and_then(|text| {
        Machines::parse(&text).map_err(|error| format!("the file {}: {error}", path.display()))
    });
    match parsed {
        Ok(machines) => Some((named.into(), machines)),
        Err(message) => {
            context.diagnostics.error(position, message);
            None
        }
    }
}

fn read_text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MOST_OF_MACHINES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST_OF_MACHINES {
        return Err(std::io::Error::other("it is longer than 1 MiB"));
    }
    Ok(text)
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
