//! What the handles of a server or client share with its driver.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::channel::lock;
use crate::session::SessionInner;

/// The most sessions that wait to be accepted before those that have ended are looked for.
const ACCEPT_PURGE: usize = 1_024;

/// What a handle asks of the driver.
#[derive(Debug)]
pub(crate) enum Command {
    /// Send what is queued and end the session.
    Close { session: Arc<SessionInner>, done: Option<oneshot::Sender<()>> },
    /// Ping the other side; `None` if it does not answer.
    Ping { session: Arc<SessionInner>, reply: oneshot::Sender<Option<Duration>> },
    /// Take no further session, and end those that there are after `grace`.
    Shutdown { grace: Duration, done: Option<oneshot::Sender<()>> },
}

/// The driver's mailbox.
pub(crate) struct Endpoint {
    /// Sessions with something to send, in the order of their turns.
    ready: Mutex<VecDeque<Arc<SessionInner>>>,
    commands: Mutex<Commands>,
    /// Wakes the driver.
    pub(crate) wake: Notify,
    /// Only at a server.
    pub(crate) directory: Option<Directory>,
}

#[derive(Debug, Default)]
struct Commands {
    queue: VecDeque<Command>,
    /// The driver has ended: what is asked of it is dropped.
    dead: bool,
}

impl Endpoint {
    pub(crate) fn new(directory: Option<Directory>) -> Self {
        Self { ready: Mutex::default(), commands: Mutex::default(), wake: Notify::new(), directory }
    }

    /// Gives a session its turn to send; once, until its turn has come.
    pub(crate) fn schedule(&self, session: Arc<SessionInner>) {
        let mut ready = lock(&self.ready);
        ready.push_back(session);
        let first = ready.len() == 1;
        drop(ready);
        if first {
            self.wake.notify_one();
        }
    }

    pub(crate) fn next_ready(&self) -> Option<Arc<SessionInner>> {
        lock(&self.ready).pop_front()
    }

    pub(crate) fn has_ready(&self) -> bool {
        !lock(&self.ready).is_empty()
    }

    pub(crate) fn command(&self, command: Command) {
        let mut commands = lock(&self.commands);
        if !commands.dead {
            commands.queue.push_back(command);
            drop(commands);
            self.wake.notify_one();
        }
    }

    pub(crate) fn next_command(&self) -> Option<Command> {
        lock(&self.commands).queue.pop_front()
    }

    /// Queues that a session has a plain message, where anybody receives from all sessions.
    pub(crate) fn mail(&self, session: &Arc<SessionInner>) {
        if let Some(directory) = &self.directory {
            directory.mail(session);
        }
    }

    /// Lets go of everything, as the driver ends.
    pub(crate) fn bury(&self) {
        let mut commands = lock(&self.commands);
        commands.dead = true;
        let orphans = core::mem::take(&mut commands.queue);
        drop(commands);
        drop(orphans);
        lock(&self.ready).clear();
        if let Some(directory) = &self.directory {
            directory.close();
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // sessions know their endpoint, so they are not printed here
        f.debug_struct("Endpoint").field("ready", &lock(&self.ready).len()).finish_non_exhaustive()
    }
}

/// The sessions of a server.
#[derive(Default)]
pub(crate) struct Directory {
    sessions: Mutex<Sessions>,
    /// New sessions, for `accept`.
    fresh: Mutex<VecDeque<Arc<SessionInner>>>,
    pub(crate) fresh_came: Notify,
    /// Sessions with plain messages, for `recv_from`.
    mail: Mutex<VecDeque<Arc<SessionInner>>>,
    pub(crate) mail_came: Notify,
    /// Whether `recv_from` was ever called.
    mail_wanted: AtomicBool,
    closed: AtomicBool,
}

#[derive(Default)]
struct Sessions {
    by_id: HashMap<u64, Arc<SessionInner>>,
    by_addr: HashMap<SocketAddr, Arc<SessionInner>>,
}

impl Directory {
    /// Takes in a new session.
    pub(crate) fn add(&self, session: &Arc<SessionInner>, addr: SocketAddr) {
        {
            let mut sessions = lock(&self.sessions);
            sessions.by_id.insert(session.id, Arc::clone(session));
            sessions.by_addr.insert(addr, Arc::clone(session));
        }
        let mut fresh = lock(&self.fresh);
        if fresh.len() >= ACCEPT_PURGE && fresh.len().is_power_of_two() {
            fresh.retain(|session| session.close_reason().is_none());
        }
        fresh.push_back(Arc::clone(session));
        drop(fresh);
        self.fresh_came.notify_one();
    }

    /// Notes that a session's other side is at another address.
    pub(crate) fn moved(&self, session: &Arc<SessionInner>, from: SocketAddr, to: SocketAddr) {
        let mut sessions = lock(&self.sessions);
        sessions.forget_addr(session, from);
        sessions.by_addr.insert(to, Arc::clone(session));
    }

    pub(crate) fn remove(&self, session: &Arc<SessionInner>, addr: SocketAddr) {
        let mut sessions = lock(&self.sessions);
        sessions.by_id.remove(&session.id);
        sessions.forget_addr(session, addr);
    }

    pub(crate) fn by_id(&self, id: u64) -> Option<Arc<SessionInner>> {
        lock(&self.sessions).by_id.get(&id).cloned()
    }

    pub(crate) fn by_addr(&self, addr: SocketAddr) -> Option<Arc<SessionInner>> {
        lock(&self.sessions).by_addr.get(&addr).cloned()
    }

    /// Returns all sessions in the order of their ids.
    pub(crate) fn all(&self) -> Vec<Arc<SessionInner>> {
        let mut all: Vec<_> = lock(&self.sessions).by_id.values().cloned().collect();
        all.sort_by_key(|session| session.id);
        all
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.sessions).by_id.len()
    }

    /// Takes the session that has waited longest to be accepted.
    pub(crate) fn accept(&self) -> Option<Arc<SessionInner>> {
        let mut fresh = lock(&self.fresh);
        let session = fresh.pop_front()?;
        let more = !fresh.is_empty();
        drop(fresh);
        if more {
            // another task may wait too
            self.fresh_came.notify_one();
        }
        Some(session)
    }

    fn mail(&self, session: &Arc<SessionInner>) {
        if self.mail_wanted.load(SeqCst) && !session.in_mail.swap(true, SeqCst) {
            lock(&self.mail).push_back(Arc::clone(session));
            self.mail_came.notify_one();
        }
    }

    /// Begins to collect which sessions have messages.
    pub(crate) fn want_mail(&self) {
        if !self.mail_wanted.swap(true, SeqCst) {
            for session in self.all() {
                if session.main.has_incoming() {
                    self.mail(&session);
                }
            }
        }
    }

    /// Takes the next message of any session; sessions take turns.
    pub(crate) fn take_mail(&self) -> Option<(bytes::Bytes, Arc<SessionInner>)> {
        loop {
            let session = lock(&self.mail).pop_front()?;
            session.in_mail.store(false, SeqCst);
            // it may have been taken by somebody who receives from this session alone
            if let Some(message) = session.try_recv(&session.main) {
                if session.main.has_incoming() {
                    self.mail(&session);
                }
                return Some((message, session));
            }
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// Says that no session will come any more.
    pub(crate) fn stop_accepting(&self) {
        self.closed.store(true, SeqCst);
        self.fresh_came.notify_waiters();
        self.mail_came.notify_waiters();
    }

    fn close(&self) {
        *lock(&self.sessions) = Sessions::default();
        self.stop_accepting();
    }
}

impl Sessions {
    /// Forgets an address, unless another session has it by now.
    fn forget_addr(&mut self, session: &Arc<SessionInner>, addr: SocketAddr) {
        if self.by_addr.get(&addr).is_some_and(|other| Arc::ptr_eq(other, session)) {
            self.by_addr.remove(&addr);
        }
    }
}
