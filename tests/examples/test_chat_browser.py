"""The page of the demo, in a headless Chromium."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from examples.chat.store import HISTORY

from tests.examples.demo import PATIENCE_SECONDS, Demo

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.browser import MARKS, chromium

pytestmark = MARKS


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    with Demo(tmp_path / "log") as running:
        yield running


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    with chromium(tmp_path / "profile") as driver:
        yield driver


class Page:
    """One window with the chat in it."""

    def __init__(self, browser: Any, url: str) -> None:
        self.browser = browser
        browser.switch_to.new_window("window")
        self.handle = browser.current_window_handle
        browser.get(url)
        self.wait(lambda: self.light("browser") == self.light("redis") == "up")

    def find(self, selector: str) -> Any:
        self.browser.switch_to.window(self.handle)
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return str(self.find(selector).text)

    def texts(self, selector: str) -> list[str]:
        self.browser.switch_to.window(self.handle)
        # In one step: elements that were found first can be gone when they are asked for their text.
        script = "return [...document.querySelectorAll(arguments[0])].map((item) => item.innerText)"
        return list(self.browser.execute_script(script, selector))

    def light(self, name: str) -> str:
        return str(self.find(f"#{name}-light").get_attribute("data-state"))

    def say(self, text: str) -> None:
        self.find("#text").send_keys(text, Keys.ENTER)

    def wait(self, condition: Any) -> None:
        WebDriverWait(self.browser, PATIENCE_SECONDS, poll_frequency=0.02).until(lambda _: condition())

    def wait_for(self, *messages: str) -> None:
        """Wait until the live messages are these, all of them confirmed."""
        self.wait(lambda: self.texts("#live .bubble") == list(messages))
        self.wait(lambda: not self.texts("#live .pending"))

    def errors(self) -> list[str]:
        self.browser.switch_to.window(self.handle)
        return [line["message"] for line in self.browser.get_log("browser") if line["level"] == "SEVERE"]


def test_windows_talk_and_the_cut_connection_comes_back(demo: Demo, browser: Any, tmp_path: Path) -> None:
    url = f"http://{demo.address}/"
    ada, grace = Page(browser, url), Page(browser, url)
    # sessionStorage is each window's own. The random names might be equal; these are not.
    for page, name in ((ada, "Ada"), (grace, "Grace")):
        page.find("#name").clear()
        page.find("#name").send_keys(name, Keys.TAB)

    hostile = "<img src=x onerror=\"document.title='run'\">"
    ada.say(hostile)
    for page in (ada, grace):
        page.wait_for(hostile)
    assert grace.texts("#live .byline b") == ["Ada"]

    late = Page(browser, url)
    assert late.texts("#history .bubble") == [hostile]
    assert late.texts("#live .bubble") == []
    assert late.text("#history-title") == "1 message before you came"
    late.wait(lambda: late.text("#room-note") == "3 windows")

    before = grace.text("#subscriber-id")
    grace.find("#cut").click()
    ada.wait(lambda: ada.light("redis") == "cut")
    for page in (ada, grace, late):
        page.wait(lambda page=page: page.light("redis") == "up")
        assert page.text("#cut-result").startswith("Back after ")
        assert page.text("#subscriber-id") not in {before, "–", ""}
        assert len(page.texts("#live .event")) == 1

    grace.say("It blinked, and I noticed nothing.")
    for page in (ada, grace):
        page.wait_for(hostile, "It blinked, and I noticed nothing.")
    late.wait_for("It blinked, and I noticed nothing.")

    assert [page.errors() for page in (ada, grace, late)] == [[], [], []]
    late.find("body")
    assert browser.save_screenshot(str(tmp_path / "chat.png"))


def test_a_room_is_created_and_both_ways_lead_into_it(demo: Demo, browser: Any) -> None:
    url = f"http://{demo.address}/"
    ada, grace = Page(browser, url), Page(browser, url)
    ada.find("#new-room-name").send_keys("Tea Time", Keys.ENTER)
    ada.wait(lambda: ada.text("#room-title") == "tea-time" and ada.light("browser") == "up")
    ada.say("Milk?")
    ada.wait_for("Milk?")
    grace.wait(lambda: grace.texts('#rooms a[href="#tea-time"]'))
    grace.find('#rooms a[href="#tea-time"]').click()
    grace.wait(lambda: grace.texts("#history .bubble") == ["Milk?"])

    nowhere = Page(browser, f"{url}#nowhere")
    assert nowhere.text("#room-title") == "lobby"
    assert nowhere.text("#problem") == "There is no room called nowhere."


def test_the_page_goes_on_where_it_was_when_the_web_server_is_restarted(demo: Demo, browser: Any) -> None:
    ada, grace = (Page(browser, f"http://{demo.address}/") for _ in range(2))
    ada.say("Before.")
    grace.wait_for("Before.")

    ada.find("#restart").click()
    ada.wait(lambda: ada.light("browser") != "up")
    assert "The web server is away" in ada.texts("#live .event")
    three = [f"{number} of 3, written while the web server was down" for number in (1, 2, 3)]
    for page in (ada, grace):
        page.wait_for("Before.", *three)
        back, missed = page.texts("#live .event")
        assert back.startswith("The web server is back after ")
        assert missed == "3 messages while you were away"
        page.wait(lambda page=page: page.light("browser") == page.light("redis") == "up")
    assert ada.text("#restart-result").startswith("Back after ")
    assert grace.text("#restart-result") == ""
    grace.say("After.")
    ada.wait_for("Before.", *three, "After.")

    # Some of these are not kept.
    ada.find('#worker-messages option[value="80"]').click()
    assert ada.text("#worker-messages option:checked") == f"80 messages, {HISTORY} are kept"
    ada.find("#restart").click()
    kept = [f"{number} of 80, written while the web server was down" for number in range(81 - HISTORY, 81)]
    for page in (ada, grace):
        page.wait_for("Before.", *three, "After.", *kept)
        assert page.texts("#live > li")[-HISTORY - 2 : -HISTORY] == [
            f"{HISTORY} messages while you were away",
            f"Some messages are missing here: the history keeps only the newest {HISTORY}.",
        ]


def test_the_page_tells_what_may_be_missing_where_the_server_does_not_know_its_place(
    demo: Demo, browser: Any, tmp_path: Path
) -> None:
    ada = Page(browser, f"http://{demo.address}/")
    ada.say("Before.")
    ada.wait_for("Before.")
    assert demo.end(signal.SIGTERM) == 0
    # Another Valkey, which knows nothing of the first.
    with Demo(tmp_path / "second-log", port=demo.port):
        ada.wait(lambda: ada.light("browser") == ada.light("redis") == "up")
        ada.say("After.")
        ada.wait_for("Before.", "After.")
        lines = ada.texts("#live .event")
        assert any("missing here" in line for line in lines), lines


def test_the_page_comes_back_by_itself_after_the_server_was_away(
    demo: Demo, browser: Any, tmp_path: Path
) -> None:
    ada = Page(browser, f"http://{demo.address}/")
    demo.process.terminate()
    ada.wait(lambda: ada.light("browser") != "up" and ada.light("redis") == "waiting")
    assert not ada.find("#cut").is_enabled()
    ada.say("Is the server there?")
    ada.wait(lambda: ada.texts("#live .pending .bubble") == ["Is the server there?"])
    demo.process.wait(PATIENCE_SECONDS)
    with Demo(tmp_path / "second-log", port=demo.port):
        ada.wait_for("Is the server there?")
        assert ada.light("browser") == ada.light("redis") == "up"
        assert ada.find("#cut").is_enabled()
