"""The outer network: capture, classify, replay and forge datagrams (`protocol.md` section 2)."""

import contextlib
import dataclasses
import ipaddress
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass

MAGIC = b"StadiumP"
SOL_PACKET, PACKET_VNET_HDR = 263, 15
ETH_P_ALL = 3
VNET_LEN = 10
GSO_UDP_L4 = 5
ARPHRD_NONE = 65534
PACKET_OUTGOING = 4


@dataclass(frozen=True)
class Datagram:
    source: str
    source_port: int
    target: str
    target_port: int
    payload: bytes
    ip_length: int
    fragment: bool
    outgoing: bool
    # when it was read from the wire, on the monotonic clock
    at: float = 0.0

    @property
    def kind(self):
        return kind(self.payload)


def kind(payload):
    """request, consent, retry, error, data, or other."""
    if payload.startswith(MAGIC):
        return "request"
    return {1: "consent", 2: "retry", 3: "error", 4: "data"}.get(payload[0] if payload else None, "other")


class Capture:
    """Every UDP datagram on one interface of a namespace, GSO runs split into their datagrams."""

    def __init__(self, host, interface):
        with host.inside():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self.sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            with contextlib.suppress(PermissionError):  # root of a user namespace may not
                self.sock.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
            self.sock.bind((interface, ETH_P_ALL))
        # a TUN has no link header, a veth an Ethernet one
        self.offset = VNET_LEN + (0 if self.sock.getsockname()[3] == ARPHRD_NONE else 14)
        self.datagrams = []
        self.frames = []
        self.until = 0
        self.running = True
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        while True:
            ready, _, _ = select.select([self.sock], [], [], 0.05 if self.running else 0)
            if not self.running and (not ready or time.monotonic() > self.until):
                return  # what had come by then is read, unless it never ends
            if not ready:
                continue
            frame, where = self.sock.recvfrom(1 << 17)
            gso_type, gso_size = frame[1] & 0x7F, struct.unpack_from("=H", frame, 4)[0]
            packet = frame[self.offset:]
            self.frames.append(packet)
            parsed = parse(packet, where[2] == PACKET_OUTGOING)
            if parsed is None:
                continue
            parsed = dataclasses.replace(parsed, at=time.monotonic())
            if gso_type == GSO_UDP_L4 and gso_size:
                whole = parsed.payload
                head = parsed.ip_length - len(whole)
                for at in range(0, len(whole), gso_size):
                    part = whole[at:at + gso_size]
                    self.datagrams.append(Datagram(**{**parsed.__dict__, "payload": part, "ip_length": head + len(part)}))
            else:
                self.datagrams.append(parsed)

    def of(self, wanted, source=None, target=None):
        return [d for d in list(self.datagrams)
                if d.kind == wanted and source in (None, d.source) and target in (None, d.target)]

    def stop(self):
        if self.running:
            self.until = time.monotonic() + 2
            self.running = False
            self.thread.join(10)
            self.sock.close()
        return self.datagrams


@contextlib.contextmanager
def capturing(host, interface):
    capture = Capture(host, interface)
    try:
        yield capture
    finally:
        capture.stop()


def parse(packet, outgoing=False):
    """An IPv4 or IPv6 packet that carries UDP (first fragments too), else None."""
    if len(packet) < 28:
        return None
    version = packet[0] >> 4
    if version == 4 and packet[9] == 17:
        head = (packet[0] & 15) * 4
        length = struct.unpack_from(">H", packet, 2)[0]
        flags = struct.unpack_from(">H", packet, 6)[0]
        fragment, offset = bool(flags & 0x3FFF), flags & 0x1FFF
        source, target = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
    elif version == 6 and packet[6] in (17, 44):
        head, fragment, offset = 40, packet[6] == 44, 0
        length = 40 + struct.unpack_from(">H", packet, 4)[0]
        if fragment:
            offset = struct.unpack_from(">H", packet, 42)[0] >> 3
            head = 48
        source = socket.inet_ntop(socket.AF_INET6, packet[8:24])
        target = socket.inet_ntop(socket.AF_INET6, packet[24:40])
    else:
        return None
    if offset:
        return Datagram(source, 0, target, 0, b"", length, True, outgoing)
    sport, dport = struct.unpack_from(">HH", packet, head)
    return Datagram(source, sport, target, dport, bytes(packet[head + 8:length]), length, fragment, outgoing)


def ends(packet):
    """The source and target of an IP packet, as text."""
    if packet[0] >> 4 == 4:
        return socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
    return socket.inet_ntop(socket.AF_INET6, packet[8:24]), socket.inet_ntop(socket.AF_INET6, packet[24:40])


def inject(host, datagram, source=None, source_port=None, payload=None):
    """Sends a datagram with any source address from a namespace that routes to its target."""
    source = source or datagram.source
    sport = source_port or datagram.source_port
    payload = datagram.payload if payload is None else payload
    send_raw(host, source, sport, datagram.target, datagram.target_port, payload)


def send_raw(host, source, sport, target, dport, payload):
    udp = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0)
    if ":" in target:
        s, t = ipaddress.ip_address(source).packed, ipaddress.ip_address(target).packed
        pseudo = s + t + struct.pack(">IHBB", 8 + len(payload), 0, 0, 17)
        check = checksum(pseudo + udp + payload) or 0xFFFF
        udp = udp[:6] + struct.pack(">H", check)
        packet = struct.pack(">IHBB", 6 << 28, 8 + len(payload), 17, 64) + s + t + udp + payload
        sock = host.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        where = (target, 0)
    else:
        packet = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 0, 0x4000, 64, 17, 0,
                             socket.inet_aton(source), socket.inet_aton(target)) + udp + payload
        sock = host.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        where = (target, 0)
    with sock:
        sock.sendto(packet, where)


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
