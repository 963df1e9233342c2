//! The noise byte of cell `0x07` (`protocol.md` §7), checked, compared and negotiated.
//!
//! Invariants: a [`NoiseByte`] holds no reserved value, whatever its ratio; `NoiseByte::try_from`
//! and [`NoiseByte::value`] are inverse to each other; the order of two bytes is the order of
//! their [`NoiseByte::strength`].

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Says how many noise packets go out for each real one (bits 7 to 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum NoiseRatio {
    /// No noise packets.
    #[default]
    Off = 0,
    /// One noise packet for eight real ones.
    OneToEight = 1,
    /// One noise packet for four real ones.
    OneToFour = 2,
    /// One noise packet for two real ones.
    OneToTwo = 3,
    /// As many noise packets as real ones.
    OneToOne = 4,
    /// Two noise packets for each real one.
    TwoToOne = 5,
    /// Four noise packets for each real one.
    FourToOne = 6,
}

impl NoiseRatio {
    /// Every ratio, weakest first.
    pub const ALL: [Self; 7] = [
        Self::Off,
        Self::OneToEight,
        Self::OneToFour,
        Self::OneToTwo,
        Self::OneToOne,
        Self::TwoToOne,
        Self::FourToOne,
    ];

    /// Returns the ratio as (noise packets, real packets); `(0, 1)` where there is no noise.
    #[must_use]
    pub const fn fraction(self) -> (u32, u32) {
        match self {
            Self::Off => (0, 1),
            Self::OneToEight => (1, 8),
            Self::OneToFour => (1, 4),
            Self::OneToTwo => (1, 2),
            Self::OneToOne => (1, 1),
            Self::TwoToOne => (2, 1),
            Self::FourToOne => (4, 1),
        }
    }

    /// Returns the word that peer files and `status` use: `off`, `1:8` … `4:1`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::OneToEight => "1:8",
            Self::OneToFour => "1:4",
            Self::OneToTwo => "1:2",
            Self::OneToOne => "1:1",
            Self::TwoToOne => "2:1",
            Self::FourToOne => "4:1",
        }
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Off),
            1 => Some(Self::OneToEight),
            2 => Some(Self::OneToFour),
            3 => Some(Self::OneToTwo),
            4 => Some(Self::OneToOne),
            5 => Some(Self::TwoToOne),
            6 => Some(Self::FourToOne),
            _ => None,
        }
    }
}

/// Says which sizes noise packets have (bits 4 and 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NoiseSize {
    /// From the empty packet to the payload limit; by which law is the sender's own choice.
    #[default]
    Any = 0,
    /// Around the running mean of sent sizes, ±25 %, and below the limit.
    Mean = 1,
    /// From the minimum to half the limit.
    Half = 2,
}

impl NoiseSize {
    /// Every size, weakest first.
    pub const ALL: [Self; 3] = [Self::Half, Self::Mean, Self::Any];

    /// Returns the word that peer files use; for [`NoiseSize::Any`] that of its usual law, `match`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "match",
            Self::Mean => "mean",
            Self::Half => "half",
        }
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Any => 2,
            Self::Mean => 1,
            Self::Half => 0,
        }
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Any),
            1 => Some(Self::Mean),
            2 => Some(Self::Half),
            _ => None,
        }
    }
}

/// Says how far ordinary packets are filled up (bits 2 and 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NoiseFiller {
    /// Packets keep their length.
    #[default]
    Off = 0,
    /// Every packet is filled to the payload limit.
    Full = 1,
    /// Every packet gets a random amount, at most to the payload limit.
    Random = 2,
}

impl NoiseFiller {
    /// Every filler, weakest first.
    pub const ALL: [Self; 3] = [Self::Off, Self::Random, Self::Full];

    /// Returns the word that peer files and `status` use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Full => "full",
            Self::Random => "random",
        }
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Random => 1,
            Self::Full => 2,
        }
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Off),
            1 => Some(Self::Full),
            2 => Some(Self::Random),
            _ => None,
        }
    }
}

impl PartialOrd for NoiseSize {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NoiseSize {
    /// Compares by strength: any size over the mean over half.
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for NoiseFiller {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NoiseFiller {
    /// Compares by strength: full over random over none.
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

macro_rules! words {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = UnknownWord;

            /// Reads the word that `as_str` writes.
            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                Self::ALL.into_iter().find(|value| value.as_str() == word).ok_or(UnknownWord)
            }
        }
    )*};
}
words!(NoiseRatio, NoiseSize, NoiseFiller);

/// Reports a word that names no ratio, size or filler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownWord;

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such noise setting")
    }
}

impl std::error::Error for UnknownWord {}

/// Names the field of a noise byte that holds a reserved value (`protocol.md` §7).
///
/// The first such field, from the high bits to the low ones. A responder answers it with status 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservedNoise {
    /// Bits 7 to 5 are `111`.
    Ratio,
    /// Bits 4 and 3 are `11`.
    Size,
    /// Bits 2 and 1 are `11`.
    Filler,
    /// Bit 0 is set.
    Bit0,
}

impl fmt::Display for ReservedNoise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ratio => "the noise ratio (bits 7-5) has the reserved value 7",
            Self::Size => "the noise size (bits 4-3) has the reserved value 3",
            Self::Filler => "the filler (bits 2-1) has the reserved value 3",
            Self::Bit0 => "the reserved bit 0 of the noise byte is set",
        })
    }
}

impl std::error::Error for ReservedNoise {}

/// Holds one checked value of cell `0x07`.
///
/// Ordered by [`NoiseByte::strength`]; the default is [`NoiseByte::OFF`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NoiseByte {
    ratio: NoiseRatio,
    size: NoiseSize,
    filler: NoiseFiller,
}

impl NoiseByte {
    /// No noise packets and no filler: the byte 0, which an absent cell means too.
    pub const OFF: Self =
        Self { ratio: NoiseRatio::Off, size: NoiseSize::Any, filler: NoiseFiller::Off };

    /// The strongest byte there is: 4:1, any size, full.
    pub const STRONGEST: Self =
        Self { ratio: NoiseRatio::FourToOne, size: NoiseSize::Any, filler: NoiseFiller::Full };

    /// The weakest value of every field. Its size is the weakest one, so it is not the byte 0:
    /// use it as a minimum that refuses nothing.
    pub const WEAKEST: Self =
        Self { ratio: NoiseRatio::Off, size: NoiseSize::Half, filler: NoiseFiller::Off };

    /// Puts a byte together from its three fields.
    #[must_use]
    pub const fn new(ratio: NoiseRatio, size: NoiseSize, filler: NoiseFiller) -> Self {
        Self { ratio, size, filler }
    }

    /// Returns how many noise packets go out for each real one.
    #[must_use]
    pub const fn ratio(self) -> NoiseRatio {
        self.ratio
    }

    /// Returns the sizes of noise packets.
    #[must_use]
    pub const fn size(self) -> NoiseSize {
        self.size
    }

    /// Returns how far ordinary packets are filled up.
    #[must_use]
    pub const fn filler(self) -> NoiseFiller {
        self.filler
    }

    /// Returns the byte as it stands in the cell.
    #[must_use]
    pub const fn value(self) -> u8 {
        (self.ratio as u8) << 5 | (self.size as u8) << 3 | (self.filler as u8) << 1
    }

    /// Tells whether a session under this byte sends neither noise packets nor filler.
    #[must_use]
    pub fn is_off(self) -> bool {
        self.ratio == NoiseRatio::Off && self.filler == NoiseFiller::Off
    }

    /// Returns what `protocol.md` §7 compares, the weightiest first: ratio, filler, size.
    ///
    /// Arrays compare as the bytes do; larger is stronger.
    #[must_use]
    pub const fn strength(self) -> [u8; 3] {
        [self.ratio as u8, self.filler.rank(), self.size.rank()]
    }

    /// Judges a requested byte by a responder's policy.
    ///
    /// Same as [`NoisePolicy::judge`].
    #[must_use]
    pub fn judge(self, policy: &NoisePolicy) -> Verdict {
        policy.judge(self)
    }

    fn weaker_of(self, other: Self) -> Self {
        Self {
            ratio: self.ratio.min(other.ratio),
            size: self.size.min(other.size),
            filler: self.filler.min(other.filler),
        }
    }

    /// Tells whether no field of this byte is stronger than the same field of `limit`.
    ///
    /// Without noise packets their size means nothing, so it is not compared then.
    fn within(self, limit: Self) -> bool {
        self.ratio <= limit.ratio
            && self.filler <= limit.filler
            && (self.ratio == NoiseRatio::Off || self.size <= limit.size)
    }

    /// Tells whether no field of this byte is weaker than the same field of `limit`.
    fn reaches(self, limit: Self) -> bool {
        self.ratio >= limit.ratio
            && self.filler >= limit.filler
            && (self.ratio == NoiseRatio::Off || self.size >= limit.size)
    }
}

impl TryFrom<u8> for NoiseByte {
    type Error = ReservedNoise;

    /// Checks a byte; every field is checked, also where the ratio is 0.
    fn try_from(byte: u8) -> Result<Self, ReservedNoise> {
        let ratio = NoiseRatio::from_bits(byte >> 5).ok_or(ReservedNoise::Ratio)?;
        let size = NoiseSize::from_bits(byte >> 3 & 3).ok_or(ReservedNoise::Size)?;
        let filler = NoiseFiller::from_bits(byte >> 1 & 3).ok_or(ReservedNoise::Filler)?;
        if byte & 1 != 0 {
            return Err(ReservedNoise::Bit0);
        }
        Ok(Self { ratio, size, filler })
    }
}

impl From<NoiseByte> for u8 {
    fn from(byte: NoiseByte) -> Self {
        byte.value()
    }
}

impl PartialOrd for NoiseByte {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NoiseByte {
    fn cmp(&self, other: &Self) -> Ordering {
        self.strength().cmp(&other.strength())
    }
}

impl fmt::Display for NoiseByte {
    /// Writes ratio, size and filler, as in `1:1 match full`; `off` for the byte 0.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::OFF {
            return f.write_str("off");
        }
        write!(f, "{} {} {}", self.ratio, self.size, self.filler)
    }
}

/// Answers a requested byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The byte is granted; the CONSENT repeats it exactly.
    Grant(NoiseByte),
    /// Status 7, with cell `0x07` set to the strongest byte that the responder grants.
    Refuse {
        /// The strongest byte that the policy grants.
        counter: NoiseByte,
    },
}

/// Bounds what a responder grants, field by field: nothing weaker than `minimum`, nothing
/// stronger than `accept`.
///
/// Where a request has ratio 0, its size is not compared: there are no noise packets to have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NoisePolicy {
    /// Requests with a weaker field are refused.
    pub minimum: NoiseByte,
    /// Requests with a stronger field are refused.
    pub accept: NoiseByte,
}

impl Default for NoisePolicy {
    /// No minimum; ratio up to 1:1, any size, any filler: the defaults of a peer file.
    fn default() -> Self {
        Self {
            minimum: NoiseByte::WEAKEST,
            accept: NoiseByte::new(NoiseRatio::OneToOne, NoiseSize::Any, NoiseFiller::Full),
        }
    }
}

impl NoisePolicy {
    /// Grants the byte 0 only, as a node does that has no noise.
    pub const OFF: Self = Self { minimum: NoiseByte::WEAKEST, accept: NoiseByte::OFF };

    /// Grants every byte that is not reserved.
    pub const ANY: Self = Self { minimum: NoiseByte::WEAKEST, accept: NoiseByte::STRONGEST };

    /// Tells whether some byte is granted: no field of `minimum` is stronger than `accept`.
    #[must_use]
    pub fn is_satisfiable(&self) -> bool {
        self.minimum.ratio <= self.accept.ratio
            && self.minimum.size <= self.accept.size
            && self.minimum.filler <= self.accept.filler
    }

    /// Tells whether the policy grants `byte`.
    #[must_use]
    pub fn grants(&self, byte: NoiseByte) -> bool {
        byte.reaches(self.minimum) && byte.within(self.accept)
    }

    /// Judges the byte of a request.
    #[must_use]
    pub fn judge(&self, requested: NoiseByte) -> Verdict {
        if self.grants(requested) {
            Verdict::Grant(requested)
        } else {
            Verdict::Refuse { counter: self.accept }
        }
    }

    /// Judges the raw value of cell `0x07`; an absent cell is 0.
    ///
    /// A reserved value is refused like a byte that the policy does not grant.
    #[must_use]
    pub fn judge_raw(&self, requested: u8) -> Verdict {
        match NoiseByte::try_from(requested) {
            Ok(byte) => self.judge(byte),
            Err(_) => Verdict::Refuse { counter: self.accept },
        }
    }

    /// Chooses what a requester with this policy asks for after a status 7, if anything.
    ///
    /// `wanted` is the refused byte, `counter` the strongest that the responder grants. The
    /// answer weakens every field of `wanted` that is stronger than `counter`; where none is, the
    /// request was too weak, and the answer is `counter` itself. It never leaves the requester's
    /// own policy: no field is weaker than `minimum`, none stronger than both `wanted` and
    /// `accept`. So two retries settle a negotiation or end it.
    #[must_use]
    pub fn retry(&self, wanted: NoiseByte, counter: NoiseByte) -> Option<NoiseByte> {
        let ceiling = NoiseByte {
            ratio: self.accept.ratio.max(wanted.ratio),
            size: self.accept.size.max(wanted.size),
            filler: self.accept.filler.max(wanted.filler),
        };
        let next = if wanted.within(counter) { counter } else { wanted.weaker_of(counter) };
        (next != wanted && next.reaches(self.minimum) && next.within(ceiling)).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte(ratio: &str, size: &str, filler: &str) -> NoiseByte {
        NoiseByte::new(ratio.parse().unwrap(), size.parse().unwrap(), filler.parse().unwrap())
    }

    #[test]
    fn the_value_of_the_interface_example() {
        let example = byte("1:1", "match", "full");
        assert_eq!(example.value(), 130);
        assert_eq!(example.to_string(), "1:1 match full");
        assert_eq!(NoiseByte::OFF.to_string(), "off");
        assert_eq!(NoiseByte::WEAKEST.to_string(), "off half off");
        assert!(NoiseByte::WEAKEST.is_off() && !example.is_off());
        assert!("3:1".parse::<NoiseRatio>().is_err());
    }

    #[test]
    fn every_reserved_field_is_named() {
        assert_eq!(NoiseByte::try_from(0xe0), Err(ReservedNoise::Ratio));
        assert_eq!(NoiseByte::try_from(0x18), Err(ReservedNoise::Size));
        assert_eq!(NoiseByte::try_from(0x06), Err(ReservedNoise::Filler));
        assert_eq!(NoiseByte::try_from(0x01), Err(ReservedNoise::Bit0));
        assert_eq!(NoiseByte::try_from(0xff), Err(ReservedNoise::Ratio));
    }

    #[test]
    fn a_policy_compares_field_by_field() {
        let policy = NoisePolicy {
            minimum: byte("1:8", "half", "random"),
            accept: byte("1:1", "mean", "full"),
        };
        assert!(policy.is_satisfiable());
        let granted = byte("1:2", "mean", "random");
        assert_eq!(policy.judge(granted), Verdict::Grant(granted));
        assert_eq!(granted.judge(&policy), Verdict::Grant(granted));
        let refused = Verdict::Refuse { counter: policy.accept };
        for wrong in [
            byte("2:1", "mean", "full"),
            byte("1:2", "match", "full"),
            byte("1:2", "mean", "off"),
            byte("off", "mean", "full"),
        ] {
            assert_eq!(policy.judge(wrong), refused, "{wrong}");
        }
        assert_eq!(policy.judge_raw(0xe0), refused);
    }

    #[test]
    fn the_size_of_absent_noise_is_not_compared() {
        let policy =
            NoisePolicy { minimum: NoiseByte::WEAKEST, accept: byte("1:1", "half", "full") };
        assert_eq!(policy.judge_raw(0), Verdict::Grant(NoiseByte::OFF));
    }

    #[test]
    fn without_noise_only_the_byte_0_passes() {
        for value in 0..=u8::MAX {
            let granted = matches!(NoisePolicy::OFF.judge_raw(value), Verdict::Grant(_));
            let silent = NoiseByte::try_from(value).is_ok_and(NoiseByte::is_off);
            assert_eq!(granted, silent, "{value}");
        }
    }

    /// Over all pairs of policies: a negotiation ends, and inside both policies.
    #[test]
    fn a_negotiation_ends_within_three_retries() {
        let bytes: Vec<_> = (0..=u8::MAX).filter_map(|b| NoiseByte::try_from(b).ok()).collect();
        for &wanted in &bytes {
            for &minimum in bytes.iter().step_by(5) {
                for &accept in &bytes {
                    let responder = NoisePolicy { minimum, accept };
                    if !responder.is_satisfiable() {
                        continue;
                    }
                    let mut asked = wanted;
                    let mut tries = 0;
                    while let Verdict::Refuse { counter } = responder.judge(asked) {
                        let Some(next) = NoisePolicy::ANY.retry(asked, counter) else {
                            panic!("{asked} after {counter}: an open policy always has an answer")
                        };
                        asked = next;
                        tries += 1;
                        assert!(tries <= 3, "{wanted} against {minimum} to {accept}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_requester_stays_inside_its_policy() {
        let wanted = byte("1:1", "match", "full");
        let own = NoisePolicy { minimum: byte("1:2", "half", "off"), ..NoisePolicy::default() };
        assert_eq!(own.retry(wanted, byte("1:2", "mean", "off")), Some(byte("1:2", "mean", "off")));
        assert_eq!(own.retry(wanted, byte("1:4", "match", "full")), None, "below its minimum");
        let weak = byte("1:2", "match", "off");
        assert_eq!(own.retry(weak, byte("4:1", "match", "full")), None, "above what it accepts");
        assert_eq!(own.retry(weak, byte("1:1", "match", "full")), Some(wanted));
    }
}
