"""The bounds of every wait."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """In seconds; `RedisChannelsBackend` documents each."""

    publish_timeout: float
    subscribe_timeout: float
    liveness_timeout: float
    connect_timeout: float
