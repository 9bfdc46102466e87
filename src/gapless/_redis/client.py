"""What the user hands over, and the dedicated connections that are made from it.

Their client is the recipe, not the supplier: host, credentials, TLS, unix socket, database and
Sentinel come from its pool's public attributes, and no connection is taken from the pool.
Works with redis-py 5.0.1 and later, and valkey-py 6.0 and later.
"""

from __future__ import annotations

import importlib
import inspect
import logging
from typing import TYPE_CHECKING, Any

from gapless.errors import ConfigurationError

if TYPE_CHECKING:
    from redis.asyncio import Redis as Redis
    from valkey.asyncio import Valkey as Valkey

logger = logging.getLogger("gapless")

LIBRARIES = ("redis", "valkey")

# Settings of the user's that would break a connection which waits for pushes, or which we own.
_OVERRIDES: dict[str, Any] = {
    "protocol": 2,
    "decode_responses": False,
    "socket_timeout": None,
    "health_check_interval": 0,
}


class ConnectionSource:
    """Makes dedicated connections to the server that the user's client talks to.

    Raises:
        ConfigurationError: `client` is not an asyncio client of redis-py or valkey-py.
    """

    def __init__(self, client: Any) -> None:
        _check(client)
        # Held, since a Sentinel pool is only weakly referenced by its own connections.
        self._client = client
        library = library_of(client.connection_pool.connection_class)
        if library is None:
            raise ConfigurationError(
                "redis: the client's connection class belongs to neither redis-py nor valkey-py: "
                f"{client.connection_pool.connection_class!r}"
            )
        self._library = library

    def connection(self) -> Any:
        """Return a new connection, not yet connected, that neither retries nor times out by itself."""
        pool = self._client.connection_pool
        arguments = {
            name: value
            for name, value in pool.connection_kwargs.items()
            # redis-py 8.1 adds handlers that insist on protocol 3.
            if "maint_notifications" not in name
        }
        retry = importlib.import_module(f"{self._library}.asyncio.retry").Retry
        no_backoff = importlib.import_module(f"{self._library}.backoff").NoBackoff
        arguments.update(_OVERRIDES, retry=retry(no_backoff(), 0))
        return pool.connection_class(**arguments)

    @property
    def address(self) -> str:
        """Where it connects to, for log lines and error messages; never with credentials."""
        arguments = self._client.connection_pool.connection_kwargs
        if "path" in arguments:
            return str(arguments["path"])
        service = getattr(self._client.connection_pool, "service_name", None)
        if service is not None:
            return f"Sentinel service {service!r}"
        return f"{arguments.get('host', 'localhost')}:{arguments.get('port', 6379)}"


async def disconnect(connection: Any) -> None:
    """Close a connection of the client library; what goes wrong is of no use to anybody."""
    try:
        await connection.disconnect(nowait=True)
    except Exception as error:
        logger.debug("closing a connection: %s", error)


def library_of(thing: type) -> str | None:
    """Return which library a class, or the class it extends, comes from."""
    for base in thing.__mro__:
        root = base.__module__.partition(".")[0]
        if root in LIBRARIES:
            return root
    return None


def _check(client: Any) -> None:
    if isinstance(client, str | bytes):
        raise ConfigurationError(
            f"redis: got a {type(client).__name__}; pass a client: redis.asyncio.Redis.from_url(...)"
        )
    if hasattr(client, "nodes_manager") or "Cluster" in type(client).__name__:
        raise ConfigurationError(
            "redis: cluster clients are not supported yet; pass a redis.asyncio.Redis that is "
            "connected to a single server or comes from Sentinel.master_for()"
        )
    if isinstance(client, type) or not hasattr(client, "connection_pool"):
        raise ConfigurationError(
            f"redis: expected a redis.asyncio.Redis or valkey.asyncio.Valkey client, got {client!r}"
        )
    if not inspect.iscoroutinefunction(getattr(client, "execute_command", None)):
        module = type(client).__module__.partition(".")[0]
        raise ConfigurationError(f"redis: got a blocking client; use {module}.asyncio instead of {module}")
