"""The attack on visits: forests that learn on defended traffic which class a visit was.

Five folds, each with a seed of its own and trained on the other four: with 100 visits a class 80 are
trained on, and each visit is tested once. The interval is Wilson's at 95 % over all tested visits.
"""

import math
import os

import numpy as np
from lab.verdict import Failure
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

FOLDS = 5
JOBS = os.cpu_count()


def forest(seed, trees):
    return RandomForestClassifier(trees, random_state=seed, n_jobs=JOBS, max_features="sqrt")


def extra_trees(seed, trees):
    return ExtraTreesClassifier(trees, random_state=seed, n_jobs=JOBS, max_features="sqrt")


ATTACKERS = {"forest": forest, "extra trees": extra_trees}


def attack(make, rows, labels, seed, trees, groups=None, permuted=False):
    """Trains and tests one attacker; returns the guesses and the mean importance of each feature."""
    dice = np.random.default_rng(seed)
    truth = dice.permutation(labels) if permuted else labels
    guesses = np.empty_like(truth)
    _, counts = np.unique(truth, return_counts=True)
    if counts.min() < FOLDS:
        raise Failure(f"a class has only {counts.min()} visits, and {FOLDS} folds need as many each")
    importance = np.zeros(rows.shape[1])
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    if groups is not None:
        splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for fold, (train, test) in enumerate(splitter.split(rows, truth, groups)):
        model = make(seed * 100 + fold, trees).fit(rows[train], truth[train])
        guesses[test] = model.predict(rows[test])
        importance += getattr(model, "feature_importances_", importance * 0) / FOLDS
    return truth, guesses, importance


def score(truth, guesses):
    """Accuracy with its interval, and the mutual information of class and guess, in bits."""
    right = int(np.count_nonzero(truth == guesses))
    low, high = wilson(right, len(truth))
    return {"accuracy": right / len(truth), "low": low, "high": high, "visits": len(truth),
            "mi_bits": information(truth, guesses)}


def wilson(right, n, z=1.96):
    if n == 0:
        return 0.0, 1.0
    share = right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return middle - half, middle + half


def information(truth, guesses, shuffles=20):
    """I(class; guess) less what shuffled guesses give, which corrects for the number of visits."""
    dice = np.random.default_rng(1)
    raw = plain_information(truth, guesses)
    base = np.mean([plain_information(truth, dice.permutation(guesses)) for _ in range(shuffles)])
    return max(0.0, float(raw - base))


def plain_information(truth, guesses):
    _, a = np.unique(truth, return_inverse=True)
    _, b = np.unique(guesses, return_inverse=True)
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1)
    joint /= joint.sum()
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    some = joint > 0
    return float((joint[some] * np.log2(joint[some] / apart[some])).sum())


def families(names, importance):
    """How much each family of features counted, and the ten features that counted most."""
    total = importance.sum() or 1.0
    by_family = {}
    for name, value in zip(names, importance):
        family = " ".join(name.split()[:2])
        by_family[family] = by_family.get(family, 0) + value / total
    top = sorted(zip(names, importance / total), key=lambda pair: -pair[1])[:12]
    rounded = {f: round(float(v), 4) for f, v in sorted(by_family.items(), key=lambda pair: -pair[1])}
    return rounded, [(name, round(float(value), 4)) for name, value in top]
