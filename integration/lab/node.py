"""A Stadium node: its peer file, its daemon, what it says of itself."""

import json
import os
import signal
import subprocess
import time

from . import peerfile, schema, shell
from .verdict import Failure, equal, shorten, until

INTERFACE = "stadium0"
PORT = 51871


class Node:
    """The interface is always `stadium0`: each node lives in a namespace of its own."""

    def __init__(self, lab, label, host, index, interface, top):
        self.lab = lab
        self.label = label
        self.host = host
        self.index = index
        self.v4, self.v6 = f"10.7.0.{index}", f"fd07::{index}"
        self.dir = os.path.join(lab.dir, label)
        os.mkdir(self.dir, 0o700)
        self.file = os.path.join(self.dir, f"{INTERFACE}.yaml")
        self.log_file = os.path.join(self.dir, "daemon.log")
        self.interface_name = INTERFACE
        self.process = None
        self.private_key = self.genkey()
        self.public_key = self.pubkey(self.private_key)
        self.key_file = self.write_secret("node.key", self.private_key)
        self.config = {
            "interface": {
                "name": INTERFACE,
                "private_key_file": "node.key",
                "address": [f"{self.v4}/24", f"{self.v6}/64"],
                "listen": PORT,
                **interface,
            },
            "control": {"socket": os.path.join(self.dir, "control.sock")},
            **top,
            "peers": [],
        }

    # ---- the peer file

    def genkey(self):
        return shell.run(self.lab.stadium, "genkey").out.strip()

    def genpsk(self):
        return shell.run(self.lab.stadium, "genpsk").out.strip()

    def pubkey(self, private):
        return shell.run(self.lab.stadium, "pubkey", stdin=private + "\n").out.strip()

    def write_secret(self, name, text):
        path = os.path.join(self.dir, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(text + "\n")
        return path

    def add_peer(self, other, outer=4, endpoint=True, allowed=None, **extra):
        """Adds `other`; `endpoint` True means its real address, None leaves it out."""
        entry = {"name": other.label, "public_key": other.public_key}
        if endpoint is True:
            endpoint = other.endpoint(outer)
        if endpoint:
            entry["endpoint"] = endpoint
        entry["allowed_ips"] = [f"{other.v4}/32", f"{other.v6}/128"] if allowed is None else allowed
        entry.update(extra)
        self.config["peers"].append(entry)
        return entry

    def endpoint(self, version, port=PORT):
        return endpoint(self.host.outer(version), port)

    def write(self):
        with open(os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(peerfile.dump(self.config))
        return self.file

    # ---- the program

    def cli(self, *argv, check=True, env=None, stdin=None, timeout=30):
        """Runs `stadium` in the node's namespace."""
        return self.host.run(self.lab.stadium, *argv, check=check, env=env, stdin=stdin, timeout=timeout)

    def up(self, env=None, write=True, args=(), ready=True):
        """Starts the daemon in the foreground of a process that is ours, and waits for it."""
        if write:
            self.write()
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                self.host.command(self.lab.stadium, "up", self.file, *args),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=shell.clean_env(env), start_new_session=True,
            )
        if ready:
            until(f"{self.label} comes up", self.ready, timeout=15, every=0.03)
        return self

    def ready(self):
        if self.process and self.process.poll() is not None:
            raise Failure(f"`stadium up` of {self.label} ended with {self.process.returncode}: {shorten(self.log()[-600:])}")
        return bool(self.document()["interfaces"])

    def down(self, check=True):
        result = self.cli("down", self.file, check=check)
        if self.process and check is not None:
            try:
                equal(self.process.wait(10), 0, f"exit code of {self.label}'s daemon after `down`")
            except subprocess.TimeoutExpired as expired:
                raise Failure(f"{self.label}'s daemon still runs 10 s after `down`") from expired
            self.process = None
        return result

    def kill(self, sig=signal.SIGKILL):
        """Kills the daemon outright; nothing to do where none runs."""
        if self.process:
            if self.process.poll() is None:
                self.process.send_signal(sig)
            self.process.wait(10)
            self.process = None

    def wait(self, timeout=10, peer=None):
        which = ["--peer", peer] if peer else []
        return self.cli("wait", self.file, *which, "--timeout", f"{timeout}s", timeout=timeout + 10)

    def reload(self, *args, check=True, write=True):
        if write:
            self.write()
        return self.cli("reload", self.file, *args, check=check)

    # ---- what it says

    def document(self):
        """`status --json`, checked against the schema every time it is read."""
        text = self.cli("status", self.file, "--json").out
        try:
            document = json.loads(text)
        except ValueError as error:
            raise Failure(f"`status --json` of {self.label} is not JSON: {error}: {shorten(text)}") from error
        schema.check_status(document)
        return document

    def status(self):
        interfaces = self.document()["interfaces"]
        equal(len(interfaces), 1, f"interfaces in the status of {self.label}")
        return interfaces[0]

    def peer(self, other):
        """The status of one peer, by node or public key."""
        key = getattr(other, "public_key", other)
        found = [p for p in self.status()["peers"] if p["public_key"] == key]
        equal(len(found), 1, f"peers with that key in the status of {self.label}")
        return found[0]

    def session(self, other):
        session = self.peer(other)["session"]
        if session is None:
            raise Failure(f"{self.label} has no session with {getattr(other, 'label', other)}")
        return session

    def drops(self):
        return self.status()["drops"]

    def summary(self):
        """Drops and peers in few words, for the report of a failure; empty where no daemon answers."""
        if not self.process or self.process.poll() is not None:
            return ""
        try:
            status = self.status()
        except Failure as failure:
            return str(failure)
        drops = {reason: count for reason, count in status["drops"].items() if count}
        lines = [f"drops {drops or 'none'}"]
        for peer in status["peers"][:20]:
            session = peer["session"] or {}
            lines.append(f"peer {peer['name'] or peer['public_key']}: {peer['state']}, {peer['last_error']}, "
                         f"session {session.get('id')} of {session.get('age_s')} s, endpoint {peer['endpoint']}, "
                         f"rx {peer['rx']['packets']}, tx {peer['tx']['packets']} packets, rtt {peer['rtt_ms']} ms")
        return "\n".join(lines)

    def log(self):
        try:
            with open(self.log_file, errors="replace") as text:
                return text.read()
        except FileNotFoundError:
            return ""

    # ---- the process from outside

    @property
    def pid(self):
        return self.process.pid

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def processor_seconds(self):
        """What the daemon has used of processors so far."""
        with open(f"/proc/{self.pid}/stat") as text:
            fields = text.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_kib(self):
        with open(f"/proc/{self.pid}/status") as text:
            for line in text:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1])
        raise Failure(f"no VmRSS of {self.label}")


def endpoint(host, port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def settle(seconds):
    """Waits where only time can show that nothing happens."""
    time.sleep(seconds)
