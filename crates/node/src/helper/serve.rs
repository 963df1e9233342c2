//! The helper's side: carries out what lies within the bounds, until the daemon is gone.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::bounds::Bounds;
use super::channel::Channel;
use super::message::{Answer, Outcome, Request, What};
use crate::confine;
use crate::error::RunError;
use crate::system::{ErrorKind, System, SystemError};

/// Serves one daemon over `channel`, an end of a `SOCK_SEQPACKET` pair, until the other end
/// closes. Everything stays as it is then: a daemon that ends well has asked for what undoes it.
///
/// # Errors
/// [`RunError`]: the channel is none, or the daemon does not speak as one.
pub fn serve(channel: OwnedFd) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| RunError::io("start the runtime", &error))?;
    let broken = |error: std::io::Error| RunError::io("hear the daemon", &error);
    let result = runtime.block_on(async {
        // whoever stops the daemon may tell the whole group; the helper is needed until the end
        let ignored = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let _deaf: Vec<_> = ignored.into_iter().map(signal).collect();
        confine::keep_only_network_administration();
        let channel = Arc::new(Channel::new(channel).map_err(broken)?);
        let system = System::connect()?;
        let mut bounds: Option<Arc<Bounds>> = None;
        while let Some((request, descriptors)) =
            channel.receive::<Request>().await.map_err(broken)?
        {
            let Request { id, what } = request;
            match (what, &bounds) {
                (What::Begin(told), None) => {
                    bounds = Some(Arc::new(told));
                    answer(&channel, id, Ok(None)).await;
                }
                (what, Some(bounds)) => {
                    let (channel, system, bounds) =
                        (channel.clone(), system.clone(), bounds.clone());
                    // a hook takes its time, and routes come by the thousand
                    tokio::spawn(async move {
                        let outcome = carry_out(&system, &bounds, what, &descriptors).await;
                        answer(&channel, id, outcome).await;
                    });
                }
                (_, None) => answer(&channel, id, Err(refused("nothing before its bounds"))).await,
            }
        }
        Ok(())
    });
    runtime.shutdown_background();
    result
}

async fn carry_out(
    system: &System,
    bounds: &Bounds,
    what: What,
    descriptors: &[OwnedFd],
) -> Outcome {
    match what {
        What::Begin(_) => Err(refused("no bounds a second time")),
        What::Execute(operation) => {
            bounds.check(&operation)?;
            system.execute(&operation).await
        }
        What::Mark(mark) => {
            for socket in descriptors {
                socket2::SockRef::from(socket).set_mark(mark).map_err(|error| {
                    SystemError::new(ErrorKind::Other, format!("cannot mark a socket: {error}"))
                })?;
            }
            Ok(None)
        }
    }
}

fn refused(what: &str) -> SystemError {
    SystemError::new(ErrorKind::Permission, format!("the privileged helper takes {what}"))
}

/// Answers; a daemon that is gone is noticed by reading.
async fn answer(channel: &Channel, id: u64, outcome: Outcome) {
    if let Err(error) = channel.send(&Answer { id, outcome }, &[]).await {
        tracing::debug!(%error, "the daemon does not take an answer");
    }
}
