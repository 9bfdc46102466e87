"""The bounds of every wait."""

from __future__ import annotations

from typing import NamedTuple


class Timing(NamedTuple):
    """In seconds; `RedisChannelsBackend` documents each."""

    publish_timeout: float
    subscribe_timeout: float
    liveness_timeout: float
    connect_timeout: float
