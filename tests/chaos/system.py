"""What a round runs on: servers, and workers that reach them through proxies."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

from gapless.testing.faults import Persistence, Proxy, Server
from tests.chaos.history import Consumer, History, Item, Publish
from tests.chaos.process import Worker
from tests.chaos.schedule import CHANNELS, Schedule
from tests.chaos.worker import stream_of

# Six processes and more start at once, perhaps on a slow machine.
START_SECONDS = 60.0


class System:
    """A server or two, producers and consumers.

    Attributes:
        primary: The server that the workers' proxies lead to.
        replica: Its replica, in the topology "replica".
        between: The replica's way to its primary.
        workers: By name.
    """

    def __init__(self, schedule: Schedule, folder: Path, bug: str | None) -> None:
        self._schedule = schedule
        self._bug = bug
        persistence = cast("Persistence", schedule.persistence)
        self.primary = Server(persistence=persistence)
        self.replica = Server(persistence=persistence) if schedule.topology == "replica" else None
        self.between = Proxy(self.primary.port)
        names = [*schedule.consumer_names, *schedule.producer_names]
        self.workers = {name: Worker(name, self.primary.port, folder) for name in names}
        self.producers = [self.workers[name] for name in schedule.producer_names]
        self.consumers = [self.workers[name] for name in schedule.consumer_names]
        self._subscribed: dict[str, float] = {}
        self._items: dict[str, list[Item]] = {worker.name: [] for worker in self.consumers}
        self._publishes: list[Publish] = []

    async def start(self) -> None:
        """Start everything; consumers have subscribed when this returns."""
        await asyncio.to_thread(self.primary.start)
        await self.between.start()
        if self.replica is not None:
            await asyncio.to_thread(self.replica.start)
            await asyncio.to_thread(self.replica.replica_of, self.primary, port=self.between.port)
        for worker in self.workers.values():
            await worker.start(
                CHANNELS,
                seed=self._schedule.seed,
                bug=self._bug if worker in self.consumers else None,
                restores=any(fault.kind == "rollback" for fault in self._schedule.faults),
                short_backlog=worker in self.consumers[1::2],
            )
        for worker in self.workers.values():
            ready = await worker.answer(START_SECONDS)
            if worker in self.consumers:
                self._subscribed[worker.name] = ready["subscribed"]

    async def promote(self) -> None:
        """Promote the replica and lead everybody there; the old primary comes back empty, as its replica."""
        old, new = self.primary, self.replica
        assert new is not None
        await asyncio.to_thread(new.promote)
        self.primary, self.replica = new, old
        for worker in self.workers.values():
            worker.proxy.target_port = new.port
            worker.proxy.cut()
        await asyncio.to_thread(old.kill)
        self.between.target_port = new.port
        self.between.heal()
        self.between.cut()
        await asyncio.to_thread(old.restart_empty)
        await asyncio.to_thread(old.replica_of, new, port=self.between.port)

    def heal(self) -> None:
        """End what a fault may have left behind."""
        for worker in self.workers.values():
            worker.resume()
            worker.proxy.heal()

    async def remove_wrong_keys(self) -> None:
        """Delete what a fault has put in the place of a stream, and a failover or a restart has brought back."""
        for channel in CHANNELS:
            if await asyncio.to_thread(self.primary.command, "TYPE", stream_of(channel)) == b"string":
                await asyncio.to_thread(self.primary.command, "DEL", stream_of(channel))

    def history(self) -> History:
        """Return what was recorded until now."""
        for worker in self.producers:
            self._publishes += [Publish(**record) for record in worker.records.new()]
        for worker in self.consumers:
            self._items[worker.name] += [Item(**record) for record in worker.records.new()]
        return History(
            list(self._publishes),
            [
                Consumer(name, self._subscribed[name], list(items))
                for name, items in self._items.items()
                if name in self._subscribed
            ],
        )

    async def stop(self) -> dict[str, str]:
        """End everything; return by worker what is wrong with its end."""
        try:
            problems = await asyncio.gather(*(worker.stop() for worker in self.workers.values()))
        finally:
            for server in (self.primary, self.replica):
                if server is not None:
                    server.stop()
            await self.between.stop()
        return {name: text for name, text in zip(self.workers, problems, strict=True) if text}
