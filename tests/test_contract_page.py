"""The classes are what the published contract says: names, parameters, defaults, documentation."""

from __future__ import annotations

import inspect
import re
from abc import ABC
from pathlib import Path
from typing import Any

import pytest

import gapless
import gapless.backends.redis

# The page itself, so that the test also runs where only the repository is.
PAGE = (Path(__file__).parent / "data" / "redis-channels-backends.txt").read_text()


def classes_of(page: str) -> dict[str, str]:
    """Return the text of each class on the page."""
    parts = re.split(r"^class litestar\.channels\.backends\.redis\.(\w+)$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def methods_of(text: str) -> dict[str, str]:
    """Return the signature line of each method: name -> "async name(...) result"."""
    lines = re.findall(r"^((?:async )?\w+\(.*\).*)$", text, flags=re.MULTILINE)
    return {re.sub(r"^async ", "", line).partition("(")[0]: line for line in lines}


METHODS = [(name, method) for name, text in classes_of(PAGE).items() for method in methods_of(text)]


def test_the_page_has_what_we_think_it_has() -> None:
    assert len(METHODS) == 18
    assert ("RedisChannelsStreamBackend", "flush_all") in METHODS


def expected_signature(line: str) -> inspect.Signature:
    """Parse a signature line of the page."""
    text = re.sub(r"^async ", "", line)
    parameters, _, result = text.rpartition(")")
    parameters = parameters.partition("(")[2]
    source = f"def f(self, {parameters}) -> {result.strip()!r}: ..."
    source = source.replace("datetime.timedelta(seconds=60)", "'timedelta(seconds=60)'")
    namespace: dict[str, Any] = {}
    exec("from __future__ import annotations\n" + source, namespace)
    return inspect.signature(namespace["f"])


@pytest.mark.parametrize(("name", "method"), METHODS)
def test_signature_equals_the_contract(name: str, method: str) -> None:
    expected = expected_signature(methods_of(classes_of(PAGE)[name])[method])
    function = getattr(getattr(gapless.backends.redis, name), method)
    actual = inspect.signature(function)
    got = list(actual.parameters.values())
    wanted = list(expected.parameters.values())
    for theirs, ours in zip(wanted, got, strict=False):
        assert (ours.name, ours.kind) == (theirs.name, theirs.kind)
        default = ours.default
        if theirs.default == "timedelta(seconds=60)":
            assert default == __import__("datetime").timedelta(seconds=60)
        else:
            assert default == theirs.default
        # Ours may take more: another client, None. Never less.
        members = {part.strip() for part in str(ours.annotation).split("|")}
        if theirs.annotation is not inspect.Parameter.empty:
            assert {part.strip() for part in theirs.annotation.split("|")} <= members
    extra = got[len(wanted) :]
    assert len(got) >= len(wanted)
    assert all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in extra)
    if method != "__init__":
        assert not extra
        assert str(actual.return_annotation) == expected.return_annotation.strip("'\"")
        line = methods_of(classes_of(PAGE)[name])[method]
        asynchronous = inspect.iscoroutinefunction(function) or "AsyncGenerator" in str(
            actual.return_annotation
        )
        assert asynchronous == line.startswith("async ")


@pytest.mark.parametrize(("name", "method"), METHODS)
def test_everything_is_documented(name: str, method: str) -> None:
    owner = getattr(gapless.backends.redis, name)
    documentation = inspect.getdoc(owner if method == "__init__" else getattr(owner, method)) or ""
    assert len(documentation) > 40
    if method == "__init__":
        for parameter in re.findall(r"  • (\w+) –", classes_of(PAGE)[name]):
            assert f"{parameter}: " in documentation


def test_every_keyword_of_ours_is_documented() -> None:
    signature = inspect.signature(gapless.RedisChannelsBackend.__init__)
    documentation = inspect.getdoc(gapless.RedisChannelsBackend) or ""
    for parameter in list(signature.parameters)[1:]:
        assert f"{parameter}: " in documentation
    bounds = gapless.backends.redis.in_loop.Bounds.__annotations__
    assert set(bounds) == set(list(signature.parameters)[4:])


def test_the_bases_are_as_the_page_says() -> None:
    assert issubclass(gapless.RedisChannelsBackend, gapless.ChannelsBackend)
    assert inspect.isabstract(gapless.RedisChannelsBackend)
    assert ABC in gapless.RedisChannelsBackend.__mro__
    for backend in (gapless.RedisChannelsPubSubBackend, gapless.RedisChannelsStreamBackend):
        assert issubclass(backend, gapless.RedisChannelsBackend)


def test_the_names_are_also_exported_at_the_top() -> None:
    for name in classes_of(PAGE):
        assert getattr(gapless, name) is getattr(gapless.backends.redis, name)
    assert all(hasattr(gapless, name) for name in gapless.__all__)
