"""Two network namespaces joined by a veth pair, and the processes that run in them.

Everything that is made here is removed again, and nothing else is ever touched.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time

UNDERLAY = {"a": "10.77.0.1", "b": "10.77.0.2"}
TUNNEL = {"a": "10.88.0.1", "b": "10.88.0.2"}
TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A step of the benchmark that did not work, and what the program said."""


def sh(*argv, check=True, stdin=None, timeout=60):
    """Runs a command and returns what it printed."""
    argv = [str(arg) for arg in argv]
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode:
        raise Failed(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip() or done.returncode}")
    return done.stdout


class Lab:
    """One pair of namespaces, `a` and `b`, with a tunnel between them."""

    count = 0

    def __init__(self, tag):
        Lab.count += 1
        self.tag = tag
        self.underlay, self.tunnel = dict(UNDERLAY), dict(TUNNEL)
        self.folder = tempfile.mkdtemp(prefix=f"stadium-bench-{tag}-")
        self.daemons, self.helpers, self.namespaces = [], [], {}
        try:
            self.join()
        except BaseException:
            self.close()
            raise

    def join(self):
        """Makes the namespaces and the wire between them."""
        for side in "ab":
            name = f"sb{side}{os.getpid()}-{Lab.count}"
            # before it is made, so that it is removed whenever this is interrupted
            self.namespaces[side] = name
            sh("ip", "netns", "add", name)
        a, b = self.namespaces["a"], self.namespaces["b"]
        sh("ip", "link", "add", "under", "netns", a, "mtu", 1500, "type", "veth",
           "peer", "name", "under", "netns", b, "mtu", 1500)
        for side in "ab":
            self.run(side, "sysctl", "-qw", "net.ipv4.tcp_congestion_control=cubic", check=False)
            self.run(side, "ip", "link", "set", "lo", "up")
            self.run(side, "ip", "address", "add", f"{UNDERLAY[side]}/24", "dev", "under")
            self.run(side, "ip", "link", "set", "under", "up")

    def command(self, side, *argv):
        return ["ip", "netns", "exec", self.namespaces[side], *map(str, argv)]

    def run(self, side, *argv, **options):
        return sh(*self.command(side, *argv), **options)

    def spawn(self, side, *argv, log, env=None):
        with open(os.path.join(self.folder, log), "ab") as out:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.command(side, *argv)], stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, env={**os.environ, **(env or {})}, start_new_session=True)
        self.helpers.append(process)
        return process

    def daemon(self, side, *argv, env=None):
        """Starts one end of the tunnel; its processor time and memory are measured."""
        process = self.spawn(side, *argv, log=f"daemon-{side}.log", env=env)
        self.daemons.append(process)
        return process

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8", opener=lambda p, flags: os.open(p, flags, 0o600)) as out:
            out.write(text)
        return path

    def wait_for(self, side, device, seconds=15):
        """Waits until an interface exists and is given back by name."""
        end = time.monotonic() + seconds
        while subprocess.run(self.command(side, "ip", "link", "show", device), capture_output=True, check=False).returncode:
            if time.monotonic() > end or any(d.poll() is not None for d in self.daemons):
                raise Failed(f"{self.tag}: no interface {device}\n{self.logs()}")
            time.sleep(0.05)

    def set_up(self, side, device, mtu):
        self.run(side, "ip", "address", "add", f"{TUNNEL[side]}/24", "dev", device)
        self.run(side, "ip", "link", "set", device, "mtu", mtu, "up")

    def wait_for_traffic(self, seconds=45):
        """Waits until a ping comes back; some programs repeat a lost handshake after 20 s only."""
        end = time.monotonic() + seconds
        ping = self.command("a", "ping", "-n", "-c1", "-W1", self.tunnel["b"])
        while subprocess.run(ping, capture_output=True, check=False).returncode:
            if time.monotonic() > end:
                raise Failed(f"{self.tag}: nothing comes through\n{self.logs()}")
            time.sleep(0.05)

    def logs(self, tail=1500):
        parts = []
        for name in sorted(os.listdir(self.folder)):
            if name.endswith(".log"):
                with open(os.path.join(self.folder, name), encoding="utf-8", errors="replace") as log:
                    parts.append(f"-- {name}\n{log.read()[-tail:]}")
        return "\n".join(parts)

    def processor_seconds(self):
        """Seconds of both ends of the tunnel so far."""
        return sum(processor_seconds(process.pid) for process in self.daemons)

    def resident_mib(self):
        """The most memory that an end of the tunnel has had resident."""
        return max((peak_resident(process.pid) for process in self.daemons), default=0) / 1024

    def close(self):
        for process in reversed(self.helpers):
            if process.poll() is None:
                process.terminate()
        end = time.monotonic() + 3
        for process in self.helpers:
            try:
                process.wait(max(0.05, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name in self.namespaces.values():
            # daemons may have forked within namespaces that are ours alone
            for pid in sh("ip", "netns", "pids", name, check=False).split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
            sh("ip", "netns", "delete", name, check=False)
        self.namespaces = {}
        shutil.rmtree(self.folder, ignore_errors=True)


def stat(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rsplit(")", 1)[1].split()


def processor_seconds(pid):
    try:
        fields = stat(pid)
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_resident(pid):
    """VmHWM in KiB."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("VmHWM:")), 0)
    except OSError:
        return 0


def strangers():
    """Processor seconds of every process that is not of this benchmark, by pid."""
    parents, seconds = {}, {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = stat(pid)
        except OSError:
            continue
        parents[int(pid)] = int(fields[1])
        is_kernel_thread = int(fields[6]) & 0x0020_0000
        if not is_kernel_thread:
            seconds[int(pid)] = (int(fields[11]) + int(fields[12])) / TICKS
    ours, grows = {os.getpid()}, True
    while grows:
        more = {pid for pid, parent in parents.items() if parent in ours} - ours
        ours |= more
        grows = bool(more)
    return {pid: used for pid, used in seconds.items() if pid not in ours}


class Meter:
    """Measures processor time over a test: of the tunnel, and of strangers."""

    def __init__(self, lab):
        self.lab = lab

    def __enter__(self):
        self.before = strangers()
        self.started, self.used = time.monotonic(), self.lab.processor_seconds()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.started
        self.used = self.lab.processor_seconds() - self.used
        now = strangers()
        self.foreign = sum(max(0, used - self.before.get(pid, 0)) for pid, used in now.items()) / self.seconds
