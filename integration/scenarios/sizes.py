"""Packets around the tunnel's limit, and interfaces of several MTUs."""

from lab import traffic
from lab.node import settle
from lab.registry import scenario
from lab.verdict import at_least, contains, equal, true, until
from lab.wire import capturing
from scenarios.routing import lan

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


@scenario("quiet", "a healthy node drops nothing: the kernel sends no questions of its own into the tunnel")
def quiet(lab):
    a, b = lab.pair()
    for target in (b.v4, b.v6):
        traffic.must_reach(a.host, target)
    # the kernel would ask for routers after 0, 4 and 8 s
    settle(9)
    for node in (a, b):
        equal({reason: count for reason, count in node.drops().items() if count}, {}, f"drops at {node.label}")
        addresses = node.host.ip("-6", "-o", "addr", "show", "dev", "stadium0").out
        equal(addresses.count("inet6"), 1, f"IPv6 addresses of {node.label}'s interface: {addresses}")


def segment_sizes(wire):
    """The largest segments that TCP connections on a wire announce when they open."""
    found = []
    for frame in wire.frames:
        version = frame[0] >> 4
        head = (frame[0] & 15) * 4 if version == 4 else 40
        if (frame[9] if version == 4 else frame[6]) != 6 or not frame[head + 13] & 2:
            continue
        options = frame[head + 20:head + (frame[head + 12] >> 4) * 4]
        at = 0
        while at < len(options) and options[at]:
            if options[at] == 1:
                at += 1
                continue
            if options[at] == 2:
                found.append(int.from_bytes(options[at + 2:at + 4], "big"))
            at += options[at + 1]
    return found


@scenario("mss-clamp", "TCP of machines behind two gateways announces segments that fit the tunnel, both ways", limit=120)
def mss_clamp(lab):
    a, b = lab.node("a"), lab.node("b")
    machine_a, machine_b = lan(lab, a, 1), lan(lab, b, 2)
    a.add_peer(b, allowed=["192.168.2.0/24", "fd16:2::/64"])
    b.add_peer(a, allowed=["192.168.1.0/24", "fd16:1::/64"])
    before = a.host.snapshot(), b.host.snapshot()
    a.up()
    b.up()
    a.wait()
    mtu = a.status()["mtu"]

    def announced(target):
        with capturing(machine_a, "eth0") as at_a, capturing(machine_b, "eth0") as at_b:
            traffic.tcp_exchange(machine_a, machine_b, target, size=1 << 20)
            settle(0.2)
        # of the two a machine sees, one is its own
        return sorted(segment_sizes(at_a)), sorted(segment_sizes(at_b))

    for target, headers in (("192.168.2.10", 40), ("fd16:2::10", 60)):
        full, fits = 1500 - headers, mtu - headers
        equal(announced(target), ([fits, full], [fits, full]), f"segments announced to {target}")
    # one gateway is enough for both directions
    b.config["interface"]["mss_clamp"] = "off"
    b.reload()
    equal(announced("192.168.2.10"), ([mtu - 40, 1460], [mtu - 40, 1460]), "segments with the clamp at one side")
    a.config["interface"]["mss_clamp"] = "off"
    a.reload()
    equal(announced("192.168.2.10"), ([1460, 1460], [1460, 1460]), "segments without the clamp")
    a.down()
    b.down()
    equal((a.host.snapshot(), b.host.snapshot()), before, "the namespaces after down")


@scenario("mtu-black-hole", "a path that swallows large datagrams: the MTU follows with one line, and back when it heals", limit=150)
def mtu_black_hole(lab):
    # without offloads, so that the router judges datagrams and not runs of them
    plain = {"offload": "off"}
    a, b = lab.node("a", interface=plain), lab.node("b", interface={**plain, "mtu": 1440})
    a.add_peer(b, heartbeat="1s")
    b.add_peer(a)
    hole = 1400
    fits = hole - IP_HEADER[4] - OVERHEAD
    lab.router.nft(f"table inet hole {{\nchain f {{\ntype filter hook forward priority 0;\nmeta length > {hole} drop\n}}\n}}")
    environment = {"STADIUM_TEST_TIMERS": "rekey=5s"}
    b.up(env=environment)
    a.up(env=environment)
    equal(a.status()["mtu"], 1440, "MTU before the first question")
    a.wait(timeout=20)
    until("the MTU fits the path", lambda: a.status()["mtu"] <= fits, timeout=40, every=0.2)
    mtu = a.status()["mtu"]
    at_least(mtu, fits - 8, "MTU that was found")
    equal(a.host.mtu("stadium0"), mtu, "MTU of the interface")
    for target, headers in ((b.v4, 28), (b.v6, 48)):
        largest = traffic.ping(a.host, target, count=3, size=mtu - headers, dont_fragment=True)
        equal(largest.received, 3, f"replies to the largest packet to {target}")
    traffic.tcp_exchange(a.host, b.host, b.v4, size=2 << 20)
    traffic.tcp_exchange(b.host, a.host, a.v6, size=2 << 20)
    settle(6)
    equal(a.log().count("black hole"), 1, "lines about the black hole")
    # a fixed MTU is the operator's: it stays, and a line says what would fit
    equal(b.status()["mtu"], 1440, "the fixed MTU of b")
    until("b says so", lambda: "interface.mtu is 1440: set it to" in b.log(), timeout=40)
    lab.router.nft("delete table inet hole")
    until("the MTU is back", lambda: a.status()["mtu"] == 1440, timeout=30, every=0.3)
    largest = traffic.ping(a.host, b.v4, count=3, size=1440 - 28, dont_fragment=True)
    equal(largest.received, 3, "replies to the largest packet, the path healed")


@scenario("mtu-clear-path", "a path that carries what it says keeps its MTU, and costs one ping a session")
def mtu_clear_path(lab):
    a, b = lab.pair()
    with capturing(lab.router, a.host.wire) as wire:
        a.down()
        a.up()
        a.wait()
        settle(3)
        full = [d for d in wire.of("data") if d.source == a.host.v4 and d.ip_length == 1500]
    equal(len(full), 1, "datagrams of the full size in an idle session")
    equal(a.status()["mtu"], 1440, "MTU")
    true("black hole" not in a.log(), "no word of a black hole")
