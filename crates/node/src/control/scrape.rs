//! The metrics listener: HTTP/1.1 as far as a scraper needs it, and no further.
//!
//! Invariants: one request a connection, read within a time and a size; a few connections at
//! once, more are closed; nothing that a caller sends is kept or acted on but path and method.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::server::Command;
use crate::api::{Request, Response};
use crate::error::RunError;
use crate::metrics::{CONTENT_TYPE, render};

/// How many scrapers are served at once.
const SCRAPERS: usize = 8;

/// How long a request and its answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a request's head may be.
const HEAD: usize = 8 * 1024;

/// Listens on `address`.
///
/// # Errors
/// When the address is taken or not ours.
pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|error| {
        RunError::failed(format!(
            "cannot serve metrics on {address}: {error}; set control.metrics to another address \
             and port"
        ))
    })
}

/// Serves scrapers until it is dropped.
pub(super) async fn serve(listener: TcpListener, commands: mpsc::Sender<Command>) {
    let scrapers = Arc::new(Semaphore::new(SCRAPERS));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // one too many is closed: it comes again
                let Ok(permit) = Arc::clone(&scrapers).try_acquire_owned() else { continue };
                let commands = commands.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    // a scraper that goes away is its own affair
                    let _ = tokio::time::timeout(PATIENCE, answer(stream, commands)).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "metrics are not served");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Answers one request.
async fn answer(mut stream: TcpStream, commands: mpsc::Sender<Command>) -> io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= HEAD {
            return respond(
                &mut stream,
                "431 Request Header Fields Too Large",
                "too long\n",
                false,
            )
            .await;
        }
        if (&mut stream).take(1024).read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&head);
    let mut words = text.lines().next().unwrap_or("").split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let version = words.next().unwrap_or("");
    let path = target.split('?').next().unwrap_or("");
    let only_head = method == "HEAD";
    let (status, body) = match (version.starts_with("HTTP/1."), method, path) {
        (false, ..) => ("400 Bad Request", "this is no HTTP/1.1 request\n".to_owned()),
        (true, "GET" | "HEAD", "/metrics") => match ask(&commands).await {
            Some(text) => ("200 OK", text),
            None => ("503 Service Unavailable", "the interface is going down\n".to_owned()),
        },
        (true, "GET" | "HEAD", _) => ("404 Not Found", "metrics are on /metrics\n".to_owned()),
        (true, ..) => ("405 Method Not Allowed", "only GET is allowed\n".to_owned()),
    };
    respond(&mut stream, status, &body, only_head).await
}

/// Has the loop say how things are.
async fn ask(commands: &mpsc::Sender<Command>) -> Option<String> {
    let (reply, answer) = oneshot::channel();
    commands.send(Command { request: Request::Status, reply }).await.ok()?;
    match answer.await.ok()? {
        Response::Status(status) => Some(render(&status)),
        _ => None,
    }
}

async fn respond(
    stream: &mut TcpStream,
    status: &str,
    body: &str,
    only_head: bool,
) -> io::Result<()> {
    let kind = if status.starts_with("200") { CONTENT_TYPE } else { "text/plain; charset=utf-8" };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: \
         close\r\nX-Content-Type-Options: nosniff\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    if !only_head {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Status;

    /// Sends `request` to a listener whose loop answers with an empty status.
    fn ask_with(request: &[u8]) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
            let address = listener.local_addr().unwrap();
            let (commands, mut asked) = mpsc::channel::<Command>(1);
            tokio::spawn(serve(listener, commands));
            tokio::spawn(async move {
                while let Some(command) = asked.recv().await {
                    let _ = command.reply.send(Response::Status(Status::default()));
                }
            });
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request).await.unwrap();
            let mut text = Vec::new();
            // what is refused before it was read to its end may reset the connection
            let _ = stream.read_to_end(&mut text).await;
            String::from_utf8(text).unwrap()
        })
    }

    #[test]
    fn metrics_are_at_their_path_only() {
        let found = ask_with(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(found.starts_with("HTTP/1.1 200 OK\r\n"), "{found}");
        let (head, body) = found.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        assert!(body.contains("stadium_build_info{version="), "{body}");
        let head = ask_with(b"HEAD /metrics?a=b HTTP/1.0\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(ask_with(b"GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
        assert!(ask_with(b"POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
        assert!(ask_with(b"\xff\r\n\r\n").starts_with("HTTP/1.1 400"));
    }

    #[test]
    fn a_request_without_end_is_cut_off() {
        let found = ask_with(&[b'a'; HEAD + 2048]);
        assert!(found.is_empty() || found.starts_with("HTTP/1.1 431"), "{found}");
    }

    #[test]
    fn a_port_that_is_taken_is_said() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let first = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
            let error = listen(first.local_addr().unwrap()).await.unwrap_err();
            assert!(error.to_string().contains("control.metrics"), "{error}");
        });
    }
}
