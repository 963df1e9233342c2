"""Tunnels inside tunnels, and packets that would go round for ever."""

import os
import time

from lab import traffic
from lab.netns import address, veth
from lab.node import settle
from lab.registry import scenario
from lab.verdict import at_least, at_most, contains, equal, true, until
from lab.wire import capturing


@scenario("tunnel-in-tunnel", "a tunnel whose datagrams travel through another tunnel", limit=90)
def tunnel_in_tunnel(lab):
    a, b = lab.pair()
    inside = []
    for node in (a, b):
        number = node.index
        inner = lab.node(f"inner-{node.label}", host=node.host, interface={
            "name": "stadium1", "address": [f"10.8.0.{number}/24", f"fd08::{number}/64"], "listen": 51872})
        inner.v4, inner.v6 = f"10.8.0.{number}", f"fd08::{number}"
        inside.append(inner)
    left, right = inside
    # one end by the outer tunnel's IPv6, the other by its IPv4
    left.add_peer(right, endpoint=f"[{b.v6}]:51872")
    right.add_peer(left, endpoint=f"{a.v4}:51872")
    left.up()
    right.up()
    left.wait()
    right.wait()
    outer = a.status()["mtu"]
    equal((left.status()["mtu"], right.status()["mtu"]), (outer - 80, outer - 60), "MTUs of the inner tunnel")
    with capturing(lab.router, a.host.wire) as wire, capturing(a.host, "stadium0") as between:
        for target in (right.v4, right.v6):
            traffic.must_reach(a.host, target, "through both tunnels")
            traffic.tcp_exchange(a.host, b.host, target, size=2 << 20)
        traffic.must_reach(b.host, left.v4, "back through both tunnels")
    equal({d.target_port for d in wire.datagrams}, {51871}, "UDP ports on the wire")
    equal({d.target_port for d in between.datagrams}, {51872}, "UDP ports inside the outer tunnel")
    true(not any(d.fragment for d in wire.datagrams), "no outer packet is an IP fragment")
    left.down()
    traffic.must_reach(a.host, b.v4, "the outer tunnel outlives the inner one")


def processor_seconds(node):
    with open(f"/proc/{node.pid}/stat") as text:
        fields = text.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@scenario("loop-self", "a route leads a tunnel's own datagrams into it: bounded, and over when the route goes")
def loop_self(lab):
    a, b = lab.pair()
    tx, cpu = a.peer(b)["tx"]["packets"], processor_seconds(a)
    a.host.ip("route", "add", f"{b.host.v4}/32", "dev", "stadium0")
    sent = traffic.ping(a.host, b.v4, count=10, wait=0.2)
    equal(sent.received, 0, "replies while the tunnel carries itself")
    settle(2)
    # every turn adds 60 bytes, and ends at the MTU: (1440 - 84) / 60 turns at most
    turns = a.peer(b)["tx"]["packets"] - tx
    at_least(turns, 10, "packets that went round")
    at_most(turns, 1500, "packets that went round")
    at_most(processor_seconds(a) - cpu, 1, "seconds of processor time")
    equal(len(a.host.pids()), 2, "processes at a: the daemon and its helper")
    a.host.ip("route", "del", f"{b.host.v4}/32", "dev", "stadium0")
    until("b is reached again", lambda: traffic.reaches(a.host, b.v4, wait=0.5), timeout=20)
    traffic.must_reach(b.host, a.v4, "b to a, afterwards")


@scenario("loop-start", "allowed IPs that contain the peer's own endpoint: warned of at the start, no session, no storm")
def loop_start(lab):
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b, allowed=[f"{b.v4}/32", "10.77.2.0/24"])
    b.add_peer(a, endpoint=None)
    b.up()
    a.up()
    contains(a.log(), "endpoint 10.77.2.2 lies inside allowed_ips 10.77.2.0/24", "the warning")
    traffic.ping(a.host, b.v4, count=5, wait=0.2)
    settle(1)
    equal(a.peer(b)["session"], None, "session")
    at_most(processor_seconds(a), 1, "seconds of processor time")
    a.down()


@scenario("loop-peers", "two peers that route the same network to each other: the packet's TTL ends it")
def loop_peers(lab):
    a, b = lab.node("a"), lab.node("b")
    wide = ["172.16.0.0/12", "fd50::/16"]
    machine = lab.namespace("machine")
    veth(a.host, "lan", machine, "eth0")
    address(a.host, "lan", "172.16.1.1/24", "fd50:1::1/64")
    address(machine, "eth0", "172.16.1.2/24", "fd50:1::2/64")
    machine.ip("route", "add", "default", "via", "172.16.1.1")
    machine.ip("-6", "route", "add", "default", "via", "fd50:1::1")
    for node, other in ((a, b), (b, a)):
        node.host.forwarding()
        node.add_peer(other, allowed=[f"{other.v4}/32", f"{other.v6}/128", *wide])
    a.up()
    b.up()
    a.wait()
    for target, hops in (("172.31.9.1", 64), ("fd50:99::1", 64)):
        before = a.peer(b)["tx"]["packets"] + b.peer(a)["tx"]["packets"]
        start = time.monotonic()
        lost = traffic.ping(machine, target, count=1, wait=2)
        equal(lost.received, 0, "replies from nobody")
        contains(lost.text.lower(), "exceeded", "what the machine is told of its hop limit")
        at_most(round(time.monotonic() - start, 1), 5, "seconds")
        settle(0.3)
        gone = a.peer(b)["tx"]["packets"] + b.peer(a)["tx"]["packets"] - before
        at_least(gone, hops - 4, "turns of the packet")
        # and the notice on its way back
        at_most(gone, 2 * hops + 4, "packets that it made")
    traffic.must_reach(a.host, b.v4, "afterwards")
