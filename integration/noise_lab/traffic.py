"""The traffic of a visit: real clients in one namespace, real servers in the other.

All of a tunnel's traffic runs on one event loop; sockets belong to the namespace that they were made in.
"""

import asyncio
import contextlib
import socket
import time

from . import classes

HTTP, SHELL, VOICE, ECHO = 8000, 8022, 8004, 8007
CONNECTIONS = 6
VOICE_PACKET = 172
BULK_RATE = 1_500_000 / 8
CHUNK = 1400


class Sites:
    """The servers, at the far end of the tunnel."""

    def __init__(self, host, address):
        self.host, self.address = host, address
        self.servers, self.transports = [], []

    async def start(self):
        for port, serve in ((HTTP, serve_http), (SHELL, serve_shell)):
            sock = self.host.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # the tunnel's address comes and goes with the daemon
            sock.bind(("0.0.0.0", port))
            sock.listen(64)
            self.servers.append(await asyncio.start_server(guarded(serve), sock=sock))
        for port, protocol in ((VOICE, Voice), (ECHO, Echo)):
            sock = udp(self.host, ("0.0.0.0", port))
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(protocol, sock=sock)
            self.transports.append(transport)

    def stop(self):
        for each in self.servers + self.transports:
            each.close()


def udp(host, address=("0.0.0.0", 0)):
    sock = host.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(address)
    sock.setblocking(False)
    return sock


def guarded(serve):
    async def run(reader, writer):
        # a visit that is over closes its connections in the middle
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, OSError):
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await serve(reader, writer)
        writer.close()
    return run


# ---- servers

async def serve_http(reader, writer):
    """HTTP/1.1: `GET /BYTES/MICROSECONDS[/RATE]` answers so many bytes after so long."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        _, size, think, *rate = head.split(b" ", 2)[1].split(b"/")
        await asyncio.sleep(int(think) / 1e6)
        writer.write(b"HTTP/1.1 200 OK\r\nServer: lab\r\nContent-Type: application/octet-stream\r\n"
                     b"Cache-Control: no-store\r\nContent-Length: " + size + b"\r\n\r\n")
        if rate:
            await write_paced(writer, int(size), int(rate[0]))
        else:
            writer.write(bytes(int(size)))
        await writer.drain()


async def write_paced(writer, size, rate):
    began, sent = time.monotonic(), 0
    while sent < size:
        writer.write(bytes(min(CHUNK, size - sent)))
        sent += CHUNK
        await writer.drain()
        await asyncio.sleep(max(0, began + sent / rate - time.monotonic()))


async def serve_shell(reader, writer):
    """Echoes each message; the first two bytes say how much output follows."""
    while True:
        message = await reader.readexactly(36)
        writer.write(message)
        output = int.from_bytes(message[:2], "big")
        if output:
            await asyncio.sleep(0.02)
            writer.write(bytes(output))
        await writer.drain()


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)


class Voice(Echo):
    """The far end of a call: talks back at the pace of what it hears."""


# ---- clients

class Visitor:
    """The clients, at the near end."""

    def __init__(self, host, target, pages):
        self.host, self.target, self.pages = host, target, pages
        # round trips of voice packets so far, in seconds
        self.voice = []

    async def connect(self, port):
        sock = self.host.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (self.target, port))
        except BaseException:
            sock.close()
            raise
        return await asyncio.open_connection(sock=sock)

    async def visit(self, name, dice):
        """Makes the traffic of one visit of a class, until done or cancelled; returns what it measured."""
        if name in self.pages:
            return await self.page(classes.visit(self.pages[name], dice))
        return await getattr(self, name)(dice)

    async def page(self, page):
        """Loads a page with parallel connections, and returns the seconds it took."""
        began = time.monotonic()
        async with Pool(self, page.request) as pool:
            await pool.get(page.html)
            for pause, objects in page.waves:
                await asyncio.sleep(pause)
                await asyncio.gather(*(pool.get(each) for each in objects))
        return {"load_s": time.monotonic() - began}

    async def bulk(self, _dice):
        async with Pool(self, 400) as pool:
            await pool.get(classes.Thing(50_000_000, 0.01), rate=int(BULK_RATE))
        return {}

    async def video(self, dice):
        async with Pool(self, 500) as pool:
            while True:
                began = time.monotonic()
                await pool.get(classes.Thing(dice.randint(60_000, 120_000), dice.uniform(0.005, 0.02)))
                await asyncio.sleep(max(0, dice.uniform(0.85, 1.0) - (time.monotonic() - began)))

    async def ssh(self, dice):
        reader, writer = await self.connect(SHELL)
        try:
            while True:
                output = dice.randint(300, 4_000) if dice.random() < 0.08 else 0
                writer.write(output.to_bytes(2, "big") + bytes(34))
                await reader.readexactly(36 + output)
                await asyncio.sleep(min(1.0, dice.lognormvariate(-1.9, 0.6)))
        finally:
            writer.close()

    async def voip(self, _dice):
        sock = udp(self.host)
        loop = asyncio.get_running_loop()

        async def listen():
            while True:
                packet = await loop.sock_recv(sock, 2_048)
                self.voice.append((time.monotonic_ns() - int.from_bytes(packet[:8], "big")) / 1e9)
        listener = asyncio.ensure_future(listen())
        try:
            due = time.monotonic()
            while True:
                packet = time.monotonic_ns().to_bytes(8, "big") + bytes(VOICE_PACKET - 8)
                await loop.sock_sendto(sock, packet, (self.target, VOICE))
                due += 0.02
                await asyncio.sleep(max(0, due - time.monotonic()))
        finally:
            listener.cancel()
            sock.close()

    async def idle(self, _dice):
        await asyncio.sleep(3_600)

    async def pings(self, count, pause):
        """Round trips of small packets while nothing else runs, in seconds."""
        sock = udp(self.host)
        loop = asyncio.get_running_loop()
        seconds = []
        try:
            for _ in range(count):
                began = time.monotonic()
                await loop.sock_sendto(sock, bytes(56), (self.target, ECHO))
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(loop.sock_recv(sock, 2_048), 2)
                    seconds.append(time.monotonic() - began)
                await asyncio.sleep(pause)
        finally:
            sock.close()
        return seconds


class Pool:
    """Keep-alive connections to the HTTP server, opened as they are needed."""

    def __init__(self, visitor, request):
        self.visitor, self.request = visitor, request
        self.free, self.all = asyncio.Queue(), []
        self.opened = 0

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        for _, writer in self.all:
            writer.close()

    async def take(self):
        if self.free.empty() and self.opened < CONNECTIONS:
            self.opened += 1
            pair = await self.visitor.connect(HTTP)
            self.all.append(pair)
            return pair
        return await self.free.get()

    async def get(self, thing, rate=None):
        reader, writer = pair = await self.take()
        path = f"/{thing.size}/{int(thing.think * 1e6)}" + (f"/{rate}" if rate else "")
        head = f"GET {path} HTTP/1.1\r\nHost: lab\r\nAccept: */*\r\nCookie: "
        writer.write((head + "c" * max(1, self.request - len(head)) + "\r\n\r\n").encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        left = int(answer.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        while left:
            part = await reader.read(min(left, 65_536))
            if not part:
                raise ConnectionError("the server closed in the middle of an object")
            left -= len(part)
        self.free.put_nowait(pair)
