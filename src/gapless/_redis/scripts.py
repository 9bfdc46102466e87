"""The Lua scripts, with the digest that EVALSHA wants."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple


class Script(NamedTuple):
    """A script's text and its SHA1 digest, as the server computes it."""

    body: bytes
    sha: bytes


def load(name: str) -> Script:
    """Return the script in the file `name` beside this module."""
    body = Path(__file__).with_name(name).read_bytes()
    # The server names scripts by SHA1 (Redis documentation, EVALSHA); it protects nothing.
    return Script(body, hashlib.sha1(body, usedforsecurity=False).hexdigest().encode())
