"""A real server to kill, stop, restart and roll back."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

from gapless.testing.faults.binaries import find_binary
from gapless.testing.faults.resp import ErrorReply, pack, read_reply

Persistence = Literal["none", "always", "everysec", "rdb"]

# Redis 6.2 does not know every option of today: only those are used that all know.
_PERSISTENCE = {
    "none": ("--save", "", "--appendonly", "no"),
    "always": ("--save", "", "--appendonly", "yes", "--appendfsync", "always"),
    "everysec": ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec"),
    "rdb": ("--save", "1 1", "--appendonly", "no"),
}
_SNAPSHOT = "gapless.snapshot"
_LOG = "server.log"
ANSWER_SECONDS = 10.0
SYNC_SECONDS = 20.0


class ServerError(RuntimeError):
    """The server does not start, does not answer, or refused a command; the message has its words."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One server process on a free loopback port, with a data directory of its own.

        with Server(persistence="always") as server:
            client = Redis(port=server.port)
            ...
            server.restart()

    Every method blocks until it has had its effect: for milliseconds, where nothing else is said. In an
    asyncio test call it as it is, or, where the loop must run on, `await asyncio.to_thread(server.restart)`.

    Args:
        binary: The server's program; None: what `find_binary()` finds.
        options: Further arguments, as on the command line: "--requirepass", "secret".
        port: Default: a free one. It stays the same over restarts.
        persistence: What a kill leaves. "none": nothing. "always", "everysec": an append-only file; a
            killed process, other than a machine without power, loses nothing that it has written to the
            file, so "everysec" loses little or nothing. "rdb": the newest snapshot, which the server
            makes a second after a change.

    Attributes:
        folder: The data directory; `stop()` removes it.
        unix_socket: The server listens here as well, and `command()` uses it.
        process: The process; None before `start()` and after `stop()`.

    Raises:
        FileNotFoundError: There is no server; the message says how to get one.
    """

    def __init__(
        self,
        binary: Path | str | None = None,
        *options: str,
        port: int | None = None,
        persistence: Persistence = "none",
    ) -> None:
        self.binary = find_binary() if binary is None else Path(binary)
        self.options = options
        self.port = port or free_port()
        self.persistence: Persistence = persistence
        self.folder = Path(tempfile.mkdtemp(prefix="gapless-"))
        self.unix_socket = self.folder / "server.sock"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For `Redis.from_url()`."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process, with the data that is there, and return when it answers.

        Raises:
            ServerError: It ends, or does not answer within 10 s.
        """
        self._start()

    def start_with(self, *arguments: str) -> None:
        """Start the process with these arguments alone and return when it answers on `unix_socket`.

        For other modes, such as a sentinel. Raises what `start()` raises.
        """
        # Not a pipe: nobody would read it, and the server would block on a full one.
        with (self.folder / _LOG).open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 (the caller chose the program)
                [str(self.binary), *arguments], stdout=log, stderr=subprocess.STDOUT
            )
        self._wait(lambda: self._ask("PING") is not None, ANSWER_SECONDS, "an answer to PING")

    def stop(self) -> None:
        """End the process, within 5 s, and remove its directory."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGCONT)
                self.process.terminate()
                try:
                    self.process.wait(5)
                except subprocess.TimeoutExpired:
                    self.kill()
            self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """kill -9. `start()` starts it again."""
        process = self._running()
        process.kill()
        process.wait()

    def pause(self) -> None:
        """Stop the process (SIGSTOP): its connections stay open and silent, and new ones are accepted."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._running().send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """kill -9, and start again with what `persistence` has kept."""
        self.kill()
        self.start()

    def restart_empty(self) -> None:
        """kill -9, and start again without any data."""
        self.kill()
        self._remove_data()
        self.start()

    def save_snapshot(self) -> None:
        """Keep a copy of the data of now; it replaces an earlier one."""
        self.command("SAVE")
        shutil.copyfile(self.folder / "dump.rdb", self.folder / _SNAPSHOT)

    def restart_from_snapshot(self) -> None:
        """kill -9, and start again with the data of `save_snapshot()`: what was written since is gone.

        With an append-only file, that is rewritten from the snapshot before this returns.

        Raises:
            ServerError: There is no snapshot.
        """
        if not (self.folder / _SNAPSHOT).exists():
            raise ServerError("there is no snapshot: call save_snapshot() first")
        self.kill()
        self._remove_data()
        shutil.copyfile(self.folder / _SNAPSHOT, self.folder / "dump.rdb")
        if "yes" not in _PERSISTENCE[self.persistence]:
            self.start()
            return
        # A server that starts with appendonly, and finds no such file, ignores the snapshot.
        self._start("--appendonly", "no")
        self.config_set("appendonly", "yes")
        self._wait(
            lambda: self.info("persistence").items() >= {
                "aof_rewrite_in_progress": "0", "aof_rewrite_scheduled": "0",
                "aof_last_bgrewrite_status": "ok",
            }.items(),
            SYNC_SECONDS, "the append-only file to be written",
        )  # fmt: skip

    def replica_of(self, primary: Server, *, port: int | None = None) -> None:
        """Make it a replica and return when it has caught up, within 20 s.

        Args:
            primary: Whose replica.
            port: Default: the primary's. That of a `Proxy` in between lets the replica lag, while the
                proxy stalls; call this by `asyncio.to_thread()` then, for the proxy needs the event loop.

        Raises:
            ServerError: It is not in step in time.
        """
        self.command("REPLICAOF", "127.0.0.1", port or primary.port)
        self._wait(
            lambda: self.info("replication").get("master_link_status") == "up",
            SYNC_SECONDS, f"the replica to be in step with port {primary.port}",
        )  # fmt: skip

    def promote(self) -> None:
        """Make a replica a primary; what it has not received from its primary is lost."""
        self.command("REPLICAOF", "NO", "ONE")

    def config_set(self, name: str, value: str | float) -> None:
        """CONFIG SET; a restart forgets it."""
        self.command("CONFIG", "SET", name, value)

    def info(self, section: str = "default") -> dict[str, str]:
        """Return the fields of a section of INFO."""
        lines = self.command("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def command(self, *words: str | bytes | float) -> Any:
        """Send one command over a connection of its own, past every proxy, and return the reply.

        Returns:
            bytes, int, None or a list of these, as RESP2 has them.

        Raises:
            ServerError: The server refused.
            OSError: It does not answer within 5 s, or is not there.
        """
        try:
            return self._ask(*words)
        except ErrorReply as error:
            raise ServerError(f"{' '.join(map(str, words)):.200}: {error}") from error

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self, *last: str) -> None:
        # The last of two options of the same name counts.
        self.start_with(
            "--port", str(self.port), "--bind", "127.0.0.1",
            "--dir", str(self.folder), "--unixsocket", str(self.unix_socket),
            "--daemonize", "no", "--loglevel", "warning",
            # The default, 5 s, waits for more replicas that could be served at once.
            "--repl-diskless-sync-delay", "0",
            *_PERSISTENCE[self.persistence], *self.options, *last,
        )  # fmt: skip

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise ServerError("the server was not started: with Server() as server, or start()")
        return self.process

    def _ask(self, *words: str | bytes | float) -> Any:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.unix_socket))
            connection.sendall(pack(words))
            with connection.makefile("rb") as stream:
                return read_reply(stream)

    def _remove_data(self) -> None:
        for path in self.folder.iterdir():
            if path.name.startswith("appendonly"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (self.folder / "dump.rdb").unlink(missing_ok=True)

    def _wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Return when `condition` is true; while the server is not ready to say, it is not."""
        process = self._running()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if process.poll() is not None:
                log = (self.folder / _LOG).read_text(errors="replace").strip()[-1000:]
                raise ServerError(
                    f"{self.binary} {' '.join(self.options)} ended with {process.returncode}: {log}"
                )
            try:
                if condition():
                    return
            except ErrorReply as error:
                # Also an answer: NOAUTH, where a password is set.
                if "LOADING" not in str(error):
                    return
            except OSError:
                pass
            time.sleep(0.01)
        raise ServerError(f"{self.binary}, port {self.port}: waited {seconds:g} s for {what}")
