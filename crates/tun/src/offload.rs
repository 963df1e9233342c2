//! What the kernel does for a device.

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
