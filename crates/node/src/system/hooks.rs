//! Runs the hooks of a peer file: `sh -c`, bounded in time, output to the log.
//!
//! A hook runs with the rights of the daemon, so that only a peer file that root owns and nobody
//! else can write may name one: [`super::Plan::new`] refuses hooks of any other.

use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Command;

use super::error::{ErrorKind, SystemError};

/// How long a hook may run before it is killed.
pub const HOOK_TIMEOUT: Duration = Duration::from_secs(60);

/// How long output is still read after the shell has ended, when something it started in the
/// background keeps the pipe open.
const DRAIN: Duration = Duration::from_millis(200);

/// The most bytes of one stream that reach the log.
const OUTPUT_LIMIT: u64 = 64 * 1024;

/// When a hook runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum HookStage {
    /// Before the interface is made.
    PreUp,
    /// When the interface is up and its routes stand.
    PostUp,
    /// Before anything is taken down.
    PreDown,
    /// When everything is gone.
    PostDown,
}

impl HookStage {
    /// Whether a failure takes everything down again rather than only being logged.
    pub fn must_succeed(self) -> bool {
        matches!(self, Self::PreUp | Self::PostUp)
    }
}

impl fmt::Display for HookStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreUp => "pre_up",
            Self::PostUp => "post_up",
            Self::PreDown => "pre_down",
            Self::PostDown => "post_down",
        })
    }
}

/// What a hook finds in its environment, beside the daemon's own.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct HookEnvironment {
    /// `STADIUM_INTERFACE`: the interface's name.
    pub interface: String,
    /// `STADIUM_FILE`: the path of the peer file.
    pub file: PathBuf,
    /// `STADIUM_MTU`: the interface's MTU in bytes.
    pub mtu: u32,
    /// `STADIUM_PORT`: the UDP port, 0 while it is not bound yet.
    pub port: u16,
}

/// One command of the peer file's `hooks`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Hook {
    /// When it runs.
    pub stage: HookStage,
    /// What `sh -c` gets.
    pub command: String,
    /// What it finds in its environment.
    pub environment: HookEnvironment,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} hook: {}", self.stage, self.command)
    }
}

impl Hook {
    /// Runs the command to its end, at most for `timeout`.
    ///
    /// # Errors
    /// [`ErrorKind::Hook`] when it cannot be started, ends with another status than 0, or takes
    /// too long; it and what it started in its process group are killed then.
    pub async fn run(&self, timeout: Duration) -> Result<(), SystemError> {
        let failed = |why: String| {
            SystemError::new(
                ErrorKind::Hook,
                format!("{} hook `{}` {why}", self.stage, self.command),
            )
        };
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(&self.command)
            .env("STADIUM_INTERFACE", &self.environment.interface)
            .env("STADIUM_FILE", &self.environment.file)
            .env("STADIUM_MTU", self.environment.mtu.to_string())
            .env("STADIUM_PORT", self.environment.port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| failed(format!("does not start: {e}")))?;
        let group = child.id();
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        let stage = self.stage;
        let output = tokio::spawn(async move {
            tokio::join!(log_lines(stage, stdout), log_lines(stage, stderr));
        });
        let status = match tokio::time::timeout(timeout, child.wait()).await {
            Ok(status) => status.map_err(|e| failed(format!("was lost: {e}")))?,
            Err(_) => {
                kill_group(group);
                output.abort();
                return Err(failed(format!(
                    "ran longer than {} s and was killed",
                    timeout.as_secs()
                ))
                .with_remedy("start what takes long in the background"));
            }
        };
        let abort = output.abort_handle();
        if tokio::time::timeout(DRAIN, output).await.is_err() {
            abort.abort();
        }
        if status.success() {
            Ok(())
        } else {
            Err(failed(format!("failed with {status}"))
                .with_remedy("run it by hand, or take it out of interface.hooks"))
        }
    }
}

/// Kills a process group that [`Hook::run`] made.
fn kill_group(leader: Option<u32>) {
    let pid = leader.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // Gone already is as good.
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
}

/// Copies what a hook says to the log, line by line, control characters escaped.
async fn log_lines(stage: HookStage, stream: Option<impl AsyncRead + Unpin>) {
    let Some(stream) = stream else { return };
    let mut reader = BufReader::new(stream.take(OUTPUT_LIMIT));
    let mut line = Vec::new();
    while matches!(reader.read_until(b'\n', &mut line).await, Ok(1..)) {
        let text = String::from_utf8_lossy(&line);
        tracing::info!(hook = %stage, "{}", text.trim_end().escape_debug());
        line.clear();
    }
    // What lies beyond the limit is read and dropped, so that the hook does not block on it.
    let _ = tokio::io::copy(&mut reader.into_inner().into_inner(), &mut tokio::io::sink()).await;
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn hook(command: &str) -> Hook {
        Hook {
            stage: HookStage::PostUp,
            command: command.into(),
            environment: HookEnvironment {
                interface: "stadium0".into(),
                file: "/etc/stadium/stadium0.yaml".into(),
                mtu: 1420,
                port: 51871,
            },
        }
    }

    fn run(command: &str, timeout: Duration) -> Result<(), SystemError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(hook(command).run(timeout))
    }

    #[test]
    fn sees_its_environment() {
        run(
            "test \"$STADIUM_INTERFACE $STADIUM_FILE $STADIUM_MTU $STADIUM_PORT\" = \
             'stadium0 /etc/stadium/stadium0.yaml 1420 51871'",
            HOOK_TIMEOUT,
        )
        .unwrap();
    }

    #[test]
    fn failure_names_hook_and_status() {
        let error = run("exit 3", HOOK_TIMEOUT).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Hook);
        assert!(
            error.message.contains("post_up hook `exit 3` failed with exit status: 3"),
            "{error}"
        );
    }

    #[test]
    fn is_killed_with_its_children_when_it_takes_too_long() {
        let begun = Instant::now();
        let marker = std::env::temp_dir().join(format!("stadium-hook-{}", std::process::id()));
        let command = format!("(sleep 1; touch {}) & wait", marker.display());
        let error = run(&command, Duration::from_millis(100)).unwrap_err();
        assert!(error.message.contains("and was killed"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(1));
        std::thread::sleep(Duration::from_millis(1200));
        assert!(!marker.exists(), "what the hook started lived on");
    }

    #[test]
    fn background_work_does_not_hold_it_up() {
        let begun = Instant::now();
        run("sleep 5 & exit 0", HOOK_TIMEOUT).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(3));
    }

    #[test]
    fn much_output_does_not_block_it() {
        run("head -c 1000000 /dev/zero | tr '\\0' x", HOOK_TIMEOUT).unwrap();
    }
}
