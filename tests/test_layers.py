"""The layers: imports only go down, and client libraries and frameworks stay where they belong."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "gapless"

# From the top down: a module may import from its own layer and those below.
LAYERS = (
    ("cli", "integrations"),
    ("testing",),
    ("transports",),
    ("hub", "subscriber", "stats"),
    ("backends",),
    ("_redis",),
    ("_core",),
    ("errors",),
)
CLIENT_LIBRARIES = {"redis", "valkey", "hiredis", "libvalkey"}
FRAMEWORKS = {"litestar", "starlette", "fastapi"}
IMPURE = {"asyncio", "socket", "random", "time", "datetime", "threading", "select", "ssl", "secrets", "os"}
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60


def layer(module: str) -> int:
    """Return the layer of a module below gapless, 0 at the top; the package's own __init__ stands above."""
    first = module.split(".")[1] if "." in module else ""
    for number, names in enumerate(LAYERS):
        if first in names:
            return number
    if first == "":
        return -1
    raise AssertionError(f"{module}: add {first!r} to LAYERS in tests/test_layers.py, where it belongs")


def is_module(name: str) -> bool:
    """Tell a module of ours ("backends", also a planned one) from a class that the package exports."""
    return bool(name) and name == name.lower()


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and module of every import, also of those inside functions and TYPE_CHECKING blocks."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the import out, from gapless..."
            yield node.lineno, node.module or ""
            # "from gapless._redis import errors" imports a module, too.
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def violations(module: str, text: str) -> list[str]:
    """Return what is wrong with one module, each with what to do."""
    tree = ast.parse(text)
    package = module.split(".")[1] if "." in module else ""
    found: list[str] = []
    for line, target in imports(tree):
        root, _, rest = target.partition(".")
        if root == "gapless" and is_module(rest.split(".")[0]) and layer(target) < layer(module):
            found.append(f"{module}:{line} imports {target}, which is above it: turn it around")
        if root in CLIENT_LIBRARIES and package != "_redis":
            found.append(f"{module}:{line} imports {root}: only gapless._redis may")
        if root in FRAMEWORKS and package != "integrations":
            found.append(f"{module}:{line} imports {root}: only its file in gapless.integrations may")
        if root in IMPURE and package == "_core":
            found.append(f"{module}:{line} imports {root}: _core is pure, let the caller do it")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node):
                docstring = node.body[0]
                length -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
            if length > MAX_FUNCTION_LINES:
                found.append(f"{module}:{node.lineno} {node.name} has {length} lines: split it")
    if text.count("\n") > MAX_FILE_LINES:
        found.append(f"{module} has {text.count(chr(10))} lines, more than {MAX_FILE_LINES}: split it")
    return found


def modules() -> dict[str, str]:
    """Return name and text of every module."""
    found: dict[str, str] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    return found


@pytest.mark.parametrize("module", modules())
def test_module(module: str) -> None:
    assert violations(module, modules()[module]) == []


def test_there_is_no_import_cycle() -> None:
    graph = {
        module: {target for _, target in imports(ast.parse(text)) if target in modules()}
        for module, text in modules().items()
    }
    # A package's own names are imported from it by those above; what it imports itself is below.
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"cycle: {' -> '.join((*path, module))}"
        if module not in done:
            for target in graph[module] - {module}:
                visit(target, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize(
    ("module", "text", "expected"),
    [
        ("gapless._core.chain", "import asyncio", "_core is pure"),
        ("gapless._core.chain", "def f():\n    from time import time", "_core is pure"),
        ("gapless._core.chain", "from gapless._redis.link import Link", "which is above it"),
        ("gapless._redis.link", "from gapless.backends import base", "which is above it"),
        ("gapless._redis.link", "from gapless import testing", "which is above it"),
        ("gapless.backends.redis", "import hiredis", "only gapless._redis may"),
        (
            "gapless.backends.redis",
            "if TYPE_CHECKING:\n    from redis.asyncio import Redis",
            "only gapless._redis",
        ),
        ("gapless.backends.base", "from litestar.channels import ChannelsPlugin", "integrations may"),
        ("gapless.hub", "\n" * 301, "lines"),
        ("gapless.hub", "def f():\n" + "    x = 1\n" * 61, "split it"),
    ],
)
def test_a_planted_violation_is_found(module: str, text: str, expected: str) -> None:
    assert any(expected in violation for violation in violations(module, text))


def test_a_module_that_no_layer_lists_is_found() -> None:
    with pytest.raises(AssertionError, match="add 'new' to LAYERS"):
        violations("gapless.new", "import gapless._core")
    with pytest.raises(AssertionError, match="add 'new' to LAYERS"):
        violations("gapless.hub", "from gapless.new import thing")
