"""Two sides that do not agree: nothing flows, and the right side says why."""

from lab import traffic
from lab.node import settle
from lab.registry import scenario
from lab.verdict import at_least, contains, equal, true, until
from lab.wire import capturing


def no_traffic(a, b):
    equal(traffic.ping(a.host, b.v4, count=3, wait=0.3).received, 0, "replies")
    for node, other in ((a, b), (b, a)):
        if any(p["public_key"] == other.public_key for p in node.status()["peers"]):
            true(node.peer(other)["state"] != "up", f"no session at {node.label}")


def says(node, other, error):
    until(f"{node.label} says {error!r}", lambda: node.peer(other)["last_error"] == error, timeout=10)


@scenario("wrong-key", "a has a wrong public key for b: b stays silent and counts bad_mac, a has no answer")
def wrong_key(lab):
    a, b = lab.node("a"), lab.node("b")
    entry = a.add_peer(b)
    entry["public_key"] = wrong = a.pubkey(a.genkey())
    b.add_peer(a, endpoint=None)
    b.up()
    a.up(env={"STADIUM_TEST_TIMERS": "give_up=6s"})
    with capturing(lab.router, b.host.wire) as capture:
        equal(traffic.ping(a.host, b.v4, count=3, wait=0.5).received, 0, "replies")
        equal(a.peer(wrong)["state"], "handshaking", "state at a while it tries")
        until("b counts bad_mac", lambda: b.drops()["bad_mac"] >= 2, timeout=10)
        equal([d.kind for d in capture.datagrams if d.source == b.host.v4], [], "datagrams that b sent")
    equal(a.peer(wrong)["session"], None, "session at a")
    equal(a.cli("wait", a.file, "--timeout", "1s", check=None).rc, 1, "exit code of wait")
    until("a gives up", lambda: a.peer(wrong)["state"] == "down", timeout=20)
    equal(a.peer(wrong)["last_error"], "no answer", "last_error at a")
    traffic.ping(a.host, b.v4, count=1, wait=0.2)
    until("the next packet makes a try again", lambda: a.peer(wrong)["state"] == "handshaking", timeout=2)


@scenario("unknown-peer", "b does not know a: a is told `unknown peer`, b counts it; once b knows a, it works")
def unknown_peer(lab):
    a, b, c = lab.node("a"), lab.node("b"), lab.node("c")
    a.add_peer(b)
    b.add_peer(c, endpoint=None)
    b.up()
    a.up()
    traffic.ping(a.host, b.v4, count=2, wait=0.3)
    says(a, b, "unknown peer")
    at_least(b.drops()["unknown_peer"], 1, "unknown_peer drops at b")
    no_traffic(a, b)
    b.add_peer(a, endpoint=None)
    b.reload()
    until("a reaches b once b knows it", lambda: traffic.reaches(a.host, b.v4, wait=0.5), timeout=10)
    equal(a.peer(b)["last_error"], None, "last_error once it works")


@scenario("stealth", "a stealth node answers an unknown peer with nothing at all")
def stealth(lab):
    a, b, c = lab.node("a"), lab.node("b", interface={"stealth": True}), lab.node("c")
    a.add_peer(b)
    b.add_peer(c, endpoint=None)
    b.up()
    a.up()
    with capturing(lab.router, b.host.wire) as capture:
        traffic.ping(a.host, b.v4, count=3, wait=1)
        settle(1)
        equal([d.kind for d in capture.datagrams if d.source == b.host.v4], [], "datagrams that b sent")
        at_least(len(capture.of("request")), 2, "requests that reached b")
    at_least(b.drops()["unknown_peer"], 1, "unknown_peer drops at b")
    no_traffic(a, b)


def wrong_psk(lab, one_sided):
    a, b = lab.node("a"), lab.node("b")
    a.write_secret("b.psk", a.genpsk())
    b.write_secret("a.psk", b.genpsk())
    a.add_peer(b, preshared_key_file="b.psk")
    b.add_peer(a, endpoint=None, **({} if one_sided else {"preshared_key_file": "a.psk"}))
    b.up()
    a.up()
    traffic.ping(a.host, b.v4, count=2, wait=0.3)
    says(a, b, "preshared key or identity mismatch")
    no_traffic(a, b)
    # the right key ends it
    with open(f"{a.dir}/b.psk") as key:
        b.write_secret("a.psk", key.read().strip())
    b.config["peers"][0]["preshared_key_file"] = "a.psk"
    b.reload()
    until("a reaches b with the right key", lambda: traffic.reaches(a.host, b.v4, wait=0.5), timeout=15)
    equal(a.peer(b)["last_error"], None, "last_error once it works")


scenario("wrong-psk", "different preshared keys: `preshared key or identity mismatch`, no traffic; then the right one",
         one_sided=False)(wrong_psk)
scenario("missing-psk", "a preshared key at one side only: the same", one_sided=True)(wrong_psk)


@scenario("own-key", "one's own key as a peer is refused, with the place in the file")
def own_key(lab):
    a = lab.node("a")
    entry = a.add_peer(a, endpoint="10.77.200.1:51871")
    entry["name"] = "myself"
    a.write()
    with open(a.file) as text:
        line = next(n for n, each in enumerate(text, 1) if a.public_key in each)
    before = a.host.snapshot()
    for result in (a.cli("check", a.file, check=2), a.cli("up", a.file, check=2)):
        contains(result.err, f"{a.file}:{line}:", "the place of the error")
        contains(result.err, "own", "the error says that it is one's own key")
    equal(a.host.snapshot(), before, "the namespace")


@scenario("network-key", "a wrong network key is met with silence and counted as bad_mac; the right one works")
def network_key(lab):
    a, b = lab.node("a"), lab.node("b")
    for node in (a, b):
        node.write_secret("net.key", node.genpsk())
        node.config["interface"]["network_key_file"] = "net.key"
    a.add_peer(b)
    b.add_peer(a, endpoint=None)
    b.up()
    a.up()
    with capturing(lab.router, b.host.wire) as capture:
        traffic.ping(a.host, b.v4, count=3, wait=0.7)
        until("b counts bad_mac", lambda: b.drops()["bad_mac"] >= 1, timeout=5)
        equal([d.kind for d in capture.datagrams if d.source == b.host.v4], [], "datagrams that b sent")
    no_traffic(a, b)
    a.down()
    b.down()
    with open(f"{a.dir}/net.key") as key:
        b.write_secret("net.key", key.read().strip())
    b.up()
    a.up()
    a.wait()
    traffic.must_reach(a.host, b.v4, "with the same network key")


def policy(lab, left, right, quantum, error=None):
    """Two `post_quantum` policies: the session they make, or the error a gets."""
    a, b = lab.node("a", post_quantum=left), lab.node("b", post_quantum=right)
    a.add_peer(b)
    b.add_peer(a, endpoint=None)
    b.up()
    a.up()
    if error:
        traffic.ping(a.host, b.v4, count=2, wait=0.3)
        says(a, b, error)
        no_traffic(a, b)
    else:
        a.wait(20)
        traffic.must_reach(a.host, b.v4)
        for node, other in ((a, b), (b, a)):
            equal(node.session(other)["post_quantum"], quantum, f"post_quantum at {node.label}")


scenario("pq-default", "both prefer: post-quantum", left="prefer", right="prefer", quantum=True)(policy)
scenario("pq-require", "both require: post-quantum", left="require", right="require", quantum=True)(policy)
scenario("pq-off", "one side off, the other prefers: a session without", left="off", right="prefer", quantum=False)(policy)
scenario("pq-peer-off", "the answering side off: a session without", left="prefer", right="off", quantum=False)(policy)
scenario("pq-refused", "off against require: `post-quantum required`", left="off", right="require", quantum=None,
         error="post-quantum required")(policy)


@scenario("pq-strict", "require against off: the classic answer is not taken, no session")
def pq_strict(lab):
    a, b = lab.node("a", post_quantum="require"), lab.node("b", post_quantum="off")
    a.add_peer(b)
    b.add_peer(a, endpoint=None)
    b.up()
    a.up()
    traffic.ping(a.host, b.v4, count=3, wait=0.5)
    settle(2)
    no_traffic(a, b)


def ciphers(lab, left, right, chosen):
    a, b = lab.node("a", ciphers=left), lab.node("b", ciphers=right)
    a.add_peer(b)
    b.add_peer(a, endpoint=None)
    b.up()
    a.up()
    traffic.ping(a.host, b.v4, count=1, wait=1)
    if chosen is None:
        says(a, b, "no common cipher")
        no_traffic(a, b)
        return
    a.wait()
    for node, other in ((a, b), (b, a)):
        equal(node.session(other)["cipher"], chosen, f"cipher at {node.label}")
    traffic.tcp_exchange(a.host, b.host, b.v4, size=4 << 20)


AES, CHACHA = "aes-256-gcm", "chacha20-poly1305"
scenario("cipher-aes", "AES-256-GCM where both want it", left=[AES], right=[AES, CHACHA], chosen=AES)(ciphers)
scenario("cipher-chacha", "ChaCha20-Poly1305 where both want it", left=[CHACHA], right=[AES, CHACHA], chosen=CHACHA)(ciphers)
scenario("cipher-order", "the requester's order decides", left=[CHACHA, AES], right=[AES, CHACHA], chosen=CHACHA)(ciphers)
scenario("cipher-none", "no common cipher: the requester is told", left=[AES], right=[CHACHA], chosen=None)(ciphers)


@scenario("open-handshake", "an open handshake works only where allowed, and the status says `open`")
def open_handshake(lab):
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b, handshake="open")
    b.add_peer(a, endpoint=None)
    b.up()
    a.up()
    no_traffic(a, b)
    b.down()
    b.config["interface"]["allow_open"] = True
    b.up()
    until("a reaches b once b allows it", lambda: traffic.reaches(a.host, b.v4, wait=0.5), timeout=12)
    for node, other in ((a, b), (b, a)):
        equal(node.session(other)["handshake"], "open", f"handshake at {node.label}")
    traffic.tcp_exchange(a.host, b.host, b.v4, size=1 << 20)
