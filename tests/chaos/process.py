"""A worker process as its parent sees it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from gapless.testing.faults import Proxy
from tests.chaos.history import Reader

MAX_LOG_CHARACTERS = 3000
ROOT = Path(__file__).parent.parent.parent


class Worker:
    """A producer or consumer, with a proxy of its own between it and the server.

    Attributes:
        name: "producer-1", "consumer-2".
        proxy: Its way to the server.
        records: What it has recorded.
    """

    def __init__(self, name: str, server_port: int, folder: Path) -> None:
        self.name = name
        self.proxy = Proxy(server_port)
        self._record = folder / f"{name}.jsonl"
        self._log = folder / f"{name}.log"
        self.records = Reader(self._record)
        self._process: asyncio.subprocess.Process | None = None

    async def start(
        self, channels: tuple[str, ...], *, seed: int, bug: str | None, restores: bool, short_backlog: bool
    ) -> None:
        """Start the proxy and the process."""
        await self.proxy.start()
        role = self.name.partition("-")[0]
        flags = {"--restores": restores, "--short-backlog": short_backlog}
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", f"tests.chaos.{role}", "--name", self.name,
                "--port", str(self.proxy.port), "--record", str(self._record), "--seed", str(seed),
                *(("--bug", bug) if bug else ()), *(name for name, given in flags.items() if given), "--channels", *channels,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log, cwd=ROOT,
                # Ctrl-C is for the parent, which ends the rest in order.
                start_new_session=True,
            )  # fmt: skip

    def ask(self, **request: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")

    async def answer(self, seconds: float) -> dict[str, Any]:
        """Return its next answer.

        Raises:
            TimeoutError: None within `seconds`.
            EOFError: It has ended.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(seconds):
            line = await self._process.stdout.readline()
        if not line:
            raise EOFError(f"{self.name} has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    async def stop(self) -> str:
        """End it, and return what is wrong with its end; empty if nothing is."""
        await self.proxy.stop()
        process = self._process
        if process is None:
            return ""
        self.resume()
        assert process.stdin is not None
        process.stdin.close()
        problem = ""
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            problem = "it did not end within 10 s; "
        finally:
            self._signal(signal.SIGKILL)
            await process.wait()
        log = self._log.read_text(errors="replace")
        error = log.find("Traceback")
        if process.returncode or problem or error >= 0:
            # From the line that says what the traceback is of; without one, the end.
            start = log.rfind("\n", 0, max(error - 1, 0)) + 1 if error >= 0 else len(log) - MAX_LOG_CHARACTERS
            text = log[max(start, 0) :][:MAX_LOG_CHARACTERS].strip()
            return f"{problem}exit code {process.returncode}: {text}"
        return ""

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
