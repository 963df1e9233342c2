"""Noise: one size on the wire, the ratio, what an observer can read, negotiation, engines."""

import socket
import time
from collections import Counter

from lab import traffic
from lab.registry import scenario
from lab.verdict import at_least, at_most, equal, true
from lab.wire import capturing

from .two_hosts import battery

FULL = {"ratio": "1:1", "size": "match", "filler": "full", "accept": {"ratio": "4:1"}}
RATIOS = {"1:8": 1 / 8, "1:4": 1 / 4, "1:2": 1 / 2, "1:1": 1, "2:1": 2, "4:1": 4}


def pair(lab, noise, **more):
    # the full datagram of a 1420 MTU over IPv4 has 1480 bytes
    return lab.pair(a={"mtu": 1420}, b={"mtu": 1420}, top={"noise": noise}, **more)


def observed(capture, a, b):
    """What of DATA is readable: length, flags, type of service by the IP header, lane."""
    data = [d for d in capture.datagrams if d.kind == "data"]
    lengths = Counter(d.ip_length for d in data)
    flags = {d.payload[1] for d in data}
    lanes = {d.payload[15] for d in data}
    return lengths, flags, lanes


@scenario("noise-full", "filler full: one size on the wire for everything, no flag, no lane of control's own")
def noise_full(lab):
    a, b = pair(lab, FULL, up=False)
    with capturing(lab.router, a.host.wire) as capture:
        a.up()
        b.up()
        a.wait()
        b.wait()
        battery(a, b, 4)
        battery(a, b, 6, size=1 << 20)
        lab_ping(a, b)
    lengths, flags, lanes = observed(capture, a, b)
    equal(set(lengths), {1480}, f"lengths of outer packets: {lengths}")
    equal(flags, {0}, "flags of DATA")
    true(0 not in lanes, f"control's lane is not seen: {lanes}")
    handshakes = {len(d.payload) for d in capture.datagrams if d.kind in ("request", "consent")}
    true(handshakes and min(handshakes) >= 1440, f"handshakes are as long as data: {handshakes}")
    for node, other in ((a, b), (b, a)):
        peer = node.peer(other)
        equal(peer["noise"], {"byte": 130, "ratio": "1:1", "size": "match", "filler": "full"}, "noise")
        at_least(peer["tx"]["noise_packets"], 1000, f"noise of {node.label}")
        at_least(peer["rx"]["noise_packets"], 1000, f"noise that {node.label} received")
        equal(sum(v for k, v in node.drops().items()), 0, f"drops of {node.label}: {node.drops()}")


def lab_ping(a, b):
    """A heartbeat by hand: control frames go both ways."""
    a.cli("ping", a.file, b.label)


def ratio_of(node, other, before):
    peer = node.peer(other)["tx"]
    real = peer["packets"] - before["packets"]
    return real, (peer["noise_packets"] - before["noise_packets"]) / max(real, 1)


def flood(host, target, packets, rate):
    """Sends UDP packets of 200 bytes that nobody answers, at about this rate."""
    with host.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    began = time.monotonic()
    for number in range(packets):
        sock.sendto(bytes(200), (target, 9))
        ahead = number / rate - (time.monotonic() - began)
        if ahead > 0.002:
            time.sleep(ahead)
    sock.close()


def noise_ratio(lab, ratio):
    a, b = pair(lab, {**FULL, "ratio": ratio})
    sink = []
    for node in (a, b):
        with node.host.inside():
            sink.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sink[-1].bind((node.v4, 9))
    for node, other in ((a, b), (b, a)):
        before = node.peer(other)["tx"]
        real = 0
        for _ in range(5):
            # the kernel drops what a busy daemon does not fetch in time: those are sent again
            flood(node.host, other.v4, 100_000 - real, 8_000)
            time.sleep(0.1)
            real, achieved = ratio_of(node, other, before)
            if real >= 100_000:
                break
        at_least(real, 100_000, f"packets of {node.label}")
        at_most(abs(achieved / RATIOS[ratio] - 1), 0.005, f"{node.label}: {achieved:.5f} for {ratio}, error")
    for sock in sink:
        sock.close()


for _name in RATIOS:
    scenario(f"noise-ratio-{_name.replace(':', '-')}", f"noise of {_name} within half a per cent over 100,000 packets, both ways",
             limit=120, ratio=_name)(noise_ratio)


@scenario("noise-agree", "a counter-proposal within policy is taken, and said; outside it the error is `noise refused`")
def noise_agree(lab):
    a, b = lab.pair(a={"mtu": 1420}, b={"mtu": 1420}, up=False)
    a.config["noise"] = {**FULL, "ratio": "4:1"}
    b.config["noise"] = {"accept": {"ratio": "1:2"}}
    a.up()
    b.up()
    a.wait()
    equal(a.peer(b)["noise"]["ratio"], "1:2", "noise at the requester")
    equal(b.peer(a)["noise"]["ratio"], "1:2", "noise at the responder")
    true("runs with noise" in a.log(), "that it is weaker is said")
    traffic.must_reach(a.host, b.v4)
    a.down()
    a.config["noise"]["minimum"] = {"ratio": "1:1"}
    a.write()
    a.up()
    equal(traffic.ping(a.host, b.v4, count=2).lost, 2, "no traffic below the minimum")
    equal(a.peer(b)["last_error"], "noise refused", "last_error")


@scenario("noise-constant", "a constant rate, whether there is traffic or not")
def noise_constant(lab):
    a, b = pair(lab, {**FULL, "engine": "constant", "budget": "4mbit"})
    rates = []
    for busy in (False, True):
        with capturing(lab.router, a.host.wire) as capture:
            began = time.monotonic()
            if busy:
                traffic.ping(a.host, b.v4, count=60, interval=0.05, size=1000)
            else:
                time.sleep(3)
            seconds = time.monotonic() - began
        data = [d for d in capture.datagrams if d.kind == "data" and d.source == a.host.v4]
        rates.append(len(data) / seconds)
        equal({d.ip_length for d in data}, {1480}, "lengths")
    # 4 Mbit/s in datagrams of 1,500 bytes
    for rate in rates:
        at_least(rate, 300, f"packets a second of {rates}")
        at_most(rate, 365, f"packets a second of {rates}")


@scenario("noise-shaped", "the shaped engine passes everything, in order, with bounded delay")
def noise_shaped(lab):
    a, b = pair(lab, {**FULL, "ratio": "1:8", "engine": "shaped", "budget": "30mbit"})
    traffic.must_reach(a.host, b.v4, count=20, wait=3)
    traffic.tcp_exchange(a.host, b.host, b.v4, size=2 << 20)
