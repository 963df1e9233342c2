//! Explicit congestion notification through a tunnel (RFC 6040).

/// Names the two ECN bits of a TOS byte or traffic class (RFC 3168 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ecn {
    /// The transport does not react to congestion marks.
    NotEct = 0b00,
    /// ECN-capable transport, codepoint 1.
    Ect1 = 0b01,
    /// ECN-capable transport, codepoint 0.
    Ect0 = 0b10,
    /// Congestion was experienced.
    Ce = 0b11,
}

impl Ecn {
    /// Reads the mark from a TOS byte or traffic class.
    #[inline]
    pub const fn of(tos: u8) -> Self {
        match tos & 0b11 {
            0b00 => Self::NotEct,
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// Returns `tos` with this mark in place of its own.
    #[inline]
    #[must_use]
    pub const fn on(self, tos: u8) -> u8 {
        tos & !0b11 | self as u8
    }

    /// Returns the mark that a packet leaves the tunnel with, from its own (`inner`) and that of the
    /// datagram which carried it (RFC 6040 §4.2, figure 4).
    ///
    /// `None`: congestion was experienced, but the transport inside cannot hear of it, so that the
    /// packet must be dropped.
    #[inline]
    pub const fn decapsulate(inner: Self, outer: Self) -> Option<Self> {
        match (inner, outer) {
            (Self::NotEct, Self::Ce) => None,
            (Self::NotEct, _) => Some(Self::NotEct),
            (_, Self::Ce) => Some(Self::Ce),
            (Self::Ect0, Self::Ect1) => Some(Self::Ect1),
            (inner, _) => Some(inner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ecn::{self, Ce, Ect0, Ect1, NotEct};

    #[test]
    fn decapsulates_as_in_figure_4_of_rfc_6040() {
        // rows: inner; columns: outer Not-ECT, ECT(0), ECT(1), CE
        let table = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ce, [Some(Ce), Some(Ce), Some(Ce), Some(Ce)]),
        ];
        for (inner, row) in table {
            for (outer, expected) in [NotEct, Ect0, Ect1, Ce].into_iter().zip(row) {
                assert_eq!(Ecn::decapsulate(inner, outer), expected, "{inner:?} in {outer:?}");
            }
        }
    }

    #[test]
    fn a_mark_keeps_the_dscp() {
        for tos in 0..=255 {
            for mark in [NotEct, Ect1, Ect0, Ce] {
                let marked = mark.on(tos);
                assert_eq!((marked >> 2, Ecn::of(marked)), (tos >> 2, mark));
            }
        }
    }
}
