"""A scenario's world: hosts around one router, the Stadium nodes on them, and the clean-up."""

import os
import shutil
import sys
import tempfile

from . import shell
from .netns import Namespace, address, veth
from .node import Node
from .verdict import Skip


class Host(Namespace):
    """A host on the underlay: `eth0`, one IPv4 and one IPv6 address, a default route."""

    v4 = v6 = None
    index = 0

    def outer(self, version):
        return self.v4 if version == 4 else self.v6


class Lab:
    def __init__(self, scenario, stadium, tag, long=0):
        self.long = long
        self.notes = []
        self.scenario = scenario
        self.stadium = stadium
        self.tag = tag
        self.dir = tempfile.mkdtemp(prefix=f"{tag}-")
        os.chmod(self.dir, 0o755)
        self.namespaces = []
        self.nodes = []
        self.closing = []
        self._router = None
        self._hosts = 0

    # ---- building

    def namespace(self, label, kind=Namespace):
        made = kind(f"{self.tag}-{label}", label)
        self.namespaces.append(made)
        return made

    @property
    def router(self):
        """The internet: forwards between the hosts, and sees every outer packet."""
        if self._router is None:
            self._router = self.namespace("net")
            self._router.forwarding()
        return self._router

    def host(self, label, mtu=1500):
        """A host of its own subnet: 10.77.N.2 and fd77:N::2, the router at .1."""
        router = self.router
        host = self.namespace(label, Host)
        self._hosts += 1
        host.index = n = self._hosts
        host.v4, host.v6 = f"10.77.{n}.2", f"fd77:{n}::2"
        host.wire = f"to-{label}"[:15]
        veth(router, host.wire, host, "eth0", mtu)
        address(router, host.wire, f"10.77.{n}.1/24", f"fd77:{n}::1/64")
        address(host, "eth0", f"{host.v4}/24", f"{host.v6}/64")
        host.ip("route", "add", "default", "via", f"10.77.{n}.1")
        host.ip("-6", "route", "add", "default", "via", f"fd77:{n}::1")
        return host

    def node(self, label, host=None, interface=None, **top):
        """A Stadium node, on a host of its own unless one is given."""
        node = Node(self, label, host or self.host(label), len(self.nodes) + 1, interface or {}, top)
        self.nodes.append(node)
        return node

    def pair(self, outer=4, a=None, b=None, top=None, peer=None, up=True, wait=True, env=None):
        """Two nodes that know each other; `a` and `b` are extra keys of their interface sections."""
        left = self.node("a", interface=a, **(top or {}))
        right = self.node("b", interface=b, **(top or {}))
        left.add_peer(right, outer=outer, **(peer or {}))
        right.add_peer(left, outer=outer, **(peer or {}))
        if up:
            left.up(env=env)
            right.up(env=env)
            if wait:
                left.wait()
                right.wait()
        return left, right

    # ---- figures and helpers

    def note(self, figure):
        """A figure to stand beside the verdict when the scenario succeeds."""
        self.notes.append(figure)

    def helper(self, name):
        """The path of a program that is built beside `stadium`."""
        beside = os.path.dirname(self.stadium)
        for path in (os.path.join(beside, name), os.path.join(beside, "examples", name)):
            if os.access(path, os.X_OK):
                return path
        raise Skip(f"no {name} beside {self.stadium}; build it: cargo build --release --locked -p stadium-netsim --bins --examples")

    # ---- ending

    def on_close(self, action):
        self.closing.append(action)

    def logs(self, lines=30):
        """The tails of what every daemon wrote, and what the live ones say of themselves."""
        parts = []
        for node in self.nodes:
            text = node.log()
            if text:
                parts.append(f"--- log of {node.label} ---\n" + "\n".join(text.splitlines()[-lines:]))
            said = node.summary()
            if said:
                parts.append(f"--- status of {node.label} ---\n{said}")
        return "\n".join(parts)

    def keep_note(self):
        names = " ".join(n.name for n in self.namespaces)
        return f"kept: {self.dir}; namespaces: {names}"

    def close(self):
        for action in reversed(self.closing):
            attempt(action)
        for node in self.nodes:
            attempt(node.kill)
        for namespace in reversed(self.namespaces):
            attempt(namespace.remove)
        shutil.rmtree(self.dir, ignore_errors=True)


def attempt(action):
    """Clean-up goes on after an error, but the error is said."""
    try:
        action()
    except Exception as error:  # noqa: BLE001
        print(f"clean-up: {error}", file=sys.stderr)


def sweep(tag):
    """Removes what a scenario that was killed outright left: its names begin with `tag`."""
    listed = shell.run("ip", "netns", "list", check=None).out
    for line in listed.splitlines():
        name = line.split()[0] if line.split() else ""
        if name.startswith(f"{tag}-"):
            attempt(Namespace.existing(name).remove)
            shutil.rmtree(f"/etc/netns/{name}", ignore_errors=True)
    for entry in os.listdir(tempfile.gettempdir()):
        if entry.startswith(f"{tag}-"):
            shutil.rmtree(os.path.join(tempfile.gettempdir(), entry), ignore_errors=True)
