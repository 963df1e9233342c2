//! The section `control:`.

use std::os::unix::ffi::OsStrExt as _;

use crate::load::Context;
use crate::model::Control;
use crate::name::InterfaceName;
use crate::section::{CONTROL_KEYS, Section};
use crate::value;

/// The longest path that a Unix socket has (`sun_path`, without its final NUL).
const MAX_SOCKET_PATH: usize = 107;

/// Reads the section; `None` where something needed is wrong.
pub(crate) fn read(
    top: &Section<'_, '_>,
    name: Option<&InterfaceName>,
    context: &mut Context<'_>,
) -> Option<Control> {
    let section = match top.node("control") {
        Some(node) => Section::open(node, "control", CONTROL_KEYS, &mut context.diagnostics)?,
        None => Section::absent("control", CONTROL_KEYS),
    };
    let named = section.read("socket", &mut context.diagnostics, |node| {
        let text = value::text(node)?;
        if text.is_empty() || text.ends_with('/') || text.contains('\0') {
            return Err("this is no path of a file; write one".to_owned());
        }
        Ok(text.to_owned())
    });
    let socket = match named {
        Some(path) => Some(context.resolve(&path)),
        None => name.map(InterfaceName::socket),
    };
    if let Some(path) = &socket
        && path.as_os_str().as_bytes().len() > MAX_SOCKET_PATH
    {
        let message = format!(
            "the socket's path {} is longer than {MAX_SOCKET_PATH} bytes; choose a shorter one",
            path.display()
        );
        context.diagnostics.error(section.key_position("socket"), message);
    }
    let group = section.read("group", &mut context.diagnostics, |node| {
        if value::is_integer(node) {
            return value::integer(node, 0..=u32::MAX - 1).map(|gid| gid.to_string());
        }
        let text = value::printable(node)?;
        if text.contains([' ', ':', ',', '/']) {
            return Err("no group has this name; write one of `getent group`".to_owned());
        }
        Ok(text.to_owned())
    });
    let metrics = section.read("metrics", &mut context.diagnostics, |node| {
        let address = value::socket_address(node)?;
        if address.port() == 0 {
            return Err("port 0 is none; write the port to serve metrics on".to_owned());
        }
        Ok((address, node.position))
    });
    if let Some((address, position)) = metrics
        && !address.ip().to_canonical().is_loopback()
    {
        context.diagnostics.warn(
            position,
            format!(
                "metrics on {address} can be read by whoever reaches it, names of peers among \
                 them; write 127.0.0.1:{}, or guard the port",
                address.port()
            ),
        );
    }
    Some(Control { socket: socket?, group, metrics: metrics.map(|(address, _)| address) })
}
