"""Where a run took place: the facts without which its figures mean nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.clock import usable_cores
from benchmarks.protocol import ROOT

PACKAGES = ("gapless", "litestar", "redis", "hiredis", "uvloop")


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


def versions(server: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": platform.python_version(), "server": server}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found | {"commit": commit()}


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
