//! Protocol numbers and views of TCP and UDP headers.

/// Holds an IP protocol number (IPv4 "protocol", IPv6 "next header").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP for IPv4 (RFC 792).
    pub const ICMP: Self = Self(1);
    /// TCP (RFC 9293).
    pub const TCP: Self = Self(6);
    /// UDP (RFC 768).
    pub const UDP: Self = Self(17);
    /// ICMP for IPv6 (RFC 4443).
    pub const ICMPV6: Self = Self(58);
    /// IPv6 fragment header (RFC 8200 §4.5).
    pub const FRAGMENT: Self = Self(44);

    const HOP_BY_HOP: Self = Self(0);
    const ROUTING: Self = Self(43);
    const DESTINATION: Self = Self(60);

    /// Tells whether the number names an IPv6 extension header that [`IpView::upper`] walks.
    ///
    /// [`IpView::upper`]: crate::ip::IpView::upper
    #[inline]
    pub const fn is_extension(self) -> bool {
        matches!(self, Self::HOP_BY_HOP | Self::ROUTING | Self::FRAGMENT | Self::DESTINATION)
    }

    /// Returns the offset of the internet checksum in the header of TCP or UDP.
    #[inline]
    pub const fn checksum_offset(self) -> Option<usize> {
        match self {
            Self::TCP => Some(16),
            Self::UDP => Some(6),
            _ => None,
        }
    }

    /// Returns the length of the shortest header of TCP or UDP, 0 for others.
    #[inline]
    pub const fn header_len_min(self) -> usize {
        match self {
            Self::TCP => TCP_HEADER,
            Self::UDP => UDP_HEADER,
            _ => 0,
        }
    }
}

/// Says where the protocol above IP starts in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// The protocol.
    pub protocol: Protocol,
    /// Offset of its header from the front of the packet; at most the packet's length.
    pub offset: usize,
    /// Whether the packet is a fragment, first or later, so that what stands at `offset` is no
    /// whole datagram and perhaps no header.
    pub is_fragment: bool,
    /// Whether IPv6 extension headers stand before `offset`.
    pub is_extended: bool,
}

/// Length of a TCP header without options.
pub const TCP_HEADER: usize = 20;
/// Length of a UDP header.
pub const UDP_HEADER: usize = 8;

/// TCP flags as they stand in byte 13 of the header (RFC 9293 §3.1).
pub mod tcp_flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronises sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Resets the connection.
    pub const RST: u8 = 0x04;
    /// Pushes data to the application.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
    /// Echoes a congestion mark (RFC 3168 §6.1).
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced (RFC 3168 §6.1).
    pub const CWR: u8 = 0x80;
}

/// Lends a checked look at a TCP header.
#[derive(Clone, Copy, Debug)]
pub struct TcpView<'a> {
    fixed: &'a [u8; TCP_HEADER],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> TcpView<'a> {
    /// Checks the TCP header at the front of `segment`; `None` when it does not fit or its data
    /// offset is below five words.
    #[inline]
    pub fn parse(segment: &'a [u8]) -> Option<Self> {
        let (fixed, rest) = segment.split_first_chunk()?;
        let options = (usize::from(fixed[12] >> 4) * 4).checked_sub(TCP_HEADER)?;
        let (options, payload) = rest.split_at_checked(options)?;
        Some(Self { fixed, options, payload })
    }

    /// Returns the source port.
    #[inline]
    pub const fn src_port(&self) -> u16 {
        u16::from_be_bytes([self.fixed[0], self.fixed[1]])
    }

    /// Returns the destination port.
    #[inline]
    pub const fn dst_port(&self) -> u16 {
        u16::from_be_bytes([self.fixed[2], self.fixed[3]])
    }

    /// Returns the sequence number of the first payload byte.
    #[inline]
    pub const fn seq(&self) -> u32 {
        let [_, _, _, _, a, b, c, d, ..] = *self.fixed;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Returns the acknowledgement number.
    #[inline]
    pub const fn ack(&self) -> u32 {
        let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = *self.fixed;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Returns the flags, see [`tcp_flags`].
    #[inline]
    pub const fn flags(&self) -> u8 {
        self.fixed[13]
    }

    /// Returns the receive window, not scaled.
    #[inline]
    pub const fn window(&self) -> u16 {
        u16::from_be_bytes([self.fixed[14], self.fixed[15]])
    }

    /// Returns the length of the header with its options, in bytes.
    #[inline]
    pub const fn header_len(&self) -> usize {
        TCP_HEADER + self.options.len()
    }

    /// Returns the fixed header.
    #[inline]
    pub const fn fixed(&self) -> &'a [u8; TCP_HEADER] {
        self.fixed
    }

    /// Returns the options as they stand.
    #[inline]
    pub const fn options(&self) -> &'a [u8] {
        self.options
    }

    /// Returns the payload.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Lends a checked look at a UDP header.
#[derive(Clone, Copy, Debug)]
pub struct UdpView<'a> {
    fixed: &'a [u8; UDP_HEADER],
    payload: &'a [u8],
}

impl<'a> UdpView<'a> {
    /// Checks the UDP header at the front of `datagram`; `None` when it does not fit or its length
    /// is not that of the slice.
    #[inline]
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let (fixed, payload) = datagram.split_first_chunk()?;
        let view = Self { fixed, payload };
        (view.length() == datagram.len()).then_some(view)
    }

    /// Returns the source port.
    #[inline]
    pub const fn src_port(&self) -> u16 {
        u16::from_be_bytes([self.fixed[0], self.fixed[1]])
    }

    /// Returns the destination port.
    #[inline]
    pub const fn dst_port(&self) -> u16 {
        u16::from_be_bytes([self.fixed[2], self.fixed[3]])
    }

    /// Returns the length field: header and payload in bytes.
    #[inline]
    pub const fn length(&self) -> usize {
        u16::from_be_bytes([self.fixed[4], self.fixed[5]]) as usize
    }

    /// Tells whether the sender computed no checksum (RFC 768).
    #[inline]
    pub const fn lacks_checksum(&self) -> bool {
        matches!(self.fixed, [_, _, _, _, _, _, 0, 0])
    }

    /// Returns the header.
    #[inline]
    pub const fn fixed(&self) -> &'a [u8; UDP_HEADER] {
        self.fixed
    }

    /// Returns the payload.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}
