"""Litestar's channels on gapless's hub: the plugin's import is changed, too."""

import os
from collections.abc import AsyncGenerator
from typing import Any

from litestar import Litestar, Request, get, post
from litestar.di import NamedDependency
from litestar.response import ServerSentEvent, ServerSentEventMessage
from redis.asyncio import Redis

from gapless import Event
from gapless.backends.redis import RedisChannelsStreamBackend

# before: from litestar.channels import ChannelsPlugin
from gapless.integrations.litestar import ChannelsPlugin


@post("/news")
async def publish(request: Request[Any, Any, Any], channels: NamedDependency[ChannelsPlugin]) -> None:
    channels.publish(await request.json(), "news")


@get("/news/stream", sync_to_thread=False)
def stream(request: Request[Any, Any, Any], channels: NamedDependency[ChannelsPlugin]) -> ServerSentEvent:
    # What a browser's EventSource sends when it comes back.
    last_id = request.headers.get("last-event-id")

    async def messages() -> AsyncGenerator[ServerSentEventMessage, None]:
        async with channels.start_subscription("news", history=10, after=last_id) as subscriber:
            async for item in subscriber:
                if isinstance(item, Event):
                    yield ServerSentEventMessage(item.data.decode(), id=subscriber.cursor)
                else:
                    yield ServerSentEventMessage(item.reason, event="gap", id=subscriber.cursor)

    return ServerSentEvent(messages())


redis = Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379"))
plugin = ChannelsPlugin(
    backend=RedisChannelsStreamBackend(history=100, redis=redis),
    channels=["news"],
    create_ws_route_handlers=True,
    ws_handler_send_history=10,
)
app = Litestar([publish, stream], plugins=[plugin])
