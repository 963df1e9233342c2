"""Daemons that die without a word, and what is left of them."""

import os
import signal

from lab import traffic
from lab.node import settle
from lab.registry import scenario
from lab.verdict import at_most, equal, true, until


def killed(lab, side):
    """`side` is killed with SIGKILL and started again; only the survivor sends. Back within 16 s."""
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b)
    b.add_peer(a)
    b.up()
    a.up()
    a.wait()  # a asked for the session: it is the initiator
    victim, survivor = (a, b) if side == "initiator" else (b, a)
    traffic.must_reach(survivor.host, victim.v4)
    worst = 0
    for _ in range(100 if lab.long else 1):
        pinging = traffic.Pinging(survivor.host, victim.v4, interval=0.2)
        settle(1)
        victim.kill()
        victim.up()
        before = pinging.replies()
        _, seconds = until("the survivor's pings are answered again", lambda p=pinging, n=before: p.replies() > n, timeout=25)
        pinging.stop()
        worst = max(worst, seconds)
        at_most(round(seconds, 1), 16, "seconds until traffic flowed again")
    traffic.must_reach(survivor.host, victim.v4)
    traffic.must_reach(victim.host, survivor.v4)
    if lab.long:
        lab.note(f"worst {worst:.1f} s")


scenario("kill-initiator", "kill -9 of the side that asked for the session; back within 16 s; --long: a hundred times", limit=60, long=2700, side="initiator")(killed)
scenario("kill-responder", "kill -9 of the side that answered; back within 16 s; --long: a hundred times", limit=60, long=2700, side="responder")(killed)


@scenario("kill-sender", "kill -9, and the restarted side speaks first: back at once")
def kill_sender(lab):
    a, b = lab.pair()
    for victim, other in ((a, b), (b, a)):
        victim.kill()
        victim.up()
        _, seconds = until("reached again", lambda v=victim, o=other: traffic.reaches(v.host, o.v4, wait=0.5), timeout=10)
        at_most(round(seconds, 1), 4, "seconds until the restarted side got through")


@scenario("leftovers", "after kill -9: `down` clears what is left, and so does the next `up`")
def leftovers(lab):
    a, b = lab.node("a", interface={"routes": {"table": 4711}}), lab.node("b")
    a.add_peer(b, allowed=[f"{b.v4}/32", "192.168.99.0/24"])
    b.add_peer(a)
    before = a.host.snapshot()
    b.up()
    a.up()
    a.wait()
    a.kill()
    done = a.down(check=0)
    equal(a.host.snapshot(), before, "the namespace after kill -9 and down")
    true(not os.path.exists(a.config["control"]["socket"]), f"the control socket is gone: {done}")
    a.down(check=3)  # nothing is left: not running
    a.up()
    a.wait()
    a.kill()
    a.up()  # over the leftovers
    a.wait()
    traffic.must_reach(a.host, b.v4, "after up over leftovers")
    a.down()
    equal(a.host.snapshot(), before, "the namespace after the last down")


@scenario("signals", "SIGTERM and SIGINT take down exactly what was added; the peer hears of it at once")
def signals(lab):
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b)
    b.add_peer(a)
    before = a.host.snapshot()
    b.up()
    for sig in (signal.SIGTERM, signal.SIGINT):
        a.up()
        a.wait()
        a.process.send_signal(sig)
        equal(a.process.wait(10), 0, f"exit code after {sig.name}")
        a.process = None
        equal(a.host.snapshot(), before, f"the namespace after {sig.name}")
        until("b knows that a closed", lambda: b.peer(a)["state"] == "closed", timeout=3)
        equal(b.peer(a)["session"], None, "session after a close")
    a.up()
    a.wait()
    traffic.must_reach(b.host, a.v4, "b reaches a after it came back")
