//! Noise: what the byte of cell `0x07` says, and what a node makes of it.

pub mod budget;
pub mod byte;
pub mod emitter;
pub mod engine;
pub mod judge;
pub mod ledger;
pub mod machines;
pub mod profile;
pub mod rng;
pub mod session;
pub mod size;
pub mod tx;

pub use budget::Budget;
pub use byte::{
    NoiseByte, NoiseFiller, NoisePolicy, NoiseRatio, NoiseSize, ReservedNoise, Verdict,
};
pub use emitter::Emitter;
pub use engine::{Arrival, EngineKind, NoiseEngine, Release};
pub use ledger::{Ledger, LedgerCounts};
pub use machines::{MachineError, Machines};
pub use profile::{Profile, ProfileCounts};
pub use rng::NoiseRng;
pub use session::SessionNoise;
pub use size::{SizeLaw, Sizes};
pub use tx::{NoiseConfig, NoiseTerms, TxNoise};
