"""Medians of rounds, as a Markdown table and as a plot."""

import statistics
from html import escape

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


def plot(summary):
    """Bars of one TCP flow and of processor time, as SVG."""
    panels = (("one TCP flow, Gbit/s", "tcp_up.gbps"), ("daemon CPU seconds per GB", "tcp_up.cpu_s_per_gb"))
    bar, left, width, gap = 18, 150, 260, 60
    names = [name for name, cells in summary.items() if name != "veth" and any(key in cells for _, key in panels)]
    height = 40 + bar * len(names)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + 2 * (width + gap)}" height="{height}" '
           'font-family="sans-serif" font-size="11">', '<rect width="100%" height="100%" fill="#fff"/>']
    for number, (title, key) in enumerate(panels):
        start = left + number * (width + gap)
        found = {name: summary[name][key]["median"] for name in names if key in summary[name]}
        most = max(found.values(), default=1) or 1
        out.append(f'<text x="{start}" y="18" font-weight="bold">{escape(title)}</text>')
        for line, name in enumerate(names):
            y = 30 + line * bar
            if number == 0:
                out.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>')
            if name in found:
                length = found[name] / most * width
                colour = "#2563a8" if name.startswith("stadium") else "#9aa4ae"
                out.append(f'<rect x="{start}" y="{y}" width="{length:.1f}" height="{bar - 4}" fill="{colour}"/>')
                out.append(f'<text x="{start + length + 4:.1f}" y="{y + 12}">{found[name]:.2f}</text>')
    return "\n".join([*out, "</svg>", ""])
