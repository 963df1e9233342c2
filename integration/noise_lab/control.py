"""Whether the laboratory itself works: what must be seen is seen, and what is not there is not.

A control that fails makes the whole run fail, as its figures would mean nothing.
"""

from .classify import wilson

# noise.md section 5: with less than this the pages are too hard to tell, and hiding them proves nothing
OFF_AT_LEAST = 0.95


def controls(results):
    """(name, passed, what was seen) of each control that the results allow."""
    found = []
    for name, result in results.items():
        for kind, each in result["attacks"].items():
            permuted = each["permuted"]
            if permuted:
                # 99.9 %: there are many such controls, and none should fail by chance
                low, _ = wilson(round(permuted["accuracy"] * permuted["visits"]), permuted["visits"], 3.29)
                inside = low <= each["chance"] + 0.01
                found.append((f"permuted labels near chance: {name}, {kind}", inside,
                              f"{permuted['accuracy']:.3f} ({permuted['low']:.3f} to {permuted['high']:.3f}), chance {each['chance']:.3f}"))
    if "off" in results:
        for kind, each in results["off"]["attacks"].items():
            best = each["best"]
            found.append((f"off is told apart: {kind}", best["accuracy"] >= OFF_AT_LEAST,
                          f"{best['accuracy']:.3f}, at least {OFF_AT_LEAST}"))
    for name, result in results.items():
        if result["filler"] == "full":
            sizes = result["data_sizes"]
            found.append((f"filler full is one size: {name}", len(sizes) == 1, f"sizes {sizes[:6]}"))
    found += leaks(results)
    return found


def leaks(results):
    found = []
    if "leaky-late" in results:
        leaky = results["leaky-late"]
        auc = (leaky["packets"] or {}).get("auc", 0)
        seen = {kind: each["best"]["low"] - each["chance"] for kind, each in leaky["attacks"].items()}
        caught = auc >= 0.65 or any(over >= 0.10 for over in seen.values())
        said = f"packets told apart with AUC {auc:.3f}, visits with " + ", ".join(
            f"{each['best']['accuracy']:.3f} ({kind})" for kind, each in leaky["attacks"].items())
        found.append(("the leak of 200 µs in the constant schedule is caught", caught, said))
        sound = results.get("constant")
        if sound and sound["packets"]:
            found.append(("the sound constant schedule is not taken for a leaky one",
                          sound["packets"]["auc"] < min(0.6, auc), f"AUC {sound['packets']['auc']:.3f} against {auc:.3f}"))
    if "leaky-after" in results and "4:1" in results:
        for kind, each in results["leaky-after"]["attacks"].items():
            sound = results["4:1"]["attacks"].get(kind)
            if sound:
                found.append((f"noise sent along with real packets is caught: {kind}",
                              each["best"]["accuracy"] > sound["best"]["high"],
                              f"{each['best']['accuracy']:.3f} against {sound['best']['accuracy']:.3f} of 4:1"))
    return found
