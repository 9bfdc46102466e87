"""The examples in the documents are the tested files, letter by letter; the links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")]


def blocks() -> list[tuple[str, str, str]]:
    """Return page, file and text of each example that names the file it is taken from."""
    return [
        (page.name, source, code)
        for page in PAGES
        for source, code in re.findall(
            r"<!-- (\S+\.py) -->\n```python\n(.*?)```", page.read_text(), re.DOTALL
        )
    ]


@pytest.mark.parametrize(("page", "source", "code"), blocks())
def test_the_example_is_in_its_file(page: str, source: str, code: str) -> None:
    assert code in (ROOT / source).read_text()


def test_there_are_examples() -> None:
    assert len(blocks()) >= 3


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_block_names_its_file(page: Path) -> None:
    text = page.read_text()
    assert len(re.findall(r"^```python", text, re.MULTILINE)) == len(
        re.findall(r"<!-- \S+\.py -->\n```python", text)
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_keywords_in_the_documents_exist() -> None:
    from gapless.backends.redis.in_loop import Bounds

    page = (ROOT / "docs" / "backends.md").read_text()
    for name in Bounds.__annotations__:
        assert f"`{name}`" in page


def test_the_close_codes_in_the_documents_are_those_that_are_sent() -> None:
    from gapless.transports import websocket

    sent = {value for name, value in vars(websocket).items() if name.isupper() and value in range(4000, 5000)}
    page = (ROOT / "docs" / "endpoints.md").read_text()
    assert {int(code) for code in re.findall(r"^\| (4\d{3}) \|", page, re.MULTILINE)} == sent


def test_the_guarantees_name_tests_that_exist() -> None:
    page = (ROOT / "docs/guarantees.md").read_text()
    named = re.findall(r"\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)", page)
    assert len(named) >= 15
    missing = [f"{path}: {name}" for name, path in named if f"def {name}(" not in (ROOT / path).read_text()]
    assert not missing
