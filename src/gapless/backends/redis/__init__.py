"""Channel backends on Redis and Valkey; the same names as in `litestar.channels.backends.redis`."""

from gapless.backends.redis.base import RedisChannelsBackend
from gapless.backends.redis.pubsub import RedisChannelsPubSubBackend
from gapless.backends.redis.streams import RedisChannelsStreamBackend

__all__ = ["RedisChannelsBackend", "RedisChannelsPubSubBackend", "RedisChannelsStreamBackend"]
