//! A short form of what the example `scale` measures; `scripts/session-scale` runs the long one.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../examples/scale/measure.rs"]
mod measure;

use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sessions_at_a_time() {
    let done = measure::sessions(300).await.unwrap();
    assert_eq!(done.count, 300);
    // 10,000 of them are to fit into 256 MiB, with what the process has anyway
    assert!(done.each < 25_000, "{} bytes for each", done.each);
    assert!(done.peak > 0 && done.took < Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_handshakes_leave_nothing() {
    let done = measure::handshakes(600).await.unwrap();
    assert_eq!(done.count, 600);
    assert!(done.took < Duration::from_secs(60) && done.early > 0 && done.half > 0);
    // the other tests of this process share its memory, so that this is a coarse look
    assert!(done.end < done.early + (16 << 20), "{} then {}", done.early, done.end);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_session_carries_much() {
    let done = measure::throughput(Duration::from_millis(500)).await.unwrap();
    assert!(done.arrived > 1_000.0 && done.arrived <= done.sent * 1.01, "{}", done.arrived);
}
