//! How a socket shall be set up.

/// Whether IP may fragment what a socket sends.
///
/// Linux has no control message for it in IPv4, so it is a property of the socket and not of the
/// datagram. Handshake requests may be fragmented and DATA may not (`protocol.md` section 5):
/// workers send DATA from sockets with [`DontFragment::Probe`], and control sends handshakes from
/// a second socket on the same port, made by [`crate::Socket::bind_sender`], with
/// [`DontFragment::Off`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DontFragment {
    /// Fragments when needed; routers on an IPv4 path may do so too.
    Off,
    /// Never fragments, and believes the device's MTU but no ICMP message, which anyone can forge.
    #[default]
    Probe,
    /// Never fragments, and fails at once with "too large" beyond the path MTU that ICMP reported.
    Do,
}

/// The set-up of a [`crate::Socket`].
///
/// Sockets are always non-blocking and close on exec; IPv6 sockets always leave IPv4 alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Lets further sockets of this user share the port. See [`crate::bind_group`].
    pub reuse_port: bool,
    /// The mark for policy routing (`SO_MARK`); needs `CAP_NET_ADMIN`.
    pub fwmark: Option<u32>,
    /// The size of the send buffer in bytes; beyond the system's limit only with privilege.
    pub send_buffer: Option<usize>,
    /// The size of the receive buffer in bytes; beyond the system's limit only with privilege.
    pub recv_buffer: Option<usize>,
    /// Has runs cut into datagrams by the kernel where it can.
    pub gso: bool,
    /// Lets the kernel hand over several datagrams as one message where it can.
    pub gro: bool,
    /// Reports the local address of each received message.
    pub local_addr: bool,
    /// Reports the type-of-service byte of each received message.
    pub tos: bool,
    /// Whether IP may fragment what is sent.
    pub dont_fragment: DontFragment,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reuse_port: false,
            fwmark: None,
            send_buffer: None,
            recv_buffer: None,
            gso: true,
            gro: true,
            local_addr: true,
            tos: true,
            dont_fragment: DontFragment::Probe,
        }
    }
}
