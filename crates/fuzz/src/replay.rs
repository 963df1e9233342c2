//! The replay window (`protocol.md` §6) against a set of all sequences ever marked.

use std::collections::BTreeSet;

use stadium_proto::replay::{ReplayWindow, WINDOW};

use crate::input::Input;

/// Checks one input: a list of sequences, each near one seen before or anywhere.
///
/// # Panics
///
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut window, mut seen) = (ReplayWindow::default(), BTreeSet::new());
    let mut last = 0_u64;
    while !input.is_empty() {
        let sequence = match input.choice(6) {
            0 => last.saturating_add(1),
            1 => last.saturating_add(u64::from(input.byte())),
            2 => last.saturating_sub(u64::from(input.byte())),
            3 => last.saturating_add(WINDOW + u64::from(input.choice(3)) - 1),
            4 => last.saturating_sub(WINDOW - 1 + u64::from(input.choice(3))),
            _ => input.long(),
        };
        let sequence = sequence & (u64::MAX >> 8);
        let highest = seen.last().copied();
        let fresh = !seen.contains(&sequence);
        let want = fresh && highest.is_none_or(|h: u64| h.saturating_sub(sequence) < WINDOW);
        assert_eq!(window.accepts(sequence), want, "{sequence} after {highest:?}");
        assert_eq!(window.highest(), highest);
        // what was refused, or what did not open, is not marked
        if want && !input.flag() {
            let is_highest = window.mark(sequence);
            assert_eq!(is_highest, highest.is_none_or(|h| sequence > h));
            assert!(!window.accepts(sequence));
            seen.insert(sequence);
        }
        last = sequence;
    }
}
