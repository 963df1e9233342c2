"""Two hosts, every combination of IP versions inside and outside; several peers; many flows."""

from lab import traffic
from lab.registry import scenario
from lab.verdict import at_least, equal, true
from lab.wire import capturing


def battery(a, b, inner, size=4 << 20):
    """Ping both ways, TCP both ways with hashes, UDP of all sorts of sizes."""
    to_b, to_a = (b.v4, a.v4) if inner == 4 else (b.v6, a.v6)
    traffic.must_reach(a.host, to_b, "ping a to b")
    traffic.must_reach(b.host, to_a, "ping b to a")
    traffic.must_reach(a.host, to_b, "a flood", count=500, flood=True)
    traffic.tcp_exchange(a.host, b.host, to_b, size=size)
    traffic.tcp_exchange(b.host, a.host, to_a, size=size)
    missing = traffic.udp_exchange(a.host, b.host, to_b, [0, 1, 17, 512, 1200, 1372, 4000, 20000])
    equal(missing, [], "UDP sizes that never came back")


def two_hosts(lab, inner, outer):
    a, b = lab.pair(outer=outer)
    with capturing(lab.router, a.host.wire) as capture:
        battery(a, b, inner)
        kinds = {d.kind for d in capture.datagrams}
    equal(kinds, {"data"}, "kinds of outer datagrams while the session stands")
    equal({":" in d.source for d in capture.datagrams}, {outer == 6}, "outer packets are IPv6")
    for node, other in ((a, b), (b, a)):
        peer = node.peer(other)
        equal(peer["state"], "up", f"state of the peer at {node.label}")
        equal(peer["last_error"], None, f"last_error at {node.label}")
        true(peer["session"]["post_quantum"], "the session is post-quantum by default")
        equal(peer["session"]["handshake"], "encrypted", "handshake")
        true(peer["endpoint"] == other.endpoint(outer), f"endpoint at {node.label} is {peer['endpoint']}")


for _inner in (4, 6):
    for _outer in (4, 6):
        scenario(f"two-hosts-{_inner}in{_outer}", f"two hosts, IPv{_inner} inside IPv{_outer}: ping, TCP with hashes, UDP",
                 inner=_inner, outer=_outer)(two_hosts)


@scenario("counters", "byte and packet counters of both ends are exact")
def counters(lab):
    a, b = lab.pair()
    before = a.peer(b), b.peer(a)
    traffic.must_reach(a.host, b.v4, count=20, size=100)
    after = a.peer(b), b.peer(a)
    for side, (old, new) in enumerate(zip(before, after)):
        for way in ("rx", "tx"):
            equal(new[way]["packets"] - old[way]["packets"], 20, f"{way} packets of {'ab'[side]}")
            equal(new[way]["bytes"] - old[way]["bytes"], 20 * 128, f"{way} bytes of {'ab'[side]}")
    true(after[0]["last_handshake"] is not None, "the time of the last handshake is told")
    true(after[0]["last_received"] is not None, "the time of the last packet is told")
    at_least(after[0]["handshakes"], 1, "handshakes")


@scenario("several-peers", "one node with five peers, each reached under its own addresses", limit=90)
def several_peers(lab):
    hub = lab.node("hub")
    spokes = [lab.node(f"s{i}") for i in range(5)]
    for i, spoke in enumerate(spokes):
        outer = 4 if i % 2 else 6
        hub.add_peer(spoke, outer=outer, endpoint=None)
        spoke.add_peer(hub, outer=outer)
    for node in [hub, *spokes]:
        node.up()
    for spoke in spokes:
        spoke.wait()
    for spoke in spokes:
        traffic.must_reach(hub.host, spoke.v4, "hub to spoke, IPv4")
        traffic.must_reach(hub.host, spoke.v6, "hub to spoke, IPv6")
        traffic.tcp_exchange(spoke.host, hub.host, hub.v4, size=1 << 20)
    ids = [hub.session(spoke)["id"] for spoke in spokes]
    equal(len(set(ids)), len(ids), "session ids are unique")
    equal([p["name"] for p in hub.status()["peers"]], [s.label for s in spokes], "peers in the order of the file")


def parallel(lab, flows, size, a_side=None):
    a, b = lab.pair(a=a_side, b=a_side)
    for inner in ((b.v4, "IPv4"), (b.v6, "IPv6")):
        traffic.tcp_exchange(a.host, b.host, inner[0], size=size, flows=flows, timeout=100)
    for node, other in ((a, b), (b, a)):
        drops = node.drops()
        for reason in ("bad_tag", "replay", "malformed", "unknown_index"):
            equal(drops[reason], 0, f"drops for {reason} at {node.label}")
        equal(node.peer(other)["session"]["id"], node.session(other)["id"], "session")


scenario("flows-50", "50 parallel TCP flows, content checked by hash", limit=240, flows=50, size=1 << 20)(parallel)
scenario("flows-5", "5 parallel TCP flows, content checked by hash", limit=120, flows=5, size=4 << 20)(parallel)
scenario("flows-4-workers", "20 parallel TCP flows through four workers", limit=180,
         flows=20, size=2 << 20, a_side={"workers": 4})(parallel)
scenario("flows-no-offload", "5 parallel TCP flows with offloads off", limit=180,
         flows=5, size=2 << 20, a_side={"offload": "off"})(parallel)


@scenario("workers-4", "four workers: each has a lane of its own, and the flows use several", limit=180)
def workers(lab):
    a, b = lab.pair(a={"workers": 4}, b={"workers": 1})
    equal((a.status()["workers"], b.status()["workers"]), (4, 1), "workers")
    with capturing(lab.router, a.host.wire) as wire:
        traffic.tcp_exchange(a.host, b.host, b.v4, size=256 << 10, flows=24, timeout=100)
        traffic.tcp_exchange(a.host, b.host, b.v6, size=256 << 10, flows=24, timeout=100)
    # the lane is the top byte of the counter
    lanes = {source: {d.payload[15] for d in wire.of("data", source=source)} for source in (a.host.v4, b.host.v4)}
    at_least(len(lanes[a.host.v4] - {0}), 3, f"lanes that a sent payload on, of {lanes[a.host.v4]}")
    equal(lanes[b.host.v4] - {0}, {1}, "lanes that b sent payload on")
    for node in (a, b):
        drops = node.drops()
        for reason in ("bad_tag", "replay", "malformed", "unknown_index"):
            equal(drops[reason], 0, f"drops for {reason} at {node.label}")
    # from four to one and back: a restart with another number meets the same peer
    a.down()
    a.config["interface"]["workers"] = 2
    a.up()
    a.wait()
    equal(a.status()["workers"], 2, "workers after a restart")
    traffic.tcp_exchange(a.host, b.host, b.v4, size=1 << 20, flows=4)
