"""The report in a real browser: nothing leaves the page, no console error, no sideways overflow."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="needs Debian's chromium and chromium-driver",
    ),
]

PORT = 19515
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


class Browser:
    """A page under the W3C WebDriver protocol."""

    def __init__(self, session: str) -> None:
        self.session = session

    def post(self, path: str, **body: Any) -> Any:
        answer = requests.post(f"{self.session}/{path}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()["value"]

    def run(self, script: str) -> Any:
        return self.post("execute/sync", script=script, args=[])

    def show(self, page: Path, width: int) -> None:
        # Chromium narrower than 500 px needs a device width: windows are not made that small.
        self.post(
            "goog/cdp/execute",
            cmd="Emulation.setDeviceMetricsOverride",
            params={"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        self.post("url", url=page.as_uri())

    def messages(self) -> list[str]:
        return [entry["message"] for entry in self.post("se/log", type="browser")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    driver = subprocess.Popen(["chromedriver", f"--port={PORT}"], stdout=subprocess.DEVNULL)
    base = f"http://127.0.0.1:{PORT}"
    options = {"goog:chromeOptions": {"args": list(FLAGS)}, "goog:loggingPrefs": {"browser": "ALL"}}
    try:
        for _ in range(100):
            try:
                requests.get(f"{base}/status", timeout=1).raise_for_status()
                break
            except requests.ConnectionError:
                time.sleep(0.1)
        answer = requests.post(
            f"{base}/session", timeout=60, json={"capabilities": {"alwaysMatch": options}}
        )
        answer.raise_for_status()
        session = f"{base}/session/{answer.json()['value']['sessionId']}"
        yield Browser(session)
        requests.delete(session, timeout=10)
    finally:
        driver.terminate()
        driver.wait()


@pytest.mark.parametrize("width", [1280, 400])
def test_page(browser: Browser, finished_tiny: Path, width: int) -> None:
    page = finished_tiny / "results" / "report" / "index.html"
    browser.show(page, width)
    assert browser.run("return document.title")
    assert browser.run("return document.querySelectorAll('table').length") >= 3
    assert browser.run("return document.querySelectorAll('svg').length") >= 3
    assert browser.run("return document.documentElement.scrollWidth") <= width
    loaded = browser.run("return performance.getEntriesByType('resource').map(e => e.name)")
    assert loaded == []
    assert browser.messages() == []
