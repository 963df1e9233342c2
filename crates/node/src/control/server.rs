//! The control socket: connections read lines and hand requests to the loop.
//!
//! Invariants: nobody but the file's permissions decide who may ask; a connection holds one
//! request line at a time, bounded; what a caller does or leaves undone holds up nobody else.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::feed::Feed;
use crate::api::{
    self, Kind, MAX_REQUEST, Pong, Refusal, Request, Response, decode_request, encode_response,
};
use crate::error::RunError;

/// How many callers are served at once; more wait.
const CALLERS: usize = 64;

/// How long a caller may take to read its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest a ping waits for its answer.
const PING_MAX: Duration = Duration::from_secs(60);

/// A request on its way to the loop, and where its answer goes.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) request: Request,
    pub(super) reply: oneshot::Sender<Response>,
}

/// Makes the control socket at `path`: only its owner may use it, and `group` where one is named.
///
/// # Errors
/// When a daemon answers there already, or the socket cannot be made.
pub(super) fn listen(path: &Path, group: Option<&str>) -> Result<UnixListener, RunError> {
    let shown = path.display();
    let gid = group.map(group_id).transpose()?;
    clear_stale(path)?;
    // nobody may connect in the moment before the permissions are set
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = bound.map_err(|error| {
        RunError::failed(format!(
            "cannot make the control socket {shown}: {error}; check control.socket"
        ))
    })?;
    if let Some(gid) = gid {
        let shared = share(path, gid);
        shared.map_err(|error| {
            let _ = fs::remove_file(path);
            RunError::failed(format!(
                "cannot give the control socket {shown} to the group {gid}: {error}"
            ))
        })?;
    }
    Ok(listener)
}

/// Removes a socket that nobody answers on.
fn clear_stale(path: &Path) -> Result<(), RunError> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(RunError::io(format_args!("look at {shown}"), &error)),
        Ok(data) if !data.file_type().is_socket() => {
            return Err(RunError::failed(format!(
                "{shown} exists and is no socket; move it away, or set control.socket to another \
                 path"
            )));
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(RunError::failed(format!(
            "another daemon answers on {shown}; use `stadium down` with its peer file first, or \
             set control.socket to another path"
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => {
            tracing::warn!("nobody answers on the control socket {shown}: it is replaced");
            fs::remove_file(path).map_err(|e| RunError::io(format_args!("remove {shown}"), &e))
        }
    }
}

/// Lets a group use the socket, and pass through its folder where only the owner's group could.
fn share(path: &Path, gid: u32) -> io::Result<()> {
    std::os::unix::fs::chown(path, None, Some(gid))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    let data = fs::metadata(folder)?;
    if data.gid() == gid || data.mode() & 0o001 != 0 {
        return Ok(());
    }
    // root's own group is no group that anybody gave the folder to
    if data.uid() == 0 && data.gid() == 0 && data.mode() & 0o777 == 0o750 {
        std::os::unix::fs::chown(folder, None, Some(gid))
    } else {
        tracing::warn!(
            "the group {gid} cannot enter {}: the folder belongs to another one",
            folder.display()
        );
        Ok(())
    }
}

/// Finds a group by name in `/etc/group`, or takes a number.
fn group_id(group: &str) -> Result<u32, RunError> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let text = fs::read_to_string("/etc/group").unwrap_or_default();
    find_group(&text, group).ok_or_else(|| {
        RunError::failed(format!(
            "control.group: there is no group `{group}` in /etc/group; make it with `groupadd \
             {group}`, or write its number"
        ))
    })
}

fn find_group(text: &str, group: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// Serves callers until it is dropped.
pub(super) async fn serve(listener: UnixListener, commands: mpsc::Sender<Command>, feed: Feed) {
    let callers = Arc::new(Semaphore::new(CALLERS));
    let mut told = false;
    loop {
        let Ok(permit) = Arc::clone(&callers).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                told = false;
                let (commands, feed) = (commands.clone(), feed.clone());
                tokio::spawn(async move {
                    let _permit = permit;
                    // a caller that goes away is its own affair
                    let _ = converse(stream, commands, feed).await;
                });
            }
            Err(error) => {
                // once for as long as it lasts
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "the control socket does not take callers");
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Answers the lines of one connection, one after the other.
async fn converse(
    stream: UnixStream,
    commands: mpsc::Sender<Command>,
    feed: Feed,
) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = MAX_REQUEST as u64 + 1;
        if (&mut read).take(limit).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let (response, last) = match decode_request(&line) {
            Ok(Request::Events) => return stream_events(read, write, &feed).await,
            Ok(request) => (answer(request, &commands).await, false),
            // the rest of a line that is too long would be taken for requests
            Err(refusal) => (Response::Error(refusal), !line.ends_with(b"\n")),
        };
        let bytes = encode_response(&response);
        tokio::time::timeout(WRITE_TIMEOUT, write.write_all(&bytes))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if last {
            return Ok(());
        }
    }
}

/// Writes events until the caller or the daemon goes.
async fn stream_events(
    mut read: BufReader<OwnedReadHalf>,
    mut write: OwnedWriteHalf,
    feed: &Feed,
) -> io::Result<()> {
    let mut events = feed.subscribe();
    let mut next = feed.event(None, api::What::Subscribed);
    let mut rest = [0; 64];
    loop {
        let bytes = encode_response(&Response::Event(Box::new(next)));
        tokio::time::timeout(WRITE_TIMEOUT, write.write_all(&bytes))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        next = loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(event) => break event,
                    Err(RecvError::Lagged(events)) => {
                        break feed.event(None, api::What::Missed { events });
                    }
                    Err(RecvError::Closed) => return Ok(()),
                },
                // a caller that has gone; what it still says is not for this stream
                said = read.read(&mut rest) => {
                    if said? == 0 {
                        return Ok(());
                    }
                }
            }
        };
    }
}

/// Has the loop answer a request.
async fn answer(request: Request, commands: &mpsc::Sender<Command>) -> Response {
    let stopping =
        || Response::Error(Refusal::new(Kind::Stopping, "the daemon is on its way down"));
    let ping = match &request {
        Request::Ping { id, timeout_ms, .. } => Some((*id, *timeout_ms)),
        _ => None,
    };
    let (reply, answer) = oneshot::channel();
    if commands.send(Command { request, reply }).await.is_err() {
        return stopping();
    }
    let Some((id, timeout_ms)) = ping else {
        return answer.await.unwrap_or_else(|_| stopping());
    };
    match tokio::time::timeout(Duration::from_millis(timeout_ms).min(PING_MAX), answer).await {
        Ok(answer) => answer.unwrap_or_else(|_| stopping()),
        Err(_) => Response::Pong(Pong { id, rtt_ms: None, reason: None }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name_or_number() {
        let text = "root:x:0:\nvpn:x:991:ann,bob\nbroken\n";
        assert_eq!(find_group(text, "vpn"), Some(991));
        assert_eq!(find_group(text, "vp"), None);
        assert_eq!(find_group(text, "broken"), None);
        assert_eq!(group_id("1234").unwrap(), 1234);
        assert!(group_id("no-such-group-0").unwrap_err().to_string().contains("groupadd"));
    }

    #[test]
    fn a_socket_is_its_owners_alone_and_a_stale_one_is_replaced() {
        let folder = std::env::temp_dir().join(format!("stadium-server-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let first = listen(&path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let error = listen(&path, None).unwrap_err();
        assert!(error.to_string().contains("another daemon answers"), "{error}");
        drop(first);
        let file = folder.join("b.sock");
        fs::write(&file, "").unwrap();
        assert!(listen(&file, None).unwrap_err().to_string().contains("is no socket"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn bad_lines_are_answered_and_pings_end_in_time() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (caller, served) = UnixStream::pair().unwrap();
            let (commands, mut asked) = mpsc::channel(1);
            tokio::spawn(converse(served, commands, Feed::new("test0")));
            let (read, mut write) = caller.into_split();
            let mut lines = BufReader::new(read).lines();
            write.write_all(b"{\"do\":\"fly\"}\n").await.unwrap();
            assert!(lines.next_line().await.unwrap().unwrap().contains("bad_request"));
            let ping = b"{\"do\":\"ping\",\"peer\":\"bob\",\"id\":7,\"timeout_ms\":10}\n";
            write.write_all(ping).await.unwrap();
            let command = asked.recv().await.unwrap();
            let answer = lines.next_line().await.unwrap().unwrap();
            assert_eq!(answer, r#"{"pong":{"id":7,"rtt_ms":null,"reason":null}}"#);
            drop(command);
            drop(asked);
            write.write_all(b"{\"do\":\"status\"}\n").await.unwrap();
            assert!(lines.next_line().await.unwrap().unwrap().contains("stopping"));
        });
    }
}
