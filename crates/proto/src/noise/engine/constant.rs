//! The engine that sends at one rate, always: nothing to see but that the connection is up.
//!
//! Time is cut into slots. Each slot's packets are settled a little ahead of it (real ones as far
//! as there are any, noise for the rest), sealed at once, and handed to the socket at the slot: so
//! real and noise slots leave at the same instant (a schedule whose real slots are 200 µs late is
//! an open book, `noise.md` §2).
//!
//! The ratio that was agreed holds as a floor: where real packets would leave too little noise,
//! a slot carries noise instead, and real traffic gets rate / (1 + r) at most.

use super::{Arrival, EngineParams, NoiseEngine, Release};
use crate::noise::{Ledger, LedgerCounts};
use crate::time::Instant;
use core::time::Duration;

/// The rate where none is configured, in bits a second.
const USUAL_RATE: u64 = 4_000_000;
/// The shortest slot, in nanoseconds: timers keep to it.
const SHORTEST_SLOT: u64 = 1_000_000;
/// How long ahead a slot is settled.
const LEAD: Duration = Duration::from_micros(200);
/// For how long real packets may wait, in the time that the slots need for them.
const QUEUE_NANOS: u64 = 250_000_000;
/// The fewest and the most packets that wait.
const QUEUE: (u32, u32) = (64, 1_024);
/// Slots that are made up for when the machine was late; more are left out.
const MOST_LATE: u64 = 4;

/// Sends packets of one size at one rate.
#[derive(Debug)]
pub struct ConstantEngine {
    ledger: Ledger,
    /// Nanoseconds from slot to slot.
    slot: u64,
    /// Packets of a slot.
    packets: u32,
    next: Instant,
    held: u32,
    most_held: u32,
}

impl ConstantEngine {
    /// Makes the engine; its first slot lies a random part of a slot ahead.
    #[must_use]
    pub fn new(params: EngineParams<'_>, now: Instant) -> Self {
        let EngineParams { ratio, share, rate, datagram_bits, mut private, .. } = params;
        let rate = u128::from(rate.unwrap_or(USUAL_RATE).max(1));
        let bits = u128::from(datagram_bits.max(1));
        // nanoseconds of one packet, an hour at most
        let packet = (bits * 1_000_000_000 / rate).clamp(1, 3_600_000_000_000) as u64;
        let packets = SHORTEST_SLOT.div_ceil(packet);
        let slot = packet * packets;
        let phase = Duration::from_nanos((private.unit() * slot as f64) as u64);
        let queue = u32::try_from(QUEUE_NANOS / packet).unwrap_or(u32::MAX);
        Self {
            ledger: Ledger::new(ratio, share),
            slot,
            packets: u32::try_from(packets).unwrap_or(u32::MAX),
            next: now.saturating_add(LEAD).saturating_add(phase),
            held: 0,
            most_held: queue.clamp(QUEUE.0, QUEUE.1),
        }
    }

    /// Returns the packets that one slot sends, and the time from slot to slot.
    #[must_use]
    pub const fn slots(&self) -> (u32, Duration) {
        (self.packets, Duration::from_nanos(self.slot))
    }
}

impl NoiseEngine for ConstantEngine {
    fn on_real(&mut self, _now: Instant, n: u32) -> Arrival {
        let taken = n.min(self.most_held - self.held);
        self.held += taken;
        Arrival::Hold(taken)
    }

    fn on_peer(&mut self, _now: Instant, _real: u32, _noise: u32) {}

    // a slot that the socket refused is gone; the next ones are full anyway
    fn on_refused(&mut self, noise: u32) {
        self.ledger.refused(noise);
    }

    fn on_shed(&mut self, noise: u32) {
        self.ledger.shed(noise);
    }

    fn on_dropped(&mut self) {
        self.held = 0;
    }

    // the schedule has nothing of a session in it
    fn rekey(&mut self, _now: Instant, _seed: &[u8; 32], _start: Instant) {}

    fn next_deadline(&self, _now: Instant) -> Option<Instant> {
        Some(self.next.saturating_sub(LEAD))
    }

    fn poll(&mut self, now: Instant) -> Release {
        if now < self.next.saturating_sub(LEAD) {
            return Release::default();
        }
        let late = now.saturating_since(self.next).as_nanos() as u64 / self.slot;
        let slots = 1 + late.min(MOST_LATE);
        let at = self.next.max(now);
        self.next = self.next.saturating_add(Duration::from_nanos(self.slot * (late + 1)));
        let room = self.packets.saturating_mul(slots as u32);
        let mut real = 0;
        while real < self.held.min(room) && self.ledger.affords_real() {
            // affordable, so nothing is due
            let _ = self.ledger.real(1);
            real += 1;
        }
        self.held -= real;
        let noise = room - real;
        self.ledger.give(noise);
        Release { real, noise, at: Some(at) }
    }

    fn held(&self) -> u32 {
        self.held
    }

    fn counts(&self) -> LedgerCounts {
        self.ledger.counts()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{BITS, Log, RATIOS, at, params};
    use super::*;
    use crate::noise::NoiseRatio;

    fn engine(ratio: NoiseRatio, rate: u64) -> ConstantEngine {
        ConstantEngine::new(params(ratio, Some(rate), 1), Instant::ZERO)
    }

    #[test]
    fn slots_look_the_same_whatever_the_traffic() {
        for rate in [100_000, 1_000_000, 8_000_000, 200_000_000] {
            let (mut idle, mut busy) =
                (engine(NoiseRatio::OneToOne, rate), engine(NoiseRatio::OneToOne, rate));
            let (mut quiet, mut loud) = (Log::default(), Log::default());
            quiet.poll_until(&mut idle, at(20.0));
            for n in 0..2_000 {
                loud.arrive(&mut busy, at(f64::from(n) * 0.01), 3);
            }
            loud.poll_until(&mut busy, at(20.0));
            assert!(loud.real > 100);
            let shape = |log: &Log| {
                log.sent.iter().map(|(at, real, noise)| (*at, real + noise)).collect::<Vec<_>>()
            };
            assert_eq!(shape(&quiet), shape(&loud), "{rate}");
        }
    }

    #[test]
    fn the_rate_is_that_of_the_budget() {
        for rate in [500_000, 4_000_000, 20_000_000, 300_000_000] {
            let mut engine = engine(NoiseRatio::OneToOne, rate);
            let mut log = Log::default();
            log.poll_until(&mut engine, at(10.0));
            let achieved = (log.real + log.noise) as f64 * BITS as f64 / 10.0 / rate as f64;
            assert!((achieved - 1.0).abs() < 0.02, "{rate}: {achieved}");
        }
    }

    #[test]
    fn the_ratio_is_a_floor_also_when_real_packets_queue_up() {
        for ratio in RATIOS {
            let mut engine = engine(ratio, 20_000_000);
            let mut log = Log::default();
            for n in 0..60_000 {
                log.arrive(&mut engine, at(f64::from(n) * 0.001), 10);
            }
            let (num, den) = ratio.fraction();
            let expected = log.real as f64 * f64::from(num) / f64::from(den);
            let bound = f64::from(crate::noise::ledger::BOUND * num) / f64::from(den) + 1.0;
            assert!(log.noise as f64 >= expected - bound, "{ratio}");
            assert!(log.dropped > 0, "what does not fit is dropped, not queued for ever");
            assert!(log.wait_ms(1.0) < 1_500.0, "{}", log.wait_ms(1.0));
        }
    }

    #[test]
    fn real_packets_wait_for_a_slot_only() {
        let mut engine = engine(NoiseRatio::OneToOne, 8_000_000);
        let mut log = Log::default();
        for n in 0..1_000 {
            log.arrive(&mut engine, at(1.0 + f64::from(n) * 0.0503), 1);
        }
        log.poll_until(&mut engine, at(60.0));
        let (_, slot) = engine.slots();
        assert!(log.wait_ms(1.0) <= (slot + LEAD).as_secs_f64() * 1e3 + 0.001);
        assert_eq!(log.dropped, 0);
    }

    #[test]
    fn a_late_machine_does_not_burst_for_long() {
        let mut engine = engine(NoiseRatio::OneToOne, 8_000_000);
        let release = engine.poll(at(10.0));
        let (packets, _) = engine.slots();
        assert_eq!(release.noise, packets * 5);
        assert!(engine.next_deadline(at(10.0)) > Some(at(9.999)));
        assert!(engine.poll(at(10.0)).is_empty());
    }
}
