//! Ctrl-C as a value, for verbs that have a last word to say.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::failure::Failure;

/// Knows whether the user asked to stop.
#[derive(Debug)]
pub(crate) struct Interrupt(Receiver<()>);

impl Interrupt {
    /// Starts to listen for SIGINT and SIGTERM; they no longer end the process by themselves.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let (tell, told) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))?;
        let signals = {
            let _entered = runtime.enter();
            use tokio::signal::unix::{SignalKind, signal};
            signal(SignalKind::interrupt())
                .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)))
        };
        let (mut interrupt, mut terminate) = signals
            .map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                std::future::poll_fn(|context| {
                    let interrupted = interrupt.poll_recv(context).is_ready();
                    if interrupted || terminate.poll_recv(context).is_ready() {
                        std::task::Poll::Ready(())
                    } else {
                        std::task::Poll::Pending
                    }
                })
                .await;
            });
            // the verb may have ended already
            let _ = tell.send(());
        });
        Ok(Self(told))
    }

    /// Sleeps for `time`; `true`: the user asked to stop.
    pub(crate) fn within(&self, time: Duration) -> bool {
        !matches!(self.0.recv_timeout(time), Err(RecvTimeoutError::Timeout))
    }
}
