"""Writes down what was measured: a table, all figures, and the plots."""

import json
import os
import platform
import time

from . import plot

FIELDS = ("setting", "pages", "kinds", "MI", "AUC", "size entropy", "bytes", "datagrams", "ping p50/p99", "page p50/p95")


def line(name, result):
    """One setting in a line, for the log."""
    parts = [f"{kind} {100 * each['best']['accuracy']:.1f} % ({each['best']['attacker']}, {each['fewest']} a class)"
             for kind, each in result["attacks"].items()]
    auc = f", AUC {result['packets']['auc']:.3f}" if result["packets"] else ""
    return f"{name}: {', '.join(parts)}{auc}, {result['visits']} visits in {result['sessions']} sessions"


def over(results, name, what, group):
    base, mine = (results.get(n, {}).get("totals", {}).get(group, {}).get(what) for n in ("off", name))
    return 100 * (mine / base - 1) if base and mine else None


def table(results):
    group = "pages" if any(r["totals"]["pages"] for r in results.values()) else "all"
    heads = ("setting", "accuracy, pages %", "accuracy, kinds %", "permuted %", "MI bit", "noise/real AUC", "sizes bit",
             "bytes +%", "datagrams +%", "ping p50/p99 ms", "page p50/p95 s")
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "--:|" * (len(heads) - 1)]
    for name, result in results.items():
        pages = result["attacks"].get("pages") or result["attacks"].get("all")
        kinds = result["attacks"].get("kinds of traffic")
        cells = [name, interval(pages), interval(kinds), percent(pages, "permuted"),
                 f"{pages['best']['mi_bits']:.2f}" if pages else "",
                 f"{result['packets']['auc']:.2f}" if result["packets"] else "–",
                 f"{result['size_entropy_bits']:.2f}", signed(over(results, name, "bytes", group)),
                 signed(over(results, name, "datagrams", group)),
                 pair(result["ping_s"], ("p50", "p99"), 1e3, 1), pair(result["load_s"], ("p50", "p95"), 1, 2)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def interval(attack):
    if not attack:
        return ""
    best = attack["best"]
    return f"{100 * best['accuracy']:.1f} ({100 * best['low']:.1f}–{100 * best['high']:.1f})"


def percent(attack, which):
    return f"{100 * attack[which]['accuracy']:.1f}" if attack and attack.get(which) else ""


def signed(value):
    return "" if value is None else f"{value:+.0f}"


def pair(quantiles, which, factor, digits):
    if not quantiles:
        return ""
    return "/".join(f"{quantiles[w] * factor:.{digits}f}" for w in which)


def write(folder, plan, options, results, checked):
    os.makedirs(folder, exist_ok=True)
    about = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()), "machine": f"{os.cpu_count()} cores, Linux {platform.release()}",
        "seed": plan.seed, "settings": list(plan.settings), "visits": plan.visits, "window_s": plan.window,
        "session_visits": plan.session, "warm_up_s": plan.warm_up, "trees": options.trees,
        "controls": [{"control": name, "passed": passed, "seen": seen} for name, passed, seen in checked],
    }
    with open(os.path.join(folder, "results.json"), "w", encoding="utf-8") as out:
        json.dump({"about": about, "results": results}, out, indent=1)
        out.write("\n")
    with open(os.path.join(folder, "table.md"), "w", encoding="utf-8") as out:
        out.write(table(results) + "\n")
    for name, text in (("accuracy.svg", plot.accuracy(results)), ("sizes.svg", plot.sizes(results)),
                       ("gaps.svg", plot.gaps(results))):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as out:
            out.write(text)
