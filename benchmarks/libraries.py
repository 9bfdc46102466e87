"""The libraries that are measured: what they are called, where they run, and what they can't do."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Environments, which the Makefile makes. The first is the one that the run itself is in.
OWN = "the run's"
PEERS = ".venv-peers"
PEERS_LITESTAR = ".venv-peers-litestar"

# What is not a library: a C client, or a blocking socket with a parser in C.
LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Library:
    """One of them.

    Attributes:
        title: Its name for readers.
        module: Its adapter in `benchmarks.peers`.
        environment: Where its processes run.
        imports: The modules that its user imports.
        kinds: What it has for "pubsub" (nothing is stored) and for "streams" (events are).
        most_channels: It is not asked for more channels than these, for the reason in its adapter.
    """

    title: str
    module: str
    environment: str = PEERS
    imports: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    most_channels: int = 100_000


# What is no library either, but the least that an event loop or an ASGI server needs for the same.
ALONE = {"loop", "protocol", "bare"}

# Who is no rival. Without a figure of theirs, a run has failed.
OURS = {"gapless", "unchained", LIMIT, *ALONE}

LITESTAR = Library(
    "Litestar",
    "litestar",
    OWN,
    ("litestar.channels.backends.redis", "redis.asyncio"),
    {"pubsub": "RedisChannelsPubSubBackend", "streams": "RedisChannelsStreamBackend, which polls"},
    most_channels=10_000,
)

LIBRARIES = {
    "gapless": Library(
        "gapless",
        "gapless",
        OWN,
        ("gapless.backends.redis", "redis.asyncio"),
        {"pubsub": "RedisChannelsPubSubBackend", "streams": "RedisChannelsStreamBackend"},
    ),
    "unchained": Library("without the chain", "unchained", OWN),
    "litestar": LITESTAR,
    "litestar-installed": replace(LITESTAR, title="Litestar with redis-py < 5.3", environment=PEERS_LITESTAR),
    "channels_redis": Library(
        "channels_redis",
        "channels_redis",
        imports=("channels_redis.core", "channels_redis.pubsub"),
        kinds={
            "pubsub": "RedisPubSubChannelLayer, a group",
            "streams": "RedisChannelLayer, a group: a sorted set per receiver",
        },
        most_channels=10_000,
    ),
    "broadcaster-redis": Library(
        "broadcaster",
        "broadcaster_redis",
        imports=("broadcaster", "broadcaster._backends.redis"),
        kinds={"pubsub": "redis://", "streams": "redis-stream://, one entry per XREAD"},
        most_channels=10_000,
    ),
    "socketio": Library(
        "python-socketio",
        "socketio",
        imports=("socketio", "redis.asyncio"),
        kinds={"pubsub": "AsyncRedisManager, a room"},
    ),
    "faststream": Library(
        "FastStream",
        "faststream",
        imports=("faststream.redis",),
        kinds={"pubsub": "RedisBroker, a channel", "streams": "RedisBroker, a stream"},
        most_channels=100,
    ),
    "coredis": Library("coredis", "coredis", imports=("coredis",), kinds={"pubsub": "publish(), pubsub()"}),
    "redis-py": Library(
        "redis-py",
        "redis_py",
        imports=("redis.asyncio",),
        kinds={"pubsub": "publish(), pubsub().listen()", "streams": "XADD, and XREAD that blocks"},
    ),
    # In process: web servers with a broker in memory.
    "broadcaster": Library("sse-starlette with broadcaster", "broadcaster", OWN),
    "bare": Library("a bare ASGI loop", "bare", OWN),
    "loop": Library("tasks and futures alone", "loop", OWN),
    "protocol": Library("a bare asyncio protocol", "protocol", OWN),
}


def others(kind: str) -> tuple[str, ...]:
    """Return what is measured beside gapless and Litestar, of those that have this kind."""
    known = ("gapless", "unchained", "litestar")
    return tuple(name for name, library in LIBRARIES.items() if kind in library.kinds and name not in known)


def title(name: str) -> str:
    return LIBRARIES[name].title if name in LIBRARIES else name


def python(name: str) -> str:
    """Return the Python with which a process of this library runs; of what is no library, our own."""
    environment = LIBRARIES[name].environment if name in LIBRARIES else OWN
    return sys.executable if environment == OWN else str(ROOT / environment / "bin" / "python")


def missing(names: Iterable[str]) -> list[str]:
    """Return those whose environment was not made."""
    return [name for name in names if not is_there(name)]


def is_there(name: str) -> bool:
    """Return whether a library's environment was made, and completely."""
    environment = LIBRARIES[name].environment
    return environment == OWN or (ROOT / environment / ".ready").exists()
