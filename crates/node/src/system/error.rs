//! What can go wrong with the system, said once and clearly.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Classifies a [`SystemError`], so that callers can react without reading its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The process lacks a privilege, usually `CAP_NET_ADMIN`.
    Permission,
    /// Something of that name, number or prefix is there already and is not ours.
    Exists,
    /// What the operation names is not there (any more).
    Absent,
    /// A living daemon already runs this interface.
    Running,
    /// The peer file asks for what this machine or this version cannot do.
    Unsupported,
    /// A hook failed, took too long or may not run.
    Hook,
    /// Anything else the kernel or the file system reported.
    Other,
}

/// One failed change to the system: what was tried, why it failed, what to do.
///
/// Plain data, so that a privileged helper can hand it back over a pipe.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SystemError {
    /// The class of the failure.
    pub kind: ErrorKind,
    /// What was tried and what happened, without a full stop.
    pub message: String,
    /// What the operator can do about it, where that is known.
    pub remedy: Option<String>,
}

impl SystemError {
    /// Builds an error without a remedy.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), remedy: None }
    }

    /// Adds what the operator can do about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Builds the error of a system call that failed while doing `what`.
    pub(crate) fn from_errno(what: impl fmt::Display, errno: Errno) -> Self {
        let (kind, remedy) = match errno {
            Errno::PERM | Errno::ACCESS => (
                ErrorKind::Permission,
                Some("this needs CAP_NET_ADMIN: run as root or with sudo".to_owned()),
            ),
            Errno::EXIST => (ErrorKind::Exists, None),
            Errno::NODEV | Errno::NXIO | Errno::SRCH | Errno::NOENT | Errno::ADDRNOTAVAIL => {
                (ErrorKind::Absent, None)
            }
            Errno::OPNOTSUPP | Errno::AFNOSUPPORT => (
                ErrorKind::Unsupported,
                Some("the kernel lacks this feature or has the address family disabled".to_owned()),
            ),
            _ => (ErrorKind::Other, None),
        };
        Self { kind, message: format!("cannot {what}: {errno}"), remedy }
    }

    /// Builds the error of a file operation that failed while doing `what`.
    pub(crate) fn from_io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::PermissionDenied => ErrorKind::Permission,
            std::io::ErrorKind::AlreadyExists => ErrorKind::Exists,
            std::io::ErrorKind::NotFound => ErrorKind::Absent,
            _ => ErrorKind::Other,
        };
        let remedy = (kind == ErrorKind::Permission).then(|| "run as root or with sudo".to_owned());
        Self { kind, message: format!("cannot {what}: {error}"), remedy }
    }
}

impl fmt::Display for SystemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SystemError {}

/// The kernel's error number, positive, printed as the system names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Errno(pub(crate) i32);

impl Errno {
    pub(crate) const PERM: Self = Self::of(rustix::io::Errno::PERM);
    pub(crate) const NOENT: Self = Self::of(rustix::io::Errno::NOENT);
    pub(crate) const SRCH: Self = Self::of(rustix::io::Errno::SRCH);
    pub(crate) const NXIO: Self = Self::of(rustix::io::Errno::NXIO);
    pub(crate) const ACCESS: Self = Self::of(rustix::io::Errno::ACCESS);
    pub(crate) const EXIST: Self = Self::of(rustix::io::Errno::EXIST);
    pub(crate) const NODEV: Self = Self::of(rustix::io::Errno::NODEV);
    pub(crate) const OPNOTSUPP: Self = Self::of(rustix::io::Errno::OPNOTSUPP);
    pub(crate) const AFNOSUPPORT: Self = Self::of(rustix::io::Errno::AFNOSUPPORT);
    pub(crate) const INVAL: Self = Self::of(rustix::io::Errno::INVAL);
    pub(crate) const PROTONOSUPPORT: Self = Self::of(rustix::io::Errno::PROTONOSUPPORT);
    pub(crate) const ADDRNOTAVAIL: Self = Self::of(rustix::io::Errno::ADDRNOTAVAIL);
    pub(crate) const IO: Self = Self::of(rustix::io::Errno::IO);
    pub(crate) const TIMEDOUT: Self = Self::of(rustix::io::Errno::TIMEDOUT);

    const fn of(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error())
    }

    /// Whether the thing to be removed is gone already, which removal counts as done.
    pub(crate) fn is_absent(self) -> bool {
        matches!(self, Self::NODEV | Self::NXIO | Self::SRCH | Self::NOENT | Self::ADDRNOTAVAIL)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        // std appends "(os error N)", which tells an operator nothing.
        f.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_why_and_remedy() {
        let error = SystemError::from_errno("add route 10.0.0.0/8 dev stadium0", Errno::PERM);
        assert_eq!(error.kind, ErrorKind::Permission);
        assert_eq!(
            error.to_string(),
            "cannot add route 10.0.0.0/8 dev stadium0: Operation not permitted; \
             this needs CAP_NET_ADMIN: run as root or with sudo"
        );
    }

    #[test]
    fn absence_is_recognised() {
        for errno in [Errno::NODEV, Errno::SRCH, Errno::NOENT, Errno::ADDRNOTAVAIL] {
            assert!(errno.is_absent());
            assert_eq!(SystemError::from_errno("x", errno).kind, ErrorKind::Absent);
        }
        assert!(!Errno::PERM.is_absent());
    }
}
