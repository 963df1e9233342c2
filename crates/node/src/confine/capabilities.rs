//! Capabilities (capabilities(7)): none for the daemon, one for its helper.

use rustix::thread::{CapabilitySet, CapabilitySets};

/// Gives up every capability of the calling thread, and of all that it starts.
pub(super) fn drop_all() -> rustix::io::Result<()> {
    let none = CapabilitySet::empty();
    // the bounding set holds up nothing: with no_new_privs no program gains anything
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )
}

/// Gives up all but `CAP_NET_ADMIN`; for the helper.
///
/// What it inherits to hooks stays: a hook of root runs as root.
pub(crate) fn keep_only_network_administration() {
    let kept = rustix::thread::capabilities(None).and_then(|sets| {
        let one = CapabilitySet::NET_ADMIN;
        rustix::thread::set_capabilities(
            None,
            CapabilitySets {
                effective: sets.permitted & one,
                permitted: sets.permitted & one,
                inheritable: sets.inheritable,
            },
        )
    });
    if let Err(error) = kept {
        tracing::warn!("the helper keeps all its privileges: {error}");
    }
}
