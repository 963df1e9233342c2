"""Datagrams of an attacker who sees the wire: all dropped, all counted, nothing moves."""

import base64
import os
import re
import socket
import struct

from lab import traffic
from lab.node import PORT, settle
from lab.registry import scenario
from lab.relay import Relay
from lab.verdict import at_least, at_most, equal, true, until
from lab.wire import capturing, inject, send_raw


def prepared(lab, outer=4, count=20):
    """A pair with a session, what a sent to b on the wire, and a host of the attacker's."""
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b, outer=outer)
    b.add_peer(a, endpoint=None)
    eve = lab.host("eve")
    b.up()
    with capturing(lab.router, b.host.wire) as capture:
        a.up()
        a.wait()
        traffic.must_reach(a.host, b.v4, count=count)
    source = a.host.outer(outer)
    return a, b, eve, capture.of("request", source=source), capture.of("data", source=source)


def unmoved(a, b, outer=4):
    equal(b.peer(a)["endpoint"], a.endpoint(outer), "endpoint of a at b")
    traffic.must_reach(a.host, b.v4, "a still reaches b")


def replayed(lab, outer):
    a, b, eve, requests, data = prepared(lab, outer)
    at_least(len(data), 20, "captured data datagrams")
    for source in (None, eve.outer(outer)):
        before, rx = b.drops(), b.peer(a)["rx"]
        with capturing(lab.router, eve.wire) as seen:
            for datagram in data:
                inject(lab.router, datagram, source=source)
            until("every replay is counted", lambda: b.drops()["replay"] - before["replay"] >= len(data), timeout=5)
            settle(0.3)
            equal([d.kind for d in seen.datagrams if d.source == b.host.outer(outer)], [], "answers to the attacker")
        equal(b.drops()["replay"] - before["replay"], len(data), "replay drops")
        equal(b.peer(a)["rx"], rx, "what b received from a")
        unmoved(a, b, outer)
    # a REQUEST again: dropped by its mac, before any work
    at_least(len(requests), 1, "captured requests")
    before = b.drops()
    handshakes = b.peer(a)["handshakes"]
    for source in (None, eve.outer(outer)):
        inject(lab.router, requests[-1], source=source)
    until("repeated requests are counted", lambda: b.drops()["repeated_request"] - before["repeated_request"] >= 2, timeout=5)
    equal(b.peer(a)["handshakes"], handshakes, "handshakes")
    unmoved(a, b, outer)


scenario("replay", "captured datagrams sent again, from the same and another source, over IPv4", outer=4)(replayed)
scenario("replay-6", "captured datagrams sent again, from the same and another source, over IPv6", outer=6)(replayed)


@scenario("forged", "altered datagrams: bad tag, unknown index, bad mac, malformed; each counted, none answered")
def forged(lab):
    a, b, eve, requests, data = prepared(lab)
    model, request = data[-1], requests[-1]
    head, body = model.payload[:16], model.payload[16:]
    fresh = struct.pack("<Q", struct.unpack("<Q", head[8:16])[0] + 1000)
    flipped = bytes([body[0] ^ 1]) + body[1:]
    cases = {
        "bad_tag": [head[:8] + fresh + flipped, head[:8] + fresh + os.urandom(64), head[:8] + fresh + bytes(16)],
        "unknown_index": [head[:4] + bytes([head[4] ^ 0x55]) + head[5:] + body],
        "bad_mac": [request.payload[:-1] + bytes([request.payload[-1] ^ 1]), request.payload[:100] + b"\0" + request.payload[101:-1] + b"x"],
        "malformed": [b"\x04", b"\x04" + bytes(30), head[:1] + b"\x80" + head[2:] + body, b"\x09" * 60, b"StadiumP",
                      b"StadiumP\x7a" + bytes(40), b"\x01\x01\x00\x00", head[:2] + b"\x01\x00" + head[4:] + body,
                      b"\x04\x00\x00\x00\x00\x00\x00\x00" + bytes(24)],
    }
    rx = b.peer(a)["rx"]
    with capturing(lab.router, b.host.wire) as wire:
        for reason, payloads in cases.items():
            for source in (model.source, eve.v4):
                before = b.drops()
                for payload in payloads:
                    inject(lab.router, model, source=source, payload=payload)
                wanted = len(payloads)
                if reason == "malformed":
                    until("malformed datagrams are counted", lambda: sum_of(b.drops(), before, "malformed", "unknown_index") >= wanted, timeout=5)
                else:
                    until(f"{reason} is counted", lambda: b.drops()[reason] - before[reason] >= wanted, timeout=5)
                    equal(b.drops()[reason] - before[reason], wanted, f"{reason} drops")
        answers = [d for d in wire.datagrams if d.source == b.host.v4 and d.target == eve.v4]
        equal(answers, [], "answers to the attacker")
    equal(b.peer(a)["rx"], rx, "what b received from a")
    unmoved(a, b)


def sum_of(after, before, *names):
    return sum(after[n] - before[n] for n in names)


@scenario("junk", "every length and every first byte of junk: the daemon lives, answers nothing, traffic goes on", limit=90)
def junk(lab):
    a, b, eve, _, _ = prepared(lab)
    pinging = traffic.Pinging(a.host, b.v4, interval=0.05)
    firsts = [b"StadiumP", *(bytes([first]) for first in range(256))]
    with capturing(lab.router, eve.wire) as wire:
        for first in firsts:
            for length in (len(first), 16, 31, 32, 33, 85, 256):
                send_raw(lab.router, eve.v4, 4000, b.host.v4, PORT, (first + os.urandom(256))[:length])
        for length in range(0, 1473, 7):
            send_raw(lab.router, eve.v4, 4000, b.host.v4, PORT, (b"\x04\0\0\0" + os.urandom(1500))[:length])
        send_raw(lab.router, eve.v4, 4000, b.host.v4, PORT, b"")
        settle(0.5)
        equal([d.kind for d in wire.datagrams if d.source == b.host.v4], [], "answers to junk")
    result = pinging.stop()
    equal(result.lost, 0, f"pings lost of {result.sent}")
    drops = b.drops()
    at_least(sum(drops.values()), 1500, "dropped datagrams in all")
    unmoved(a, b)


def waiting_bytes(node):
    """What waits in the receive buffers of a node's UDP sockets, in bytes."""
    waiting = 0
    for table in ("udp", "udp6"):
        with open(f"/proc/{node.pid}/net/{table}") as lines:
            next(lines)
            waiting += sum(int(line.split()[4].split(":")[1], 16) for line in lines)
    return waiting


@scenario("every-length", "junk of every length from 0 to the longest datagram and of every first byte: exactly counted, silence on the wire, the tunnel carries",
          limit=240)
def every_length(lab):
    a, b = lab.pair()
    # one wire that takes the longest datagram in one piece: what is judged is the daemon, not reassembly
    eve = lab.host("eve", mtu=65535)
    b.host.ip("link", "set", "eth0", "mtu", 65535)
    lab.router.ip("link", "set", b.host.wire, "mtu", 65535)
    for version, source in ((4, b.host.v4), (6, b.host.v6)):
        family = "ip" if version == 4 else "ip6"
        eve.nft(f"table {family} judge {{ chain in {{ type filter hook prerouting priority -300; "
                f"{family} saddr {source} counter; }}; }}")
    pinging = traffic.Pinging(a.host, b.v4, interval=0.05)
    noise = memoryview(os.urandom(1 << 17))
    heads = (b"StadiumP\x7a", b"StadiumP\x00", b"\x01\0\0\0", b"\x02\0\0\0", b"\x03\0\0\0", b"\x04\0\0\0", b"\x04\x01\0\0")
    before, sent = sum(b.drops().values()), 0

    def taken():
        """Waits until the daemon has read what came, so that no receive buffer overflows."""
        until("b reads what came", lambda: waiting_bytes(b) == 0, timeout=20, every=0.001)

    for version, longest, every in ((6, 65527, 1), (4, 65507, 16)):
        sock = eve.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, 32, 1 << 22)  # SO_SNDBUFFORCE
        sock.connect((b.host.outer(version), PORT))
        waiting = 0
        for length in range(1, longest + 1, every):
            at = length * 7919 % (1 << 16)
            head = heads[length % len(heads)] if length % 2 else noise[at:at + 1]
            sock.send(b"".join((head[:length], noise[at:at + max(0, length - len(head))])))
            sent += 1
            waiting += length + 700
            if waiting > 60_000:
                taken()
                waiting = 0
        for first in range(256):
            taken()
            for length in (1, 2, 8, 15, 16, 31, 32, 33, 64, 85, 100, 236, 240, 1200, 1424, 1452):
                sock.send(bytes([first]) + bytes(noise[first * 97:first * 97 + length - 1]))
                sent += 1
        # an empty datagram is nothing: not even counted
        sock.send(b"")
        sock.close()
    until("every datagram is counted", lambda: sum(b.drops().values()) - before >= sent, timeout=10)
    settle(0.5)
    equal(sum(b.drops().values()) - before, sent, "drops for the datagrams sent")
    counted = re.findall(r"counter packets (\d+)", eve.run("nft", "list", "ruleset").out)
    equal(counted, ["0", "0"], "packets that b sent to the attacker, by both families")
    lost = pinging.stop()
    equal(lost.lost, 0, f"pings lost of {lost.sent}")
    true("panic" not in b.log(), "no panic")
    unmoved(a, b)
    traffic.tcp_exchange(a.host, b.host, b.v4, size=1 << 20)
    lab.note(f"{sent} datagrams, {lost.sent} pings beside them")


@scenario("stolen", "a fresh datagram held back and sent from another address first: no more than a path check goes there")
def stolen(lab):
    a, b = lab.node("a"), lab.node("b")
    relay_at, eve = lab.host("relay"), lab.host("eve")
    held = []
    stealing = {"on": False}

    def thief(direction, payload):
        if direction == "out" and stealing["on"] and payload[:1] == b"\x04":
            held.append(payload)
            return []
        return [payload]

    relay = Relay(relay_at, (relay_at.v4, PORT), (b.host.v4, PORT), thief)
    lab.on_close(relay.close)
    a.add_peer(b, endpoint=f"{relay_at.v4}:{PORT}")
    b.add_peer(a, endpoint=None)
    b.up()
    a.up()
    a.wait()
    traffic.must_reach(a.host, b.v4)
    endpoint = f"{relay_at.v4}:{relay.back_port}"
    equal(b.peer(a)["endpoint"], endpoint, "endpoint before")
    with capturing(lab.router, eve.wire) as wire:
        for _ in range(3):
            stealing["on"] = True
            traffic.ping(a.host, b.v4, count=5, wait=0.2)
            stealing["on"] = False
            while held:
                send_raw(lab.router, eve.v4, 4000, b.host.v4, PORT, held.pop(0))
            traffic.must_reach(b.host, a.v4, "b still sends to the true address", count=10)
            equal(b.peer(a)["endpoint"], endpoint, "endpoint after the theft")
        settle(0.3)
        sent = [d for d in wire.datagrams if d.source == b.host.v4]
        true(all(d.kind == "data" for d in sent), "only data datagrams went to the candidate")
        # at most 8 while it is a candidate (10 s), and this took less
        at_most(len(sent), 8, "datagrams that b sent to the stolen address")
    unmoved_through(a, b, endpoint)


def unmoved_through(a, b, endpoint):
    equal(b.peer(a)["endpoint"], endpoint, "endpoint of a at b")
    traffic.must_reach(a.host, b.v4, "a still reaches b")


@scenario("plaintext", "nothing of what goes through the tunnel can be found on the wire, nor any key")
def plaintext(lab):

    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b)
    b.add_peer(a)
    secret = os.urandom(8).hex().encode() * 40
    b.up()
    echo = traffic.UdpEcho(b.host, "0.0.0.0", 7100)
    with capturing(lab.router, a.host.wire) as wire:
        a.up()
        a.wait()
        sock = a.host.socket(2, 2)
        sock.settimeout(2)
        for _ in range(20):
            sock.sendto(secret, (b.v4, 7100))
            equal(sock.recv(2000), secret, "what the echo returned")
        sock.close()
        settle(0.2)
    echo.address = ("127.0.0.1", 7100)
    echo.sock.close()
    at_least(len(wire.of("data")), 40, "data datagrams on the wire")
    needles = [secret[:16], bytes(map(int, a.v4.split("."))) + bytes(map(int, b.v4.split("."))),
               *(base64.b64decode(k) for n in (a, b) for k in (n.public_key, n.private_key))]
    for datagram in wire.datagrams:
        for needle in needles:
            true(needle not in datagram.payload, f"plaintext found in a {datagram.kind} datagram")
    for frame in wire.frames:
        true(secret[:16] not in frame, "plaintext found in a frame")
    equal({d.kind for d in wire.datagrams} - {"request", "consent", "data"}, set(), "other datagrams")
    equal(len(wire.of("consent")) >= 1, True, "a consent was seen")
