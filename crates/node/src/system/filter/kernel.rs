//! Transactions with nf_tables, in the network namespace of the calling thread.
//!
//! A transaction takes the kernel milliseconds and is rare, so that the caller waits for it; the
//! wait is bounded.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::super::error::Errno;
use super::encode::{Batch, Verb, notice};
use super::{Filter, table_name};

/// How long the kernel may take.
const ANSWER: Duration = Duration::from_secs(10);

/// The kernel's name for an answer, good or bad.
const NLMSG_ERROR: u16 = 2;

/// Sets the filter of an interface; one that stands is replaced in the same transaction.
pub(in super::super) fn set(filter: &Filter) -> Result<(), Errno> {
    let table = table_name(&filter.interface);
    let mut batch = Batch::new();
    // made first, so that there is one to delete
    batch.make_table(&table);
    batch.delete_table(&table);
    batch.make_table(&table);
    for chain in filter.chains() {
        batch.make_chain(&table, &chain);
    }
    transact(batch)
}

/// Removes the filter of an interface.
pub(in super::super) fn remove(interface: &str) -> Result<(), Errno> {
    let mut batch = Batch::new();
    batch.delete_table(&table_name(interface));
    transact(batch)
}

/// Whether the filter of an interface stands; `None` where that cannot be asked.
pub(in super::super) fn has_table(interface: &str) -> Option<bool> {
    let ask = || {
        let socket = open(0, SocketFlags::empty())?;
        send(&socket, &Batch::question(&table_name(interface)))?;
        answers(&socket, 1)
    };
    match ask() {
        Ok(()) => Some(true),
        Err(Errno::NOENT) => Some(false),
        Err(_) => None,
    }
}

/// Whether this kernel has nf_tables, as far as can be told.
pub(in super::super) fn is_available() -> bool {
    let ask = || {
        let socket = open(0, SocketFlags::empty())?;
        send(&socket, &Batch::question("stadium"))?;
        answers(&socket, 1)
    };
    // without privilege nothing is told: it may well be there
    !matches!(
        ask(),
        Err(Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT | Errno::OPNOTSUPP | Errno::INVAL)
    )
}

/// Opens the stream of notices about tables that go, for [`is_removal`]; it does not block.
pub(in super::super) fn notices() -> Result<OwnedFd, Errno> {
    // NFNLGRP_NFTABLES is 7
    open(1 << 6, SocketFlags::NONBLOCK)
}

/// Reads notices until none is left; returns whether a table was removed, or may have been, and
/// none made after it: a filter that is set takes the place of the former in one transaction.
///
/// # Errors
/// When the socket fails for good.
pub(in super::super) fn is_removal(notices: &OwnedFd) -> Result<bool, Errno> {
    let mut buffer = vec![0; 1 << 16];
    let mut removed = false;
    loop {
        match rustix::net::recv(notices, buffer.as_mut_slice(), RecvFlags::empty()) {
            Ok((length, _)) => {
                for (kind, _) in messages(buffer.get(..length).unwrap_or_default()) {
                    if kind == notice(Verb::DeleteTable) {
                        removed = true;
                    } else if kind == notice(Verb::NewTable) {
                        removed = false;
                    }
                }
            }
            Err(rustix::io::Errno::AGAIN) => return Ok(removed),
            // notices were lost
            Err(rustix::io::Errno::NOBUFS) => removed = true,
            Err(error) => return Err(Errno(error.raw_os_error())),
        }
    }
}

fn open(groups: u32, flags: SocketFlags) -> Result<OwnedFd, Errno> {
    let opened = || {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | flags,
            Some(NETFILTER),
        )?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(ANSWER))?;
        Ok(socket)
    };
    opened().map_err(|error: rustix::io::Errno| Errno(error.raw_os_error()))
}

fn send(socket: &OwnedFd, bytes: &[u8]) -> Result<(), Errno> {
    match rustix::net::send(socket, bytes, SendFlags::empty()) {
        Ok(_) => Ok(()),
        Err(error) => Err(Errno(error.raw_os_error())),
    }
}

fn transact(batch: Batch) -> Result<(), Errno> {
    let socket = open(0, SocketFlags::empty())?;
    let due = batch.acknowledged;
    send(&socket, &batch.finish())?;
    answers(&socket, due)
}

/// Reads answers until all that are due have come, or the first one that says no.
fn answers(socket: &OwnedFd, mut due: usize) -> Result<(), Errno> {
    let mut buffer = vec![0; 1 << 16];
    while due > 0 {
        let read = rustix::net::recv(socket, buffer.as_mut_slice(), RecvFlags::empty());
        let length = match read {
            Ok((length, _)) => length,
            Err(rustix::io::Errno::AGAIN) => return Err(Errno::TIMEDOUT),
            Err(error) => return Err(Errno(error.raw_os_error())),
        };
        for (kind, code) in messages(buffer.get(..length).unwrap_or_default()) {
            if kind == NLMSG_ERROR {
                if code != 0 {
                    return Err(Errno(code.wrapping_abs()));
                }
                due = due.saturating_sub(1);
            }
        }
    }
    Ok(())
}

/// Splits what was received into messages: the type of each, and the number behind its header,
/// which in an answer says how it went.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = (u16, i32)> {
    std::iter::from_fn(move || {
        let (head, _) = rest.split_first_chunk::<20>()?;
        let size = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let kind = u16::from_ne_bytes([head[4], head[5]]);
        let code = i32::from_ne_bytes([head[16], head[17], head[18], head[19]]);
        rest = rest.get(size.max(20).next_multiple_of(4)..).unwrap_or_default();
        Some((kind, code))
    })
}
