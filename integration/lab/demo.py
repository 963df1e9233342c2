"""The traffic of `scripts/demo`: a checked TCP transfer, then a look inside the tunnel and at the wire.

Usage: python3 -m lab.demo NAMESPACE-A ADDRESS-A NAMESPACE-B ADDRESS-B
"""

import sys
import time

from . import traffic
from .netns import Namespace
from .verdict import Failure, equal, true
from .wire import capturing

SIZE = 64 << 20
SENTENCE = b"The quick brown fox jumps over the lazy dog. "
TIMES = 50


def transfer(a, b, address):
    seconds = traffic.tcp_exchange(a, b, address, size=SIZE)
    megabytes = 2 * SIZE / 1e6
    print(f"  TCP through the tunnel: {SIZE >> 20} MiB each way at once in {seconds:.1f} s "
          f"({megabytes * 8 / seconds:.0f} Mbit/s in all), SHA-256 equal at both ends.")
    print("  (One run with Python at both ends on this machine: a sign of life, no benchmark.)")


def look(a, b, address):
    """Sends a sentence through the tunnel and looks for it inside, where it must be, and outside."""
    echo = traffic.UdpEcho(b, address)
    with capturing(a, "stadium0") as inside, capturing(a, "eth0") as wire:
        sock = a.socket(traffic.family(address), 2)
        sock.settimeout(2)
        for _ in range(TIMES):
            sock.sendto(SENTENCE * 10, echo.address)
            equal(sock.recv(2000), SENTENCE * 10, "the echo of the sentence")
        sock.close()
        time.sleep(0.2)
    echo.close()
    seen_inside = sum(SENTENCE in frame for frame in inside.frames)
    seen_outside = sum(SENTENCE in frame for frame in wire.frames)
    data = wire.of("data")
    print(f"  A sentence sent {TIMES} times and echoed: read {seen_inside} times inside the tunnel (stadium0),")
    print(f"  {seen_outside} times on the wire (eth0), which carried {len(data)} StadiumP DATA datagrams over UDP instead,")
    print(f"  the first one: {data[0].payload[:24].hex(' ')} … ({len(data[0].payload)} bytes)")
    true(seen_inside >= 2 * TIMES, "the sentence is readable inside the tunnel")
    equal(seen_outside, 0, "times that the sentence was readable on the wire")
    true(len(data) >= 2 * TIMES, "as many datagrams on the wire as sentences")
    equal([d.kind for d in wire.datagrams if d.kind == "other"], [], "other UDP on the wire")


def main():
    name_a, _, name_b, address_b = sys.argv[1:]
    a, b = Namespace.existing(name_a), Namespace.existing(name_b)
    try:
        transfer(a, b, address_b)
        look(a, b, address_b)
    except Failure as failure:
        sys.exit(f"demo: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
