"""Offloads that are absent, that lie, and that must not leak into what others receive."""

import array
import ctypes
import fcntl
import os
import shutil
import socket
import struct

from lab import shell, traffic
from lab.netns import address, veth
from lab.registry import scenario
from lab.verdict import Skip, at_least, at_most, contains, equal, true, until
from lab.wire import capturing, ends

TCP, UDP = 6, 17
SOL_UDP, UDP_SEGMENT = 17, 103
SIOCETHTOOL, ETHTOOL_STXCSUM, IFNAMSIZ = 0x8946, 0x17, 16

# A kernel whose probes lie: it knows every option, and fails each send or write that uses them.
LIAR = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_set(const char *what) {
    const char *lies = getenv("LIES");
    return lies && strstr(lies, what);
}

static int refuse(const char *lie, int error) {
    /* the log: a daemon that is confined opens no files */
    if (write(2, lie, strlen(lie))) {}
    errno = error;
    return -1;
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
    if (is_set("udp")) {
        for (unsigned n = 0; n < count; n++) {
            struct msghdr *m = &messages[n].msg_hdr;
            for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
                if (c->cmsg_level == 17 && c->cmsg_type == 103) {
                    if (n == 0) return refuse("lie about udp\n", EIO);
                    count = n;
                }
            }
        }
    }
    return syscall(SYS_sendmmsg, fd, messages, count, flags);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    /* a virtio-net header of ten bytes that asks for segmentation */
    if (is_set("tun") && count > 1 && parts[0].iov_len == 10 && ((const char *)parts[0].iov_base)[1])
        return refuse("lie about tun\n", EINVAL);
    return syscall(SYS_writev, fd, parts, count);
}
"""


def liar(lab, node, *about):
    """The environment in which `node` meets such a kernel, and a function that counts its lies."""
    compiler = shutil.which("cc")
    if not compiler:
        raise Skip("no C compiler")
    library = os.path.join(lab.dir, "liar.so")
    if not os.path.exists(library):
        shell.run(compiler, "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", library, stdin=LIAR)

    def count():
        log = node.log()
        return {each: log.count(f"lie about {each}\n") for each in about}

    return {"LD_PRELOAD": library, "LIES": " ".join(about)}, count


def send_run(host, target, port, segment, datagrams):
    """Sends one UDP superpacket, whose datagrams tell their number."""
    payload = b"".join(n.to_bytes(4, "big").ljust(segment, b"\xa5") for n in range(datagrams))
    with host.socket(traffic.family(target), socket.SOCK_DGRAM) as sock:
        sock.setsockopt(SOL_UDP, UDP_SEGMENT, segment)
        sock.sendto(payload, (target, port))


def receives_run(sender, receiver, target, segment, datagrams, port=7300):
    """Tells whether all datagrams of a superpacket arrive, whole and in order."""
    with receiver.socket(traffic.family(target), socket.SOCK_DGRAM) as sock:
        sock.bind((target, port))
        sock.settimeout(2)
        send_run(sender, target, port, segment, datagrams)
        for number in range(datagrams):
            expected = number.to_bytes(4, "big").ljust(segment, b"\xa5")
            equal(sock.recv(65535), expected, f"datagram {number} of a run of {datagrams}")


@scenario("offload-lies", "probes say yes, then each send of a run and each write of a superpacket fails: nothing is lost",
          limit=120)
def lies(lab):
    a, b = lab.node("a"), lab.node("b")
    a.add_peer(b)
    b.add_peer(a)
    environment, told = liar(lab, a, "udp", "tun")
    a.up(env=environment)
    b.up()
    a.wait()
    offload = {"tun": True, "udp_gso": True, "udp_gro": True}
    equal(a.status()["offload"], offload, "offload of a, which has not sent yet")
    for inner in (b.v4, b.v6):
        traffic.tcp_exchange(a.host, b.host, inner, size=4 << 20, flows=2)
        receives_run(a.host, b.host, inner, 1000, 40)
    for inner in (a.v4, a.v6):
        receives_run(b.host, a.host, inner, 1000, 40)
    lies_told = told()
    for kind, count in lies_told.items():
        at_least(count, 1, f"failures of {kind} offload that a met")
        at_most(count, 16, f"failures of {kind} offload until a gave it up: once a socket or queue, protocol and worker")
    # from here on it is not tried again
    traffic.tcp_exchange(a.host, b.host, b.v4, size=4 << 20, flows=2)
    equal(told(), lies_told, "failures after offload was given up")
    equal(a.status()["offload"], {"tun": False, "udp_gso": False, "udp_gro": True}, "offload of a afterwards")
    equal(b.status()["offload"], offload, "offload of b, which nobody lied to")
    contains(a.log(), "one by one", "what a says of it")
    for node in (a, b):
        drops = node.drops()
        for reason in ("malformed", "bad_tag", "too_large", "no_route", "queue_full"):
            equal(drops[reason], 0, f"drops for {reason} at {node.label}")


@scenario("offload-off", "without offload at either end or at one: runs of UDP, TCP and both families pass", limit=120)
def off(lab):
    a, b = lab.pair(a={"offload": "off"})
    for side, wanted in ((a, False), (b, True)):
        equal(set(side.status()["offload"].values()), {wanted}, f"offloads of {side.label}")
    for near, far in ((a, b), (b, a)):
        for inner in (far.v4, far.v6):
            traffic.tcp_exchange(near.host, far.host, inner, size=2 << 20, flows=2)
            receives_run(near.host, far.host, inner, 1000, 40)


# ---- what a host behind the peer receives

def ones_sum(data, start=0):
    words = array.array("H", data if len(data) % 2 == 0 else data + b"\0")
    total = start + sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def wrong_checksum(packet):
    """Why a packet's checksums are wrong, or None; packets that are neither TCP nor UDP have none."""
    if packet[0] >> 4 == 4:
        head, total, protocol = (packet[0] & 15) * 4, struct.unpack_from(">H", packet, 2)[0], packet[9]
        if ones_sum(packet[:head]) != 0xFFFF:
            return "the IPv4 header's"
        addresses = packet[12:20]
    else:
        head, total, protocol = 40, 40 + struct.unpack_from(">H", packet, 4)[0], packet[6]
        addresses = packet[8:40]
    if protocol not in (TCP, UDP):
        return None
    segment = packet[head:total]
    if protocol == UDP and segment[6:8] == b"\0\0":
        return "UDP's is missing"
    pseudo = addresses + struct.pack(">HH", protocol, len(segment))
    return None if ones_sum(segment, ones_sum(pseudo)) == 0xFFFF else f"that of protocol {protocol}"


def sums_itself(host, interface):
    """Takes checksum offload from an interface, so that the kernel must write what it sends."""
    value = ctypes.create_string_buffer(struct.pack("II", ETHTOOL_STXCSUM, 0))
    request = struct.pack(f"{IFNAMSIZ}sP16x", interface.encode(), ctypes.addressof(value))
    with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCETHTOOL, request)


def network_behind(lab, node, number, bridged):
    """A machine behind the node's host, through a bridge or not: 192.168.N.10 and fd16:N::10."""
    machine = lab.namespace(f"lan{number}")
    veth(node.host, "port", machine, "eth0")
    sums_itself(node.host, "port")
    near = "port"
    if bridged:
        near = "br0"
        node.host.ip("link", "add", near, "type", "bridge")
        node.host.ip("link", "set", "port", "master", near)
        node.host.ip("link", "set", near, "up")
    address(node.host, near, f"192.168.{number}.1/24", f"fd16:{number}::1/64")
    address(machine, "eth0", f"192.168.{number}.10/24", f"fd16:{number}::10/64")
    machine.ip("route", "add", "default", "via", f"192.168.{number}.1")
    machine.ip("-6", "route", "add", "default", "via", f"fd16:{number}::1")
    node.host.forwarding()
    return machine, near


def checked(seen, machine_addresses):
    """Checks every packet that others sent, and returns how many of each protocol there were."""
    counts, wrong = {TCP: 0, UDP: 0}, []
    for packet in seen:
        if len(packet) < 40 or packet[0] >> 4 not in (4, 6) or ends(packet)[0] in machine_addresses:
            continue
        protocol = packet[9] if packet[0] >> 4 == 4 else packet[6]
        if protocol in counts:
            counts[protocol] += 1
            if why := wrong_checksum(packet):
                wrong.append(f"{why}, from {ends(packet)[0]}, {len(packet)} bytes")
    equal(wrong[:3], [], f"packets with a wrong checksum behind the peer, {len(wrong)} of {sum(counts.values())}")
    return counts


def forwarded(lab, bridged=False, nat=False, a_side=None, b_side=None):
    a, b = lab.node("a", interface=a_side or {}), lab.node("b", interface=b_side or {})
    machine, near = network_behind(lab, b, 2, bridged)
    a.add_peer(b, allowed=[f"{b.v4}/32", f"{b.v6}/128", "192.168.2.0/24", "fd16:2::/64"])
    b.add_peer(a)
    if nat:
        b.host.nft(f"""
            table inet translation {{
                chain postrouting {{
                    type nat hook postrouting priority 100;
                    oifname "{near}" masquerade
                }}
            }}
        """)
    a.up()
    b.up()
    own = {"192.168.2.10", "fd16:2::10"}
    for target in sorted(own):
        until(f"first reply from {target}", lambda t=target: traffic.reaches(a.host, t), timeout=10)
        with capturing(machine, "eth0") as seen:
            traffic.tcp_exchange(a.host, machine, target, size=1 << 20, flows=2)
            receives_run(a.host, machine, target, 1000, 40)
            # datagrams that the kernel does not join, of odd and even length
            equal(traffic.udp_exchange(a.host, machine, target, [1, 2, 31, 100, 1001, 1372]), [], "UDP sizes that never came back")
        counts = checked(seen.frames, own)
        at_least(counts[TCP], 500, f"TCP packets that {target} received")
        at_least(counts[UDP], 40, f"UDP packets that {target} received")
        sources = {ends(packet)[0] for packet in seen.frames if len(packet) >= 40 and packet[0] >> 4 in (4, 6)}
        true(bool(sources & {a.v4, a.v6}) != nat, f"sources that {target} sees: {sorted(sources)}")


scenario("forwarded-checksums", "a host behind the peer receives right checksums, captured there", limit=120)(forwarded)
scenario("forwarded-nat", "the same behind a NAT", limit=120, nat=True)(forwarded)
scenario("forwarded-bridge", "the same behind a bridge", limit=120, bridged=True)(forwarded)
scenario("forwarded-mixed", "the same behind a NAT, from a sender without offload", limit=120,
         a_side={"offload": "off"}, nat=True)(forwarded)
scenario("forwarded-no-offload", "the same where the peer has no offload and completes the checksums itself", limit=120,
         b_side={"offload": "off"})(forwarded)
