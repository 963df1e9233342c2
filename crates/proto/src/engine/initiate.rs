//! The initiator: REQUESTs, their schedule, and the answers to them (`protocol.md` §5).

use super::{
    Engine, Event, Now, Output, PeerError, PostQuantum,
    input::DatagramClass,
    peer::{Attempt, Cookie, MAX_OPEN_REQUESTS, OpenRequest, Peer},
};
use crate::{
    drop::DropReason,
    handshake::{
        self, Answer, Filler, Initiator, InitiatorInputs, InitiatorParams, Offer, Refusal, Refused,
        RequestArgs, StatusCode,
    },
    lbm::AlgorithmList,
    noise::NoiseByte,
    peer::{Endpoint, PeerId},
    session::OVERHEAD,
    time::{Instant, WallTime},
    wire::{ConsentView, ErrorView, MAX_REQUEST_LEN, RetryView},
};
use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;

/// How long a cookie is used.
const COOKIE_LIFE: Duration = Duration::from_secs(120);
/// How long a challenge is echoed.
const CHALLENGE_LIFE: Duration = Duration::from_secs(120);
/// At most two RETRYs are followed within this time.
const RETRY_WINDOW: Duration = Duration::from_secs(5);
/// How many times in a row a refusal is answered at once with other parameters.
const MAX_RETRIES: u8 = 3;
/// REQUESTs of the schedule that always are hybrid where ML-KEM is preferred; then hybrid and
/// classic ones alternate.
const HYBRID_FIRST: u32 = 2;
/// REQUESTs after which an unanswered handshake counts as unanswered in the status.
const UNANSWERED_AFTER: u32 = 3;
/// How far a REQUEST is filled at most: the head of the filler's cell may take two bytes more.
const LONGEST_FILLED: usize = MAX_REQUEST_LEN - 2;
/// The step of cell `0x08`.
const TIMESTAMP_STEP: u64 = 1 << 24;

impl Engine {
    pub(super) fn handle_wanted(&mut self, now: Now, id: PeerId, out: &mut dyn Output) {
        let Some(peer) = self.peer_mut(id) else { return };
        let session = peer.cell.tx_session();
        if session.as_ref().is_some_and(|session| session.is_usable(now.instant)) {
            peer.cell.session_settled();
            out.event(Event::CanSend { peer: id });
        } else if !peer.early.holds(now.instant) {
            self.start_handshake(now, id, out);
        }
        self.reschedule(id, now.instant);
    }

    pub(super) fn handle_endpoint(
        &mut self,
        now: Now,
        id: PeerId,
        remote: SocketAddr,
        out: &mut dyn Output,
    ) {
        let pause = self.settings.timers.retry[0];
        let Some(peer) = self.peer_mut(id) else { return };
        let moves = peer.cell.endpoint().map(|endpoint| endpoint.remote) != Some(remote);
        if moves {
            peer.cell.set_endpoint(Some(Endpoint::to(remote)));
        }
        if matches!(peer.last_error, Some(PeerError::NameDoesNotResolve)) {
            peer.last_error = None;
        }
        let wants = core::mem::take(&mut peer.wants_endpoint);
        if let Some(attempt) = &mut peer.attempt {
            // a silent peer's name is looked up after each REQUEST, and may lead elsewhere each
            // time: what is found hurries the schedule, but must not outrun it
            let last = peer.open_requests.last().map(|r| r.sent_at.saturating_add(pause));
            let soonest = last.map_or(now.instant, |at| at.max(now.instant));
            if moves || soonest == now.instant {
                attempt.hurry(soonest);
            }
        } else if wants {
            self.start_handshake(now, id, out);
        }
        self.reschedule(id, now.instant);
    }

    pub(super) fn handle_next_address(&mut self, id: PeerId, remote: SocketAddr) {
        if let Some(peer) = self.peer(id)
            && peer.cell.endpoint().is_none_or(|endpoint| endpoint.remote != remote)
        {
            peer.cell.set_endpoint(Some(Endpoint::to(remote)));
        }
    }

    pub(super) fn handle_path_changed(&mut self, now: Now, id: PeerId, out: &mut dyn Output) {
        let pause = self.settings.timers.retry[0];
        let Some(peer) = self.peer_mut(id) else { return };
        let wants = peer.attempt.is_some() || peer.usable(now.instant).is_some();
        if !wants || peer.is_anonymous() {
            return;
        }
        let last = peer.open_requests.last().map(|r| r.sent_at.saturating_add(pause));
        if let Some(attempt) = &mut peer.attempt {
            attempt.hurry(last.map_or(now.instant, |at| at.max(now.instant)));
        } else {
            self.start_handshake(now, id, out);
        }
        self.reschedule(id, now.instant);
    }

    /// Starts a handshake, if none is under way.
    pub(super) fn start_handshake(&mut self, now: Now, id: PeerId, out: &mut dyn Output) {
        let Some(peer) = self.peer_mut(id) else { return };
        if peer.attempt.is_some() || !peer.may_initiate() {
            return;
        }
        if peer.cell.endpoint().is_none() {
            peer.wants_endpoint = true;
            self.drop_waiting(id);
            out.event(Event::Silent { peer: id });
            return;
        }
        peer.closed = false;
        peer.gave_up = false;
        self.choose_ticket(now, id, out);
        let Some(peer) = self.peer_mut(id) else { return };
        peer.attempt = Some(Attempt {
            started: now.instant,
            sent: 0,
            next_at: now.instant,
            retries: 0,
            hybrid: false,
            force_hybrid: false,
            hurried: false,
            saved: Duration::ZERO,
        });
        self.send_scheduled_request(now, id, out);
    }

    /// Sends the REQUEST that is due and sets the time of the next.
    pub(super) fn send_scheduled_request(&mut self, now: Now, id: PeerId, out: &mut dyn Output) {
        let timers = self.settings.timers;
        let post_quantum = self.settings.post_quantum;
        let jitter = timers.retry_jitter.as_nanos().max(1) as u64;
        let jitter = Duration::from_nanos(self.random_u64() % jitter);
        let Some(peer) = self.peer_mut(id) else { return };
        // a cookie that brought no answer may be outdated
        if peer.open_requests.last().is_some_and(|request| request.with_cookie && !request.retried)
        {
            peer.cookie = None;
        }
        let Some(attempt) = &mut peer.attempt else { return };
        attempt.hybrid = match post_quantum {
            PostQuantum::Off => false,
            PostQuantum::Require => true,
            PostQuantum::Prefer => {
                attempt.force_hybrid || attempt.sent < HYBRID_FIRST || attempt.sent % 2 == 1
            }
        };
        let pause = timers.retry[(attempt.sent as usize).min(timers.retry.len() - 1)];
        attempt.sent += 1;
        attempt.retries = 0;
        let saved = core::mem::take(&mut attempt.saved);
        attempt.next_at = now.instant.saturating_add(pause + jitter + saved);
        let (sent, hybrid) = (attempt.sent, attempt.hybrid);
        let hurried = core::mem::take(&mut attempt.hurried);
        if sent >= UNANSWERED_AFTER {
            peer.last_error.get_or_insert(PeerError::NoAnswer);
            if !hurried {
                out.event(Event::Silent { peer: id });
            }
        }
        out.event(Event::HandshakeStarted { peer: id, attempt: sent });
        self.send_request(now, id, hybrid, out);
    }

    /// Makes a fresh REQUEST and sends it.
    fn send_request(&mut self, now: Now, id: PeerId, hybrid: bool, out: &mut dyn Output) {
        let index = self.reserve_index(id);
        let mut randomness = zeroize::Zeroizing::new([0; 32]);
        self.entropy.fill(&mut *randomness);
        self.hedge_counter += 1;
        let counter = self.hedge_counter;
        let offer = self.offer();
        let payload_limit = offer.payload_limit;
        let identity = Arc::clone(self.statics.identity());
        let network_key = self.network_key.clone();
        let require = self.settings.post_quantum == PostQuantum::Require;
        let Some(peer) = self.peer_mut(id) else { return };
        let Some(endpoint) = peer.cell.endpoint() else {
            self.release_index(index);
            return;
        };
        let target = peer.target();
        let timestamp =
            now.wall.timestamp_cell().max(peer.last_timestamp_sent.saturating_add(TIMESTAMP_STEP));
        peer.last_timestamp_sent = timestamp;
        let wall = WallTime::from_nanos(timestamp);
        let inputs = InitiatorInputs::hedged(&randomness, counter, &identity, &target, index, wall);
        let params = InitiatorParams {
            identity,
            target,
            psk: peer.config.preshared_key.clone(),
            network_key,
            offer: Offer { noise: peer.noise_wanted.value(), ..offer },
            post_quantum: match (hybrid, require) {
                (false, _) => handshake::PostQuantum::Off,
                (true, false) => handshake::PostQuantum::Offer,
                (true, true) => handshake::PostQuantum::Require,
            },
        };
        let cookie = peer.cookie.filter(|cookie| {
            now.instant < cookie.at.saturating_add(COOKIE_LIFE) && cookie.from == endpoint.remote
        });
        let challenge = peer
            .challenge
            .filter(|(_, at)| now.instant < at.saturating_add(CHALLENGE_LIFE))
            .map(|(challenge, _)| challenge);
        // as long as the data will be, where a REQUEST may
        let filler = if peer.noise_wanted.is_off() {
            Filler::Usual
        } else {
            Filler::UpTo(LONGEST_FILLED.min(usize::from(payload_limit) + OVERHEAD))
        };
        let args = RequestArgs {
            filler,
            cookie: cookie.map(|cookie| cookie.bytes),
            challenge,
            ticket: peer.early.offer(challenge.is_some(), now.instant),
            ..RequestArgs::default()
        };
        match Initiator::start(params, &inputs, &args) {
            Ok((initiator, datagram)) => {
                let oldest = (peer.open_requests.len() >= MAX_OPEN_REQUESTS)
                    .then(|| peer.open_requests.remove(0).index);
                peer.open_requests.push(OpenRequest {
                    index,
                    initiator,
                    to: endpoint,
                    sent_at: now.instant,
                    with_cookie: cookie.is_some(),
                    retried: false,
                    timestamp,
                });
                out.send(&endpoint, &datagram, DatagramClass::Handshake);
                if let Some(oldest) = oldest {
                    self.release_index(oldest);
                }
                self.begin_early(now, id, out);
            }
            Err(_) => {
                // the configuration was checked, so this cannot be reached by it
                debug_assert!(false, "a checked configuration makes a REQUEST");
                self.release_index(index);
            }
        }
    }

    /// Returns what this node offers, but for noise.
    fn offer(&self) -> Offer {
        let codes = |codes: Vec<u64>| AlgorithmList::new(&codes);
        let hashes = self.settings.hashes.iter().map(|h| u64::from(h.code())).collect();
        let ciphers = self.settings.ciphers.iter().map(|c| u64::from(c.code())).collect();
        Offer {
            hashes: codes(hashes).unwrap_or(AlgorithmList::one(1)),
            ciphers: codes(ciphers).unwrap_or(AlgorithmList::one(1)),
            noise: 0,
            payload_limit: self.settings.payload_limit,
            features: self.features(),
            lanes: self.settings.lanes,
        }
    }

    /// Returns the peer and the place of the open REQUEST with this index.
    fn open_request(&mut self, index: u32) -> Result<(PeerId, usize), DropReason> {
        let id = *self.owners.get(&index).ok_or(DropReason::UnknownIndex)?;
        let peer = self.peer(id).ok_or(DropReason::UnknownIndex)?;
        let at = peer.open_requests.iter().position(|request| request.index == index);
        Ok((id, at.ok_or(DropReason::UnknownIndex)?))
    }

    pub(super) fn handle_consent(
        &mut self,
        now: Now,
        _from: Endpoint,
        datagram: &[u8],
        out: &mut dyn Output,
    ) -> Result<(), DropReason> {
        let view = ConsentView::parse(datagram).map_err(|_| DropReason::Malformed)?;
        let (id, at) = self.open_request(view.index_i())?;
        let peer = self.peer_mut(id).ok_or(DropReason::UnknownIndex)?;
        let request = &peer.open_requests[at];
        let answer = request.initiator.open_consent(datagram);
        match answer {
            Err(refusal) => {
                if matches!(
                    refusal,
                    Refusal::BadTag | Refusal::WithoutPresharedKey | Refusal::OtherRemote
                ) {
                    let error = PeerError::KeyMismatch;
                    if peer.last_error != Some(error) {
                        out.event(Event::AttemptFailed { peer: id, error });
                    }
                    peer.last_error = Some(error);
                }
                Err(refusal.drop_reason())
            }
            Ok(Answer::Refused(refused)) => {
                let request = peer.open_requests.remove(at);
                self.release_index(request.index);
                self.handle_refused(now, id, refused, out);
                self.reschedule(id, now.instant);
                Ok(())
            }
            Ok(Answer::Session(established)) => {
                // an answer to an older REQUEST than the one that made the session is outdated
                let newest = [&peer.next, &peer.current]
                    .into_iter()
                    .flatten()
                    .filter(|session| session.initiator)
                    .map(|session| session.timestamp)
                    .max();
                if newest.is_some_and(|newest| newest >= request.timestamp) {
                    return Err(DropReason::RepeatedRequest);
                }
                let request = peer.open_requests.remove(at);
                peer.attempt = None;
                // of several addresses that were tried this one is where the peer is
                if peer.cell.endpoint().is_some_and(|e| e.remote != request.to.remote) {
                    peer.cell.set_endpoint(Some(request.to));
                }
                // answers still under way to its repetitions would only displace the session, and
                // what the peer sends under it would be lost
                self.drop_open_requests(id);
                self.learn_key(id, established.remote, out);
                self.finish_early(id, established.ticket.is_some(), out);
                let Some(peer) = self.peer(id) else { return Ok(()) };
                let cell = Arc::clone(&peer.cell);
                let session = self.make_session(now, &cell, &established, request.sent_at);
                self.add_next(now, id, session, out);
                self.reschedule(id, now.instant);
                Ok(())
            }
        }
    }

    /// Takes a status: it ends the REQUEST that it answers, not the schedule.
    fn handle_refused(&mut self, now: Now, id: PeerId, refused: Refused, out: &mut dyn Output) {
        let prefers = self.settings.post_quantum != PostQuantum::Off;
        let Some(peer) = self.peer_mut(id) else { return };
        let error = error_of(refused.code);
        if let Some(error) = error {
            peer.last_error = Some(error);
            out.event(Event::AttemptFailed { peer: id, error });
        }
        let Some(attempt) = &mut peer.attempt else { return };
        let again = match refused.code {
            StatusCode::NOISE_REFUSED => {
                let weaker = refused
                    .noise
                    .and_then(|byte| NoiseByte::try_from(byte).ok())
                    .and_then(|counter| peer.config.noise_policy.retry(peer.config.noise, counter));
                match weaker {
                    Some(weaker) if weaker != peer.noise_wanted => {
                        peer.noise_wanted = weaker;
                        true
                    }
                    _ => false,
                }
            }
            StatusCode::POST_QUANTUM_REQUIRED if prefers && !attempt.hybrid => {
                attempt.force_hybrid = true;
                attempt.hybrid = true;
                true
            }
            _ => false,
        };
        if again && attempt.retries < MAX_RETRIES {
            attempt.retries += 1;
            let hybrid = attempt.hybrid;
            self.send_request(now, id, hybrid, out);
        }
    }

    pub(super) fn handle_retry(
        &mut self,
        now: Now,
        from: Endpoint,
        datagram: &[u8],
        out: &mut dyn Output,
    ) -> Result<(), DropReason> {
        let view = RetryView::parse(datagram).map_err(|_| DropReason::Malformed)?;
        let (id, at) = self.open_request(view.index_i())?;
        let peer = self.peer_mut(id).ok_or(DropReason::UnknownIndex)?;
        let request = &mut peer.open_requests[at];
        let retry =
            request.initiator.open_retry(datagram).map_err(|refusal| refusal.drop_reason())?;
        if core::mem::replace(&mut request.retried, true) {
            return Err(DropReason::RepeatedRequest);
        }
        peer.cookie = Some(Cookie { bytes: retry.cookie, at: now.instant, from: from.remote });
        if let Some(challenge) = retry.challenge {
            peer.challenge = Some((challenge, now.instant));
        }
        let Some(attempt) = &peer.attempt else { return Ok(()) };
        let hybrid = attempt.hybrid;
        if may_follow(peer, now.instant) {
            peer.retries_followed = [peer.retries_followed[1], Some(now.instant)];
            self.send_request(now, id, hybrid, out);
        }
        self.reschedule(id, now.instant);
        Ok(())
    }

    /// Takes a clear ERROR as the hint that it is: it is told of, the schedule goes on.
    pub(super) fn handle_error(
        &mut self,
        _now: Now,
        datagram: &[u8],
        out: &mut dyn Output,
    ) -> Result<(), DropReason> {
        let view = ErrorView::parse(datagram).map_err(|_| DropReason::Malformed)?;
        let (id, at) = self.open_request(view.index_i())?;
        let peer = self.peer_mut(id).ok_or(DropReason::UnknownIndex)?;
        let hint = peer.open_requests[at]
            .initiator
            .open_error(datagram)
            .map_err(|refusal| refusal.drop_reason())?;
        if let Some(error) = error_of(hint.code) {
            if peer.last_error != Some(error) {
                out.event(Event::AttemptFailed { peer: id, error });
            }
            peer.last_error = Some(error);
        }
        Ok(())
    }
}

/// Tells whether another RETRY may be followed: at most two in 5 s.
fn may_follow(peer: &Peer, now: Instant) -> bool {
    peer.retries_followed[0].is_none_or(|at| now >= at.saturating_add(RETRY_WINDOW))
}

/// Returns what the status output says of a code.
fn error_of(code: StatusCode) -> Option<PeerError> {
    Some(match code {
        StatusCode::UNSUPPORTED_VERSION => PeerError::UnsupportedVersion,
        StatusCode::CANNOT_DECRYPT => PeerError::CannotDecrypt,
        StatusCode::NO_COMMON_HASH => PeerError::NoCommonHash,
        StatusCode::NO_COMMON_SYMMETRIC => PeerError::NoCommonCipher,
        StatusCode::UNKNOWN_PEER => PeerError::UnknownPeer,
        StatusCode::NOISE_REFUSED => PeerError::NoiseRefused,
        StatusCode::BUSY => PeerError::Busy,
        StatusCode::POST_QUANTUM_REQUIRED => PeerError::PostQuantumRequired,
        _ => return None,
    })
}
