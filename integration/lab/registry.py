"""The scenarios by name. A scenario is a function that takes a `Lab`, under `@scenario`."""

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class Scenario:
    name: str
    about: str
    run: Callable
    limit: float


SCENARIOS = {}


def scenario(name, about, limit=60.0, **options):
    """Registers a scenario; `limit` is how many seconds it may take, `options` go to the function."""
    def register(function):
        if name in SCENARIOS:
            raise ValueError(f"two scenarios are called {name}")
        SCENARIOS[name] = Scenario(name, about, lambda lab: function(lab, **options), limit)
        return function
    return register


def load():
    """Imports every module of `scenarios/`, in alphabetical order."""
    package = importlib.import_module("scenarios")
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        importlib.import_module(f"scenarios.{module}")
    return SCENARIOS
