"""Hosts that have but one version of IP."""

from lab import traffic
from lab.registry import scenario
from lab.verdict import contains, equal, true


@scenario("no-ipv6", "a host with IPv6 switched off: IPv4 works, what needs IPv6 is said, nothing is left behind")
def no_ipv6(lab):
    a, b = lab.node("a"), lab.node("b")
    a.host.sysctl("net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
    before = a.host.snapshot()
    a.add_peer(b)
    b.add_peer(a, endpoint=None)
    # its address in IPv6 cannot be: said, and nothing done
    a.write()
    refused = a.cli("up", a.file, check=1)
    contains(refused.err, a.v6, "the address that cannot be")
    contains(refused.err, "disable_ipv6", "the remedy")
    equal(a.host.snapshot(), before, "the namespace after the refusal")
    # without it all is well; the peer's IPv6 prefix has no route, with a warning
    a.config["interface"]["address"] = [f"{a.v4}/24"]
    b.up()
    a.up()
    contains(a.log(), "IPv6 is switched off here", "the warning")
    a.wait()
    traffic.must_reach(a.host, b.v4)
    traffic.must_reach(b.host, a.v4)
    traffic.tcp_exchange(a.host, b.host, b.v4, size=2 << 20)
    a.reload()
    a.config["peers"][0]["heartbeat"] = "25s"
    a.reload()
    traffic.must_reach(a.host, b.v4, "after reloads")
    a.down()
    equal(a.host.snapshot(), before, "the namespace after down")


@scenario("no-ipv4", "hosts with IPv6 only: no IPv4 address, no IPv4 route, IPv4 inside all the same")
def no_ipv4(lab):
    a, b = lab.node("a"), lab.node("b")
    for node in (a, b):
        node.host.ip("-4", "addr", "flush", "dev", "eth0")
    a.add_peer(b, outer=6)
    b.add_peer(a, outer=6)
    a.up()
    b.up()
    a.wait()
    true(a.peer(b)["endpoint"].startswith("["), "the endpoint is IPv6")
    for target in (b.v4, b.v6):
        traffic.must_reach(a.host, target)
        traffic.tcp_exchange(a.host, b.host, target, size=1 << 20)
