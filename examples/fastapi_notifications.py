"""Notifications that survive a lost connection: FastAPI, and `EventSource` in the browser."""

import os

from fastapi import FastAPI, Request
from redis.asyncio import Redis

from gapless import Channels, RedisChannelsStreamBackend
from gapless.integrations.starlette import EventStream, lifespan

redis = Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379"))
hub = Channels(RedisChannelsStreamBackend(history=1000, redis=redis))
app = FastAPI(lifespan=lifespan(hub))


@app.post("/users/{user}/notifications")
async def notify(user: str, text: str) -> None:
    await hub.publish({"text": text}, f"user:{user}")


@app.get("/users/{user}/events")
async def events(request: Request, user: str) -> EventStream:
    return EventStream(request, hub, f"user:{user}", policy="spill")
