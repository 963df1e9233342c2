"""Collects visits: several tunnels side by side, all settings in turn, everything in random order.

A session is one tunnel with one setting: daemons with fresh keys, a while of browsing so that the
schedule knows the traffic's mean, then visits of all classes mixed. Sessions of all settings follow each
other in rounds, so that whatever else the machine does disturbs them alike and an early end leaves even
counts. Each session becomes a file; with `--resume`, those that are there are not made again.
"""

import asyncio
import contextlib
import dataclasses
import json
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
import traceback

import numpy as np

from . import classes, observer
from .settings import SETTINGS
from .traffic import Sites, Visitor
from .tunnel import Tunnel

# a visit begins somewhere in this time, in seconds
START = 0.3
# connections of the visit before have ended by then, in seconds
PAUSE = 0.15
PINGS = (30, 0.05)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be collected."""

    seed: int
    settings: tuple
    # class → visits, of each setting
    visits: dict
    # seconds that are observed of a visit
    window: float
    # visits of a session, and seconds of browsing before the first
    session: int
    warm_up: float
    # every setting gets all visits
    short: bool = False

    def sessions(self):
        """The sessions in their order: (name, setting, visits)."""
        parts = {}
        for setting in self.settings:
            dice = random.Random(f"visits {self.seed} {setting}")
            all_visits = [name for name, count in self.visits.items()
                          for _ in range(count if self.short else round(count * SETTINGS[setting].part))]
            dice.shuffle(all_visits)
            parts[setting] = [all_visits[at:at + self.session] for at in range(0, len(all_visits), self.session)]
        rounds = max(map(len, parts.values()))
        order = []
        for number in range(rounds):
            dice = random.Random(f"round {self.seed} {number}")
            turn = [s for s in self.settings if number < len(parts[s])]
            dice.shuffle(turn)
            order += [(f"{s.replace(':', '-')}.{number:03}", s, parts[s][number]) for s in turn]
        return order


def collect(plan, folder, programs, tunnels, until, say):
    """Collects what is not there yet with so many tunnels at once; stops starting sessions at `until`."""
    os.makedirs(folder, exist_ok=True)
    todo = [each for each in plan.sessions() if not os.path.exists(os.path.join(folder, each[0] + ".npz"))]
    if not todo:
        return 0
    context = multiprocessing.get_context("fork")
    following = context.Value("i", 0)
    failed = context.Value("i", 0)
    workers = [context.Process(target=work, args=(number, plan, todo, following, failed, folder, programs, until))
               for number in range(min(tunnels, len(todo)))]
    for each in workers:
        each.start()
    try:
        said = time.monotonic()
        while any(each.is_alive() for each in workers):
            time.sleep(0.5)
            if time.monotonic() - said > 30:
                said = time.monotonic()
                say(f"{min(following.value, len(todo))} of {len(todo)} sessions begun, {failed.value} failed")
    except BaseException:
        for each in workers:
            if each.is_alive():
                each.terminate()
        for each in workers:
            each.join(20)
        raise
    broken = sum(each.exitcode != 0 for each in workers)
    if broken:
        say(f"{broken} of {len(workers)} workers ended early")
    return failed.value


class Ended(BaseException):
    """SIGTERM: clean up and go."""


def end(_signal, _frame):
    raise Ended


def work(number, plan, todo, following, failed, folder, programs, until):
    """One process: a tunnel of its own, and the next session as long as there is one."""
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # not all at the same moment
    time.sleep(number * 0.7)
    scratch = tempfile.mkdtemp(prefix="stadium-noise-lab-")
    tunnel = None
    try:
        tunnel = Tunnel(f"noiselab{os.getpid()}", *programs)
        while time.time() < until:
            with following.get_lock():
                mine, following.value = following.value, following.value + 1
            if mine >= len(todo):
                break
            name, setting, visits = todo[mine]
            try:
                asyncio.run(Session(plan, tunnel, name, setting, visits, scratch).run(folder))
            except Exception as error:  # noqa: BLE001 - one bad session must not end the others
                with failed.get_lock():
                    failed.value += 1
                print(f"session {name}: {type(error).__name__}: {error}", flush=True)
                if not isinstance(error, AssertionError) and failed.value <= 2:
                    traceback.print_exc()
                    print(tunnel.lab.logs(), flush=True)
                recover(tunnel)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if tunnel:
            tunnel.close()
        shutil.rmtree(scratch, ignore_errors=True)


def recover(tunnel):
    for node in (tunnel.a, tunnel.b):
        node.kill()
    if tunnel.relaying:
        tunnel.relaying.kill()
        tunnel.relaying.wait()
        tunnel.relaying = None


class Session:
    """One session, from the daemons' start to the file of its visits."""

    def __init__(self, plan, tunnel, name, setting, visits, scratch):
        self.plan, self.tunnel, self.name, self.visits = plan, tunnel, name, visits
        self.setting = SETTINGS[setting]
        self.scratch = os.path.join(scratch, name)
        self.dice = random.Random(f"session {plan.seed} {name}")
        self.trace = os.path.join(self.scratch, "trace")
        self.records, self.pings, self.voice, self.counts = [], [], [], []

    async def run(self, folder):
        shutil.rmtree(self.scratch, ignore_errors=True)
        os.mkdir(self.scratch)
        tunnel, record = self.tunnel, os.path.join(self.scratch, "relay.csv")
        watch = observer.Observer(tunnel, os.path.join(self.scratch, "seen.pcap"))
        sites = Sites(tunnel.b.host, tunnel.b.v4)
        try:
            tunnel.start_relay(self.dice.getrandbits(32), record)
            await sites.start()
            visitor = Visitor(tunnel.a.host, tunnel.b.v4, classes.pages(self.plan.seed))
            if not self.setting.fresh:
                self.up(0)
                await self.warm_up(visitor)
            for number, name in enumerate(self.visits):
                if self.setting.fresh:
                    self.up(number)
                self.records.append(await self.visit(visitor, name))
                if self.setting.fresh:
                    self.counts.append(tunnel.down())
            if not self.setting.fresh:
                self.pings = await visitor.pings(*PINGS)
                self.counts.append(tunnel.down())
            self.voice = visitor.voice
            tunnel.stop_relay()
            # the kernel hands a block of packets on after a second at the latest
            await asyncio.sleep(1.3)
            watch.stop()
        finally:
            sites.stop()
            watch.kill()
        self.write(folder, watch.path, record)
        shutil.rmtree(self.scratch)

    def up(self, number):
        self.tunnel.up(self.setting, f"{self.trace}-{number}")

    async def warm_up(self, visitor):
        """Browses, so that averages stand where they stand for someone who browses."""
        end = time.monotonic() + self.plan.warm_up
        while time.monotonic() < end:
            await self.bounded(visitor, self.dice.choice(self.visits))

    async def visit(self, visitor, name):
        began = time.time_ns()
        measured = await self.bounded(visitor, name)
        return {"class": name, "began": began, "measured": measured}

    async def bounded(self, visitor, name):
        """One visit, cut off at the end of its window."""
        end = time.monotonic() + self.plan.window
        await asyncio.sleep(self.dice.uniform(0, START))
        measured = None
        with contextlib.suppress(asyncio.TimeoutError):
            measured = await asyncio.wait_for(visitor.visit(name, self.dice), end - time.monotonic())
        await asyncio.sleep(max(0, end - time.monotonic()) + PAUSE)
        return measured

    def write(self, folder, capture, record):
        noise = {observer.UP: set(), observer.DOWN: set()}
        for name in sorted({n.rsplit("-", 1)[0] for n in os.listdir(self.scratch) if n.startswith("trace-")}):
            for direction, headers in observer.traces(os.path.join(self.scratch, name)).items():
                noise[direction] |= headers
        seen = observer.read(capture, noise)
        checked = observer.check_against_relay(seen, record)
        window = int(self.plan.window * 1e9)
        begins = np.array([each["began"] for each in self.records], dtype="i8")
        about = {"name": self.name, "setting": self.setting.name, "visits": self.records, "pings": self.pings, "voice": self.voice,
                 "counts": self.counts, "relay_agrees_on": checked, "window": self.plan.window}
        path = os.path.join(folder, self.name + ".npz")
        with open(path + ".part", "wb") as out:
            keep = np.zeros(len(seen), dtype=bool)
            for began in begins:
                first, last = np.searchsorted(seen["time"], [began, began + window])
                keep[first:last] = True
            np.savez_compressed(out, seen=seen[keep], begins=begins, about=np.array(json.dumps(about)))
        os.replace(path + ".part", path)
