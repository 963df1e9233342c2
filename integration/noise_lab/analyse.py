"""From visits to figures: the attacks on one setting, and what the setting costs."""

import numpy as np

from . import classes, classify, dataset, features, packets
from .observer import DATA, DOWN, UP
from .settings import SETTINGS


def analyse(collected, options):
    """Everything about one setting."""
    seed, short = options.seed, options.short
    kinds = {}
    pages = collected.of(classes.PAGES)
    if short:
        kinds["all"] = collected.visits
    else:
        kinds["pages"] = pages
        kinds["kinds of traffic"] = apps(collected, pages, seed)
    attacks = {}
    for kind, visits in kinds.items():
        if len({v.name for v in visits}) > 1:
            attacks[kind] = attack_visits(visits, collected.window, options)
    setting = SETTINGS[collected.setting]
    sizes, counts = np.unique(np.concatenate([v.seen["length"][v.seen["kind"] == DATA] for v in collected.visits]),
                              return_counts=True)
    return {
        "about": setting.about,
        "filler": setting.noise.get("filler", "off"),
        "visits": len(collected.visits),
        "sessions": len(collected.sessions),
        "attacks": attacks,
        "packets": packets.area(collected.visits, seed),
        "totals": {"pages": dataset.totals(pages), "all": dataset.totals(collected.visits),
                   "per class": {n: dataset.totals(collected.of([n])) for n in sorted({v.name for v in collected.visits})}},
        "data_sizes": [int(s) for s in sizes[np.argsort(-counts)]],
        "size_entropy_bits": dataset.size_entropy(collected.visits),
        "distributions": distributions(collected.visits),
        "load_s": quantiles([v.measured["load_s"] for v in pages if "load_s" in v.measured]),
        "unloaded": share([("load_s" in v.measured) for v in pages]),
        "ping_s": quantiles(collected.pings),
        "voice_s": quantiles(collected.voice),
        "cpu_s": collected.cpu_s,
        "relay_agrees_on": sum(s["relay_agrees_on"] for s in collected.sessions),
        "drops": drops(collected.sessions),
    }


def apps(collected, pages, seed):
    """The other kinds of traffic, and as many page visits of any page as one more kind."""
    others = collected.of(classes.APPS)
    if not others or not pages:
        return others
    most = max(sum(v.name == name for v in others) for name in classes.APPS)
    dice = np.random.default_rng(seed)
    chosen = [pages[n] for n in dice.permutation(len(pages))[:most]]
    return others + [dataset.Visit(classes.WEB, v.session, v.seen, v.measured) for v in chosen]


def attack_visits(visits, window, options):
    seed, trees = options.seed, options.trees
    names, rows = features.names_and_rows(visits, window)
    labels = np.array([v.name for v in visits])
    sessions = np.array([v.session for v in visits])
    _, counts = np.unique(labels, return_counts=True)
    found = {"classes": len(counts), "chance": float(counts.max() / counts.sum()), "fewest": int(counts.min()),
             "attackers": {}}
    for name in options.attackers:
        truth, guesses, importance = classify.attack(classify.ATTACKERS[name], rows, labels, seed, trees)
        scored = classify.score(truth, guesses)
        by_family, top = classify.families(names, importance)
        found["attackers"][name] = {**scored, "families": by_family, "top": top}
    best = max(found["attackers"], key=lambda name: found["attackers"][name]["accuracy"])
    found["best"] = {"attacker": best, **{k: found["attackers"][best][k] for k in ("accuracy", "low", "high", "visits", "mi_bits")}}
    # the side figures come from half as many trees, of the attacker that is usually best
    fewer = max(50, trees // 2)
    if len(set(sessions)) >= classify.FOLDS:
        truth, guesses, _ = classify.attack(classify.extra_trees, rows, labels, seed, fewer, groups=sessions)
        found["by_session"] = classify.score(truth, guesses)
    truth, guesses, _ = classify.attack(classify.extra_trees, rows, labels, seed, fewer, permuted=True)
    found["permuted"] = classify.score(truth, guesses)
    if not options.short:
        found["growth"] = growth(rows, labels, seed, fewer)
    return found


def growth(rows, labels, seed, trees):
    """How the attack gains with the number of visits: accuracy with a half and a quarter of them."""
    dice = np.random.default_rng(seed)
    out = {}
    for part in (0.25, 0.5):
        chosen = np.concatenate([dice.permutation(np.flatnonzero(labels == c))[:max(classify.FOLDS, int(part * (labels == c).sum()))]
                                 for c in np.unique(labels)])
        truth, guesses, _ = classify.attack(classify.extra_trees, rows[chosen], labels[chosen], seed, trees)
        out[str(part)] = classify.score(truth, guesses)["accuracy"]
    return out


def quantiles(values):
    if len(values) == 0:
        return None
    values = np.asarray(values)
    return {"n": len(values), **{f"p{p}": float(np.percentile(values, p)) for p in (50, 95, 99)}}


def share(flags):
    return 1 - sum(flags) / len(flags) if flags else None


def distributions(visits):
    """Sizes, and gaps of each direction, as shares of fixed bins, for the plots."""
    lengths = np.concatenate([v.seen["length"] for v in visits])
    sizes, _ = np.histogram(lengths, np.arange(0, 1_601, 40))
    edges = np.geomspace(1e-6, 3, 40)
    out = {"sizes": (sizes / max(1, sizes.sum())).round(5).tolist(), "gaps": {}}
    for side, direction in (("up", UP), ("down", DOWN)):
        gap = np.concatenate([np.diff(v.seen["time"][v.seen["direction"] == direction]) for v in visits]) / 1e9
        found, _ = np.histogram(np.clip(gap, edges[0], edges[-1]), edges)
        out["gaps"][side] = (found / max(1, found.sum())).round(5).tolist()
    return out


def drops(sessions):
    total = {}
    for session in sessions:
        for ends in session["counts"]:
            for counted in ends.values():
                for reason, n in counted["drops"].items():
                    total[reason] = total.get(reason, 0) + n
    return total
