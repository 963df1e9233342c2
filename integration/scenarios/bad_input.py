"""Input that cannot work: one clear message, the right exit code, the system as it was."""

import os
import re
import shlex
import socket

from lab import shell
from lab.node import PORT
from lab.registry import scenario
from lab.verdict import contains, equal, true, until

# label, what replaces which text of the good file, text on the line that must be named, words of the message
FAULTS = (
    ("typo in a key", ("    allowed_ips:", "    alowed_ips:"), "alowed_ips", ("alowed_ips", "allowed_ips")),
    ("typo in a section", ("interface:", "interfce:"), "interfce", ("interfce", "interface")),
    ("typo in the interface", ("  listen:", "  lisen:"), "lisen", ("lisen", "listen")),
    ("wrong indentation", ("    allowed_ips:", "   allowed_ips:"), None, ()),
    ("a tab for indentation", ("    allowed_ips:", "\tallowed_ips:"), None, ()),
    ("duplicate name", ('name: "second"', 'name: "first"'), 'name: "first"', ("first",)),
    ("duplicate key", ("KEY2", "KEY1"), "KEY1", ()),
    ("the same prefix twice", ("10.7.0.3/32", "10.7.0.2/32"), "10.7.0.2/32", ("10.7.0.2/32",)),
    ("bad base64", ("KEY2", "not!base64"), "not!base64", ()),
    ("a key too short", ("KEY2", "AAAA"), "AAAA", ()),
    ("a weak key", ("KEY2", "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), "AQAAAA", ()),
    ("a key of zeros", ("KEY2", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), "AAAAAAAA", ()),
    ("a key that is not canonical", ("KEY2", "7v///////////////////////////////////////38="), "7v///", ()),
    ("absurd MTU, small", ("mtu: auto", "mtu: 100"), "mtu: 100", ("1280",)),
    ("absurd MTU, large", ("mtu: auto", "mtu: 70000"), "mtu: 70000", ("65535",)),
    ("MTU of the wrong type", ("mtu: auto", "mtu: fast"), "mtu: fast", ("auto",)),
    ("a bad address", ("10.7.0.1/24", "10.7.0.300/24"), "10.7.0.300", ("10.7.0.300",)),
    ("a bad prefix length", ("10.7.0.3/32", "10.7.0.3/33"), "10.7.0.3/33", ("10.7.0.3/33",)),
    ("a bad endpoint", ("192.0.2.3:51871", "192.0.2.3"), "192.0.2.3", ("192.0.2.3",)),
    ("a bad port", ("listen: 51871", "listen: 99999"), "listen: 99999", ()),
    ("a bad interface name", ("name: stadium0", "name: this-name-is-far-too-long"), "far-too-long", ("15",)),
    ("a bad duration", ("heartbeat: 25s", "heartbeat: often"), "heartbeat: often", ()),
    ("a bad choice", ("handshake: encrypted", "handshake: encrpted"), "encrpted", ("encrypted",)),
    ("a missing secret file", ("node.key", "nothing.key"), "nothing.key", ("nothing.key",)),
    ("no private key", ("  private_key_file: node.key\n", ""), None, ("private_key",)),
    ("not YAML at all", ("interface:", "\x01{[}"), None, ()),
)

GOOD = """\
interface:
  name: stadium0
  private_key_file: node.key
  address: [10.7.0.1/24, "fd07::1/64"]
  listen: 51871
  mtu: auto
control:
  socket: control.sock
peers:
  - name: "first"
    public_key: KEY1
    endpoint: 192.0.2.2:51871
    allowed_ips: [10.7.0.2/32]
  - name: "second"
    public_key: KEY2
    endpoint: 192.0.2.3:51871
    heartbeat: 25s
    handshake: encrypted
    allowed_ips: [10.7.0.3/32]
"""


def write(node, text):
    with open(os.open(node.file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)


@scenario("bad-file", "two dozen faults of a peer file: FILE:LINE:COL, the remedy, exit 2, nothing touched", limit=120)
def bad_file(lab):
    a = lab.node("a")
    keys = [a.pubkey(a.genkey()) for _ in range(2)]
    good = GOOD.replace("control.sock", a.config["control"]["socket"])

    def filled(text):
        return text.replace("KEY1", keys[0]).replace("KEY2", keys[1])

    write(a, filled(good))
    equal(a.cli("check", a.file).rc, 0, "exit code of check on the good file")
    before = a.host.snapshot()
    wrong = []
    for label, (old, new), marker, words in FAULTS:
        true(old in good, f"the good file has {old!r}")
        head, _, tail = good.rpartition(old)
        text = filled(head + new + tail)
        write(a, text)
        marker = filled(marker) if marker else None
        wrong += [f"{label}: {each}" for each in complaints(a, text, marker, words)]
    equal(a.host.snapshot(), before, "the namespace after all of them")
    if wrong:
        print("\n".join(wrong))
    equal(len(wrong), 0, f"faults not told as they should be (first: {wrong[0] if wrong else ''})")


def complaints(a, text, marker, words):
    """What is wrong with how `check` and `up` speak of a faulty file."""
    for verb in ("check", "up"):
        result = a.cli(verb, a.file, check=None)
        if result.rc != 2:
            yield f"`{verb}` ended with {result.rc}, not 2: {result.err.strip()[:200]}"
        places = re.findall(rf"^{re.escape(a.file)}:(\d+):(\d+): error: (.+)$", result.err, re.M)
        if not places:
            yield f"`{verb}` names no place: {result.err.strip()[:200]!r}"
            continue
        if marker:
            lines = {n for n, each in enumerate(text.splitlines(), 1) if marker in each}
            if not lines & {int(line) for line, _, _ in places}:
                yield f"`{verb}` names line {places[0][0]}, the fault is in {sorted(lines)}: {places[0][2][:150]}"
        said = " ".join(message for _, _, message in places)
        yield from (f"`{verb}` does not say {word!r}: {said[:200]}" for word in words if word not in said)
        if "panicked" in result.err:
            yield f"`{verb}` panicked"


@scenario("bad-file-many", "several faults are told at once, each on its line; a missing file names itself")
def bad_file_many(lab):
    a = lab.node("a")
    keys = [a.pubkey(a.genkey()) for _ in range(2)]
    text = GOOD.replace("KEY1", keys[0]).replace("KEY2", "short").replace("mtu: auto", "mtu: 5")
    text = text.replace("heartbeat", "hartbeat").replace("10.7.0.2/32", "10.7.0.2/40")
    write(a, text)
    result = a.cli("check", a.file, check=2)
    told = {int(n) for n in re.findall(rf"^{re.escape(a.file)}:(\d+):\d+: error:", result.err, re.M)}
    wanted = {n for n, line in enumerate(text.splitlines(), 1)
              if any(part in line for part in ("short", "mtu: 5", "hartbeat", "/40"))}
    true(wanted <= told, f"lines told {sorted(told)}, faults in {sorted(wanted)}: {result.err}")
    for verb in ("check", "up"):
        result = a.cli(verb, f"{a.dir}/missing.yaml", check=2)
        contains(result.err, "missing.yaml", f"{verb} names the missing file")
    result = a.cli("up", "nosuchif0", check=2)
    contains(result.err, "nosuchif0", "up names the file it looked for")


@scenario("bad-file-warnings", "host bits and loose modes are warnings, errors under check --strict")
def bad_file_warnings(lab):
    a = lab.node("a")
    keys = [a.pubkey(a.genkey()) for _ in range(2)]
    good = GOOD.replace("KEY1", keys[0]).replace("KEY2", keys[1])
    write(a, good)
    a.cli("check", a.file, "--strict")
    write(a, good.replace("10.7.0.2/32", "10.7.2.2/24"))
    result = a.cli("check", a.file)
    contains(result.err, "warning", "host bits")
    contains(result.err, "10.7.2.0/24", "the warning tells the masked prefix")
    write(a, good)
    shell.run("chmod", "644", a.key_file)
    result = a.cli("check", a.file)
    contains(result.err, "warning", "a secret that others can read")
    contains(result.err, "node.key", "the warning names the file")
    a.cli("check", a.file, "--strict", check=2)


@scenario("busy-port", "a port in use is refused, also one bound with SO_REUSEPORT; the message names it")
def busy_port(lab):
    a = lab.node("a")
    before = a.host.snapshot()
    a.write()
    for family, where in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"), (socket.AF_INET, a.host.v4)):
        for reuse in (False, True):
            with a.host.socket(family, socket.SOCK_DGRAM) as busy:
                if family == socket.AF_INET6:
                    busy.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if reuse:
                    busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                busy.bind((where, PORT))
                result = a.cli("up", a.file, check=1)
                contains(result.err, str(PORT), f"the error names the port ({where}, reuse {reuse})")
                equal(a.host.snapshot(), before, f"the namespace ({where}, reuse {reuse})")
    # another daemon of ours in the same namespace
    other = lab.node("other", host=a.host, interface={"name": "stadium1"})
    other.up()
    busy = a.host.snapshot()
    result = a.cli("up", a.file, check=1)
    contains(result.err, str(PORT), "the error names the port that another stadium uses")
    equal(a.host.snapshot(), busy, "the namespace beside another daemon")
    equal(len(other.document()["interfaces"]), 1, "the other daemon runs on")
    other.down()
    a.up()
    a.down()
    equal(a.host.snapshot(), before, "the namespace once the port was free")


@scenario("existing-interface", "an interface name in use is refused: tun, multi-queue tun, bridge; it stays as it was")
def existing_interface(lab):
    a = lab.node("a", interface={"workers": 4})
    a.write()
    kinds = {
        "single-queue tun": ("tuntap", "add", "dev", "stadium0", "mode", "tun"),
        "multi-queue tun": ("tuntap", "add", "dev", "stadium0", "mode", "tun", "multi_queue", "vnet_hdr"),
        "tap": ("tuntap", "add", "dev", "stadium0", "mode", "tap"),
        "bridge": ("link", "add", "stadium0", "type", "bridge"),
    }
    for kind, add in kinds.items():
        a.host.ip(*add)
        before = a.host.snapshot()
        result = a.cli("up", a.file, check=1)
        contains(result.err, "stadium0", f"the error names the {kind}")
        equal(a.host.snapshot(), before, f"the namespace with the {kind}")
        a.host.ip("link", "del", "stadium0")
    # a live daemon's own interface, joined through another file and socket
    a.up()
    twin = lab.node("twin", host=a.host, interface={"listen": 40000, "workers": 4})
    before = a.host.snapshot()
    twin.write()
    result = twin.cli("up", twin.file, check=1)
    contains(result.err, "stadium0", "the error names the interface")
    equal(a.host.snapshot(), before, "the namespace with a live interface")
    equal(len(a.document()["interfaces"]), 1, "the first daemon runs on")


@scenario("no-permission", "without the right to make a TUN: exit 1, the message says what is missing")
def no_permission(lab):
    a = lab.node("a")
    a.write()
    before = a.host.snapshot()
    shell.run("chown", "-R", "nobody", a.dir)
    programs = os.path.dirname(lab.stadium)
    readable = all(os.stat(p).st_mode & 0o001 for p in parents(programs))
    stadium = lab.stadium
    if not readable:
        stadium = os.path.join(lab.dir, "stadium")
        shell.run("cp", lab.stadium, stadium)
    as_nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
    no_device = f"mount -t tmpfs none /dev/net && exec {shlex.quote(stadium)} up {shlex.quote(a.file)}"
    cases = {
        "as nobody": ([*as_nobody, stadium, "up", a.file], ("CAP_NET_ADMIN", "root")),
        "without CAP_NET_ADMIN": (["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", stadium, "up", a.file],
                                  ("CAP_NET_ADMIN", "root")),
        "without /dev/net/tun": (["unshare", "-m", "sh", "-c", no_device], ("/dev/net/tun",)),
    }
    for label, (argv, words) in cases.items():
        result = a.host.run(*argv, check=None)
        equal(result.rc, 1, f"exit code {label} ({result.err.strip()[:300]})")
        true(any(word in result.err for word in words), f"{label}: one of {words} in the message: {result.err.strip()[:300]}")
        true("panicked" not in result.err, f"{label}: no panic")
        equal(a.host.snapshot(), before, f"the namespace {label}")
    shell.run("chown", "-R", "root", a.dir)
    until("it works with the right", lambda: a.up(write=False), timeout=5)


def parents(path):
    while path != "/":
        yield path
        path = os.path.dirname(path)
