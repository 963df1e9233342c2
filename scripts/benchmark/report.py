"""Medians of rounds, and tables of them in Markdown."""

import statistics

# title, measure, value, format
COLUMNS = (
    ("TCP out, Gbit/s", "tcp_up", "gbps", "{:.2f}"),
    ("TCP back, Gbit/s", "tcp_down", "gbps", "{:.2f}"),
    ("4 flows, Gbit/s", "tcp_4", "gbps", "{:.2f}"),
    ("64 flows, Gbit/s", "tcp_64", "gbps", "{:.2f}"),
    ("CPU s per GB", "tcp_up", "cpu_s_per_gb", "{:.2f}"),
    ("UDP 1,400 B, Gbit/s", "udp_1400", "gbps", "{:.2f}"),
    ("UDP 100 B, kpps", "udp_100", "kpps", "{:.0f}"),
    ("idle ping p50, µs", "ping_idle", "p50_us", "{:.0f}"),
    ("ping p50 under TCP, µs", "ping_load", "p50_us", "{:.0f}"),
    ("1,400 B at maximum, of peak", "sweep_1400", "of_peak", "{:.2f}"),
    ("100 B at maximum, of peak", "sweep_100", "of_peak", "{:.2f}"),
)
BASE = "forwarder"


def values(rounds, measure, key):
    return [r[measure].get(key) if measure in r else None for r in rounds]


def median(found):
    found = [value for value in found if value is not None]
    return statistics.median(found) if found else None


def ratio(rounds, base, measure, key):
    """The median of the ratios to the forwarder, round by round: both had the same disturbance."""
    pairs = zip(values(rounds, measure, key), values(base, measure, key))
    return median([own / other for own, other in pairs if own is not None and other])


def summarise(results):
    base = results.get(BASE, {}).get("rounds", [])
    summary = {}
    for name, result in results.items():
        cells = {}
        for _, measure, key, _ in COLUMNS:
            value = median(values(result["rounds"], measure, key))
            if value is not None:
                cells[f"{measure}.{key}"] = {
                    "median": value, "of_forwarder": ratio(result["rounds"], base, measure, key)}
        cells["peak_resident_mib"] = result.get("peak_resident_mib")
        summary[name] = cells
    return summary


def table(summary):
    used = [c for c in COLUMNS if any(f"{c[1]}.{c[2]}" in cells for cells in summary.values())]
    lines = ["| | " + " | ".join(c[0] for c in used) + " | RSS, MiB |", "|---" * (len(used) + 2) + "|"]
    for name, cells in summary.items():
        if len(cells) == 1:
            # it was not measured
            continue
        row = [name]
        for _, measure, key, form in used:
            cell = cells.get(f"{measure}.{key}")
            if cell is None:
                row.append("–")
                continue
            part = cell["of_forwarder"]
            compared = f" ({part:.2f}×)" if part is not None and name != BASE and measure[:5] != "sweep" else ""
            row.append(form.format(cell["median"]) + compared)
        resident = cells["peak_resident_mib"]
        row.append(f"{resident:.1f}" if resident else "–")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


# number of flows, measure
FLOWS = ((1, "tcp_up"), (4, "tcp_4"), (64, "tcp_64"))


def growth(results, counts):
    """Throughput and processor time by number of peers and of flows; `counts` are peers by name."""
    found = {}
    for name, peers in counts.items():
        for flows, measure in FLOWS:
            rounds = results.get(name, {}).get("rounds", [])
            cell = {key: median(values(rounds, measure, key)) for key in ("gbps", "cpu_s_per_gb")}
            if cell["gbps"] is not None:
                found[peers, flows] = cell
    return found


def growth_table(found, peers):
    head = "".join(f" {flows} flow{'s' if flows > 1 else ''}, Gbit/s | CPU s per GB |" for flows, _ in FLOWS)
    lines = [f"| configured peers |{head}", "|---" * (1 + 2 * len(FLOWS)) + "|"]
    for count in peers:
        cells = [found.get((count, flows), {}) for flows, _ in FLOWS]
        shown = [f"{cell[key]:.2f}" if cell.get(key) is not None else "–" for cell in cells for key in ("gbps", "cpu_s_per_gb")]
        lines.append(f"| {count:,} | " + " | ".join(shown) + " |")
    return "\n".join(lines)
