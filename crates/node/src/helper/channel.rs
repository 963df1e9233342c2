//! Messages and file descriptors between two processes.
//!
//! A `SOCK_SEQPACKET` pair keeps messages apart and tells when the other side is gone. Messages
//! are JSON of at most [`MAX_MESSAGE`] bytes; a longer one is refused before it is sent.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The longest message in bytes, below what a socket buffer of the default size takes.
const MAX_MESSAGE: usize = 160 << 10;

/// The most descriptors that one message carries; the kernel takes 253.
pub(super) const MAX_DESCRIPTORS: usize = 64;

/// One end of the channel.
#[derive(Debug)]
pub(super) struct Channel {
    socket: AsyncFd<OwnedFd>,
}

/// Makes the two ends; neither survives an `exec` unless it is handed over.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

impl Channel {
    /// Takes one end; must be called inside a tokio runtime.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        // safe for what owns its descriptor and keeps it, as `OwnedFd` does
        #[expect(deprecated, reason = "its successor is unsafe, for other types than this one")]
        let socket = AsyncFd::new(socket)?;
        Ok(Self { socket })
    }

    /// Sends a message with descriptors.
    pub(super) async fn send(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        if text.len() > MAX_MESSAGE || descriptors.len() > MAX_DESCRIPTORS {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a message of {} bytes is too long", text.len()),
            ));
        }
        self.socket
            .async_io(Interest::WRITABLE, |socket| send_now(socket.as_fd(), &text, descriptors))
            .await
    }

    /// Receives a message; `None` when the other side is gone.
    pub(super) async fn receive<T: DeserializeOwned>(
        &self,
    ) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut text = vec![0; MAX_MESSAGE];
        let (length, descriptors) = self
            .socket
            .async_io(Interest::READABLE, |socket| receive_now(socket.as_fd(), &mut text))
            .await?;
        if length == 0 {
            return Ok(None);
        }
        let message = serde_json::from_slice(text.get(..length).unwrap_or_default())?;
        Ok(Some((message, descriptors)))
    }
}

fn send_now(socket: BorrowedFd<'_>, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let rights = SendAncillaryMessage::ScmRights(descriptors);
    let mut space = vec![MaybeUninit::uninit(); rights.size()];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(rights);
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(text)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive_now(socket: BorrowedFd<'_>, text: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(text)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = rustix::net::recvmsg(socket, &mut parts, &mut ancillary, flags)?;
    if got.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
    }
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok((got.bytes, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_channel<F: Future<Output = ()>>(test: impl FnOnce(Channel, Channel) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (one, other) = pair().unwrap();
            test(Channel::new(one).unwrap(), Channel::new(other).unwrap()).await;
        });
    }

    #[test]
    fn messages_keep_apart_and_carry_descriptors() {
        with_channel(|one, other| async move {
            let file = tempfile();
            one.send(&"first", &[]).await.unwrap();
            one.send(&"second", &[file.as_fd()]).await.unwrap();
            drop(one);
            let (text, none) = other.receive::<String>().await.unwrap().unwrap();
            assert_eq!((text.as_str(), none.len()), ("first", 0));
            let (text, one) = other.receive::<String>().await.unwrap().unwrap();
            assert_eq!((text.as_str(), one.len()), ("second", 1));
            // it is the same file
            let inode = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).unwrap().st_ino;
            assert_eq!(inode(one[0].as_fd()), inode(file.as_fd()));
            assert!(other.receive::<String>().await.unwrap().is_none(), "the other side is gone");
        });
    }

    fn tempfile() -> std::fs::File {
        std::fs::File::open("/proc/self/status").unwrap()
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_sent() {
        with_channel(|one, other| async move {
            let long = "x".repeat(MAX_MESSAGE);
            let error = one.send(&long, &[]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            let fits = "x".repeat(MAX_MESSAGE - 2);
            one.send(&fits, &[]).await.unwrap();
            assert_eq!(other.receive::<String>().await.unwrap().unwrap().0, fits);
        });
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        with_channel(|one, other| async move {
            one.send(&7, &[]).await.unwrap();
            assert!(other.receive::<String>().await.is_err());
        });
    }
}
