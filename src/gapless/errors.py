"""Every exception gapless raises, as one tree.

    ChannelsError
      ConfigurationError (also ValueError)   a bad argument
      BackendError                           the broker answered, and the answer is no
        BackendUnavailable                   no usable connection within the time allowed
        PublishUncertain                     the connection broke before the reply: published or not
        PermissionDenied                     wrong password, or the ACL user lacks a command, key or channel
        UnsupportedServer                    the server is too old, or lacks a command that is needed
      UnknownChannel                         not one of the declared channels
      HubClosed                              the hub or the subscriber is not open, or can't be opened again

Each message ends with what to do about it. A lost event is not an exception: it is a
:class:`gapless.Gap` in the event stream, at the place where the events are missing.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "BackendError",
    "BackendUnavailable",
    "ChannelsError",
    "ConfigurationError",
    "HubClosed",
    "PermissionDenied",
    "PublishUncertain",
    "UnknownChannel",
    "UnsupportedServer",
]


class ChannelsError(Exception):
    """Base of every exception that gapless raises."""


class ConfigurationError(ChannelsError, ValueError):
    """An argument is wrong; raised before anything is sent."""


class BackendError(ChannelsError):
    """The broker refused a command. The message says which, and the remedy.

    Attributes:
        code: The first word of the server's error reply (``"WRONGTYPE"``, ``"OOM"``), or ``None``.
    """

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class BackendUnavailable(BackendError):
    """No usable connection within the time allowed, or no reply to a read. Nothing was changed.

    Calling again is safe.

    Attributes:
        since: Seconds for which the connection has been down; ``None`` if it is not down: the server
            takes no more data, too much waits already, or the backend was shut down.
        attempts: Failed connection attempts since it went down.
    """

    def __init__(
        self,
        message: str,
        *,
        since: float | None = None,
        attempts: int = 0,
        code: str | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.since = since
        self.attempts = attempts


class PublishUncertain(BackendError):
    """The connection broke after the publish was sent and before its reply came.

    The event may or may not have been published, and which can't be known; the message says why. It
    was not sent again, since that could publish it twice; the caller decides.

    Attributes:
        channels: The channels of the publish, in the caller's order.
    """

    def __init__(self, message: str, *, channels: Sequence[str]) -> None:
        super().__init__(message)
        self.channels = tuple(channels)


class PermissionDenied(BackendError):
    """Authentication failed, or the ACL user may not do what is needed."""


class UnsupportedServer(BackendError):
    """The server is older than Redis 6.2, or lacks a command that gapless needs."""


class UnknownChannel(ChannelsError):
    """The channel was not declared.

    Attributes:
        channel: Its name.
    """

    def __init__(self, channel: str) -> None:
        super().__init__(f"unknown channel {channel!r}: declare it, or allow arbitrary channels")
        self.channel = channel


class HubClosed(ChannelsError):
    """The hub, or a subscriber of it, is not open: not yet, no longer, or in another event loop.

    Also raised for what can't be opened a second time: a hub that is open, a subscriber that was. The message
    says which it is, and what to do.
    """
