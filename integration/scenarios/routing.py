"""Routing between peers and networks behind them, and what allowed IPs filter."""

from lab import traffic
from lab.netns import address, veth
from lab.registry import scenario
from lab.verdict import at_least, equal, true, until
from lab.wire import capturing, ends


@scenario("hub", "three hosts: a hub routes between two others that do not know each other")
def hub(lab):
    middle = lab.node("hub")
    left, right = lab.node("left"), lab.node("right")
    middle.host.forwarding()
    whole = ["10.7.0.0/24", "fd07::/64"]
    for spoke, outer in ((left, 4), (right, 6)):
        middle.add_peer(spoke, endpoint=None)
        spoke.add_peer(middle, outer=outer, allowed=whole)
    for node in (middle, left, right):
        node.up()
    left.wait()
    right.wait()
    for target in (right.v4, right.v6):
        traffic.must_reach(left.host, target, "spoke to spoke")
    for target in (left.v4, left.v6):
        traffic.must_reach(right.host, target, "spoke to spoke, back")
    traffic.tcp_exchange(left.host, right.host, right.v4, size=2 << 20)
    traffic.tcp_exchange(right.host, left.host, left.v6, size=2 << 20)
    hops = traffic.ping(left.host, right.v4, count=1).text
    true("ttl=63" in hops, f"the hub counts as one hop: {hops.splitlines()[1:2]}")


def lan(lab, node, number):
    """A machine on a LAN behind the node's host: 192.168.N.10 and fd16:N::10."""
    machine = lab.namespace(f"lan{number}")
    veth(node.host, "lan", machine, "eth0")
    address(node.host, "lan", f"192.168.{number}.1/24", f"fd16:{number}::1/64")
    address(machine, "eth0", f"192.168.{number}.10/24", f"fd16:{number}::10/64")
    machine.ip("route", "add", "default", "via", f"192.168.{number}.1")
    machine.ip("-6", "route", "add", "default", "via", f"fd16:{number}::1")
    node.host.forwarding()
    return machine


@scenario("lan-to-lan", "a LAN behind each end: their machines reach each other, routes come and go with the tunnel")
def lan_to_lan(lab):
    a, b = lab.node("a"), lab.node("b")
    machine_a, machine_b = lan(lab, a, 1), lan(lab, b, 2)
    a.add_peer(b, allowed=[f"{b.v4}/32", f"{b.v6}/128", "192.168.2.0/24", "fd16:2::/64"])
    b.add_peer(a, allowed=[f"{a.v4}/32", f"{a.v6}/128", "192.168.1.0/24", "fd16:1::/64"])
    before = a.host.snapshot(), b.host.snapshot()
    a.up()
    b.up()
    route = a.host.ip("route", "get", "192.168.2.10").out
    true("dev stadium0" in route, f"route to the LAN of b: {route.strip()}")
    for source, target in ((machine_a, "192.168.2.10"), (machine_b, "192.168.1.10"),
                           (machine_a, "fd16:2::10"), (machine_b, "fd16:1::10")):
        until(f"first reply from {target}", lambda s=source, t=target: traffic.reaches(s, t), timeout=5)
        traffic.must_reach(source, target, "LAN to LAN")
    traffic.tcp_exchange(machine_a, machine_b, "192.168.2.10", size=2 << 20)
    traffic.tcp_exchange(machine_b, machine_a, "fd16:1::10", size=2 << 20)
    # a packet too big for the tunnel, from a machine that does not know its MTU
    big = traffic.ping(machine_a, "192.168.2.10", count=2, size=1472, dont_fragment=True)
    equal(big.received, 0, "replies to pings above the tunnel's MTU")
    mtu = a.status()["mtu"]
    true(f"mtu = {mtu}" in big.text or f"mtu={mtu}" in big.text, f"ICMP names the tunnel's MTU {mtu}: {big.text}")
    a.down()
    b.down()
    equal((a.host.snapshot(), b.host.snapshot()), before, "addresses, routes and rules after down")


@scenario("allowed-ips", "a packet whose inner source does not belong to the sending peer is dropped and counted")
def allowed_ips(lab):
    a, b, c = lab.node("a"), lab.node("b"), lab.node("c")
    a.add_peer(b)
    c.add_peer(b)
    # the wide prefix is a's, a more specific one inside it is c's
    b.add_peer(a, endpoint=None, allowed=["10.7.0.0/24", "fd07::/64"])
    b.add_peer(c, endpoint=None, allowed=[f"{c.v4}/32", f"{c.v6}/128"])
    for node in (b, a, c):
        node.up()
    a.wait()
    c.wait()
    traffic.must_reach(a.host, b.v4, "a's own address")
    address(a.host, "stadium0", f"{c.v4}/32", f"{c.v6}/128", "203.0.113.9/32", "10.7.0.77/32")
    traffic.must_reach(a.host, b.v4, "another address inside a's prefix", source="10.7.0.77")
    for source, target, whose in ((c.v4, b.v4, "c's address"), ("203.0.113.9", b.v4, "an address of nobody"),
                                  (c.v6, b.v6, "c's IPv6 address")):
        before = b.drops()["not_allowed"]
        rx = b.peer(a)["rx"]["packets"]
        sent = traffic.ping(a.host, target, count=5, source=source, wait=0.3)
        equal(sent.received, 0, f"replies to pings from {whose}")
        at_least(b.drops()["not_allowed"] - before, 5, f"not_allowed drops for {whose}")
        equal(b.peer(a)["rx"]["packets"] - rx, 0, f"packets of {whose} that b counted as received")
    equal(b.peer(a)["state"], "up", "the session stays")
    traffic.must_reach(a.host, b.v4, "a's own address, still")
    traffic.must_reach(c.host, b.v4, "c, still")


@scenario("no-route", "a packet to an address of no peer is refused by the kernel's route or counted as no_route")
def no_route(lab):
    a, b = lab.pair()
    before = a.drops()["no_route"]
    sent = traffic.ping(a.host, "10.7.0.200", count=4, wait=0.3)
    equal(sent.received, 0, "replies from nobody")
    at_least(a.drops()["no_route"] - before, 4, "no_route drops")
    traffic.must_reach(a.host, b.v4)


@scenario("crypto-routing", "longest match decides which peer gets a packet; reload moves a prefix between peers")
def crypto_routing(lab):
    a, b, c = lab.node("a"), lab.node("b"), lab.node("c")
    a.add_peer(b, allowed=[f"{b.v4}/32", "172.16.0.0/16"])
    a.add_peer(c, allowed=[f"{c.v4}/32", "172.16.5.0/24"])
    for node in (b, c):
        node.add_peer(a, endpoint=None)
        node.host.ip("addr", "add", "172.16.5.1/32", "dev", "lo")
        node.host.ip("addr", "add", "172.16.9.1/32", "dev", "lo")
    for node in (b, c, a):
        node.up()
    a.wait()

    def carried(target):
        before = {n.label: a.peer(n)["tx"]["packets"] for n in (b, c)}
        traffic.must_reach(a.host, target, count=4)
        return [n.label for n in (b, c) if a.peer(n)["tx"]["packets"] - before[n.label] >= 4]

    equal(carried("172.16.5.1"), ["c"], "who carries the more specific prefix")
    equal(carried("172.16.9.1"), ["b"], "who carries the rest")
    a.config["peers"][1]["allowed_ips"] = [f"{c.v4}/32"]
    a.reload()
    equal(carried("172.16.5.1"), ["b"], "who carries it after the reload")


def everything(lab, **keys):
    """`a` sends everything through the hub `b`, which forwards to a far machine; returns all three."""
    a, b = lab.node("a", interface=keys), lab.node("b")
    far = lab.host("far")
    b.host.forwarding()
    far.ip("route", "add", "10.7.0.0/24", "via", "10.77.3.1")
    far.ip("-6", "route", "add", "fd07::/64", "via", "fd77:3::1")
    lab.router.ip("route", "add", "10.7.0.0/24", "via", b.host.v4)
    lab.router.ip("-6", "route", "add", "fd07::/64", "via", b.host.v6)
    a.add_peer(b, allowed=["0.0.0.0/0", "::/0"])
    b.add_peer(a, endpoint=None)
    b.up()
    return a, b, far


@scenario("default-route", "0.0.0.0/0 and ::/0: everything goes through the tunnel, and on from there; `down` restores all")
def default_route(lab):
    a, b, far = everything(lab)
    before = a.host.snapshot()
    traffic.must_reach(a.host, far.v4, "far before the tunnel")
    a.up()
    a.wait()
    with capturing(lab.router, a.host.wire) as wire:
        for target in (far.v4, far.v6):
            traffic.must_reach(a.host, target, "far through the tunnel")
            traffic.tcp_exchange(a.host, far, target, size=2 << 20)
        outside = [f for f in wire.frames if is_ip(f) and not is_tunnel(f, a, b)]
    equal(outside, [], "packets beside the tunnel")
    a.reload()
    a.config["peers"][0]["heartbeat"] = "25s"
    a.reload()
    traffic.must_reach(a.host, far.v4, "far after reloads")
    a.down()
    equal(a.host.snapshot(), before, "the namespace after down")
    traffic.must_reach(a.host, far.v4, "far after the tunnel")


@scenario("kill-switch", "with a default route a killed daemon lets nothing out beside the tunnel; `down` opens it again")
def kill_switch(lab):
    a, b, far = everything(lab)
    before = a.host.snapshot()
    a.up()
    a.wait()
    traffic.must_reach(a.host, far.v4, "far through the tunnel")
    a.kill()
    with capturing(lab.router, far.wire) as wire:
        for target in (far.v4, far.v6):
            equal(traffic.ping(a.host, target, count=2, wait=0.3).received, 0, "replies beside the dead tunnel")
        seen = [f for f in wire.frames if is_ip(f) and (a.host.v4 in ends(f) or a.host.v6 in ends(f))]
    equal(seen, [], "packets that reached far beside the dead tunnel")
    a.down()
    equal(a.host.snapshot(), before, "the namespace after down")
    traffic.must_reach(a.host, far.v4, "far after down")
    # switched off, the machine falls back to its own way
    a.config["interface"]["kill_switch"] = "off"
    a.up()
    a.wait()
    traffic.must_reach(a.host, far.v4, "far through the tunnel, again")
    a.kill()
    traffic.must_reach(a.host, far.v4, "far without kill switch, beside the dead tunnel")
    a.down()
    equal(a.host.snapshot(), before, "the namespace in the end")


def is_ip(frame):
    """Whether a frame is an IP packet of a conversation: no ARP, no neighbour discovery, no MLD."""
    if len(frame) < 40 or frame[0] >> 4 not in (4, 6):
        return False
    return not (frame[0] >> 4 == 6 and (frame[6] == 0 or frame[6] == 58 and frame[40] >= 130))


def is_tunnel(frame, a, b):
    return frame[0] >> 4 == 4 and frame[9] == 17 and set(ends(frame)) == {a.host.v4, b.host.v4}
