//! A short form of what the example `scale` measures; `scripts/session-scale` runs the long one.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../examples/scale/measure.rs"]
mod measure;

use std::time::Duration;

use tokio::sync::Mutex;

/// One measurement at a time: they share the memory of the process.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sessions_at_a_time() {
    let _alone = ALONE.lock().await;
    let done = measure::sessions(300).await.unwrap();
    assert_eq!(done.count, 300);
    // the buffers of a thread count here too; the script holds 10,000 of them to the goal
    assert!(done.each < 60_000, "{} bytes for each", done.each);
    assert!(done.peak > 0 && done.took < Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_handshakes_leave_nothing() {
    let _alone = ALONE.lock().await;
    let done = measure::handshakes(600).await.unwrap();
    assert_eq!(done.count, 600);
    assert!(done.took < Duration::from_secs(60) && done.early > 0 && done.half > 0);
    // a coarse look: the guard remembers each handshake for some minutes
    assert!(done.end < done.early + (16 << 20), "{} then {}", done.early, done.end);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_session_carries_much() {
    let _alone = ALONE.lock().await;
    let done = measure::throughput(Duration::from_millis(500)).await.unwrap();
    assert!(done.arrived > 1_000.0 && done.arrived <= done.sent * 1.01, "{}", done.arrived);
}
