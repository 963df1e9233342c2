"""What the forests look at: a visit as a row of numbers, each with a name.

Families, by the first word of a name: `count` and `bytes` per direction, `size` histograms, `gap`
percentiles and histograms (also fine ones around the usual gap), `time` (counts per 100 ms, all and small
ones, and the same sorted), `curve` (cumulated), `burst`, `order` (the first packets), `rhythm` (energy by
frequency).
"""

import numpy as np

from .observer import DOWN, UP

STEP = 100_000_000
SMALL = 400
SIZES = np.arange(0, 1_601, 64)
GAPS = np.concatenate([[0], np.geomspace(2e-6, 2, 25), [60]])
FINE = np.arange(-500, 501, 25) * 1e-6
PERCENTILES = (5, 10, 25, 40, 50, 60, 75, 90, 95, 99)
BURSTS = (25, 50, 75, 90, 100)
FIRST = 24
CURVE = 40
PAUSE = 0.02


def names_and_rows(visits, window):
    """The names of the features, and an array with a row for each visit, which is worked out only once."""
    for visit in visits:
        if visit.row is None:
            named = row(visit.seen, window)
            visit.row = np.array(list(named.values()), dtype=np.float32)
    return list(row(visits[0].seen, window)), np.stack([v.row for v in visits])


def row(seen, window):
    time, length, direction = seen["time"] / 1e9, seen["length"].astype(float), seen["direction"]
    sides = {"all": np.ones(len(seen), bool), "up": direction == UP, "down": direction == DOWN}
    out = {}
    for side, mask in sides.items():
        counts(out, side, time[mask], length[mask])
        gaps(out, side, time[mask])
        over_time(out, side, time[mask], length[mask], window)
    order(out, time, direction, length, sides)
    bursts(out, time, direction, length)
    curve(out, direction, length)
    return out


def counts(out, side, time, length):
    out[f"count {side}"] = len(length)
    out[f"bytes {side}"] = length.sum()
    for edge, n in zip(SIZES, histogram(np.sort(length), SIZES)):
        out[f"size {side} {edge}"] = n
    _, each = np.unique(length, return_counts=True)
    share = each / max(1, each.sum())
    out[f"size {side} kinds"] = len(each)
    out[f"size {side} entropy"] = -(share * np.log2(share)).sum() if len(each) else 0
    out[f"time {side} first"] = time[0] if len(time) else -1
    out[f"time {side} last"] = time[-1] if len(time) else -1


def gaps(out, side, time):
    gap = np.sort(np.diff(time)) if len(time) > 1 else np.array([0.0])
    for p, value in zip(PERCENTILES, quantiles(gap, PERCENTILES)):
        out[f"gap {side} p{p}"] = value
    for edge, n in zip(GAPS, histogram(gap, GAPS)):
        out[f"gap {side} over {edge:.1e}"] = n / len(gap)
    middle = gap[len(gap) // 2]
    for edge, n in zip(FINE, histogram(gap, middle + FINE)):
        out[f"gap {side} usual{edge * 1e6:+.0f}"] = n / len(gap)
    out[f"gap {side} deviation"] = gap.std()


def histogram(ordered, edges):
    """How many of the sorted values lie from each edge to the next."""
    return np.diff(np.searchsorted(ordered, edges))


def quantiles(ordered, percentiles):
    """The sorted values at these percentiles, without interpolation."""
    return ordered[(np.array(percentiles) * (len(ordered) - 1) / 100).astype(int)]


def over_time(out, side, time, length, window):
    edges = np.arange(0, window * 1e9 + 1, STEP) / 1e9
    per_step = histogram(time, edges)
    for edge, n in zip(edges, per_step):
        out[f"time {side} {edge:.1f}"] = n
    for rank, n in enumerate(np.sort(per_step)[::-1][:15]):
        out[f"time {side} rank{rank}"] = n
    if side != "all":
        for edge, n in zip(edges, histogram(time[length < SMALL], edges)):
            out[f"time {side} small {edge:.1f}"] = n
    fine = histogram(time, np.arange(0, window, 0.005))
    energy = np.abs(np.fft.rfft(fine - fine.mean())) ** 2
    for band, part in enumerate(np.array_split(energy, 24)):
        out[f"rhythm {side} {band}"] = np.log1p(part.sum())
    busy = np.flatnonzero(per_step > 0)
    out[f"time {side} busy"] = len(busy)
    out[f"time {side} spread"] = per_step.std()


def order(out, time, direction, length, sides):
    signed = direction * length
    for n in range(FIRST):
        out[f"order signed {n}"] = signed[n] if n < len(signed) else 0
    for side in ("up", "down"):
        at = time[sides[side]]
        for n in (1, 2, 4, 8, 16, 32, 64, 128):
            out[f"order {side} time {n}"] = at[n] - at[0] if n < len(at) else -1
    changes = np.count_nonzero(np.diff(direction))
    out["order changes"] = changes
    out["order up after down"] = np.mean(direction[1:][direction[:-1] == DOWN] == UP) if changes else 0


def bursts(out, time, direction, length):
    """Runs of one direction, and runs without a pause."""
    cuts = {"direction": np.flatnonzero(np.diff(direction)) + 1,
            "pause": np.flatnonzero(np.diff(time) > PAUSE) + 1}
    for what, at in cuts.items():
        edges = np.concatenate([[0], at, [len(time)]])
        sizes = np.diff(edges) if len(time) else np.array([0])
        out[f"burst {what} number"] = len(sizes)
        ordered = np.sort(sizes)
        for p, value in zip(BURSTS, quantiles(ordered, BURSTS)):
            out[f"burst {what} p{p}"] = value
        largest = ordered[::-1]
        for rank in range(6):
            out[f"burst {what} rank{rank}"] = largest[rank] if rank < len(largest) else 0
        for least in (3, 6, 12, 25, 50):
            out[f"burst {what} of {least}"] = np.count_nonzero(sizes >= least)
    edges = np.concatenate([[0], cuts["pause"], [len(time)]])
    for n in range(10):
        inside = slice(edges[n], edges[n + 1]) if n + 1 < len(edges) else slice(0, 0)
        out[f"burst pause bytes {n}"] = length[inside].sum()


def curve(out, direction, length):
    for what, values in (("bytes", direction * length), ("packets", direction.astype(float))):
        total = np.concatenate([[0], np.cumsum(values)])
        at = np.linspace(0, len(total) - 1, CURVE)
        for n, value in enumerate(np.interp(at, np.arange(len(total)), total)):
            out[f"curve {what} {n}"] = value
