"""The plots, as SVG written by hand: accuracy against overhead, sizes and gaps before and after."""

import math
from html import escape

INK, PALE, GRID = "#222", "#777", "#ddd"
COLOURS = ("#1b6ca8", "#c8553d", "#3c8d40", "#8a4fa3", "#b8860b", "#2a9d8f", "#d1495b", "#5c677d", "#6a994e", "#9c6644", "#7b2d26")
GAP_RANGE = (1e-6, 3)


def document(width, height, body, title):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'font-family="sans-serif" font-size="11" fill="{INK}"><title>{escape(title)}</title>'
            f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(body) + "\n</svg>\n")


def text(x, y, words, anchor="middle", colour=INK, size=11):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">{escape(str(words))}</text>'


def line(x1, y1, x2, y2, colour=GRID, width=1.0, dash=""):
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"{dashed}/>'


def bars(x, y, width, height, shares, colour):
    """A histogram in a box, each share drawn to the height of the largest."""
    top = max(shares) or 1
    step = width / len(shares)
    return [f'<rect x="{x + n * step:.1f}" y="{y + height * (1 - share / top):.1f}" width="{max(0.8, step - 0.6):.1f}" '
            f'height="{height * share / top:.1f}" fill="{colour}"/>' for n, share in enumerate(shares) if share > 0]


def accuracy(results):
    """Accuracy of the best attacker against the bytes added, each setting a point with its interval."""
    base = results.get("off")
    group = "pages" if base and base["totals"]["pages"] else "all"
    points = []
    for name, result in results.items():
        attack = result["attacks"].get("pages") or result["attacks"].get("all")
        if attack and base and result["totals"][group]:
            over = 100 * (result["totals"][group]["bytes"] / base["totals"][group]["bytes"] - 1)
            points.append((name, max(0.0, over), attack))
    width, height, left, right, top, bottom = 680, 400, 60, 120, 30, 50
    if not points:
        return document(width, height, [text(width / 2, height / 2, "without the setting off there is no overhead to show")], "accuracy")
    most = max(over for _, over, _ in points) or 1

    def x(over):
        # logarithmic above 10 %, so that small and large overheads both can be read
        return left + (width - left - right) * math.log10(1 + over / 10) / math.log10(1 + most / 10)

    def y(share):
        return top + (height - top - bottom) * (1 - share)
    body = [text(width / 2, 18, "Accuracy of the best attacker against overhead", size=13)]
    for share in (0, 0.25, 0.5, 0.75, 1):
        body += [line(left, y(share), width - right, y(share)), text(left - 6, y(share) + 4, f"{100 * share:.0f} %", "end")]
    for over in (0, 10, 30, 100, 300, 1_000, 3_000, 10_000):
        if over <= most:
            body += [line(x(over), y(0), x(over), y(0) + 4, PALE), text(x(over), y(0) + 17, f"+{over} %")]
    chance = points[0][2]["chance"]
    body += [line(left, y(chance), width - right, y(chance), PALE, 1, "4 3"), text(width - right + 4, y(chance) + 4, "chance", "start", PALE),
             text((left + width - right) / 2, height - 12, "bytes on the wire, more than without noise")]
    placed = []
    for n, (name, over, attack) in enumerate(points):
        best, colour = attack["best"], COLOURS[n % len(COLOURS)]
        at = y(best["accuracy"])
        body += [line(x(over), y(best["low"]), x(over), y(best["high"]), colour, 1.5),
                 f'<circle cx="{x(over):.1f}" cy="{at:.1f}" r="4" fill="{colour}"/>']
        label = at + 4
        while any(abs(label - other) < 12 and abs(x(over) - where) < 90 for other, where in placed):
            label += 12
        placed.append((label, x(over)))
        body.append(text(x(over) + 8, label, name, "start", colour))
    return document(width, height, body, "accuracy against overhead")


def sizes(results):
    return panels(results, "Sizes of datagrams, bytes of IP", lambda d: [("", d["sizes"])],
                  [(share, f"{1_600 * share:.0f}") for share in (0, 0.25, 0.5, 0.75, 1)])


def gaps(results):
    low, high = (math.log10(g) for g in GAP_RANGE)
    ticks = [((math.log10(g) - low) / (high - low), word) for g, word in
             ((1e-6, "1 µs"), (1e-5, "10 µs"), (1e-4, "100 µs"), (1e-3, "1 ms"), (1e-2, "10 ms"), (1e-1, "100 ms"), (1, "1 s"))]
    return panels(results, "Gaps between datagrams of a direction", lambda d: [("up", d["gaps"]["up"]), ("down", d["gaps"]["down"])], ticks)


def panels(results, title, rows_of, ticks):
    """A row of histograms for each setting."""
    left, width, each, gap = 100, 260, 46, 26
    columns = len(rows_of(next(iter(results.values()))["distributions"]))
    whole = left + columns * (width + 30)
    body = [text(whole / 2, 18, title, size=13)]
    y = 46
    for n, (name, result) in enumerate(results.items()):
        body.append(text(left - 10, y + each / 2 + 4, name, "end"))
        for column, (word, shares) in enumerate(rows_of(result["distributions"])):
            x = left + column * (width + 30)
            if n == 0 and word:
                body.append(text(x + width / 2, 36, word))
            body += bars(x, y, width, each, shares, COLOURS[n % len(COLOURS)])
            body.append(line(x, y + each, x + width, y + each, PALE))
            for share, label in ticks:
                body.append(line(x + share * width, y + each, x + share * width, y + each + 3, PALE))
                if n == len(results) - 1:
                    body.append(text(x + share * width, y + each + 14, label, size=9))
        y += each + gap
    return document(whole, y + 10, body, title)
