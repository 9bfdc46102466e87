"""Every library beside every other: a table per question, and one line per question as a headline."""

from __future__ import annotations

from math import inf

from benchmarks import report
from benchmarks.libraries import ALONE, LIBRARIES, LIMIT, title
from benchmarks.report import LOOPS, cell, facts, failures, remarks, table, table_line
from benchmarks.rows import METRICS
from benchmarks.summary import Document, RowSummary, summaries
from benchmarks.table import SHOWN

LIMIT_IS = {
    "publish": "redis-benchmark, or a blocking socket",
    "receive": "a blocking socket, which counts",
    "latency": "two processes with a blocking socket each",
}
# The first of a row's figures, by which libraries are ranked, and those that say at what price.
HEADLINE_METRICS = 3
HEADINGS = ("question", "limit", "gapless", "Litestar", "best of the others", "first")

ALONE_HEADINGS = ("row", "limit, without an event loop", "with one, and no library", "gapless", "gapless is")


def page(document: Document, source: str, plots: list[str]) -> str:
    """Return a page about a run: the headline, the plots, and a table per question."""
    parts = [
        f"# {document['started'][:10]}",
        "",
        f"From `{source}`.",
        "",
        *(f"- {fact}" for fact in facts(document)),
    ]
    parts += ["", *headline(document), "", *beside_the_loop(document)]
    parts += [line for plot in plots for line in ("", f"![{plot}]({plot})")]
    for loop in LOOPS:
        for summary in summaries(document, loop):
            if summary.row.others:
                parts += ["", *question(summary)]
    return "\n".join([*parts, "", *(f"- {remark}" for remark in remarks(document)), ""])


def with_headline(document: Document, source: str) -> str:
    """Return the figures for the README of the benchmarks."""
    before, found, after = report.markdown(document, source).partition("\n### ")
    page = source.removesuffix(".json") + ".md"
    before += f"\nAll libraries, a table for each question, and plots: [{page}]({page}).\n"
    shown = [*headline(document), "", *beside_the_loop(document)]
    return "\n".join([before, "", *shown, "", f"{found.lstrip()}{after}"])


def quote(document: Document, source: str) -> list[str]:
    """Return the headline with where it is from: date, machine, command."""
    return [
        f"From [{source}]({source}).",
        "",
        *(f"- {fact}" for fact in facts(document)),
        "",
        *headline(document),
        *(f"- {failure}" for failure in failures(document)),
    ]


def headline(document: Document) -> list[str]:
    """Return one line per main question, in the event loop that was measured first."""
    for loop in LOOPS:
        found = [s for s in summaries(document, loop) if s.row.name in SHOWN]
        if found:
            return [f"{loop}:", "", *table(HEADINGS), *map(_headline, found)]
    return []


def beside_the_loop(document: Document) -> list[str]:
    """Return how much of each way is the event loop's or the web server's, and how much is ours."""
    parts: list[str] = []
    for loop in LOOPS:
        found = [s for s in summaries(document, loop) if s.row.against in ALONE]
        if found:
            parts += [f"{loop}, beside what is no library:", "", *table(ALONE_HEADINGS)]
            parts += [*map(_beside_the_loop, found), ""]
    return parts


def _beside_the_loop(summary: RowSummary) -> str:
    metric, alone = summary.row.metrics[0], summary.row.against or ""
    cells = [cell(summary, way, [metric]) for way in (LIMIT, alone, "gapless")]
    lead = summary.lead(alone)
    noisy = " (noisy)" if {"gapless", alone} & set(summary.noisy) else ""
    cells[1] = f"{title(alone)}: {cells[1]}"
    return table_line(
        [f"`{summary.row.name}`", *cells, ("equal" if lead is None else f"at {lead:.0%}") + noisy]
    )


def _headline(summary: RowSummary) -> str:
    shown = summary.row.metrics[:HEADLINE_METRICS]
    others = [way for way in summary.ranking if way not in {"gapless", "litestar"}]
    cells = [cell(summary, LIMIT, (*shown, "more_rate"))]
    cells += [cell(summary, way, shown) for way in ("gapless", "litestar")]
    cells.append(f"{title(others[0])}: {cell(summary, others[0], shown)}" if others else "-")
    return table_line([summary.row.title, *cells, _winner(summary)])


def _winner(summary: RowSummary) -> str:
    """Return who is first, and by how much before or behind gapless."""
    rivals = [way for way in summary.ranking if way != "gapless"]
    if not rivals or "gapless" not in summary.ranking:
        return "-"
    lead = summary.lead(rivals[0])
    noisy = " (noisy)" if {"gapless", rivals[0]} & set(summary.noisy) else ""
    if lead is None:
        return f"equal{noisy}"
    how_far = f", {times(lead)}" if times(lead) else ""
    how_far += ", ranges overlap" if summary.overlap(rivals[0]) else ""
    return f"gapless{how_far}{noisy}" if lead >= 1 else f"**{title(rivals[0])}{how_far}**{noisy}"


def times(lead: float) -> str:
    """Return how far apart two figures are; nothing if one of them is none at all."""
    return "" if lead in {0.0, inf} else f"{max(lead, 1 / lead):.1f}x"


def question(summary: RowSummary) -> list[str]:
    """Return the table of one row, the best first. Names in bold are before gapless."""
    row = summary.row
    headings = ["library", "how", *(_heading(name) for name in row.metrics), "gapless is"]
    lines = [f"## {row.title} ({summary.loop})", "", f"`{row.name}`", "", *table(headings)]
    for way in [LIMIT, *summary.ranking]:
        if not summary.figures.get(way):
            continue
        name = title(way)
        lead = None if way in {LIMIT, "gapless"} else summary.lead(way)
        if lead is not None and lead < 1:
            name = f"**{name}**"
        how = LIBRARIES[way].kinds.get(row.kind, "") if way in LIBRARIES else LIMIT_IS[row.scenario]
        cells = [cell(summary, way, [metric]) for metric in row.metrics]
        noisy = " (noisy)" if way in summary.noisy else ""
        lines.append(table_line([name + noisy, how, *cells, _lead(summary, way)]))
    return lines + [
        table_line(
            [library.title, "no figure" if way in row.libraries else "-", *["-"] * (len(row.metrics) + 1)]
        )
        for way, library in LIBRARIES.items()
        if library.kinds and not summary.figures.get(way)
    ]


def _lead(summary: RowSummary, way: str) -> str:
    if way == "gapless":
        return ""
    lead = summary.lead(way)
    if lead is None:
        return "equal" if way != LIMIT else ""
    if way == LIMIT:
        return f"at {lead:.0%} of it"
    return f"{times(lead)} {'better' if lead >= 1 else 'worse'}".lstrip()


def _heading(name: str) -> str:
    metric = METRICS[name]
    return {"rate": "events/s", "cpu_us": "CPU per event"}.get(name, metric.label or name)
