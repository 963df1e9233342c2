//! Noise: what the byte of cell `0x07` says, and what a node makes of it.

pub mod byte;

pub use byte::{
    NoiseByte, NoiseFiller, NoisePolicy, NoiseRatio, NoiseSize, ReservedNoise, Verdict,
};
