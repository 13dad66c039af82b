"""Headless Chromium, for tests that look at pages."""

import shutil
from collections.abc import Mapping
from typing import Any

import pytest


def open_browser(*arguments: str, capabilities: Mapping[str, Any] | None = None) -> Any:
    """A driver of selenium; the test is skipped where selenium, chromium or its driver is missing.

    Args:
        arguments: further ones of Chromium's command line.
        capabilities: by their names.
    """
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    from selenium.webdriver.chrome.service import Service

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")
    for argument in (*quiet, *arguments):
        options.add_argument(argument)
    for name, value in (capabilities or {}).items():
        options.set_capability(name, value)
    return webdriver.Chrome(options=options, service=Service(driver))
