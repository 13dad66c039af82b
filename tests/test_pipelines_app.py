"""The command: in this process where it fails, in its own process with a browser before it where it works."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_apps import needs_gradio
from tiny_browser import open_browser
from tiny_bundles import DEEP, bundle_around
from tiny_pictures import png

from pictogram.hub.errors import InputError
from pictogram.pipelines.app import AppConfig, app

SECONDS = 120.0


def test_settings():
    config = AppConfig()
    assert (config.model, config.host, config.port, config.open) == ("noto", "127.0.0.1", 7860, False)
    with pytest.raises(InputError, match="port must be at most 65535, got 70000"):
        AppConfig(port=70000)


@needs_gradio
def test_an_address_that_is_taken_is_known_before_the_bundle_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen at 127.0.0.1, port {port}: Address already in use"):
            app(AppConfig(model="nowhere", port=port))
    with pytest.raises(InputError, match=r"cannot listen at no-such-host\.invalid, port 0: "):
        app(AppConfig(model="nowhere", host="no-such-host.invalid", port=0))


@needs_gradio
def test_a_bundle_that_is_none(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a whole bundle"):
        app(AppConfig(model="nowhere", port=0))
    with pytest.raises(InputError, match="nowhere is not a whole bundle"):
        app(AppConfig(model="nowhere", export=str(tmp_path / "space")))


def test_without_gradio_it_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gradio", None)
    for export in ("", str(tmp_path / "space")):
        with pytest.raises(InputError, match=r"pip install gradio"):
            app(AppConfig(model="nowhere", export=export))


AUDIT = """
import ipaddress, sys

def audit(event, arguments):
    host = None
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    if event == "socket.getaddrinfo":
        host = arguments[0]
    if host not in (None, "", "localhost", "127.0.0.1", "::1", b"localhost", b"127.0.0.1"):
        print("ELSEWHERE", event, host, file=sys.stderr, flush=True)

sys.addaudithook(audit)
"""
"""What Python runs first in the app's process, as its sitecustomize."""


class Visitor:
    """A browser that waits for what it looks for."""

    def __init__(self, browser: Any):
        self.browser = browser

    def all(self, selector: str) -> list[Any]:
        from selenium.webdriver.common.by import By

        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def wait(self, found: Callable[[], Any], what: str) -> Any:
        from selenium.common.exceptions import ElementNotInteractableException, StaleElementReferenceException

        last = time.monotonic() + SECONDS
        while time.monotonic() < last:
            try:  # the page builds its elements anew at times
                if result := found():
                    return result
            except (StaleElementReferenceException, ElementNotInteractableException):
                pass
            time.sleep(0.1)
        raise AssertionError(f"no {what} within {SECONDS:.0f} s")

    def see(self, selector: str, count: int = 1) -> list[Any]:
        def shown() -> list[Any]:
            elements = [element for element in self.all(selector) if element.is_displayed()]
            return elements if len(elements) >= count else []

        return self.wait(shown, selector)

    def click(self, selector: str, number: int = 0) -> None:
        self.see(selector, number + 1)
        script = "arguments[0].scrollIntoView({block: 'center'})"

        def clicked() -> bool:
            element = self.all(selector)[number]
            self.browser.execute_script(script, element)
            element.click()
            return True

        self.wait(clicked, selector)

    def tab(self, name: str) -> None:
        names = [element.text for element in self.see("[role=tab]", 5)]
        self.click("[role=tab]", names.index(name))

    def give(self, selector: str, path: Path) -> None:
        self.wait(lambda: self.all(f"{selector} input[type=file]"), selector)[0].send_keys(str(path))

    def text(self, selector: str, words: str) -> str:
        """Waits until an element holds these words."""
        return self.wait(lambda: next((e.text for e in self.all(selector) if words in e.text), ""), words)

    def no_error(self) -> None:
        assert not [element.text for element in self.all(".toast-body.error")]

    def addresses(self) -> set[str]:
        """Of all that was asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        sent = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
        return {each["request"]["url"] for each in sent}


@pytest.fixture
def served(tmp_path):
    """The app on a tiny bundle; its standard error is a file."""
    bundle_around(DEEP).save_pretrained(tmp_path / "bundle")
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / "sitecustomize.py").write_text(AUDIT)
    paths = os.pathsep.join([str(tmp_path / "early"), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "pictogram", "app", "--model", str(tmp_path / "bundle"), "--port", "0", "--json"]
    command += ["--examples", "red apple, sad face"]
    with (
        open(tmp_path / "log", "w+") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": paths}
        ) as process,
    ):
        try:
            last, found = time.monotonic() + SECONDS, None
            while found is None and time.monotonic() < last and process.poll() is None:
                time.sleep(0.2)
                found = re.search(r"http://\S+/", (tmp_path / "log").read_text())
            assert found, (tmp_path / "log").read_text()
            yield process, found[0]
        finally:
            process.kill()


@pytest.fixture
def visitor():
    logs = {"goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"}}
    browser = open_browser("--window-size=1280,1000", capabilities=logs)
    try:
        yield Visitor(browser)
    finally:
        browser.quit()


@needs_gradio
@pytest.mark.slow
def test_a_browser_clicks_through_every_tab(served, visitor, tmp_path):
    process, url = served
    (tmp_path / "odd.png").write_bytes(png(7, (37, 20)))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    visitor.browser.get(url)
    for step in (_draw, _symbols, _complete, _caption, _compress):
        step(visitor, tmp_path)
        visitor.no_error()
        assert visitor.browser.save_screenshot(str(tmp_path / f"{step.__name__[1:]}.png"))
    elsewhere = {each for each in visitor.addresses() if not each.startswith((url, f"blob:{url}", "data:"))}
    assert not elsewhere
    assert not [each for each in visitor.browser.get_log("browser") if each["level"] == "SEVERE"]
    footer = visitor.see("gradio-app")[0].text
    assert "fingerprint of codes" in footer and "Built with Gradio" not in footer and "Use via API" not in footer
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=SECONDS)
    assert (process.returncode, json.loads(out)) == (0, {"url": url})
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log and "ELSEWHERE" not in log, log


_WATCH = """
window.waiting = [];
const count = () => window.waiting.push(String(document.querySelectorAll("#draw-result .pg-waiting").length));
new MutationObserver(count).observe(document.body, {childList: true, subtree: true});
"""
"""Remembers how many levels were still to come, whenever the page changed."""


def _draw(visitor: Visitor, folder: Path) -> None:
    visitor.click("#draw-button")
    visitor.see("#draw-result .pg-done")
    assert "bits" in visitor.text("#draw-result figcaption", "anything")
    visitor.click(".pg-chips button", 1)
    visitor.text("#draw-result figcaption", "“sad face”")
    words = visitor.see("#draw-words input, #draw-words textarea")[0]
    words.clear()
    words.send_keys("<b>{{this}} ${1+1}</b>")  # only text, to HTML and to the templates of gradio's components
    visitor.browser.execute_script(_WATCH)
    visitor.click("#draw-button")
    visitor.text("#draw-result figcaption", "“<b>{{this}} ${1+1}</b>”")
    visitor.see("#draw-result .pg-done")
    assert set(visitor.browser.execute_script("return window.waiting")) >= {"2", "0"}  # it has grown before our eyes
    words.clear()
    number = visitor.see("input[type=number]")[0]
    number.clear()
    number.send_keys("3")
    visitor.click("#draw-button")
    visitor.see("#draw-result .pg-done .pg-card", 3)
    visitor.click("#draw-result .pg-card", 2)
    visitor.see("#draw-result .pg-card.pg-chosen")
    width = visitor.see("#draw-result .pg-large")[0].size["width"]
    assert width == 256  # of 16 pixels


def _symbols(visitor: Visitor, folder: Path) -> None:
    visitor.tab("Symbols")
    visitor.click("#swap-take")  # before drawing under a symbol: that would be the last picture
    visitor.see("#swap-grid img")
    assert len(visitor.see("#symbols-sheet [data-pick]", 5)) == 5
    visitor.click("#swap-level label", 1)
    visitor.see("#swap-grid [data-pick]", 4)
    visitor.click("#swap-grid [data-pick]", 1)
    visitor.text("#swap-others", "row 1, column 2")
    visitor.click("#swap-others [data-pick]", 2)
    visitor.text("#swap-result", "Row 1, column 2 of 2x2: code")
    assert len(visitor.see("#swap-result img")) == 3
    visitor.click("#symbols-sheet [data-pick]", 3)
    visitor.text("#symbols-result", "Drawn under symbol 3")
    visitor.see("#symbols-result .pg-done .pg-card", 4)


def _complete(visitor: Visitor, folder: Path) -> None:
    from selenium.webdriver import ActionChains

    visitor.tab("Complete")
    visitor.click("#complete-button")
    visitor.text(".toast-body", "there is no picture yet")
    visitor.give("#complete-picture", folder / "odd.png")
    visitor.see("#complete-picture img")
    visitor.click("#complete-button")
    visitor.see("#complete-result img", 5)
    visitor.click("#complete-keep label", 1)
    canvas = visitor.see("#complete-editor canvas")[0]
    time.sleep(2)  # it sets itself up
    chain = ActionChains(visitor.browser).move_to_element_with_offset(canvas, -30, 0).click_and_hold()
    chain.move_by_offset(30, 10).move_by_offset(20, 10).release().perform()
    time.sleep(1)
    before = visitor.see("#complete-result img", 5)[1].get_attribute("src")
    visitor.click("#complete-button")
    visitor.wait(lambda: visitor.see("#complete-result img", 5)[1].get_attribute("src") != before, "other region")


def _caption(visitor: Visitor, folder: Path) -> None:
    visitor.tab("Caption")
    visitor.click("#caption-take")
    visitor.see("#caption-picture img")
    visitor.click("#caption-button")
    assert "bits" in visitor.text("#caption-result", "chance")


def _compress(visitor: Visitor, folder: Path) -> None:
    visitor.tab("Compress")
    visitor.give("#compress-picture", folder / "bad.png")
    visitor.click("#compress-button")
    visitor.text(".toast-body", "this file cannot be read as a picture")
    visitor.click("#compress-take")
    visitor.wait(lambda: "image.png" in (visitor.see("#compress-picture img")[0].get_attribute("src") or ""), "picture")
    visitor.click("#compress-button")
    visitor.text("#compress-result", "21 codes")
    link = visitor.see("#compress-result a[download]", 3)[2].get_attribute("href")
    (folder / "a.picto").write_bytes(base64.b64decode(link.split(",")[1]))
    visitor.click("#compress-read button")
    visitor.give("#compress-file", folder / "a.picto")
    visitor.click("#read-button")
    visitor.text("#compress-result figcaption", "1")
