"""The web server: uvicorn on a loopback socket that is ours from the start."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from examples.chat.messages import Work

HOST = "127.0.0.1"
DEFAULT_PORT = 8000
PORTS_TRIED = 20

# Frames of a window: a message of 500 characters is at most 6 KB of JSON.
WEBSOCKET_LIMIT_BYTES = 16 * 1024

# An open WebSocket is closed at once; this is for a client that does not answer.
FAREWELL_SECONDS = 3


def listen(port: int | None) -> socket.socket:
    """Return a listening socket. None: on the first free port from `DEFAULT_PORT`.

    Raises:
        OSError: The port is taken, or all that were tried.
    """
    if port is not None:
        return _listen(port)
    for candidate in range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED - 1):
        try:
            return _listen(candidate)
        except OSError:
            continue
    return _listen(DEFAULT_PORT + PORTS_TRIED - 1)


class WebServer:
    """The web server, for one life: made, run once, and ended."""

    def __init__(self) -> None:
        self._server: _Server | None = None
        self._work: Work | None = None

    def restart(self, work: Work) -> bool:
        """Stop, so that `run()` returns `work`; False if it stops already. For the application."""
        if self._server is None or self._server.should_exit:
            return False
        self._work = work
        self._server.should_exit = True
        return True

    def run(self, app: Any, listener: socket.socket, *, on_ready: Callable[[], None]) -> Work | None:
        """Serve until `restart()`, SIGINT or SIGTERM, and close the listener.

        Returns:
            When all connections are closed, and the app is down: what is to be done before the next web
            server starts. None: there is none to start.
        """
        config = uvicorn.Config(
            app,
            lifespan="on",
            log_level="warning",
            ws_max_size=WEBSOCKET_LIMIT_BYTES,
            timeout_graceful_shutdown=FAREWELL_SECONDS,
        )
        self._server = _Server(config, on_ready)
        self._server.run(sockets=[listener])
        return None if self._server.signalled else self._work


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self.signalled = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._on_ready()

    def handle_exit(self, _sig: int, _frame: FrameType | None) -> None:
        # Not uvicorn's: it skips the application's shutdown at a second Ctrl-C. The farewell has a
        # bound, so that impatience need not cost a clean end.
        self.signalled = True
        self.should_exit = True


def _listen(port: int) -> socket.socket:
    # Listening, not only bound: another demo that starts now must see that the port is taken.
    return socket.create_server((HOST, port), backlog=128)
