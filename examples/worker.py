"""A worker without a web framework: it publishes what the clients of fastapi_notifications.py watch."""

import asyncio
import os
import sys

from redis.asyncio import Redis

from gapless import Channels, RedisChannelsStreamBackend


async def make_report(hub: Channels, user: str, pages: int) -> None:
    # Raises if the server is away: no work is begun that nobody hears of.
    await hub.publish({"text": f"a report of {pages} pages"}, f"user:{user}")
    for page in range(1, pages + 1):
        await asyncio.sleep(0)  # here would be the work
        # Does not wait for the server.
        hub.publish_nowait({"text": f"page {page} of {pages}"}, f"user:{user}")


async def main(user: str, pages: int) -> int:
    failed: list[object] = []
    redis = Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379"))
    # The same history as in the web application: who publishes says how much is kept.
    backend = RedisChannelsStreamBackend(history=1000, redis=redis)
    async with Channels(backend, on_publish_error=lambda *failure: failed.append(failure)) as hub:
        await make_report(hub, user, pages)
    # The hub is closed: what was queued was sent, or has failed.
    await redis.aclose()
    print(f"{pages + 1 - len(failed)} published, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    name, number = sys.argv[1:]
    sys.exit(asyncio.run(main(name, int(number))))
