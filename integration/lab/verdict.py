"""What a scenario says: that something must hold, and what it saw when it does not."""

import time


class Failure(Exception):
    """The product did something else than the scenario demands."""


class Skip(Exception):
    """This machine cannot run the scenario; says which facility is missing."""


def true(condition, what):
    if not condition:
        raise Failure(what)


def equal(seen, wanted, what):
    if seen != wanted:
        raise Failure(f"{what}: expected {wanted!r}, saw {seen!r}")


def at_least(seen, wanted, what):
    if seen is None or seen < wanted:
        raise Failure(f"{what}: expected at least {wanted}, saw {seen}")


def at_most(seen, wanted, what):
    if seen is None or seen > wanted:
        raise Failure(f"{what}: expected at most {wanted}, saw {seen}")


def contains(text, part, what):
    if part not in text:
        raise Failure(f"{what}: {part!r} is not in {shorten(text)!r}")


def shorten(text, limit=600):
    text = text.strip()
    return text if len(text) <= limit else text[:limit] + " …"


def until(what, check, timeout=10.0, every=0.1):
    """Polls `check` until it returns something true, and returns that with the seconds it took.

    A `Failure` inside `check` counts as "not yet"; the last one is reported on time-out.
    """
    start = time.monotonic()
    last = None
    while True:
        try:
            value = check()
            if value:
                return value, time.monotonic() - start
        except Failure as failure:
            last = failure
        if time.monotonic() - start >= timeout:
            why = f" ({last})" if last else ""
            raise Failure(f"{what}: not within {timeout:g} s{why}")
        time.sleep(every)


def stays(what, check, seconds, every=0.1):
    """Demands that `check` holds the whole time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not check():
            raise Failure(f"{what}: did not stay so for {seconds:g} s")
        time.sleep(every)
