//! The engine that runs state machines: maybenot's, from a file (`noise.md` §4).
//!
//! A machine sees that packets came and went, and asks for padding, for blocking, or for a timer.
//! The agreed ratio is the most noise that machines get: the framework is told r / (1 + r) as the
//! share of padding, and the ledger holds what machines allow themselves beyond that. Real packets
//! that a machine blocks wait in order, [`LONGEST_BLOCK`] at most, and go at once where the queue
//! is full. There are no ticks: when packets go is what machines are there to decide.
//!
//! Machines know no sizes, so that this engine wants full filler, which the peer file enforces.

use super::{Arrival, EngineParams, LONGEST_BLOCK, NoiseEngine, Release};
use crate::noise::{Ledger, LedgerCounts, NoiseRng};
use crate::time::Instant;
use core::time::Duration;
use maybenot::{Framework, Machine, MachineId, Timer, TriggerAction, TriggerEvent};

/// The most packets that wait.
const MOST_HELD: u32 = 1_024;
/// The most noise packets of one release; the rest is lost to the machine that asked.
const MOST_AT_ONCE: u32 = 64;
/// Rounds in which machines answer what they caused themselves, before they are cut short.
const MOST_ROUNDS: usize = 16;
/// Timers that run out in one release.
const MOST_TIMERS: usize = 256;
/// Events of one kind that a machine hears of at once.
const MOST_EVENTS: u32 = 256;
/// How often the engine looks what has come from the peer, while there is traffic and else.
const LISTENS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));
/// There is traffic until so long after the last packet.
const ACTIVE: Duration = Duration::from_secs(2);

/// Time, as the framework wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment(Instant);

/// A time span in nanoseconds, as the framework wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
struct Span(u64);

impl maybenot::time::Instant for Moment {
    type Duration = Span;

    fn saturating_duration_since(&self, earlier: Self) -> Span {
        Span(self.0.as_nanos().saturating_sub(earlier.0.as_nanos()))
    }
}

impl core::ops::AddAssign for Span {
    fn add_assign(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

impl maybenot::time::Duration for Span {
    fn zero() -> Self {
        Self(0)
    }

    fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    fn is_zero(&self) -> bool {
        self.0 == 0
    }

    fn div_duration_f64(self, other: Self) -> f64 {
        self.0 as f64 / other.0 as f64
    }
}

/// Randomness, as the framework wants it.
#[derive(Debug)]
struct Dice(NoiseRng);

impl rand_core::RngCore for Dice {
    fn next_u32(&mut self) -> u32 {
        self.0.word()
    }

    fn next_u64(&mut self) -> u64 {
        u64::from(self.0.word()) << 32 | u64::from(self.0.word())
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(4) {
            let word = self.0.word().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// What one machine has under way.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    action: Option<(Instant, Pending)>,
    timer: Option<Instant>,
}

/// What happens when a machine's action timer runs out.
#[derive(Clone, Copy, Debug)]
enum Pending {
    Pad { bypass: bool, replace: bool },
    Block { length: Duration, bypass: bool, replace: bool },
}

/// Outgoing traffic is blocked.
#[derive(Clone, Copy, Debug)]
struct Blocking {
    until: Instant,
    bypass: bool,
}

/// Runs machines.
#[derive(Debug)]
pub struct MachineEngine {
    framework: Framework<Vec<Machine>, Dice, Moment>,
    ledger: Ledger,
    slots: Vec<Slot>,
    blocking: Option<Blocking>,
    events: Vec<TriggerEvent>,
    actions: Vec<TriggerAction<Moment>>,
    held: u32,
    /// Since when packets wait.
    held_since: Instant,
    /// Noise that waits for the end of the blocking.
    blocked_noise: u32,
    /// When the engine looked last, and when there was a packet last.
    at: Instant,
    active: Instant,
}

impl MachineEngine {
    /// Makes the engine.
    #[must_use]
    pub fn new(params: EngineParams<'_>, now: Instant) -> Self {
        let EngineParams { ratio, share, machines, private, .. } = params;
        let ledger = Ledger::new(ratio, share);
        // they were parsed when they were read
        let machines: Vec<Machine> = machines.iter().filter_map(|text| text.parse().ok()).collect();
        let slots = vec![Slot::default(); machines.len()];
        let padding = ledger.ratio() / (1.0 + ledger.ratio());
        // 0.0 would mean no limit: a ratio of 0 has no engine, so that it is never that
        let framework = Framework::new(machines, padding, 1.0, Moment(now), Dice(private));
        Self {
            framework: framework.expect("machines that are valid, and shares below 1"),
            ledger,
            slots,
            blocking: None,
            events: Vec::with_capacity(2 * MOST_EVENTS as usize),
            actions: Vec::new(),
            held: 0,
            held_since: now,
            blocked_noise: 0,
            at: now,
            active: now,
        }
    }

    /// Tells the machines of the events that have gathered, and takes up what they ask for.
    fn settle(&mut self, now: Instant) {
        for _ in 0..MOST_ROUNDS {
            if self.events.is_empty() {
                return;
            }
            self.actions.clear();
            let asked = self.framework.trigger_events(&self.events, Moment(now));
            self.actions.extend(asked.cloned());
            self.events.clear();
            while let Some(action) = self.actions.pop() {
                self.take_up(now, action);
            }
        }
        // machines that set each other off without end
        self.events.clear();
    }

    fn take_up(&mut self, now: Instant, action: TriggerAction<Moment>) {
        let after = |span: Span| now.saturating_add(Duration::from_nanos(span.0));
        match action {
            TriggerAction::Cancel { machine, timer } => {
                let Some(slot) = self.slots.get_mut(machine.into_raw()) else { return };
                if matches!(timer, Timer::Action | Timer::All) {
                    slot.action = None;
                }
                if matches!(timer, Timer::Internal | Timer::All) {
                    slot.timer = None;
                }
            }
            TriggerAction::SendPadding { timeout, bypass, replace, machine } => {
                let Some(slot) = self.slots.get_mut(machine.into_raw()) else { return };
                slot.action = Some((after(timeout), Pending::Pad { bypass, replace }));
            }
            TriggerAction::BlockOutgoing { timeout, duration, bypass, replace, machine } => {
                let Some(slot) = self.slots.get_mut(machine.into_raw()) else { return };
                let length = Duration::from_nanos(duration.0);
                let block = Pending::Block { length, bypass, replace };
                slot.action = Some((after(timeout), block));
            }
            TriggerAction::UpdateTimer { duration, replace, machine } => {
                let Some(slot) = self.slots.get_mut(machine.into_raw()) else { return };
                let end = after(duration);
                let longer = slot.timer.is_none_or(|old| end > old);
                if replace || longer {
                    slot.timer = Some(end);
                }
                self.events.push(TriggerEvent::TimerBegin { machine });
            }
        }
    }

    /// Carries out what a machine had asked for; returns what goes out because of it.
    fn carry_out(&mut self, now: Instant, machine: usize, pending: Pending) -> Release {
        let machine = MachineId::from_raw(machine);
        let mut out = Release::default();
        match pending {
            Pending::Block { length, bypass, replace } => {
                let until = now.saturating_add(length);
                let longer = self.blocking.is_none_or(|blocking| until > blocking.until);
                if replace || longer {
                    self.blocking = Some(Blocking { until, bypass });
                }
                self.events.push(TriggerEvent::BlockingBegin { machine });
            }
            Pending::Pad { bypass, replace } => {
                let blocks = self.blocking.filter(|blocking| blocking.until > now);
                let passes = blocks.is_none_or(|blocking| blocking.bypass && bypass);
                let waits = self.held + self.blocked_noise > 0;
                if replace && waits {
                    // a packet that waits goes in its place, if it may go
                    if passes && self.held > 0 {
                        out.real = 1;
                        self.held -= 1;
                    } else if passes {
                        out.noise = 1;
                        self.blocked_noise -= 1;
                    }
                } else if self.ledger.take(1) == 1 {
                    if passes {
                        out.noise = 1;
                    } else {
                        self.blocked_noise += 1;
                    }
                }
                // also where another packet took its place, or the ratio did not allow it
                self.events.push(TriggerEvent::PaddingSent { machine });
                self.tunnel_sent(out.real + out.noise);
            }
        }
        out
    }

    fn tunnel_sent(&mut self, n: u32) {
        self.events.extend((0..n.min(MOST_EVENTS)).map(|_| TriggerEvent::TunnelSent));
    }

    /// Takes all that waits.
    fn take_all(&mut self) -> Release {
        let real = core::mem::take(&mut self.held);
        let noise = core::mem::take(&mut self.blocked_noise);
        self.tunnel_sent(real + noise);
        Release { real, noise, at: None }
    }

    /// Returns the machine whose timer runs out first, and when.
    fn earliest(&self) -> Option<(Instant, usize, bool)> {
        let of = |(machine, slot): (usize, &Slot)| {
            let action = slot.action.map(|(at, _)| (at, machine, true));
            let timer = slot.timer.map(|at| (at, machine, false));
            [action, timer].into_iter().flatten().min()
        };
        self.slots.iter().enumerate().filter_map(of).min()
    }

    fn overdue_at(&self) -> Option<Instant> {
        (self.held > 0).then(|| self.held_since.saturating_add(LONGEST_BLOCK))
    }
}

impl NoiseEngine for MachineEngine {
    fn on_real(&mut self, now: Instant, n: u32) -> Arrival {
        self.active = self.active.max(now);
        // machines decide what goes along: what they leave out is not owed
        let due = self.ledger.real(n);
        self.ledger.shed(due);
        self.events.extend((0..n.min(MOST_EVENTS)).map(|_| TriggerEvent::NormalSent));
        let blocked = self.blocking.is_some_and(|blocking| blocking.until > now);
        if blocked && self.held + n <= MOST_HELD {
            if self.held == 0 {
                self.held_since = now;
            }
            self.held += n;
            self.settle(now);
            return Arrival::Hold(n);
        }
        let Release { noise, .. } = self.take_all();
        self.tunnel_sent(n);
        self.settle(now);
        Arrival::Send { noise }
    }

    fn on_peer(&mut self, now: Instant, real: u32, noise: u32) {
        self.active = self.active.max(now);
        for (n, event) in [(real, TriggerEvent::NormalRecv), (noise, TriggerEvent::PaddingRecv)] {
            for _ in 0..n.min(MOST_EVENTS) {
                self.events.push(TriggerEvent::TunnelRecv);
                self.events.push(event.clone());
            }
        }
        self.settle(now);
    }

    fn on_refused(&mut self, noise: u32) {
        self.ledger.refused(noise);
    }

    fn on_shed(&mut self, noise: u32) {
        self.ledger.shed(noise);
    }

    fn on_dropped(&mut self) {
        self.held = 0;
        self.ledger.refused(core::mem::take(&mut self.blocked_noise));
    }

    // machines know no sessions
    fn rekey(&mut self, _now: Instant, _seed: &[u8; 32], _start: Instant) {}

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let (busy, quiet) = LISTENS;
        let listens = if now.saturating_since(self.active) < ACTIVE { busy } else { quiet };
        let timer = self.earliest().map(|(at, ..)| at);
        let unblocks = self.blocking.map(|blocking| blocking.until);
        let listen = self.at.saturating_add(listens);
        [timer, unblocks, self.overdue_at(), Some(listen)].into_iter().flatten().min()
    }

    fn poll(&mut self, now: Instant) -> Release {
        self.at = self.at.max(now);
        let mut out = Release::default();
        for _ in 0..MOST_TIMERS {
            let unblocks = self.blocking.map(|blocking| blocking.until);
            let next = self.earliest().filter(|(at, ..)| *at <= now);
            if unblocks.is_some_and(|at| at <= now && next.is_none_or(|(timer, ..)| at <= timer)) {
                self.blocking = None;
                self.events.push(TriggerEvent::BlockingEnd);
                let all = self.take_all();
                out.real += all.real;
                out.noise += all.noise;
            } else if let Some((_, machine, is_action)) = next {
                let slot = &mut self.slots[machine];
                if !is_action {
                    slot.timer = None;
                    let machine = MachineId::from_raw(machine);
                    self.events.push(TriggerEvent::TimerEnd { machine });
                } else if let Some((_, pending)) = slot.action.take() {
                    let done = self.carry_out(now, machine, pending);
                    out.real += done.real;
                    out.noise += done.noise;
                }
            } else {
                break;
            }
            self.settle(now);
            if out.noise >= MOST_AT_ONCE {
                break;
            }
        }
        if self.overdue_at().is_some_and(|at| at <= now) {
            let all = self.take_all();
            out.real += all.real;
            out.noise += all.noise;
            self.settle(now);
        }
        out
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
    use super::super::machine_testing::{gate, greedy, idle, machines, tail, wall};
    use super::super::testing::{Log, RATIOS, at, params};
    use super::*;
    use crate::noise::NoiseRatio;

    fn engine(ratio: NoiseRatio, texts: &[&str], seed: u8) -> MachineEngine {
        let machines = machines(texts);
        let params = EngineParams { machines: &machines, ..params(ratio, None, seed) };
        MachineEngine::new(params, Instant::ZERO)
    }

    fn packets(engine: &mut MachineEngine, n: u32, spacing: f64, run: u32) -> Log {
        let mut log = Log::default();
        for packet in 0..n {
            log.arrive(engine, at(1.0 + f64::from(packet) * spacing), run);
        }
        log.poll_until(engine, at(2.0 + f64::from(n) * spacing));
        log
    }

    #[test]
    fn the_ratio_is_the_most_that_a_greedy_machine_gets() {
        for (n, ratio) in RATIOS.into_iter().enumerate() {
            let mut engine = engine(ratio, &[greedy()], n as u8);
            let log = packets(&mut engine, 10_000, 0.004, 10);
            let most = log.real as f64 * engine.ledger.ratio();
            let ahead = f64::from(crate::noise::ledger::BOUND) * engine.ledger.ratio() + 1.0;
            assert!(log.noise as f64 <= most + ahead, "{ratio}: {} for {most}", log.noise);
            assert_eq!(log.real, 100_000, "nothing is lost");
        }
    }

    #[test]
    fn padding_follows_traffic_within_the_share() {
        let mut engine = engine(NoiseRatio::OneToOne, &[tail()], 1);
        let mut log = packets(&mut engine, 2_000, 0.05, 2);
        assert!(log.noise > 1_000, "{}", log.noise);
        assert!(log.noise <= log.real + 480, "{} and {}", log.noise, log.real);
        assert_eq!(log.wait_ms(1.0), 0.0, "no machine blocks");
        // a quiet end that only receives pads as well
        let before = engine.counts().noise;
        for n in 0..100 {
            engine.on_peer(at(200.0 + f64::from(n) * 0.05), 1, 0);
            let _ = engine.poll(at(200.03 + f64::from(n) * 0.05));
        }
        assert!(engine.counts().noise > before + 20);
    }

    #[test]
    fn a_gate_lets_packets_through_in_its_own_time_and_in_order() {
        let mut engine = engine(NoiseRatio::FourToOne, &[gate()], 2);
        let mut log = packets(&mut engine, 2_000, 0.0007, 1);
        assert_eq!(log.real, 2_000);
        assert!(log.wait_ms(1.0) <= 5.1, "{}", log.wait_ms(1.0));
        assert!(log.wait_ms(0.9) > 1.0, "{}", log.wait_ms(0.9));
    }

    #[test]
    fn a_wall_holds_for_a_second_at_most_and_a_full_queue_opens_it() {
        let mut engine = engine(NoiseRatio::OneToOne, &[wall()], 3);
        let mut log = packets(&mut engine, 100, 0.01, 1);
        assert_eq!((log.real, log.dropped), (100, 0));
        let most = LONGEST_BLOCK.as_secs_f64() * 1e3;
        assert!(log.wait_ms(1.0) <= most + 0.001, "{}", log.wait_ms(1.0));
        let mut log = Log::default();
        for _ in 0..100 {
            log.arrive(&mut engine, at(10.0), 60);
        }
        assert!(engine.held() <= MOST_HELD);
        assert!(log.real > 4_000, "{}", log.real);
    }

    #[test]
    fn an_idle_machine_sends_nothing_and_several_run_beside_each_other() {
        let log = packets(&mut engine(NoiseRatio::OneToOne, &[idle()], 4), 500, 0.01, 3);
        assert_eq!((log.real, log.noise), (1_500, 0));
        let log =
            packets(&mut engine(NoiseRatio::OneToOne, &[idle(), tail(), gate()], 5), 500, 0.01, 3);
        assert_eq!(log.real, 1_500);
        assert!(log.noise > 0);
    }

    #[test]
    fn what_was_dropped_is_not_sent_later() {
        let mut engine = engine(NoiseRatio::OneToOne, &[wall()], 6);
        let _ = engine.on_real(at(1.0), 5);
        let _ = engine.poll(at(1.0));
        let _ = engine.on_real(at(1.001), 5);
        assert_eq!(engine.held(), 5);
        engine.on_dropped();
        assert_eq!(engine.held(), 0);
        assert!(engine.poll(at(5.0)).is_empty());
    }
}
