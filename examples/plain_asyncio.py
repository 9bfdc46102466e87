"""Publish, receive and read the history, with asyncio alone."""

import asyncio

from redis.asyncio import Redis

from gapless import Event, RedisChannelsStreamBackend


async def main(url: str = "redis://localhost:6379") -> None:
    redis = Redis.from_url(url)
    backend = RedisChannelsStreamBackend(history=100, redis=redis)
    await backend.on_startup()
    await backend.subscribe(["news", "weather"])

    await backend.publish(b"sunny", ["weather"])
    await backend.publish(b"hello", ["news", "weather"])

    received = 0
    async for event in backend.events():
        if isinstance(event, Event):
            print(f"{event.channel}: {event.data.decode()}")
            received += 1
        else:
            print(f"{event.channel}: events are missing here ({event.reason})")
        if received == 3:
            break

    print(await backend.get_history("weather"))
    await backend.on_shutdown()
    await redis.aclose()


if __name__ == "__main__":
    asyncio.run(main())
