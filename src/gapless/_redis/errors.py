"""From what the server or the client library says to our exceptions, each with its remedy."""

from __future__ import annotations

import re

from hiredis import ReplyError

from gapless.errors import (
    BackendError,
    BackendUnavailable,
    PermissionDenied,
    UnsupportedServer,
)

__all__ = ["ReplyError", "afresh", "check_server", "error_code", "from_reply", "refusal"]

# Redis before 7 wraps an error inside a script in "ERR Error running script ...", so the code is
# looked for anywhere in the text.
_CODE = re.compile(
    r"\b(NOSCRIPT|WRONGTYPE|NOPERM|NOAUTH|WRONGPASS|READONLY|OOM|MISCONF|LOADING|MASTERDOWN|"
    r"CLUSTERDOWN|MOVED|ASK|CROSSSLOT|NOREPLICAS|BUSY)\b"
)
_DENIED = re.compile(
    r"no permissions|can't run this command|ACL failure|can't access|invalid password"
    r"|invalid username-password|Authentication required|unauthorized",
    re.IGNORECASE,
)
_MISSING = re.compile(r"unknown command|unknown subcommand|Unknown Redis command", re.IGNORECASE)

_REMEDIES = {
    "WRONGTYPE": "a key of this name holds something else: delete it, or use another key_prefix",
    "READONLY": "connected to a read-only replica: point the client at the primary",
    "OOM": "the server is out of memory: raise maxmemory, keep less history, or shorten stream_ttl",
    "MISCONF": "the server can't persist and refuses writes: see its log",
    "NOREPLICAS": "too few replicas (min-replicas-to-write)",
    "BUSY": "another script blocks the server: SCRIPT KILL it",
    "MOVED": "the server is a cluster node: cluster clients are not supported yet",
    "ASK": "the server is a cluster node: cluster clients are not supported yet",
    "CROSSSLOT": "the server is a cluster node: cluster clients are not supported yet",
}
# The server did nothing, and will be ready in a while. Asked again at most this far apart.
PASSING = {"LOADING", "MASTERDOWN", "CLUSTERDOWN"}
RETRY_SECONDS = 0.5
# What a SUBSCRIBE, or a look at a stream, may be answered with for a while.
PASSING_CODES = PASSING | {"BUSY"}

PERMISSION_REMEDY = (
    "the ACL user needs '~<key_prefix>*' (keys), '&<key_prefix>*' (channels) and "
    "+@connection +@pubsub +evalsha +eval +script|load +info, and for streams also "
    "+@stream +@keyspace +set +get +mget +time"
)

MINIMUM_VERSION = (6, 2)


def error_code(text: str) -> str | None:
    """Return the error code in a server's error reply, as ``"WRONGTYPE"``, or None."""
    match = _CODE.search(text)
    return match.group(1) if match else None


def from_reply(reply: ReplyError, doing: str) -> BackendError:
    """Turn the server's error reply into our exception. `doing` says what was refused."""
    text = str(reply)
    code = error_code(text)
    if code in {"NOPERM", "NOAUTH", "WRONGPASS"} or (code is None and _DENIED.search(text)):
        return PermissionDenied(f"{doing}: {text}; {PERMISSION_REMEDY}", code=code)
    if code in PASSING:
        return BackendUnavailable(f"{doing}: {text}; try again when the server is ready", code=code)
    if code is None and _MISSING.search(text):
        return UnsupportedServer(
            f"{doing}: {text}; gapless needs Redis 6.2 or Valkey, with scripts", code=code
        )
    remedy = _REMEDIES.get(code or "")
    return BackendError(f"{doing}: {text}" + (f"; {remedy}" if remedy else ""), code=code)


def refusal(error: BaseException, address: str) -> BackendError | None:
    """Return our exception if the server refused the connection for good, None if trying again may help.

    `error` is what connecting raised: an exception of the client library, known by its class name.
    """
    name = type(error).__name__
    text = str(error)
    if isinstance(error, BackendError):
        return None if isinstance(error, BackendUnavailable) else error
    if name in {"AuthenticationError", "AuthenticationWrongNumberOfArgsError"} or (
        error_code(text) in {"NOAUTH", "WRONGPASS"}
    ):
        return PermissionDenied(
            f"{address}: authentication failed: {text}; check username and password of the client",
            code="WRONGPASS",
        )
    if name in {"NoPermissionError", "AuthorizationError"}:
        return PermissionDenied(f"{address}: {text}; {PERMISSION_REMEDY}", code="NOPERM")
    if name == "ResponseError":
        return BackendError(f"{address}: the server refused the connection: {text}")
    return None


def afresh(error: BackendError) -> BackendError:
    """Return a copy to raise: a shared exception would collect the tracebacks, and frames, of all callers."""
    return type(error)(str(error), code=error.code)


def check_server(info: bytes) -> None:
    """Raise UnsupportedServer if `info`, an ``INFO server`` reply, tells of a server before Redis 6.2."""
    match = re.search(rb"redis_version:(\d+)\.(\d+)", info)
    if match and tuple(map(int, match.groups())) < MINIMUM_VERSION:
        version = match.group(0).decode().partition(":")[2]
        wanted = ".".join(map(str, MINIMUM_VERSION))
        raise UnsupportedServer(f"the server is version {version}; gapless needs {wanted} or later")
