"""Congestion marks of the path reach the packets inside (RFC 6040), and only they."""

import socket

from lab import traffic
from lab.registry import scenario
from lab.verdict import at_least, equal, true
from lab.wire import capturing, ends

NOT_ECT, ECT1, ECT0, CE = 0, 1, 2, 3
DSCP_EF = 46 << 2
IPV6_TCLASS, IPV6_RECVTCLASS, IP_RECVTOS = 67, 66, 13


def mark(lab, ecn):
    """The router gives every datagram of the tunnel this mark, or leaves them alone."""
    lab.router.run("nft", "delete", "table", "inet", "marking", check=None)
    if ecn is not None:
        lab.router.nft(f"""
            table inet marking {{
                chain forward {{
                    type filter hook forward priority 0;
                    udp dport 51871 meta nfproto ipv4 ip ecn set {ecn}
                    udp dport 51871 meta nfproto ipv6 ip6 ecn set {ecn}
                }}
            }}
        """)


def arrives_as(a, b, target, tos):
    """Sends a datagram with `tos` from `a` and returns the TOS byte that `b` sees, or None."""
    v6 = ":" in target
    server = b.host.socket(traffic.family(target), socket.SOCK_DGRAM)
    client = a.host.socket(traffic.family(target), socket.SOCK_DGRAM)
    with server, client:
        server.bind((target, 7200))
        server.settimeout(0.5)
        if v6:
            server.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVTCLASS, 1)
            client.setsockopt(socket.IPPROTO_IPV6, IPV6_TCLASS, tos)
        else:
            server.setsockopt(socket.IPPROTO_IP, IP_RECVTOS, 1)
            client.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
        client.sendto(b"marked", (target, 7200))
        try:
            data, ancillary, _, _ = server.recvmsg(100, 100)
        except TimeoutError:
            return None
        equal(data, b"marked", "what arrived")
        return ancillary[0][2][0]


def outer_tos(frame):
    return frame[1] if frame[0] >> 4 == 4 else (frame[0] << 4 | frame[1] >> 4) & 0xFF


def carried(lab, outer):
    a, b = lab.pair(outer=outer)
    for target in (b.v4, b.v6):
        # nobody marks: what is inside arrives as it was, and outside stands its ECN alone
        with capturing(lab.router, a.host.wire) as wire:
            for tos in (NOT_ECT, ECT0, ECT1, DSCP_EF | ECT0):
                equal(arrives_as(a, b, target, tos), tos, "TOS without a mark on the path")
        outside = {outer_tos(f) for f in wire.frames if f[0] >> 4 in (4, 6) and a.host.outer(outer) in ends(f)}
        equal(outside - {NOT_ECT, ECT0, ECT1}, set(), "DSCP of outer packets")
        true({ECT0, ECT1} <= outside, f"the ECN of inner packets stands outside: {outside}")
        mark(lab, "ce")
        for tos in (ECT0, ECT1, CE, DSCP_EF | ECT0):
            equal(arrives_as(a, b, target, tos), tos | CE, "TOS after congestion on the path")
        # a mark that its sender cannot understand: the packet is the signal, so it goes
        before = sum(b.drops().values())
        equal(arrives_as(a, b, target, NOT_ECT), None, "an unmarkable packet after congestion")
        at_least(sum(b.drops().values()) - before, 1, "drops counted for it")
        mark(lab, None)
    # TCP that speaks ECN, through a path that marks everything
    for node in (a, b):
        node.host.sysctl("net.ipv4.tcp_ecn=1")
    traffic.tcp_exchange(a.host, b.host, b.v4, size=1 << 20)
    for node in (a, b):
        equal(node.drops()["malformed"], 0, f"malformed at {node.label}")


scenario("ecn-4", "congestion marks on the way reach the packets inside, IPv4 outside", outer=4)(carried)
scenario("ecn-6", "congestion marks on the way reach the packets inside, IPv6 outside", outer=6)(carried)
