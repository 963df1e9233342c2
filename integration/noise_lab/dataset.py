"""The visits that were collected, by setting."""

import json
import os
from dataclasses import dataclass, field

import numpy as np

from .observer import UP


@dataclass
class Visit:
    name: str
    session: str
    # datagrams of the window (`observer.SEEN`), times from the window's start in nanoseconds
    seen: np.ndarray
    measured: dict
    # its features, once they are known
    row: np.ndarray = None


@dataclass
class Collected:
    """Everything of one setting."""

    setting: str
    window: float
    visits: list = field(default_factory=list)
    sessions: list = field(default_factory=list)

    def of(self, names):
        return [v for v in self.visits if v.name in names]

    @property
    def pings(self):
        return np.array([p for s in self.sessions for p in s["pings"]])

    @property
    def voice(self):
        return np.array([p for s in self.sessions for p in s["voice"]])

    @property
    def cpu_s(self):
        return sum(c["cpu_s"] for s in self.sessions for ends in s["counts"] for c in ends.values())


def load(folder, setting):
    """Everything in the folder of one setting; None where there is nothing."""
    collected = None
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if not name.startswith(setting.replace(":", "-") + ".") or not name.endswith(".npz"):
            continue
        with np.load(os.path.join(folder, name)) as file:
            seen, begins, about = file["seen"], file["begins"], json.loads(str(file["about"]))
        collected = collected or Collected(about["setting"], about["window"])
        collected.sessions.append(about)
        for began, record in zip(begins, about["visits"]):
            first, last = np.searchsorted(seen["time"], [began, began + int(about["window"] * 1e9)])
            part = seen[first:last].copy()
            part["time"] -= began
            collected.visits.append(Visit(record["class"], about["name"], part, record["measured"] or {}))
    return collected


def totals(visits):
    """Means per visit: datagrams, bytes, noise, of both directions."""
    if not visits:
        return {}
    lengths = [v.seen["length"].astype(float) for v in visits]
    return {
        "datagrams": float(np.mean([len(x) for x in lengths])),
        "bytes": float(np.mean([x.sum() for x in lengths])),
        "noise": float(np.mean([v.seen["noise"].sum() for v in visits])),
        "up": float(np.mean([(v.seen["direction"] == UP).sum() for v in visits])),
    }


def size_entropy(visits):
    """Entropy of the sizes of data datagrams, in bits."""
    sizes = np.concatenate([v.seen["length"][v.seen["kind"] == 1] for v in visits])
    _, counts = np.unique(sizes, return_counts=True)
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum()) + 0.0
