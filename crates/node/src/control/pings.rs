//! Heartbeats that callers of the control socket wait for.

use std::collections::BTreeMap;
use std::time::Duration;

use stadium_proto::engine::Input;
use stadium_proto::peer::PeerId;
use tokio::sync::oneshot;

use super::Control;
use crate::api::{Pong, Response};

/// How many callers' pings are kept at once.
const PINGS: usize = 1024;

/// A caller that waits.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) id: u64,
    pub(super) reply: oneshot::Sender<Response>,
}

impl Caller {
    fn answer(self, rtt: Option<Duration>, reason: Option<String>) {
        let rtt_ms = rtt.map(|rtt| rtt.as_secs_f64() * 1_000.0);
        // it may have stopped waiting
        let _ = self.reply.send(Response::Pong(Pong { id: self.id, rtt_ms, reason }));
    }
}

/// All pings that are under way.
#[derive(Debug, Default)]
pub(super) struct Pings {
    token: u64,
    sent: BTreeMap<u64, Caller>,
    /// Those that wait for a session.
    waiting: Vec<(PeerId, Caller)>,
}

impl Pings {
    /// The token of pings that nobody waits for.
    pub(super) const OUR_OWN: u64 = 0;

    /// Drops callers that no longer wait, and refuses one more than there is room for.
    fn has_room(&mut self) -> bool {
        self.sent.retain(|_, caller| !caller.reply.is_closed());
        self.waiting.retain(|(_, caller)| !caller.reply.is_closed());
        self.sent.len() + self.waiting.len() < PINGS
    }

    fn token(&mut self, caller: Caller) -> u64 {
        self.token += 1;
        self.sent.insert(self.token, caller);
        self.token
    }

    /// Takes the answer to a ping.
    pub(super) fn answered(&mut self, token: u64, rtt: Duration) {
        if let Some(caller) = self.sent.remove(&token) {
            caller.answer(Some(rtt), None);
        }
    }

    /// Takes the news that a ping has no answer.
    pub(super) fn lost(&mut self, token: u64) {
        if let Some(caller) = self.sent.remove(&token) {
            caller.answer(None, None);
        }
    }

    /// Answers all callers: the node goes down.
    pub(super) fn end_all(&mut self) {
        let sent = std::mem::take(&mut self.sent).into_values();
        for caller in sent.chain(self.waiting.drain(..).map(|(_, caller)| caller)) {
            caller.answer(None, Some("the daemon goes down".to_owned()));
        }
    }
}

impl Control {
    /// Sends a ping for a caller, after a handshake where there is no session.
    pub(super) fn ping(&mut self, peer: PeerId, caller: Caller) {
        if !self.pings.has_room() {
            caller.answer(None, Some("too many pings at once".to_owned()));
            return;
        }
        let status = self.engine.peer_status(peer, self.clock.instant());
        if status.is_some_and(|status| status.session.is_some()) {
            let token = self.pings.token(caller);
            self.handle(Input::Ping { peer, token });
            return;
        }
        let endpoint = self.engine.cell(peer).and_then(|cell| cell.endpoint());
        if endpoint.is_none() && self.book.get(peer).is_some_and(|e| e.endpoint.is_none()) {
            let reason = "no session, and no endpoint to start one: the peer must begin";
            caller.answer(None, Some(reason.to_owned()));
            return;
        }
        self.pings.waiting.push((peer, caller));
        self.handle(Input::Connect(peer));
    }

    /// Sends the pings that waited for a session.
    pub(super) fn send_waiting_pings(&mut self, peer: PeerId) {
        let waiting = std::mem::take(&mut self.pings.waiting);
        let (now, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(id, _)| *id == peer);
        self.pings.waiting = later;
        for (_, caller) in now {
            let token = self.pings.token(caller);
            self.handle(Input::Ping { peer, token });
        }
    }
}
