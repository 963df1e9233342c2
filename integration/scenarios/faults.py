"""What fails in the machine: calls, interfaces, links, disks, descriptors, namespaces, clocks.

In every scenario: no panic, no lock-out, and a log that says once what happened.
"""

import os
import random
import resource
import signal
import socket
import time

from lab import shell, traffic
from lab.faults import Failing, SmallDisk
from lab.node import settle
from lab.registry import scenario
from lab.verdict import Failure, at_least, at_most, contains, equal, true, until

SENDING, RECEIVING = ("sendmmsg", "sendmsg"), ("recvmmsg",)
DEVICE, WAITING = ("read", "readv", "writev"), ("poll", "ppoll", "epoll_wait", "epoll_pwait")

# which calls may fail with what, as the manual pages have it
ERRORS = {
    "ENOBUFS": {"ENOBUFS": SENDING},
    "ENETUNREACH": {"ENETUNREACH": SENDING},
    "EMSGSIZE": {"EMSGSIZE": SENDING},
    # not of read: a timer or counter that is readable never says so, and epoll, which tells of an
    # edge once, would be right to wait for the next one
    "EAGAIN": {"EAGAIN": SENDING + RECEIVING + ("writev",)},
    "EINTR": {"EINTR": SENDING + RECEIVING + DEVICE + WAITING},
}


def calm(*nodes, lines=30, since=None):
    """No panic in any log, and not more than so many lines that are not of a start or an end."""
    for node in nodes:
        text = node.log()[(since or {}).get(node, 0):]
        true("panic" not in text, f"the log of {node.label} tells of a panic")
        at_most(len(text.splitlines()), lines, f"log lines of {node.label}: {text[-1500:]}")


def alive(node):
    equal(node.process.poll(), None, f"exit code of {node.label}'s daemon, which should run")


@scenario("faults-of-calls", "ENOBUFS, ENETUNREACH, EMSGSIZE, EAGAIN and EINTR in one of a hundred system calls, rekeys included", limit=300)
def calls(lab):
    a, b = lab.pair(env={"STADIUM_TEST_TIMERS": "rekey=2s"})
    for name, where in ERRORS.items():
        before = {node: len(node.log()) for node in (a, b)}
        handshakes = a.peer(b)["handshakes"]
        failing = [Failing(node, where) for node in (a, b)]
        traffic.tcp_exchange(a.host, b.host, b.v4, size=2 << 20, timeout=60)
        lost = traffic.ping(a.host, b.v4, count=300, interval=0.005, wait=2)
        # without payload there would be none
        pinging = traffic.Pinging(a.host, b.v4)
        until(f"two rekeys under {name}", lambda h=handshakes: a.peer(b)["handshakes"] >= h + 2, timeout=20)
        pinging.stop()
        struck = [each.stop() for each in failing]
        for node, counts in zip((a, b), struck):
            at_least(sum(counts.values()), 2, f"calls of {node.label} that failed with {name}: {counts}")
            alive(node)
        calm(a, b, since=before)
        # of a ping's four calls each may fail; what waits for an answer must not pile up
        at_most(lost.lost, max(5, lost.sent // 10), f"pings lost of {lost.sent} under {name}")
        traffic.must_reach(a.host, b.v4, f"after {name}", count=20)
        lab.note(f"{name}: {sum(sum(c.values()) for c in struck)} calls failed, {lost.lost} of {lost.sent} pings lost")


def load(node, target, stop, port=7003):
    """Datagrams of 1,200 bytes at a few thousand a second; a thread's work."""
    with node.host.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        while not stop["now"]:
            for _ in range(20):
                try:
                    sock.sendto(bytes(1200), (target, port))
                except OSError:
                    pass  # no route while the interface is gone, or the ICMP error of an earlier one
            time.sleep(0.01)


@scenario("kills", "kill -9 under load, again and again, each side: back within 5 s after the restarted side speaks; --long: 100 times each",
          limit=150, long=1200)
def kills(lab):
    import threading

    a, b = lab.pair()
    dice = random.Random(5)
    worst = {}
    for victim, survivor in ((b, a), (a, b)):
        stop = {"now": False}
        blast = threading.Thread(target=load, args=(survivor, victim.v4, stop), daemon=True)
        blast.start()
        for _ in range(100 if lab.long else 4):
            settle(dice.uniform(0.2, 1.2))
            alive(survivor)
            victim.kill()
            settle(dice.uniform(0, 0.5))
            victim.up()
            # it speaks: its own ping is what makes it
            _, seconds = until("the restarted side is answered", lambda v=victim, s=survivor: traffic.reaches(v.host, s.v4, wait=0.2), timeout=16)
            worst[victim.label] = max(worst.get(victim.label, 0), seconds)
            at_most(round(seconds, 2), 5, f"seconds until {victim.label} was back")
        stop["now"] = True
        blast.join(5)
        traffic.must_reach(survivor.host, victim.v4, "in the end")
    for node in (a, b):
        true("panic" not in node.log(), f"no panic of {node.label}")
    lab.note("worst: " + ", ".join(f"{who} {seconds:.1f} s" for who, seconds in worst.items()))


@scenario("clocks", "a clock that is wrong by ten years, either way and on either side, and right again after a restart: nobody is locked out", limit=120)
def clocks(lab):
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b)
    b.add_peer(a, endpoint=None)
    b.up()
    slowest = 0
    for side in (a, b):
        # the step from +3650d to none, and to -3650d, is a clock that went back
        for error in ("+3650d", None, "-3650d", "+3650d", "-3650d", None):
            if side.process:
                side.down()
            stale = b.drops()["stale_timestamp"] if side is a else None
            side.up(env={"STADIUM_TEST_CLOCK": error} if error else None)
            _, seconds = until(f"a reaches b with {side.label}'s clock at {error}", lambda: traffic.reaches(a.host, b.v4, wait=0.5), timeout=10)
            slowest = max(slowest, seconds)
            traffic.must_reach(b.host, a.v4, "b to a")
            if error:
                contains(side.log(), "sets the wall clock wrong", "the log")
            if side is a and error == "-3650d":
                at_least(b.drops()["stale_timestamp"], stale + 1, "stale timestamps that b saw: the clock did go back")
        if side is a:
            alive(b)
    at_most(round(slowest, 1), 5, "seconds until traffic flowed")
    calm(a, b, lines=200)
    lab.note(f"slowest {slowest:.1f} s")


@scenario("tun-deleted", "the interface is deleted under a daemon with traffic: it ends with 1 and one line, and comes up again")
def tun_deleted(lab):
    a, b = lab.pair()
    for _ in range(3):
        pinging = traffic.Pinging(b.host, a.v4, interval=0.01)
        settle(0.3)
        start = len(a.log())
        a.host.ip("link", "del", "stadium0")
        equal(a.process.wait(10), 1, "exit code of a daemon whose interface was deleted")
        a.process = None
        text = a.log()[start:]
        equal(text.count("is gone"), 1, f"lines that say so: {text}")
        true("panic" not in text, "no panic")
        pinging.stop()
        true("stadium0" not in a.host.interfaces(), "nothing is left of the interface")
        a.up()
        until("b reaches a again", lambda: traffic.reaches(b.host, a.v4, wait=0.3), timeout=16)
        traffic.must_reach(a.host, b.v4, "a to b")
        alive(b)
    calm(b, lines=40)


@scenario("link-flaps", "the link and the interface go down and up twenty times: traffic is back each time, the log stays short", limit=150)
def link_flaps(lab):
    a, b = lab.pair()
    traffic.must_reach(a.host, b.v4)
    dice = random.Random(9)
    start = {node: len(node.log()) for node in (a, b)}
    slowest = 0
    for round_ in range(20):
        device = "stadium0" if round_ % 4 == 3 else "eth0"
        pinging = traffic.Pinging(a.host, b.v4, interval=0.02)
        a.host.ip("link", "set", device, "down")
        settle(dice.uniform(0, 0.4))
        a.host.ip("link", "set", device, "up")
        if device == "eth0":
            # these go with the link, and what configures the host puts them back
            address_again(a.host)
        else:
            shell.run("ip", "-n", a.host.name, "route", "show", "dev", "stadium0")
        _, seconds = until(f"a reaches b after {device} was down", lambda: traffic.reaches(a.host, b.v4, wait=0.3), timeout=16)
        slowest = max(slowest, seconds)
        pinging.stop()
        alive(a)
        alive(b)
    at_most(round(slowest, 1), 8, "seconds until traffic flowed again")
    # a line or two for each change, not one for each packet
    calm(a, b, lines=80, since=start)
    lab.note(f"slowest {slowest:.1f} s")


def address_again(host):
    host.ip("addr", "replace", f"{host.v6}/64", "dev", "eth0", "nodad")
    n = host.index
    host.ip("route", "replace", "default", "via", f"10.77.{n}.1")
    host.ip("-6", "route", "replace", "default", "via", f"fd77:{n}::1")


@scenario("disk-full", "no room while the peer file is written: the old one stays to the byte, the message says so, the daemon goes on")
def disk_full(lab):
    a, b = lab.node("a"), lab.node("b")
    disk = SmallDisk(lab, os.path.join(a.dir, "small"))
    a.add_peer(b)
    b.add_peer(a)
    # the file and its key live on the small disk, the control socket does not
    a.file = os.path.join(disk.path, "stadium0.yaml")
    a.config["interface"]["private_key_file"] = a.key_file
    a.up()
    b.up()
    a.wait()
    with open(a.file, "rb") as text:
        before = text.read()
    key = a.pubkey(a.genkey())
    listed = sorted(os.listdir(disk.path))
    disk.fill()
    for verb in (("peer", "add", a.file, "carol", "--public-key", key, "--allowed-ips", "10.7.0.9/32"),
                 ("peer", "remove", a.file, "b"),
                 ("peer", "invite", a.file, "dave", "--endpoint", "192.0.2.1:51871", "--out", os.path.join(disk.path, "dave.yaml"))):
        done = a.cli(*verb, check=1)
        contains(done.err, "o space left", f"what `{' '.join(verb[:2])}` says")
        contains(done.err, disk.path, "it names the place")
        equal(len(done.err.strip().splitlines()), 1, f"lines of the message: {done.err}")
        with open(a.file, "rb") as text:
            equal(text.read(), before, f"the peer file after `{' '.join(verb[:2])}` failed")
        equal([n for n in sorted(os.listdir(disk.path)) if n != "ballast"], listed, "files on the disk")
    a.reload(write=False)
    traffic.must_reach(a.host, b.v4, "with a full disk")
    equal([p["name"] for p in a.status()["peers"]], ["b"], "peers")
    alive(a)
    disk.free()
    a.cli("peer", "add", a.file, "carol", "--public-key", key, "--allowed-ips", "10.7.0.9/32")
    equal(sorted(p["name"] for p in a.status()["peers"]), ["b", "carol"], "peers once there is room")
    # a log that cannot be written stops nothing
    c = lab.node("c")
    c.write()
    disk.fill()
    c.cli("up", "--detach", "--log-file", os.path.join(disk.path, "ballast"), c.file)
    c.cli("wait", c.file, "--peer", "nobody", "--timeout", "1s", check=None)
    equal(len(c.document()["interfaces"]), 1, "interfaces of a daemon whose log is full")
    c.cli("down", c.file)
    calm(a, b, lines=40)


@scenario("few-descriptors", "a limit of open files: too low for a start it is named; reached in a running daemon it stops nobody's traffic")
def few_descriptors(lab):
    a, b = lab.pair()
    b.down()
    clean = b.host.snapshot()
    least = 0
    for limit in (8, 12, 16, 20, 24):
        start = len(b.log())
        done = shell.run("prlimit", f"--nofile={limit}:{limit}", *b.host.command(lab.stadium, "up", b.file, "--dry-run"), check=None)
        failed = shell.run("timeout", "3", "prlimit", f"--nofile={limit}:{limit}", *b.host.command(lab.stadium, "up", b.file), check=None)
        true("panic" not in done.err + failed.err, f"no panic with {limit} descriptors: {failed.err}")
        if failed.rc == 1:
            contains(failed.err, "oo many open files", f"what is said with {limit} descriptors")
            least = limit
        equal(b.host.snapshot(), clean, f"the namespace after `up` with {limit} descriptors")
        equal(b.log()[start:], "", "nothing in another's log")
    at_least(least, 8, "a limit that is too low for a start")
    b.up()
    until("a and b meet", lambda: traffic.reaches(a.host, b.v4, wait=0.3), timeout=16)
    # the running one: as many as it has, and callers who want more
    held = b.descriptors()
    start = len(b.log())
    was = resource.prlimit(b.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(b.pid, resource.RLIMIT_NOFILE, (held + 2, was[1]))
    callers = []
    for _ in range(20):
        caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        caller.settimeout(0.2)
        try:
            caller.connect(b.config["control"]["socket"])
        except OSError:
            pass
        callers.append(caller)
    spent = cpu(b)
    settle(2)
    # a listener that cannot accept must not turn in circles
    at_most(cpu(b) - spent, 0.5, "seconds of processor time within 2 s of waiting callers")
    traffic.must_reach(a.host, b.v4, "a to b without descriptors", count=10)
    traffic.tcp_exchange(a.host, b.host, b.v4, size=1 << 20)
    for caller in callers:
        caller.close()
    resource.prlimit(b.pid, resource.RLIMIT_NOFILE, was)
    until("the control socket answers again", b.ready, timeout=10)
    text = b.log()[start:]
    equal(text.count("oo many open files"), 1, f"lines of the log that say why callers waited: {text}")
    equal(len(text.splitlines()), 1, f"log lines: {text}")
    calm(a, b, lines=60)


def cpu(node):
    """Seconds of processor time that the daemon has used."""
    with open(f"/proc/{node.pid}/stat") as text:
        fields = text.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@scenario("namespace-deleted", "the name of a network namespace is deleted under a daemon: traffic goes on, its end frees everything")
def namespace_deleted(lab):
    a, b = lab.pair()
    traffic.must_reach(a.host, b.v4)
    name, wire = b.host.name, b.host.wire
    process = b.process
    shell.run("ip", "netns", "del", name)
    traffic.must_reach(a.host, b.v4, "the namespace lives on in its daemon", count=10)
    equal(process.poll(), None, "exit code of b")
    process.send_signal(signal.SIGTERM)
    equal(process.wait(15), 0, "exit code after SIGTERM")
    true("panic" not in b.log(), "no panic")
    contains(b.log(), "is down", "the log")
    b.process = None
    lab.nodes.remove(b)
    lab.namespaces.remove(b.host)
    until("the namespace is freed: its wire is gone", lambda: wire not in lab.router.interfaces(), timeout=10)
    true(not os.path.exists(b.config["control"]["socket"]), "its control socket is gone")
    until("a hears of it", lambda: a.peer(b)["state"] == "closed", timeout=3)
    alive(a)
    calm(a, lines=40)
    # killed outright in a namespace without a name, it leaves nothing in the kernel either
    c = lab.node("c")
    c.up()
    shell.run("ip", "netns", "del", c.host.name)
    c.kill()
    until("the killed daemon's namespace is freed", lambda: c.host.wire not in lab.router.interfaces(), timeout=10)
    lab.nodes.remove(c)
    lab.namespaces.remove(c.host)
    if os.path.exists(f"/run/netns/{name}"):
        raise Failure("the name of the namespace is back")
