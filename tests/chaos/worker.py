"""What producers and consumers have in common: arguments, a backend, and a line to the parent.

Requests come as JSON lines on stdin, answers go as JSON lines to stdout. A worker whose stdin ends, ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from gapless import RedisChannelsStreamBackend

KEY_PREFIX = "CHAOS"
HISTORY = 10_000
# Of every second consumer: short enough to overflow when it is slow.
SHORT_BACKLOG = 20
# Short, so that a round of some seconds sees every bound reached.
LIVENESS_SECONDS = 2.0
BOUNDS: dict[str, Any] = {
    "publish_timeout": 2.0,
    "liveness_timeout": LIVENESS_SECONDS,
    "connect_timeout": 1.0,
    "subscribe_timeout": 20.0,
}


def stream_of(channel: str) -> str:
    """Return the stream's key, which is also the channel of its pushes."""
    return f"{KEY_PREFIX}_{channel}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--channels", nargs="+", required=True)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--bug")
    parser.add_argument("--short-backlog", action="store_true")
    parser.add_argument("--restores", action="store_true", help="older snapshots are put back")
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("asyncio").addFilter(_is_ours)
    return parser.parse_args()


def _is_ours(record: logging.LogRecord) -> bool:
    """Leave out what asyncio says of a socket that broke while the client library was shaking hands.

    The library closes it and waits for nothing, so nobody fetches the error of the stream's `wait_closed()`;
    asyncio logs it if the objects are collected in an unlucky order. Our own sockets leave no error there
    (`test_a_reset_connection_leaves_no_exception_that_nobody_fetches`).
    """
    error = record.exc_info[1] if record.exc_info else None
    return not (
        isinstance(error, ConnectionError)
        and record.getMessage().startswith("Future exception was never retrieved")
    )


def make_backend(options: argparse.Namespace) -> RedisChannelsStreamBackend:
    redis = Redis(host="127.0.0.1", port=options.port)
    # A server that writes before it answers counts as durable; where backups are restored, it is not.
    durable = False if options.restores else None
    bounds = BOUNDS | ({"max_backlog": SHORT_BACKLOG} if options.short_backlog else {})
    return RedisChannelsStreamBackend(HISTORY, redis=redis, key_prefix=KEY_PREFIX, durable=durable, **bounds)


def answer(**fields: Any) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


async def requests() -> AsyncIterator[dict[str, Any]]:
    """Yield what the parent asks for, until it asks no more."""
    reader = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        yield json.loads(line)
