"""Traffic through a tunnel, every byte of it checked."""

import hashlib
import os
import re
import socket
import subprocess
import threading
import time
from dataclasses import dataclass

from . import shell
from .echo import echo
from .verdict import Failure, equal

CHUNK = 1 << 16


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


# ---- ping

@dataclass
class Pings:
    sent: int
    received: int
    text: str

    @property
    def lost(self):
        return self.sent - self.received


def ping(host, target, count=3, interval=0.05, size=None, dont_fragment=False, wait=1.0, source=None):
    """Runs ping, for what it says and for pings that get no reply; never fails by itself.

    `wait` holds only while nothing came back (see `lab.echo`): that all of several came back, `echo` tells.
    """
    argv = ["ping", "-n", "-c", count, "-W", wait, "-i", interval]
    if size is not None:
        argv += ["-s", size]
    if dont_fragment:
        argv += ["-M", "do"]
    if source:
        argv += ["-I", source]
    done = host.run(*argv, target, check=None, timeout=count * (interval + wait) + 20)
    text = done.out + done.err
    if "connect: " in text:  # no route to it: ping does not even begin
        return Pings(count, 0, text)
    return parse_pings(text)


def parse_pings(text):
    seen = re.search(r"(\d+) packets transmitted, (\d+) received", text)
    if not seen:
        raise Failure(f"ping said: {text.strip()[:300]}")
    return Pings(int(seen.group(1)), int(seen.group(2)), text)


def reaches(host, target, **options):
    return ping(host, target, count=1, **options).received == 1


def must_reach(host, target, what="ping", count=3, **options):
    """Every ping is answered, unaltered, within the `wait` of `lab.echo.echo`, which takes the options."""
    received = echo(host, target, count, **options)
    equal(received, count, f"{what}: replies from {target} at {host.label} of {count} pings")


class Pinging:
    """A ping that runs beside the scenario; `stop` tells how many were lost."""

    def __init__(self, host, target, interval=0.02):
        self.process = subprocess.Popen(
            host.command("ping", "-n", "-i", interval, "-W", 2, target),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=shell.clean_env(),
        )
        self.lines = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def replies(self):
        return sum("bytes from" in line for line in list(self.lines))

    def stop(self):
        """Ends it with SIGINT; a reply that is on its way is not counted as lost."""
        time.sleep(0.1)
        self.process.send_signal(2)
        self.process.wait(10)
        self.reader.join(5)
        result = parse_pings("".join(self.lines))
        if result.lost == 1 and missing_only_last(self.lines, result.sent):
            result.received += 1
        return result


def missing_only_last(lines, sent):
    seen = {int(m.group(1)) for m in (re.search(r"icmp_seq=(\d+) .*time=", line) for line in lines) if m}
    return set(range(1, sent)) <= seen and sent not in seen


# ---- TCP

def tcp_exchange(client, server, address, port=7001, size=1 << 20, flows=1, timeout=60):
    """`flows` connections at once, each carrying `size` random bytes both ways, compared by SHA-256.

    Returns the seconds it took.
    """
    listener = server.socket(family(address), socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("::" if ":" in address else "0.0.0.0", port))
    listener.listen(flows)
    listener.settimeout(timeout)
    errors, digests = [], {}
    lock = threading.Lock()

    def guarded(work, *args):
        try:
            work(*args)
        except Exception as error:  # noqa: BLE001 - told to the scenario below
            with lock:
                errors.append(f"{work.__name__}: {error!r}")

    def exchange(sock, name):
        sock.settimeout(timeout)
        sent = hashlib.sha256()
        received = hashlib.sha256()

        def send():
            left = size
            while left:
                part = os.urandom(min(CHUNK, left))
                sock.sendall(part)
                sent.update(part)
                left -= len(part)

        sender = threading.Thread(target=guarded, args=(send,), daemon=True)
        sender.start()
        left = size
        while left:
            part = sock.recv(min(CHUNK, left))
            if not part:
                raise Failure(f"connection closed with {left} bytes to come")
            received.update(part)
            left -= len(part)
        sender.join(timeout)
        with lock:
            digests[name] = (sent.hexdigest(), received.hexdigest())
        sock.close()

    def accept_all():
        workers = []
        for _ in range(flows):
            sock, peer = listener.accept()
            workers.append(threading.Thread(target=guarded, args=(exchange, sock, ("server", peer[1])), daemon=True))
            workers[-1].start()
        for worker in workers:
            worker.join(timeout)

    def connect_one():
        sock = client.socket(family(address), socket.SOCK_STREAM)
        sock.settimeout(timeout)
        sock.connect((address, port))
        exchange(sock, ("client", sock.getsockname()[1]))

    start = time.monotonic()
    threads = [threading.Thread(target=guarded, args=(accept_all,), daemon=True)]
    threads += [threading.Thread(target=guarded, args=(connect_one,), daemon=True) for _ in range(flows)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout + 5)
    listener.close()
    if errors:
        raise Failure(f"TCP to {address}: {len(errors)} errors, first: {errors[0]}")
    equal(len(digests), 2 * flows, f"ends of TCP connections to {address} that finished")
    for (side, port_used), (sent, received) in digests.items():
        if side == "client":
            equal(digests[("server", port_used)], (received, sent), "SHA-256 of both directions")
    return time.monotonic() - start


# ---- UDP

class UdpEcho:
    """An echo server in a namespace."""

    def __init__(self, host, address, port=7002):
        self.sock = host.socket(family(address), socket.SOCK_DGRAM)
        self.sock.bind((address, port))
        self.address = (address, port)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                data, source = self.sock.recvfrom(65535)
                if data == b"\xffstop" and source[1] == self.address[1]:
                    return
                self.sock.sendto(data, source)
            except OSError:
                return

    def close(self):
        self.sock.sendto(b"\xffstop", self.address)
        self.thread.join(2)
        self.sock.close()


def udp_exchange(client, server, address, sizes, port=7002, tries=3, timeout=1.0):
    """Sends one datagram of each size to an echo server and compares what comes back.

    Returns the sizes that never came back, after `tries` attempts each.
    """
    echo = UdpEcho(server, address, port)
    sock = client.socket(family(address), socket.SOCK_DGRAM)
    sock.settimeout(timeout)
    sock.connect((address, port))
    missing = []
    try:
        for number, size in enumerate(sizes):
            if not any(udp_once(sock, number, size) for _ in range(tries)):
                missing.append(size)
    finally:
        sock.close()
        echo.close()
    return missing


def udp_once(sock, number, size):
    payload = (number.to_bytes(4, "big") + os.urandom(max(0, size - 4)))[:size]
    try:
        sock.send(payload)
        while True:
            back = sock.recv(65535)
            if back == payload:
                return True
            if len(back) == size and back[:4] == payload[:4]:
                raise Failure(f"UDP datagram of {size} bytes came back altered")
    except (TimeoutError, OSError):
        return False
