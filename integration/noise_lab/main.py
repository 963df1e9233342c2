"""The command line of the noise laboratory; `scripts/noise-lab` starts it with what it needs."""

import argparse
import json
import os
import sys
import tempfile
import time

from lab.verdict import Failure

from . import analyse, classes, classify, collect, control, dataset, report, speed
from .settings import SETTINGS, SHORT, USUAL

SHORT_VISITS = 12
SHORT_TREES = 100


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/noise-lab", description=(
        "Measures what an observer of the wire learns from a tunnel with noise: collects visits through real "
        "tunnels in namespaces, and trains classifiers on what was recorded. Fails where a control fails."))
    parser.add_argument("--short", action="store_true", help="few classes and visits, controls only, about a minute")
    parser.add_argument("--bulk", action="store_true", help="measure goodput and delay instead, over a limited line")
    parser.add_argument("--line", default="40mbit", help="with --bulk: the rate of the limited line (default 40mbit)")
    parser.add_argument("--seconds", type=int, default=10, help="with --bulk: of each transfer (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="with --bulk: of each setting, in turns (default 3)")
    parser.add_argument("--settings", default="", help=f"by comma, of {', '.join(SETTINGS)} (default {','.join(USUAL)})")
    parser.add_argument("--visits", type=int, default=100, help="of each class and setting (default 100)")
    parser.add_argument("--seed", type=int, default=1, help="of pages, visits, order and attackers (default 1)")
    parser.add_argument("--window", type=float, default=2.6, help="seconds that are observed of a visit")
    parser.add_argument("--session", type=int, default=45, help="visits of a session, with the same connection")
    parser.add_argument("--warm-up", type=float, default=40, help="seconds of browsing before a session's visits")
    parser.add_argument("--tunnels", type=int, default=0, help="at once (default: eight for each core)")
    parser.add_argument("--minutes", type=float, default=600, help="begin no session after so long")
    parser.add_argument("--trees", type=int, default=200, help="of each forest")
    parser.add_argument("--attackers", default="", help=f"by comma, of {', '.join(classify.ATTACKERS)} (default: all; one in the short form)")
    parser.add_argument("--data", help="folder of the visits (default: a new one, removed at the end)")
    parser.add_argument("--resume", action="store_true", help="go on with what --data holds already")
    parser.add_argument("--analyse-only", action="store_true", help="collect nothing")
    parser.add_argument("--out", help="folder for the table, the figures and the plots")
    parser.add_argument("--stadium", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--relay", required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def plan_of(options):
    chosen = [s for s in options.settings.split(",") if s] or (SHORT if options.short else USUAL)
    unknown = [s for s in chosen if s not in SETTINGS]
    if unknown:
        sys.exit(f"noise-lab: no setting called {', '.join(unknown)}; there are {', '.join(SETTINGS)}")
    if options.short:
        visits = dict.fromkeys(classes.SHORT, SHORT_VISITS)
        return collect.Plan(options.seed, tuple(chosen), visits, 1.8, 18, 3.0, True)
    if options.visits < classify.FOLDS:
        sys.exit(f"noise-lab: --visits {options.visits} is too few: {classify.FOLDS} folds need one of each class each")
    visits = dict.fromkeys(classes.PAGES + classes.APPS, options.visits)
    return collect.Plan(options.seed, tuple(chosen), visits, options.window, options.session, options.warm_up)


def main():
    options = arguments()
    if options.bulk:
        return bulk(options)
    plan = plan_of(options)
    options.attackers = [a for a in options.attackers.split(",") if a] or list(classify.ATTACKERS)[:1 if options.short else None]
    if set(options.attackers) - set(classify.ATTACKERS):
        sys.exit(f"noise-lab: --attackers knows {', '.join(classify.ATTACKERS)} only")
    if options.short:
        options.trees = min(options.trees, SHORT_TREES)
    if options.data and os.path.isdir(options.data) and os.listdir(options.data) and not (options.resume or options.analyse_only):
        sys.exit(f"noise-lab: {options.data} holds visits already: give --resume to go on with them, or another folder")
    with tempfile.TemporaryDirectory(prefix="stadium-noise-lab-") as scratch:
        folder = options.data or scratch
        if not options.analyse_only:
            gather(options, plan, folder)
        return judge(options, plan, folder)


def bulk(options):
    found = speed.measure(options.stadium, f"noise-bulk{os.getpid()}", options.line, options.seconds, options.rounds, say)
    verdicts = speed.verdicts(found)
    for name, reached, seen in verdicts:
        say(f"{'ok  ' if reached else 'MISS'} {name}: {seen}")
    if options.out:
        os.makedirs(options.out, exist_ok=True)
        with open(os.path.join(options.out, "bulk.json"), "w", encoding="utf-8") as file:
            json.dump({"line": options.line, "seconds": options.seconds, "rounds": options.rounds, **found}, file, indent=1)
            file.write("\n")
    return 0 if all(reached for _, reached, _ in verdicts) else 1


def gather(options, plan, folder):
    tunnels = options.tunnels or 8 * os.cpu_count()
    sessions = plan.sessions()
    seconds = sum(plan.warm_up + len(v) * (plan.window + collect.PAUSE) + 4 for _, _, v in sessions) / tunnels
    say(f"{len(sessions)} sessions of {len(plan.settings)} settings, {tunnels} at once: about {seconds / 60:.0f} minutes")
    began = time.time()
    failed = collect.collect(plan, folder, (options.stadium, options.relay), tunnels, began + options.minutes * 60, say)
    say(f"collected in {(time.time() - began) / 60:.1f} minutes, {failed} sessions failed")


def judge(options, plan, folder):
    results = {}
    if not options.short:
        # the collection had normal priority, as it must be on time; this need not be
        os.nice(10)
    for name in plan.settings:
        collected = dataset.load(folder, name)
        if collected is None:
            say(f"{name}: no visits")
            continue
        results[name] = once(options, folder, collected)
        say(report.line(name, results[name]))
    if not results:
        sys.exit("noise-lab: nothing was collected")
    checked = control.controls(results)
    for name, passed, seen in checked:
        say(f"{'ok  ' if passed else 'FAIL'} {name}: {seen}")
    if options.out:
        report.write(options.out, plan, options, results, checked)
        say(f"written to {options.out}")
    missing = [name for name in plan.settings if name not in results]
    failed = [name for name, passed, _ in checked if not passed]
    if failed or missing or not checked:
        print(f"noise-lab: {len(failed)} of {len(checked)} controls failed"
              + (f"; nothing of {', '.join(missing)}" if missing else ""), file=sys.stderr)
        return 1
    return 0


def once(options, folder, collected):
    """The analysis of a setting, kept beside its visits: with the same visits and options it is not done again."""
    key = [len(collected.visits), options.seed, options.trees, options.short, options.attackers]
    path = os.path.join(folder, f"analysis.{collected.setting.replace(':', '-')}.json")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            kept = json.load(file)
        if kept["key"] == key:
            return kept["result"]
    # plain JSON types, the same whether kept or fresh
    result = json.loads(json.dumps(analyse.analyse(collected, options)))
    with open(path + ".part", "w", encoding="utf-8") as out:
        json.dump({"key": key, "result": result}, out)
    os.replace(path + ".part", path)
    return result


def entry():
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(f"noise-lab: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)

