"""ICMP echo that waits as long as it is told.

`ping -c 3 -W 1` does not wait a second for the last reply: once any reply came, iputils gives up after twice the
longest round trip or one interval, whichever is more. On a busy machine that turns a late reply into a lost one.
"""

import os
import socket
import struct
import time

REQUEST = {socket.AF_INET: 8, socket.AF_INET6: 128}
REPLY = {socket.AF_INET: 0, socket.AF_INET6: 129}
# a flood sends the next request when the reply is there, or after this many seconds
FLOOD_INTERVAL = 0.01


def internet_checksum(data):
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Echo:
    """One raw ICMP socket in a namespace, and what came back to it."""

    def __init__(self, host, target, size, source):
        self.family = socket.AF_INET6 if ":" in target else socket.AF_INET
        self.target = target
        self.ident = os.urandom(2)
        self.content = os.urandom(size)
        protocol = socket.IPPROTO_ICMPV6 if self.family == socket.AF_INET6 else socket.IPPROTO_ICMP
        self.socket = host.socket(self.family, socket.SOCK_RAW, protocol)
        if source:
            self.socket.bind((source, 0))
        self.answered = set()

    def send(self, sequence):
        """False where the kernel refuses to send it: no route, or the interface is gone."""
        kind = REQUEST[self.family]
        body = self.ident + struct.pack("!H", sequence) + self.content
        # the kernel fills in the checksum of ICMPv6, which covers a pseudo-header
        checksum = internet_checksum(struct.pack("!BBH", kind, 0, 0) + body) if self.family == socket.AF_INET else 0
        try:
            self.socket.sendto(struct.pack("!BBH", kind, 0, checksum) + body, (self.target, 0))
        except OSError:
            return False
        return True

    def receive(self, until, enough):
        """Takes replies until `enough` are there or the time `until` has come."""
        while len(self.answered) < enough and (left := until - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                packet = self.socket.recv(1 << 16)
            except TimeoutError:
                return
            except OSError:
                continue  # an ICMP error that came back for an earlier request
            self.take(packet)

    def take(self, packet):
        if self.family == socket.AF_INET:
            packet = packet[(packet[0] & 15) * 4:]
        if packet[:1] != bytes([REPLY[self.family]]) or packet[4:6] != self.ident or packet[8:] != self.content:
            return
        self.answered.add(struct.unpack("!H", packet[6:8])[0])


def echo(host, target, count, interval=0.05, size=56, wait=2.0, source=None, flood=False):
    """Sends `count` requests of `size` random bytes; returns how many were answered, unaltered, and each at most once.

    After the last request it waits up to `wait` seconds for what is missing.
    """
    one = Echo(host, target, size, source)
    with one.socket:
        for sequence in range(1, count + 1):
            one.send(sequence)
            if sequence < count:
                pause = FLOOD_INTERVAL if flood else interval
                one.receive(time.monotonic() + pause, sequence if flood else count + 1)
        one.receive(time.monotonic() + wait, count)
    return len(one.answered)
