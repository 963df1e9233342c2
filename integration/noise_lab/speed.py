"""What noise costs in goodput and delay: bulk over a limited line, bulk without a limit, and pings.

Every figure is a ratio or a difference of settings that ran in turns, or at once, on the same machine: what else it
did meanwhile meets all of them.
"""

import json
import re
import statistics
import subprocess
import time

from lab.verdict import true
from lab.world import Lab

MTU = 1420
FULL = {"filler": "full", "accept": {"ratio": "4:1"}}
RATIOS = {"1:8": 1 / 8, "1:4": 1 / 4, "1:2": 1 / 2, "1:1": 1.0, "2:1": 2.0, "4:1": 4.0}
# the queue is short, or TCP would hide what it does to delay; the burst holds a few GSO runs
LINE = ("burst", "64kb", "latency", "40ms")


class Pair:
    """Two nodes with one noise setting."""

    def __init__(self, lab, labels, noise):
        extra = {"mtu": MTU}
        top = {"noise": noise} if noise else {}
        self.a, self.b = (lab.node(label, interface=extra, **top) for label in labels)
        self.a.add_peer(self.b)
        self.b.add_peer(self.a)
        self.router = lab.router
        for node in (self.b, self.a):
            node.up()
        self.a.wait()

    def limit(self, rate):
        """Limits both directions on the router, whose interfaces see datagrams one by one."""
        for node in (self.a, self.b):
            wire = node.host.wire
            node.host.ip("link", "set", "dev", "eth0", "gso_max_segs", "1")
            self.router.run("tc", "qdisc", "replace", "dev", wire, "root", "tbf", "rate", rate, *LINE)

    def bulk(self, seconds, skip=2):
        """Mbit/s of payload that a TCP flow from a to b delivers, its first seconds left out."""
        server = subprocess.Popen(
            self.b.host.command("iperf3", "-s", "-1", "-B", self.b.v4),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            done = self.a.host.run("iperf3", "-c", self.b.v4, "-t", seconds, "-O", skip, "-C", "cubic", "-J",
                                   check=None, timeout=seconds + skip + 30)
            report = json.loads(done.out)
            true("error" not in report, f"iperf3: {report.get('error')}")
            return report["end"]["sum_received"]["bits_per_second"] / 1e6
        finally:
            server.kill()
            server.wait()

    def pinging(self, count, interval):
        return subprocess.Popen(
            self.a.host.command("ping", "-n", "-c", str(count), "-i", str(interval), "-s", "56", self.b.v4),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def settled(self):
        """The noise packets for a real one that a has sent so far."""
        sent = self.a.peer(self.b)["tx"]
        return sent["noise_packets"] / max(sent["packets"], 1)


def times(pinging):
    text, _ = pinging.communicate(timeout=300)
    return [float(found) for found in re.findall(r"time=([\d.]+) ms", text)]


def share(values, part):
    values = sorted(values)
    return values[min(int(len(values) * part), len(values) - 1)]


def limited(lab, rate, seconds, rounds, ratios, say):
    """Goodput of each ratio times (1 + r), in parts of that without noise, on a line of `rate`."""
    names = ["off", "filler", *ratios]
    settings = {"off": None, "filler": FULL, **{r: {**FULL, "ratio": r} for r in ratios}}
    pairs = {name: Pair(lab, (f"a{n}", f"b{n}"), settings[name]) for n, name in enumerate(names)}
    found = {name: [] for name in names}
    for pair in pairs.values():
        pair.limit(rate)
    for number in range(rounds):
        for name, pair in pairs.items():
            found[name].append(pair.bulk(seconds))
            say(f"round {number + 1}: {name}: {found[name][-1]:.2f} Mbit/s")
    usual = statistics.median(found["off"])
    result = {}
    for name in names[1:]:
        got = statistics.median(found[name])
        ratio = RATIOS.get(name, 0.0)
        result[name] = {"mbit": got, "of_link": got * (1 + ratio) / usual, "sent_ratio": pairs[name].settled()}
    return {"off_mbit": usual, "line": rate, "settings": result}


def unlimited(lab, seconds, rounds, say):
    """Bulk with full filler in parts of bulk without, where the processor is the limit."""
    off, full = Pair(lab, ("uo-a", "uo-b"), None), Pair(lab, ("uf-a", "uf-b"), FULL)
    ratios = []
    for number in range(rounds):
        # in turns, each time the other one first
        order = (off, full) if number % 2 == 0 else (full, off)
        got = {id(pair): pair.bulk(seconds, 1) for pair in order}
        ratios.append(got[id(full)] / got[id(off)])
        say(f"round {number + 1}: filler {got[id(full)]:.0f}, off {got[id(off)]:.0f} Mbit/s: {ratios[-1]:.3f}")
    return {"filler_of_off": statistics.median(ratios), "rounds": ratios}


def delay(lab, count, interval, say):
    """What noise of 4:1 adds to pings without load: both tunnels are pinged at once."""
    off, noisy = Pair(lab, ("do-a", "do-b"), None), Pair(lab, ("dn-a", "dn-b"), {**FULL, "ratio": "4:1"})
    running = [pair.pinging(count, interval) for pair in (off, noisy)]
    without, with_noise = (times(one) for one in running)
    true(min(len(without), len(with_noise)) > 0.98 * count, "pings are answered")
    result = {}
    for name, part in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        plain, noise = share(without, part), share(with_noise, part)
        result[name] = {"off_ms": plain, "noise_ms": noise, "added_ms": noise - plain}
        say(f"{name}: {plain:.2f} ms without noise, {noise:.2f} ms with 4:1: {noise - plain:+.2f} ms")
    return {"pings": count, **result}


def measure(stadium, tag, rate, seconds, rounds, say):
    """All three, one after the other; returns the figures."""
    result = {}
    for name, work in (
        ("delay", lambda lab: delay(lab, 2_000, 0.01, say)),
        ("unlimited", lambda lab: unlimited(lab, seconds, rounds, say)),
        ("limited", lambda lab: limited(lab, rate, seconds, rounds, list(RATIOS), say)),
    ):
        lab = Lab("noise-lab", stadium, f"{tag}-{name[0]}")
        try:
            result[name] = work(lab)
        finally:
            lab.close()
    return result


def verdicts(result):
    """The goals: (what, reached, figure)."""
    said = []
    for name, found in result["limited"]["settings"].items():
        part = found["of_link"]
        said.append((f"bulk with {name} reaches link/(1+r)", part >= 0.95, f"{100 * part:.1f} %, at least 95 %"))
    part, rounds = result["unlimited"]["filler_of_off"], result["unlimited"]["rounds"]
    # on a busy machine the rounds scatter, and their median says little
    said.append(("bulk with full filler reaches bulk without", part >= 0.95,
                 f"{100 * part:.1f} %, at least 95 % (rounds from {100 * min(rounds):.0f} to {100 * max(rounds):.0f} %)"))
    added = result["delay"]["p99"]["added_ms"]
    said.append(("noise of 4:1 delays pings little", added <= 3.0, f"p99 {added:+.2f} ms, at most 3 ms"))
    return said
