"""Channel names: any string that UTF-8 can encode, byte for byte."""

from __future__ import annotations

from gapless.errors import ConfigurationError


def check_channels(channels: object) -> list[str]:
    """Return the channels in order, without duplicates.

    Raises:
        TypeError: Not an iterable of str.
        ValueError: A name that can't be encoded as UTF-8 (a lone surrogate).
    """
    # The hot path of publish: one name.
    if type(channels) is list and len(channels) == 1 and type(channels[0]) is str and channels[0].isascii():
        return [channels[0]]  # not the caller's own list, which may change while we wait
    if isinstance(channels, str | bytes):
        raise TypeError(f"channels: expected an iterable of names, got one name; pass [{channels!r}]")
    try:
        unique = list(dict.fromkeys(channels))  # type: ignore[call-overload]
    except TypeError as error:
        raise TypeError(f"channels: expected an iterable of str, got {channels!r}") from error
    for channel in unique:
        if not isinstance(channel, str):
            raise TypeError(f"channels: expected str, got {channel!r}")
        check_encodable(channel, "channels")
    return unique


def check_encodable(name: str, argument: str) -> None:
    """Raise ConfigurationError (a ValueError) if UTF-8 can't encode `name`."""
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ConfigurationError(f"{argument}: {name!r} can't be encoded as UTF-8") from error
