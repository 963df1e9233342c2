"""Faults of a machine: failing system calls, full disks, too few descriptors."""

import os
import re
import shutil
import signal
import subprocess
import time

from . import shell
from .verdict import Skip, until

# of every call's hundred, one fails; not all calls at once, and not the very first
ONE_IN_A_HUNDRED = "when=7+100"


class Failing:
    """System calls of a running daemon that fail now and then, by strace's fault injection.

    `calls` maps an error to the system calls that it strikes.
    """

    def __init__(self, node, calls):
        if not shutil.which("strace"):
            raise Skip("no strace here: apt-get install strace")
        self.file = os.path.join(node.dir, f"strace-{time.monotonic_ns()}")
        inject = []
        for error, names in calls.items():
            inject += ["-e", f"inject={','.join(names)}:error={error}:{ONE_IN_A_HUNDRED}"]
        traced = ",".join(sorted({name for names in calls.values() for name in names}))
        self.process = subprocess.Popen(
            ["strace", "-f", "-q", "-s", "0", "-o", self.file, "-e", f"trace={traced}", *inject, "-p", str(node.pid)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        tasks = f"/proc/{node.pid}/task"
        until("strace is attached", lambda: self.ended() or all(traced_by(f"{tasks}/{t}") for t in os.listdir(tasks)), timeout=10)
        if self.process.poll() is not None:
            raise Skip(f"strace cannot attach: {self.process.stderr.read().strip()}")

    def ended(self):
        return self.process.poll() is not None

    def stop(self):
        """Lets the daemon go, and returns how often each error was injected into which call."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(10)
        struck = {}
        with open(self.file, errors="replace") as lines:
            for line in lines:
                found = re.search(r"(\w+)\(.*= -1 (E\w+) .*\(INJECTED\)", line)
                if found:
                    struck[found.groups()] = struck.get(found.groups(), 0) + 1
        return struck


def traced_by(task):
    with open(f"{task}/status") as text:
        return re.search(r"^TracerPid:\s*([1-9]\d*)", text.read(), re.M)


class SmallDisk:
    """A file system of a few kilobytes, mounted at a new folder."""

    def __init__(self, lab, path, size="64k"):
        os.mkdir(path, 0o700)
        shell.run("mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "stadium-test", path)
        lab.on_close(lambda: shell.run("umount", "-l", path))
        self.path = path
        self.ballast = os.path.join(path, "ballast")

    def fill(self):
        """Leaves no room for one more byte."""
        with open(self.ballast, "wb", buffering=0) as out:
            for size in (4096, 1):
                try:
                    while out.write(bytes(size)):
                        pass
                except OSError:
                    pass

    def free(self):
        os.unlink(self.ballast)
