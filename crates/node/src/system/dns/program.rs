//! The programs that manage name servers: found, run, bounded in time.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::super::error::{ErrorKind, SystemError};

/// How long one may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where system programs lie, whatever the caller's `PATH` says.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Finds a program in `PATH`, then where system programs lie.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .chain(FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// Runs a program to its end; what it writes to stderr is the error's reason.
pub(super) async fn run(
    name: &str,
    arguments: &[&str],
    input: Option<&str>,
) -> Result<(), SystemError> {
    let failed = |why: String| {
        let shown = format!("{name} {}", arguments.join(" "));
        SystemError::new(ErrorKind::Other, format!("cannot set name servers: `{shown}` {why}"))
            .with_remedy("run it by hand to see why, or take interface.dns out of the peer file")
    };
    let program = find(name).ok_or_else(|| failed("is not installed".to_owned()))?;
    let work = async {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let (Some(mut stdin), Some(text)) = (child.stdin.take(), input) {
            stdin.write_all(text.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    match tokio::time::timeout(TIMEOUT, work).await {
        Err(_) => Err(failed(format!("did not end within {} s", TIMEOUT.as_secs()))),
        Ok(Err(error)) => Err(failed(format!("could not be run: {error}"))),
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(failed(format!("failed ({}): {}", output.status, said.trim())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn says_what_failed_and_why() {
        run("true", &[], None).await.unwrap();
        run("cat", &[], Some("text")).await.unwrap();
        let error = run("ls", &["/no/such/file"], None).await.unwrap_err().to_string();
        assert!(
            error.contains("`ls /no/such/file` failed") && error.contains("No such"),
            "{error}"
        );
        let error = run("no-such-program", &[], None).await.unwrap_err().to_string();
        assert!(error.contains("is not installed"), "{error}");
    }
}
