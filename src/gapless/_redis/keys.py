"""Names on the server: the stream (and push channel) K of a channel, and the last-id key L.

    K = "{key_prefix}_{channel}"                  channel byte for byte; bare if key_prefix is ""
    L = "{key_prefix}:last:{" + K + "}"           same cluster slot as K; never matches "{key_prefix}_*"

A cluster hashes only what stands between the first "{" and the next "}", if that is not empty
(Redis cluster specification, "Hash tags"), so L carries K's own tag where K has one. No L shares a slot
with a K that is empty, or has a "}" outside a tag: a cluster has to refuse such channels.
"""

from __future__ import annotations

from gapless._core.names import check_encodable
from gapless.errors import ConfigurationError


class Keys:
    """Names under one prefix.

    Raises:
        ConfigurationError: The prefix has braces that are not exactly one hash tag, as in ``"{app}"``.
    """

    def __init__(self, prefix: str) -> None:
        if not isinstance(prefix, str):
            raise ConfigurationError(f"key_prefix: expected a str, got {prefix!r}")
        check_encodable(prefix, "key_prefix")
        if ("{" in prefix or "}" in prefix) and (
            prefix.count("{") != 1 or prefix.count("}") != 1 or prefix.index("}") < prefix.index("{") + 2
        ):
            raise ConfigurationError(
                f"key_prefix: braces must form one hash tag, as in '{{app}}chat', got {prefix!r}"
            )
        self.stem = f"{prefix}_" if prefix else ""
        self._last_stem = f"{prefix}:last:"

    def stream(self, channel: str) -> str:
        """Return K, the name of the stream and of the push channel."""
        return self.stem + channel

    def last(self, stream: str) -> str:
        """Return L for K, the key that holds the last id of the stream and outlives it."""
        if "{" in stream:
            tag = hash_tag(stream)
            if tag is not None:
                return f"{self._last_stem}{{{tag}}}{stream}"
        return f"{self._last_stem}{{{stream}}}"

    def owns(self, stream: bytes, newest: list[bytes] | None, *, has_last_id: bool) -> bool:
        """Return whether a stream whose name begins like K belongs to this prefix.

        The name alone does not tell: "A_B_c" is channel "B_c" of prefix "A", or "c" of "A_B". The entries do,
        since they name their channel (which Litestar upper-cases for the key alone).

        Args:
            stream: Its name.
            newest: The fields of its newest entry; None if it has none, with history=0.
            has_last_id: Whether there is an L for it.
        """
        if newest is None:
            return has_last_id
        channel = stream[len(self.stem.encode()) :].decode(errors="replace")
        fields = dict(zip(newest[::2], newest[1::2], strict=True))
        named = fields.get(b"channel", b"\xff").decode(errors="replace")
        return channel in {named, named.upper()}

    def pattern(self) -> str:
        """Return a glob pattern that matches exactly the names that begin like K."""
        return "".join(f"\\{c}" if c in "*?[]^\\-" else c for c in self.stem) + "*"


def hash_tag(key: str) -> str | None:
    """Return what a cluster hashes instead of the whole key, or None."""
    start = key.find("{")
    if start < 0:
        return None
    end = key.find("}", start + 1)
    return key[start + 1 : end] if end > start + 1 else None
