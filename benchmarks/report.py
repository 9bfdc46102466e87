"""A document as a table: plain text for the terminal, Markdown for the README."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.host import PACKAGES, PEER_PACKAGES
from benchmarks.libraries import LIMIT, OURS, title
from benchmarks.rows import METRICS
from benchmarks.summary import NOISY_SPREAD, Document, Figure, RowSummary, Verdict, summaries

Show = Callable[[float], str]

LOOPS = ("asyncio", "uvloop")

BEGIN = "<!-- figures: begin -->"
END = "<!-- figures: end -->"

PEER = "Litestar"
HEADINGS = ("row", PEER, "gapless", "ratio", "must", "met")


def text(document: Document) -> str:
    """Return the tables of a document, with what has to be known about them."""
    parts = facts(document)
    for loop in LOOPS:
        rows = summaries(document, loop)
        if rows:
            parts += ["", f"{loop}: median (lowest-highest of the repetitions)"]
            parts += aligned([HEADINGS, *(line for row in rows for line in lines(row))])
    return "\n".join([*parts, "", *remarks(document)])


def markdown(document: Document, source: str) -> str:
    """Return the same in Markdown; `source` names the file of the document."""
    parts = [f"From `{source}`.", "", *(f"- {fact}" for fact in facts(document))]
    for loop in LOOPS:
        rows = summaries(document, loop)
        if not rows:
            continue
        parts += ["", f"### {loop}", "", *table([*HEADINGS, "command"])]
        for row in rows:
            command = f'`make bench ARGS="--loop {loop} --only {row.row.name}"`'
            for number, line in enumerate(lines(row)):
                name = line[0] if number else row.row.title
                parts.append(table_line([name, *line[1:], "" if number else command]))
    return "\n".join([*parts, "", *(f"- {remark}" for remark in remarks(document))])


def fill_readme(readme: Path, figures: str) -> None:
    """Replace what stands between the markers of a README."""
    before, found, rest = readme.read_text().partition(BEGIN)
    _, also_found, after = rest.partition(END)
    if not found or not also_found:
        raise ValueError(f"{readme.name} has no lines {BEGIN} and {END}")
    readme.write_text(f"{before}{BEGIN}\n\n{figures}\n\n{END}{after}")


def facts(document: Document) -> list[str]:
    """Return when, where and with what a run took place."""
    machine, versions = document["machine"], document["versions"]
    before, after = document["load_average"]
    run = f"{document['started']}, {document['seconds']:.0f} s, commit {versions['commit']}"
    again = [
        f"again, in the place of these rows: `{run['command']}`: {run['started']}, {run['seconds']:.0f} s, "
        f"commit {run['commit']}"
        for run in document.get("again", [])
    ]
    cores = f"{machine['cores']} cores of {machine['cpu']} ({machine['architecture']})"
    packages = [f"{name} {versions[name]}" for name in PACKAGES if versions[name]]
    environments = [
        f"{name}: Python {found['python']}, "
        + ", ".join(f"{package} {found[package]}" for package in PEER_PACKAGES if package in found)
        for name, found in versions.get("environments", {}).items()
    ]
    absent = document.get("absent")
    return [
        f"`{document['command']}`: {run}",
        *again,
        f"{cores}, {machine['kernel']}, load average {before} before, {after} after",
        ", ".join([f"Python {versions['python']}", versions["server"], *packages]),
        *environments,
        *([f"limit of publishing: {versions['limit']}"] if "limit" in versions else []),
        *([f"left out, their environment was not made: {', '.join(absent)}"] if absent else []),
        *([f"ended {document['interrupted']}"] if "interrupted" in document else []),
    ]


def failures(document: Document) -> list[str]:
    """Return of which rows there are not all figures."""
    return [
        f"{row.row.name}, {loop}: {row.failed} measurements FAILED"
        for loop in LOOPS
        for row in summaries(document, loop)
        if row.failed
    ]


def remarks(document: Document) -> list[str]:
    """Return what a reader must not overlook: failures first."""
    found = failures(document)
    noisy = [
        f"{row.row.name} {loop} ({', '.join(row.noisy)})"
        for loop in LOOPS
        for row in summaries(document, loop)
        if row.noisy
    ]
    ended = {
        f"{m['library']} ({m['row']}, {m['loop']}): its events have ended with {m['consumer_ended']}"
        for m in document["measurements"]
        if m.get("consumer_ended")
    }
    found += sorted(ended)
    if document["machine"]["cores"] == 1:
        found.append("one core: server, load and what is measured take it from each other")
    if noisy:
        found.append(
            f"TOO NOISY, the repetitions are further apart than {NOISY_SPREAD:.0%} of their median; "
            f"run these again on a quiet machine: {'; '.join(noisy)}"
        )
    found.append(f"the server with nobody connected: {document['server_alone_percent']:.2f} % CPU")
    return found


def lines(summary: RowSummary) -> list[tuple[str, ...]]:
    """Return the lines of a row: one per requirement, or one without any."""
    row = summary.row
    if not any(summary.figures[way] for way in row.libraries):
        return [(row.name, "failed", "failed", "", "", "")]
    if not summary.verdicts:
        own = cell(summary, "gapless", row.metrics)
        noisy = "(noisy)" if {"gapless", row.against} & set(summary.noisy) else ""
        peer = _peer_cell(summary, row.against, row.metrics)
        found = [(row.name, peer, own, _ahead(summary), "", noisy)]
        return [*found, _limit_line(summary)] if row.limited else found
    found = []
    for number, verdict in enumerate(summary.verdicts):
        against = LIMIT if verdict.must.of_limit else row.against
        metrics = (verdict.must.metric, *(("more_rate",) if number else row.beside))
        found.append(
            (
                "" if number else row.name,
                _peer_cell(summary, against, metrics),
                cell(summary, "gapless", metrics),
                "; ".join(filter(None, [_ratio(verdict), "" if number else _ahead(summary)])),
                verdict.must.show(),
                ("yes" if verdict.met else "no") + (" (noisy)" if verdict.noisy else ""),
            )
        )
    if row.limited and not any(must.of_limit for must in row.musts):
        found.append(_limit_line(summary))
    return found


def cell(summary: RowSummary, library: str, metrics: Sequence[str]) -> str:
    """Return the first metric with its range, and the others without."""
    figures = summary.figures.get(library, {})
    shown: list[str] = []
    for name in dict.fromkeys(metrics):
        metric = METRICS[name]
        if name not in figures:
            continue
        if shown:
            shown.append(metric.show(figures[name].median))
        else:
            shown.append(_range(figures[name], metric.show, metric.show_number))
    return ", ".join(shown) or "-"


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]


def _peer_cell(summary: RowSummary, against: str | None, metrics: Sequence[str]) -> str:
    """Return the figures of what gapless is compared with, and its name unless it is that of the column."""
    if against is None:
        return "-"
    name = title(against)
    return ("" if name == PEER else f"{name}: ") + cell(summary, against, metrics)


def _ahead(summary: RowSummary) -> str:
    """Return which library is ahead of gapless, and how far, in bold; nothing if none is."""
    best = next((way for way in summary.ranking if way == "gapless" or way not in OURS), "gapless")
    lead = None if best == "gapless" else summary.lead(best)
    if lead is None or lead >= 1:
        return ""
    how_far = f": {1 / lead:.1f}x" if lead else ""
    return f"**{title(best)}{how_far}**" + (", ranges overlap" if summary.overlap(best) else "")


def _limit_line(summary: RowSummary) -> tuple[str, ...]:
    """Return a line for a limit that nothing is required of: how much of it each one reaches."""
    metric, against = summary.row.metrics[0], summary.row.against or ""
    shares = [
        "" if (share := summary.share_of_limit(way)) is None else f"{share:.0%} of it"
        for way in (against, "gapless")
    ]
    if shares[0] and title(against) != PEER:
        shares[0] = f"{title(against)}: {shares[0]}"
    return (f"limit: {cell(summary, LIMIT, [metric, 'more_rate'])}", *shares, "", "", "")


def _ratio(verdict: Verdict) -> str:
    must, ratio = verdict.must, verdict.ratio
    if ratio is None:
        return ""
    if must.of_limit and must.kind == "part":
        # It is shown the other way round.
        ratio = replace(ratio, low=ratio.high, high=ratio.low)
    return _range(ratio, must.show_ratio, must.show_ratio_number)


def _range(figure: Figure, show: Show, show_number: Show) -> str:
    return f"{show(figure.median)} ({show_number(figure.low)}-{show_number(figure.high)})"


def table_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def table(headings: Sequence[str]) -> list[str]:
    """Return the first two lines of a table in Markdown."""
    return [table_line(headings), table_line(["---"] * len(headings))]
