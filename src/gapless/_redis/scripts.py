"""The Lua scripts, with the digest that EVALSHA wants."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text and its SHA1 digest, as the server computes it."""

    body: bytes
    sha: bytes


def load(name: str) -> Script:
    """Return the script in the file `name` beside this module."""
    body = resources.files("gapless._redis").joinpath(name).read_bytes()
    # The server names scripts by SHA1 (Redis documentation, EVALSHA); it protects nothing.
    return Script(body, hashlib.sha1(body, usedforsecurity=False).hexdigest().encode())
