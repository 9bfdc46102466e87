"""How a task is ended, whatever it does."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

logger = logging.getLogger("gapless")

# A task that does not end when it is cancelled is cancelled again so often, a second apart, and left behind.
MAX_CANCELS = 5


async def end_task(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and return when it has ended, or will not."""
    for _ in range(MAX_CANCELS):
        if task.done():
            return
        task.cancel()
        # Cancelled again: on Python 3.11, `asyncio.wait_for()` may lose a cancellation.
        await asyncio.wait({task}, timeout=1)
    if not task.done():
        logger.error("%r does not end", task)
