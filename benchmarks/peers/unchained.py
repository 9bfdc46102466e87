"""gapless without its chain: events are delivered as they are pushed, whatever was missed between them."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from benchmarks.peers.gapless import Publisher
from benchmarks.peers.gapless import open_backend as with_chain
from gapless._redis.frames import FramedPushLink
from gapless._redis.repairs import Repairs
from gapless._redis.wire import Replies

__all__ = ["Publisher", "open_backend"]


def open_backend(kind: str, port: int, keep: int | None) -> AbstractAsyncContextManager[Any]:
    FramedPushLink.received = received  # type: ignore[method-assign]
    # A sweep would find every channel behind.
    Repairs.start_sweeping = lambda _: None  # type: ignore[method-assign]
    return with_chain(kind, port, keep)


def received(self: FramedPushLink, replies: Replies) -> None:
    """Do what `FramedPushLink.received` does, but for the lines that look at the chain and move it on."""
    live = self.subscriptions.live
    items: list[Any] = []
    size_bytes = 0
    try:
        for reply in replies:
            if reply.__class__ is not list or reply[0] != b"message":
                self._control(reply, items)
                continue
            _, name, frame = reply
            subscription = live.get(name)
            if subscription is None:
                continue
            try:
                mark, _, data = frame.split(b" ", 2)
            except ValueError:
                self._foreign(subscription, frame)
                continue
            size_bytes += len(data)
            items.append((subscription, data, mark))
    finally:
        if items:
            self._hand_over(items, size_bytes)
