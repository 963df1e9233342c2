"""Plots as plain SVG that can be read on light and on dark pages."""

from html import escape

# tones that stand out on white and on black alike, since a page's scheme is not the viewer's; shapes
# and numbers carry the meaning, not the colours
STYLE = """<style>
text { font: 11px sans-serif; fill: #6e7781 } .t { font-weight: bold }
.own { fill: #3b82c4 } .other { fill: #8c959f } .axis { stroke: #8c959f; fill: none }
.l0 { stroke: #3b82c4 } .l1 { stroke: #c4701f } .l2 { stroke: #4f9a3c }
.line { fill: none; stroke-width: 2 } .dot { fill: #8c959f }
</style>"""
# title, measure and value, format, what is better
PANELS = (
    ("one TCP flow, Gbit/s", "tcp_up.gbps", "{:.2f}", "more"),
    ("daemon CPU seconds per GB", "tcp_up.cpu_s_per_gb", "{:.2f}", "less"),
    ("UDP of 1,400 bytes, Gbit/s", "udp_1400.gbps", "{:.2f}", "more"),
    ("ping p50 under TCP, µs", "ping_load.p50_us", "{:.0f}", "less"),
)
LEFT, WIDTH, GAP, BAR = 150, 260, 50, 17


def svg(width, height, parts):
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
                      f'height="{height}" role="img">', STYLE, *parts, "</svg>", ""])


def text(x, y, words, kind="", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def bars(summary, about):
    """A panel of bars for each figure that was measured, two beside each other."""
    panels = [p for p in PANELS if any(p[1] in cells for cells in summary.values())]
    names = [n for n, cells in summary.items() if n != "veth" and any(p[1] in cells for p in panels)]
    block = 34 + BAR * len(names)
    rows = -(-len(panels) // 2)
    columns = min(2, len(panels))
    out = []
    for number, (title, key, form, better) in enumerate(panels):
        start, top = LEFT + number % 2 * (WIDTH + GAP), number // 2 * block
        found = {name: summary[name][key]["median"] for name in names if key in summary[name]}
        most = max(found.values(), default=1) or 1
        out.append(f'<text x="{start}" y="{top + 18}"><tspan class="t">{escape(title)}</tspan>'
                   f'<tspan dx="8">{better} is better</tspan></text>')
        for line, name in enumerate(names):
            y = top + 28 + line * BAR
            if number % 2 == 0:
                out.append(text(LEFT - 8, y + 11, name, "", "end"))
            if name not in found:
                out.append(text(start, y + 11, "–"))
                continue
            length = max(1, found[name] / most * (WIDTH - 40))
            kind = "own" if name.startswith("stadium") else "other"
            out.append(f'<rect x="{start}" y="{y}" width="{length:.1f}" height="{BAR - 4}" class="{kind}"/>')
            out.append(text(start + length + 4, y + 11, form.format(found[name])))
    width = LEFT + columns * (WIDTH + GAP)
    return svg(width, rows * block + 22, [*out, text(8, rows * block + 12, about)])


def lines(table, peers, flows, about):
    """Throughput and processor time over the number of peers, a line for each number of flows."""
    height, out = 150, []
    for number, (title, value, form) in enumerate((("Gbit/s", "gbps", "{:.2f}"), ("daemon CPU seconds per GB", "cpu_s_per_gb", "{:.2f}"))):
        start = 60 + number * (WIDTH + GAP + 40)
        known = [cell[value] for cell in table.values() if cell.get(value)]
        most = max(known, default=1) or 1
        x = lambda at, start=start: start + 15 + at * (WIDTH - 30) / max(1, len(peers) - 1)
        y = lambda found, most=most: 30 + height - found / most * height
        out.append(text(start, 18, title, "t"))
        out.append(f'<path class="axis" d="M{start} 30 V{30 + height} H{start + WIDTH}"/>')
        out.append(text(start - 5, 34, form.format(most), "", "end"))
        out.append(text(start - 5, 30 + height, "0", "", "end"))
        for at, count in enumerate(peers):
            out.append(text(x(at), 45 + height, f"{count:,}", "", "middle"))
        out.append(text(start + WIDTH / 2, 61 + height, "configured peers", "", "middle"))
        ends = []
        for index, flow in enumerate(flows):
            points = [(x(at), y(table[count, flow][value])) for at, count in enumerate(peers)
                      if table.get((count, flow), {}).get(value)]
            path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
            out.append(f'<polyline class="line l{index % 3}" points="{path}"/>')
            out.extend(f'<circle class="dot" cx="{px:.1f}" cy="{py:.1f}" r="2.5"/>' for px, py in points)
            if points:
                ends.append((points[-1][1], f"{flow} flow{'s' if flow > 1 else ''}"))
        below = 0
        for py, words in sorted(ends):
            below = max(py + 4, below + 13)
            out.append(text(start + WIDTH - 8, below, words))
    return svg(60 + 2 * (WIDTH + GAP + 40), height + 90, [*out, text(8, height + 82, about)])
