//! A TUN interface: its making, its name, its few settings.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use tun_rs::{DeviceBuilder, SyncDevice};

use crate::claim::{self, Claim};
use crate::error::CreateError;
use crate::offload::{Offload, Refused};
use crate::queue::Queue;

/// The most queues of a device (the kernel's `MAX_TAP_QUEUES`).
pub const MAX_QUEUES: usize = 256;

/// How a device shall be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The name of the interface.
    pub name: String,
    /// The number of queues, at least 1. Every queue must be read, or the flows that the kernel
    /// gives to it starve.
    pub queues: usize,
    /// Uses what offload the kernel has; without it packets come and go one by one.
    pub offload: bool,
    /// The MTU in bytes; without it the kernel's default, 1,500.
    pub mtu: Option<u16>,
    /// The number of (super)packets that the kernel keeps for a queue; without it its default.
    pub tx_queue_len: Option<u32>,
}

impl Options {
    /// Asks for a device with one queue and all offload that there is.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), queues: 1, offload: true, mtu: None, tx_queue_len: None }
    }
}

/// Checks that `name` can name an interface: 1 to 15 of `a-z A-Z 0-9 _ = + . -`, and a file.
///
/// # Errors
///
/// [`CreateError::InvalidName`].
pub fn validate_name(name: &str) -> Result<(), CreateError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_=+.-".contains(&byte);
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > 15 {
        "it is longer than 15 characters"
    } else if name == "." || name == ".." {
        "it names a directory"
    } else if !name.bytes().all(allowed) {
        "it has a character that is not allowed"
    } else {
        return Ok(());
    };
    Err(CreateError::InvalidName { name: name.to_owned(), reason })
}

/// A TUN interface that this process made; it disappears with the last of its queues.
#[derive(Debug)]
pub struct Device {
    queues: Vec<Arc<Queue>>,
    offload: Offload,
    refused: Arc<Refused>,
    ifindex: u32,
}

impl Device {
    /// Makes an interface, down and without addresses, in the calling thread's namespace.
    ///
    /// An existing interface is never joined nor touched. Offload that the kernel lacks is done
    /// without: see [`Self::offload`].
    ///
    /// # Errors
    ///
    /// [`CreateError`] tells obstacle and remedy; nothing is left of the attempt.
    pub fn create(options: &Options) -> Result<Self, CreateError> {
        validate_name(&options.name)?;
        if options.queues == 0 || options.queues > MAX_QUEUES {
            return Err(CreateError::InvalidQueues { queues: options.queues });
        }
        match Self::attempt(options, options.offload) {
            // tun-rs gives up when the kernel lacks the offloads of TCP
            Err(CreateError::Other { step, source }) if options.offload => {
                tracing::debug!(%step, %source, "no offload for this TUN device");
                Self::attempt(options, false)
            }
            result => result,
        }
    }

    fn attempt(options: &Options, offload: bool) -> Result<Self, CreateError> {
        let name = &options.name;
        let claim = Claim::take(name, offload)?;
        let mut builder = DeviceBuilder::new()
            .name(name.as_str())
            .enable(false)
            .multi_queue(true)
            .packet_information(false)
            .offload(offload);
        if let Some(mtu) = options.mtu {
            builder = builder.mtu(mtu);
        }
        if let Some(len) = options.tx_queue_len {
            builder = builder.tx_queue_len(len);
        }
        let first = builder.build_sync().map_err(CreateError::other("set up the TUN interface"))?;
        let offload = Offload::of(&first);
        let ifindex =
            first.if_index().map_err(CreateError::other("find the index of the TUN interface"))?;
        let mut devices = vec![first];
        while devices.len() < options.queues {
            let next = devices[0]
                .try_clone()
                .map_err(CreateError::other("open one more queue of the TUN interface"))?;
            devices.push(next);
        }
        for device in &devices {
            device
                .set_nonblocking(true)
                .map_err(CreateError::other("make the TUN device non-blocking"))?;
        }
        // the queues keep the interface
        drop(claim);
        let refused = Arc::new(Refused::default());
        let queue = |device| Arc::new(Queue::new(device, offload, Arc::clone(&refused)));
        let queues = devices.into_iter().map(queue).collect();
        Ok(Self { queues, offload, refused, ifindex })
    }

    /// Returns the queues, to be shared with the workers; each must be read.
    #[must_use]
    pub fn queues(&self) -> &[Arc<Queue>] {
        &self.queues
    }

    /// Returns what the kernel does for this device, without what was given up.
    #[must_use]
    pub fn offload(&self) -> Offload {
        self.refused.of(self.offload)
    }

    /// Tells whether offload that the kernel had granted was given up since.
    #[must_use]
    pub fn has_given_up(&self) -> bool {
        self.refused.any()
    }

    /// Returns the index that the interface had when it was made.
    ///
    /// Moving the interface to another namespace may give it another.
    #[must_use]
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Returns the name that the interface has now, wherever it is.
    ///
    /// # Errors
    ///
    /// The kernel's: the interface may have been deleted.
    pub fn name(&self) -> io::Result<String> {
        self.first().name()
    }

    /// Tells whether the interface is in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// The kernel's: the interface may have been deleted.
    pub fn is_here(&self) -> io::Result<bool> {
        claim::is_here(self.first().as_fd())
    }

    /// Opens the network namespace that the interface is in now; needs `CAP_NET_ADMIN` there.
    ///
    /// # Errors
    ///
    /// The kernel's: the interface may have been deleted, or Linux be older than 5.2.
    pub fn namespace(&self) -> io::Result<OwnedFd> {
        claim::namespace_of(self.first().as_fd())
    }

    /// Brings the interface up.
    ///
    /// # Errors
    ///
    /// The kernel's, and `Unsupported` when the interface is in another network namespace.
    pub fn set_up(&self) -> io::Result<()> {
        self.here()?.enabled(true)
    }

    /// Takes the interface down.
    ///
    /// # Errors
    ///
    /// As for [`Self::set_up`].
    pub fn set_down(&self) -> io::Result<()> {
        self.here()?.enabled(false)
    }

    /// Returns the MTU in bytes.
    ///
    /// # Errors
    ///
    /// As for [`Self::set_up`].
    pub fn mtu(&self) -> io::Result<u16> {
        self.here()?.mtu()
    }

    /// Changes the MTU, in bytes.
    ///
    /// # Errors
    ///
    /// As for [`Self::set_up`].
    pub fn set_mtu(&self, mtu: u16) -> io::Result<()> {
        self.here()?.set_mtu(mtu)
    }

    fn first(&self) -> &SyncDevice {
        // `create` makes at least one queue
        self.queues[0].device()
    }

    /// Lends the device for settings by name, which elsewhere could be someone else's.
    fn here(&self) -> io::Result<&SyncDevice> {
        if self.is_here()? {
            Ok(self.first())
        } else {
            Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the interface was moved to another network namespace and can only be set up there",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for name in ["a", "stadium0", "wg-like_=+.9", "123456789012345", "...", "0"] {
            assert!(validate_name(name).is_ok(), "{name}");
        }
        for name in
            ["", ".", "..", "1234567890123456", "a b", "a/b", "tun%d", "a:1", "ä", "a\0", "a\n"]
        {
            let error = validate_name(name).unwrap_err();
            assert!(matches!(error, CreateError::InvalidName { .. }), "{name:?}");
            assert!(!error.to_string().contains('\n'));
        }
    }

    #[test]
    fn numbers_of_queues_are_checked() {
        for queues in [0, MAX_QUEUES + 1] {
            let error = Device::create(&Options { queues, ..Options::named("x") }).unwrap_err();
            assert!(matches!(error, CreateError::InvalidQueues { .. }));
            assert!(error.to_string().contains("1 to 256"));
        }
    }
}
