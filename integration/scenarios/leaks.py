"""What must not leave beside a tunnel that carries everything, shown by captures on the way out.

Every promise is also broken once, with `kill_switch: off` or the key turned the other way, so that
a capture that sees nothing proves something.
"""

import contextlib
import socket
import struct

from lab import traffic
from lab.netns import address
from lab.node import settle
from lab.registry import scenario
from lab.verdict import at_least, contains, equal, true, until
from lab.wire import capturing, checksum, ends
from scenarios.routing import everything, is_ip, is_tunnel

# a public address of the far machine, beside its private one
FAR4, FAR6 = "203.0.113.9", "2001:db8:9::9"
TABLE = "stadium-stadium0"


def world(lab, **keys):
    """`everything`, and a public address at the far machine."""
    a, b, far = everything(lab, **keys)
    address(far, "lo", f"{FAR4}/32", f"{FAR6}/128")
    lab.router.ip("route", "add", FAR4, "via", far.v4)
    lab.router.ip("-6", "route", "add", FAR6, "via", far.v6)
    return a, b, far


def attempts(host, *targets):
    """Tries to reach each target by ping, DNS, and TCP; nobody asks whether it worked."""
    for target in targets:
        traffic.ping(host, target, count=1, wait=0.2)
        family = traffic.family(target)
        with host.socket(family, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
            sock.sendto(b"\x12\x34\x01\x00\x00\x01" + bytes(6) + b"\x07example\x00\x00\x01\x00\x01", (target, 53))
        with host.socket(family, socket.SOCK_STREAM) as sock, contextlib.suppress(OSError):
            sock.settimeout(0.2)
            sock.connect((target, 80))


@contextlib.contextmanager
def leaks(lab, a, b):
    """Collects what `a` sends on its way out that is no datagram of the tunnel."""
    found = []
    own = set()
    with capturing(lab.router, a.host.wire) as wire:
        yield found
        settle(0.2)
        own.update({a.host.v4, a.host.v6, a.v4, a.v6})
    for frame in wire.frames:
        if is_ip(frame) and not is_tunnel(frame, a, b) and ends(frame)[0] in own:
            found.append(ends(frame))


def shown_both_ways(lab, prepare, targets, **keys):
    """Nothing leaves with the kill switch, tunnel up and daemon killed; without it something does."""
    a, b, far = world(lab, **keys)
    prepare(a, far)
    before = a.host.snapshot()
    a.up()
    a.wait()
    with leaks(lab, a, b) as found:
        attempts(a.host, *targets(lab, a, far))
    equal(found, [], "packets beside the tunnel that is up")
    a.kill()
    with leaks(lab, a, b) as found:
        attempts(a.host, *targets(lab, a, far))
    equal(found, [], "packets beside the tunnel whose daemon was killed")
    a.down()
    equal(a.host.snapshot(), before, "the namespace after down")
    a.config["interface"]["kill_switch"] = "off"
    a.up()
    a.wait()
    a.kill()
    with leaks(lab, a, b) as found:
        attempts(a.host, *targets(lab, a, far))
    at_least(len(found), 1, "packets beside the dead tunnel without kill switch")
    a.down()
    equal(a.host.snapshot(), before, "the namespace in the end")


@scenario("leak-dns", "questions to a name server on the LAN do not leave, tunnel up or daemon killed")
def leak_dns(lab):
    shown_both_ways(lab, lambda a, far: None, lambda lab, a, far: [f"10.77.{a.host.index}.1", f"fd77:{a.host.index}::1"])


@scenario("leak-ipv6", "with an IPv4 tunnel only, IPv6 does not leave beside it")
def leak_ipv6(lab):
    def only4(a, far):
        a.config["peers"][0]["allowed_ips"] = ["0.0.0.0/0"]
    shown_both_ways(lab, only4, lambda lab, a, far: [far.v6, FAR6])


@scenario("tunnelvision", "a more specific route that DHCP announces draws nothing out of the tunnel (CVE-2024-3661)")
def tunnelvision(lab):
    def announced(a, far):
        for target in ("203.0.113.0/24", "0.0.0.0/1", "128.0.0.0/1"):
            a.host.ip("route", "add", target, "via", f"10.77.{a.host.index}.1", "proto", "dhcp")
        a.host.ip("-6", "route", "add", "2001:db8:9::/48", "via", f"fd77:{a.host.index}::1", "proto", "ra")
    shown_both_ways(lab, announced, lambda lab, a, far: [FAR4, FAR6])


@scenario("leak-daemon-killed", "kill -9 in mid-traffic, then `up` again: not one packet beside the tunnel in between", limit=90)
def leak_daemon_killed(lab):
    a, b, far = world(lab)
    a.up()
    a.wait()
    targets = [FAR4, FAR6, f"10.77.{a.host.index}.1"]
    with leaks(lab, a, b) as found:
        floods = [traffic.Pinging(a.host, target, interval=0.01) for target in targets]
        until("traffic through the tunnel", lambda: floods[0].replies() > 10, timeout=10)
        a.kill()
        attempts(a.host, *targets)
        # what the killed daemon left holds until the new filter stands in its place
        a.up()
        a.wait()
        seen = floods[0].replies()
        until("traffic through the tunnel again", lambda: floods[0].replies() > seen + 10, timeout=20)
        for flood in floods:
            flood.stop()
    equal(found, [], "packets beside the tunnel, from before the kill to after the new start")
    contains(a.log(), "a killed daemon of stadium0 had left something", "the log of the new daemon")
    a.down()
    # without kill switch the same leaks
    a.config["interface"]["kill_switch"] = "off"
    a.up()
    a.wait()
    with leaks(lab, a, b) as found:
        flood = traffic.Pinging(a.host, FAR4, interval=0.01)
        a.kill()
        settle(0.5)
        flood.stop()
    at_least(len(found), 1, "packets beside the dead tunnel without kill switch")


@scenario("kill-switch-cleared", "`down` and `up` clear the filter of a killed daemon, and leave the tables of others", limit=150)
def kill_switch_cleared(lab):
    a, b, far = world(lab)
    a.host.nft("table inet mine { chain c { type filter hook output priority 5; counter accept\n}\n}")

    def ours():
        return TABLE in a.host.run("nft", "list", "tables").out

    before = [line for line in a.host.snapshot().splitlines() if "counter" not in line]
    for ends_with in ("down", "up"):
        a.up()
        a.wait()
        true(ours(), "the filter stands")
        a.kill()
        true(ours(), "the filter outlives the daemon")
        if ends_with == "up":
            a.up()
            a.wait()
            true(ours(), "the filter stands again")
            traffic.must_reach(a.host, FAR4, "far through the tunnel")
        a.down()
        true(not ours(), "the filter is gone")
        after = [line for line in a.host.snapshot().splitlines() if "counter" not in line]
        equal(after, before, f"the namespace after `{ends_with}`")
        traffic.must_reach(a.host, far.v4, "far beside the tunnel, afterwards")
    # a new daemon that wants no kill switch lifts the old one's
    a.up()
    a.kill()
    a.config["interface"]["kill_switch"] = "off"
    a.up()
    a.wait()
    listed = a.host.run("nft", "list", "ruleset").out
    true("chain out" not in listed, "no kill switch stands")
    a.down()
    equal(a.down(check=3).rc, 3, "exit code of a second down")


@scenario("kill-switch-flushed", "another program flushes all of nftables: the kill switch comes back by itself")
def kill_switch_flushed(lab):
    a, b, _ = world(lab)
    a.up()
    a.wait()
    a.host.run("nft", "flush", "ruleset")
    until("the filter is back", lambda: TABLE in a.host.run("nft", "list", "tables").out, timeout=10)
    with leaks(lab, a, b) as found:
        attempts(a.host, f"10.77.{a.host.index}.1")
    equal(found, [], "packets beside the tunnel")
    contains(a.log(), "it is done again: set nftables table", "the log")
    a.down()


def lan(lab, value):
    a, b, far = world(lab, lan=value)
    neighbour4, neighbour6 = f"10.77.{a.host.index}.1", f"fd77:{a.host.index}::1"
    a.up()
    a.wait()
    traffic.must_reach(a.host, FAR4, "far through the tunnel")
    return a, b, far, neighbour4, neighbour6


@scenario("lan-off", "`lan: off`: machines on the own networks are not reached; inside and far they are")
def lan_off(lab):
    a, b, far, neighbour4, neighbour6 = lan(lab, "off")
    with leaks(lab, a, b) as found:
        attempts(a.host, neighbour4, neighbour6, "169.254.7.7", "192.168.200.1")
    equal(found, [], "packets beside the tunnel")
    for target in (b.v4, b.v6, FAR4, FAR6):
        traffic.must_reach(a.host, target, "through the tunnel")
    # live: turned on they are, turned off again they are not
    for value, wanted in (("on", 1), ("off", 0)):
        a.config["interface"]["lan"] = value
        a.reload()
        equal(traffic.ping(a.host, neighbour4, count=1, wait=0.5).received, wanted, f"replies of the neighbour, lan {value}")


@scenario("lan-on", "`lan: on`: private ranges are reached outside, but for DNS and the tunnel's own; public ones never")
def lan_on(lab):
    a, b, far, neighbour4, neighbour6 = lan(lab, "on")
    for target in (neighbour4, neighbour6):
        traffic.must_reach(a.host, target, "a neighbour")
    # DNS stays inside, and so does what is not private, whatever the routes say
    a.host.ip("route", "add", "203.0.113.0/24", "via", neighbour4, "proto", "dhcp")
    a.host.ip("-6", "route", "add", "2001:db8:9::/48", "via", neighbour6)
    # a part of the tunnel's own network, announced outside: it must not draw anything out
    a.host.ip("route", "add", f"{b.v4}/32", "via", neighbour4, "proto", "dhcp", "metric", "5")
    with capturing(lab.router, a.host.wire) as wire:
        attempts(a.host, FAR4, FAR6, b.v4)
        for target in (neighbour4, neighbour6):
            with a.host.socket(traffic.family(target), socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
                sock.sendto(b"a question", (target, 53))
        settle(0.2)
        found = [ends(f) for f in wire.frames if is_ip(f) and not is_tunnel(f, a, b)]
    equal(found, [], "packets beside the tunnel")
    # and it can fail: without the kill switch the announced route draws them out
    a.config["interface"]["kill_switch"] = "off"
    a.reload()
    with leaks(lab, a, b) as found:
        attempts(a.host, FAR4)
    at_least(len(found), 1, "packets that the announced route draws out without kill switch")


def syn_ack(source, target, sport=80, dport=45678):
    """A TCP segment that answers a connection nobody opened."""
    packed = [socket.inet_aton(source), socket.inet_aton(target)]
    tcp = struct.pack(">HHIIBBHHH", sport, dport, 1, 1, 0x50, 0x12, 64240, 0, 0)
    check = checksum(packed[0] + packed[1] + struct.pack(">BBH", 0, 6, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack(">H", check) + tcp[18:]
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 7, 0, 64, 6, 0, *packed) + tcp


@scenario("cve-2019-14899", "probes of the tunnel's address from the next network get no answer, inside or outside")
def cve_2019_14899(lab):
    a, b, far = world(lab)
    def answers():
        """RSTs that `a` answers probes of its tunnel address with, on either way out."""
        # the attacker's own route; the way back from far goes by the router too, so not for longer
        lab.router.ip("route", "add", f"{a.v4}/32", "via", a.host.v4)
        with capturing(a.host, "stadium0") as inside, capturing(lab.router, a.host.wire) as outside:
            with lab.router.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
                for port in range(45000, 45010):
                    sock.sendto(syn_ack(FAR4, a.v4, dport=port), (a.v4, 0))
            settle(0.4)
            lab.router.ip("route", "del", f"{a.v4}/32")
            frames = [f for wire in (inside, outside) for f in wire.frames]
        return [ends(f) for f in frames
                if is_ip(f) and f[0] >> 4 == 4 and f[9] == 6 and f[(f[0] & 15) * 4 + 13] & 0x04 and ends(f)[0] == a.v4]

    a.up()
    a.wait()
    traffic.must_reach(a.host, FAR4, "far through the tunnel")
    equal(answers(), [], "answers to probes")
    listed = a.host.run("nft", "list", "table", "inet", TABLE).out
    true("packets 10 " in listed, f"the filter counts the 10 probes: {listed}")
    a.config["interface"]["kill_switch"] = "off"
    a.reload()
    at_least(len(answers()), 1, "answers to probes without kill switch")


@scenario("kill-switch-forward", "a gateway's kill switch holds for the machines behind it too", limit=90)
def kill_switch_forward(lab):
    from scenarios.routing import lan as behind
    a, b, far = world(lab)
    machine = behind(lab, a, 1)
    for peer in b.config["peers"]:
        peer["allowed_ips"] = [*peer["allowed_ips"], "192.168.1.0/24"]
    lab.router.ip("route", "replace", "192.168.1.0/24", "via", a.host.v4)
    b.reload()
    a.up()
    a.wait()
    with capturing(lab.router, a.host.wire) as wire:
        traffic.ping(machine, FAR4, count=2, wait=0.3)
        a.kill()
        traffic.ping(machine, FAR4, count=2, wait=0.3)
        settle(0.2)
        found = [ends(f) for f in wire.frames if is_ip(f) and ends(f)[0] == "192.168.1.10"]
    equal(found, [], "packets of the machine beside the tunnel")
    a.down()
    traffic.ping(machine, FAR4, count=2, wait=0.3)
    with capturing(lab.router, a.host.wire) as wire:
        traffic.ping(machine, FAR4, count=2, wait=0.3)
        settle(0.2)
        found = [ends(f) for f in wire.frames if is_ip(f) and ends(f)[0] == "192.168.1.10"]
    at_least(len(found), 1, "packets of the machine once the kill switch is gone")


@scenario("rp-filter", "a strict rp_filter drops no answers of peers under a default route; the setting is as before afterwards")
def rp_filter(lab):
    a, b, far = world(lab)
    a.host.sysctl("net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.eth0.rp_filter=1")

    def setting():
        return a.host.run("sysctl", "-n", "net.ipv4.conf.all.src_valid_mark").out.strip()

    equal(setting(), "0", "src_valid_mark before")
    before = a.host.snapshot()
    a.up()
    a.wait()
    traffic.must_reach(a.host, FAR4, "far through the tunnel")
    traffic.must_reach(a.host, b.v4)
    a.reload()
    a.config["peers"][0]["heartbeat"] = "25s"
    a.reload()
    equal(setting(), "1", "src_valid_mark while up")
    # it can fail: without the setting the answers are dropped
    a.host.sysctl("net.ipv4.conf.all.src_valid_mark=0")
    equal(traffic.ping(a.host, FAR4, count=2, wait=0.3).received, 0, "replies with src_valid_mark 0")
    a.kill()
    a.up()
    a.wait()
    traffic.must_reach(a.host, FAR4, "far through the tunnel of the second daemon")
    a.down()
    equal((setting(), a.host.snapshot()), ("0", before), "src_valid_mark and the namespace after down")
