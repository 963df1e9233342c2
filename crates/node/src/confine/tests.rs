//! The three locks, tried from inside: each test confines a thread of its own, which is all that
//! the locks hold on to.

use std::fs;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Needs, enter};

/// A folder to read, one to write, and one for neither.
struct Folders(PathBuf);

impl Folders {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("stadium-{name}-{}", std::process::id()));
        for folder in ["read", "write", "none"] {
            fs::create_dir_all(root.join(folder)).unwrap();
            fs::write(root.join(folder).join("file"), folder).unwrap();
        }
        Self(root)
    }

    fn file(&self, folder: &str) -> PathBuf {
        self.0.join(folder).join("file")
    }

    fn needs(&self) -> Needs {
        Needs { read: vec![self.0.join("read")], write: vec![self.0.join("write")] }
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs `test` on a thread that is confined first.
fn confined(needs: Needs, test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let ended = scope
            .spawn(move || {
                enter(&needs).unwrap_or_else(|error| panic!("{error}"));
                test();
            })
            .join();
        assert!(ended.is_ok(), "its message stands above");
    });
}

fn denied<T>(result: std::io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::PermissionDenied)
}

/// Whether this kernel has Landlock; asked on a thread that is lost to everything else.
fn files_are_locked() -> bool {
    let asked = std::thread::spawn(|| super::files::restrict(&Needs::default()));
    asked.join().unwrap().is_ok_and(|how| how.starts_with("restricted"))
}

#[test]
fn only_what_is_needed_is_read_and_written() {
    let folders = Folders::new("confine-files");
    let locked = files_are_locked();
    confined(folders.needs(), || {
        assert_eq!(fs::read_to_string(folders.file("read")).unwrap(), "read");
        // as the state file is replaced: a new one beside it takes its name
        let next = folders.0.join("write/next");
        fs::write(&next, "new").unwrap();
        fs::rename(&next, folders.file("write")).unwrap();
        assert_eq!(fs::read_to_string(folders.file("write")).unwrap(), "new");
        fs::remove_file(folders.file("write")).unwrap();
        // names are resolved by what lies here
        assert!(fs::read("/etc/passwd").is_ok());
        if locked {
            assert!(denied(fs::write(folders.file("read"), "mine")));
            assert!(denied(fs::read(folders.file("none"))));
            assert!(denied(fs::write(Path::new("/etc/stadium-confine-test"), "mine")));
            assert!(denied(fs::read_dir("/root")));
        }
    });
    assert_eq!(fs::read_to_string(folders.file("read")).unwrap(), "read");
}

#[test]
fn no_program_runs_and_no_process_is_looked_into() {
    confined(Needs::default(), || {
        assert!(denied(Command::new("/bin/true").status()), "a program ran");
        let own = rustix::process::getpid();
        assert!(rustix::process::test_kill_process(own).is_err(), "kill(2) is not needed");
        let stopped = rustix::process::kill_process(own, rustix::process::Signal::WINCH);
        assert!(stopped.is_err(), "a signal was sent");
    });
}

#[test]
fn no_namespace_and_no_other_kind_of_socket() {
    use rustix::net::{AddressFamily, SocketType};
    confined(Needs::default(), || {
        let space = fs::File::open("/proc/self/ns/net").unwrap();
        let moved =
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&space), None);
        assert_eq!(moved, Err(rustix::io::Errno::PERM));
        let packet = rustix::net::socket(AddressFamily::PACKET, SocketType::DGRAM, None);
        assert!(packet.is_err(), "a packet socket was made");
        assert!(UdpSocket::bind("127.0.0.1:0").is_ok(), "UDP goes on");
        let local = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None);
        assert!(local.is_ok(), "the control socket goes on");
    });
}

/// The capabilities of the calling thread, as the kernel tells them; asking it by a system call
/// is not among those that are left.
fn capabilities_held() -> Vec<u64> {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let held = status.lines().filter_map(|line| {
        let (name, value) = line.split_once(":\t")?;
        let counts = ["CapInh", "CapPrm", "CapEff", "CapAmb"].contains(&name);
        counts.then(|| u64::from_str_radix(value, 16).unwrap())
    });
    held.collect()
}

#[test]
fn no_capability_is_left_nor_comes_back() {
    let locked = files_are_locked();
    confined(Needs::default(), || {
        assert_eq!(capabilities_held(), [0; 4]);
        let all = rustix::thread::CapabilitySet::all();
        let back =
            rustix::thread::CapabilitySets { effective: all, permitted: all, inheritable: all };
        assert!(rustix::thread::set_capabilities(None, back).is_err());
        // threads that come later are confined, too
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(capabilities_held(), [0; 4]);
                assert!(denied(Command::new("/bin/true").status()));
                assert!(!locked || denied(fs::read_dir("/root")));
            });
        });
    });
}
