"""Draws a raw file as SVG: `python -m benchmarks.draw FILE.json`, in an environment that has matplotlib.

Prints the names of the files, which lie beside it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.curves import CURVES, Curve
from benchmarks.libraries import LIMIT, title
from benchmarks.rows import METRICS
from benchmarks.summary import Document, RowSummary, summaries

COLOURS = {"gapless": "#1b6ac9", LIMIT: "#b0b0b0"}
OTHER_COLOUR = "#e0a458"
SMALLEST = 0.005  # nothing, where the axis has no zero
PANEL_INCHES = (6.0, 3.4)
COLUMNS = 2

# The same figures must give the same file.
mpl.rcParams["svg.hashsalt"] = "gapless"
mpl.rcParams["font.size"] = 8
# Text stays text: the files are smaller.
mpl.rcParams["svg.fonttype"] = "none"


def main() -> None:
    path = Path(sys.argv[1])
    for name in draw(json.loads(path.read_text()), path):
        print(name)


def draw(document: Document, path: Path) -> Iterator[str]:
    """Draw what was measured, and yield the names of the files."""
    for loop in ("asyncio", "uvloop"):
        measured = summaries(document, loop)
        rows = [s for s in measured if s.row.others]
        for scenario in dict.fromkeys(s.row.scenario for s in rows):
            panels = [s for s in rows if s.row.scenario == scenario]
            yield _figure(path, f"{loop}-{scenario}", panels, bars)
        found = {s.row.name: s for s in measured}
        curves = [c for c in CURVES if sum(name in found for _, name in c.points) > 1]
        if curves:
            yield _figure(path, f"{loop}-growth", curves, partial(lines, found))


def _figure(path: Path, name: str, panels: list[Any], fill: Any) -> str:
    columns = min(COLUMNS, len(panels))
    count = -(-len(panels) // columns)
    size = (PANEL_INCHES[0] * columns, PANEL_INCHES[1] * count)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(count, columns, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        fill(axes, panel)
    for axes in list(grid.flat)[len(panels) :]:
        axes.axis("off")
    target = path.with_name(f"{path.stem}-{name}.svg")
    figure.savefig(target, metadata={"Date": None})
    return target.name


def bars(axes: Any, summary: RowSummary) -> None:
    """Draw a bar per library, the best on top, with the range of its repetitions."""
    metric = summary.row.metrics[0]
    ways = [*summary.ranking[::-1], LIMIT]
    ways = [way for way in ways if metric in summary.figures[way]]
    figures = [summary.figures[way][metric] for way in ways]
    medians = [figure.median for figure in figures]
    spread = [[f.median - f.low for f in figures], [f.high - f.median for f in figures]]
    colours = [COLOURS.get(way, OTHER_COLOUR) for way in ways]
    axes.barh([title(way) for way in ways], medians, xerr=spread, color=colours, ecolor="#404040", capsize=2)
    for at, median in enumerate(medians):
        shown = METRICS[metric].show_number(median)
        axes.annotate(shown, (1.01, at), xycoords=("axes fraction", "data"), va="center")
    axes.ticklabel_format(style="plain", axis="x")
    axes.set_title(f"{summary.row.title} ({summary.loop})")
    axes.set_xlabel(_axis(metric))


def lines(found: dict[str, RowSummary], axes: Any, curve: Curve) -> None:
    points = [(at, found[name]) for at, name in curve.points if name in found]
    for way in dict.fromkeys(way for _, summary in points for way in summary.figures):
        here = [
            (at, max(s.figures[way][curve.metric].median, SMALLEST))
            for at, s in points
            if curve.metric in s.figures.get(way, {})
        ]
        if here:
            strong = way in COLOURS
            axes.plot(
                *zip(*here, strict=True), marker="o", markersize=3, label=title(way),
                color=COLOURS.get(way), linewidth=2 if strong else 1,
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title(curve.title)
    axes.set_xlabel(curve.axis)
    axes.set_ylabel(_axis(curve.metric))
    axes.legend(fontsize=6)


def _axis(metric: str) -> str:
    better = "more" if METRICS[metric].more_is_better else "less"
    name = {"rate": "events/s", "cpu_us": "CPU per event, us"}.get(metric, metric.replace("_", " "))
    return f"{name} ({better} is better)"


if __name__ == "__main__":
    main()
