"""A UDP relay between two nodes: stands for a NAT whose mapping changes, or for a man in the middle."""

import select
import socket
import threading


class Relay:
    """Listens in `host` and forwards to `target`; answers go back to whoever spoke last.

    `filter(direction, payload)` returns the datagrams to pass on: `[payload]`, none, or several.
    Directions are "out" (to the target) and "back".
    """

    def __init__(self, host, listen, target, filter=None):
        self.host = host
        self.target = target
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
                ready, _, _ = select.select([self.front, back], [], [], 0.05)
                for sock in ready:
                    self._pass_on(sock, back)
            except (OSError, ValueError):
                continue  # rebound meanwhile, or an ICMP error of an earlier send

    def _pass_on(self, sock, back):
        payload, source = sock.recvfrom(65535)
        if sock is self.front:
            self.client = source
            for each in self.filter("out", payload):
                back.sendto(each, self.target)
        elif self.client and source[:2] == self.target[:2]:
            for each in self.filter("back", payload):
                self.front.sendto(each, self.client)

    def close(self):
        self.running = False
        self.thread.join(2)
        self.front.close()
        self.back.close()
