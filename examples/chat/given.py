"""A server that runs already: `--redis-url`."""

from __future__ import annotations

import redis
from redis.exceptions import AuthenticationError, AuthorizationError, RedisError, ResponseError

from examples.chat.store import Store

ANSWER_SECONDS = 5.0


class UnusableServerError(Exception):
    """The server that was given can't be used. The text is for the person who gave it."""


def given_server(url: str) -> Store:
    """Return the server behind `url`, which has answered.

    Raises:
        UnusableServerError: The URL is none, nobody answers within `ANSWER_SECONDS`, or not to us.
    """
    try:
        client = redis.Redis.from_url(
            url, socket_connect_timeout=ANSWER_SECONDS, socket_timeout=ANSWER_SECONDS
        )
    except ValueError as error:
        raise UnusableServerError(f"--redis-url: {error}") from None
    place = _place(client)
    with client:
        try:
            client.ping()
            return Store(url, f"{_name(client)} ({place})", embedded=False)
        except (AuthenticationError, AuthorizationError, ResponseError) as error:
            raise UnusableServerError(f"The server at {place} does not let the demo in: {error}") from None
        except (RedisError, OSError) as error:
            raise UnusableServerError(f"There is no Redis or Valkey at {place}: {error}") from None


def _place(client: redis.Redis) -> str:
    settings = client.connection_pool.connection_kwargs
    if "path" in settings:
        return str(settings["path"])
    return f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"


def _name(client: redis.Redis) -> str:
    try:
        facts = client.info("server")
    except ResponseError:
        # Not everybody may ask. It has answered, which is enough.
        return "The server"
    if "valkey_version" in facts:
        return f"Valkey {facts['valkey_version']}"
    return f"Redis {facts['redis_version']}"
