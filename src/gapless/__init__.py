"""gapless: real-time channels for async Python on Redis and Valkey."""

from gapless._core.event import Event, Gap
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
