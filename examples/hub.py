"""The example of docs/hub.md."""

import asyncio

from gapless import Channels, Event, MemoryChannelsBackend

# One process; RedisChannelsStreamBackend(history=100, redis=...) reaches all of them.
hub = Channels(MemoryChannelsBackend(history=100))


async def watch(name: str, cursor: str | None = None) -> str | None:
    async with hub.subscribe("orders", history=10, after=cursor) as subscriber:
        async for item in subscriber:
            if isinstance(item, Event):
                print(f"{name}: {item.data.decode()}")
                if item.data.endswith(b"2}"):
                    break
            else:
                print(f"{name}: events are missing here ({item.reason})")
        return subscriber.cursor


async def main() -> None:
    async with hub:
        watching = asyncio.create_task(watch("anna"))
        for number in range(3):
            await hub.publish({"order": number}, "orders")
        cursor = await watching

        await hub.publish({"order": 12}, "orders")
        await watch("anna again", cursor)


if __name__ == "__main__":
    asyncio.run(main())
