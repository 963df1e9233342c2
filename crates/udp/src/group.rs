//! Several sockets on one port, one a worker.

use std::io;
use std::net::SocketAddr;

use crate::error::{BindError, BindFault};
use crate::options::Options;
use crate::socket::Socket;
use crate::sys;

/// The first byte of a DATA datagram (`protocol.md` section 2).
const DATA: u32 = 0x04;

/// Where a DATA datagram holds its lane: the top byte of the little-endian counter at 8.
const LANE_AT: u32 = 15;

/// Binds `count` sockets to one address and port, so that the kernel spreads flows over them.
///
/// With port 0 the kernel chooses for the first, and the others follow. `SO_REUSEPORT` would let
/// the first socket join the group of another program of the same user, so it is bound without
/// and shares its port only once it holds it: there is no moment between looking and taking.
/// Even a group of one shares its port, for the sake of [`Socket::bind_sender`].
///
/// # Errors
///
/// [`BindError`], in particular [`BindFault::InUse`] when anyone else holds the port, also as a
/// `SO_REUSEPORT` group. Nothing stays bound after an error.
pub fn bind_group(
    addr: SocketAddr,
    count: usize,
    options: &Options,
) -> Result<Vec<Socket>, BindError> {
    let other = |error| BindError::new(addr, BindFault::Other, error);
    if count == 0 {
        return Err(other(io::Error::new(io::ErrorKind::InvalidInput, "a group has sockets")));
    }
    let mut sockets = Vec::with_capacity(count);
    let alone = Options { reuse_port: false, ..options.clone() };
    let first = Socket::bind(addr, &alone)?;
    first.allow_reuse_port().map_err(other)?;
    let mut taken = addr;
    taken.set_port(first.local_addr().port());
    sockets.push(first);
    let shared = Options { reuse_port: true, ..options.clone() };
    while sockets.len() < count {
        sockets.push(Socket::bind(taken, &shared)?);
    }
    Ok(sockets)
}

impl Socket {
    /// Has the kernel choose the socket of this group by the lane of a DATA datagram.
    ///
    /// Without it the kernel chooses by addresses and ports, so that all that one peer sends ends
    /// up with one worker. With it, lane `n` goes to socket `n` modulo `count` in the order of
    /// binding, and whatever is not DATA to the first. It is a hint and no guarantee: offload may
    /// merge datagrams of several lanes before the choice. `count` is the size of the group.
    ///
    /// # Errors
    ///
    /// The kernel's, for example in a sandbox without BPF; then the choice stays as it was.
    pub fn attach_lane_steering(&self, count: u32) -> io::Result<()> {
        if count == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let op =
            |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
        // offsets count from the UDP payload; a load beyond its end ends the program with 0
        let mut program = [
            op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 0),
            op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, DATA, 0, 3),
            op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, LANE_AT, 0, 0),
            op(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, count, 0, 0),
            op(libc::BPF_RET | libc::BPF_A, 0, 0, 0),
            op(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        ];
        sys::attach_reuseport_filter(self, &mut program)
    }
}
