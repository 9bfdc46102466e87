"""The server of a run, and what it costs."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from tests.support.servers import Server

from benchmarks.clock import pin, usable_cores


class Broker:
    """A running server of our own."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.port = server.port

    def cpu_seconds(self) -> float:
        """CPU time of the server process until now, in microsecond resolution."""
        text = self._server.command("INFO", "cpu").decode()
        # main_thread fields repeat part of it, so the names are matched from the start of a line.
        parts = re.findall(r"^used_cpu_(?:sys|user):([\d.]+)", text, re.MULTILINE)
        return sum(map(float, parts))

    def calls(self, command: str) -> int:
        """How often the server was sent a command until now."""
        text = self._server.command("INFO", "commandstats").decode()
        found = re.search(rf"^cmdstat_{command}:calls=(\d+)", text, re.MULTILINE)
        return int(found[1]) if found else 0

    def connections(self) -> list[int]:
        """Who is connected, but for us."""
        listing = self._server.command("CLIENT", "LIST").decode()
        return [int(found) for found in re.findall(r"^id=(\d+) (?!.* cmd=client)", listing, re.MULTILINE)]

    def kill(self, connections: Iterable[int]) -> None:
        """Kill these; who has gone meanwhile is no error."""
        for connection in connections:
            self._server.command("CLIENT", "KILL", "ID", str(connection))

    def used_bytes(self) -> int:
        """Memory of the server's data and connections."""
        text = self._server.command("INFO", "memory").decode()
        found = re.search(r"^used_memory:(\d+)", text, re.MULTILINE)
        assert found is not None
        return int(found[1])

    def version(self) -> str:
        text = self._server.command("INFO", "server").decode()
        fields = dict(re.findall(r"^(\w+):([^\r\n]*)", text, re.MULTILINE))
        if "valkey_version" in fields:
            return f"Valkey {fields['valkey_version']}"
        return f"Redis {fields['redis_version']}"

    def empty(self) -> None:
        """Delete everything, before this returns."""
        self._server.command("FLUSHALL", "SYNC")

    def idle_percent(self, seconds: float) -> float:
        """CPU of the server when nobody is connected."""
        cpu, started = self.cpu_seconds(), time.perf_counter()
        time.sleep(seconds)
        return (self.cpu_seconds() - cpu) / (time.perf_counter() - started) * 100

    @contextmanager
    def pinned(self, cores: list[int]) -> Iterator[None]:
        """Keep the server on `cores` for a while; none: let it float."""
        assert self._server.process is not None
        if cores:
            pin(self._server.process.pid, set(cores))
        try:
            yield
        finally:
            if cores:
                with suppress(OSError):  # Ctrl-C has ended the server, too
                    pin(self._server.process.pid, usable_cores())
