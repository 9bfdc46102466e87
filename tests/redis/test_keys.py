"""gapless._redis.keys: names on the server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless import ConfigurationError
from gapless._redis.keys import Keys, hash_tag


@pytest.mark.parametrize(
    ("prefix", "channel", "stream", "last"),
    [
        ("P", "room", "P_room", "P:last:{P_room}"),
        ("", "room", "room", ":last:{room}"),
        ("P", "", "P_", "P:last:{P_}"),
        ("P", "{tag}x", "P_{tag}x", "P:last:{tag}P_{tag}x"),
        ("{app}P", "room", "{app}P_room", "{app}P:last:{app}{app}P_room"),
        ("P", "a{b", "P_a{b", "P:last:{P_a{b}"),
    ],
)
def test_names(prefix: str, channel: str, stream: str, last: str) -> None:
    keys = Keys(prefix)
    assert keys.stream(channel) == stream
    assert keys.last(stream) == last


def hashed(key: str) -> str:
    """What a cluster hashes (Redis cluster specification)."""
    tag = hash_tag(key)
    return key if tag is None else tag


@given(st.text("ab{", min_size=1, max_size=8), st.sampled_from(["P", "", "{t}", "x{t}y"]))
def test_stream_and_last_id_share_a_slot(channel: str, prefix: str) -> None:
    keys = Keys(prefix)
    stream = keys.stream(channel)
    assert hashed(stream) == hashed(keys.last(stream))


@given(st.text(max_size=8), st.text(max_size=8))
def test_different_channels_have_different_keys(one: str, other: str) -> None:
    keys = Keys("P")
    if one != other:
        assert keys.stream(one) != keys.stream(other)
        assert keys.last(keys.stream(one)) != keys.last(keys.stream(other))


@pytest.mark.parametrize(
    ("prefix", "pattern"),
    [
        ("P", "P_*"),
        ("a*", r"a\*_*"),
        ("a?c", r"a\?c_*"),
        ("[a-b]^", r"\[a\-b\]\^_*"),
        ("a\\b", r"a\\b_*"),
        ("", "*"),
    ],
)
def test_the_pattern_takes_the_prefix_literally(prefix: str, pattern: str) -> None:
    assert Keys(prefix).pattern() == pattern


@pytest.mark.parametrize("prefix", ["{", "}", "{}", "a{b", "a}b{c", "{a}{b}", "}{"])
def test_a_prefix_whose_braces_are_no_hash_tag_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="hash tag"):
        Keys(prefix)


@pytest.mark.parametrize("prefix", [None, 1, b"P", "\ud800"])
def test_a_prefix_of_the_wrong_kind_is_refused(prefix: object) -> None:
    with pytest.raises(ConfigurationError, match="key_prefix"):
        Keys(prefix)  # type: ignore[arg-type]
