"""Name servers while the tunnel is up: told to whoever manages them, and as before afterwards."""

import os
import shutil

from lab.registry import scenario
from lab.verdict import contains, equal, true


def own_etc(lab, node, text):
    """Gives the node's namespace an `/etc/resolv.conf` of its own; returns its path outside."""
    folder = f"/etc/netns/{node.host.name}"
    os.makedirs(folder)
    lab.on_close(lambda: shutil.rmtree(folder, ignore_errors=True))
    path = f"{folder}/resolv.conf"
    with open(path, "w") as out:
        out.write(text)
    return path


def read(path):
    with open(path) as text:
        return text.read()


def fake(node, name):
    """A program that writes down how it was called; returns the environment and the record."""
    folder = os.path.join(node.dir, "bin")
    os.makedirs(folder, exist_ok=True)
    record = os.path.join(node.dir, f"{name}.calls")
    path = os.path.join(folder, name)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o755), "w") as out:
        out.write(f'#!/bin/sh\necho "$@" >> {record}\ncase "$1" in -a) cat >> {record};; esac\n')
    return {"PATH": f"{folder}:{os.environ['PATH']}"}, record


def pair(lab, text, servers):
    a, b = lab.node("a", interface={"dns": servers}), lab.node("b")
    a.add_peer(b)
    b.add_peer(a)
    return a, b, own_etc(lab, a, text)


BEFORE = "# by hand\nnameserver 192.0.2.53\nsearch lan.test\noptions edns0\n"


@scenario("dns-file", "`dns` in /etc/resolv.conf: ours while up, the old text after down, kill -9 and up, kill -9 and down")
def dns_file(lab):
    a, b, path = pair(lab, BEFORE, ["10.7.0.2"])
    b.up()

    def servers():
        return [line.split()[1] for line in read(path).splitlines() if line.startswith("nameserver")]

    dry = a.cli("up", a.write(), "--dry-run").out
    contains(dry, "set name servers 10.7.0.2 by /etc/resolv.conf", "the dry run")
    equal(read(path), BEFORE, "the file after a dry run")
    a.up()
    equal(servers(), ["10.7.0.2"], "name servers while up")
    contains(read(path), "search lan.test", "domains that are searched")
    a.config["interface"]["dns"] = ["10.7.0.2", "fd07::2"]
    a.reload()
    equal(servers(), ["10.7.0.2", "fd07::2"], "name servers after a reload")
    a.down()
    equal(read(path), BEFORE, "the file after down")
    a.up()
    a.kill()
    equal(servers(), ["10.7.0.2", "fd07::2"], "name servers after kill -9")
    a.up()
    equal(servers(), ["10.7.0.2", "fd07::2"], "name servers of the new daemon")
    a.config["interface"]["dns"] = []
    a.reload()
    equal(read(path), BEFORE, "the file once dns is taken out")
    a.config["interface"]["dns"] = ["10.7.0.2"]
    a.reload()
    a.kill()
    a.down()
    equal(read(path), BEFORE, "the file after kill -9 and down")
    # what another program writes meanwhile stays
    a.up()
    with open(path, "w") as out:
        out.write("nameserver 198.51.100.53\n")
    a.down()
    equal(read(path), "nameserver 198.51.100.53\n", "the text of another program after down")


@scenario("dns-resolvconf", "`dns` through resolvconf: added with ours first, deleted at the end, also after kill -9")
def dns_resolvconf(lab):
    a, b, path = pair(lab, BEFORE, ["10.7.0.2", "fd07::2"])
    environment, record = fake(a, "resolvconf")
    a.up(env=environment)
    equal(read(record), "-a tun.stadium0 -m 0 -x\nnameserver 10.7.0.2\nnameserver fd07::2\n", "what resolvconf was told")
    a.kill()
    os.truncate(record, 0)
    a.cli("down", a.file, env=environment)
    equal(read(record), "-d tun.stadium0 -f\n", "what resolvconf was told in the end")
    equal(read(path), BEFORE, "/etc/resolv.conf, which is not ours to write")


@scenario("dns-resolved", "`dns` through systemd-resolved: servers and every name for our link, reverted at the end")
def dns_resolved(lab):
    a, b, path = pair(lab, "nameserver 127.0.0.53\n", ["10.7.0.2"])
    environment, record = fake(a, "resolvectl")
    fake(a, "resolvconf")
    a.up(env=environment)
    equal(read(record).splitlines(),
          ["dns stadium0 10.7.0.2", "domain stadium0 ~.", "default-route stadium0 yes"], "what resolved was told")
    os.truncate(record, 0)
    a.down()
    equal(read(record), "revert stadium0\n", "what resolved was told in the end")
    equal(read(path), "nameserver 127.0.0.53\n", "/etc/resolv.conf, which is not ours to write")


@scenario("dns-refused", "name servers that cannot be set: `up` fails, says why, and leaves nothing")
def dns_refused(lab):
    a, b, path = pair(lab, "nameserver 127.0.0.53\n", ["10.7.0.2"])
    environment, _ = fake(a, "resolvectl")
    with open(os.path.join(a.dir, "bin", "resolvectl"), "w") as out:
        out.write("#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n")
    before = a.host.snapshot()
    a.write()
    refused = a.cli("up", a.file, check=1, env=environment)
    contains(refused.err, "Failed to connect to bus", "the reason")
    contains(refused.err, "resolvectl dns stadium0 10.7.0.2", "the command")
    equal(a.host.snapshot(), before, "the namespace")
    true(read(path) == "nameserver 127.0.0.53\n", "resolv.conf is as it was")
