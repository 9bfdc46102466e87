"""Litestar's channels on gapless's hub: the plugin's import is changed, too."""

import os
from typing import Any

from litestar import Litestar, Request, get, post
from litestar.di import NamedDependency
from redis.asyncio import Redis

from gapless.backends.redis import RedisChannelsStreamBackend

# before: from litestar.channels import ChannelsPlugin
from gapless.integrations.litestar import ChannelsPlugin, EventStream


@post("/news")
async def publish(request: Request[Any, Any, Any], channels: NamedDependency[ChannelsPlugin]) -> None:
    channels.publish(await request.json(), "news")


@get("/news/stream", sync_to_thread=False)
def stream(request: Request[Any, Any, Any], channels: NamedDependency[ChannelsPlugin]) -> EventStream:
    return EventStream(request, channels, "news", history=10)


redis = Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379"))
plugin = ChannelsPlugin(
    backend=RedisChannelsStreamBackend(history=100, redis=redis),
    channels=["news"],
    create_ws_route_handlers=True,
    ws_handler_send_history=10,
)
app = Litestar([publish, stream], plugins=[plugin])
