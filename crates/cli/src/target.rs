//! What stands where the command line says IFACE: a name, or the path of a peer file.
//!
//! Invariants: text with a `/` or ending in `.yaml` is always a path; a name is always one that
//! the kernel and the peer file accept, so it cannot leave a folder it is put into.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use stadium_config::{Glance, InterfaceName, Target, glance, name_of_file};

use crate::failure::Failure;

/// Says where a daemon is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The interface's name.
    pub(crate) name: InterfaceName,
    /// Its control socket.
    pub(crate) socket: PathBuf,
}

/// Reads a [`Target`]; the value parser of the command line.
pub(crate) fn target(text: &str) -> Result<Target, String> {
    Target::new(text).map_err(|error| {
        format!("{error}; write a peer file's path with a / in it or .yaml at its end")
    })
}

/// Finds the name and the control socket of the interface that `target` stands for.
///
/// A peer file is only looked through for these two: one with errors elsewhere must still serve
/// to stop the daemon that it once started.
pub(crate) fn place(target: &Target) -> Result<Place, Failure> {
    match target {
        Target::File(path) => outline(path),
        Target::Interface(name) => {
            let socket = name.socket();
            if !socket.exists()
                && let Ok(place) = outline(&name.peer_file())
                && place.name == *name
            {
                return Ok(place);
            }
            Ok(Place { name: name.clone(), socket })
        }
    }
}

/// The two keys of a peer file that say where its daemon is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Outline {
    interface: Option<InterfaceOutline>,
    control: Option<ControlOutline>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InterfaceOutline {
    name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ControlOutline {
    socket: Option<PathBuf>,
}

fn outline(path: &Path) -> Result<Place, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!(
            "{shown}:1:1: error: cannot read the peer file: {error}; check the path"
        ))
    })?;
    let Glance { name, socket } = match glance(&text) {
        Some(seen) => seen,
        None => parsed(&text).map_err(|error| {
            let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
            Failure::usage(format!(
                "{shown}:{line}:{column}: error: this is no peer file: {error}; \
                 see `stadium check {shown}`"
            ))
        })?,
    };
    let name = match name {
        Some(name) => InterfaceName::new(&name),
        None => name_of_file(path),
    };
    let name = name.map_err(|error| {
        Failure::usage(format!("{shown}:1:1: error: {error}; set `interface.name`"))
    })?;
    let socket = socket
        // like every path in a peer file, relative to the file's folder
        .map(|socket| path.parent().unwrap_or(Path::new("")).join(socket))
        .unwrap_or_else(|| name.socket());
    Ok(Place { name, socket })
}

/// Has a whole YAML parser look for what a glance does not find.
fn parsed(text: &str) -> Result<Glance, serde_yaml::Error> {
    let outline: Option<Outline> = serde_yaml::from_str(text)?;
    let Outline { interface, control } = outline.unwrap_or_default();
    Ok(Glance {
        name: interface.and_then(|interface| interface.name),
        socket: control.and_then(|control| control.socket),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("stadium-target-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn found(path: PathBuf) -> (String, PathBuf) {
        let place = place(&Target::File(path)).unwrap_or_else(|error| panic!("{error:?}"));
        (place.name.to_string(), place.socket)
    }

    #[test]
    fn the_command_line_takes_names_and_paths() {
        assert!(matches!(target("stadium0"), Ok(Target::Interface(_))));
        assert!(matches!(target("./a"), Ok(Target::File(_))));
        assert!(target("a b").unwrap_err().contains(".yaml"));
    }

    #[test]
    fn a_file_names_its_socket_even_with_errors_elsewhere() {
        let path = file("a.yaml", "interface: {nam: x}\ncontrol: {socket: /tmp/x.sock}\n");
        assert_eq!(found(path), ("a".into(), "/tmp/x.sock".into()));
        let path = file("b.yaml", "interface: {name: wan}\n");
        assert_eq!(found(path), ("wan".into(), "/run/stadium/wan.sock".into()));
        let path = file("c.yaml", "control: {socket: c.sock}");
        let beside = path.with_extension("sock");
        assert_eq!(found(path), ("c".into(), beside));
        assert_eq!(found(file("d.yaml", "")).0, "d");
    }

    #[test]
    fn a_file_that_is_no_peer_file_says_where() {
        let path = file("e.yaml", "interface:\n  name: [\n");
        let Err(Failure::Message { code, message }) = place(&Target::File(path)) else {
            panic!("must fail");
        };
        assert_eq!(code.as_u8(), 2);
        assert!(message.contains("e.yaml:"), "{message}");
        let missing = place(&Target::File("/nonexistent/f.yaml".into()));
        assert!(matches!(missing, Err(Failure::Message { .. })));
        let unnamed = place(&Target::File(file("much-too-long-a-name.yaml", "")));
        assert!(matches!(unnamed, Err(Failure::Message { .. })));
    }
}
