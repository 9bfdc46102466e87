"""Keeps an unchanged Litestar application alive when a publish fails.

Litestar's `ChannelsPlugin.publish()` only queues; one task of the plugin sends. If the backend raises
there, the task ends, later events are queued for ever, and shutdown waits for them without bound. So
an error must not reach that task: it is logged instead. `wait_published()` and direct callers run in
tasks of their own, and get every error.
"""

from __future__ import annotations

import asyncio

_WORKER = "ChannelsPlugin._pub_worker"


def in_litestar_worker() -> bool:
    """Return whether the running task is the publish worker of Litestar's plugin."""
    task = asyncio.current_task()
    return task is not None and getattr(task.get_coro(), "__qualname__", None) == _WORKER
