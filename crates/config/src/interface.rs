//! The section `interface:`.

use std::collections::HashMap;
use std::path::Path;

use ipnet::IpNet;
use stadium_proto::identity::{NetworkKey, SecretKey};

use crate::diagnostic::{Diagnostics, Position, quoted};
use crate::load::Context;
use crate::model::{
    AutoOff, Fwmark, HandshakeRate, Hooks, Interface, Listen, ListenOn, Mtu, Routes, Switch,
    Workers,
};
use crate::name::{InterfaceName, name_of_file};
use crate::section::{HOOKS_KEYS, INTERFACE_KEYS, RATE_KEYS, ROUTES_KEYS, Section};
use crate::tree::{Content, Node};
use crate::value;
use crate::{secret, secret::NETWORK_KEY, secret::PRIVATE_KEY};

/// Opens the section, which every file must have.
pub(crate) fn open<'n, 't>(
    top: &Section<'n, 't>,
    list: &mut Diagnostics,
) -> Option<Section<'n, 't>> {
    if top.lacks("interface") {
        list.error(
            Position::START,
            "the file has no `interface`; write `interface:` and below it `private_key_file: FILE`",
        );
    }
    Section::open(top.node("interface")?, "interface", INTERFACE_KEYS, list)
}

/// Reads the section, whose key stands at `position`; `None` where something needed is missing
/// or wrong.
pub(crate) fn read(
    section: &Section<'_, '_>,
    position: Position,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Interface> {
    let private_key =
        secret::read(section, &PRIVATE_KEY, context, SecretKey::from_base64, SecretKey::as_bytes);
    if section.lacks("private_key") && section.lacks("private_key_file") {
        context.diagnostics.error(
            position,
            "`interface` has no private key; make one with `umask 077; stadium genkey > FILE` and \
             write `private_key_file: FILE`",
        );
    }
    let network_key =
        secret::read(section, &NETWORK_KEY, context, NetworkKey::from_base64, NetworkKey::as_bytes);
    let list = &mut context.diagnostics;
    let name = name(section, path, position, list);
    let flag = |key: &str, list: &mut Diagnostics| {
        section.read(key, list, value::boolean).unwrap_or_default()
    };
    let interface = Interface {
        address: address(section, list),
        listen: section.read("listen", list, listen).unwrap_or_default(),
        mtu: section.read("mtu", list, mtu).unwrap_or_default(),
        routes: routes(section, list),
        fwmark: section.read("fwmark", list, fwmark).unwrap_or_default(),
        kill_switch: section
            .read("kill_switch", list, |node| value::word(node, Switch::WORDS))
            .unwrap_or_default(),
        lan: flag("lan", list),
        dns: section
            .list("dns", "10.7.0.1", list, value::address)
            .into_iter()
            .map(|(address, _)| address)
            .collect(),
        hooks: hooks(section, list),
        mss_clamp: section
            .read("mss_clamp", list, |node| value::word(node, AutoOff::WORDS))
            .unwrap_or_default(),
        copy_dscp: flag("copy_dscp", list),
        allow_open: flag("allow_open", list),
        early_data: flag("early_data", list),
        stealth: flag("stealth", list),
        handshake_rate: handshake_rate(section, list),
        workers: section.read("workers", list, workers).unwrap_or_default(),
        offload: section
            .read("offload", list, |node| value::word(node, AutoOff::WORDS))
            .unwrap_or_default(),
        name: name?,
        private_key: private_key?,
        network_key,
    };
    Some(interface)
}

fn name(
    section: &Section<'_, '_>,
    path: &Path,
    position: Position,
    list: &mut Diagnostics,
) -> Option<InterfaceName> {
    if section.node("name").is_some() {
        return section.read("name", list, |node| {
            let text = value::text(node)?;
            InterfaceName::new(text).map_err(|why| {
                format!("{} is no interface name: {why}; write another", quoted(text))
            })
        });
    }
    match name_of_file(path) {
        Ok(name) => Some(name),
        Err(why) => {
            list.error(
                position,
                format!(
                    "the file's name gives no interface name: {why}; write `name: stadium0` here, \
                     or rename the file"
                ),
            );
            None
        }
    }
}

fn address(section: &Section<'_, '_>, list: &mut Diagnostics) -> Vec<IpNet> {
    let found = section.list("address", "10.7.0.1/24", list, |node| {
        let net = value::prefix(node)?;
        let ip = net.addr();
        if ip.is_unspecified() || ip.is_multicast() {
            return Err(format!("no interface has the address {ip}; write one as `10.7.0.1/24`"));
        }
        let broadcast = matches!(net, IpNet::V4(v4)
            if v4.prefix_len() < 31 && (v4.addr() == v4.network() || v4.addr() == v4.broadcast()));
        if broadcast {
            return Err(format!(
                "{net} names the network, not an address in it; write one as `{}`",
                net.hosts()
                    .next()
                    .map_or(net, |first| { IpNet::new(first, net.prefix_len()).unwrap_or(net) })
            ));
        }
        Ok(net)
    });
    let mut seen = HashMap::new();
    for (net, position) in &found {
        if let Some(first) = seen.insert(net.addr(), *position) {
            list.error(
                *position,
                format!(
                    "`address`: {} stands here twice (first in line {}); remove one of them",
                    net.addr(),
                    first.line
                ),
            );
        }
    }
    found.into_iter().map(|(net, _)| net).collect()
}

fn listen(node: &Node<'_>) -> Result<Listen, String> {
    let Content::List(items) = &node.content else {
        return value::listen_on(node).map(|on| Listen(vec![on]));
    };
    let mut list: Vec<ListenOn> = Vec::with_capacity(items.len());
    for item in items {
        let on = value::listen_on(item)?;
        if list.contains(&on) {
            return Err("the same place stands in the list twice; remove one".to_owned());
        }
        list.push(on);
    }
    if list.is_empty() {
        return Err(
            "the list is empty; write a port, or remove the key for any free port".to_owned()
        );
    }
    if list.len() > 64 {
        return Err(
            "the list has more than 64 places; write a port alone for all addresses".to_owned()
        );
    }
    Ok(Listen(list))
}

fn mtu(node: &Node<'_>) -> Result<Mtu, String> {
    if value::as_word(node).is_some() {
        return value::word(node, Mtu::WORDS)
            .map_err(|message| format!("{message}, or a number of bytes from 1280 to 65535"));
    }
    let mtu =
        value::integer(node, 1280..=65_535).map_err(|message| format!("{message}, or `auto`"))?;
    Ok(Mtu::Fixed(u16::try_from(mtu).expect("the range is below 65536")))
}

fn routes(section: &Section<'_, '_>, list: &mut Diagnostics) -> Routes {
    let Some(node) = section.node("routes") else { return Routes::Auto };
    if !matches!(node.content, Content::Map(_)) {
        return section
            .read("routes", list, |node| {
                value::word(node, Routes::WORDS)
                    .map_err(|message| format!("{message}, or `{{table: 51871}}`"))
            })
            .unwrap_or_default();
    }
    let Some(inner) = Section::open(node, "interface.routes", ROUTES_KEYS, list) else {
        return Routes::Auto;
    };
    if inner.node("table").is_none() {
        list.error(
            node.position,
            "`routes` names no table; write `{table: 51871}`, `auto` or `off`",
        );
    }
    let table = inner.read("table", list, |node| match value::integer(node, 1..=u32::MAX)? {
        255 => Err("table 255 is the kernel's own (`local`); choose another".to_owned()),
        table => Ok(table),
    });
    table.map_or(Routes::Auto, Routes::Table)
}

fn fwmark(node: &Node<'_>) -> Result<Fwmark, String> {
    if value::is_integer(node) {
        return value::integer(node, 1..=u32::MAX)
            .map(Fwmark::Mark)
            .map_err(|message| format!("{message}, or `off`"));
    }
    value::word(node, Fwmark::WORDS).map_err(|message| format!("{message}, or a number"))
}

fn workers(node: &Node<'_>) -> Result<Workers, String> {
    if value::is_integer(node) {
        let count = value::integer(node, 1..=64)?;
        return Ok(Workers::Count(u8::try_from(count).expect("the range is below 65")));
    }
    value::word(node, Workers::WORDS)
        .map_err(|message| format!("{message}, or a number from 1 to 64"))
}

fn hooks(section: &Section<'_, '_>, list: &mut Diagnostics) -> Hooks {
    let Some(node) = section.node("hooks") else { return Hooks::default() };
    let Some(inner) = Section::open(node, "interface.hooks", HOOKS_KEYS, list) else {
        return Hooks::default();
    };
    let mut commands = |key| {
        inner
            .list(key, "\"ip route show\"", list, value::command)
            .into_iter()
            .map(|(command, _)| command)
            .collect()
    };
    Hooks {
        pre_up: commands("pre_up"),
        post_up: commands("post_up"),
        pre_down: commands("pre_down"),
        post_down: commands("post_down"),
    }
}

fn handshake_rate(section: &Section<'_, '_>, list: &mut Diagnostics) -> HandshakeRate {
    let default = HandshakeRate::default();
    let Some(node) = section.node("handshake_rate") else { return default };
    let Some(inner) = Section::open(node, "interface.handshake_rate", RATE_KEYS, list) else {
        return default;
    };
    let mut number = |key| inner.read(key, list, |node| value::integer(node, 1..=1_000_000));
    HandshakeRate {
        per_second: number("per_second").unwrap_or(default.per_second),
        burst: number("burst").unwrap_or(default.burst),
    }
}
