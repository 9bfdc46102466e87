"""A function of an application, and its tests: in one process, without a server, without waiting."""

from gapless import Channels, Event, MemoryChannelsBackend
from gapless.testing import settled


async def ship(hub: Channels, order: int, customer: str) -> None:
    """The code under test."""
    await hub.publish({"order": order, "state": "shipped"}, f"orders:{customer}")


async def test_the_customer_is_told() -> None:
    async with (
        Channels(MemoryChannelsBackend(history=10)) as hub,
        hub.subscribe("orders:anna") as anna,
        hub.subscribe("orders:bert") as bert,
    ):
        await ship(hub, 7, "anna")
        await settled(hub)
        assert await anna.batch() == [Event("orders:anna", b'{"order":7,"state":"shipped"}', "1-0")]
        assert bert.stats.waiting_events == 0


async def test_a_browser_that_comes_back_gets_what_it_missed() -> None:
    async with Channels(MemoryChannelsBackend(history=10)) as hub:
        async with hub.subscribe("orders:anna") as browser:
            cursor = browser.cursor
        await ship(hub, 8, "anna")
        async with hub.subscribe("orders:anna", after=cursor) as browser:
            (event,) = await browser.batch()
            assert b"8" in event.data
