"""Floods of each hostile kind, bounded, while a tunnel carries TCP and a new peer connects.

The short form asserts what does not depend on the machine's load (bytes out, memory, drops, that the
tunnel carries and the new peer gets in). `--long`, as `scripts/floods` runs it, floods as fast as one
core can and holds goodput and handshakes to their figures too.
"""

import statistics
import time

from lab import traffic
from lab.flood import SINK_PORT, Attacker, Goodput, finish, key_of, samples, sink
from lab.registry import scenario
from lab.verdict import at_least, at_most, equal, true, until
from lab.wire import capturing

# kind: (drop reasons that count it, whether anything may be answered, datagrams a second in the long form)
KINDS = {
    "junk": (("malformed",), False, 200_000),
    "bad-mac": (("bad_mac",), False, 100_000),
    "valid-mac": (("rate_limited", "malformed", "bad_signature", "queue_full"), True, 50_000),
    "replay": (("repeated_request", "rate_limited", "queue_full"), True, 50_000),
    "index": (("unknown_index",), False, 200_000),
    "tag": (("bad_tag",), False, 100_000),
}


def flood(lab, kind):
    reasons, answered, fastest = KINDS[kind]
    rate, seconds, rounds, newcomers = (fastest, 6, 3, 8) if lab.long else (4_000, 3, 1, 2)
    a, b, c = lab.node("a"), lab.node("b"), lab.node("c")
    a.add_peer(b)
    b.add_peer(a, endpoint=None)
    b.add_peer(c, endpoint=None)
    c.add_peer(b, heartbeat="25s")
    b.up()
    arguments = ["--kind", kind, "--sample", samples(lab, a, b, "request" if kind == "replay" else "data")]
    if kind == "valid-mac":
        arguments += ["--key", key_of(b)]
    eve = Attacker(lab)
    discarding = sink(lab, b)
    traffic.must_reach(a.host, b.v4)
    goodput = Goodput(a.host, b.host, b.v4)
    lab.on_close(goodput.close)
    plain, hostile, waits = [], [], []
    rss, most = b.rss_kib(), 0
    sent = {"sent": 0, "bytes": 0}
    drops, (packets, payload) = b.drops(), eve.answers()
    for _ in range(rounds):
        # the same load of plain UDP on a socket that discards is what the goodput is judged against
        noise = eve.start(b, rate, seconds, "--kind", "junk", port=SINK_PORT)
        time.sleep(0.5)
        plain.append(goodput.rate(seconds - 1))
        finish(noise)
        noise = eve.start(b, rate, seconds, *arguments)
        time.sleep(0.5)
        hostile.append(goodput.rate(seconds - 1))
        most = max(most, b.rss_kib())
        count(sent, finish(noise))
    # a new peer comes, again and again, while the flood goes on
    noise = eve.start(b, rate, 4 * newcomers + 2, *arguments)
    for _ in range(newcomers):
        waits.append(handshake(b, c))
        most = max(most, b.rss_kib())
    count(sent, finish(noise, stop=True))
    goodput.close()
    finish(discarding, stop=True)
    at_most(most - rss, 32 << 10, "KiB that b has grown by")
    back, bytes_back = (now - then for now, then in zip(eve.answers(), (packets, payload)))
    if answered:
        at_most(bytes_back / max(1, sent["bytes"]), 0.35, "bytes of answers for each byte of the flood")
    else:
        equal((back, bytes_back), (0, 0), "answers to datagrams without a valid mac")
    gone = {reason: count - drops[reason] for reason, count in b.drops().items() if count > drops[reason]}
    at_least(sum(gone.get(reason, 0) for reason in reasons), sent["sent"] // (50 if lab.long else 3), f"drops by {reasons} of {gone}")
    true("panic" not in b.log(), "no panic")
    at_most(len(b.log().splitlines()), 20 + 4 * newcomers, "log lines of b")
    traffic.must_reach(a.host, b.v4, "after the flood")
    loss = 1 - statistics.median(hostile) / statistics.median(plain)
    worst = max(waits)
    lab.note(f"{rate} a second: goodput {statistics.median(plain):.0f} -> {statistics.median(hostile):.0f} Mbit/s ({loss:+.0%} lost), "
             f"handshake worst {worst:.2f} s of {newcomers}, out/in {bytes_back / max(1, sent['bytes']):.3f}, memory {(most - rss) / 1024:+.1f} MiB, "
             f"{sum(gone.values())} of {sent['sent']} counted")
    if lab.long:
        at_most(round(loss, 3), 0.2, f"share of the goodput that is lost ({plain} -> {hostile} Mbit/s)")
        at_most(round(worst, 2), 2, "seconds of the slowest new handshake")
    else:
        at_least(statistics.median(hostile), statistics.median(plain) / 10, "Mbit/s under the flood")
        at_most(round(worst, 2), 10, "seconds of the slowest new handshake")


def count(total, part):
    for name in total:
        total[name] += part[name]


def handshake(b, c):
    """Starts c anew, and returns the seconds from its first REQUEST to the first DATA of its peer."""
    c.kill()
    with capturing(c.host, "eth0") as wire:
        c.up()
        answered = lambda: wire.of("data", source=b.host.v4)  # noqa: E731
        until("c is in", answered, timeout=30, every=0.02)
    return answered()[0].at - wire.of("request", source=c.host.v4)[0].at


for _kind in KINDS:
    scenario(f"flood-{_kind}", f"a flood of {_kind.replace('-', ' ')}: no amplification, no memory, the tunnel carries, a new peer gets in",
             limit=120, long=400, kind=_kind)(flood)
