"""Floods of hostile datagrams beside honest traffic, and what they cost."""

import base64
import json
import os
import signal
import socket
import subprocess
import threading
import time

from .node import PORT
from . import traffic
from .traffic import family
from .verdict import Failure, until
from .wire import capturing

SINK_PORT = 9
# addresses that only the attacker has, as many as he likes
SPOOFED = "10.99.0.0/16"
FIRST_SPOOFED = "10.99.0.1"


class Attacker:
    """A host with 65,000 addresses, and counters of what comes back to it."""

    def __init__(self, lab):
        self.lab = lab
        self.host = lab.host("eve")
        self.program = lab.helper("lab_traffic")
        self.host.ip("route", "add", "local", SPOOFED, "dev", "lo")
        lab.router.ip("route", "add", SPOOFED, "via", self.host.v4)
        self.host.nft("table ip judge { chain in { type filter hook prerouting priority -300; "
                      "iifname eth0 meta l4proto udp counter; }; }")

    def answers(self):
        """Packets and bytes of UDP payload that came back so far."""
        ruleset = json.loads(self.host.run("nft", "-j", "list", "ruleset").out)
        for item in ruleset["nftables"]:
            for expression in item.get("rule", {}).get("expr", []):
                if "counter" in expression:
                    packets = expression["counter"]["packets"]
                    return packets, expression["counter"]["bytes"] - 28 * packets
        raise Failure("no counter in the attacker's rules")

    def start(self, target, rate, seconds, *kind, spoofed=True, port=PORT):
        """Begins a flood; `finish` returns what it sent."""
        argv = [self.program, "flood", "--to", f"{target.host.v4}:{port}", "--rate", rate, "--seconds", seconds,
                *(("--sources", FIRST_SPOOFED) if spoofed else ()), *kind]
        return subprocess.Popen(self.host.command(*argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)


def finish(process, stop=False):
    """The figures that a helper prints at its end."""
    if stop:
        process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    if process.returncode:
        raise Failure(f"the helper ended with {process.returncode}: {err.strip()}")
    return json.loads(out)


def sink(lab, node):
    """A process that reads everything that comes to port 9, and keeps nothing."""
    argv = [lab.helper("lab_traffic"), "sink", "--listen", f"0.0.0.0:{SINK_PORT}"]
    process = subprocess.Popen(node.host.command(*argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    lab.on_close(process.kill)
    return process


def samples(lab, a, b, kind):
    """A file with datagrams of one kind that a sent to b when it came up."""
    with capturing(lab.router, b.host.wire) as capture:
        a.up()
        a.wait()
        traffic.must_reach(a.host, b.v4)
    found = [d.payload.hex() for d in capture.of(kind, source=a.host.v4)]
    path = os.path.join(lab.dir, f"{kind}.hex")
    with open(path, "w") as out:
        out.write("\n".join(found) + "\n")
    return path


def key_of(node):
    return base64.b64decode(node.public_key).hex()


class Goodput:
    """One TCP connection from `client` to `server`, as fast as it goes; `rate` measures it."""

    def __init__(self, client, server, address, port=7004):
        listener = server.socket(family(address), socket.SOCK_STREAM)
        listener.bind((address, port))
        listener.listen(1)
        self.out = client.socket(family(address), socket.SOCK_STREAM)
        self.out.settimeout(30)
        self.out.connect((address, port))
        self.into, _ = listener.accept()
        listener.close()
        self.received = 0
        self.running = True
        for work in (self._send, self._receive):
            threading.Thread(target=work, daemon=True).start()
        until("TCP flows", lambda: self.received > 0, timeout=10)

    def _send(self):
        block = bytes(1 << 18)
        try:
            while self.running:
                self.out.send(block)
        except OSError:
            pass

    def _receive(self):
        try:
            while self.running:
                self.received += len(self.into.recv(1 << 18))
        except OSError:
            pass

    def rate(self, seconds):
        """Megabits a second over so many seconds."""
        start, before = time.monotonic(), self.received
        time.sleep(seconds)
        return (self.received - before) * 8e-6 / (time.monotonic() - start)

    def close(self):
        self.running = False
        self.out.close()
        self.into.close()
