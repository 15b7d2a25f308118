"""Plots samples as one SVG page of small line plots over time, without a plotting library."""

import html
import math

from system import ROLES

COLOURS = ("#1f5fa8", "#c2571a", "#2d7f3e", "#8c3a8c", "#7a6a00", "#444444")
WIDTH, HEIGHT = 460, 190        # of one plot, including its margins
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 40, 22
COLUMNS = 2
POINTS = 180                    # per line; groups of neighbours are replaced by their median
MIB = 1 << 20


def rates(samples, name):
    """Change per second between samples."""
    pairs = zip(samples, samples[1:])
    return [(b["s"], (b[name] - a[name]) / (b["s"] - a["s"])) for a, b in pairs]


def values(samples, name, scale=1.0):
    return [(one["s"], one[name] * scale) for one in samples if one.get(name) is not None]


def subsampled(line):
    size = -(-len(line) // POINTS)
    groups = [line[i:i + size] for i in range(0, len(line), size)]
    return [(group[len(group) // 2][0], sorted(value for _, value in group)[len(group) // 2]) for group in groups]


def round_steps(high):
    """About three round numbers up to `high`, and 0."""
    step = 10 ** math.floor(math.log10(high / 3))
    step *= max(factor for factor in (1, 2, 5, 10) if factor * step <= max(high / 3, step))
    return [i * step for i in range(int(high / step) + 1)]


class Plot:
    def __init__(self, title, lines, logarithmic=False):
        self.title, self.logarithmic = title, logarithmic
        self.lines = [(name, subsampled(line)) for name, line in lines if line]
        all_values = [value for _, line in self.lines for _, value in line]
        if logarithmic:
            self.low = 10 ** math.floor(math.log10(min(all_values)))
            self.high = 10 ** math.ceil(math.log10(max(all_values)))
            self.ticks = [10.0 ** e for e in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)]
        else:
            self.low, self.high = 0, max(1e-9, 1.08 * max(all_values))
            self.ticks = round_steps(self.high)

    def y(self, value):
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)

    def svg(self, longest_s):
        def x(s):
            return LEFT + s / longest_s * (WIDTH - LEFT - RIGHT)
        made = [f'<text x="{LEFT}" y="14" font-weight="bold">{html.escape(self.title)}</text>']
        for tick in self.ticks:
            made.append(f'<path d="M{LEFT} {self.y(tick):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
                        f'<text x="{LEFT - 5}" y="{self.y(tick) + 3:.1f}" text-anchor="end">{tick:g}</text>')
        for minute in round_steps(longest_s / 60):
            made.append(f'<text x="{x(60 * minute):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{minute:g} min</text>')
        at = LEFT
        for (name, line), colour in zip(self.lines, COLOURS):
            points = " ".join(f"{x(s):.1f},{self.y(value):.1f}" for s, value in line)
            made.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.3"/>'
                        f'<text x="{at}" y="29" fill="{colour}">{html.escape(name)}</text>')
            at += 5.6 * len(name) + 12
        return "\n".join(made)


def plots(samples):
    def each(key, scale=1.0):
        return [(role.replace("_", " "), values(samples, f"{role}.{key}", scale)) for role in ROLES]
    behind = [(one["s"], one["learner.step"] - one["evaluator.step"]) for one in samples]
    latencies = [(f"{kind} {quantile}", values(samples, f"{kind}.{quantile}"))
                 for kind in ("insert", "sample", "unary") for quantile in ("p50", "p99")]
    return [
        Plot("Memory without the store's map, MiB", each("memory", 1 / MIB)),
        Plot("The store, MiB", [("file", values(samples, "store.file", 1 / MIB)),
                                ("in use", values(samples, "store.used", 1 / MIB)),
                                ("map, resident", values(samples, "replay_server.map", 1 / MIB))]),
        Plot("File descriptors", each("fds")),
        Plot("Threads", each("threads")),
        Plot("Latency of a Python client, ms", latencies, logarithmic=True),
        Plot("Lag of the event loops, ms", [("loop, maximum of all", [
            (one["s"], 1e3 * max(one[f"{role}.loop_lag"] for role in ROLES)) for one in samples]),
            ("call thread of the server", values(samples, "call_lag", 1e3))]),
        Plot("Per second", [("learner steps", rates(samples, "learner.work"))]),
        Plot("Per second", [("transitions restored", rates(samples, "restorer.work")),
                          ("collected", rates(samples, "collector.work"))]),
        Plot("Learner steps since the last evaluated version", [("evaluator", behind)]),
    ]


def page(samples):
    """Returns the text of an SVG file."""
    all_plots = plots(samples)
    longest_s = samples[-1]["s"]
    rows = -(-len(all_plots) // COLUMNS)
    made = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {COLUMNS * WIDTH} {rows * HEIGHT}" '
            f'font-family="sans-serif" font-size="10" fill="#222">',
            '<rect width="100%" height="100%" fill="#fff"/>']
    for number, plot in enumerate(all_plots):
        x, y = number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT
        made.append(f'<g transform="translate({x} {y})">\n{plot.svg(longest_s)}\n</g>')
    return "\n".join([*made, "</svg>"]) + "\n"
