//! The TUN driver of Stadium: superpackets in and out.
//!
//! [`Device::create`] makes a TUN interface with tun-rs; its [`Queue`]s are non-blocking
//! descriptors to poll, read and write. With offload, the kernel hands over superpackets of up to
//! 64 KiB that it has not yet cut into segments, and takes such superpackets; a header says how
//! to cut them ([`stadium_packet::vnet`]). The driver copies nothing and interprets nothing: it
//! lends what it read, and writes what lies in several places with one call.
//!
//! Once made, a device is known by its descriptors alone: it may be renamed or moved to another
//! network namespace while it is used.
//!
//! ```no_run
//! use stadium_tun::{Device, Options, ReadBatch};
//!
//! let device = Device::create(&Options::named("stadium0"))?;
//! device.set_up()?;
//! let queue = &device.queues()[0];
//! let mut batch = ReadBatch::new(4);
//! let read = batch.fill(queue);
//! for superpacket in batch.superpackets() {
//!     println!("{:?}: {} bytes", superpacket.vnet()?, superpacket.packet.len());
//! }
//! read?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod claim;
mod device;
mod error;
mod offload;
mod queue;

pub use device::{Device, MAX_QUEUES, Options, validate_name};
pub use error::{CreateError, Fault};
pub use offload::Offload;
pub use queue::{MAX_SLICES, Queue, ReadBatch, Superpacket, SuperpacketBuf};
