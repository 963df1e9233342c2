//! What was found: a stable code for scripts, plain words for people.

use serde::Serialize;

/// Says how bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Something does not work, or soon will not.
    Problem,
    /// Worth knowing; changes no exit code.
    Hint,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What it is, for scripts: never changes its meaning.
    pub(crate) code: &'static str,
    /// How bad it is.
    pub(crate) severity: Severity,
    /// The peer that it is about, by name or public key.
    pub(crate) peer: Option<String>,
    /// What is wrong, and by what it was seen.
    pub(crate) what: String,
    /// What to do.
    pub(crate) remedy: String,
}

impl Finding {
    /// Makes a problem of the interface as a whole.
    pub(crate) fn problem(
        code: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (what, remedy) = (what.into(), remedy.into());
        Self { code, severity: Severity::Problem, peer: None, what, remedy }
    }

    /// The same about one peer.
    pub(crate) fn about(mut self, peer: &str) -> Self {
        self.peer = Some(peer.to_owned());
        self
    }

    /// The same, but only worth knowing.
    pub(crate) fn hint(mut self) -> Self {
        self.severity = Severity::Hint;
        self
    }
}

/// Declares the codes from one list, so that the documentation can be held against it.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal,)+) => {
        $($(#[doc = $doc])+ pub(crate) const $name: &str = $code;)+

        /// All codes.
        #[cfg(test)]
        pub(crate) const ALL: &[&str] = &[$($code),+];
    };
}

codes! {
    /// The peer file is invalid, or is not there.
    BAD_FILE = "bad-file",
    /// The caller may not do what is needed.
    NO_PERMISSION = "no-permission",
    /// Somebody else has the UDP port.
    PORT_IN_USE = "port-in-use",
    /// An address or network of the interface is also elsewhere on this machine.
    ADDRESS_CONFLICT = "address-conflict",
    /// The name of an endpoint has no address.
    NAME_UNRESOLVED = "name-unresolved",
    /// The machine has no way to an endpoint.
    NO_ROUTE = "no-route",
    /// Allowed IPs do not lead into the interface.
    MISSING_ROUTE = "missing-route",
    /// Allowed IPs overlap with a network of this machine.
    ALLOWED_IPS_OVERLAP = "allowed-ips-overlap",
    /// A peer sends from addresses that are not among its allowed IPs.
    SOURCE_NOT_ALLOWED = "source-not-allowed",
    /// The kernel does not forward, and somebody wants it to.
    FORWARDING_OFF = "forwarding-off",
    /// The kernel drops packets that would not return the way they came.
    RP_FILTER = "rp-filter",
    /// A packet filter of this machine drops Stadium's datagrams.
    FIREWALL = "firewall",
    /// A clock is wrong.
    CLOCK = "clock",
    /// One of the two sides has a wrong public key or network key.
    WRONG_KEY = "wrong-key",
    /// The preshared keys differ.
    WRONG_PSK = "wrong-psk",
    /// The other side does not know this node.
    UNKNOWN_AT_PEER = "unknown-at-peer",
    /// Somebody who is not in the peer file knocks.
    UNKNOWN_PEER = "unknown-peer",
    /// The two noise policies have nothing in common.
    NOISE_REFUSED = "noise-refused",
    /// The other side speaks another version of the protocol.
    VERSION_MISMATCH = "version-mismatch",
    /// The two lists of ciphers or hashes have nothing in common.
    CIPHER_MISMATCH = "cipher-mismatch",
    /// The two post-quantum policies have nothing in common.
    POST_QUANTUM_MISMATCH = "post-quantum-mismatch",
    /// The other side has no room.
    PEER_BUSY = "peer-busy",
    /// Nothing listens at the endpoint.
    NOTHING_LISTENS = "nothing-listens",
    /// UDP does not get to the endpoint or back.
    UDP_BLOCKED = "udp-blocked",
    /// Nothing comes back, and it cannot be told why.
    NO_ANSWER = "no-answer",
    /// A NAT between the two has forgotten them.
    NAT = "nat",
    /// Neither side can begin.
    NO_ENDPOINT = "no-endpoint",
    /// Large packets get lost on the way.
    MTU_BLACK_HOLE = "mtu-black-hole",
    /// Two nodes have the same key.
    DUPLICATE_NODE = "duplicate-node",
    /// An offload has failed in use, or the kernel does not have it.
    OFFLOAD_BROKEN = "offload-broken",
    /// The interface is gone, or in another namespace.
    INTERFACE_GONE = "interface-gone",
    /// The tunnel works, but the host behind it does not answer.
    INNER_SILENCE = "inner-silence",
}
