"""How tasks are ended, whatever they do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

logger = logging.getLogger("gapless")

# A task that does not end when it is cancelled is cancelled again so often, a second apart, and left behind.
MAX_CANCELS = 5


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and return when they have ended, or will not.

    On Python 3.11, `asyncio.wait_for()` loses a cancellation that comes when it is done; so do users' loops
    that catch too much.
    """
    left = {task for task in tasks if not task.done()}
    for _ in range(MAX_CANCELS):
        if not left:
            return
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=1)
    for task in left:
        logger.error("%r does not end", task)
