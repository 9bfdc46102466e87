"""The end of a server: event streams have none of their own, and servers wait for open responses."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from gapless.hub import Channels

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def ending_with_the_server(hub: Channels) -> Iterator[None]:
    """End the subscribers of `hub` on SIGINT and SIGTERM; then the server's own handler has its turn.

    In other threads than the main one nothing happens, since signals can't be handled there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(hub.drain)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        elif handler == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in SIGNALS:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
