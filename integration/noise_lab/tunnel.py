"""A tunnel between two namespaces, across an underlay whose relay delays and limits as a line would."""

import os
import signal
import subprocess

from lab import shell
from lab.verdict import true, until
from lab.world import Lab

RELAY_PORT = 6000
MTU = 1420
# a line of 30 Mbit/s with 8 ms each way; the queue holds 256 KiB
LINE = ("--delay", "8ms", "--rate", "30mbit/256k")


class Tunnel:
    """Nodes a and b; what runs in their namespaces stays, the daemons come and go."""

    def __init__(self, tag, stadium, relay):
        self.lab = Lab("noise-lab", stadium, tag)
        self.relay = relay
        self.relaying = None
        try:
            extra = {"mtu": MTU, "workers": 1}
            self.a = self.lab.node("a", interface=extra)
            self.b = self.lab.node("b", interface=extra)
            self.a.add_peer(self.b, endpoint=f"{self.gate}:{RELAY_PORT}")
            self.b.add_peer(self.a, endpoint=None)
            for node in (self.a, self.b):
                # or a capture sees a run of datagrams as one
                node.host.ip("link", "set", "dev", "eth0", "gso_max_segs", "1")
        except BaseException:
            self.lab.close()
            raise

    @property
    def gate(self):
        """The router's address on a's side."""
        return f"10.77.{self.a.host.index}.1"

    def start_relay(self, seed, record):
        """The relay, for one session; `record` is the file that it lists every datagram in."""
        self.relaying = subprocess.Popen(
            self.lab.router.command(
                self.relay, "--listen", f"{self.gate}:{RELAY_PORT}", "--upstream", self.b.endpoint(4),
                "--seed", seed, "--record", record, *LINE),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def stop_relay(self):
        if self.relaying:
            self.relaying.send_signal(signal.SIGTERM)
            _, said = self.relaying.communicate(timeout=10)
            true(self.relaying.returncode == 0, f"the relay ended with {self.relaying.returncode}: {said}")
            self.relaying = None

    def up(self, setting, trace):
        """Starts both daemons; `trace` is what the names of their traces begin with."""
        for node in (self.b, self.a):
            node.config["noise"] = setting.noise
            env = {"STADIUM_LAB_TRACE": f"{trace}-{node.label}"}
            if setting.leak:
                env["STADIUM_LAB_LEAK"] = setting.leak
            node.up(env=env, ready=False)
        for node in (self.b, self.a):
            until(f"{node.label} comes up", node.ready, timeout=20, every=0.1)
        self.a.wait(20)

    def down(self):
        """Ends both daemons, so that their traces are whole, and returns what they counted."""
        counts = {}
        for node, other in ((self.a, self.b), (self.b, self.a)):
            peer = node.peer(other)
            drops = {reason: n for reason, n in node.drops().items() if n}
            counts[node.label] = {"tx": peer["tx"], "rx": peer["rx"], "drops": drops,
                                  "cpu_s": processor_seconds(node.pid)}
        for node in (self.a, self.b):
            node.kill(signal.SIGTERM)
        return counts

    def close(self):
        for node in (self.a, self.b):
            node.kill()
        if self.relaying:
            self.relaying.kill()
            self.relaying.wait()
        self.lab.close()


def processor_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def binary_version(stadium):
    return shell.run(stadium, "--version").out.strip()
