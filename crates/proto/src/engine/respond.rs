//! The responder's order of work (`protocol.md` §5), each step cheaper than what it guards.

use super::{Engine, Now, Output, PostQuantum, input::DatagramClass};
use crate::{
    crypto::Cipher,
    drop::DropReason,
    guard::Admission,
    handshake::{
        AnswerError, Features, Grant, Kind, OpenFailure, OpenedRequest, ResponderInputs,
        StatusCode, build_error, build_retry,
    },
    identity::PresharedKey,
    noise::Verdict,
    peer::{Endpoint, LocalAddress, PeerId},
    wire::{DatagramKind, RequestView},
};
use core::net::SocketAddr;
use std::sync::Arc;

/// What the responder answers after the signature has verified.
#[derive(Debug)]
pub(super) enum Judgement {
    /// A session, for a peer that is there or for a new guest.
    Consent(Option<PeerId>, Grant),
    /// A status.
    Status(StatusCode, Option<u8>),
    /// A RETRY that asks to echo a challenge.
    Challenge,
    /// Nothing.
    Drop(DropReason),
}

impl Engine {
    pub(super) fn handle_handshake(
        &mut self,
        now: Now,
        remote: SocketAddr,
        local: Option<LocalAddress>,
        datagram: &[u8],
        out: &mut dyn Output,
    ) {
        let from = Endpoint { remote, local };
        let dropped = match DatagramKind::of(datagram) {
            Some(DatagramKind::Request) => self.handle_request(now, from, datagram, out),
            Some(DatagramKind::Consent) => self.handle_consent(now, from, datagram, out),
            Some(DatagramKind::Retry) => self.handle_retry(now, from, datagram, out),
            Some(DatagramKind::Error) => self.handle_error(now, datagram, out),
            Some(DatagramKind::Data) | None => Err(DropReason::Malformed),
        };
        if let Err(reason) = dropped {
            self.shared.drops.count(reason);
        }
    }

    fn handle_request(
        &mut self,
        now: Now,
        from: Endpoint,
        datagram: &[u8],
        out: &mut dyn Output,
    ) -> Result<(), DropReason> {
        let request = RequestView::parse(datagram).map_err(|_| DropReason::Malformed)?;
        self.guard.rotate(&mut *self.entropy, now.instant);
        let allowed = request.is_encrypted()
            || (!self.settings.stealth
                && (self.settings.allow_open || self.settings.allow_anonymous));
        let key = self.statics.mac_key(&request);
        match self.guard.admit(&request, key, allowed, from.remote, now.instant) {
            Admission::Open => {}
            Admission::Retry(retry) => {
                let nonce = self.random();
                let key = self.statics.retry_key(&request);
                let answer = build_retry(key, &request, &retry, &nonce);
                // the shortest REQUESTs are shorter, and no answer is longer than its REQUEST
                if answer.len() <= datagram.len() {
                    out.send(&from, &answer, DatagramClass::Handshake);
                }
                return Err(DropReason::RateLimited);
            }
            Admission::Drop(reason) => return Err(reason),
        }
        let opened = match self.statics.open(&request) {
            Ok(opened) => opened,
            Err(OpenFailure::Silent(refusal)) => return Err(refusal.drop_reason()),
            Err(OpenFailure::Error(code)) => {
                if !self.settings.stealth
                    && self.guard.may_send_error(from.remote, now.instant)
                    && let Some(answer) = build_error(&request, code)
                {
                    out.send(&from, &answer, DatagramClass::Handshake);
                }
                return Err(if code == StatusCode::CANNOT_DECRYPT {
                    DropReason::BadTag
                } else {
                    DropReason::Malformed
                });
            }
        };
        self.answer(now, from, &request, opened, out)
    }

    /// Answers a REQUEST whose signature has verified.
    fn answer(
        &mut self,
        now: Now,
        from: Endpoint,
        request: &RequestView<'_>,
        mut opened: OpenedRequest,
        out: &mut dyn Output,
    ) -> Result<(), DropReason> {
        match self.judge(now, &mut opened) {
            Judgement::Drop(reason) => Err(reason),
            Judgement::Challenge => {
                let Some(peer) = opened.remote() else { return Err(DropReason::StaleTimestamp) };
                let retry = self.guard.challenge(from.remote, peer);
                let nonce = self.random();
                let key = self.statics.retry_key(request);
                let answer = build_retry(key, request, &retry, &nonce);
                out.send(&from, &answer, DatagramClass::Handshake);
                Err(DropReason::StaleTimestamp)
            }
            Judgement::Status(code, noise) => {
                self.send_status(now, from, opened, code, noise, out);
                Err(match code {
                    StatusCode::UNKNOWN_PEER => DropReason::UnknownPeer,
                    _ => DropReason::NotAllowed,
                })
            }
            Judgement::Consent(peer, grant) => {
                self.send_consent(now, from, opened, peer, grant, out)
            }
        }
    }

    /// Decides in the order of `protocol.md` §5: peer, repetition, timestamp, policy.
    pub(super) fn judge(&mut self, now: Now, opened: &mut OpenedRequest) -> Judgement {
        let offered = *opened.offered();
        let allowed = match opened.kind() {
            Kind::Encrypted => true,
            Kind::Open => self.settings.allow_open,
            Kind::Anonymous => self.settings.allow_anonymous,
        };
        if !allowed {
            return Judgement::Drop(DropReason::NotAllowed);
        }
        let id = match opened.remote().map(|key| self.by_key.get(key)) {
            Some(Some(&id)) => Some(id),
            Some(None) if self.settings.guests.strangers => None,
            Some(None) => return Judgement::Status(StatusCode::UNKNOWN_PEER, None),
            None => None,
        };
        if self.guard.was_answered(opened.ephemeral(), now.instant) {
            return Judgement::Drop(DropReason::RepeatedRequest);
        }
        if let (Some(id), Some(key)) = (id, opened.remote()) {
            let echoed = offered.challenge.is_some_and(|echo| self.guard.echoes(key, &echo));
            if let Some(peer) = self.peer_mut(id) {
                let newer = peer.largest_timestamp.is_none_or(|t| offered.timestamp > t);
                if newer {
                    peer.largest_timestamp = Some(offered.timestamp);
                } else if !echoed {
                    return Judgement::Challenge;
                }
            }
        }
        let Some(hash) = offered.hashes.choose_hash(&self.settings.hashes) else {
            return Judgement::Status(StatusCode::NO_COMMON_HASH, None);
        };
        let Some(cipher) = offered.ciphers.choose_cipher(&self.settings.ciphers) else {
            return Judgement::Status(StatusCode::NO_COMMON_SYMMETRIC, None);
        };
        let policy = id
            .and_then(|id| self.peer(id))
            .map_or(self.settings.noise, |peer| peer.config.noise_policy);
        if let Verdict::Refuse { counter } = policy.judge_raw(offered.noise) {
            if opened.remote().is_none() {
                // nothing has been signed that a status could follow
                return Judgement::Drop(DropReason::NotAllowed);
            }
            return Judgement::Status(StatusCode::NOISE_REFUSED, Some(counter.value()));
        }
        let post_quantum = offered.hybrid && self.settings.post_quantum != PostQuantum::Off;
        if post_quantum && opened.check_kem_key().is_err() {
            return Judgement::Status(StatusCode::BAD_KEM_KEY, None);
        }
        if self.settings.post_quantum == PostQuantum::Require && !offered.hybrid {
            return Judgement::Status(StatusCode::POST_QUANTUM_REQUIRED, None);
        }
        if !self.has_room(now, id, opened.kind()) {
            return match opened.kind() {
                Kind::Anonymous => Judgement::Drop(DropReason::QueueFull),
                Kind::Encrypted | Kind::Open => Judgement::Status(StatusCode::BUSY, None),
            };
        }
        let grant = Grant {
            hash,
            cipher,
            payload_limit: self.settings.payload_limit,
            features: self.features(),
            lanes: self.settings.lanes,
            session_id: self.next_session_id,
            accept_ticket: self.takes_ticket(now, opened),
            post_quantum,
        };
        Judgement::Consent(id, grant)
    }

    /// Returns the features that this node has.
    pub(super) fn features(&self) -> Features {
        let all = [
            (self.settings.partial_checksum, Features::CHECKSUM_OFFLOAD),
            (self.settings.streams, Features::STREAMS),
            (self.settings.early_data, Features::EARLY_DATA),
        ];
        all.into_iter().filter(|(on, _)| *on).fold(Features::NONE, |sum, (_, f)| sum.union(f))
    }

    fn send_status(
        &mut self,
        now: Now,
        from: Endpoint,
        opened: OpenedRequest,
        code: StatusCode,
        noise: Option<u8>,
        out: &mut dyn Output,
    ) {
        // an unknown node's repeated REQUEST is dropped here, a peer's was before
        if self.settings.stealth || self.guard.was_answered(opened.ephemeral(), now.instant) {
            return;
        }
        let ephemeral = *opened.ephemeral();
        let cipher = opened
            .offered()
            .ciphers
            .choose_cipher(&self.settings.ciphers)
            .unwrap_or(Cipher::ChaCha20Poly1305);
        let inputs = self.responder_inputs(&opened, 0);
        if let Ok(answer) = opened.status(&inputs, code, noise, cipher) {
            self.guard.note_answer(ephemeral, now.instant);
            out.send(&from, &answer, DatagramClass::Handshake);
        }
    }

    fn send_consent(
        &mut self,
        now: Now,
        from: Endpoint,
        mut opened: OpenedRequest,
        peer: Option<PeerId>,
        grant: Grant,
        out: &mut dyn Output,
    ) -> Result<(), DropReason> {
        let guest = peer.is_none();
        let id = peer.unwrap_or_else(|| self.add_guest(now, &opened));
        let ephemeral = *opened.ephemeral();
        let after_c1 = *opened.h();
        let index = self.reserve_index(id);
        let inputs = self.responder_inputs(&opened, index);
        let psk = match self.peer(id) {
            Some(peer) => peer.config.preshared_key.clone(),
            None => PresharedKey::NONE,
        };
        if opened.offered().noise != 0 {
            opened.fill_consent();
        }
        match opened.consent(&inputs, &grant, &psk) {
            Ok((established, answer)) => {
                self.next_session_id += 1;
                self.guard.note_answer(ephemeral, now.instant);
                let Some(cell) = self.cell(id).map(Arc::clone) else { return Ok(()) };
                let session = self.make_session(now, &cell, &established, now.instant);
                self.add_pending(id, session);
                out.send(&from, &answer, DatagramClass::Handshake);
                if let Some(ticket) = established.ticket {
                    self.open_early(now, id, ticket, &after_c1, established.session_id, out);
                }
                self.reschedule(id, now.instant);
                Ok(())
            }
            Err(error) => {
                self.release_index(index);
                if guest {
                    self.drop_slot(id);
                }
                Err(match error {
                    AnswerError::TooLong { .. } => DropReason::TooLarge,
                    _ => DropReason::Malformed,
                })
            }
        }
    }

    fn responder_inputs(&mut self, opened: &OpenedRequest, index: u32) -> ResponderInputs {
        let randomness = zeroize::Zeroizing::new(self.random::<32>());
        self.hedge_counter += 1;
        ResponderInputs::hedged(&randomness, self.hedge_counter, opened, index)
    }
}
