"""gapless: real-time channels for async Python on Redis and Valkey."""

from importlib import import_module
from typing import TYPE_CHECKING

from gapless._core.event import Event, Gap
from gapless._core.reader import Policy
from gapless.backends.base import ChannelsBackend
from gapless.backends.memory import MemoryChannelsBackend
from gapless.backends.redis import (
    RedisChannelsBackend,
    RedisChannelsPubSubBackend,
    RedisChannelsStreamBackend,
)
from gapless.errors import (
    BackendError,
    BackendUnavailable,
    ChannelsError,
    ConfigurationError,
    HubClosed,
    PermissionDenied,
    PublishUncertain,
    UnknownChannel,
    UnsupportedServer,
)
from gapless.health import Health, LinkHealth, PublishHealth

if TYPE_CHECKING:
    from gapless.hub import Channels, HubStats, Subscriber, SubscriberStats

__all__ = [
    # Backends
    "ChannelsBackend",
    "MemoryChannelsBackend",
    "RedisChannelsBackend",
    "RedisChannelsPubSubBackend",
    "RedisChannelsStreamBackend",
    # The hub
    "Channels",
    "HubStats",
    "Policy",
    "Subscriber",
    "SubscriberStats",
    # What a consumer sees
    "Event",
    "Gap",
    # How a backend is
    "Health",
    "LinkHealth",
    "PublishHealth",
    # Errors
    "BackendError",
    "BackendUnavailable",
    "ChannelsError",
    "ConfigurationError",
    "HubClosed",
    "PermissionDenied",
    "PublishUncertain",
    "UnknownChannel",
    "UnsupportedServer",
]

if not TYPE_CHECKING:
    # The hub and what it imports are a third of the time of `import gapless`: it is for those who name it.

    def __getattr__(name: str) -> object:
        if name in {"Channels", "HubStats", "Subscriber", "SubscriberStats"}:
            return getattr(import_module("gapless.hub"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
