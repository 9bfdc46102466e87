"""Load side of `sockets`: the clients, as cheap as they can be."""

from __future__ import annotations

import asyncio
import time

from benchmarks.protocol import Job, Parent
from benchmarks.scenarios.quantiles import quantile

HANDSHAKES = {
    "sse": "GET /room HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n",
    "websocket": "GET /room HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
}
STAMP_DIGITS = 20

# After the last event was published, so long for all to arrive.
GRACE_SECONDS = 1.0


class Watcher(asyncio.Protocol):
    """One client."""

    def __init__(self, handshake: bytes, delays_ns: list[int]) -> None:
        self._handshake = handshake
        self._delays_ns = delays_ns

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._handshake)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        at = data.find(b"T:")
        while at >= 0:
            self._delays_ns.append(now - int(data[at + 2 : at + 2 + STAMP_DIGITS]))
            at = data.find(b"T:", at + 2)


async def run(
    job: Job,  # noqa: ARG001 (clients don't know the library)
    parent: Parent,
    *,
    port: int,
    clients: int,
    transport: str,
) -> None:
    loop = asyncio.get_running_loop()
    delays_ns: list[int] = []
    handshake = HANDSHAKES[transport].encode()
    for _ in range(clients):
        await loop.create_connection(lambda: Watcher(handshake, delays_ns), "127.0.0.1", port)
    parent.say("ready")
    await asyncio.to_thread(parent.wait)
    delays_ns.clear()
    parent.say("warm")
    await asyncio.to_thread(parent.wait)
    await asyncio.sleep(GRACE_SECONDS)
    delays = sorted(delay / 1e6 for delay in delays_ns)
    parent.say("result", events=len(delays), p50_ms=quantile(delays, 0.5), p99_ms=quantile(delays, 0.99))
