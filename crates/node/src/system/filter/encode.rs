//! nf_tables messages in bytes (`linux/netfilter/nf_tables.h`, `linux/netfilter/nfnetlink.h`).
//!
//! Numbers of attributes are big-endian; what is compared with a register has the register's own
//! order: that of the packet for header fields, that of the machine for marks and types.

use std::net::IpAddr;

use ipnet::IpNet;

use super::rule::{self, Chain, Part, Side};

/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10;
/// `NFPROTO_INET`: both versions of IP.
const INET: u8 = 1;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// `NFT_REG_VERDICT`.
const VERDICT: u32 = 0;
/// `NFT_REG_1`: 16 bytes.
const REGISTER: u32 = 1;
/// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
const VERSIONS: [u8; 2] = [2, 10];

/// Flags of a netlink request.
pub(super) mod flags {
    pub(in super::super) const REQUEST: u16 = 1;
    pub(in super::super) const ACK: u16 = 4;
    pub(in super::super) const CREATE: u16 = 0x400;
    pub(in super::super) const APPEND: u16 = 0x800;
}

/// What a message of the subsystem does (`enum nf_tables_msg_types`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verb {
    NewTable = 0,
    GetTable = 1,
    DeleteTable = 2,
    NewChain = 3,
    NewRule = 6,
}

/// The type of a notice of the subsystem.
pub(super) fn notice(verb: Verb) -> u16 {
    (SUBSYSTEM << 8) | verb as u16
}

/// A list of attributes under construction.
#[derive(Default, Debug)]
struct Attributes(Vec<u8>);

impl Attributes {
    fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    fn nested(self, kind: u16, inner: Self) -> Self {
        self.bytes(kind | NESTED, &inner.0)
    }

    /// A value to compare with or to load (`NFTA_DATA_VALUE`).
    fn data(self, kind: u16, value: &[u8]) -> Self {
        self.nested(kind, Self::default().bytes(1, value))
    }
}

/// Messages of one transaction.
#[derive(Default, Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
    /// How many answers are due.
    pub(super) acknowledged: usize,
}

impl Batch {
    /// A transaction that is begun.
    pub(super) fn new() -> Self {
        let mut batch = Self::default();
        // NFNL_MSG_BATCH_BEGIN names the subsystem in its resource id
        batch.message(0x10, flags::REQUEST, 0, SUBSYSTEM, &Attributes::default());
        batch
    }

    /// The bytes to send, the transaction ended.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.message(0x11, flags::REQUEST, 0, SUBSYSTEM, &Attributes::default());
        self.bytes
    }

    /// A single question about a table, outside any transaction.
    pub(super) fn question(table: &str) -> Vec<u8> {
        let mut batch = Self::default();
        batch.ask(Verb::GetTable, 0, &Attributes::default().text(1, table));
        batch.bytes
    }

    fn message(&mut self, kind: u16, flags: u16, family: u8, resource: u16, body: &Attributes) {
        let length = u32::try_from(20 + body.0.len()).unwrap_or(u32::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend(0_u32.to_ne_bytes());
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend(&body.0);
        self.sequence += 1;
    }

    fn ask(&mut self, verb: Verb, more: u16, body: &Attributes) {
        let kind = (SUBSYSTEM << 8) | verb as u16;
        self.message(kind, flags::REQUEST | flags::ACK | more, INET, 0, body);
        self.acknowledged += 1;
    }

    pub(super) fn make_table(&mut self, table: &str) {
        self.ask(Verb::NewTable, flags::CREATE, &Attributes::default().text(1, table));
    }

    pub(super) fn delete_table(&mut self, table: &str) {
        self.ask(Verb::DeleteTable, 0, &Attributes::default().text(1, table));
    }

    pub(super) fn make_chain(&mut self, table: &str, chain: &Chain) {
        let hook = Attributes::default()
            .number(1, chain.hook as u32)
            .bytes(2, &chain.priority.to_be_bytes());
        let body = Attributes::default()
            .text(1, table)
            .text(3, chain.name)
            .nested(4, hook)
            .text(7, "filter");
        self.ask(Verb::NewChain, flags::CREATE, &body);
        for rule in &chain.rules {
            let mut expressions = Attributes::default();
            for part in rule {
                for (name, inner) in expressions_of(part) {
                    let expression = Attributes::default().text(1, name).nested(2, inner);
                    expressions = expressions.nested(1, expression);
                }
            }
            let body =
                Attributes::default().text(1, table).text(2, chain.name).nested(4, expressions);
            self.ask(Verb::NewRule, flags::CREATE | flags::APPEND, &body);
        }
    }
}

/// What one word of a rule is to the kernel.
fn expressions_of(part: &Part) -> Vec<(&'static str, Attributes)> {
    match part {
        Part::InLink { name, is } => vec![meta(6), compare(*is, &padded(name))],
        Part::OutLink { name, is } => vec![meta(7), compare(*is, &padded(name))],
        Part::Mark(mark) => vec![meta(3), compare(true, &mark.to_ne_bytes())],
        Part::SocketMark(mark) => {
            // NFT_SOCKET_MARK
            let socket = Attributes::default().number(1, 1).number(2, REGISTER);
            vec![("socket", socket), compare(true, &mark.to_ne_bytes())]
        }
        Part::SetMark(mark) => {
            let load = Attributes::default().number(1, REGISTER).data(2, &mark.to_ne_bytes());
            let set = Attributes::default().number(2, 3).number(3, REGISTER);
            vec![("immediate", load), ("meta", set)]
        }
        Part::Version6(v6) => vec![meta(15), compare(true, &[VERSIONS[usize::from(*v6)]])],
        Part::Protocol(protocol) => vec![meta(16), compare(true, &[*protocol])],
        Part::Prefix(side, prefix) => prefix_of(*side, *prefix),
        Part::Port(side, port) => {
            let offset = if matches!(side, Side::Source) { 0 } else { 2 };
            vec![payload(2, offset, 2), compare(true, &port.to_be_bytes())]
        }
        Part::IcmpType(first, last) if first == last => {
            vec![payload(2, 0, 1), compare(true, &[*first])]
        }
        Part::IcmpType(first, last) => {
            let range = Attributes::default()
                .number(1, REGISTER)
                .number(2, 0)
                .data(3, &[*first])
                .data(4, &[*last]);
            vec![payload(2, 0, 1), ("range", range)]
        }
        Part::SourceNotLocal => {
            // NFT_FIB_RESULT_ADDRTYPE of the source; RTN_LOCAL is 2
            let fib = Attributes::default().number(1, REGISTER).number(2, 3).number(3, 1);
            vec![("fib", fib), compare(false, &2_u32.to_ne_bytes())]
        }
        Part::SynOnly => vec![payload(2, 13, 1), mask(&[0x06]), compare(true, &[0x02])],
        Part::ClampSegments(size) => {
            let load = Attributes::default().number(1, REGISTER).data(2, &size.to_be_bytes());
            // option 2, the two bytes behind its kind and length
            let write = Attributes::default()
                .bytes(2, &[2])
                .number(3, 2)
                .number(4, 2)
                .number(6, 1)
                .number(7, REGISTER);
            vec![("immediate", load), ("exthdr", write)]
        }
        Part::Counter => vec![("counter", Attributes::default())],
        Part::Accept => vec![verdict(1)],
        Part::Drop => vec![verdict(0)],
        Part::Reject => {
            // NFT_REJECT_ICMPX_UNREACH with NFT_REJECT_ICMPX_ADMIN_PROHIBITED
            vec![("reject", Attributes::default().number(1, 2).bytes(2, &[3]))]
        }
    }
}

fn meta(key: u32) -> (&'static str, Attributes) {
    ("meta", Attributes::default().number(1, REGISTER).number(2, key))
}

fn compare(equal: bool, value: &[u8]) -> (&'static str, Attributes) {
    let operation = u32::from(!equal);
    ("cmp", Attributes::default().number(1, REGISTER).number(2, operation).data(3, value))
}

fn payload(base: u32, offset: u32, length: u32) -> (&'static str, Attributes) {
    let body = Attributes::default()
        .number(1, REGISTER)
        .number(2, base)
        .number(3, offset)
        .number(4, length);
    ("payload", body)
}

fn mask(mask: &[u8]) -> (&'static str, Attributes) {
    let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
    let body = Attributes::default()
        .number(1, REGISTER)
        .number(2, REGISTER)
        .number(3, length)
        .data(4, mask)
        .data(5, &vec![0; mask.len()]);
    ("bitwise", body)
}

fn verdict(code: u32) -> (&'static str, Attributes) {
    let verdict = Attributes::default().number(1, code);
    let data = Attributes::default().nested(2, verdict);
    ("immediate", Attributes::default().number(1, VERDICT).nested(2, data))
}

fn prefix_of(side: Side, prefix: IpNet) -> Vec<(&'static str, Attributes)> {
    let bytes = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let prefix = prefix.trunc();
    let (offset, length) = rule::place(side, prefix.addr());
    let version = VERSIONS[usize::from(prefix.addr().is_ipv6())];
    let mut found = vec![meta(15), compare(true, &[version]), payload(1, offset, length)];
    if prefix.prefix_len() < prefix.max_prefix_len() {
        found.push(mask(&bytes(prefix.netmask())));
    }
    found.push(compare(true, &bytes(prefix.addr())));
    found
}

/// An interface's name as the kernel keeps it: 16 bytes.
fn padded(name: &str) -> [u8; 16] {
    let mut padded = [0; 16];
    for (to, from) in padded.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    padded
}
