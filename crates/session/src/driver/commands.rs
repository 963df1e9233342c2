//! What users ask for.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use stadium_proto::engine::{Change, Input, Now};
use stadium_proto::frame::CloseReason;
use stadium_proto::peer::PeerId;

use super::outbox::Outbox;
use super::{Driver, Stopping};
use crate::channel::lock;
use crate::clock;
use crate::endpoint::Command;
use crate::error::Closed;

impl Driver {
    pub(super) fn run_commands(&mut self, now: Now) {
        while let Some(command) = self.endpoint.next_command() {
            match command {
                Command::Close { session, done } => {
                    let slot = session.slot.0;
                    // without an entry the session is over, and dropping `done` says so
                    if let Some(entry) = self.entry(slot)
                        && Arc::ptr_eq(&entry.session, &session)
                    {
                        session.closing.store(true, SeqCst);
                        entry.done.extend(done);
                        self.closing.push(slot);
                    }
                }
                Command::Ping { session, reply } => {
                    if session.close_reason().is_none() {
                        self.next_token += 1;
                        let token = self.next_token;
                        self.pings.insert(token, reply);
                        self.handle(now, Input::Ping { peer: session.slot, token });
                    }
                }
                Command::Shutdown { grace, done } => self.begin_shutdown(now, grace, done),
            }
        }
    }

    fn begin_shutdown(
        &mut self,
        now: Now,
        grace: std::time::Duration,
        done: Option<tokio::sync::oneshot::Sender<()>>,
    ) {
        let until = now.instant.saturating_add(grace);
        let stopping = self.stopping.get_or_insert(Stopping { until, done: Vec::new() });
        stopping.until = stopping.until.min(until);
        stopping.done.extend(done);
        self.connecting = None;
        if let Some(directory) = &self.endpoint.directory {
            directory.stop_accepting();
        }
        let mut settings = self.engine.settings().clone();
        settings.guests.draining = true;
        let mut out = Outbox::new(&self.socket.get_ref().0, &mut self.events);
        let change = Change::Settings(Box::new(settings));
        for refused in self.engine.apply(now, [change], &mut out) {
            debug_assert!(refused.is_ok(), "settings are always taken");
        }
        tracing::info!(sessions = self.live, ?grace, "shutting down");
    }

    /// Ends the sessions that are to be closed and have sent what they had queued.
    pub(super) fn finish_closing(&mut self, now: Now) {
        if self.closing.is_empty() {
            return;
        }
        let mut waiting = Vec::new();
        for slot in std::mem::take(&mut self.closing) {
            let Some(entry) = self.entry(slot) else { continue };
            let empty = lock(&entry.session.schedule).is_empty();
            if !empty && !entry.parked {
                waiting.push(slot);
                continue;
            }
            self.close(now, slot, CloseReason::FINISHED, Closed::Locally);
        }
        self.closing = waiting;
    }

    /// Closes a session: the other side is told, users of this side learn why.
    pub(super) fn close(&mut self, now: Now, slot: u32, reason: CloseReason, why: Closed) {
        self.handle(now, Input::Close { peer: PeerId(slot), reason });
        self.end(slot, why);
    }

    /// Closes everything that is left, as the driver ends.
    pub(super) fn shut_down(&mut self) {
        let now = clock::now();
        self.feed(now, Input::Shutdown);
        self.events.clear();
        for slot in 0..self.entries.len() {
            self.end(slot as u32, Closed::Shutdown);
        }
        if let Some(stopping) = self.stopping.take() {
            for done in stopping.done {
                // nobody may wait for it
                let _ = done.send(());
            }
        }
        tracing::debug!("shut down");
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // also where the runtime drops the task in the middle
        for slot in 0..self.entries.len() {
            self.end(slot as u32, Closed::Shutdown);
        }
        self.endpoint.bury();
    }
}
