"""Where the chat keeps what was said: a server, embedded or given, and the backend that reaches it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from redis.asyncio import Redis

from gapless import RedisChannelsStreamBackend

# Messages that a room keeps. Exactly: the page says so where some are missing.
HISTORY = 50

# What the keys of the demo begin with, on a server that others may use, too.
KEY_PREFIX = "gapless-chat"


@dataclass(frozen=True, slots=True)
class Store:
    """A running Valkey or Redis.

    Attributes:
        url: How clients reach it.
        title: Its name, version and place, for people; without the password that may be in the URL.
        embedded: Whether it is the demo's own, and ends with it.
    """

    url: str
    title: str
    embedded: bool

    def backend(self, redis: Redis) -> RedisChannelsStreamBackend:
        """Return a backend with the demo's settings.

        Args:
            redis: A client of this server; it stays the caller's.
        """
        return RedisChannelsStreamBackend(
            history=HISTORY,
            redis=redis,
            key_prefix=KEY_PREFIX,
            cap_streams_approximate=False,
            # The embedded server goes with all that it holds; on another one nothing stays for ever.
            stream_ttl=None if self.embedded else timedelta(days=1),
        )
