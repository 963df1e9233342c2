"""A UDP relay between two nodes: stands for a NAT whose mapping changes, or for a man in the middle."""

import collections
import select
import socket
import threading
import time


class Relay:
    """Listens in `host` and forwards to `target`; answers go back to whoever spoke last.

    `filter(direction, payload)` returns the datagrams to pass on: `[payload]`, none, or several.
    Directions are "out" (to the target) and "back". With a `delay`, in seconds, all of them arrive
    that much later, in their order.
    """

    def __init__(self, host, listen, target, filter=None, delay=0.0):
        self.host = host
        self.target = target
        self.delay = delay
        self.held = collections.deque()
        self.filter = filter or (lambda direction, payload: [payload])
        self.family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        self.front = host.socket(self.family, socket.SOCK_DGRAM)
        self.front.bind(listen)
        self.back = None
        self.client = None
        self.rebind()
        self.running = True
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def rebind(self):
        """Takes a new source port towards the target, as a NAT that lost its mapping."""
        fresh = self.host.socket(self.family, socket.SOCK_DGRAM)
        fresh.bind(("::" if self.family == socket.AF_INET6 else "0.0.0.0", 0))
        old, self.back = self.back, fresh
        if old:
            old.close()
        return fresh.getsockname()[1]

    @property
    def back_port(self):
        return self.back.getsockname()[1]

    def _serve(self):
        while self.running:
            back = self.back
            try:
                self._release()
                wait = self.held[0][0] - time.monotonic() if self.held else 0.05
                ready, _, _ = select.select([self.front, back], [], [], max(0.0, min(wait, 0.05)))
                for sock in ready:
                    self._pass_on(sock, back)
            except (OSError, ValueError):
                continue  # rebound meanwhile, or an ICMP error of an earlier send

    def _pass_on(self, sock, back):
        payload, source = sock.recvfrom(65535)
        if sock is self.front:
            self.client = source
            for each in self.filter("out", payload):
                self._send(back, each, self.target)
        elif self.client and source[:2] == self.target[:2]:
            for each in self.filter("back", payload):
                self._send(self.front, each, self.client)

    def _send(self, sock, payload, to):
        if self.delay:
            self.held.append((time.monotonic() + self.delay, sock, payload, to))
        else:
            sock.sendto(payload, to)

    def _release(self):
        while self.held and self.held[0][0] <= time.monotonic():
            _, sock, payload, to = self.held.popleft()
            sock.sendto(payload, to)

    def close(self):
        self.running = False
        self.thread.join(2)
        self.front.close()
        self.back.close()
