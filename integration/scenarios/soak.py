"""Hours of a bad network, in the short form half a minute: nothing altered, nothing twice, nothing lost of the tunnel itself."""

import os
import random
import statistics
import subprocess
import time

from lab.flood import finish
from lab.node import PORT
from lab.registry import scenario
from lab.verdict import at_least, at_most, equal, true

SEED = 0x5374
REKEY = 2.0
NOISE = {"ratio": "1:2", "size": "match", "filler": "random", "accept": {"ratio": "4:1"}}


def schedule(seconds):
    """What the relay does when: a state of the link every one to four seconds, a new port every three."""
    dice = random.Random(SEED)
    lines, at = [], 0.0
    while at < seconds:
        low = dice.choice((0, 1, 5, 20))
        high = low + dice.choice((0, 2, 30))
        state = (f"clear loss={dice.choice((0, 0.1, 1, 5, 10))}% duplicate={dice.choice((0, 1, 10))}% corrupt={dice.choice((0, 0.1, 1))}% "
                 f"delay={low}ms..{high}ms{dice.choice(('', '/unordered'))} reorder={dice.choice((0, 0.05, 0.2))}/{dice.choice((3, 8, 64))}/50ms")
        lines.append((at, f"{dice.choice(('both', 'forward', 'backward'))} {state}"))
        at += dice.uniform(1, 4)
    lines += [(1.5 + 3 * n, "roam") for n in range(int(seconds / 3))]
    return "".join(f"{when:.2f}s {what}\n" for when, what in sorted(lines))


def start(host, *argv):
    return subprocess.Popen(host.command(*argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@scenario("soak", "a relay that loses, delays, reorders, duplicates and corrupts, roaming, rekeys every 2 s, noise, reloads: every inner packet is judged; --long: an hour, or --minutes",
          limit=120, long=3900)
def soak(lab):
    seconds, rate = (lab.long * 60, 1_500) if lab.long else (20, 1_000)
    a, b, relay = lab.node("a", noise=NOISE), lab.node("b", noise=NOISE), lab.host("relay")
    a.add_peer(b, endpoint=f"{relay.v4}:{PORT}")
    b.add_peer(a, endpoint=None)
    plan = os.path.join(lab.dir, "schedule")
    with open(plan, "w") as out:
        out.write(schedule(min(seconds, 600)) + f"{min(seconds, 600) + 1:.0f}s repeat\n")
    bad = start(relay, lab.helper("stadium-relay"), "--listen", f"{relay.v4}:{PORT}", "--upstream", f"{b.host.v4}:{PORT}",
                "--seed", SEED, "--schedule", plan)
    lab.on_close(bad.kill)
    timers = {"STADIUM_TEST_TIMERS": f"rekey={REKEY:g}s"}
    b.up(env=timers)
    a.up(env=timers)
    a.wait(timeout=20)
    traffic, program = [], lab.helper("lab_traffic")
    judges = [start(node.host, program, "verify", "--listen", f"{node.v4}:7010", "--seed", seed)
              for node, seed in ((b, 11), (a, 12))]
    for process in judges:
        lab.on_close(process.kill)
    time.sleep(0.5)
    for node, other, seed in ((a, b, 11), (b, a, 12)):
        process = start(node.host, program, "send", "--to", f"{other.v4}:7010", "--rate", rate, "--seconds", seconds, "--seed", seed)
        lab.on_close(process.kill)
        traffic.append(process)
    begun, handshakes, oldest, missing, reloads = time.monotonic(), a.peer(b)["handshakes"], 0.0, 0, 0
    memory = {a: [], b: []}
    while any(process.poll() is None for process in traffic):
        time.sleep(1)
        for node in (a, b):
            equal(node.process.poll(), None, f"exit code of {node.label}, which should run")
            memory[node].append(node.rss_kib())
        session = a.peer(b)["session"]
        missing = 0 if session else missing + 1
        oldest = max(oldest, session["age_s"] if session else missing)
        if len(memory[a]) % 5 == 0:
            node = (a, b)[reloads % 2]
            node.config["peers"][0]["heartbeat"] = f"{20 + reloads % 2}s"
            node.reload()
            reloads += 1
    lasted = time.monotonic() - begun
    rekeys = a.peer(b)["handshakes"] - handshakes
    sent = [finish(process) for process in traffic]
    time.sleep(1)
    seen = [finish(process, stop=True) for process in judges]
    finished = {name: sum(part[name] for part in seen) for name in ("received", "altered", "twice", "overtaken")}
    drops = [node.drops() for node in (a, b)]
    noise = [node.peer(other)["tx"]["noise_packets"] for node, other in ((a, b), (b, a))]
    drift = {node.label: drifted(series) for node, series in memory.items()}
    figures = (f"{lasted:.0f} s: {finished['received']} inner packets of {sum(part['sent'] for part in sent)} ({finished['overtaken']} overtaken), "
               f"{finished['altered']} altered, {finished['twice']} twice; {rekeys} rekeys, oldest session {oldest:.1f} s; {reloads} reloads; "
               f"noise {sum(noise)}; bad tags {sum(d['bad_tag'] for d in drops)}, repeats {sum(d['replay'] for d in drops)}; drift {drift} KiB")
    print(figures)  # for a failure, whose report must not lack them
    lab.note(figures)
    equal((finished["altered"], finished["twice"]), (0, 0), f"inner packets altered and twice of {finished}")
    at_least(finished["received"], sum(part["sent"] for part in sent) * 6 // 10, f"inner packets that came through: {seen} of {sent}")
    # a REQUEST may get lost; its repetitions may not all
    at_most(round(oldest, 1), REKEY + 12, "seconds of the oldest session")
    at_least(rekeys, int(lasted / REKEY * 0.6), f"rekeys in {lasted:.0f} s")
    for reason in ("bad_tag", "replay"):
        at_least(sum(each[reason] for each in drops), 1, f"drops by {reason}: the relay did corrupt and duplicate")
    at_least(min(noise), 1, "noise packets of each side")
    at_most(max(drift.values()), 1024 if lab.long else 4096, f"KiB of memory that came to stay: {drift}")
    for node in (a, b):
        true("panic" not in node.log(), f"no panic of {node.label}")


def drifted(series):
    """From the tenth after a warm-up of a tenth, to the last tenth, by their medians; in KiB."""
    part = max(2, len(series) // 10)
    return statistics.median(series[-part:]) - statistics.median(series[part:2 * part])
