"""The layers: imports only go down, and client libraries and frameworks stay where they belong.

`problems()` looks at source text, so that the last tests here can plant violations and see them found.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"
HERE = "tests/test_layers.py"

# From the top down: a module may import from its own layer and from those below it.
LAYERS = (
    {"cli"},
    {"integrations"},
    {"testing"},
    {"transports"},
    {"hub"},
    {"backends"},
    {"health"},
    {"_redis"},
    {"_waiter"},
    {"_core"},
    {"errors"},
)
CLIENT_LIBRARIES = {"redis", "valkey", "hiredis", "libvalkey"}
FRAMEWORKS = {"litestar", "starlette", "fastapi"}

# What _core may import: no clock, no random number, no loop, no thread, no input or output.
PURE = {
    "__future__", "abc", "base64", "bisect", "collections", "dataclasses", "enum", "functools", "hashlib", "heapq", "itertools",
    "math", "operator", "re", "string", "struct", "types", "typing",
}  # fmt: skip

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60


def imports(tree: ast.Module, module: str, *, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything imported, wherever in the module it is.

    `from a import b` yields a.b: whether b is a module or a name in it is for the caller to find out.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from ((node.lineno, alias.name) for alias in node.names)
            case ast.ImportFrom():
                parts = module.split(".")
                # One dot is the package that the module is in; a package is in itself.
                up = len(parts) - node.level + is_package
                origin = ".".join([*(parts[:up] if node.level else []), *filter(None, [node.module])])
                yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def resolve(target: str, sources: Mapping[str, str]) -> str:
    """Return the module that a dotted name is in: `gapless.errors` for `gapless.errors.HubClosed`."""
    while target not in sources and target.startswith("gapless."):
        target = target.rpartition(".")[0]
    return target


def layer(module: str) -> int | None:
    """Return the number of a module's layer, 0 at the top; None: it has none yet."""
    if module == "gapless":
        return -1
    return next((number for number, names in enumerate(LAYERS) if module.split(".")[1] in names), None)


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def import_problem(module: str, target: str) -> str | None:
    """Return what is wrong with `module` importing the module `target`, and what to do about it."""
    root = target.partition(".")[0]
    if root == "gapless":
        here, there = layer(module), layer(target)
        if here is not None and there is not None and there < here:
            return (
                f"imports {target}, which is above it. Move what it needs down, or take it as an argument"
                if target != "gapless"
                else "imports a name from gapless. Import it from the module that defines it"
            )
    elif root in CLIENT_LIBRARIES and not is_in(module, "gapless._redis"):
        return f"imports {root}, which only gapless._redis may. Put the code that needs it there"
    elif root in FRAMEWORKS and not is_in(module, f"gapless.integrations.{root}"):
        return f"imports {root}, which only gapless.integrations.{root} may. Put the code that needs it there"
    elif is_in(module, "gapless._core") and root not in PURE:
        return (
            f"imports {root}, but _core is pure. Return what to do and let the caller do it "
            f"(or add {root} to PURE in {HERE}, if it knows no clock, random number, loop, thread or I/O)"
        )
    return None


def function_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the length of a function without its docstring and decorators."""
    length = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        length -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return length


def module_problems(module: str, sources: Mapping[str, str], packages: frozenset[str]) -> Iterator[str]:
    text = sources[module]
    tree = ast.parse(text)
    if layer(module) is None:
        yield f"{module} has no layer: add it to LAYERS in {HERE}, where the design wants it"
    for line, name in imports(tree, module, is_package=module in packages):
        problem = import_problem(module, resolve(name, sources))
        if problem is not None:
            yield f"{module}, line {line}, {problem}."
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = function_lines(node)
            if length > MAX_FUNCTION_LINES:
                yield (
                    f"{module}, line {node.lineno}: {node.name}() has {length} lines without its docstring, "
                    f"{MAX_FUNCTION_LINES} are allowed. Split it."
                )
    length = len(text.splitlines())
    if length > MAX_FILE_LINES:
        yield f"{module} has {length} lines, {MAX_FILE_LINES} are allowed. A file is one noun: split it."


def cycles(sources: Mapping[str, str], packages: frozenset[str]) -> Iterator[str]:
    graph = {
        module: {
            target
            for _, name in imports(ast.parse(text), module, is_package=module in packages)
            if (target := resolve(name, sources)) in sources and target != module
        }
        for module, text in sources.items()
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> Iterator[str]:
        if module in path:
            circle = " -> ".join((*path[path.index(module) :], module))
            yield f"import cycle: {circle}. Move what both ends need into a module below them."
        elif module not in done:
            for target in sorted(graph[module]):
                yield from visit(target, (*path, module))
            done.add(module)

    for module in sources:
        yield from visit(module, ())


def problems(sources: Mapping[str, str], packages: frozenset[str] = frozenset({"gapless"})) -> list[str]:
    """Return everything that is wrong with a set of modules, given as name and text."""
    found = [problem for module in sources for problem in module_problems(module, sources, packages)]
    return [*found, *cycles(sources, packages)]


def read_sources() -> tuple[dict[str, str], frozenset[str]]:
    """Return the modules of gapless, and which of them are packages."""
    sources: dict[str, str] = {}
    packages: set[str] = set()
    for path in sorted((SOURCE / "gapless").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        sources[module] = path.read_text(encoding="utf-8")
        if parts[-1] == "__init__":
            packages.add(module)
    return sources, frozenset(packages)


def test_imports_go_down_and_files_and_functions_are_short() -> None:
    sources, packages = read_sources()
    found = problems(sources, packages)
    assert not found, "\n".join(["", *found])


def test_the_source_is_found() -> None:
    sources, packages = read_sources()
    assert {"gapless.errors", "gapless.backends.redis.streams", "gapless._redis.link"} <= sources.keys()
    assert {"gapless", "gapless._core", "gapless.backends.redis"} <= packages


@pytest.mark.parametrize(
    ("module", "text", "expected"),
    [
        ("_core.chain", "import asyncio", "_core is pure"),
        ("_core.chain", "import os.path", "_core is pure"),
        ("_core.chain", "def f():\n    from time import monotonic", "line 2, imports time"),
        ("_core.chain", "import importlib", "_core is pure"),
        ("_core.chain", "from redis.asyncio import Redis", "only gapless._redis may"),
        ("_core.chain", "from gapless._redis.link import Link", "gapless._redis.link, which is above it"),
        ("_core.chain", "from gapless._redis import link", "gapless._redis.link, which is above it"),
        ("_core.chain", "from .._redis.link import Link", "gapless._redis.link, which is above it"),
        ("_core.chain", "from gapless import Event", "the module that defines it"),
        ("_core.chain", "if TYPE_CHECKING:\n    from gapless.hub import Channels", "gapless.hub, which is"),
        ("errors", "from gapless._core.event import Gap", "gapless._core.event, which is above it"),
        ("_redis.link", "import gapless.backends.base", "gapless.backends.base, which is above it"),
        ("integrations.litestar", "from gapless.cli import main", "gapless.cli, which is above it"),
        ("backends.base", "import hiredis", "only gapless._redis may"),
        (
            "backends.base",
            "if TYPE_CHECKING:\n    from redis.asyncio import Redis",
            "only gapless._redis may",
        ),
        ("backends.base", "importlib.import_module('valkey.asyncio')", "only gapless._redis may"),
        ("backends.base", "from litestar.channels import X", "only gapless.integrations.litestar may"),
        ("integrations.litestar", "import starlette", "only gapless.integrations.starlette may"),
        ("helpers", "", "has no layer"),
        ("hub", "\n" * 301, "301 lines"),
        ("hub", "def f():\n" + "    x = 1\n" * 60, "f() has 61 lines"),
        ("hub", "class A:\n    async def f(self):\n" + "        x = 1\n" * 60, "f() has 61 lines"),
        (
            "_redis.link",
            "import gapless._redis.wire",
            "cycle: gapless._redis.link -> gapless._redis.wire -> ",
        ),
    ],
)
def test_a_planted_problem_is_found(module: str, text: str, expected: str) -> None:
    sources = {
        "gapless": "",
        "gapless._core.event": "",
        "gapless._redis.link": "",
        "gapless._redis.wire": "import gapless._redis.link",
        "gapless.backends.base": "",
        "gapless.cli": "",
        "gapless.hub": "",
        f"gapless.{module}": text,
    }
    (problem,) = problems(sources)
    assert expected in problem


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("_core.chain", "from collections.abc import Sequence\nfrom gapless.errors import HubClosed"),
        ("_core.chain", "from ..errors import HubClosed"),
        ("_redis.client", "import hiredis\nif TYPE_CHECKING:\n    from valkey.asyncio import Valkey"),
        ("integrations.litestar", "from litestar.channels import ChannelsPlugin\nimport gapless.hub"),
        ("hub", "def f():\n" + '    """\n' + "    Long.\n" * 60 + '    """\n' + "    x = 1\n" * 59),
        ("hub", "\n" * 300),
    ],
)
def test_what_is_allowed_is_no_problem(module: str, text: str) -> None:
    assert problems({"gapless": "", "gapless.errors": "", "gapless.hub": "", f"gapless.{module}": text}) == []
