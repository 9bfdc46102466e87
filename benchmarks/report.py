"""A document as a table: plain text for the terminal, Markdown for the README."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.host import PACKAGES
from benchmarks.rows import LIBRARIES, METRICS
from benchmarks.run import LIMIT, Document
from benchmarks.summary import NOISY_SPREAD, Figure, RowSummary, summaries

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
    """Return the same for a README; `source` names the file of the document."""
    parts = [f"From `{source}`.", "", *(f"- {fact}" for fact in facts(document))]
    for loop in LOOPS:
        rows = summaries(document, loop)
        if not rows:
            continue
        parts += ["", f"### {loop}", "", _line([*HEADINGS, "command"]), _line(["---"] * 7)]
        for row in rows:
            command = f"`python -m benchmarks --loop {loop} --only {row.row.name}`"
            for number, line in enumerate(lines(row)):
                parts.append(
                    _line(
                        [
                            row.row.title if not number else line[0],
                            *line[1:],
                            "" if number else command,
                        ]
                    )
                )
    return "\n".join([*parts, "", *(f"- {remark}" for remark in remarks(document))])


def fill_readme(readme: Path, document: Document, source: str) -> None:
    """Replace what stands between the markers of a README."""
    before, found, rest = readme.read_text().partition(BEGIN)
    _, also_found, after = rest.partition(END)
    if not found or not also_found:
        raise ValueError(f"{readme.name} has no lines {BEGIN} and {END}")
    readme.write_text(f"{before}{BEGIN}\n\n{markdown(document, source)}\n\n{END}{after}")


def facts(document: Document) -> list[str]:
    """Return when, where and with what a run took place."""
    machine, versions = document["machine"], document["versions"]
    before, after = document["load_average"]
    run = f"{document['started']}, {document['seconds']:.0f} s, commit {versions['commit']}"
    cores = f"{machine['cores']} cores of {machine['cpu']} ({machine['architecture']})"
    packages = [f"{name} {versions[name]}" for name in PACKAGES if versions[name]]
    return [
        f"`{document['command']}`: {run}",
        f"{cores}, {machine['kernel']}, load average {before} before, {after} after",
        ", ".join([f"Python {versions['python']}", versions["server"], *packages]),
    ]


def remarks(document: Document) -> list[str]:
    """Return what a reader must not overlook: failures first."""
    found: list[str] = []
    noisy: list[str] = []
    for loop in LOOPS:
        for row in summaries(document, loop):
            if row.failed:
                found.append(f"{row.row.name}, {loop}: {row.failed} measurements FAILED")
            if row.noisy:
                noisy.append(f"{row.row.name} {loop} ({', '.join(row.noisy)})")
    if noisy:
        found.append(
            f"TOO NOISY, the repetitions are further apart than {NOISY_SPREAD:.0%} of their median; "
            f"run these again on a quiet machine: {'; '.join(noisy)}"
        )
    found.append(f"the server with nobody connected: {document['server_alone_percent']:.2f} % CPU")
    return found


def lines(summary: RowSummary) -> list[tuple[str, ...]]:
    """Return the lines of a row: one per requirement, and one for the limit."""
    found: list[tuple[str, ...]] = []
    for number, verdict in enumerate(summary.verdicts):
        metrics = [verdict.must.metric, *(() if number else summary.row.beside)]
        found.append(
            (
                "" if number else summary.row.name,
                _peer_cell(summary, metrics),
                _cell(summary, "gapless", metrics),
                _range(verdict.ratio, verdict.must.show_ratio, verdict.must.show_ratio_number)
                if verdict.ratio
                else "",
                verdict.must.show(),
                ("yes" if verdict.met else "no") + (" (noisy)" if summary.noisy else ""),
            )
        )
    if not found:
        found.append((summary.row.name, "failed", "failed", "", "", ""))
    limit = summary.figures[LIMIT].get("rate")
    if limit is not None:
        shares = [
            f"{summary.figures[library]['rate'].median / limit.median:.0%} of it"
            if "rate" in summary.figures[library]
            else ""
            for library in summary.row.libraries
        ]
        cell = f"limit, a blocking socket: {_cell(summary, LIMIT, ['rate'])}"
        found.append((cell, *shares, "", "", ""))
    return found


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]


def _cell(summary: RowSummary, library: str, metrics: Sequence[str]) -> str:
    """Return the first metric with its range, and the others without."""
    figures = summary.figures.get(library, {})
    shown: list[str] = []
    for name in metrics:
        metric = METRICS[name]
        if name not in figures:
            continue
        if shown:
            shown.append(metric.show(figures[name].median))
        else:
            shown.append(_range(figures[name], metric.show, metric.show_number))
    return ", ".join(shown) or "-"


def _peer_cell(summary: RowSummary, metrics: Sequence[str]) -> str:
    """Return the figures of what gapless is compared with, and its name unless it is that of the column."""
    against = summary.row.against
    if against is None:
        return "-"
    name = LIBRARIES[against]
    return ("" if name == PEER else f"{name}: ") + _cell(summary, against, metrics)


def _range(figure: Figure, show: Show, show_number: Show) -> str:
    return f"{show(figure.median)} ({show_number(figure.low)}-{show_number(figure.high)})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
