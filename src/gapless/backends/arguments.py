"""Checks of arguments; each error names the argument, what is expected and what came."""

from __future__ import annotations

import math
from datetime import timedelta
from inspect import iscoroutinefunction
from typing import Any

from gapless.errors import ConfigurationError

# The server adds a time to live to the clock, in ms, and refuses what overflows 64 bits.
MAX_TTL_MS = 100 * 365 * 24 * 3600 * 1000

# The server's limit for one string (Redis documentation, "Strings").
MAX_PAYLOAD_BYTES = 512 * 1024 * 1024 - 64 * 1024


def check_at_least(minimum: int, **named: Any) -> None:
    """Check that each value is an int of at least `minimum` that fits into 63 bits."""
    for name, value in named.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise ConfigurationError(f"{name}: expected an int of at least {minimum}, got {value!r}")
        if value >= 2**63:
            raise ConfigurationError(f"{name}: expected less than 2**63, got {value!r}")


def check_seconds(**named: Any) -> None:
    """Check that each value is a positive, finite number."""
    for name, value in named.items():
        if (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or not math.isfinite(value)
            or value <= 0
        ):
            raise ConfigurationError(f"{name}: expected a positive number of seconds, got {value!r}")


def check_function(**named: Any) -> None:
    """Check that each value is None or a function, which nobody has to await."""
    for name, value in named.items():
        if value is not None and not callable(value):
            raise ConfigurationError(f"{name}: expected a function or None, got {value!r}")
        if iscoroutinefunction(value):
            raise ConfigurationError(f"{name}: expected a plain function, got a coroutine function {value!r}")


def parse_ttl_ms(name: str, value: Any) -> int:
    """Return a time to live in ms, from 1 ms to 100 years, from an int of ms or a timedelta."""
    milliseconds = value // timedelta(milliseconds=1) if isinstance(value, timedelta) else value
    if not isinstance(milliseconds, int) or isinstance(milliseconds, bool):
        raise ConfigurationError(f"{name}: expected an int of ms or a timedelta, got {value!r}")
    if not 1 <= milliseconds <= MAX_TTL_MS:
        hint = "; None keeps a stream for ever" if name == "stream_ttl" else ""
        raise ConfigurationError(f"{name}: expected 1 ms to 100 years, got {value!r}{hint}")
    return milliseconds


def check_payload(data: object) -> bytes:
    """Return `data` as bytes.

    Raises:
        TypeError: It is not bytes, bytearray or memoryview.
        ValueError: It is larger than the server takes.
    """
    if not isinstance(data, bytes):
        if not isinstance(data, bytearray | memoryview):
            raise TypeError(f"data: expected bytes, got {type(data).__name__}; encode it first")
        data = bytes(data)
    if len(data) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"data: {len(data)} bytes; the server takes at most {MAX_PAYLOAD_BYTES}")
    return data


def check_limit(value: object) -> None:
    """Check how many events a caller asks for.

    Raises:
        ValueError: Not None and not an int of at least 0.
    """
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise ValueError(f"limit: expected None or an int of at least 0, got {value!r}")
