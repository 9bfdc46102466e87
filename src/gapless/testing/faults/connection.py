"""One connection through the proxy, and what goes wrong in each of its directions."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from gapless.testing.faults.resp import Requests, Values

CHUNK_BYTES = 65536
# A throttled direction forwards what this many seconds allow, and waits.
THROTTLE_SECONDS = 0.02


class Flow:
    """One direction, of one connection or of a whole proxy; what is set holds until it is set back.

    Attributes:
        delay_seconds: Waited before each chunk is forwarded. A chunk is what one read gave, up to
            64 KiB; chunks wait one after the other.
        bytes_per_second: Forwarded at most; None: no limit.
        discarding: Bytes are read and thrown away, at any place of a reply.
    """

    def __init__(self) -> None:
        self.delay_seconds = 0.0
        self.bytes_per_second: float | None = None
        self.discarding = False
        self._flowing = asyncio.Event()
        self._flowing.set()

    @property
    def stalled(self) -> bool:
        """Whether nothing is forwarded. What was sent waits, and so does a close that comes after it."""
        return not self._flowing.is_set()

    def stall(self) -> None:
        """Forward nothing until `flow()`: a full network, or a peer that does not read."""
        self._flowing.clear()

    def flow(self) -> None:
        """Forward again, first what has waited."""
        self._flowing.set()

    def heal(self) -> None:
        """Take back everything that is set."""
        self.delay_seconds = 0.0
        self.bytes_per_second = None
        self.discarding = False
        self._flowing.set()

    async def wait(self) -> None:
        """Return when it is not stalled."""
        await self._flowing.wait()


class Connection:
    """A client's connection, and the one to the server that belongs to it.

    Attributes:
        number: 1 for the first one that the proxy accepted.
        commands: Names of the commands that were sent on it, in upper case: {"HELLO", "SUBSCRIBE"}.
        to_server: The direction from client to server, of this connection alone.
        to_client: The other direction.
        forwarded_bytes: In both directions.
        silent: It is dead and nobody was told; see `silence()`.
    """

    def __init__(self, number: int, client: asyncio.StreamWriter) -> None:
        self.number = number
        self.commands: set[str] = set()
        self.to_server = Flow()
        self.to_client = Flow()
        self.forwarded_bytes = 0
        self.silent = False
        self._writers = [client]
        self._ended = asyncio.Event()
        self._requests = Requests()
        self._replies = Values()
        # Whether the next byte of the replies begins one; the replies to drop, and what to do then.
        self._between_replies = True
        self._drops: deque[bool] = deque()
        self._drop: bool | None = None

    def cut(self) -> None:
        """Close both sides at once; what has not been forwarded is lost."""
        self._ended.set()
        for writer in self._writers:
            writer.transport.abort()

    def silence(self) -> None:
        """Let it die without a FIN: nothing is forwarded, and neither end hears of the other's close.

        What a cable that was pulled looks like, or a firewall that forgot the connection. There is no way
        back; `cut()` ends it.
        """
        self.silent = True

    def heal(self) -> None:
        """Take back what is set in both directions, and the drops that have not happened."""
        self.to_server.heal()
        self.to_client.heal()
        self._drops.clear()

    def drop_next_reply(self, *, then_cut: bool = False) -> None:
        """Swallow exactly the next reply, and forward what follows. Repeated calls add up.

        The next reply is the first one of which the proxy has forwarded nothing yet. On a subscriber's
        connection every pushed message is a reply. The replies that follow answer the wrong commands
        then, as on no TCP network; `then_cut` closes the connection in the place of the reply instead.

        Raises:
            RuntimeError: What came on this connection is not the servers' protocol (TLS).
        """
        if not self._replies.readable:
            raise RuntimeError("drop_next_reply: the replies of this connection can't be read (is it TLS?)")
        self._drops.append(then_cut)

    # For the proxy.

    async def ended(self) -> None:
        """Return when it was cut."""
        await self._ended.wait()

    async def forward(
        self, client: asyncio.StreamReader, upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        proxy_to_server: Flow, proxy_to_client: Flow,
    ) -> None:  # fmt: skip
        """Forward until one end closes, then close the other."""
        server, to_server = upstream
        to_client = self._writers[0]
        self._writers.append(to_server)
        pumps = [
            asyncio.ensure_future(self._pump(client, to_server, (self.to_server, proxy_to_server))),
            asyncio.ensure_future(self._pump(server, to_client, (self.to_client, proxy_to_client))),
            asyncio.ensure_future(self.ended()),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self.cut()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flows: tuple[Flow, Flow]
    ) -> None:
        replies = flows[0] is self.to_client
        with suppress(OSError):
            while (data := await reader.read(CHUNK_BYTES)) and not self.silent:
                if not replies:
                    self.commands.update(self._requests.names(data))
                for flow in flows:
                    if flow.delay_seconds:
                        await asyncio.sleep(flow.delay_seconds)
                    await flow.wait()
                if any(flow.discarding for flow in flows):
                    continue
                await self._write(writer, self._kept(data) if replies else data, flows)
                if self._drop:
                    return
        if self.silent:
            # Neither the end nor the other direction is passed on, until someone cuts.
            await self.ended()

    def _kept(self, data: bytes) -> bytes:
        """Return a chunk of replies without those that are to be dropped, and without what a cut takes."""
        if not self._replies.readable:
            return data
        kept = b""
        for piece, ended in self._replies.split(data):
            if self._between_replies and self._drops:
                self._drop = self._drops.popleft()
            self._between_replies = ended
            if self._drop is None:
                kept += piece
            elif self._drop:
                break
            elif ended:
                self._drop = None
        return kept

    async def _write(self, writer: asyncio.StreamWriter, data: bytes, flows: tuple[Flow, Flow]) -> None:
        """Write, as fast as the flows allow."""
        while data and not self.silent:
            rates = [flow.bytes_per_second for flow in flows if flow.bytes_per_second is not None]
            size = max(1, int(min(rates) * THROTTLE_SECONDS)) if rates else len(data)
            piece, data = data[:size], data[size:]
            writer.write(piece)
            await writer.drain()
            self.forwarded_bytes += len(piece)
            if rates:
                await asyncio.sleep(len(piece) / min(rates))
