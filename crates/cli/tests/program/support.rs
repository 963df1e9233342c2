//! Running the program, and folders and a pretended daemon for it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use stadium_node::api::{Request, Response, decode_request, encode_response};

/// How the program ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program with `arguments` and `stdin` to its end, without colour variables.
pub(crate) fn stadium_with(arguments: &[&str], stdin: &[u8]) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_stadium"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // a program that does not read its stdin may be gone already
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code().expect("ended by a signal"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs the program with `arguments` and nothing on stdin.
pub(crate) fn stadium(arguments: &[&str]) -> Ended {
    stadium_with(arguments, b"")
}

/// A folder of its own for one test, removed afterwards.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("stadium-cli-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and returns its path as an argument.
    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        argument(&path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn argument(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A pretended daemon, and the peer file that leads to it.
pub(crate) struct Daemon {
    folder: Folder,
    /// The path of the peer file, an IFACE for the program.
    pub(crate) iface: String,
    server: JoinHandle<Vec<Request>>,
}

impl Daemon {
    /// Answers one connection with what `answer` gives for each request, `None` to hang up.
    pub(crate) fn start(answer: impl FnMut(&Request) -> Option<Response> + Send + 'static) -> Self {
        Self::serve(answer, false)
    }

    /// Like [`Self::start`], and hangs up after the first answer.
    pub(crate) fn start_and_hang_up(
        answer: impl FnMut(&Request) -> Option<Response> + Send + 'static,
    ) -> Self {
        Self::serve(answer, true)
    }

    fn serve(
        mut answer: impl FnMut(&Request) -> Option<Response> + Send + 'static,
        once: bool,
    ) -> Self {
        let folder = Folder::new();
        let iface = folder.write("test0.yaml", "control: {socket: test0.sock}\n");
        let socket = folder.path("test0.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = thread::spawn(move || {
            let mut requests = Vec::new();
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).unwrap_or(0) > 0 {
                let request = decode_request(&line).unwrap();
                line.clear();
                let response = answer(&request);
                requests.push(request);
                let Some(response) = response else { break };
                if lines.get_mut().write_all(&encode_response(&response)).is_err() || once {
                    break;
                }
            }
            requests
        });
        Self { folder, iface, server }
    }

    /// Returns the requests that came, after the connection has ended.
    pub(crate) fn requests(self) -> Vec<Request> {
        let requests = self.server.join().unwrap();
        drop(self.folder);
        requests
    }
}
