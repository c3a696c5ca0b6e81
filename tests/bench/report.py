"""What a run has found: as a table, as JSON, as plots. All of it is made from `axes` and the values of each round."""

import os
import shutil
import statistics
import subprocess

from axes import PLOTS

COLUMN = 32


def pick(result, figure):
    """The figure in what was measured; None: it has none."""
    for key in figure.path:
        result = result.get(key) if isinstance(result, dict) else None
    return result


class Spread:
    """The median of the rounds, and their least and most."""

    def __init__(self, values):
        self.values = [v for v in values if v is not None]

    def __bool__(self):
        return bool(self.values)

    @property
    def median(self):
        return statistics.median(self.values)

    def text(self, digits):
        if not self.values:
            return "-"
        low, high = min(self.values), max(self.values)
        digits = digits if abs(high) < 1000 else 0
        told = f"{self.median:,.{digits}f}"
        return f"{told} ({low:,.{digits}f}..{high:,.{digits}f})" if len(self.values) > 1 else told

    def dump(self):
        rounds = [float(f"{v:.6g}") for v in self.values]
        return {"median": statistics.median(rounds), "min": min(rounds), "max": max(rounds), "rounds": rounds}


class Findings:
    """rounds: of each axis, in each round, what was measured of each system that counts."""

    def __init__(self, axes):
        self.axes = axes
        self.rounds = {axis.name: [] for axis in axes}
        self.void = {}  # (axis, system, why): the rounds
        self.left_out = {}  # system: why
        self.micro = []  # (bench, case, way, ns)

    def spread(self, axis, system, figure):
        return Spread([pick(r[system], figure) for r in self.rounds[axis.name] if system in r])

    def bar(self, axis, bar):
        """The bar's value in each round in which all that it needs was measured."""
        values = []
        for measured in self.rounds[axis.name]:
            subject, other = (pick(measured.get(name, {}), bar.figure) for name in (bar.subject, bar.other()))
            if subject is not None and (other is not None or not bar.other()):
                values.append(bar.value(subject, other))
        return Spread(values)

    def systems(self, axis):
        return [name for name in axis.systems if any(name in r for r in self.rounds[axis.name])]


def verdict(bar, spread):
    if not spread:
        return "not measured"
    return "met" if bar.met(spread.median) else "NOT MET"


def _heading(figure):
    return f"{figure.name} {figure.unit}".strip()


def _axis_table(findings, axis):
    yield f"{axis.name}: {axis.title}"
    yield f"    {'':18}" + "".join(f"{_heading(f):<{COLUMN}}" for f in axis.figures).rstrip()
    if not findings.systems(axis):
        yield "    nothing that counts"
    for name in findings.systems(axis):
        cells = [findings.spread(axis, name, figure).text(figure.digits) for figure in axis.figures]
        yield f"    {name:18}" + "".join(f"{cell:<{COLUMN}}" for cell in cells).rstrip()
    yield ""


def _bar_table(findings):
    yield f"{'bar':72}{'median (min..max)':28}"
    for axis in findings.axes:
        for bar in axis.bars:
            spread = findings.bar(axis, bar)
            digits = 0 if not bar.times and bar.limit >= 100 else 3
            yield f"{axis.name + ': ' + bar.text():72}{spread.text(digits):28}{verdict(bar, spread)}"
    yield ""


def _micro_table(findings):
    yield f"{'one step':68}ns"
    for bench, case, way, ns in findings.micro:
        yield f"{': '.join(filter(None, (bench, case, way))):64}{ns:9,.1f}"
    yield ""


def table(findings, environment):
    """Lines of text: medians, with the least and most of all rounds."""
    yield from (f"{key}: {value}" for key, value in environment.items() if not isinstance(value, dict))
    yield from (f"{name}: {version}" for name, version in environment["versions"].items())
    yield from (f"{name}: left out, {why}" for name, why in findings.left_out.items())
    yield ""
    for axis in findings.axes:
        yield from _axis_table(findings, axis)
    if any(axis.bars for axis in findings.axes):
        yield from _bar_table(findings)
    if findings.micro:
        yield from _micro_table(findings)
    if findings.void:
        yield "void, and not counted above:"
        for (axis, system, why), numbers in findings.void.items():
            yield f"    {axis}, {system}, round {', '.join(map(str, numbers))}: {why}"


def _bar_dump(findings, axis, bar):
    spread = findings.bar(axis, bar)
    return {"bar": bar.text(), "verdict": verdict(bar, spread), **(spread.dump() if spread else {})}


def _axis_dump(findings, axis):
    systems = {}
    for name in findings.systems(axis):
        spreads = {figure.name: findings.spread(axis, name, figure) for figure in axis.figures}
        systems[name] = {name: spread.dump() for name, spread in spreads.items() if spread}
    return {"name": axis.name, "title": axis.title, "mode": axis.mode, "arguments": axis.arguments,
            "units": {figure.name: figure.unit for figure in axis.figures}, "systems": systems,
            "bars": [_bar_dump(findings, axis, bar) for bar in axis.bars]}


def dump(findings, environment):
    """The same for programs, with the value of each round."""
    return {
        **environment,
        "leftOut": findings.left_out,
        "axes": [_axis_dump(findings, axis) for axis in findings.axes],
        "micro": [dict(zip(("bench", "case", "way", "ns"), row)) for row in findings.micro],
        "void": [dict(zip(("axis", "system", "why"), row), rounds=numbers) for row, numbers in findings.void.items()],
    }


# ---- Plots ----------------------------------------------------------------------------------------------------------

# A system's colour and mark, the same in all plots.
STYLES = {
    "imd": ("#d62728", 7), "limit, line": ("#999999", 2), "limit, coalesced": ("#444444", 1), "node": ("#2ca02c", 5),
    "redis": ("#ff7f0e", 9), "mosquitto": ("#8c564b", 11), "nats": ("#1f77b4", 13),
}


def _curves(findings, plot):
    """(system, its points)"""
    axes = [axis for name in plot.axes for axis in findings.axes if axis.name == name]
    for system in STYLES:
        spreads = [(axis.arguments.get(plot.x, plot.default), findings.spread(axis, system, plot.figure))
                   for axis in axes]
        points = [(x, spread.median) for x, spread in spreads if spread]
        if len(points) > 1:
            yield system, points


def _script(plot, curves, path):
    places = sorted({x for _, points in curves for x, _ in points})
    yield "set terminal svg size 860,520 font 'sans,13' background 'white'"
    yield f"set output '{path}'"
    yield f"set title '{plot.title}'"
    yield "set logscale xy"
    yield f"set xlabel '{plot.label}'"
    yield f"set ylabel '{plot.figure.name} in {plot.figure.unit}'"
    yield f"set xrange [{places[0] * 0.8}:{places[-1] * 1.25}]"
    yield "set xtics (" + ", ".join(f"'{x:,}' {x}" for x in places) + ")"
    yield "set format y '%.10g'"
    yield "set grid lc '#dddddd'"
    yield "set key outside right top Left reverse"
    for i, (_, points) in enumerate(curves):
        yield f"$curve{i} << end"
        yield from (f"{x} {y}" for x, y in points)
        yield "end"
    lines = []
    for i, (system, _) in enumerate(curves):
        colour, mark = STYLES[system]
        width = 3 if system == "imd" else 1.5
        lines.append(f"$curve{i} with linespoints lc '{colour}' pt {mark} ps 0.7 lw {width} title '{system}'")
    yield "plot " + ", ".join(lines)


def plots(findings, folder):
    """Writes those for which there is enough; returns their paths. Without gnuplot: none."""
    written = []
    for plot in PLOTS if shutil.which("gnuplot") else ():
        curves = list(_curves(findings, plot))
        if not curves:
            continue
        path = os.path.join(folder, f"{plot.name}.svg")
        subprocess.run(["gnuplot"], input="\n".join(_script(plot, curves, path)), text=True, check=True)
        written.append(path)
    return written
