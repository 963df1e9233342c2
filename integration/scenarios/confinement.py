"""What is left to a daemon that is turned against its host: nothing but its traffic."""

import os
import signal
import time

from lab import traffic
from lab.node import settle
from lab.registry import scenario
from lab.verdict import contains, equal, true, until

CAP_NET_ADMIN = 1 << 12


def status_of(pid, thread=None):
    """The fields of /proc/PID/status, of one thread where it is named."""
    path = f"/proc/{pid}/task/{thread}/status" if thread else f"/proc/{pid}/status"
    with open(path) as text:
        return dict(line.rstrip("\n").split(":\t", 1) for line in text if ":\t" in line)


def helper_of(node):
    helpers = [pid for pid in node.host.pids() if pid != node.pid and status_of(pid)["PPid"] == str(node.pid)]
    equal(len(helpers), 1, f"helpers of {node.label}")
    return helpers[0]


@scenario("confined", "no thread of the daemon holds a capability or may run a program; its helper holds one")
def confined(lab):
    a, b = lab.pair(a={"workers": 3})
    traffic.tcp_exchange(a.host, b.host, b.v4, size=1 << 20)
    threads = os.listdir(f"/proc/{a.pid}/task")
    true(len(threads) >= 4, f"threads: {threads}")
    for thread in threads:
        fields = status_of(a.pid, thread)
        for held in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            equal(int(fields[held], 16), 0, f"{held} of thread {thread}")
        equal((fields["NoNewPrivs"], fields["Seccomp"]), ("1", "2"), f"no_new_privs and seccomp of thread {thread}")
    helper = status_of(helper_of(a))
    for held in ("CapEff", "CapPrm"):
        equal(int(helper[held], 16), CAP_NET_ADMIN, f"{held} of the helper")
    contains(a.log(), "confined: no privileges", "the log")
    # the way back for who needs it
    a.down()
    a.up(args=["--no-confine"])
    true(int(status_of(a.pid)["CapEff"], 16) & CAP_NET_ADMIN, "with --no-confine it keeps its privileges")
    equal(len(a.host.pids()), 1, "processes with --no-confine")
    a.wait()


@scenario("confined-work", "a confined daemon reloads, roams, changes routes and marks, runs its hooks, and takes everything down")
def confined_work(lab):
    a, b = lab.node("a"), lab.node("b")
    marks = os.path.join(a.dir, "hooks.txt")
    a.config["interface"]["hooks"] = {stage: [f"echo {stage} >> {marks}; grep CapEff /proc/self/status >> {marks}"]
                                      for stage in ("pre_up", "post_up", "pre_down", "post_down")}
    before = a.host.snapshot()
    entry = a.add_peer(b)
    b.add_peer(a, endpoint=None)
    a.up()
    b.up()
    a.wait()
    session = a.session(b)["id"]
    # a default route comes and goes: a mark for sockets that were made before, rules and routes
    entry["allowed_ips"] = ["0.0.0.0/0", "::/0"]
    a.reload()
    contains(a.host.ip("rule", "show").out, "fwmark", "rules with a default route")
    traffic.must_reach(a.host, b.v4, "beside a default route")
    entry["allowed_ips"] = [f"{b.v4}/32", f"{b.v6}/128"]
    a.reload()
    true("fwmark" not in a.host.ip("rule", "show").out, "the rules are gone again")
    # others' changes are put back
    a.host.ip("addr", "del", f"{a.v4}/24", "dev", "stadium0")
    until("the address is back", lambda: a.v4 in a.host.ip("addr", "show", "dev", "stadium0").out, timeout=5)
    traffic.must_reach(a.host, b.v4)
    equal(a.session(b)["id"], session, "session")
    # a hook that was not there when the daemon was trusted does not run
    ran = os.path.join(a.dir, "new.txt")
    a.config["interface"]["hooks"]["post_down"] = [f"touch {ran}"]
    contains(a.reload().out, "restart", "what `reload` says of a new hook")
    a.down()
    true(not os.path.exists(ran), "a hook that came by reload waits for a restart")
    with open(marks) as text:
        lines = text.read().split("\n")
    equal([line for line in lines if line and "Cap" not in line], ["pre_up", "post_up", "pre_down", "post_down"], "hooks in order")
    for line in lines:
        if "CapEff" in line:
            true(int(line.split()[1], 16) & CAP_NET_ADMIN, f"a hook of root runs as root: {line}")
    equal(a.host.snapshot(), before, "the namespace after down")


@scenario("helper-killed", "without its helper a daemon says so and carries traffic on; `down` clears what it cannot")
def helper_killed(lab):
    a, b = lab.node("a"), lab.node("b")
    before = a.host.snapshot()
    a.add_peer(b)
    b.add_peer(a, endpoint=None)
    a.up()
    b.up()
    a.wait()
    os.kill(helper_of(a), signal.SIGKILL)
    until("the log says it", lambda: "privileged helper is gone" in a.log(), timeout=5)
    traffic.tcp_exchange(a.host, b.host, b.v4, size=1 << 20)
    a.config["peers"][0]["allowed_ips"].append("192.168.77.0/24")
    refused = a.reload(check=1)
    contains(refused.err, "helper is gone", "what `reload` says")
    contains(refused.err, "nothing has changed", "and that nothing changed")
    traffic.must_reach(a.host, b.v4)
    contains(a.down().err, "the daemon had left it", "what `down` says of what it cleared itself")
    until("the interface is gone", lambda: "stadium0" not in a.host.interfaces(), timeout=5)
    equal(a.host.snapshot(), before, "the namespace after down")


@scenario("helper-follows", "the helper ignores the signals of its daemon's group, and ends with the daemon, also a killed one")
def helper_follows(lab):
    a, b = lab.pair()
    helper = helper_of(a)
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(helper, sign)
    settle(0.3)
    equal(helper_of(a), helper, "the helper after SIGINT, SIGTERM and SIGHUP")
    # the whole group is told, as a terminal or a service manager does
    os.killpg(os.getpgid(a.pid), signal.SIGTERM)
    equal(a.process.wait(10), 0, "exit code of the daemon")
    a.process = None
    true("stadium0" not in a.host.interfaces(), "the interface is gone")
    until("the helper is gone", lambda: not os.path.exists(f"/proc/{helper}"), timeout=5)
    helper = helper_of(b)
    b.kill()
    start = time.monotonic()
    until("the helper of the killed daemon is gone", lambda: not os.path.exists(f"/proc/{helper}"), timeout=5)
    print(f"gone after {time.monotonic() - start:.3f} s")
