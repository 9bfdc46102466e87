"""Faults of a schedule, done to a system."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from gapless.testing.faults import Connection, ServerError
from tests.chaos.schedule import Fault
from tests.chaos.server_faults import SERVER_FAULTS
from tests.chaos.system import System

DELAY_SECONDS = 0.05
BYTES_PER_SECOND = 3000.0


class Injector:
    """Does each fault when its time comes.

    Args:
        system: To this.
        log: Gets a line when a fault begins, and when it could not be done.
    """

    def __init__(self, system: System, log: Callable[[str], None]) -> None:
        self._system = system
        self._log = log
        # A fault of the server can take longer than the schedule says: a replica has to catch up.
        self._server = asyncio.Lock()

    async def run(self, faults: tuple[Fault, ...]) -> None:
        """Return when all faults are over."""
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                group.create_task(self._do(fault, started))

    async def _do(self, fault: Fault, started: float) -> None:
        await asyncio.sleep(started + fault.at - time.monotonic())
        try:
            if fault.target == "server":
                async with self._server:
                    self._log(str(fault))
                    await SERVER_FAULTS[fault.kind](self._system, fault)
            else:
                self._log(str(fault))
                await self._network_or_process(fault)
        except (OSError, ServerError) as error:
            self._log(f"         {fault.kind} could not be done: {error}")

    async def _network_or_process(self, fault: Fault) -> None:
        worker = self._system.workers[fault.target]
        proxy = worker.proxy
        match fault.kind:
            case "cut":
                proxy.cut(_chosen(fault.choice))
            case "refuse":
                proxy.refusing = True
                proxy.cut()
            case "half-open":
                proxy.half_open = True
                proxy.silence()
            case "stall-to-server":
                proxy.to_server.stall()
            case "stall-to-client":
                proxy.to_client.stall()
            case "drop-reply":
                # A network loses no reply without losing the connection.
                proxy.drop_next_reply(_chosen("commands"), then_cut=True)
            case "drop-push":
                proxy.drop_next_reply(_chosen("subscriber"))
            case "delay":
                proxy.to_client.delay_seconds = DELAY_SECONDS
            case "throttle":
                proxy.to_client.bytes_per_second = BYTES_PER_SECOND
            case "stop-process":
                worker.pause()
            case "block-loop":
                worker.ask(do="block", seconds=fault.seconds)
            case "slow-consumer":
                worker.ask(do="slow", seconds=fault.seconds)
        if fault.seconds:
            await asyncio.sleep(fault.seconds)
            if fault.kind == "stop-process":
                worker.resume()
            elif fault.kind not in {"block-loop", "slow-consumer"}:
                proxy.heal()


def _chosen(choice: str) -> Callable[[Connection], bool]:
    """Return a predicate for the connections of a backend: it subscribes on one and asks on the other."""
    return lambda connection: (
        choice == "both" or ("SUBSCRIBE" in connection.commands) == (choice == "subscriber")
    )
