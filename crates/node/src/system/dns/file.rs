//! `/etc/resolv.conf` where nobody manages it: written over, and put back from its own comments.
//!
//! What stood there is kept in the file itself, so that it comes back after a kill, a reboot, or
//! with another copy of the program. A regular file is written in place, since it may be bound
//! from elsewhere (containers, `ip netns exec`); a link is replaced by a file, and put back.

use std::fs;
use std::io::{self, ErrorKind as Io};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;

use super::super::error::{ErrorKind, SystemError};
use super::RESOLV_CONF;

/// How a file of ours begins, with the interface's name behind it.
const HEAD: &str = "# Set by Stadium, which puts back what stands below when it goes down: ";
/// Before each line of what stood there; the second form for a last line without its end.
const KEPT: [&str; 2] = ["#< ", "#<~"];
/// Before the target of what was a link.
const LINK: &str = "#-> ";
/// That there was no file.
const MISSING: &str = "#-- there was no file";

/// What stood there before.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Before {
    Missing,
    Link(String),
    Text(String),
}

/// Writes our servers into the file; what stood there stays in it as comments.
pub(super) fn set(path: &Path, interface: &str, servers: &[IpAddr]) -> Result<(), SystemError> {
    let failed = |error: io::Error| {
        SystemError::from_io(format_args!("set name servers in {}", path.display()), &error)
            .with_remedy(
                "let root write it (a read-only or immutable file cannot be used), or take \
                 interface.dns out of the peer file",
            )
    };
    let found = read(path).map_err(failed)?;
    let before = match &found {
        Before::Text(text) => match parse(text) {
            Some((owner, before)) if owner == interface => before,
            Some((owner, _)) => {
                return Err(SystemError::new(
                    ErrorKind::Exists,
                    format!("{} holds the name servers of {owner}", path.display()),
                )
                .with_remedy(format!(
                    "only one interface can have interface.dns here: take it out of one peer \
                     file, or run `stadium down {owner}` first"
                )));
            }
            None => found.clone(),
        },
        _ => found.clone(),
    };
    let searched = match &before {
        Before::Text(text) => text.clone(),
        // what the link led to says which domains are searched
        Before::Link(_) => fs::read_to_string(path).unwrap_or_default(),
        Before::Missing => String::new(),
    };
    let text = compose(interface, servers, &searched, &before);
    write(path, &text, matches!(found, Before::Text(_))).map_err(failed)
}

/// Puts back what stood there, if the file is still ours.
pub(super) fn restore(path: &Path, interface: &str) -> Result<(), SystemError> {
    let put_back = || match read(path)? {
        Before::Text(text) => match parse(&text) {
            Some((owner, before)) if owner == interface => match before {
                Before::Text(text) => write(path, &text, true),
                Before::Link(target) => replace(path, |new| symlink(&target, new)),
                Before::Missing => fs::remove_file(path),
            },
            _ => {
                tracing::debug!("{} was changed by another program: it stays", path.display());
                Ok(())
            }
        },
        _ => Ok(()),
    };
    put_back().map_err(|error| {
        SystemError::from_io(format_args!("put back {}", path.display()), &error)
            .with_remedy("its comments say what stood there")
    })
}

/// Whether the file names the servers of `interface`.
pub(in super::super) fn is_ours(interface: &str) -> bool {
    match read(RESOLV_CONF.as_ref()) {
        Ok(Before::Text(text)) => parse(&text).is_some_and(|(owner, _)| owner == interface),
        _ => false,
    }
}

fn read(path: &Path) -> io::Result<Before> {
    match fs::read_link(path) {
        Ok(target) => {
            let target = target.into_os_string().into_string();
            return target.map(Before::Link).map_err(|_| {
                io::Error::new(Io::InvalidData, "it links to a name that is no text")
            });
        }
        Err(error) if error.kind() == Io::NotFound => return Ok(Before::Missing),
        // no link
        Err(_) => {}
    }
    fs::read_to_string(path).map(Before::Text)
}

/// Writes a file in place, or a new one in place of whatever is there.
fn write(path: &Path, text: &str, in_place: bool) -> io::Result<()> {
    if in_place {
        return fs::write(path, text);
    }
    replace(path, |new| {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o644).open(new)?;
        io::Write::write_all(&mut file, text.as_bytes())
    })
}

/// Makes something beside `path` and moves it there at once.
fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let new = path.with_extension("conf.stadium");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != Io::NotFound => return Err(error),
        _ => {}
    }
    make(&new)?;
    fs::rename(&new, path)
}

fn compose(interface: &str, servers: &[IpAddr], searched: &str, before: &Before) -> String {
    let mut text = format!("{HEAD}{interface}\n");
    for server in servers {
        text += &format!("nameserver {server}\n");
    }
    for line in searched.lines() {
        if matches!(line.split_ascii_whitespace().next(), Some("search" | "domain")) {
            text += &format!("{line}\n");
        }
    }
    match before {
        Before::Missing => text += &format!("{MISSING}\n"),
        Before::Link(target) => text += &format!("{LINK}{target}\n"),
        Before::Text(kept) => {
            for line in kept.split_inclusive('\n') {
                text += match line.strip_suffix('\n') {
                    Some(line) => format!("{}{line}\n", KEPT[0]),
                    None => format!("{}{line}\n", KEPT[1]),
                }
                .as_str();
            }
        }
    }
    text
}

/// Reads a file of ours: whose it is, and what stood there.
fn parse(text: &str) -> Option<(&str, Before)> {
    let (head, rest) = text.split_once('\n')?;
    let owner = head.strip_prefix(HEAD)?;
    let mut kept = String::new();
    for line in rest.lines() {
        if line == MISSING {
            return Some((owner, Before::Missing));
        } else if let Some(target) = line.strip_prefix(LINK) {
            return Some((owner, Before::Link(target.to_owned())));
        } else if let Some(line) = line.strip_prefix(KEPT[0]) {
            kept += line;
            kept.push('\n');
        } else if let Some(line) = line.strip_prefix(KEPT[1]) {
            kept += line;
        }
    }
    Some((owner, Before::Text(kept)))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn folder(test: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("stadium-dns-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder.join("resolv.conf")
    }

    fn servers() -> Vec<IpAddr> {
        vec!["10.7.0.1".parse().unwrap(), "fd07::1".parse().unwrap()]
    }

    #[test]
    fn a_file_comes_back_to_the_byte() {
        let path = folder("bytes");
        for before in [
            "",
            "\n",
            "nameserver 192.168.5.1\nsearch lan example.net\n",
            "# Set by hand\n\nnameserver 192.168.5.1",
            "#< looks like ours\n#-> so does this\n",
        ] {
            fs::write(&path, before).unwrap();
            set(&path, "stadium0", &servers()).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains("\nnameserver 10.7.0.1\nnameserver fd07::1\n"), "{text}");
            assert!(!text.contains("\nnameserver 192"), "{text}");
            assert_eq!(text.contains("\nsearch lan"), before.contains("search"), "{text}");
            // servers that change keep what stood there first
            set(&path, "stadium0", &servers()[..1]).unwrap();
            restore(&path, "stadium0").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), before);
            restore(&path, "stadium0").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), before, "twice is once");
        }
    }

    #[test]
    fn a_link_and_an_absence_come_back_too() {
        let path = folder("link");
        let other = path.with_file_name("managed");
        fs::write(&other, "nameserver 192.168.5.1\nsearch lan\n").unwrap();
        symlink("managed", &path).unwrap();
        set(&path, "stadium0", &servers()).unwrap();
        assert!(!path.is_symlink());
        assert!(fs::read_to_string(&path).unwrap().contains("\nsearch lan\n"));
        assert_eq!(fs::read_to_string(&other).unwrap().lines().count(), 2, "it is not written");
        restore(&path, "stadium0").unwrap();
        assert_eq!(fs::read_link(&path).unwrap(), PathBuf::from("managed"));
        fs::remove_file(&path).unwrap();
        set(&path, "stadium0", &servers()).unwrap();
        restore(&path, "stadium0").unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_another_ones_stays() {
        let path = folder("others");
        fs::write(&path, "nameserver 192.168.5.1\n").unwrap();
        set(&path, "stadium1", &servers()).unwrap();
        let error = set(&path, "stadium0", &servers()).unwrap_err().to_string();
        assert!(error.contains("holds the name servers of stadium1"), "{error}");
        restore(&path, "stadium0").unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("10.7.0.1"), "not ours to put back");
        fs::write(&path, "nameserver 172.16.0.1\n").unwrap();
        restore(&path, "stadium1").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "nameserver 172.16.0.1\n");
    }
}
