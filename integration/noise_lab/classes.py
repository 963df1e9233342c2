"""What is visited: twenty pages, and other kinds of traffic.

A page is a manifest: an HTML object, then waves of objects that are fetched over parallel connections
after the one before has been read. Pages are drawn from a seed; a visit varies them a little, as live
pages vary: sizes by a few per cent, an object left out now and then, times by a quarter.
"""

import random
from dataclasses import dataclass

PAGES = [f"page{n:02}" for n in range(20)]
APPS = ["ssh", "voip", "video", "bulk", "idle"]
WEB = "web"
SHORT = ["page03", "page08", "page13", "voip", "ssh", "idle"]


@dataclass(frozen=True)
class Thing:
    """An object of a page: its size in bytes, and how long the server thinks about it, in seconds."""

    size: int
    think: float


@dataclass(frozen=True)
class Page:
    html: Thing
    # (pause of the client before the wave, objects of the wave)
    waves: tuple
    # bytes of headers that a request carries
    request: int


def pages(seed):
    """The manifests by name."""
    dice = random.Random(f"pages {seed}")
    return {name: page(dice) for name in PAGES}


def page(dice):
    html = Thing(int(dice.lognormvariate(8.7, 0.6)), dice.uniform(0.005, 0.06))
    waves = []
    for _ in range(dice.choice((1, 2, 2, 3))):
        objects = tuple(Thing(size(dice), dice.uniform(0.002, 0.05)) for _ in range(dice.randint(2, 10)))
        waves.append((dice.uniform(0.02, 0.25), objects))
    return Page(html, tuple(waves), dice.randint(250, 900))


def size(dice):
    return max(200, min(45_000, int(dice.lognormvariate(8.6, 1.0))))


def visit(of, dice):
    """One visit's version of a page."""
    def vary(thing):
        return Thing(max(100, int(thing.size * dice.uniform(0.96, 1.04))), thing.think * dice.uniform(0.75, 1.25))
    waves = tuple((pause * dice.uniform(0.75, 1.25), tuple(vary(t) for t in objects if dice.random() > 0.06))
                  for pause, objects in of.waves)
    return Page(vary(of.html), waves, of.request)
