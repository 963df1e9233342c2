"""Network namespaces and the wires between them."""

import contextlib
import ctypes
import os
import re
import signal
import socket
import time

from . import shell

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)

SYSCTLS = (
    "net.ipv6.conf.all.accept_dad=0",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv6.conf.all.accept_ra=0",
    "net.ipv6.conf.default.accept_ra=0",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
    # a test provokes errors on purpose; their rate limit would make it flaky
    "net.ipv4.icmp_ratelimit=0",
    "net.ipv6.icmp.ratelimit=0",
)


class Namespace:
    """One network namespace, made here and removed with everything in it."""

    def __init__(self, name, label):
        self.name = name
        self.label = label
        shell.run("ip", "netns", "add", name)
        try:
            self.sysctl(*SYSCTLS)
            self.ip("link", "set", "lo", "up")
        except BaseException:
            self.remove()
            raise

    @classmethod
    def existing(cls, name):
        """A namespace that is there already."""
        found = cls.__new__(cls)
        found.name = found.label = name
        return found

    def command(self, *argv):
        return ["ip", "netns", "exec", self.name, *map(str, argv)]

    def run(self, *argv, **options):
        return shell.run(*self.command(*argv), **options)

    def ip(self, *argv, **options):
        return shell.run("ip", "-n", self.name, *argv, **options)

    def sysctl(self, *settings):
        self.run("sysctl", "-qw", *settings)

    def nft(self, rules):
        self.run("nft", "-f", "-", stdin=rules)

    def forwarding(self):
        self.sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")

    @contextlib.contextmanager
    def inside(self):
        """Sockets that this thread makes in the block belong to the namespace, and stay there."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            setns(there)
            try:
                yield
            finally:
                setns(home)
        finally:
            os.close(there)
            os.close(home)

    def socket(self, family, kind, proto=0):
        with self.inside():
            return socket.socket(family, kind, proto)

    def pids(self):
        listed = shell.run("ip", "netns", "pids", self.name, check=None)
        return [int(pid) for pid in listed.out.split()]

    def interfaces(self):
        listed = self.ip("-o", "link", "show").out
        return [re.match(r"\d+: ([^:@]+)", line).group(1) for line in listed.splitlines()]

    def mtu(self, interface):
        shown = self.ip("-o", "link", "show", "dev", interface).out
        return int(re.search(r" mtu (\d+)", shown).group(1))

    def snapshot(self):
        """Everything a VPN daemon may touch, as text to compare before and after."""
        parts = [self.ip(*what, check=None).out for what in (
            ("-d", "link", "show"),
            ("addr", "show"),
            ("route", "show", "table", "all"),
            ("-6", "route", "show", "table", "all"),
            ("rule", "show"),
            ("-6", "rule", "show"),
        )]
        parts.append(self.run("nft", "list", "ruleset", check=None).out)
        # states of neighbours and expiry times change by themselves
        return re.sub(r" expires \d+sec| (users|used|age) \d+\S*", "", "\n".join(parts))

    def remove(self):
        """Ends what still runs in the namespace (all of it is ours) and deletes it."""
        for sig in (signal.SIGTERM, signal.SIGKILL):
            pids = [pid for pid in self.pids() if pid != os.getpid()]
            if not pids:
                break
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sig)
            end = time.monotonic() + 2
            while time.monotonic() < end and self.pids():
                time.sleep(0.02)
        shell.run("ip", "netns", "del", self.name, check=None)


def setns(fd):
    if LIBC.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def veth(a, a_name, b, b_name, mtu=1500):
    """A wire between two namespaces, both ends up."""
    shell.run("ip", "link", "add", a_name, "netns", a.name, "mtu", mtu, "type", "veth",
              "peer", "name", b_name, "netns", b.name, "mtu", mtu)
    a.ip("link", "set", a_name, "up")
    b.ip("link", "set", b_name, "up")


def address(namespace, interface, *addresses):
    for each in addresses:
        nodad = ["nodad"] if ":" in each else []
        namespace.ip("addr", "add", each, "dev", interface, *nodad)
