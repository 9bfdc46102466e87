"""The demo as a process of its own, as `make demo` runs it, and a window without a browser."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 15
MARK = "GAPLESS_DEMO_TEST"


class Demo:
    """`python -m examples.chat`; a context manager that leaves nothing behind.

    Args:
        log: Where its output goes.
        port: 0 for any free one.
        redis_url: A server instead of the embedded one.
    """

    def __init__(self, log: Path, *, port: int = 0, redis_url: str | None = None) -> None:
        self.log = log
        self.port = port
        self._redis_url = redis_url
        # Inherited by every process that the demo starts, so that the test can find them all.
        self._mark = secrets.token_hex(8)
        self.process: subprocess.Popen[bytes] | None = None
        self.address = ""
        self.valkey_pid = 0

    def __enter__(self) -> Self:
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "examples.chat", "--port", str(self.port)),
                    *(() if self._redis_url is None else ("--redis-url", self._redis_url)),
                ],
                cwd=ROOT,
                env=os.environ | {MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self.wait_until(lambda: "Ctrl-C" in self.output() or self.process.poll() is not None)
            address = re.search(r"http://(127\.0\.0\.1:\d+)", self.output())
            pid = re.search(r"process (\d+)", self.output())
            assert address is not None and (pid is None) == (self._redis_url is not None), self.output()
            self.address, self.valkey_pid = address[1], 0 if pid is None else int(pid[1])
            self.port = int(self.address.rpartition(":")[2])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)

    def output(self) -> str:
        return self.log.read_text()

    def end(self, by: signal.Signals, *, seconds: float = 10) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(by)
        return self.process.wait(seconds)

    def processes(self) -> set[int]:
        """Return the living processes of the demo. On Linux all of them; elsewhere only Valkey."""
        mark = f"{MARK}={self._mark}".encode()
        # Valkey is looked for by its id: it writes its title over its environment.
        found = {self.valkey_pid} if _lives(self.valkey_pid) else set()
        for environment in Path("/proc").glob("[0-9]*/environ"):
            try:
                # Of a process that has ended, and that nobody has waited for, it is empty.
                if mark in environment.read_bytes().split(b"\0"):
                    found.add(int(environment.parent.name))
            except OSError:
                continue
        return found

    def refuses(self) -> bool:
        """Return whether nobody listens on the port."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS).close()
        except ConnectionRefusedError:
            return True
        return False

    async def restart(self, room: str, messages: int) -> None:
        """Restart the web server, and return when the new one is up."""
        ups = self.output().count("up again")
        assert (await self.post("/restart", {"room": room, "messages": messages}))[0] == 202
        await asyncio.to_thread(self.wait_until, lambda: self.output().count("up again") > ups)

    def wait_until(self, condition: Callable[[], Any]) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < end, self.output()
            time.sleep(0.01)

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Return status and answer."""
        return await asyncio.to_thread(self._post, path, body)

    def _post(self, path: str, body: Any) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"http://{self.address}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


class Window:
    """What a browser window says and gets. `hello` is the first event, `cursor` where the window stands."""

    def __init__(self, connection: ClientConnection, hello: dict[str, Any]) -> None:
        self.socket = connection
        self.hello = hello
        self.cursor: str = hello["cursor"]

    async def say(self, text: str, /, **changes: Any) -> str:
        """Send a message, and return its id."""
        message = {"id": secrets.token_hex(16), "author": "Ada", "text": text} | changes
        await self.socket.send(json.dumps(message))
        return message["id"]

    async def get(self, *kinds: str) -> dict[str, Any]:
        """Return the next event of these kinds; others are passed over."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                event = json.loads(await self.socket.recv())
                self.cursor = event.get("cursor") or self.cursor
                if event["kind"] in kinds:
                    return event

    async def hear(self) -> dict[str, Any]:
        """Return the next message, which no gap may precede."""
        event = await self.get("message", "gap")
        assert event["kind"] == "message", event
        return event["message"]


@asynccontextmanager
async def window(demo: Demo, room: str, *, after: str | None = None) -> AsyncIterator[Window]:
    """Open a window, perhaps one that comes back with a cursor."""
    query = "" if after is None else "?" + urllib.parse.urlencode({"after": after})
    async with connect(f"ws://{demo.address}/rooms/{room}{query}") as connection:
        hello = json.loads(await connection.recv())
        assert hello["kind"] == "hello"
        yield Window(connection, hello)


def texts(items: list[dict[str, Any]]) -> list[str]:
    """Return what items of a hello say; a gap is its reason in brackets."""
    return [f"[{item['reason']}]" if item["kind"] == "gap" else item["message"]["text"] for item in items]


def _lives(pid: int) -> bool:
    if pid == 0:
        return False
    listing = subprocess.run(
        ["ps", "-ww", "-o", "stat=", "-o", "comm=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    # "Z": ended, and not yet waited for.
    return "valkey-server" in listing and not listing.startswith("Z")
