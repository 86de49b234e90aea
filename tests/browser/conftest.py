"""A headless Chromium, and a proxy whose status page it reads."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support import expected_conditions
from selenium.webdriver.support.wait import WebDriverWait

from tests import tools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from selenium.webdriver.remote.webelement import WebElement

SCREENS: Final = Path(__file__).parents[2] / "build" / "screens"
_TIMEOUT: Final = 60.0
_OPTIONS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--hide-scrollbars",
    # What the browser itself would say to the internet.
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)


class Browser:
    """The browser, as tests use it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Go to the page, and wait until it is there."""
        self.driver.get(url)

    def text(self, selector: str) -> str:
        """What the first element of that selector shows; it may be replaced at any moment."""
        return str(self.run("return document.querySelector(arguments[0]).innerText", selector))

    def texts(self, selector: str) -> list[str]:
        """What every element of that selector shows."""
        script = "return [...document.querySelectorAll(arguments[0])].map((each) => each.innerText)"
        return list(self.run(script, selector))

    def find(self, selector: str) -> WebElement:
        """The first element of that selector."""
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> Sequence[WebElement]:
        """Every element of that selector."""
        return self.driver.find_elements("css selector", selector)

    def follow(self, selector: str) -> None:
        """Click on a link or button, and wait for the page that it leads to."""
        clicked = self.find(selector)
        clicked.click()
        self.wait(lambda: expected_conditions.staleness_of(clicked)(self.driver))
        self.wait(lambda: self.run("return document.readyState") == "complete")

    def run(self, script: str, *arguments: object) -> Any:
        """What a script in the page returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: Callable[[], object], *, within: float = _TIMEOUT) -> None:
        """Return when the condition is true."""
        WebDriverWait(self.driver, within, poll_frequency=0.05).until(lambda _: condition())

    def wait_for_text(self, selector: str, part: str, *, within: float = _TIMEOUT) -> None:
        """Return when the element shows the text; it may be replaced meanwhile."""
        script = "return document.querySelector(arguments[0])?.innerText ?? ''"
        self.wait(lambda: part in self.run(script, selector), within=within)

    def look(self, *, width: int, dark: bool) -> None:
        """Have a window so wide, in that colour scheme."""
        scheme = "dark" if dark else "light"
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
        )
        self._size(width, 900)

    def screenshot(self, name: str, *, width: int) -> None:
        """Keep a picture of the whole page."""
        SCREENS.mkdir(parents=True, exist_ok=True)
        height = int(self.run("return document.documentElement.scrollHeight"))
        self._size(width, height)
        self.driver.save_screenshot(str(SCREENS / f"{name}.png"))

    def requested(self) -> set[str]:
        """Every address that the browser has asked for since the last call."""
        found = set()
        for entry in self.driver.get_log("performance"):  # type: ignore[no-untyped-call]
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.add(str(message["params"]["request"]["url"]))
        return found

    def complaints(self) -> list[str]:
        """What the browser says of the pages: scripts that failed, content that was refused."""
        return [str(each["message"]) for each in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def faults(self) -> list[str]:
        """What axe finds serious in the page."""
        script = tools.require("axe-core").read_text()
        self.run(script)
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run().then((found) => done(found.violations))"
        )
        return [
            f"{each['id']} ({each['impact']}): {node['html']}"
            for each in found
            if each["impact"] in {"serious", "critical"}
            for node in each["nodes"]
        ]

    def _size(self, width: int, height: int) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )


@pytest.fixture(scope="session")
def _driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(tools.require("chromium"))
    for option in _OPTIONS:
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('browser')}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    # The path is given, so that nothing is looked for or downloaded.
    service = Service(str(tools.require("chromedriver")), env={**os.environ, "SE_OFFLINE": "true"})
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_script_timeout(_TIMEOUT)
    yield driver
    driver.quit()


@pytest.fixture
def browser(_driver: webdriver.Chrome) -> Iterator[Browser]:
    """The same browser for every test, without what the one before has left."""
    browser = Browser(_driver)
    browser.look(width=1400, dark=False)
    browser.requested()
    browser.complaints()
    yield browser
    _driver.get("about:blank")
