"""What a client gets that takes nothing while 2,000 events are published, under each policy."""

import asyncio

from gapless import Channels, Event, MemoryChannelsBackend, Subscriber


async def main() -> None:
    backend = MemoryChannelsBackend(history=5000)
    async with Channels(backend, max_backlog=100) as hub:
        slow = {
            "backoff": hub.subscribe("ticks", policy="backoff"),
            "dropleft": hub.subscribe("ticks", policy="dropleft"),
            "disconnect": hub.subscribe("ticks", policy="disconnect"),
            "spill": hub.subscribe("ticks", policy="spill"),
        }
        for subscriber in slow.values():
            await subscriber.open()
        for number in range(2000):
            await hub.publish(str(number), "ticks")
            await asyncio.sleep(0)  # the others go on
        for policy, subscriber in slow.items():
            print(f"{policy}: {await tell(subscriber)}")
            subscriber.close()


async def tell(subscriber: Subscriber) -> str:
    received, lost = 0, 0
    async for item in subscriber:
        if isinstance(item, Event):
            received += 1
        else:
            lost += item.lost or 0
        if received + lost == 2000:
            break
    end = f", ended by its {subscriber.ended_by}" if subscriber.ended_by else ""
    return f"{received} received, {lost} lost{end}"


if __name__ == "__main__":
    asyncio.run(main())
