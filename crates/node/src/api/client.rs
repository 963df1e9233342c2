//! The blocking client of the control socket.
//!
//! Invariants: no call outlasts its deadline, no answer longer than [`MAX_RESPONSE`] is read,
//! and a failure says which of these it was: nobody there, not allowed, not understood.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::PidfdFlags;

use super::event::Event;
use super::line::{MAX_RESPONSE, decode_response, encode_request};
use super::message::{Pong, Refusal, ReloadReport, Request, Response, Stopping};
use super::noise::NoiseProfiles;
use super::status::Status;

/// How long an answer may take where the request itself does not wait for anything.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A reload may resolve names and run system calls for thousands of peers.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Talks to one daemon over its control socket.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl Client {
    /// Connects to the daemon that listens at `path`.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] where there is no socket or nobody answers on it,
    /// [`ClientError::NoPermission`] where the caller may not use it, else [`ClientError::Io`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                ClientError::NotRunning { path: path.into(), stale: false }
            }
            io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { path: path.into(), stale: true }
            }
            io::ErrorKind::PermissionDenied => ClientError::NoPermission { path: path.into() },
            _ => ClientError::Io { path: path.into(), error },
        })?;
        // the status of ten thousand peers is some megabytes
        let stream = BufReader::with_capacity(64 * 1024, stream);
        Ok(Self { stream, path: path.into() })
    }

    /// Returns the socket's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sends `request` and waits up to `timeout` for its answer, refusals included.
    ///
    /// # Errors
    /// Any [`ClientError`] but [`ClientError::Refused`]. After an error the connection's state
    /// is unknown: drop it.
    pub fn request(
        &mut self,
        request: &Request,
        timeout: Duration,
    ) -> Result<Response, ClientError> {
        let deadline = Instant::now() + timeout;
        self.send(request, timeout)?;
        let mut line = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.timed_out(timeout));
            }
            self.stream.get_ref().set_read_timeout(Some(left)).map_err(|e| self.io(e))?;
            let room = MAX_RESPONSE + 1 - line.len();
            // a read that times out half way keeps what it has read in `line`
            let read = (&mut self.stream).take(room as u64).read_until(b'\n', &mut line);
            match read {
                Ok(_) if line.len() > MAX_RESPONSE => {
                    let detail = format!("an answer of more than {MAX_RESPONSE} bytes");
                    return Err(ClientError::Malformed { path: self.path.clone(), detail });
                }
                Ok(_) if line.ends_with(b"\n") => break,
                Ok(_) if line.is_empty() => {
                    return Err(ClientError::Closed { path: self.path.clone() });
                }
                Ok(_) => {
                    let detail = "an answer that breaks off".to_owned();
                    return Err(ClientError::Malformed { path: self.path.clone(), detail });
                }
                Err(error) if would_block(&error) => return Err(self.timed_out(timeout)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(ClientError::Closed { path: self.path.clone() });
                }
                Err(error) => return Err(self.io(error)),
            }
        }
        decode_response(&line).map_err(|error| ClientError::Malformed {
            path: self.path.clone(),
            detail: error.to_string(),
        })
    }

    fn send(&self, request: &Request, timeout: Duration) -> Result<(), ClientError> {
        let mut stream = self.stream.get_ref();
        stream.set_write_timeout(Some(timeout)).map_err(|e| self.io(e))?;
        stream.write_all(&encode_request(request)).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                ClientError::Closed { path: self.path.clone() }
            }
            _ if would_block(&error) => self.timed_out(timeout),
            _ => self.io(error),
        })
    }

    /// Asks for the live profile of the interface's noise.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn noise(&mut self) -> Result<NoiseProfiles, ClientError> {
        match self.request(&Request::Noise, ANSWER_TIMEOUT)? {
            Response::Noise(profiles) => Ok(profiles),
            other => Err(self.unexpected(other)),
        }
    }

    /// Asks for the interface's status.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.request(&Request::Status, ANSWER_TIMEOUT)? {
            Response::Status(status) => Ok(status),
            other => Err(self.unexpected(other)),
        }
    }

    /// Has the daemon load its peer file again; a dry run changes nothing.
    ///
    /// # Errors
    /// Any [`ClientError`]; an invalid file is [`ClientError::Refused`].
    pub fn reload(&mut self, dry_run: bool) -> Result<ReloadReport, ClientError> {
        match self.request(&Request::Reload { dry_run }, RELOAD_TIMEOUT)? {
            Response::Reload(report) => Ok(report),
            other => Err(self.unexpected(other)),
        }
    }

    /// Asks the daemon to end; returns when it has begun to.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn down(&mut self) -> Result<Stopping, ClientError> {
        match self.request(&Request::Down, ANSWER_TIMEOUT)? {
            Response::Stopping(stopping) => Ok(stopping),
            other => Err(self.unexpected(other)),
        }
    }

    /// Starts handshakes with one peer, or with all that have an endpoint and no session.
    ///
    /// # Errors
    /// Any [`ClientError`]; a name that no peer has is [`ClientError::Refused`].
    pub fn connect_peers(&mut self, peer: Option<&str>) -> Result<u32, ClientError> {
        let request = Request::Connect { peer: peer.map(str::to_owned) };
        match self.request(&request, ANSWER_TIMEOUT)? {
            Response::Connecting { started } => Ok(started),
            other => Err(self.unexpected(other)),
        }
    }

    /// Sends one heartbeat to `peer` and waits up to `timeout` for its answer.
    ///
    /// # Errors
    /// Any [`ClientError`]; a heartbeat without an answer is a [`Pong`] without `rtt_ms`.
    pub fn ping(&mut self, peer: &str, id: u64, timeout: Duration) -> Result<Pong, ClientError> {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let request = Request::Ping { peer: peer.to_owned(), id, timeout_ms };
        match self.request(&request, timeout.saturating_add(ANSWER_TIMEOUT))? {
            Response::Pong(pong) if pong.id == id => Ok(pong),
            other => Err(self.unexpected(other)),
        }
    }

    /// Asks for the events of the recent past, oldest first.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn history(&mut self) -> Result<Vec<Event>, ClientError> {
        match self.request(&Request::History, ANSWER_TIMEOUT)? {
            Response::History(events) => Ok(events),
            other => Err(self.unexpected(other)),
        }
    }

    /// Keeps an interface that waits for it; `false`: it did not wait.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn confirm(&mut self) -> Result<bool, ClientError> {
        match self.request(&Request::Confirm, ANSWER_TIMEOUT)? {
            Response::Confirmed { waited } => Ok(waited),
            other => Err(self.unexpected(other)),
        }
    }

    /// Listens to the daemon's events; they come until it ends.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn events(mut self) -> Result<Events, ClientError> {
        let first = match self.request(&Request::Events, ANSWER_TIMEOUT)? {
            Response::Event(event) => *event,
            other => return Err(self.unexpected(other)),
        };
        self.stream.get_ref().set_read_timeout(None).map_err(|error| self.io(error))?;
        Ok(Events { client: self, first: Some(first) })
    }

    /// Opens a handle of the daemon's process that becomes readable when it has ended.
    ///
    /// Returns `None` where the process cannot be named from here, as from another PID
    /// namespace.
    pub fn daemon_process(&self) -> Option<OwnedFd> {
        let credentials = rustix::net::sockopt::socket_peercred(self.stream.get_ref()).ok()?;
        rustix::process::pidfd_open(credentials.pid, PidfdFlags::empty()).ok()
    }

    /// Waits up to `timeout` for the daemon to close this connection; `true`: it did.
    pub fn closed_within(&mut self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stream.get_ref().set_read_timeout(Some(left)).is_err() {
                return false;
            }
            match self.stream.fill_buf() {
                Ok([]) => return true,
                Ok(bytes) => {
                    let unread = bytes.len();
                    self.stream.consume(unread);
                }
                Err(error) if would_block(&error) => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
    }

    fn io(&self, error: io::Error) -> ClientError {
        ClientError::Io { path: self.path.clone(), error }
    }

    fn timed_out(&self, after: Duration) -> ClientError {
        ClientError::TimedOut { path: self.path.clone(), after }
    }

    fn unexpected(&self, response: Response) -> ClientError {
        match response {
            Response::Error(refusal) => ClientError::Refused(refusal),
            _ => ClientError::Malformed {
                path: self.path.clone(),
                detail: "an answer to another question".to_owned(),
            },
        }
    }
}

/// The events of a daemon, as they happen; ends with the daemon.
#[derive(Debug)]
pub struct Events {
    client: Client,
    first: Option<Event>,
}

impl Iterator for Events {
    type Item = Result<Event, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        let mut line = Vec::new();
        let limit = MAX_RESPONSE as u64;
        match (&mut self.client.stream).take(limit).read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") => {}
            Ok(_) => return None,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
            Err(error) => return Some(Err(self.client.io(error))),
        }
        Some(match decode_response(&line) {
            Ok(Response::Event(event)) => Ok(*event),
            Ok(other) => Err(self.client.unexpected(other)),
            Err(error) => Err(ClientError::Malformed {
                path: self.client.path.clone(),
                detail: error.to_string(),
            }),
        })
    }
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Says why a daemon could not be asked, or what it refused.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens there; `stale`: a socket is left, of a daemon that was killed.
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// Whether a socket file is there.
        stale: bool,
    },
    /// The caller may not use the socket.
    NoPermission {
        /// The socket.
        path: PathBuf,
    },
    /// The daemon closed the connection instead of answering: it ended meanwhile.
    Closed {
        /// The socket.
        path: PathBuf,
    },
    /// What came back is no answer of this version.
    Malformed {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// No answer in time.
    TimedOut {
        /// The socket.
        path: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
    /// The socket failed in another way.
    Io {
        /// The socket.
        path: PathBuf,
        /// How.
        error: io::Error,
    },
    /// The daemon answered that it did not do it.
    Refused(Refusal),
}

impl ClientError {
    /// Returns the program's exit code: 1 failed, 2 wrong usage or file, 3 not running.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotRunning { .. } | Self::Closed { .. } => 3,
            Self::Refused(refusal) => refusal.kind.exit_code(),
            Self::NoPermission { .. }
            | Self::Malformed { .. }
            | Self::TimedOut { .. }
            | Self::Io { .. } => 1,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning { path, stale: false } => {
                write!(f, "not running: there is no control socket {}", path.display())
            }
            Self::NotRunning { path, stale: true } => {
                write!(f, "not running: nobody answers on {}", path.display())
            }
            Self::NoPermission { path } => write!(
                f,
                "no permission to use {}; run as root, or join the group that `control.group` \
                 of its peer file names",
                path.display()
            ),
            Self::Closed { path } => {
                write!(f, "the daemon at {} ended before it answered", path.display())
            }
            Self::Malformed { path, detail } => write!(
                f,
                "the answer from {} is not understood ({detail}); is it a daemon of another \
                 version? restart it with this one",
                path.display()
            ),
            Self::TimedOut { path, after } => write!(
                f,
                "no answer from {} within {} s; the daemon hangs or is stopped: see its log",
                path.display(),
                after.as_secs_f64()
            ),
            Self::Io { path, error } => write!(f, "cannot talk to {}: {error}", path.display()),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Kind, encode_response};
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// Returns a socket path of its own in the system's folder for such things.
    fn socket(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("stadium-api-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    /// Answers every request line of one connection with the bytes `answer` gives.
    fn serve(
        name: &str,
        mut answer: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static,
    ) -> (PathBuf, thread::JoinHandle<()>) {
        let path = socket(name);
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).unwrap() > 0 {
                let answer = answer(&line);
                if answer.is_empty() {
                    return;
                }
                lines.get_mut().write_all(&answer).unwrap();
                line.clear();
            }
        });
        (path, server)
    }

    #[test]
    fn several_requests_share_a_connection() {
        let (path, server) = serve("several", |line| {
            let response = match crate::api::decode_request(line).unwrap() {
                Request::Status => Response::Status(Status::default()),
                Request::Ping { id, .. } => {
                    Response::Pong(Pong { id, rtt_ms: Some(0.5), reason: None })
                }
                Request::Connect { .. } => Response::Connecting { started: 3 },
                other => panic!("unexpected {other:?}"),
            };
            encode_response(&response)
        });
        let mut client = Client::connect(&path).unwrap();
        assert_eq!(client.status().unwrap(), Status::default());
        assert_eq!(client.connect_peers(None).unwrap(), 3);
        let pong = client.ping("bob", 9, Duration::from_secs(1)).unwrap();
        assert_eq!((pong.id, pong.rtt_ms), (9, Some(0.5)));
        drop(client);
        server.join().unwrap();
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn nobody_there_is_told_from_a_socket_left_behind() {
        let path = socket("left");
        let absent = Client::connect(&path).unwrap_err();
        assert!(matches!(absent, ClientError::NotRunning { stale: false, .. }));
        drop(UnixListener::bind(&path).unwrap());
        let left = Client::connect(&path).unwrap_err();
        assert!(matches!(left, ClientError::NotRunning { stale: true, .. }));
        assert_eq!((absent.exit_code(), left.exit_code()), (3, 3));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn refusals_carry_their_exit_code() {
        for (kind, code) in
            [(Kind::Failed, 1), (Kind::InvalidFile, 2), (Kind::UnknownPeer, 2), (Kind::Stopping, 3)]
        {
            let (path, server) = serve(&format!("refused{code}{kind:?}"), move |_| {
                encode_response(&Response::Error(Refusal::new(kind, "because")))
            });
            let error = Client::connect(&path).unwrap().reload(false).unwrap_err();
            assert_eq!(error.to_string(), "because");
            assert_eq!(error.exit_code(), code);
            server.join().unwrap();
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn what_is_no_answer_is_malformed() {
        let answers = [
            &b"hello\n"[..],
            b"{\"status\":{}}\n",
            b"{\"connecting\":{\"started\":1}}\n",
            b"\xff\n",
        ];
        for (number, answer) in answers.into_iter().enumerate() {
            let (path, server) = serve(&format!("bad{number}"), move |_| answer.to_vec());
            let error = Client::connect(&path).unwrap().status().unwrap_err();
            assert!(matches!(error, ClientError::Malformed { .. }), "{number}: {error:?}");
            server.join().unwrap();
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_daemon_that_ends_or_hangs_is_noticed() {
        let (path, server) = serve("ends", |_| Vec::new());
        let error = Client::connect(&path).unwrap().status().unwrap_err();
        assert!(matches!(error, ClientError::Closed { .. }), "{error:?}");
        server.join().unwrap();
        std::fs::remove_file(path).unwrap();

        let path = socket("hangs");
        let listener = UnixListener::bind(&path).unwrap();
        let mut client = Client::connect(&path).unwrap();
        let (mut daemon, _) = listener.accept().unwrap();
        daemon.write_all(b"{\"half\":").unwrap();
        let error = client.request(&Request::Status, Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
        assert!(!client.closed_within(Duration::from_millis(20)));
        drop(daemon);
        assert!(client.closed_within(Duration::from_secs(5)));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_daemons_process_can_be_watched() {
        let path = socket("process");
        let _listener = UnixListener::bind(&path).unwrap();
        let client = Client::connect(&path).unwrap();
        assert!(client.daemon_process().is_some());
        std::fs::remove_file(path).unwrap();
    }
}
