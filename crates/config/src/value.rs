//! Single values of a peer file. Every error says what is wrong, and after a semicolon what to do.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;

use crate::diagnostic::{is_printable, quoted};
use crate::model::{Endpoint, ListenOn};
use crate::quantity::{Rate, format_duration, parse_duration};
use crate::section::describe;
use crate::suggest::nearest;
use crate::tree::{Content, Kind, Node, Scalar};

fn scalar<'n, 't>(node: &'n Node<'t>, expected: &str) -> Result<&'n Scalar<'t>, String> {
    match &node.content {
        Content::Scalar(scalar) => Ok(scalar),
        other => {
            Err(format!("{expected} is wanted here, not {}; write a single value", describe(other)))
        }
    }
}

/// Reads text; numbers and truth values must be quoted to be text.
pub(crate) fn text<'n>(node: &'n Node<'_>) -> Result<&'n str, String> {
    let scalar = scalar(node, "text")?;
    match scalar.kind {
        Kind::Text => Ok(&scalar.text),
        Kind::Null => {
            Err("text is wanted here, not nothing; write it, or remove the key".to_owned())
        }
        _ => Err(format!(
            "text is wanted here, not {}; put it in quotes if it is meant so: \"{}\"",
            describe(&node.content),
            quoted(&scalar.text).trim_matches('`')
        )),
    }
}

/// Reads a whole number inside `range`.
pub(crate) fn integer(node: &Node<'_>, range: RangeInclusive<u32>) -> Result<u32, String> {
    let wanted = || format!("write a whole number from {} to {}", range.start(), range.end());
    let scalar = scalar(node, "a number")?;
    match scalar.kind {
        Kind::Int(number) => match u32::try_from(number) {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(format!("{number} is out of range; {}", wanted())),
        },
        Kind::Text if !scalar.plain && scalar.text.parse::<u32>().is_ok() => {
            Err("a number is wanted here, and this is quoted; remove the quotes".to_owned())
        }
        _ => Err(format!("{} is no whole number; {}", quoted(&scalar.text), wanted())),
    }
}

/// Reads `true` or `false`, or `on` or `off`.
pub(crate) fn boolean(node: &Node<'_>) -> Result<bool, String> {
    word(node, &[("true", true), ("false", false), ("on", true), ("off", false)])
}

/// Reads one of a few words. YAML's `true` and `false` stand for `on` and `off`.
pub(crate) fn word<T: Copy>(node: &Node<'_>, words: &[(&str, T)]) -> Result<T, String> {
    let scalar = scalar(node, "a word")?;
    let named = |wanted: &str| words.iter().find(|(word, _)| *word == wanted).map(|(_, v)| *v);
    let found = match scalar.kind {
        Kind::Bool(true) => named("on"),
        Kind::Bool(false) => named("off"),
        Kind::Text => named(&scalar.text),
        _ => None,
    };
    found.ok_or_else(|| {
        let list: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        match nearest(&scalar.text, list.iter().copied()) {
            Some(near) => format!("unknown value {}; did you mean `{near}`?", quoted(&scalar.text)),
            None => {
                format!("unknown value {}; write {}", quoted(&scalar.text), alternatives(&list))
            }
        }
    })
}

/// Writes `a, b or c`.
fn alternatives(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// Tells whether a value is text, and which; for keys that take a word or something else.
pub(crate) fn as_word<'n>(node: &'n Node<'_>) -> Option<&'n str> {
    match &node.content {
        Content::Scalar(Scalar { text, kind: Kind::Text, .. }) => Some(text),
        _ => None,
    }
}

/// Tells whether a value is a whole number.
pub(crate) fn is_integer(node: &Node<'_>) -> bool {
    matches!(&node.content, Content::Scalar(Scalar { kind: Kind::Int(_), .. }))
}

/// Reads a duration inside `range`.
pub(crate) fn duration(
    node: &Node<'_>,
    range: RangeInclusive<Duration>,
) -> Result<Duration, String> {
    let scalar = scalar(node, "a duration")?;
    let duration = parse_duration(&scalar.text)
        .map_err(|remedy| format!("{} is no duration; {remedy}", quoted(&scalar.text)))?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    Err(format!(
        "{} is out of range; write {} to {}",
        quoted(&scalar.text),
        format_duration(*range.start()),
        format_duration(*range.end())
    ))
}

/// Reads a rate above 0.
pub(crate) fn rate(node: &Node<'_>) -> Result<Rate, String> {
    let scalar = scalar(node, "a rate")?;
    let rate: Rate = scalar
        .text
        .parse()
        .map_err(|remedy| format!("{} is no rate; {remedy}", quoted(&scalar.text)))?;
    if rate.0 == 0 {
        return Err(
            "a rate of 0 lets nothing through; write a larger one, or turn it off".to_owned()
        );
    }
    Ok(rate)
}

/// Reads a prefix, or an address, which stands for itself alone.
pub(crate) fn prefix(node: &Node<'_>) -> Result<IpNet, String> {
    let text = text(node)?;
    if let Ok(net) = text.parse::<IpNet>() {
        return Ok(net);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let most = text
        .split_once('/')
        .and_then(|(address, _)| address.parse::<IpAddr>().ok())
        .map(|address| if address.is_ipv4() { 32 } else { 128 });
    Err(match most {
        Some(most) => format!(
            "the prefix length of {} is out of range; write a number from 0 to {most} after the `/`",
            quoted(text)
        ),
        None => format!(
            "{} is no address prefix; write one as `10.7.0.2/32` or `fd07::2/128`",
            quoted(text)
        ),
    })
}

/// Reads an IP address.
pub(crate) fn address(node: &Node<'_>) -> Result<IpAddr, String> {
    let text = text(node)?;
    text.parse().map_err(|_| {
        format!("{} is no IP address; write one as `10.7.0.1` or `fd07::1`", quoted(text))
    })
}

/// Reads an address with a port.
pub(crate) fn socket_address(node: &Node<'_>) -> Result<SocketAddr, String> {
    const REMEDY: &str = "write it as `192.0.2.1:51871` or \"[2001:db8::1]:51871\"";
    let scalar = scalar(node, "an address with a port")?;
    scalar
        .text
        .parse()
        .map_err(|_| format!("{} is no address with a port; {REMEDY}", quoted(&scalar.text)))
}

/// Reads a port, or an address with a port.
pub(crate) fn listen_on(node: &Node<'_>) -> Result<ListenOn, String> {
    if is_integer(node) {
        let port = integer(node, 0..=65_535)?;
        return Ok(ListenOn::Port(u16::try_from(port).expect("the range is that of u16")));
    }
    if as_word(node).is_some_and(|text| text.parse::<u16>().is_ok()) {
        return Err("a port is a number, and this is quoted; remove the quotes".to_owned());
    }
    let address = socket_address(node)
        .map_err(|message| format!("{message}, or a port alone, as `51871`"))?;
    if address.ip().is_multicast() {
        return Err(format!("{address} is a multicast address; write one of this host's own"));
    }
    Ok(ListenOn::Address(address))
}

/// Reads where a peer is reached: `HOST:PORT`, an IPv6 address in brackets.
pub(crate) fn endpoint(node: &Node<'_>) -> Result<Endpoint, String> {
    let text = text(node)?;
    if let Ok(address) = text.parse::<SocketAddr>() {
        let ip = address.ip();
        let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
        if ip.is_unspecified() || ip.is_multicast() || broadcast {
            return Err(format!("no peer has the address {ip}; write the one it listens on"));
        }
        if address.port() == 0 {
            return Err("port 0 is none; write the port that the peer listens on".to_owned());
        }
        return Ok(Endpoint::Address(address));
    }
    if text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
        return Err(format!("{} has no port; write \"[{text}]:51871\", in quotes", quoted(text)));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("{} has no port; write it as `host.example.net:51871`", quoted(text)));
    };
    if host.contains([':', '[', ']']) {
        return Err(format!(
            "{} is no IPv6 address with a port; write it as \"[2001:db8::1]:51871\"",
            quoted(text)
        ));
    }
    let port = match port.parse::<u16>() {
        Ok(port) if port != 0 && port.to_string().len() == text.len() - host.len() - 1 => port,
        _ => return Err(format!("{} is no port; write a number from 1 to 65535", quoted(port))),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    host_name(host)?;
    Ok(Endpoint::Name { host: host.to_owned(), port })
}

/// Checks a host name: labels of letters, digits, `-` and `_`.
fn host_name(host: &str) -> Result<(), String> {
    if host.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Err(format!("{} is no IPv4 address; write one as `192.0.2.1`", quoted(host)));
    }
    if !host.is_ascii() {
        return Err(format!("{} is not ASCII; write the name in its `xn--` form", quoted(host)));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    if host.len() > 253 || !host.split('.').all(label) {
        return Err(format!("{} is no host name; write one as `host.example.net`", quoted(host)));
    }
    Ok(())
}

/// Reads text that is shown to people: not empty, printable, at most 255 characters.
pub(crate) fn printable<'n>(node: &'n Node<'_>) -> Result<&'n str, String> {
    let text = text(node)?;
    if text.trim().is_empty() {
        return Err("the text is empty; write some, or remove the key".to_owned());
    }
    if let Some(c) = text.chars().find(|c| !is_printable(*c)) {
        return Err(format!("the character U+{:04X} cannot be printed; remove it", u32::from(c)));
    }
    if text.chars().count() > 255 {
        return Err("the text is longer than 255 characters; shorten it".to_owned());
    }
    Ok(text)
}

/// Reads a shell command.
pub(crate) fn command(node: &Node<'_>) -> Result<String, String> {
    let text = text(node)?;
    if text.trim().is_empty() {
        return Err("the command is empty; write one, or remove it".to_owned());
    }
    if text.contains('\0') {
        return Err("the command contains a NUL character; remove it".to_owned());
    }
    Ok(text.to_owned())
}
