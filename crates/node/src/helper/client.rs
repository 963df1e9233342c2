//! The daemon's side: starts the helper and asks it, many requests at a time.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::bounds::Bounds;
use super::channel::{self, Channel, MAX_DESCRIPTORS};
use super::message::{Answer, Outcome, Request, What};
use crate::system::{ErrorKind, Operation, SystemError};

/// A running helper; it ends with this process.
#[derive(Clone, Debug)]
pub(crate) struct Helper {
    shared: Arc<Shared>,
    pid: u32,
}

#[derive(Debug)]
struct Shared {
    channel: Channel,
    next: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    answers: HashMap<u64, oneshot::Sender<Outcome>>,
    /// Nobody answers any more.
    ended: bool,
}

impl Helper {
    /// Starts this program again with `arguments`, which must lead it to [`super::serve`], and
    /// tells it its bounds. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The program cannot be started, or does not answer as a helper does.
    pub(crate) async fn start(arguments: &[OsString], bounds: Bounds) -> Result<Self, SystemError> {
        let failed = |error: io::Error| {
            SystemError::new(
                ErrorKind::Other,
                format!("cannot start the privileged helper: {error}"),
            )
            .with_remedy("start with --no-confine to do without it")
        };
        let (ours, theirs) = channel::pair().map_err(failed)?;
        let program = std::env::current_exe().map_err(failed)?;
        // never waited for: it ends after the daemon; if it ends before, reading tells
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let channel = Channel::new(ours).map_err(failed)?;
        let shared =
            Arc::new(Shared { channel, next: AtomicU64::new(0), waiting: Mutex::default() });
        let helper = Self { shared: shared.clone(), pid: child.id() };
        tokio::spawn(read(shared, child));
        helper.ask(What::Begin(bounds), &[]).await?;
        Ok(helper)
    }

    /// The helper's process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Has an operation carried out; returns what undoes it.
    ///
    /// # Errors
    /// The operation's own, or that the helper refuses or is gone.
    pub(crate) async fn execute(&self, operation: &Operation) -> Outcome {
        self.ask(What::Execute(operation.clone()), &[]).await
    }

    /// Changes the firewall mark of sockets of ours; 0 is none.
    ///
    /// # Errors
    /// The kernel's, or that the helper is gone.
    pub(crate) async fn mark(
        &self,
        sockets: &[BorrowedFd<'_>],
        mark: u32,
    ) -> Result<(), SystemError> {
        for some in sockets.chunks(MAX_DESCRIPTORS) {
            self.ask(What::Mark(mark), some).await?;
        }
        Ok(())
    }

    async fn ask(&self, what: What, descriptors: &[BorrowedFd<'_>]) -> Outcome {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.shared.waiting();
            if waiting.ended {
                return Err(gone());
            }
            waiting.answers.insert(id, answer);
        }
        if let Err(error) = self.shared.channel.send(&Request { id, what }, descriptors).await {
            self.shared.waiting().answers.remove(&id);
            return Err(match error.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => gone(),
                _ => SystemError::new(
                    ErrorKind::Other,
                    format!("cannot ask the privileged helper: {error}"),
                ),
            });
        }
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl Shared {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands out answers until the helper is gone.
async fn read(shared: Arc<Shared>, mut child: Child) {
    let why = loop {
        match shared.channel.receive::<Answer>().await {
            Ok(Some((Answer { id, outcome }, _))) => {
                if let Some(answer) = shared.waiting().answers.remove(&id) {
                    // whoever asked may have gone
                    let _ = answer.send(outcome);
                }
            }
            Ok(None) => break "it ended".to_owned(),
            Err(error) => break error.to_string(),
        }
    };
    {
        let mut waiting = shared.waiting();
        waiting.ended = true;
        waiting.answers.clear();
    }
    // no zombie: it has closed its end and is about to exit
    let status = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    tracing::error!(
        "the privileged helper is gone ({why}, {status}): traffic goes on, but addresses, routes \
         and hooks wait for a restart of the daemon"
    );
}

fn gone() -> SystemError {
    SystemError::new(ErrorKind::Other, "the privileged helper is gone")
        .with_remedy("end the daemon and start it again; `stadium down` clears what stands")
}
