//! Batched UDP datagrams with offload and graceful degradation.
//!
//! The crate moves many datagrams a system call and leaves everything else to its callers: it
//! knows no protocol (except one byte offset, in [`Socket::attach_lane_steering`]), no threads
//! and no runtime. Sockets never block.
//!
//! * [`Socket`] owns a descriptor and what is known of its offloads ([`Caps`]).
//! * [`TxBatch`] is an arena that datagrams are written into (`reserve` → fill → `commit`) and a
//!   list of *runs*: consecutive datagrams of equal length to one destination, only the last
//!   shorter. A run is one `sendmmsg` entry, cut into datagrams by the kernel (`UDP_SEGMENT`).
//! * [`RxBatch`] is a slab that `recvmmsg` fills. A message holds one datagram or, with
//!   `UDP_GRO`, several of one stride; callers open and use them where they lie.
//!
//! Every datagram carries its type-of-service byte (RFC 2474, RFC 3168) and the local address
//! that it was sent to or shall be sent from, so that answers leave from the address that was
//! spoken to.
//!
//! ```
//! use stadium_udp::{OnFull, Options, Path, RxBatch, Socket, TxBatch};
//!
//! let here = Socket::bind("127.0.0.1:0".parse()?, &Options::default())?;
//! let there = Socket::bind("127.0.0.1:0".parse()?, &Options::default())?;
//!
//! let mut tx = TxBatch::new(256 * 1024, 64);
//! let to = Path::to(there.local_addr());
//! for byte in 0..3u8 {
//!     let mut space = tx.reserve(100)?;
//!     space.fill(byte);
//!     space.commit(&to, 0);
//! }
//! let sent = tx.flush(&here, OnFull::Drop)?;
//! assert_eq!(sent.datagrams, 3);
//!
//! let mut rx = RxBatch::new(8);
//! there.wait_readable(std::time::Duration::from_secs(5))?;
//! rx.recv(&there)?;
//! let (messages, slab) = rx.split();
//! for message in messages {
//!     for datagram in message.datagrams() {
//!         assert_eq!(slab[datagram].len(), 100);
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod addr;
mod caps;
mod cmsg;
mod error;
mod flush;
mod group;
mod options;
mod route;
mod rx;
mod socket;
mod sys;
mod tx;

pub use addr::{LocalAddr, Path};
pub use caps::{Caps, MAX_DATAGRAM_V4, MAX_DATAGRAM_V6, MAX_RUN, MAX_SEGMENTS};
pub use error::{BindError, BindFault};
pub use flush::{Drops, Failure, FailureKind, OnFull, Sent, Sockets};
pub use group::bind_group;
pub use options::{DontFragment, Options};
pub use rx::{Message, RxBatch, RxCounters, SLOT};
pub use socket::Socket;
pub use tx::{Reservation, ReserveError, TxBatch};
