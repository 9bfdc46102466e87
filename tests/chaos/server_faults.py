"""Faults of the server, by kind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.chaos.schedule import Fault
from tests.chaos.system import System
from tests.chaos.worker import stream_of

LOW_LIMIT_BYTES = 65536
# The server's own default.
USUAL_LIMIT = f"pubsub {32 * 2**20} {8 * 2**20} 60"


async def command(system: System, *words: str | bytes | float) -> Any:
    return await asyncio.to_thread(system.primary.command, *words)


async def kill_clients(system: System, fault: Fault) -> None:
    await command(system, "CLIENT", "KILL", "TYPE", fault.choice, "SKIPME", "yes")


async def crash(system: System, fault: Fault) -> None:
    server = system.primary
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(fault.seconds)
    await asyncio.to_thread(server.start)


async def rollback(system: System, fault: Fault) -> None:
    server = system.primary
    await asyncio.to_thread(server.save_snapshot)
    await asyncio.sleep(fault.seconds)
    await asyncio.to_thread(server.restart_from_snapshot)


async def flushall(system: System, fault: Fault) -> None:
    await command(system, "FLUSHALL")


async def script_flush(system: System, fault: Fault) -> None:
    await command(system, "SCRIPT", "FLUSH")


async def delete_stream(system: System, fault: Fault) -> None:
    await command(system, "DEL", stream_of(fault.choice))


async def expire_stream(system: System, fault: Fault) -> None:
    await command(system, "PEXPIRE", stream_of(fault.choice), 1)


async def trim_stream(system: System, fault: Fault) -> None:
    await command(system, "XTRIM", stream_of(fault.choice), "MAXLEN", 0)


async def output_buffer(system: System, fault: Fault) -> None:
    """One message that is larger than the limit costs every subscriber of the channel its connection."""
    await command(system, "CONFIG", "SET", "client-output-buffer-limit", f"pubsub {LOW_LIMIT_BYTES} 0 0")
    try:
        await command(system, "PUBLISH", stream_of(fault.choice), bytes(16 * LOW_LIMIT_BYTES))
    finally:
        await command(system, "CONFIG", "SET", "client-output-buffer-limit", USUAL_LIMIT)


async def client_pause(system: System, fault: Fault) -> None:
    await command(system, "CLIENT", "PAUSE", int(fault.seconds * 1000))
    await asyncio.sleep(fault.seconds)


async def server_stop(system: System, fault: Fault) -> None:
    server = system.primary
    server.pause()
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        server.resume()


async def maxmemory(system: System, fault: Fault) -> None:
    await command(system, "CONFIG", "SET", "maxmemory", 1)
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        await command(system, "CONFIG", "SET", "maxmemory", 0)


async def evict(system: System, fault: Fault) -> None:
    await command(system, "CONFIG", "SET", "maxmemory-policy", "allkeys-random")
    try:
        await maxmemory(system, fault)
    finally:
        await command(system, "CONFIG", "SET", "maxmemory-policy", "noeviction")


async def wrong_type(system: System, fault: Fault) -> None:
    await command(system, "SET", stream_of(fault.choice), "not a stream")
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        await command(system, "DEL", stream_of(fault.choice))


async def promote(system: System, fault: Fault) -> None:
    """The replica lags behind for a while, and is promoted then."""
    system.between.stall()
    await asyncio.sleep(fault.seconds)
    await system.promote()


SERVER_FAULTS: dict[str, Callable[[System, Fault], Awaitable[None]]] = {
    "kill-clients": kill_clients,
    "crash": crash,
    "rollback": rollback,
    "flushall": flushall,
    "script-flush": script_flush,
    "delete-stream": delete_stream,
    "expire-stream": expire_stream,
    "trim-stream": trim_stream,
    "output-buffer": output_buffer,
    "client-pause": client_pause,
    "server-stop": server_stop,
    "maxmemory": maxmemory,
    "evict": evict,
    "wrong-type": wrong_type,
    "promote": promote,
}
