"""Where a run took place: the facts without which its figures mean nothing."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.clock import usable_cores
from benchmarks.libraries import PEERS, PEERS_LITESTAR, ROOT

C_CLIENTS = ("valkey-benchmark", "redis-benchmark")

PACKAGES = ("gapless", "litestar", "redis", "hiredis", "uvloop")

# The same of the peers' environments, which are recorded whole.
PEER_PACKAGES = (
    "litestar", "channels-redis", "broadcaster", "python-socketio", "faststream", "coredis", "redis", "hiredis",
    "uvloop",
)  # fmt: skip
_LIST = """
import json, platform, re
from importlib.metadata import distributions
found = {re.sub("[-_.]+", "-", d.name).lower(): d.version for d in distributions()}
print(json.dumps({"python": platform.python_version()} | dict(sorted(found.items()))))
"""


def machine() -> dict[str, Any]:
    return {
        "cores": len(usable_cores()) or os.cpu_count(),
        "cpu": cpu_model(),
        "architecture": platform.machine(),
        "kernel": f"{platform.system()} {platform.release()}",
    }


def cpu_model() -> str:
    """Return what the processor calls itself, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"


def versions(server: str) -> dict[str, Any]:
    found: dict[str, Any] = {"python": platform.python_version(), "server": server}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    environments = {name: packages(name) for name in (PEERS, PEERS_LITESTAR)}
    made = {name: listed for name, listed in environments.items() if listed is not None}
    return found | {"commit": commit(), "environments": made, "limit": c_client_version()}


def c_client() -> str | None:
    """Return the path of a benchmark in C that speaks Redis, if there is one."""
    return next(filter(None, map(shutil.which, C_CLIENTS)), None)


def c_client_version() -> str:
    """Return what the limit of publishing is measured with."""
    program = c_client()
    if program is None:
        return "a blocking socket"
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or Path(program).name


def packages(environment: str) -> dict[str, str] | None:
    """Return the version of every package in an environment, and of its Python; None if it was not made."""
    python = ROOT / environment / "bin" / "python"
    if not python.exists():
        return None
    # Isolated: what is installed there, not what lies about here.
    done = subprocess.run([python, "-I", "-c", _LIST], capture_output=True, text=True, check=True)
    listed: dict[str, str] = json.loads(done.stdout)
    return listed


def commit() -> str | None:
    """Return the commit of this checkout, with "+" if tracked files differ from it; None without git."""
    try:
        words = ["git", "describe", "--always", "--exclude=*", "--dirty=+"]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def load_average() -> float:
    """Mean number of runnable processes over the last minute: 0 on a quiet machine."""
    return round(os.getloadavg()[0], 2)
