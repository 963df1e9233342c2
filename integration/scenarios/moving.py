"""Peers that move: another address, another port, NAT, another namespace, other names."""

import os
import shutil
import time

from lab import traffic
from lab.netns import address, veth
from lab.node import PORT, endpoint, settle
from lab.registry import scenario
from lab.relay import Relay
from lab.verdict import at_most, equal, true, until
from lab.wire import capturing


def move(lab, host, number):
    """Gives the host another subnet: the old addresses go, new ones come."""
    old4, old6 = host.v4, host.v6
    host.v4, host.v6 = f"10.78.{number}.2", f"fd78:{number}::2"
    address(lab.router, host.wire, f"10.78.{number}.1/24", f"fd78:{number}::1/64")
    address(host, "eth0", f"{host.v4}/24", f"{host.v6}/64")
    host.ip("addr", "del", f"{old4}/24", "dev", "eth0")
    host.ip("addr", "del", f"{old6}/64", "dev", "eth0")
    host.ip("route", "replace", "default", "via", f"10.78.{number}.1")
    host.ip("-6", "route", "replace", "default", "via", f"fd78:{number}::1")


def roaming(lab, outer):
    a, b = lab.pair(outer=outer)
    traffic.must_reach(a.host, b.v4)
    for number in (101, 102):
        session = b.session(a)["id"]
        move(lab, a.host, number)
        reached, seconds = until("a reaches b from its new address", lambda: traffic.reaches(a.host, b.v4, wait=0.5), timeout=8)
        at_most(round(seconds, 1), 4, "seconds until a reached b again")
        until("b follows a", lambda: b.peer(a)["endpoint"] == a.endpoint(outer), timeout=5)
        traffic.must_reach(b.host, a.v4, "b to a at its new address")
        traffic.tcp_exchange(b.host, a.host, a.v6, size=1 << 20)
        # nothing seen in the old network is seen in the new one: not after timers, at once
        until("a new session", lambda s=session: b.session(a)["id"] != s, timeout=5)
        equal(b.session(a)["id"], a.session(b)["id"], "session id at both sides")


scenario("roaming", "a peer changes its IPv4 address: traffic goes on there, with a new session at once", outer=4)(roaming)
scenario("roaming-6", "a peer changes its IPv6 address: traffic goes on there, with a new session at once", outer=6)(roaming)


@scenario("endpoint-addresses", "a name with a dead IPv6 and a live IPv4 address: the next REQUEST goes to the other one")
def endpoint_addresses(lab):
    a, b = lab.node("a"), lab.node("b")
    hosts = f"/etc/netns/{a.host.name}"
    os.makedirs(hosts)
    lab.on_close(lambda: shutil.rmtree(hosts, ignore_errors=True))
    dead = f"fd77:{b.host.index}::dead"
    with open(f"{hosts}/hosts", "w") as out:
        out.write(f"127.0.0.1 localhost\n{dead} b.stadium.test\n{b.host.v4} b.stadium.test\n")
    a.add_peer(b, endpoint=f"b.stadium.test:{PORT}")
    b.add_peer(a, endpoint=None)
    b.up()
    a.up()
    start = time.monotonic()
    with capturing(lab.router, a.host.wire) as wire:
        a.wait(timeout=10)
        seconds = time.monotonic() - start
        targets = [d.target for d in wire.datagrams if d.kind == "request" and not d.outgoing]
    print(f"session after {seconds:.1f} s, REQUESTs to {targets}")
    equal(sorted(set(targets[:2])), sorted({dead, b.host.v4}), "where the first two REQUESTs went")
    at_most(round(seconds, 1), 3, "seconds until the session")
    equal(a.peer(b)["endpoint"], b.endpoint(4), "the endpoint that is kept")
    traffic.must_reach(a.host, b.v4)
    # the live one goes silent and the other comes alive
    address(b.host, "eth0", f"{dead}/64")
    b.host.ip("addr", "del", f"{b.host.v4}/24", "dev", "eth0")
    pinging = traffic.Pinging(a.host, b.v4, interval=0.2)
    until("a finds b under its other address", lambda: a.peer(b)["endpoint"] == endpoint(dead, PORT)
          and traffic.reaches(a.host, b.v4, wait=0.5), timeout=40, every=0.5)
    pinging.stop()


@scenario("roaming-port", "a NAT gives a peer another port in mid-session; the other side follows")
def roaming_port(lab):
    a, b = lab.node("a"), lab.node("b")
    relay_at = lab.host("relay")
    relay = Relay(relay_at, (relay_at.v4, PORT), (b.host.v4, PORT))
    lab.on_close(relay.close)
    a.add_peer(b, endpoint=f"{relay_at.v4}:{PORT}")
    b.add_peer(a, endpoint=None)
    a.up()
    b.up()
    a.wait()
    session = a.session(b)["id"]
    for _ in range(3):
        traffic.must_reach(a.host, b.v4)
        equal(b.peer(a)["endpoint"], f"{relay_at.v4}:{relay.back_port}", "endpoint of a at b")
        port = relay.rebind()
        # from inside outward first, as behind any NAT
        until("a reaches b through the new port", lambda: traffic.reaches(a.host, b.v4, wait=0.5), timeout=5)
        until("b follows the port", lambda: b.peer(a)["endpoint"] == f"{relay_at.v4}:{port}", timeout=5)
        traffic.must_reach(b.host, a.v4, "b to a through the new port")
    equal(a.session(b)["id"], session, "session id")


def behind_nat(lab, heartbeat):
    """`a` behind a masquerading router whose UDP mappings live for two seconds."""
    gateway = lab.host("gateway")
    inside = lab.namespace("inside", type(gateway))
    veth(gateway, "lan", inside, "eth0")
    address(gateway, "lan", "192.168.77.1/24")
    inside.v4, inside.v6 = "192.168.77.2", None
    address(inside, "eth0", "192.168.77.2/24")
    inside.ip("route", "add", "default", "via", "192.168.77.1")
    gateway.forwarding()
    gateway.nft("""
        table ip nat {
            chain out { type nat hook postrouting priority 100; oifname "eth0" masquerade; }
        }
        table ip guard {
            chain forward {
                type filter hook forward priority 0; policy drop;
                ct state established,related accept
                iifname "lan" accept
            }
        }
    """)
    # conntrack's own timeouts, in this namespace only
    gateway.sysctl("net.netfilter.nf_conntrack_udp_timeout=2", "net.netfilter.nf_conntrack_udp_timeout_stream=2")
    a, b = lab.node("a", host=inside), lab.node("b")
    a.add_peer(b, **({"heartbeat": heartbeat} if heartbeat else {}))
    b.add_peer(a, endpoint=None)
    b.up()
    a.up()
    a.wait()
    traffic.must_reach(a.host, b.v4, "out through the NAT")
    return a, b


@scenario("nat", "a NAT that forgets after 2 s: a heartbeat of 1 s keeps the peer behind it reachable")
def nat(lab):
    a, b = behind_nat(lab, "1s")
    for _ in range(3):
        settle(4)
        traffic.must_reach(b.host, a.v4, "in through the NAT after 4 idle seconds")
    true(a.peer(b)["rtt_ms"] is not None, "heartbeats measure the round-trip time")


@scenario("nat-control", "the same NAT without a heartbeat closes: proves that the scenario `nat` can fail")
def nat_control(lab):
    a, b = behind_nat(lab, None)
    settle(4)
    equal(traffic.ping(b.host, a.v4, count=2, wait=0.3).received, 0, "replies through a NAT that forgot")
    # and the inside opens it again
    until("a reaches b again", lambda: traffic.reaches(a.host, b.v4, wait=0.5), timeout=5)
    traffic.must_reach(b.host, a.v4, "in, right after a packet went out")


@scenario("moved-interface", "the interface moves to another namespace, the socket stays: traffic goes on there")
def moved_interface(lab):
    bare = {"address": [], "routes": "off"}
    a, b = lab.node("a", interface=bare), lab.node("b")
    a.add_peer(b)
    b.add_peer(a)
    a.up()
    b.up()
    jail = lab.namespace("jail")
    a.host.ip("link", "set", "stadium0", "netns", jail.name)
    address(jail, "stadium0", f"{a.v4}/24", f"{a.v6}/64")
    jail.ip("link", "set", "stadium0", "up")
    true("stadium0" not in a.host.interfaces(), "the interface has left its first namespace")
    until("b answers in the jail", lambda: traffic.reaches(jail, b.v4), timeout=5)
    traffic.must_reach(jail, b.v4, "jail to b")
    traffic.must_reach(jail, b.v6, "jail to b, IPv6")
    traffic.must_reach(b.host, a.v4, "b to the jail")
    traffic.tcp_exchange(jail, b.host, b.v4, size=4 << 20)
    traffic.tcp_exchange(b.host, jail, a.v6, size=4 << 20)
    equal(jail.interfaces(), ["lo", "stadium0"], "the jail has no other way out")
    equal(a.peer(b)["state"], "up", "the daemon still answers")
    a.reload()
    traffic.must_reach(jail, b.v4, "jail to b after a reload")
    a.down()
    until("the interface is gone", lambda: "stadium0" not in jail.interfaces(), timeout=5)


@scenario("endpoint-name", "an endpoint given by name; when the name moves, the peer is found again", limit=90)
def endpoint_name(lab):
    a, b = lab.node("a"), lab.node("b")
    hosts = f"/etc/netns/{a.host.name}"
    os.makedirs(hosts)
    lab.on_close(lambda: shutil.rmtree(hosts, ignore_errors=True))

    def say(ip):
        # written in place: `ip netns exec` has bound this very file over /etc/hosts
        with open(f"{hosts}/hosts", "w") as out:
            out.write(f"127.0.0.1 localhost\n{ip} b.stadium.test\n")

    say(b.host.v4)
    a.add_peer(b, endpoint=f"b.stadium.test:{PORT}")
    b.add_peer(a, endpoint=None)
    b.up()
    a.up()
    a.wait()
    traffic.must_reach(a.host, b.v4)
    equal(a.peer(b)["endpoint"], b.endpoint(4), "what the name stands for")
    b.kill()
    move(lab, b.host, 110)
    say(b.host.v4)
    b.up()
    # silence for 15 s starts a handshake; unanswered, it asks for the name again
    pinging = traffic.Pinging(a.host, b.v4, interval=0.2)
    until("a finds b under its new address", lambda: a.peer(b)["endpoint"] == b.endpoint(4)
          and traffic.reaches(a.host, b.v4, wait=0.5), timeout=40, every=0.5)
    pinging.stop()


@scenario("endpoint-name-unknown", "a name that does not resolve is an error in the status, not the end; later it works")
def endpoint_name_unknown(lab):
    a, b = lab.node("a"), lab.node("b")
    hosts = f"/etc/netns/{a.host.name}"
    os.makedirs(hosts)
    lab.on_close(lambda: shutil.rmtree(hosts, ignore_errors=True))
    for name, text in (("hosts", "127.0.0.1 localhost\n"), ("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")):
        with open(f"{hosts}/{name}", "w") as out:
            out.write(text)
    a.add_peer(b, endpoint=f"b.stadium.test:{PORT}", heartbeat="5s")
    b.add_peer(a, endpoint=None)
    b.up()
    a.up()
    until("the status says so", lambda: a.peer(b)["last_error"] == "name does not resolve", timeout=15)
    with open(f"{hosts}/hosts", "w") as out:
        out.write(f"127.0.0.1 localhost\n{b.host.v4} b.stadium.test\n")
    start = time.monotonic()
    until("b is reached once the name resolves", lambda: traffic.reaches(a.host, b.v4, wait=0.5), timeout=30, every=0.3)
    print(f"reached {time.monotonic() - start:.1f} s after the name appeared")
    equal(a.peer(b)["last_error"], None, "last_error once it works")


def addressed(lab, outer):
    """`b` has two addresses; `a` speaks to the second."""
    a, b = lab.node("a"), lab.node("b")
    second = "10.77.2.77" if outer == 4 else "fd77:2::77"
    address(b.host, "eth0", f"{second}/{24 if outer == 4 else 64}")
    a.add_peer(b, endpoint=endpoint(second, PORT))
    b.add_peer(a, endpoint=None)
    b.up()
    a.up()
    with capturing(lab.router, b.host.wire) as wire:
        a.wait()
        traffic.must_reach(a.host, b.v4)
        traffic.must_reach(b.host, a.v4)
        traffic.tcp_exchange(b.host, a.host, a.v4, size=1 << 20)
        own = (b.host.v4, b.host.v6, second)
        sources = {d.source for d in wire.datagrams if d.source in own}
    equal(sources, {second}, "addresses that b answered from")
    equal(a.peer(b)["endpoint"], endpoint(second, PORT), "endpoint of b at a")
    # the address goes away: b takes another one, and a follows
    b.host.ip("addr", "del", f"{second}/{24 if outer == 4 else 64}", "dev", "eth0")
    until("b reaches a from its other address", lambda: traffic.reaches(b.host, a.v4, wait=0.5), timeout=8)
    until("a follows b", lambda: a.peer(b)["endpoint"] == b.endpoint(outer), timeout=5)
    traffic.must_reach(a.host, b.v4, "a to b at its other address")


scenario("answer-address", "answers leave from the IPv4 address that was spoken to; if it goes, from another", outer=4)(addressed)
scenario("answer-address-6", "answers leave from the IPv6 address that was spoken to; if it goes, from another", outer=6)(addressed)


@scenario("unreachable", "no route to the endpoint: `network unreachable`; with the route back, traffic at once")
def unreachable(lab):
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b)
    b.add_peer(a, endpoint=None)
    b.up()
    a.up()
    a.host.ip("route", "del", "default")
    traffic.ping(a.host, b.v4, count=2, wait=0.3)
    until("the status says so", lambda: a.peer(b)["last_error"] == "network unreachable", timeout=10)
    equal(a.peer(b)["session"], None, "session")
    a.host.ip("route", "add", "default", "via", "10.77.1.1")
    until("b is reached", lambda: traffic.reaches(a.host, b.v4, wait=0.5), timeout=10)
    equal(a.peer(b)["last_error"], None, "last_error once it works")
    # and in mid-session
    a.host.ip("route", "del", "default")
    equal(traffic.ping(a.host, b.v4, count=3, wait=0.2).received, 0, "replies with no route")
    a.host.ip("route", "add", "default", "via", "10.77.1.1")
    traffic.must_reach(a.host, b.v4, "with the route back")
