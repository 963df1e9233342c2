//! The noise settings of a peer file, and the byte and policy that they mean.

use std::fmt;
use std::path::PathBuf;

use stadium_proto::noise::{
    EngineKind, Machines, NoiseByte, NoiseConfig, NoiseFiller, NoisePolicy, NoiseRatio, NoiseSize,
};

use crate::quantity::Rate;

/// Says which law draws the sizes of noise packets.
///
/// The first two are the same on the wire (size bits 00): which of them is local choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SizeLaw {
    /// From the sizes seen.
    #[default]
    Match,
    /// Uniformly, from the empty packet to the payload limit.
    Uniform,
    /// Around the running mean of sent sizes.
    Mean,
    /// From the minimum to half the limit.
    Half,
}

impl SizeLaw {
    pub(crate) const WORDS: &'static [(&'static str, Self)] = &[
        ("match", Self::Match),
        ("uniform", Self::Uniform),
        ("mean", Self::Mean),
        ("half", Self::Half),
    ];

    /// Returns the value of the noise byte's size bits.
    #[must_use]
    pub const fn on_wire(self) -> NoiseSize {
        match self {
            Self::Match | Self::Uniform => NoiseSize::Any,
            Self::Mean => NoiseSize::Mean,
            Self::Half => NoiseSize::Half,
        }
    }

    /// Returns the word of the peer file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Uniform => "uniform",
            Self::Mean => "mean",
            Self::Half => "half",
        }
    }
}

impl fmt::Display for SizeLaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Says which engine schedules noise: local choice, invisible to the receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoiseEngine {
    /// The ratio as a long-run budget.
    #[default]
    Ledger,
    /// Surges that decay, real packets delayed to fit.
    Shaped,
    /// A constant rate.
    Constant,
    /// State machines.
    Machine,
}

impl NoiseEngine {
    pub(crate) const WORDS: &'static [(&'static str, Self)] = &[
        ("ledger", Self::Ledger),
        ("shaped", Self::Shaped),
        ("constant", Self::Constant),
        ("machine", Self::Machine),
    ];

    /// Returns the word of the peer file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Shaped => "shaped",
            Self::Constant => "constant",
            Self::Machine => "machine",
        }
    }
}

impl fmt::Display for NoiseEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Holds the noise settings of one peer, or the defaults for all.
///
/// The default is off: no noise asked for, requests up to 1:1 granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoiseSettings {
    /// Noise packets for real ones, as this node asks for them.
    pub ratio: NoiseRatio,
    /// How the sizes of noise packets are drawn.
    pub size: SizeLaw,
    /// How far ordinary packets are filled up.
    pub filler: NoiseFiller,
    /// What this node grants to the peer.
    pub policy: NoisePolicy,
    /// The most noise there may be; what is beyond is shed.
    pub budget: Option<Rate>,
    /// What schedules the noise.
    pub engine: NoiseEngine,
    /// The file of the machines, as it is named, and what stands in it.
    pub machines: Option<(PathBuf, Machines)>,
}

impl NoiseSettings {
    /// Returns the byte that this node asks for.
    ///
    /// Without noise packets their size is left at 0, so that settings that do nothing are the
    /// byte 0, whatever size they name.
    #[must_use]
    pub const fn byte(&self) -> NoiseByte {
        let size = match self.ratio {
            NoiseRatio::Off => NoiseSize::Any,
            _ => self.size.on_wire(),
        };
        NoiseByte::new(self.ratio, size, self.filler)
    }

    /// Returns how this node makes noise: what is its own choice, and on no wire.
    #[must_use]
    pub fn config(&self) -> NoiseConfig {
        NoiseConfig {
            engine: match self.engine {
                NoiseEngine::Ledger => EngineKind::Ledger,
                NoiseEngine::Shaped => EngineKind::Shaped,
                NoiseEngine::Constant => EngineKind::Constant,
                NoiseEngine::Machine => EngineKind::Machine,
            },
            uniform: self.size == SizeLaw::Uniform,
            budget: self.budget.map(|rate| rate.0),
            machines: self.machines.as_ref().map(|(_, read)| read.clone()).unwrap_or_default(),
        }
    }

    /// Tells whether this node asks for neither noise packets nor filler.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.byte().is_off()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_interface() {
        let settings = NoiseSettings {
            ratio: NoiseRatio::OneToOne,
            filler: NoiseFiller::Full,
            ..NoiseSettings::default()
        };
        assert_eq!(settings.byte().value(), 130);
        assert!(!settings.is_off());
        assert!(NoiseSettings::default().is_off());
    }
}
