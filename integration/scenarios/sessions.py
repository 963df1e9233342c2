"""Sessions over time: rekeys, reloads."""

import os
import signal

from lab import traffic
from lab.node import settle
from lab.registry import scenario
from lab.verdict import at_least, at_most, contains, equal, true, until
from lab.wire import capturing


@scenario("rekey", "a rekey every 2 s under load loses no ping", limit=90)
def rekey(lab):
    a, b = lab.pair(env={"STADIUM_TEST_TIMERS": "rekey=2s"})
    true("STADIUM_TEST_TIMERS" in a.log(), "shortened timers are warned of in the log")
    first = a.session(b)["id"], a.peer(b)["handshakes"]
    pings = [traffic.Pinging(a.host, b.v4), traffic.Pinging(b.host, a.v6)]
    for _ in range(4):
        traffic.tcp_exchange(a.host, b.host, b.v4, size=8 << 20)
        settle(2.5)
    results = [p.stop() for p in pings]
    for who, result in zip("ab", results):
        at_least(result.sent, 300, f"pings sent by {who}")
        equal(result.lost, 0, f"pings lost by {who} of {result.sent}")
    session, handshakes = a.session(b)["id"], a.peer(b)["handshakes"]
    true(session != first[0], "the session id changes with a rekey")
    at_least(handshakes - first[1], 4, "rekeys in about ten seconds")
    for node in (a, b):
        for reason in ("bad_tag", "unknown_index", "replay"):
            equal(node.drops()[reason], 0, f"drops for {reason} at {node.label}")


@scenario("idle-no-rekey", "a session without payload is not rekeyed")
def idle_no_rekey(lab):
    a, b = lab.pair(env={"STADIUM_TEST_TIMERS": "rekey=2s"})
    settle(3)  # the session that carried the first handshake may still renew once
    before = a.peer(b)["handshakes"]
    settle(5)
    at_most(a.peer(b)["handshakes"] - before, 1, "handshakes of an idle pair in five seconds")


@scenario("expiry", "an idle session ends at its time, its keys are wiped, and the next packet makes a new one")
def expiry(lab):
    a, b = lab.pair(env={"STADIUM_TEST_TIMERS": "rekey=2s,reject=4s,wipe=7s"})
    traffic.must_reach(a.host, b.v4)
    # the id counts on the responder's side, and the responder changes here: count handshakes
    before = 0
    for node, other in ((a, b), (b, a)):
        until(f"{node.label} has no session any more", lambda n=node, o=other: n.peer(o)["session"] is None, timeout=25)
        equal(node.peer(other)["state"], "idle", f"state at {node.label}")
        before = b.peer(a)["handshakes"]
    until("the next packet gets through", lambda: traffic.reaches(b.host, a.v4, wait=0.5), timeout=5)
    equal(b.peer(a)["handshakes"], before + 1, "handshakes: it took a new session")


@scenario("reload-1000", "a thousand reloads with traffic: no ping lost, same session, no descriptor or memory lost", limit=240)
def reload_thousand(lab):
    a, b = lab.pair()
    extra = lab.node("extra", host=a.host)  # never started: a peer that comes and goes
    pinging = traffic.Pinging(a.host, b.v4)
    base = list(a.config["peers"])
    a.add_peer(extra, endpoint="10.77.9.9:9", allowed=["10.7.9.0/24"])
    with_extra = list(a.config["peers"])

    def reload(i):
        a.config["peers"] = with_extra if i % 2 == 0 else base
        if i % 10 == 9:
            a.write()
            os.kill(a.pid, signal.SIGHUP)
        else:
            a.reload()

    for i in range(50):
        reload(i)
    session = a.session(b)["id"]
    settle(0.5)
    before = a.descriptors(), a.rss_kib(), len(os.listdir(f"/proc/{a.pid}/task"))
    for i in range(50, 1000):
        reload(i)
    settle(0.5)
    after = a.descriptors(), a.rss_kib(), len(os.listdir(f"/proc/{a.pid}/task"))
    result = pinging.stop()
    print(f"descriptors, RSS KiB, threads: {before} -> {after}; pings {result.sent}, lost {result.lost}")
    equal(result.lost, 0, f"pings lost of {result.sent}")
    equal(a.session(b)["id"], session, "session id of the peer that never changed")
    equal(after[0], before[0], "open descriptors")
    equal(after[2], before[2], "threads")
    at_most(after[1] - before[1], 4096, "KiB of memory gained")
    equal(len(a.status()["peers"]), 1, "peers in the end")


@scenario("reload", "peers added, removed and changed in the running daemon; the others keep their session")
def reload(lab):
    a, b, c = lab.node("a"), lab.node("b"), lab.node("c")
    for node in (b, c):
        node.add_peer(a, endpoint=None)
    a.add_peer(b)
    for node in (b, c, a):
        node.up()
    a.wait()
    session = a.session(b)["id"]

    entry = a.add_peer(c)
    a.reload("--diff", check=None)
    a.reload()
    until("the new peer answers", lambda: traffic.reaches(a.host, c.v4), timeout=5)
    equal(a.session(b)["id"], session, "b's session after c was added")

    entry["allowed_ips"] = [f"{c.v4}/32", "192.168.50.0/24"]
    a.reload()
    true("stadium0" in a.host.ip("route", "get", "192.168.50.1").out, "the new prefix is routed")
    equal(a.peer(c)["allowed_ips"], [f"{c.v4}/32", "192.168.50.0/24"], "allowed IPs after the change")
    traffic.must_reach(a.host, c.v4, "c after a change of its prefixes")

    # what the handshake does not agree on is live for the peer itself, too
    own = a.session(c)["id"], a.peer(c)["handshakes"]
    for change in ({"heartbeat": "25s"}, {"heartbeat": "9s"}, {"heartbeat": None}, {"name": "carla"}):
        entry.update(change)
        for key in [key for key, value in change.items() if value is None]:
            del entry[key]
        report = a.reload().out
        contains(report, "live", f"what `reload` says of {change}")
        true("re-handshake" not in report, f"`reload` says of {change}: {report}")
        traffic.must_reach(a.host, c.v4, f"c after {change}")
        equal((a.session(c)["id"], a.peer(c)["handshakes"]), own, f"c's session and handshakes after {change}")
    # an endpoint that was learned stays known to the side that was told none
    learned = c.peer(a)["endpoint"]
    equal(learned, a.endpoint(4), "endpoint of a at c")
    c.config["peers"][0]["heartbeat"] = "25s"
    c.reload()
    equal(c.peer(a)["endpoint"], learned, "the learned endpoint after a reload")

    a.config["peers"].remove(entry)
    a.reload()
    until("c hears that it is removed", lambda: c.peer(a)["state"] == "closed", timeout=3)
    equal([p["name"] for p in a.status()["peers"]], ["b"], "peers after the removal")
    equal(traffic.ping(a.host, c.v4, count=2, wait=0.3).received, 0, "replies from the removed peer")
    true("192.168.50.0/24" not in a.host.ip("route", "show", "table", "all").out, "its route is gone")
    equal(a.session(b)["id"], session, "b's session in the end")


@scenario("reload-interface", "addresses, MTU and routes change in the running daemon; what needs a restart is said and left")
def reload_interface(lab):
    a, b = lab.node("a", interface={"workers": 2}), lab.node("b")
    before = a.host.snapshot()
    a.add_peer(b, allowed=[f"{b.v4}/32", f"{b.v6}/128", "192.168.60.0/24"])
    b.add_peer(a, endpoint=None, allowed=[f"{a.v4}/32", f"{a.v6}/128", "10.7.9.0/24"])
    a.up()
    b.up()
    a.wait()
    session = a.session(b)["id"]
    own = a.config["interface"]

    def change(effect, **keys):
        own.update(keys)
        report = a.reload().out
        for key in keys:
            line = next((line for line in report.splitlines() if f"interface.{key}:" in line), "")
            true(line.startswith(effect), f"`reload` says {effect} of {key}: {report}")
        traffic.must_reach(a.host, b.v4, f"b after {keys}")
        equal(a.session(b)["id"], session, f"session after {keys}")

    change("live", address=[f"{a.v4}/24", f"{a.v6}/64", "10.7.9.1/32"])
    traffic.must_reach(a.host, b.v4, "from the new address", source="10.7.9.1")
    change("live", address=[f"{a.v4}/24", f"{a.v6}/64"])
    true("10.7.9.1" not in a.host.ip("addr", "show", "dev", "stadium0").out, "the address is gone again")
    change("live", mtu=1300)
    equal((a.status()["mtu"], a.host.mtu("stadium0")), (1300, 1300), "MTU after the change")
    # routes move to a table, away, and back
    change("live", routes={"table": 4712})
    contains(a.host.ip("route", "show", "table", "4712").out, "192.168.60.0/24", "the route in its table")
    true("192.168.60.0/24" not in a.host.ip("route", "show").out, "and not in main")
    change("live", routes="off")
    true("192.168.60.0/24" not in a.host.ip("route", "show", "table", "all").out, "no route with routes: off")
    change("live", routes="auto")
    contains(a.host.ip("route", "show").out, "192.168.60.0/24", "the route in main again")
    # these wait, and are named again until there is a restart
    for _ in range(2):
        change("restart", listen=51999, workers=3)
    equal((a.status()["workers"], a.status()["listen"][0]), (2, "0.0.0.0:51871"), "workers and port until a restart")
    a.down()
    equal(a.host.snapshot(), before, "the namespace after down")
    a.up()
    a.wait()
    equal((a.status()["workers"], a.status()["listen"][0]), (3, "0.0.0.0:51999"), "workers and port after a restart")


@scenario("close", "`down` tells every peer at once; the next traffic asks again and finds the node when it is back")
def close(lab):
    hub = lab.node("hub")
    spokes = [lab.node(f"s{i}") for i in range(3)]
    for spoke in spokes:
        hub.add_peer(spoke, endpoint=None)
        spoke.add_peer(hub)
    for node in (hub, *spokes):
        node.up()
    for spoke in spokes:
        spoke.wait()
    with capturing(lab.router, hub.host.wire) as wire:
        hub.down()
        for spoke in spokes:
            until(f"{spoke.label} hears of it", lambda s=spoke: s.peer(hub)["state"] == "closed", timeout=2)
            equal(spoke.peer(hub)["session"], None, f"session of {spoke.label} after the close")
            contains(spoke.log(), "closed the session", f"the log of {spoke.label}")
        settle(1)
        sent = [d for d in wire.datagrams if d.source == hub.host.v4]
        equal({d.kind for d in sent}, {"data"}, "what the hub sent when it went down")
        at_least(len(sent), len(spokes), "close frames")
        # no traffic, no handshake: nobody runs after a node that said goodbye
        equal([d.kind for d in wire.datagrams if d.target == hub.host.v4], [], "what the spokes sent to it since")
    # traffic asks again, and the state says so
    traffic.ping(spokes[0].host, hub.v4, count=1, wait=0.2)
    until("traffic makes a handshake", lambda: spokes[0].peer(hub)["state"] == "handshaking", timeout=2)
    hub.up()
    for spoke in spokes:
        until(f"{spoke.label} reaches the hub again", lambda s=spoke: traffic.reaches(s.host, hub.v4, wait=0.5), timeout=10)


@scenario("reload-bad", "a bad file changes nothing: exit 2, the place named, traffic untouched")
def reload_bad(lab):
    a, b = lab.pair()
    session, before = a.session(b)["id"], a.host.snapshot()
    with open(a.file) as good:
        text = good.read()
    for bad in (text.replace("allowed_ips", "alowed_ips"), text.replace("10.7.0.", "10.7.0.x"), "interface: [", ""):
        with open(a.file, "w") as out:
            out.write(bad)
        result = a.reload(check=2, write=False)
        true(a.file in result.err, f"the error names the file: {result}")
        traffic.must_reach(a.host, b.v4, count=1)
    with open(a.file, "w") as out:
        out.write(text.replace("allowed_ips", "alowed_ips"))
    a.process.send_signal(signal.SIGHUP)
    settle(0.5)
    equal(a.process.poll(), None, "the daemon runs after SIGHUP with a bad file")
    equal(a.session(b)["id"], session, "session id")
    equal(a.host.snapshot(), before, "addresses and routes")
    true("alowed_ips" in a.log(), "the log says what is wrong with the file")


@scenario("reload-keys", "a changed preshared key re-handshakes; the same key on both sides meets again")
def reload_keys(lab):
    a, b = lab.pair()
    session = a.session(b)["id"]
    psk = a.genpsk()
    for node in (a, b):
        node.write_secret("pair.psk", psk)
        node.config["peers"][0]["preshared_key_file"] = "pair.psk"
        node.reload()
    until("a reaches b under the new key", lambda: traffic.reaches(a.host, b.v4, wait=0.5), timeout=10)
    true(a.session(b)["id"] != session or a.peer(b)["handshakes"] > 1, "a new handshake took place")
    traffic.must_reach(b.host, a.v4)
