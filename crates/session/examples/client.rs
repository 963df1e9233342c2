//! Connects to the example `server`, sends a message and receives the answer.
#![allow(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::time::Duration;

use stadium_session::{Client, ClientConfig, SecretKey};

/// The key of the example's server, of which a client needs the public half only.
const SEED: [u8; 32] = *b"stadium example server, not safe";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let config = ClientConfig::new(SecretKey::from_seed(SEED).public());
    let client = Client::connect(addr, config).await?;
    println!("Connected to server {}", client.remote_addr());
    println!("Handshake completed, session ID: {}", client.id());

    client.send("Hello from client!").await?;
    println!("Sent encrypted message: Hello from client!");
    let answer = tokio::time::timeout(Duration::from_secs(5), client.recv()).await??;
    println!("Received encrypted response: {}", String::from_utf8_lossy(&answer));
    println!("Communication successful!");
    client.close().await;
    Ok(())
}
