"""A worker: it publishes into a room, and has no web server, no hub and no subscriber."""

from __future__ import annotations

import asyncio
import logging
import secrets

from redis.asyncio import Redis

from examples.chat.messages import Message, Work, encode, now_ms
from examples.chat.store import Store
from gapless import ChannelsError

logger = logging.getLogger("examples.chat")

NAME = "Worker"


async def work(store: Store, job: Work, *, seconds: float) -> None:
    """Write the messages of a job, evenly over about `seconds`.

    If the server refuses or is away, that is logged, and the rest is left.
    """
    redis = Redis.from_url(store.url, client_name="chat-worker")
    backend = store.backend(redis)
    try:
        for number in range(1, job.messages + 1):
            text = f"{number} of {job.messages}, written while the web server was down"
            message = Message(secrets.token_hex(16), job.room, NAME, text, now_ms())
            await backend.publish(encode(message), [job.room])
            await asyncio.sleep(seconds / job.messages)
    except ChannelsError as error:
        logger.warning("the worker stopped before its end: %s", error)
    finally:
        await backend.on_shutdown()
        await redis.aclose()
