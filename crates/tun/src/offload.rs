//! What the kernel does for a device.

use std::sync::atomic::{AtomicBool, Ordering};

use stadium_packet::vnet::Gso;
use tun_rs::SyncDevice;

/// The offloads of a device, as the kernel granted them when it was made.
///
/// They are granted in this order: TCP needs checksums, UDP needs TCP. That the kernel takes
/// superpackets in principle does not mean that it takes each: see [`crate::Fault::Refused`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Packets may come and go with a partial checksum (`TUN_F_CSUM`), and have a header that
    /// says so.
    pub csum: bool,
    /// Superpackets of TCP over both families (`TUN_F_TSO4`, `TUN_F_TSO6`).
    pub tso: bool,
    /// Superpackets of UDP over both families (`TUN_F_USO4`, `TUN_F_USO6`, Linux 6.2).
    pub uso: bool,
}

impl Offload {
    pub(crate) fn of(device: &SyncDevice) -> Self {
        let tso = device.tcp_gso();
        Self { csum: tso, tso, uso: device.udp_gso() }
    }

    /// Tells whether each packet has a header before it on the descriptor.
    #[must_use]
    pub fn has_header(&self) -> bool {
        self.csum
    }
}

/// What the kernel granted and then refused in use; the queues of a device share it.
///
/// A flag is only ever set. A reader that sees it late writes one more superpacket in vain.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    tcp: AtomicBool,
    udp: AtomicBool,
}

impl Refused {
    /// Notes that superpackets of a kind are refused.
    pub(crate) fn note(&self, gso: Gso) {
        match gso {
            Gso::TcpV4 | Gso::TcpV6 => self.tcp.store(true, Ordering::Relaxed),
            Gso::UdpL4 => self.udp.store(true, Ordering::Relaxed),
            Gso::None => {}
        }
    }

    /// Tells whether anything was refused.
    pub(crate) fn any(&self) -> bool {
        self.tcp.load(Ordering::Relaxed) || self.udp.load(Ordering::Relaxed)
    }

    /// Returns what is left of what was granted.
    pub(crate) fn of(&self, granted: Offload) -> Offload {
        Offload {
            csum: granted.csum,
            tso: granted.tso && !self.tcp.load(Ordering::Relaxed),
            uso: granted.uso && !self.udp.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_gone_and_nothing_else() {
        let granted = Offload { csum: true, tso: true, uso: true };
        let refused = Refused::default();
        refused.note(Gso::None);
        assert!(!refused.any());
        assert_eq!(refused.of(granted), granted);
        refused.note(Gso::UdpL4);
        assert!(refused.any());
        assert_eq!(refused.of(granted), Offload { uso: false, ..granted });
        refused.note(Gso::TcpV6);
        assert_eq!(refused.of(granted), Offload { tso: false, uso: false, ..granted });
        assert_eq!(refused.of(Offload::default()), Offload::default());
    }
}
