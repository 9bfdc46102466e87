"""Litestar's channels on gapless: one changed import."""

import os

from litestar import Litestar
from litestar.channels import ChannelsPlugin
from redis.asyncio import Redis

# before: from litestar.channels.backends.redis import RedisChannelsStreamBackend
from gapless.backends.redis import RedisChannelsStreamBackend

redis = Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379"))
channels = ChannelsPlugin(
    backend=RedisChannelsStreamBackend(history=100, redis=redis),
    channels=["news"],
    create_ws_route_handlers=True,
    ws_handler_send_history=10,
)
app = Litestar(plugins=[channels])
