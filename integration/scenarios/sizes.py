"""Packets around the tunnel's limit, and interfaces of several MTUs."""

from lab import traffic
from lab.registry import scenario
from lab.verdict import at_least, contains, equal, true
from lab.wire import capturing

IP_HEADER = {4: 20, 6: 40}
OVERHEAD = 8 + 32  # UDP and DATA


def edges(lab, outer, link=1500, mtu="auto"):
    """Every size around the limit passes unfragmented; one byte more is refused by the interface's MTU."""
    for label in ("a", "b"):
        lab.node(label, host=lab.host(label, mtu=link), interface={"mtu": mtu})
    a, b = lab.nodes
    a.add_peer(b, outer=outer)
    b.add_peer(a, outer=outer)
    a.up()
    b.up()
    a.wait()
    limit = link - IP_HEADER[outer] - OVERHEAD if mtu == "auto" else mtu
    for node in (a, b):
        equal(node.status()["mtu"], limit, f"MTU in the status of {node.label}")
        equal(node.host.mtu("stadium0"), limit, f"MTU of the interface of {node.label}")
    with capturing(lab.router, b.host.wire) as wire:
        for inner, target in ((4, b.v4), (6, b.v6)):
            headers = IP_HEADER[inner] + 8
            for size in [*range(limit - 20, limit + 1), headers, headers + 1, 1280]:
                reply = traffic.ping(a.host, target, count=1, size=size - headers, dont_fragment=True)
                equal(reply.received, 1, f"reply to an IPv{inner} packet of {size} bytes (MTU {limit})")
            too_big = traffic.ping(a.host, target, count=1, size=limit + 1 - headers, dont_fragment=True, wait=0.3)
            equal(too_big.received, 0, f"reply to an IPv{inner} packet of {limit + 1} bytes")
            contains(too_big.text.lower(), "mtu", "the kernel says why")
            contains(too_big.text, str(limit), "the kernel names the MTU")
            # without DF the kernel fragments inside the tunnel
            traffic.must_reach(a.host, target, "a fragmented ping", count=1, size=limit + 500)
            last = limit - headers
            missing = traffic.udp_exchange(a.host, b.host, target, [*range(0, 64), *range(last - 40, last + 1), last + 1, 3 * last])
            equal(missing, [], "UDP sizes that never came back")
            traffic.tcp_exchange(a.host, b.host, target, size=2 << 20)
        data = wire.of("data")
        largest = max(d.ip_length for d in data)
        equal(largest, limit + IP_HEADER[outer] + OVERHEAD, "largest outer packet")
        true(not any(d.fragment for d in wire.datagrams), "no outer packet is an IP fragment")
    for node in (a, b):
        equal(node.drops()["too_large"], 0, f"too_large drops at {node.label}")


scenario("mtu-4", "packet sizes around the MTU, IPv4 outside", limit=90, outer=4)(edges)
scenario("mtu-6", "packet sizes around the MTU, IPv6 outside", limit=90, outer=6)(edges)
scenario("mtu-1280", "the smallest MTU", limit=90, outer=4, mtu=1280)(edges)
scenario("mtu-jumbo", "a jumbo underlay of 9000 bytes", limit=90, outer=4, link=9000)(edges)


@scenario("every-size", "a UDP datagram of every size from 0 to 1412 bytes comes back unaltered", limit=90)
def every_size(lab):
    a, b = lab.pair(outer=6)
    missing = traffic.udp_exchange(a.host, b.host, b.v4, range(0, 1413))
    equal(missing, [], "sizes that never came back")


@scenario("mtu-uneven", "two sides with different MTUs: senders are told what the session takes, and cut their packets")
def uneven(lab):
    a, b = lab.pair(b={"mtu": 1300})
    equal((a.status()["mtu"], b.status()["mtu"]), (1440, 1300), "MTUs of the two sides")
    for inner, target in ((4, b.v4), (6, b.v6)):
        headers = IP_HEADER[inner] + 8
        told = traffic.ping(a.host, target, count=2, size=1440 - headers, dont_fragment=True, wait=0.3)
        equal(told.received, 0, "replies to packets that b does not take")
        contains(told.text, "1300", "the sender is told the limit")
        fits = traffic.ping(a.host, target, count=1, size=1300 - headers, dont_fragment=True)
        equal(fits.received, 1, "reply to a packet that just fits")
        # what may be fragmented, is
        traffic.must_reach(a.host, target, "a fragmented ping", size=1400)
        missing = traffic.udp_exchange(a.host, b.host, target, [1200, 1280, 1392, 1412, 4000])
        equal(missing, [], "UDP sizes that never came back")
        traffic.tcp_exchange(a.host, b.host, target, size=2 << 20)
    at_least(a.drops()["too_large"], 2, "too_large drops at a, whose packets they were")
    equal(b.drops()["too_large"], 0, "too_large drops at b")
