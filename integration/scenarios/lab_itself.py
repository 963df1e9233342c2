"""The lab without Stadium: that its traffic, captures and forgeries do what scenarios trust them to."""

import copy
import os

from lab import peerfile, schema, traffic, verdict
from lab.node import settle
from lab.registry import scenario
from lab.relay import Relay
from lab.verdict import Failure, at_least, equal, true
from lab.wire import capturing, inject


def fails(action):
    try:
        action()
    except Failure:
        return True
    return False


@scenario("lab", "the lab itself, with plain sockets: traffic, capture, forged sources, relay, schema", limit=60)
def lab_itself(lab):
    a, b = lab.host("a"), lab.host("b")
    before = a.snapshot()
    for target in (b.v4, b.v6):
        traffic.must_reach(a, target)
        traffic.tcp_exchange(a, b, target, size=1 << 20, flows=8)
        equal(traffic.udp_exchange(a, b, target, [0, 1, 100, 1400, 3000]), [], "UDP sizes missing")
    true(fails(lambda: traffic.must_reach(a, "10.77.77.77", count=1, wait=0.2)), "a ping into nowhere fails")
    equal(traffic.udp_exchange(a, a, "127.0.0.1", [10], port=7009), [], "UDP over loopback")
    equal(a.snapshot(), before, "the snapshot is the same when nothing changed")
    a.ip("route", "add", "192.168.3.0/24", "via", "10.77.1.1")
    true(a.snapshot() != before, "the snapshot sees a new route")
    captures_and_forgeries(lab, a, b)
    relays(lab, a, b)
    schemas()
    equal(peerfile.dump({"a": {"b": "auto", "c": ["x"]}, "peers": [{"n": 1, "m": True}]}),
          'a:\n  b: auto\n  c: ["x"]\npeers:\n  - n: 1\n    m: true\n', "a peer file")


def captures_and_forgeries(lab, a, b):
    for source, target in ((a.v4, b.v4), (a.v6, b.v6)):
        echo = traffic.UdpEcho(b, target, 7003)
        with capturing(lab.router, b.wire) as wire:
            sock = a.socket(traffic.family(target), 2)
            sock.settimeout(2)
            sock.sendto(b"\x04" + bytes(40), (target, 7003))
            equal(len(sock.recv(100)), 41, "echoed bytes")
            settle(0.2)
            model = wire.of("data", source=source)[0]
            inject(lab.router, model, source=source[:-1] + "9", payload=b"StadiumP")
            settle(0.2)
            # forged ones arrive as they were written, and the echo answers the forged source
            equal(len(wire.of("request", source=source[:-1] + "9")), 1, "forged datagrams seen")
            equal(len(wire.of("request", target=source[:-1] + "9")), 1, "answers to the forged source")
            sock.close()
        echo.close()
    # a run sent with UDP GSO is seen as its datagrams
    with capturing(lab.router, a.wire) as wire:
        sock = a.socket(2, 2)
        sock.setsockopt(17, 103, 100)  # UDP_SEGMENT
        sock.sendto(b"\x04" * 950, (b.v4, 7004))
        settle(0.2)
        sizes = [len(d.payload) for d in wire.datagrams]
        sock.close()
    equal(sizes, [100] * 9 + [50], "datagrams of a GSO run")


def relays(lab, a, b):
    middle = lab.host("middle")
    echo = traffic.UdpEcho(b, b.v4, 7005)
    relay = Relay(middle, (middle.v4, 7006), (b.v4, 7005))
    sock = a.socket(2, 2)
    sock.settimeout(2)
    for _ in range(2):
        payload = os.urandom(32)
        sock.sendto(payload, (middle.v4, 7006))
        equal(sock.recv(100), payload, "through the relay")
        relay.rebind()
        settle(0.1)
    sock.close()
    relay.close()
    echo.close()


def schemas():
    key = "A" * 43 + "="
    count = {"bytes": 1, "packets": 1, "noise_packets": 0, "noise_bytes": 0}
    peer = {"name": None, "public_key": key, "endpoint": "[fd00::1]:5", "allowed_ips": ["10.0.0.0/8"], "state": "up",
            "last_error": None, "session": None, "handshakes": 0, "last_handshake": "2026-01-01T00:00:00.5Z",
            "last_received": None, "rx": count, "tx": {**count, "filler_bytes": 0}, "rtt_ms": None,
            "noise": {"byte": 0, "ratio": "off", "size": "match", "filler": "off"}}
    checked = schema.load()
    drops = {name: 0 for name in checked.root["$defs"]["interface"]["properties"]["drops"]["required"]}
    good = {"schema": 1, "interfaces": [{
        "name": "stadium0", "public_key": key, "listen": ["0.0.0.0:1"], "mtu": 1420, "workers": 1,
        "offload": {"tun": True, "udp_gso": True, "udp_gro": True}, "uptime_s": 0.1, "drops": drops, "peers": [peer]}]}
    equal(list(checked.errors(good)), [], "errors of a good status")
    faults = (("mtu", "1420"), ("drops", {}), ("drops", {**drops, "replay": -1}), ("listen", []), ("uptime_s", -1),
              ("workers", True),
              ("peers", [{**peer, "state": "fine"}]), ("peers", [{**peer, "last_error": "odd"}]),
              ("peers", [{**peer, "endpoint": "b.example:5"}]), ("peers", [{**peer, "last_handshake": "now"}]),
              ("peers", [{**peer, "rx": {}}]), ("peers", [{**peer, "noise": None}]))
    for name, value in faults:
        bad = copy.deepcopy(good)
        bad["interfaces"][0][name] = value
        at_least(len(list(checked.errors(bad))), 1, f"errors with {name} = {value!r}")
    true(fails(lambda: verdict.until("never", lambda: False, timeout=0.1)), "until gives up")
