"""What `import gapless` loads, counted in modules instead of timed."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gapless

# The frameworks and our other halves, and what takes long to import or is for little.
NOT_NEEDED = {
    "decimal", "fastapi", "gapless.hub", "gapless.integrations", "gapless.testing", "gapless.transports",
    "importlib.resources", "litestar", "msgspec", "redis", "starlette", "subprocess", "tempfile",
    "typing_extensions", "unittest", "uuid", "valkey",
}  # fmt: skip


def loaded(statements: str) -> set[str]:
    """Return the modules that a fresh interpreter loads for statements, beside those of asyncio and logging."""
    program = (
        "import asyncio, logging, sys; before = set(sys.modules)\n"
        f"{statements}\n"
        "print(*sys.modules.keys() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_what_a_backend_does_not_need_is_not_loaded() -> None:
    assert loaded("import gapless.backends.redis") & NOT_NEEDED == set()


@pytest.mark.parametrize("name", gapless.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert hasattr(gapless, name)
    assert name in dir(gapless)


def test_the_hub_is_loaded_for_who_names_it() -> None:
    assert "gapless.hub" in loaded("from gapless import Channels")


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gapless.nothing  # type: ignore[attr-defined]
