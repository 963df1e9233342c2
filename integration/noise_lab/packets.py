"""The attack on packets: can noise be told from real datagrams by what is around them?

Each datagram is described by its size, direction, gaps, and sizes, directions and gaps of the eight on
each side. The area under the curve is that of sessions that were not trained on.
"""

import os

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

AROUND = 8
MOST = 60_000
JOBS = os.cpu_count()


def describe(seen):
    """A row for each datagram of a visit, and whether it is noise; handshakes are left out."""
    seen = seen[seen["kind"] == 1]
    if len(seen) <= 2 * AROUND:
        return None
    time, direction = seen["time"] / 1e9, seen["direction"].astype(float)
    columns = [seen["length"].astype(float), direction]
    gap = np.diff(time, prepend=np.nan)
    for shift in range(-AROUND, AROUND + 1):
        columns.append(shifted(np.log10(np.maximum(gap, 1e-7)), shift))
        if shift:
            columns.append(shifted(direction, shift))
            columns.append(shifted(seen["length"].astype(float), shift))
    columns += same_direction(time, direction)
    # where in a burst of packets without a pause it stands
    edges = np.concatenate([[0], np.flatnonzero(np.diff(time) > 0.0006) + 1, [len(time)]])
    sizes = np.diff(edges)
    columns.append(np.arange(len(time)) - np.repeat(edges[:-1], sizes))
    columns.append(np.repeat(sizes, sizes))
    return np.array(columns, dtype=np.float32).T, seen["noise"].astype(int)


def shifted(values, by):
    out = np.full(len(values), np.nan)
    if by == 0:
        return values
    if by > 0:
        out[:-by] = values[by:]
    else:
        out[-by:] = values[:by]
    return out


def same_direction(time, direction):
    before, after = np.full(len(time), np.nan), np.full(len(time), np.nan)
    for side in (-1, 1):
        at = np.flatnonzero(direction == side)
        gap = np.log10(np.maximum(np.diff(time[at]), 1e-7))
        before[at[1:]] = gap
        after[at[:-1]] = gap
    return [before, after]


def area(visits, seed):
    """The best area of two attackers; None where there is no noise to tell."""
    dice = np.random.default_rng(seed)
    sessions = np.array(sorted({v.session for v in visits}))
    dice.shuffle(sessions)
    test = set(sessions[:max(1, len(sessions) // 4)]) if len(sessions) > 1 else None
    parts = {True: [], False: []}
    for number, visit in enumerate(visits):
        described = describe(visit.seen)
        if described:
            parts[visit.session in test if test else number % 4 == 0].append(described)
    (train_x, train_y), (test_x, test_y) = (draw(parts[which], dice) for which in (False, True))
    if min(train_y.sum(), test_y.sum()) < 50 or min((1 - train_y).sum(), (1 - test_y).sum()) < 50:
        return None
    boosting = HistGradientBoostingClassifier(max_iter=150, random_state=seed)
    trees = ExtraTreesClassifier(100, min_samples_leaf=5, max_samples=0.5, bootstrap=True, random_state=seed, n_jobs=JOBS)
    areas = {}
    for name, model in (("boosting", boosting), ("extra trees", trees)):
        fill = (lambda x: x) if name == "boosting" else (lambda x: np.nan_to_num(x, nan=-9))
        model.fit(fill(train_x), train_y)
        areas[name] = float(roc_auc_score(test_y, model.predict_proba(fill(test_x))[:, 1]))
    return {"auc": max(areas.values()), "each": areas, "packets": int(len(test_y)),
            "noise_share": float(test_y.mean())}


def draw(parts, dice):
    if not parts:
        return np.zeros((0, 1)), np.zeros(0, int)
    rows, labels = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    if len(labels) > MOST:
        chosen = dice.choice(len(labels), MOST, replace=False)
        rows, labels = rows[chosen], labels[chosen]
    return rows, labels
