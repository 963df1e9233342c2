//! What a socket can have the kernel do, as probed and as learnt from failures.

use std::sync::atomic::{AtomicBool, Ordering};

/// The most datagrams in a run: what every kernel with `UDP_SEGMENT` takes (4.18 and later).
pub const MAX_SEGMENTS: usize = 64;

/// The most UDP payload bytes that fit an IPv4 packet: 65,535 less 20 and 8.
pub const MAX_DATAGRAM_V4: usize = 65_507;

/// The most UDP payload bytes that fit an IPv6 packet without jumbograms: 65,535 less 8.
pub const MAX_DATAGRAM_V6: usize = 65_527;

/// The most UDP payload bytes in a run.
///
/// A device takes a run whole only while all of it, link header included, stays below 65,536
/// bytes (`gso_max_size`); one byte more, and the kernel cuts it into datagrams long before the
/// device, which costs more than half of the throughput. So 48 bytes are left for IPv6 and UDP,
/// and 80 for whatever links put before them.
pub const MAX_RUN: usize = 65_536 - 48 - 80;

/// The offloads of one socket.
///
/// A probe only tells that the kernel knows an option. Whether sending works also depends on the
/// device that a route leads to, so a failing send clears the capability for this socket alone,
/// for good, and the same bytes go out singly. Reads and writes are relaxed atomics: a stale
/// value costs one failed system call, never a datagram.
#[derive(Debug, Default)]
pub struct Caps {
    gso: AtomicBool,
    gro: AtomicBool,
}

impl Caps {
    pub(crate) fn new(gso: bool, gro: bool) -> Self {
        Self { gso: AtomicBool::new(gso), gro: AtomicBool::new(gro) }
    }

    /// Tells whether runs are handed to the kernel whole (`UDP_SEGMENT`).
    #[must_use]
    pub fn gso(&self) -> bool {
        self.gso.load(Ordering::Relaxed)
    }

    /// Tells whether the kernel may hand over several datagrams as one message (`UDP_GRO`).
    #[must_use]
    pub fn gro(&self) -> bool {
        self.gro.load(Ordering::Relaxed)
    }

    /// Stops using `UDP_SEGMENT` on this socket.
    pub fn disable_gso(&self) {
        self.gso.store(false, Ordering::Relaxed);
    }
}
