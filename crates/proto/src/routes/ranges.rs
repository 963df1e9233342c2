//! Nested prefixes, flattened into disjoint ranges.

use super::NOBODY;

/// A prefix as the addresses that it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefix<A> {
    pub(super) first: A,
    pub(super) last: A,
    pub(super) len: u8,
    pub(super) value: u32,
}

/// Where a range starts and the value of all its addresses; it reaches to the next start, or to
/// the last address there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range<A> {
    pub(super) start: A,
    pub(super) value: u32,
}

/// The bits of an address.
pub(super) trait Bits: Copy + Ord + Default {
    /// How many there are.
    const BITS: u32;
    /// The next address; `None` after the last.
    fn after(self) -> Option<Self>;
    /// The address before; the first of all stays.
    fn before(self) -> Self;
    /// How many leading bits two addresses share.
    fn shared(self, other: Self) -> u32;
    /// The first `len` bits, zeros behind.
    fn head(self, len: u32) -> Self;
    /// The 6 bits from `position` on, which is at most `BITS` - 6.
    fn slot(self, position: u32) -> u32;
    /// The same with `slot` put into the 6 bits from `position` on, where zeros were.
    fn with_slot(self, position: u32, slot: u32) -> Self;
    /// Tells whether the first `len` bits, fewer than all, are those of `other`.
    fn starts_like(self, other: Self, len: u32) -> bool;
}

macro_rules! bits {
    ($type:ty) => {
        impl Bits for $type {
            const BITS: u32 = <$type>::BITS;

            fn after(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn before(self) -> Self {
                self.saturating_sub(1)
            }

            fn shared(self, other: Self) -> u32 {
                (self ^ other).leading_zeros()
            }

            fn head(self, len: u32) -> Self {
                self & !Self::MAX.checked_shr(len).unwrap_or(0)
            }

            #[inline]
            fn slot(self, position: u32) -> u32 {
                // the last 6 of these bits fit any type
                (self.wrapping_shr(Self::BITS - 6 - position) & 63) as u32
            }

            fn with_slot(self, position: u32, slot: u32) -> Self {
                self | Self::from(slot) << (Self::BITS - 6 - position)
            }

            #[inline]
            fn starts_like(self, other: Self, len: u32) -> bool {
                // in two steps, since no shift takes all bits
                (self ^ other).wrapping_shr(Self::BITS - 1 - len) >> 1 == 0
            }
        }
    };
}
bits!(u32);
bits!(u128);

/// Returns the ranges in order, from the first address on; neighbours differ in value.
///
/// Sweeps over the prefixes in order of their first address, outer before inner, with a stack of
/// the prefixes that are open at that address.
pub(super) fn flatten<A: Bits>(mut prefixes: Vec<Prefix<A>>) -> Vec<Range<A>> {
    // a stable sort, so that of equal prefixes the last given comes last and wins
    prefixes.sort_by_key(|prefix| (prefix.first, prefix.len));
    let mut ranges: Vec<Range<A>> = vec![Range { start: A::default(), value: NOBODY }];
    let mut emit = |start: A, value: u32| {
        if ranges.last().is_some_and(|last| last.start == start) {
            ranges.pop();
        }
        if ranges.last().is_none_or(|last| last.value != value) {
            ranges.push(Range { start, value });
        }
    };
    let mut open: Vec<(A, u32)> = Vec::new();
    for prefix in prefixes {
        while let Some(&(end, _)) = open.last() {
            if end >= prefix.first {
                break;
            }
            open.pop();
            if let Some(next) = end.after() {
                emit(next, open.last().map_or(NOBODY, |o| o.1));
            }
        }
        emit(prefix.first, prefix.value);
        open.push((prefix.last, prefix.value));
    }
    while let Some((end, _)) = open.pop() {
        if let Some(next) = end.after() {
            emit(next, open.last().map_or(NOBODY, |o| o.1));
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_prefixes_become_neighbours() {
        let prefix = |first, last, len, value| Prefix::<u32> { first, last, len, value };
        let flat = flatten(vec![
            prefix(16, 31, 28, 1),
            prefix(20, 23, 30, 2),
            prefix(20, 23, 30, 3),
            prefix(24, 24, 32, 1),
            prefix(u32::MAX, u32::MAX, 32, 4),
        ]);
        let flat: Vec<_> = flat.iter().map(|range| (range.start, range.value)).collect();
        let none = NOBODY;
        assert_eq!(flat, [(0, none), (16, 1), (20, 3), (24, 1), (32, none), (u32::MAX, 4)]);
        assert_eq!(flatten::<u128>(Vec::new()), [Range { start: 0, value: NOBODY }]);
    }

    #[test]
    fn bits_are_cut_where_asked() {
        let address = 0xfedc_ba98_u32;
        assert_eq!((address.head(0), address.head(8), address.head(32)), (0, 0xfe00_0000, address));
        assert_eq!((address.slot(0), address.slot(26)), (0x3f, 0x18));
        assert_eq!(0xfe00_0000_u32.with_slot(26, 0x18), 0xfe00_0018);
        assert!(address.starts_like(0, 0) && !address.starts_like(0, 1));
        assert!(address.starts_like(0xfedc_ba00, 24) && !address.starts_like(0xfedc_ba00, 26));
        assert_eq!((1_u128 << 127).slot(0), 0x20);
        assert!((1_u128 << 127).starts_like(0, 0) && !(1_u128 << 127).starts_like(0, 1));
    }
}
