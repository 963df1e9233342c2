//! `up --detach`: the daemon as a process of its own, and the caller back when it is ready.
//!
//! The program starts itself again rather than forking, so that no runtime and no thread is
//! ever doubled. The new process has a pipe for its stdout and says on it, as one JSON line,
//! that it is ready or why it is not; its stderr is the log. Invariant: after that line nothing
//! holds the pipe, the caller's terminal or its session.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::arguments::LogFormat;
use crate::failure::{Code, Failure};
use crate::logging::journal_stream;
use crate::output;

/// Where the journal takes streams of lines.
const JOURNAL: &str = "/run/systemd/journal/stdout";

/// The folder of logs where there is no journal.
const LOGS: &str = "/var/log/stadium";

/// How often a daemon that says nothing is looked at.
const GLANCE: Duration = Duration::from_millis(100);

/// What the daemon says to its starter, one JSON line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    /// The interface is up and the socket is bound.
    Ready,
    /// It ends with this exit code.
    Failed { code: u8, message: String },
}

/// Where the daemon's log goes.
struct Log {
    stderr: OwnedFd,
    /// For people.
    place: String,
    /// The name of the journal's stream, for the daemon to know it by.
    journal: Option<String>,
}

/// A daemon to be started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start<'a> {
    /// Its peer file; absolute, since the daemon works in `/`.
    pub(crate) file: &'a Path,
    /// Its interface.
    pub(crate) name: &'a str,
    /// Where its log goes, the journal if nowhere else.
    pub(crate) log_file: Option<&'a Path>,
    /// How soon somebody must confirm it.
    pub(crate) confirm: Option<Duration>,
    /// Whether it keeps its privileges.
    pub(crate) no_confine: bool,
    /// The form of its log.
    pub(crate) format: LogFormat,
}

impl Start<'_> {
    /// Starts `stadium up FILE` as a daemon and returns when it is ready.
    ///
    /// # Errors
    /// The daemon's own failure with its exit code, or that it could not be started.
    pub(crate) fn run(self) -> Result<(), Failure> {
        start(self)
    }
}

fn start(start: Start<'_>) -> Result<(), Failure> {
    let Start { file, name, log_file, confirm, no_confine, format } = start;
    let log = open_log(name, log_file)?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::failed(format!("cannot find this program's file: {error}")))?;
    let mut command = Command::new(&program);
    command
        .args(["--log-format", format.as_str(), "up", "--detached"])
        .arg(file)
        .args(confirm.map(|time| format!("--confirm={}s", time.as_secs_f64())))
        .args(no_confine.then_some("--no-confine"))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.stderr);
    match &log.journal {
        Some(stream) => command.env("JOURNAL_STREAM", stream),
        None => command.env_remove("JOURNAL_STREAM"),
    };
    let mut daemon = command
        .spawn()
        .map_err(|error| Failure::failed(format!("cannot start {}: {error}", program.display())))?;
    let told = word(&mut daemon).and_then(|word| match word {
        Word::Ready => {
            output::message(&format!(
                "{name} is up, process {}; its log goes to {}",
                daemon.id(),
                log.place
            ));
            Ok(())
        }
        Word::Failed { code, message } => {
            // it ends on its own; waiting leaves no zombie, and everything is undone after it
            let _ = daemon.wait();
            Err(Failure::Message { code: Code::from_u8(code), message })
        }
    });
    told.map_err(|failure| failure.with_log(&log.place))
}

/// Waits for the daemon's word.
fn word(daemon: &mut Child) -> Result<Word, Failure> {
    let pipe = daemon.stdout.take().expect("stdout was asked for as a pipe");
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(word) => {
                    let _: Result<(), mpsc::SendError<Word>> = tell.send(word);
                    return;
                }
                // a hook that writes to stdout has something to say to people
                Err(_) => output::message(&line),
            }
        }
    });
    loop {
        match told.recv_timeout(GLANCE) {
            Ok(word) => return Ok(word),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        match daemon.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => {
                // its last word may have come between the two looks
                return told.recv_timeout(GLANCE).map_err(|_| {
                    Failure::failed(format!("the daemon ended before it was ready ({status})"))
                });
            }
            Err(error) => {
                return Err(Failure::failed(format!("cannot watch the daemon: {error}")));
            }
        }
    }
}

impl Failure {
    /// Adds where the daemon's log is.
    fn with_log(self, place: &str) -> Self {
        match self {
            Self::Message { code: code @ Code::Failed, message } => {
                Self::Message { code, message: format!("{message}\nthe daemon's log: {place}") }
            }
            other => other,
        }
    }
}

/// Opens the log: the file that was asked for, else the journal, else a file of our own.
fn open_log(name: &str, asked: Option<&Path>) -> Result<Log, Failure> {
    if let Some(path) = asked {
        return open_file(path);
    }
    match UnixStream::connect(JOURNAL).and_then(|stream| greet_journal(stream, name)) {
        Ok(stream) => {
            let stat = rustix::fs::fstat(&stream).map_err(io::Error::from);
            let stat =
                stat.map_err(|error| Failure::failed(format!("cannot use the journal: {error}")))?;
            Ok(Log {
                stderr: stream.into(),
                place: format!("the journal (journalctl -t stadium-{name})"),
                journal: Some(journal_stream(&stat)),
            })
        }
        Err(_) => open_file(&Path::new(LOGS).join(format!("{name}.log"))),
    }
}

/// Announces a stream of lines to the journal, the way sd_journal_stream_fd(3) does.
fn greet_journal(mut stream: UnixStream, name: &str) -> io::Result<UnixStream> {
    stream.shutdown(std::net::Shutdown::Read)?;
    // identifier, unit, priority, whether lines carry one, and three forwards that we want not
    write!(stream, "stadium-{name}\n\n6\n1\n0\n0\n0\n")?;
    Ok(stream)
}

/// Opens a log file to append to, readable by its owner only, with its folder.
fn open_file(path: &Path) -> Result<Log, Failure> {
    let cannot = |error: io::Error| {
        Failure::failed(format!(
            "cannot write the log {}: {error}; name another with --log-file",
            path.display()
        ))
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o750).create(folder).map_err(cannot)?;
    }
    let file: File =
        OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(cannot)?;
    let place = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
    Ok(Log { stderr: file.into(), place: place.display().to_string(), journal: None })
}

/// Leaves the caller's session; for the daemon, before anything else.
pub(crate) fn leave_session() -> Result<(), Failure> {
    rustix::process::setsid()
        .map(drop)
        .map_err(|error| Failure::failed(format!("cannot start a session: {error}")))
}

/// Tells the starter that the daemon is ready, and lets go of it.
pub(crate) fn tell_ready() {
    tell(&Word::Ready);
    let null = OpenOptions::new().write(true).open("/dev/null");
    if let Err(error) = null.and_then(|null| Ok(rustix::stdio::dup2_stdout(null)?)) {
        tracing::warn!(%error, "cannot let go of the starting terminal's pipe");
    }
}

/// Tells the starter why the daemon does not come up.
pub(crate) fn tell_failure(code: u8, message: &str) {
    tell(&Word::Failed { code, message: message.to_owned() });
}

fn tell(word: &Word) {
    let line = serde_json::to_string(word).expect("plain data always serializes");
    let mut stdout = io::stdout().lock();
    if let Err(error) = writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        tracing::warn!(%error, "whoever started this daemon did not wait for it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Child {
        Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    #[test]
    fn the_daemons_word_is_heard_among_other_lines() {
        let mut ready = shell(r#"echo hello; echo '"ready"'; sleep 5 >/dev/null"#);
        assert_eq!(word(&mut ready).unwrap_or_else(|e| panic!("{e:?}")), Word::Ready);
        ready.kill().unwrap();
        ready.wait().unwrap();
        let mut failed = shell(r#"echo '{"failed":{"code":2,"message":"m"}}'"#);
        let failure = Word::Failed { code: 2, message: "m".into() };
        assert_eq!(word(&mut failed).unwrap_or_else(|e| panic!("{e:?}")), failure);
        failed.wait().unwrap();
    }

    #[test]
    fn a_daemon_that_ends_without_a_word_is_a_failure() {
        let mut silent = shell("exit 7");
        let Err(Failure::Message { code, message }) = word(&mut silent) else {
            panic!("must fail");
        };
        assert_eq!(code, Code::Failed);
        assert!(message.contains("exit status: 7"), "{message}");
    }

    #[test]
    fn the_journal_is_told_who_writes() {
        use std::io::Read;
        let (stream, mut journal) = UnixStream::pair().unwrap();
        let mut stream = greet_journal(stream, "stadium0").unwrap();
        stream.write_all(b"<6>up\n").unwrap();
        drop(stream);
        let mut received = String::new();
        journal.read_to_string(&mut received).unwrap();
        // systemd: identifier, unit, priority, level prefix, then three forwards
        assert_eq!(received, "stadium-stadium0\n\n6\n1\n0\n0\n0\n<6>up\n");
    }

    #[test]
    fn a_log_file_is_appended_to_and_closed_to_others() {
        use std::os::unix::fs::PermissionsExt;
        let folder = std::env::temp_dir().join(format!("stadium-log-{}", std::process::id()));
        let path = folder.join("new/a.log");
        for line in ["one\n", "two\n"] {
            let log = open_file(&path).unwrap_or_else(|error| panic!("{error:?}"));
            File::from(log.stderr).write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
