"""Runs scenarios, each in a process of its own, and gives the verdicts."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback

from . import world
from .verdict import Failure, Skip

MARK = "\x1everdict "
OK, FAIL, SKIP = "ok", "FAIL", "skip"


class Interrupted(BaseException):
    """SIGINT or SIGTERM: clean up and go."""


def interrupt(_signal, _frame):
    raise Interrupted


# ---- inside the child

def run_child(scenario, stadium, tag, keep, long=0):
    """Runs one scenario and prints its verdict as the last line."""
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
    verdict, reason = FAIL, "interrupted"
    lab = None
    try:
        lab = world.Lab(scenario.name, stadium, tag, long)
        scenario.run(lab)
        verdict, reason = OK, "; ".join(lab.notes)
    except Skip as skip:
        verdict, reason = SKIP, str(skip)
    except Failure as failure:
        reason = str(failure)
        print(where(failure))
    except Interrupted:
        pass
    except Exception as error:  # noqa: BLE001 - a broken scenario is a failed one
        reason = f"{type(error).__name__}: {error}"
        traceback.print_exc(file=sys.stdout)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if lab:
        if verdict == FAIL:
            print(lab.logs())
        if keep:
            print(lab.keep_note())
        else:
            lab.close()
    print(MARK + json.dumps([verdict, reason]), flush=True)
    # threads of a scenario that failed half-way must not hold the verdict back
    os._exit(0)


def where(failure):
    """The line of the scenario that failed."""
    for frame in reversed(traceback.extract_tb(failure.__traceback__)):
        if "/scenarios/" in frame.filename:
            return f"at {os.path.relpath(frame.filename)}:{frame.lineno}: {frame.line}"
    return ""


# ---- the parent

class Running:
    def __init__(self, scenario, entry, stadium, keep, long=0):
        self.scenario = scenario
        self.limit = scenario.within(long)
        self.tag = f"stadium{os.getpid()}-{scenario.name}"
        self.output = tempfile.TemporaryFile("w+", errors="replace")
        self.started = time.monotonic()
        self.timed_out = False
        argv = [sys.executable, entry, "--child", scenario.name, "--tag", self.tag, "--bin", stadium]
        self.process = subprocess.Popen(
            argv + (["--keep"] if keep else []) + (["--long", "--minutes", str(long)] if long else []),
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT, start_new_session=True,
        )

    def poll(self):
        """True when it has ended; a scenario past its limit is told to end, then killed."""
        if self.process.poll() is not None:
            return True
        over = time.monotonic() - self.started - self.limit
        if over > 0 and not self.timed_out:
            self.timed_out = True
            self.process.terminate()
        elif over > 20:
            self.process.kill()
        return False

    def result(self, keep):
        self.output.seek(0)
        text, _, mark = self.output.read().partition(MARK)
        verdict, reason = json.loads(mark) if mark else (FAIL, "the scenario died without a verdict")
        if not mark and not keep:
            world.sweep(self.tag)
        if self.timed_out:
            verdict, reason = FAIL, f"not done within {self.limit:g} s"
        return verdict, reason, text.strip(), time.monotonic() - self.started

    def abort(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(25)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        world.sweep(self.tag)


def run_all(chosen, entry, stadium, jobs, keep, long=0):
    """Runs the scenarios, `jobs` at a time; returns the exit code."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, interrupt)
    waiting, running = list(chosen), []
    counts = {OK: 0, FAIL: 0, SKIP: 0}
    width = max(len(s.name) for s in chosen)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(Running(waiting.pop(0), entry, stadium, keep, long))
            for each in [r for r in running if r.poll()]:
                running.remove(each)
                counts[say(each, width, keep)] += 1
            time.sleep(0.05)
    except Interrupted:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        print("interrupted: cleaning up", flush=True)
        for each in running:
            each.abort()
        return 130
    skipped = f", {counts[SKIP]} skipped" if counts[SKIP] else ""
    print(f"{counts[OK]} passed, {counts[FAIL]} failed{skipped}", flush=True)
    return 1 if counts[FAIL] else 0


def say(ended, width, keep):
    verdict, reason, text, seconds = ended.result(keep)
    print(f"{verdict:<4} {ended.scenario.name:<{width}} {seconds:6.1f}s  {reason}".rstrip(), flush=True)
    if text and (verdict == FAIL or keep):
        print("".join(f"     | {line}\n" for line in text.splitlines()), end="", flush=True)
    return verdict
