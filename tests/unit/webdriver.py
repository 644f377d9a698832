"""A few W3C WebDriver calls to Debian's chromium through chromedriver, with the standard library alone."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="chromium and chromedriver are not on this machine"
)
LEFT, RIGHT = "\ue012", "\ue014"
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One session."""

    def __init__(self, driver: str, capabilities: dict[str, Any]):
        self._base = driver
        answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self._base = f"{driver}/session/{answer['sessionId']}"

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=600) as reply:
                return json.load(reply)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None

    def open(self, url: str) -> None:
        self._call("POST", "/url", {"url": url})

    def run(self, script: str) -> Any:
        return self._call("POST", "/execute/sync", {"script": script, "args": []})

    def until(self, expression: str, seconds: float = 600) -> Any:
        """The value of a JavaScript expression as soon as it is truthy."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.run(f"return {expression}"):
                return value
            time.sleep(0.03)
        raise AssertionError(f"never true: {expression}; page: {self.run('return document.body.innerText')}")

    def click(self, selector: str) -> None:
        element = self._call("POST", "/element", {"using": "css selector", "value": selector})[_ELEMENT]
        self._call("POST", f"/element/{element}/click", {})

    def press(self, key: str) -> None:
        keys = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": keys}]})

    def touch(self, selector: str) -> None:
        """A finger taps the middle of an element."""
        x, y = self.run(
            f"const r = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            "return [Math.round(r.x + r.width / 2), Math.round(r.y + r.height / 2)]"
        )
        taps = [
            {"type": "pointerMove", "x": x, "y": y, "duration": 0},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        finger = {"type": "pointer", "id": "finger", "parameters": {"pointerType": "touch"}, "actions": taps}
        self._call("POST", "/actions", {"actions": [finger]})

    def errors(self) -> list[str]:
        """What the console said that is an error, less the 404 by which a page finds that nobody collects."""
        log = self._call("POST", "/se/log", {"type": "browser"})
        return [
            entry["message"] for entry in log if entry["level"] == "SEVERE" and "/api/study" not in entry["message"]
        ]

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def close(self) -> None:
        self._call("DELETE", "")


@contextmanager
def browser(downloads: Path, *, size: tuple[int, int] = (1200, 800)) -> Iterator[Browser]:
    """A headless chromium with an empty profile; `downloads` receives what pages save."""
    assert DRIVER is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    options = {
        "binary": CHROMIUM,
        "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"],
        "prefs": {"download.default_directory": str(downloads), "download.prompt_for_download": False},
    }
    options["args"] = [*options["args"], f"--window-size={size[0]},{size[1]}"]  # type: ignore[misc]
    try:
        for _ in range(10_000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        session = Browser(
            f"http://127.0.0.1:{port}", {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        )
        try:
            yield session
        finally:
            session.close()
    finally:
        driver.terminate()
        driver.wait(10)
