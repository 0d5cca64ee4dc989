"""Drives a real headless Chromium by the WebDriver protocol, for the tests of the report page.

It knows a dozen commands of https://www.w3.org/TR/webdriver2/ and nothing of the page.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.farm import PATIENCE, free_port, wait_until

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --hide-scrollbars"
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's name for a reference to an element
KEYS = {"Enter": "\ue007", "Escape": "\ue00c", "Left": "\ue012", "Up": "\ue013", "Right": "\ue014", "Down": "\ue015"}


def require_chromium() -> None:
    """Skip the calling test without Chromium."""
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        pytest.skip("chromium is missing: install the packages chromium and chromium-driver")


class Browser:
    """One browser with one window; use as a context manager."""

    def __init__(self, width: int = 1200, height: int = 900) -> None:
        self._size = (width, height)
        self._driver: subprocess.Popen[bytes] | None = None
        self._session = ""
        self._profile = tempfile.mkdtemp(prefix="bf-chromium-")
        self._port = free_port()

    def __enter__(self) -> Browser:
        require_chromium()
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={self._port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_until(self._ready, "chromedriver")
            flags = [
                *FLAGS.split(),
                f"--window-size={self._size[0]},{self._size[1]}",
                f"--user-data-dir={self._profile}",
            ]
            capabilities = {
                "browserName": "chrome",
                "goog:chromeOptions": {"args": flags, "binary": shutil.which("chromium")},
                "goog:loggingPrefs": {"browser": "ALL"},
            }
            answer = self._send("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
            self._session = f"/session/{answer['sessionId']}"
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._session:
            self._send("DELETE", self._session)
        if self._driver is not None:
            self._driver.terminate()
            self._driver.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, page: Path) -> None:
        self._post("/url", {"url": page.as_uri()})

    def run(self, script: str) -> Any:
        """What the body of a function returns in the page."""
        return self._post("/execute/sync", {"script": script, "args": []})

    def drawn(self) -> None:
        """Wait for two frames, so that what was asked for has been painted."""
        self._post(
            "/execute/async",
            {
                "script": "const d = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => d(1)))",
                "args": [],
            },
        )

    def press(self, *keys: str) -> None:
        """Press keys one after the other, by name or as the character, wherever the focus is."""
        actions = []
        for key in keys:
            value = KEYS.get(key, key)
            actions += [{"type": "keyDown", "value": value}, {"type": "keyUp", "value": value}]
        self._post("/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})
        self.drawn()

    def click(self, selector: str) -> None:
        found = self._post("/element", {"using": "css selector", "value": selector})
        self._post(f"/element/{found[ELEMENT]}/click", {})
        self.drawn()

    def complaints(self) -> list[str]:
        """What the page has written to the console, as warning or error."""
        log = self._post("/se/log", {"type": "browser"})
        return [entry["message"] for entry in log if entry["level"] in ("WARNING", "SEVERE")]

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self._send("GET", self._session + "/screenshot")))

    def prefer(self, scheme: str) -> None:
        """Let the system's colours be `light` or `dark`."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        command = {"cmd": "Emulation.setEmulatedMedia", "params": {"features": [feature]}}
        self._post("/goog/cdp/execute", command)
        self.drawn()

    def _ready(self) -> bool:
        try:
            return bool(self._send("GET", "/status")["ready"])
        except OSError:
            return False

    def _post(self, path: str, body: object) -> Any:
        return self._send("POST", self._session + path, body)

    def _send(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", data, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.read().decode()[:600]}") from error
