"""What an observer of the underlay sees: time, direction and size of every datagram.

Each direction is seen where it enters the router, before the relay has touched it: that is more than
a real observer at one place has, and leaves no jitter of the laboratory's own in the gaps. The capture
must hold every datagram alone (the senders' devices split GSO runs), and must agree with the relay.
"""

import os
import re
import signal
import struct
import subprocess

import numpy as np

from lab.verdict import Failure, true

from .tunnel import MTU, RELAY_PORT

UP, DOWN = 1, -1
# the longest IP packet: 20 bytes of IP, 8 of UDP, 32 of the protocol, one inner packet
LONGEST = MTU + 60
HANDSHAKE, DATA = 0, 1
COOKED = {113: (14, 16), 276: (0, 20)}
SEEN = np.dtype([("time", "i8"), ("direction", "i1"), ("length", "i2"), ("kind", "i1"), ("noise", "i1")])


class Observer:
    """A capture of everything that comes into the router."""

    def __init__(self, tunnel, path):
        self.path = path
        command = tunnel.lab.router.command(
            "tcpdump", "-i", "any", "-Q", "in", "-n", "-s", "96", "-B", "16384", "-Z", "root",
            "--time-stamp-precision", "nano", "-w", path, "udp")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True)
        said = ""
        while "listening on" not in said:
            line = self.process.stderr.readline()
            true(line, f"the capture did not start: {said.strip()}")
            said += line

    def stop(self):
        """Ends the capture; a packet that the kernel dropped makes it worthless."""
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=10)
        dropped = re.search(r"(\d+) packets dropped by kernel", said)
        true(dropped is not None and dropped.group(1) == "0", f"the capture lost packets: {said.strip()}")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def read(path, noise):
    """The datagrams of a capture as an array of `SEEN`; `noise` holds the headers of noise by direction."""
    with open(path, "rb") as file:
        raw = file.read()
    magic, link = struct.unpack_from("<I", raw)[0], struct.unpack_from("<I", raw, 20)[0]
    if magic != 0xA1B23C4D or link not in COOKED:
        raise Failure(f"a capture of an unknown form: magic {magic:08x}, link type {link}")
    proto_at, cooked = COOKED[link]
    found, at = [], 24
    while at + 16 <= len(raw):
        seconds, nanos, kept, _ = struct.unpack_from("<IIII", raw, at)
        at += 16
        ip = at + cooked
        if raw[at + proto_at:at + proto_at + 2] == b"\x08\x00":
            length, = struct.unpack_from(">H", raw, ip + 2)
            udp = ip + (raw[ip] & 15) * 4
            target, = struct.unpack_from(">H", raw, udp + 2)
            direction = UP if target == RELAY_PORT else DOWN
            payload = raw[udp + 8:min(udp + 24, at + kept)]
            kind = DATA if payload[0] == 4 else HANDSHAKE
            is_noise = kind == DATA and payload in noise[direction]
            found.append((seconds * 1_000_000_000 + nanos, direction, length, kind, is_noise))
        at += kept
    seen = np.array(found, dtype=SEEN)
    if len(seen) and seen["length"].max() > LONGEST:
        raise Failure(f"a datagram of {seen['length'].max()} bytes: the capture saw GSO runs unsplit")
    return np.sort(seen, order="time", kind="stable")


def traces(prefix):
    """The headers of noise by direction, from the traces of both nodes."""
    noise = {UP: set(), DOWN: set()}
    folder, start = os.path.split(prefix)
    for name in os.listdir(folder):
        if name.startswith(f"{start}-"):
            direction = UP if name.split(".")[0].endswith("-a") else DOWN
            with open(os.path.join(folder, name), "rb") as file:
                raw = file.read()
            noise[direction].update(raw[at:at + 16] for at in range(0, len(raw) - 15, 16))
    return noise


def check_against_relay(seen, record):
    """Demands that the relay, at a plain socket, got what the capture saw; returns how many datagrams.

    Counts and sizes must be equal; between the two no more than scheduling may pass (the relay is a
    process that must be woken), which the median over all datagrams shows.
    """
    lines = np.genfromtxt(record, delimiter=",", skip_header=1, dtype=None, encoding="ascii",
                          names=["time", "direction", "event", "client", "length"])
    lines = np.atleast_1d(lines)
    arrived = lines[lines["event"] == "in"]
    for direction, word in ((UP, "forward"), (DOWN, "backward")):
        captured = seen[seen["direction"] == direction]
        relayed = arrived[arrived["direction"] == word]
        if len(captured) != len(relayed):
            raise Failure(f"the capture saw {len(captured)} datagrams {word}, the relay {len(relayed)}")
        if not np.array_equal(np.sort(captured["length"] - 28), np.sort(relayed["length"])):
            raise Failure(f"the capture and the relay saw different sizes {word}")
    return len(arrived)
