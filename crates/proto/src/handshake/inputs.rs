//! The random inputs of both roles, raw for test vectors or hedged for use.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::open::OpenedRequest;
use super::request::{Target, transcript_start};
use crate::crypto::{Hedge, KEM_MESSAGE_LEN, KEM_SEED_LEN};
use crate::identity::Identity;
use crate::time::WallTime;

/// What a REQUEST is made from besides its parameters: fresh for every one. Wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct InitiatorInputs {
    /// The initiator's index: random, not 0, unique among everything live at this node.
    pub index_i: u32,
    /// The ephemeral X25519 secret `e_i`.
    pub ephemeral: [u8; 32],
    /// The connection key `K_c`; unused in an open handshake.
    pub connection_key: [u8; 32],
    /// The seed `d ‖ z` of the KEM key pair; unused without ML-KEM.
    pub kem_seed: [u8; KEM_SEED_LEN],
    /// The wall time, from which cell `0x08` is made.
    #[zeroize(skip)]
    pub now: WallTime,
}

impl InitiatorInputs {
    /// Makes hedged inputs: 32 bytes of OS randomness, this node's secret, a counter that never
    /// repeats in the life of the process, and the transcript hash.
    pub fn hedged(
        randomness: &[u8; 32],
        counter: u64,
        identity: &Identity,
        target: &Target,
        index_i: u32,
        now: WallTime,
    ) -> Self {
        let start = transcript_start(target, index_i);
        let hedge = Hedge::new(randomness, identity.secret(), counter, start.h());
        let mut inputs = Self {
            index_i,
            ephemeral: [0; 32],
            connection_key: [0; 32],
            kem_seed: [0; KEM_SEED_LEN],
            now,
        };
        hedge.fill("e_i", &mut inputs.ephemeral);
        hedge.fill("K_c", &mut inputs.connection_key);
        hedge.fill("kem d z", &mut inputs.kem_seed);
        inputs
    }
}

impl fmt::Debug for InitiatorInputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InitiatorInputs").field("index_i", &self.index_i).finish_non_exhaustive()
    }
}

/// What a CONSENT is made from besides its parameters: fresh for every one. Wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ResponderInputs {
    /// The responder's index: random, not 0, unique among everything live at this node. Unused
    /// in a status.
    pub index_r: u32,
    /// The ephemeral X25519 secret `e_r`.
    pub ephemeral: [u8; 32],
    /// The randomness of the encapsulation; unused without ML-KEM.
    pub kem_message: [u8; KEM_MESSAGE_LEN],
}

impl ResponderInputs {
    /// Makes hedged inputs, as [`InitiatorInputs::hedged`] does.
    pub fn hedged(
        randomness: &[u8; 32],
        counter: u64,
        request: &OpenedRequest,
        index_r: u32,
    ) -> Self {
        let secret = request.identity().secret();
        let hedge = Hedge::new(randomness, secret, counter, request.h());
        let mut inputs = Self { index_r, ephemeral: [0; 32], kem_message: [0; KEM_MESSAGE_LEN] };
        hedge.fill("e_r", &mut inputs.ephemeral);
        hedge.fill("kem m", &mut inputs.kem_message);
        inputs
    }
}

impl fmt::Debug for ResponderInputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponderInputs").field("index_r", &self.index_r).finish_non_exhaustive()
    }
}
