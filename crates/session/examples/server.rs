//! Listens on 127.0.0.1:8080, answers each client's message.
//!
//! `cargo run -p stadium-session --example server`, then `--example client` in another terminal.
//! Both sides have a key that is made from a phrase for the sake of the example: the client must
//! know the server's public key. Real programs use `generate_key` and keep it in a file.
#![allow(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use stadium_session::{SecretKey, Server, ServerConfig, Session};

/// The key of the example's server. Everybody knows it: use it for nothing else.
const SEED: [u8; 32] = *b"stadium example server, not safe";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let server = Server::bind(addr, ServerConfig::new(SecretKey::from_seed(SEED))).await?;
    println!("Listening on {}", server.local_addr());
    loop {
        tokio::select! {
            session = server.accept() => match session {
                Some(session) => {
                    println!("Handshake completed with client {}", session.remote_addr());
                    println!("Session ID: {}", session.id());
                    tokio::spawn(serve(session));
                }
                None => return Ok(()),
            },
            stopped = tokio::signal::ctrl_c() => {
                stopped?;
                println!("Shutting down");
                server.shutdown(std::time::Duration::from_secs(1)).await;
                return Ok(());
            }
        }
    }
}

async fn serve(session: Session) {
    while let Ok(message) = session.recv().await {
        println!("Received encrypted message: {}", String::from_utf8_lossy(&message));
        if let Err(error) = session.send("Hello from server!").await {
            println!("Session {}: {error}", session.id());
            return;
        }
        println!("Sent encrypted response: Hello from server!");
    }
    println!("Session {} ended: {}", session.id(), session.closed().await);
}
