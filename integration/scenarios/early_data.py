"""Early data: the first packet after a silence leaves at once with the request for a session."""

import socket
import time

from lab import wire
from lab.node import PORT, settle
from lab.registry import scenario
from lab.relay import Relay
from lab.verdict import at_least, at_most, equal, true, until

DELAY = 0.3  # seconds, each way
WAITED = 0.85  # seconds; what waits for the session takes three delays, what leaves with the request takes one
TIMERS = {"STADIUM_TEST_TIMERS": "reject=3s,wipe=5s", "RUST_LOG": "debug"}


class Path:
    """`a` reaches `b` through a relay that delays, and remembers what passed which way."""

    def __init__(self, lab, early):
        interface = {"early_data": True} if early else {}
        self.a, self.b = lab.node("a", interface=interface), lab.node("b", interface=interface)
        at = lab.host("relay")
        self.passed = []
        self.relay = Relay(at, (at.v4, PORT), (self.b.host.v4, PORT), filter=self._note, delay=DELAY)
        lab.on_close(self.relay.close)
        self.a.add_peer(self.b, endpoint=f"{at.v4}:{PORT}")
        self.b.add_peer(self.a, endpoint=None)
        self.b.up(env=TIMERS)
        self.a.up(env=TIMERS)
        self.a.wait()
        self.sender = self.a.host.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.receiver = self.b.host.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.receiver.bind(("0.0.0.0", 7010))
        lab.on_close(self.sender.close)
        lab.on_close(self.receiver.close)
        self.idle()

    def _note(self, direction, payload):
        self.passed.append((direction, payload))
        return [payload]

    def idle(self):
        """Waits until the session is over, which takes 180 s with the timers of every day."""
        until("a has no session any more", lambda: self.a.peer(self.b)["session"] is None, timeout=10)
        settle(3 * DELAY)
        self.passed.clear()

    def send(self, text):
        """Sends a packet through the tunnel; returns after how many seconds it arrived, and what had
        passed the relay by then."""
        started = time.monotonic()
        self.sender.sendto(text, (self.b.v4, 7010))
        self.receiver.settimeout(5)
        equal(self.receiver.recv(2000), text, "what arrived")
        return time.monotonic() - started, [(way, wire.kind(payload)) for way, payload in self.passed]

    def nothing_more(self, what):
        self.receiver.settimeout(1)
        try:
            extra = self.receiver.recv(2000)
        except TimeoutError:
            return
        true(False, f"{what}: {extra} was delivered again")

    def replay(self, datagrams):
        for payload in datagrams:
            self.relay.back.sendto(payload, self.relay.target)

    def said(self, node, text):
        return node.log().count(text)


@scenario("early-data", "the first packet after a silence leaves with the request, and arrives a round trip earlier")
def early_data(lab):
    path = Path(lab, early=True)
    seconds, passed = path.send(b"first")
    at_most(round(seconds, 2), WAITED, "seconds until the first packet arrived")
    equal(passed[:2], [("out", "request"), ("out", "data")], "what passed the relay first")
    # the answer to the request reaches `a` two delays after it left; the packet is there by then
    true(("out", "data") not in passed[2:], f"nothing but the early packet was needed: {passed}")
    until("a hears of it", lambda: path.said(path.a, "early data was taken"), timeout=5)
    path.nothing_more("after the session began")
    equal(path.a.peer(path.b)["tx"]["packets"], 1, "packets that a counts as sent")
    equal(path.b.peer(path.a)["rx"]["packets"], 1, "packets that b counts as received")
    sent = [payload for way, payload in path.passed if way == "out"][:2]

    # who asked has its answer in the same session, and the other side needs no handshake of its own
    equal([kind for way, kind in passed if way == "back" and kind == "request"], [], "requests of b")

    # a replay, at once and when the session is over, delivers nothing
    before = path.b.drops()
    path.replay(sent)
    path.nothing_more("after a replay at once")
    after = path.b.drops()
    at_least(after["repeated_request"], before["repeated_request"] + 1, "repeated requests at b")
    at_least(after["replay"], before["replay"] + 1, "replays at b")
    path.idle()
    path.replay(sent)
    path.nothing_more("after a replay later")

    # a restarted peer knows no ticket: the packet goes again, with the session
    path.b.kill()
    path.b.up(env=TIMERS)
    path.replay(sent)
    path.nothing_more("after a replay to a restarted peer")
    seconds, passed = path.send(b"second")
    at_least(round(seconds, 2), WAITED, "seconds until a packet arrived that was refused")
    true(("back", "consent") in passed, f"it arrived after the consent: {passed}")
    equal(path.said(path.a, "early data was not taken"), 1, "times that a was refused")
    path.nothing_more("after the refusal")
    equal(path.a.peer(path.b)["tx"]["packets"], 2, "packets that a counts as sent")

    # and the next one goes early again
    path.idle()
    seconds, passed = path.send(b"third")
    at_most(round(seconds, 2), WAITED, "seconds until the packet after the next silence arrived")
    path.nothing_more("at the end")


@scenario("early-data-control", "without `early_data` the first packet waits for the session: proves that `early-data` can fail")
def early_data_control(lab):
    path = Path(lab, early=False)
    seconds, passed = path.send(b"first")
    at_least(round(seconds, 2), WAITED, "seconds until the first packet arrived")
    equal([kind for way, kind in passed if way == "out"][0], "request", "what left first")
    true(("back", "consent") in passed, f"it waited for the consent: {passed}")
