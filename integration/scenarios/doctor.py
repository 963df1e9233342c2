"""`stadium doctor`: each common failure is provoked, and found by its code."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time

from lab import shell, traffic
from lab.netns import address, veth
from lab.node import PORT, settle
from lab.registry import scenario
from lab.relay import Relay
from lab.verdict import Skip, contains, equal, true, until
from scenarios.moving import behind_nat


def doctor(node, check, *args, host=None):
    """The findings by code; the exit code must be `check`, and each finding have its parts."""
    host = host or node.host
    result = host.run(node.lab.stadium, "doctor", node.file, "--json", *args, check=check, timeout=40)
    report = json.loads(result.out)
    equal(report["schema"], 1, "schema")
    for finding in report["findings"]:
        for part in ("code", "severity", "what", "remedy"):
            true(finding[part], f"{part} of {finding}")
        true(node.private_key not in json.dumps(finding), "a finding shows no secret")
    return {finding["code"]: finding for finding in report["findings"]}


def finds(node, code, peer=None, args=(), check=1):
    found = doctor(node, check, *args)
    if code not in found:
        true(False, f"the doctor of {node.label} finds {code}; it found {json.dumps(list(found.values()))}")
    if peer:
        equal(found[code]["peer"], peer, f"peer of {code}")
    return found


def problems(found):
    return sorted(code for code, finding in found.items() if finding["severity"] == "problem")


@scenario("doctor-healthy", "a healthy pair has no finding at all, idle or up, for root and in words")
def healthy(lab):
    a, b = lab.pair(wait=False)
    equal(list(doctor(a, 0)), [], "findings at a, whose session the doctor itself begins")
    equal(a.peer(b)["state"], "up", "state after the doctor")
    equal(list(doctor(b, 0)), [], "findings at b")
    contains(a.cli("doctor", a.file).out, "nothing found wrong", "the doctor in words")
    a.down()
    a.write()
    equal(list(doctor(a, 3)), [], "findings where nothing runs and nothing is wrong")


@scenario("doctor-wrong-key", "a wrong public key is found on both sides")
def wrong_key(lab):
    a, b = lab.node("a"), lab.node("b")
    entry = a.add_peer(b)
    entry["public_key"] = a.pubkey(a.genkey())
    b.add_peer(a, endpoint=None)
    b.up()
    a.up()
    found = finds(a, "wrong-key", peer="b")
    equal(problems(found), ["wrong-key"], "problems at a")
    finds(b, "wrong-key")


@scenario("doctor-refused", "wrong preshared key, unknown peer, noise refused, no common cipher: each is found by what the peer answers", limit=120)
def refused(lab):
    a, b = lab.node("a"), lab.node("b")
    a.write_secret("b.psk", a.genpsk())
    a.add_peer(b)
    b.add_peer(a, endpoint=None)
    b.up()
    a.up()

    def case(code, mine, top):
        entry = a.config["peers"][0]
        old = dict(entry), dict(a.config)
        entry.update(mine)
        a.config.update(top)
        a.down()
        a.up()
        equal(problems(finds(a, code, peer="b")), [code], f"problems of the case {code}")
        entry.clear()
        entry.update(old[0])
        for key in top:
            a.config.pop(key)

    case("wrong-psk", {"preshared_key_file": "b.psk"}, {})
    case("noise-refused", {"noise": {"ratio": "4:1", "minimum": {"ratio": "4:1"}, "accept": {"ratio": "4:1"}}}, {})
    b.config["ciphers"] = ["chacha20-poly1305"]
    b.reload()
    case("cipher-mismatch", {}, {"ciphers": ["aes-256-gcm"]})
    b.config["ciphers"] = "auto"
    b.config["post_quantum"] = "require"
    b.reload()
    case("post-quantum-mismatch", {}, {"post_quantum": "off"})
    b.config["post_quantum"] = "prefer"
    # b knows somebody else
    b.config["peers"][0]["public_key"] = b.pubkey(b.genkey())
    b.reload()
    case("unknown-at-peer", {}, {})
    finds(b, "unknown-peer")
    # and all is well once b knows a again
    b.config["peers"][0]["public_key"] = a.public_key
    b.reload()
    a.down()
    a.up()
    equal(problems(doctor(a, 0)), [], "problems once both agree")


@scenario("doctor-version", "an answer that says `unsupported version` is found")
def version(lab):
    a, b = lab.node("a"), lab.node("b")
    middle = lab.host("middle")
    box = []

    def other_version(direction, payload):
        if direction == "out" and payload.startswith(b"StadiumP"):
            # protocol.md section 2: code 1, the version it speaks, the index, the request's mac
            box[0].front.sendto(b"\x03\x01\x00\x00" + payload[9:13] + payload[-16:], box[0].client)
            return []
        return [payload]

    box.append(Relay(middle, (middle.v4, PORT), (b.host.v4, PORT), filter=other_version))
    lab.on_close(box[0].close)
    a.add_peer(b, endpoint=f"{middle.v4}:{PORT}")
    a.up()
    finds(a, "version-mismatch", peer="b")


@scenario("doctor-clock", "a clock that is behind its own peer file, and a peer's clock that went back")
def clock(lab):
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b)
    b.add_peer(a, endpoint=None)
    a.write()
    ahead = time.time() + 7200
    os.utime(a.file, (ahead, ahead))
    finds(a, "clock")
    a.write()
    os.utime(a.file)
    b.up()
    a.up()
    a.wait()
    equal(problems(doctor(b, 0)), [], "problems with clocks that are right")


@scenario("doctor-nat", "a NAT that forgot a peer without heartbeat is found at the other side", limit=90)
def nat(lab):
    a, b = behind_nat(lab, None)
    settle(4)
    finds(b, "nat", peer="a")
    # who can only wait is told so, as a hint
    a.down()
    b.down()
    b.up()
    found = doctor(b, 0)
    equal(found["no-endpoint"]["severity"], "hint", "severity of no-endpoint")


@scenario("doctor-blocked", "UDP dropped on the way, nothing that listens, a host that is not there", limit=120)
def blocked(lab):
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b)
    b.add_peer(a)
    a.up()
    equal(problems(finds(a, "nothing-listens", peer="b")), ["nothing-listens"], "problems while b is not up")
    lab.router.nft(f"""
        table ip wall {{
            chain forward {{ type filter hook forward priority 0; ip daddr {b.host.v4} udp dport 1-65535 drop; }}
        }}
    """)
    b.up()
    equal(problems(finds(a, "udp-blocked", peer="b")), ["udp-blocked"], "problems behind a wall")
    lab.router.nft("flush ruleset")
    until("the wall is gone", lambda: not problems(doctor(a, None)), timeout=20)
    # a host that answers nothing
    b.down()
    b.host.ip("link", "set", "eth0", "down")
    found = doctor(a, 1)
    true({"no-answer", "no-route"} & set(problems(found)), f"a host that is away: {found}")


@scenario("doctor-mtu", "a way that swallows large packets is found; with a smaller MTU all is well")
def mtu(lab):
    fixed = {"mtu": 1440}
    a, b = lab.pair(a=fixed, b=fixed)
    equal(problems(doctor(a, 0)), [], "problems before")
    lab.router.nft("""
        table ip hole {
            chain forward { type filter hook forward priority 0; ip length > 1400 drop; }
        }
    """)
    finds(a, "mtu-black-hole", peer="b")
    for node in (a, b):
        node.config["interface"]["mtu"] = 1300
        node.reload()
    equal(problems(doctor(a, 0)), [], "problems with a smaller MTU")


@scenario("doctor-prefixes", "allowed IPs that overlap with a local network; a source that is not allowed")
def prefixes(lab):
    a, b = lab.node("a"), lab.node("b")
    b.add_peer(a, endpoint=None)
    a.add_peer(b, allowed=[f"{b.v4}/32", f"{b.v6}/128", "10.77.0.0/16"])
    # b's own endpoint must not lead into the tunnel
    a.host.ip("route", "add", f"{b.host.v4}/32", "via", f"10.77.{a.host.index}.1")
    b.up()
    a.up()
    finds(a, "allowed-ips-overlap", peer="b")
    a.host.ip("addr", "add", "10.9.9.9/32", "dev", "lo")
    pinging = traffic.Pinging(a.host, b.v4, interval=0.1)
    spoofing = a.host.command("ping", "-n", "-i", "0.2", "-I", "10.9.9.9", b.v4)
    with open(os.devnull, "wb") as null:
        other = subprocess.Popen(spoofing, stdout=null, stderr=null)
    try:
        finds(b, "source-not-allowed")
    finally:
        other.terminate()
        other.wait(5)
        pinging.stop()


@scenario("doctor-forwarding", "packets for a network behind this machine, which does not forward", limit=90)
def forwarding(lab):
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b, allowed=[f"{b.v4}/32", f"{b.v6}/128", "192.168.44.0/24"])
    b.add_peer(a, endpoint=None)
    behind = lab.namespace("behind")
    veth(b.host, "lan", behind, "eth0")
    address(b.host, "lan", "192.168.44.1/24")
    address(behind, "eth0", "192.168.44.2/24")
    behind.ip("route", "add", "default", "via", "192.168.44.1")
    b.host.sysctl("net.ipv4.ip_forward=0")
    b.up()
    a.up()
    a.wait()
    pinging = traffic.Pinging(a.host, "192.168.44.2", interval=0.1)
    finds(b, "forwarding-off")
    b.host.forwarding()
    until("the network behind b answers", lambda: pinging.replies() > 0, timeout=5)
    equal(problems(doctor(b, 0)), [], "problems with forwarding on")
    pinging.stop()


@scenario("doctor-rp-filter", "the reverse-path filter drops what comes from a network without a route")
def rp_filter(lab):
    a, b = lab.node("a"), lab.node("b", interface={"routes": "off"})
    a.add_peer(b)
    b.add_peer(a, endpoint=None, allowed=[f"{a.v4}/32", f"{a.v6}/128", "10.9.9.9/32"])
    b.up()
    b.host.sysctl("net.ipv4.conf.stadium0.rp_filter=1")
    a.up()
    a.wait()
    a.host.ip("addr", "add", "10.9.9.9/32", "dev", "lo")
    with open(os.devnull, "wb") as null:
        argv = a.host.command("ping", "-n", "-i", "0.2", "-I", "10.9.9.9", b.v4)
        pinging = subprocess.Popen(argv, stdout=null, stderr=null)
    try:
        found = finds(b, "rp-filter")
        # the same fact seen from the routes
        contains(found["missing-route"]["what"], "10.9.9.9/32", "the missing route")
    finally:
        pinging.terminate()
        pinging.wait(5)


@scenario("doctor-firewall", "a packet filter of this machine: drops what comes in, or what goes out", limit=90)
def firewall(lab):
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b)
    b.add_peer(a, endpoint=None)
    b.host.nft("""
        table inet wall {
            chain input { type filter hook input priority 0; policy drop; iifname "lo" accept; meta l4proto icmp accept; }
        }
    """)
    b.up()
    a.up()
    contains(finds(b, "firewall")["firewall"]["what"], "inet wall input", "the chain that drops")
    b.host.nft("flush ruleset")
    a.host.nft("""
        table inet wall {
            chain output { type filter hook output priority 0; meta l4proto udp drop; }
        }
    """)
    a.down()
    a.up()
    contains(finds(a, "firewall")["firewall"]["what"], "inet wall output", "the chain that drops what goes out")
    a.host.nft("flush ruleset")
    until("it works without", lambda: not problems(doctor(a, None)), timeout=20)


@scenario("doctor-routes", "no way to the endpoint; allowed IPs that do not lead into the interface")
def routes(lab):
    a, b = lab.node("a", interface={"routes": "off"}), lab.node("b")
    a.add_peer(b, allowed=[f"{b.v4}/32", f"{b.v6}/128", "192.168.44.0/24"])
    b.add_peer(a, endpoint=None)
    b.up()
    a.up()
    found = finds(a, "missing-route", peer="b")
    contains(found["missing-route"]["what"], "192.168.44.0/24", "the prefix without a route")
    equal(problems(found), ["missing-route"], "problems")
    a.host.ip("route", "add", "192.168.44.0/24", "dev", "stadium0")
    equal(problems(doctor(a, 0)), [], "problems with the route")
    a.host.ip("route", "del", "default")
    finds(a, "no-route", peer="b")


@scenario("doctor-names", "a name that does not resolve is found, with a daemon and without")
def names(lab):
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b, endpoint=f"no-such-host.invalid:{PORT}")
    a.write()
    finds(a, "name-unresolved", peer="b")
    a.up()
    finds(a, "name-unresolved", peer="b")


@scenario("doctor-static", "without a daemon: port in use, address conflict, no permission, a bad file, no file", limit=90)
def static(lab):
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b)
    a.write()
    taken = a.host.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind(("0.0.0.0", PORT))
    contains(finds(a, "port-in-use")["port-in-use"]["what"], f"pid {os.getpid()}", "the holder of the port")
    taken.close()
    a.host.ip("addr", "add", f"{a.v4}/24", "dev", "eth0")
    finds(a, "address-conflict")
    a.up()
    finds(a, "address-conflict")
    # nobody may neither ask the daemon nor read the file
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    copy = os.path.join(lab.dir, "stadium")
    shell.run("cp", lab.stadium, copy)
    argv = [*nobody, copy, "doctor", a.file, "--json"]
    result = a.host.run(*argv, check=1)
    codes = [finding["code"] for finding in json.loads(result.out)["findings"]]
    true("no-permission" in codes, f"what nobody is told: {codes}")
    a.down()
    a.host.ip("addr", "del", f"{a.v4}/24", "dev", "eth0")
    with open(a.file, "a") as text:
        text.write("nonsense: 1\n")
    found = doctor(a, 2)
    contains(found["bad-file"]["what"], "nonsense", "the error in the file")
    os.remove(a.file)
    true("bad-file" in doctor(a, 2), "a missing file")


@scenario("doctor-duplicate", "two nodes with one key are found by the third", limit=90)
def duplicate(lab):
    a, b, c = lab.node("a"), lab.node("b"), lab.node("c")
    for twin in (a, c):
        twin.add_peer(b, heartbeat="1s")
    c.write_secret("node.key", a.private_key)
    b.add_peer(a, endpoint=None)
    timers = {"STADIUM_TEST_TIMERS": "rekey=2s"}
    b.up()
    a.up(env=timers)
    c.up(env=timers)
    until("b finds two nodes", lambda: "duplicate-node" in doctor(b, None), timeout=40)
    equal(finds(b, "duplicate-node")["duplicate-node"]["peer"], "a", "the peer that is two")


# what a driver does that promises runs of datagrams and cannot send them
NO_GSO = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

static int refused(const struct msghdr *message) {
    for (struct cmsghdr *each = CMSG_FIRSTHDR(message); each; each = CMSG_NXTHDR((struct msghdr *)message, each))
        if (each->cmsg_level == SOL_UDP && each->cmsg_type == 103) return 1;
    return 0;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    ssize_t (*next)(int, const struct msghdr *, int) = dlsym(RTLD_NEXT, "sendmsg");
    if (refused(message)) { errno = EIO; return -1; }
    return next(fd, message, flags);
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
    int (*next)(int, struct mmsghdr *, unsigned, int) = dlsym(RTLD_NEXT, "sendmmsg");
    unsigned good = 0;
    while (good < count && !refused(&messages[good].msg_hdr)) good++;
    if (good == 0 && count > 0) { errno = EIO; return -1; }
    return next(fd, messages, good, flags);
}
"""


@scenario("doctor-offload", "an offload that failed in use is found, and everything works without")
def offload(lab):
    if not shutil.which("cc"):
        raise Skip("no cc")
    source, library = os.path.join(lab.dir, "no_gso.c"), os.path.join(lab.dir, "no_gso.so")
    with open(source, "w") as text:
        text.write(NO_GSO)
    shell.run("cc", "-shared", "-fPIC", "-o", library, source, "-ldl")
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b)
    b.add_peer(a, endpoint=None)
    b.up()
    a.up(env={"LD_PRELOAD": library})
    a.wait()
    traffic.tcp_exchange(a.host, b.host, b.v4, size=4 << 20)
    contains(finds(a, "offload-broken")["offload-broken"]["what"], "UDP GSO", "the offload that failed")
    equal(problems(doctor(b, 0)), [], "problems at b")


@scenario("explain", "which peer, rule, route, MTU and endpoint carry an address, and why others are not carried")
def explain(lab):
    a, b = lab.pair()

    def asked(address, check, node=a):
        return json.loads(node.cli("explain", node.file, address, "--json", check=check).out)

    told = asked(b.v4, 0)
    equal(told["peer"]["name"], "b", "peer")
    equal(told["peer"]["prefix"], f"{b.v4}/32", "prefix")
    equal(told["peer"]["state"], "up", "state")
    equal(told["route"]["interface"], "stadium0", "interface of the route")
    equal(told["rule"]["table"], 254, "table of the rule")
    equal(told["mtu"], a.status()["mtu"], "mtu")
    equal(told["endpoint"]["address"], b.endpoint(4), "endpoint")
    equal(told["endpoint"]["route"]["interface"], "eth0", "interface of the datagrams")
    equal(told["endpoint"]["route"]["gateway"], f"10.77.{a.host.index}.1", "gateway of the datagrams")
    equal(asked(b.v6, 0)["peer"]["prefix"], f"{b.v6}/128", "prefix, IPv6")

    def codes(address, check=1):
        return [reason["code"] for reason in asked(address, check)["reasons"]]

    equal(codes("224.0.0.251"), ["reserved"], "multicast")
    equal(codes(a.v4), ["own-address"], "an address of its own")
    equal(codes("198.51.100.1"), ["not-allowed", "other-interface"], "an address of nobody")
    a.host.ip("route", "add", f"{b.v4}/32", "dev", "eth0", "table", "99")
    a.host.ip("rule", "add", "priority", "100", "to", b.v4, "lookup", "99")
    equal(codes(b.v4), ["other-interface"], "another interface that wins")
    a.host.ip("rule", "del", "priority", "100")
    a.host.ip("route", "del", "default")
    equal(codes(b.v4), ["no-route-to-endpoint"], "no way to the endpoint")
    contains(a.cli("explain", a.file, b.v4, check=1).out, "not carried (no-route-to-endpoint)", "in words")
    a.cli("explain", a.file, "nonsense", check=2)
    b.down()
    b.write()
    equal(codes_of(b.cli("explain", b.file, a.v4, "--json", check=3).out), ["not-running"], "where nothing runs")


@scenario("explain-default", "with a default route the rule of the policy and the mark of the datagrams are told")
def explain_default(lab):
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b, allowed=["0.0.0.0/0", f"{b.v6}/128"])
    b.add_peer(a, endpoint=None)
    b.up()
    a.up()
    a.wait()
    told = json.loads(a.cli("explain", a.file, "198.51.100.1", "--json").out)
    equal(told["peer"]["prefix"], "0.0.0.0/0", "prefix")
    contains(told["rule"]["text"], "not from all fwmark", "rule")
    equal(told["rule"]["table"], told["route"]["table"], "table")
    true(told["endpoint"]["mark"], "the datagrams carry a mark")
    equal(told["endpoint"]["route"]["interface"], "eth0", "interface of the datagrams")
    equal(problems(doctor(a, 0)), [], "problems with a default route")


def codes_of(text):
    return [reason["code"] for reason in json.loads(text)["reasons"]]
