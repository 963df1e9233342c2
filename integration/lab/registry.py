"""The scenarios by name. A scenario is a function that takes a `Lab`, under `@scenario`."""

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Callable, Optional


@dataclass(frozen=True)
class Scenario:
    name: str
    about: str
    run: Callable
    limit: float
    long: Optional[float] = None

    def within(self, minutes):
        """How many seconds it may take, in its long form if it has one and that is wanted."""
        return max(self.long, minutes * 60 + 300) if minutes and self.long else self.limit


SCENARIOS = {}


def scenario(name, about, limit=60.0, long=None, **options):
    """Registers a scenario; `limit` is how many seconds it may take, `options` go to the function.

    One with a long form looks at `lab.long` (its minutes, 0 in the short form), and may take `long`
    seconds then, or a little more than those minutes.
    """
    def register(function):
        if name in SCENARIOS:
            raise ValueError(f"two scenarios are called {name}")
        SCENARIOS[name] = Scenario(name, about, lambda lab: function(lab, **options), limit, long)
        return function
    return register


def load():
    """Imports every module of `scenarios/`, in alphabetical order."""
    package = importlib.import_module("scenarios")
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        importlib.import_module(f"scenarios.{module}")
    return SCENARIOS
