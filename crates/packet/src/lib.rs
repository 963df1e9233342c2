//! Pure views of IP packets: checksums, segmentation, coalescing.
//!
//! This crate touches no file descriptor, no clock and no heap per packet: it reads bytes that the
//! caller has and writes into bytes that the caller lends.
//!
//! # The words
//!
//! - **packet**: one IP packet, as long as its header says.
//! - **superpacket**: what one read of a TUN device with a virtio-net header returns: one packet, or
//!   up to 64 KiB of TCP or UDP payload behind one set of headers, to be cut into packets.
//! - **segment**: one packet of the size of the tunnel's MTU that was cut from a superpacket.
//! - **run**: consecutive packets of one flow and of equal length, only the last may be shorter.
//!   Outbound, the segments of a superpacket are one run by construction, and one GSO send;
//!   inbound, a [`Run`] becomes a superpacket again, and one write to the TUN.
//! - **batch**: what one wake-up of a worker handles.
//! - **partial checksum**: the checksum field holds the sum of the pseudo header only, and whoever
//!   needs the rest fills it in ([`Checksum::Partial`]).
//!
//! # The way of a packet
//!
//! Outbound: [`VnetHdr::split`] → [`IpView::parse`] → route
//! by [`dst`](IpView::dst) → [`Segments::new`] → one
//! [`write`](Segments::write) for each segment, straight into the datagram that is sealed in
//! place: the only copy.
//!
//! Inbound: open in place → [`IpView::parse`], which cuts off filler → route by
//! [`src`](IpView::src) → [`Coalescer::push`] → a vectored write for
//! each run: no copy but of the headers.

pub mod checksum;
pub mod coalesce;
pub mod ecn;
pub mod ip;
pub mod segment;
pub mod too_big;
pub mod transport;
pub mod vnet;

pub use checksum::Checksum;
pub use coalesce::{Coalescer, Run};
pub use ip::IpView;
pub use segment::Segments;
pub use vnet::VnetHdr;
