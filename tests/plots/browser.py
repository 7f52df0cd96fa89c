"""Opens pages in a real headless Chromium, for tests. Standard library only.

`needs_browser` and `needs_driver` skip a test where Chromium or its WebDriver server is missing.
The browser is kept off the network by its flags and each call gets a new profile.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
_PRESS = [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
_PAUSE = {"type": "pause", "duration": 0}
# Keys as W3C WebDriver codes them.
CONTROL, ENTER, ESCAPE, TAB, DELETE = "\ue009", "\ue007", "\ue00c", "\ue004", "\ue017"
LEFT, UP, RIGHT, DOWN = "\ue012", "\ue013", "\ue014", "\ue015"
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of element ids, W3C WebDriver


def find_browser() -> str | None:
    """Returns the path of a Chromium-like browser, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


def find_driver() -> str | None:
    """Returns the path of chromedriver, or None."""
    return shutil.which("chromedriver")


needs_browser = pytest.mark.skipif(
    find_browser() is None, reason="no chromium, chromium-browser or google-chrome on PATH"
)
needs_driver = pytest.mark.skipif(
    find_browser() is None or find_driver() is None,
    reason="no chromium, or no chromedriver (Debian: chromium-driver), on PATH",
)


def dump_dom(page: Path, *, width: int = 1280, height: int = 900) -> str:
    """Returns the document as HTML after its scripts have run."""
    return _browse(page, "--dump-dom", f"--window-size={width},{height}")


def screenshot(page: Path, picture: Path, *, width: int = 1280, height: int = 900) -> None:
    """Writes a PNG of the window's content."""
    _browse(page, f"--screenshot={picture}", f"--window-size={width},{height}")
    assert picture.stat().st_size > 0


def _browse(page: Path, *flags: str) -> str:
    browser = find_browser()
    assert browser is not None, "no browser"
    with _profile() as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", *flags, page.resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode("utf-8")


@contextlib.contextmanager
def _profile() -> Iterator[str]:
    # Helper processes of the browser may still be writing when it has returned.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield folder


def _pointer(name: str, actions: list[Any], kind: str = "mouse") -> dict[str, Any]:
    parameters = {"pointerType": kind}
    return {"type": "pointer", "id": name, "parameters": parameters, "actions": actions}


class Driver:
    """A browser window driven over the WebDriver protocol; made by `open_driver`."""

    def __init__(self, address: str, session: str) -> None:
        """Takes the server's address and the id of a session on it."""
        self._base = f"{address}/session/{session}"

    def open(self, page: Path) -> None:
        """Opens a local file and waits for it to load."""
        self.open_address(page.resolve().as_uri())

    def open_address(self, address: str) -> None:
        """Opens an address and waits for it to load."""
        _call("POST", f"{self._base}/url", {"url": address})

    def resize(self, width: int, height: int) -> None:
        """Gives the page a viewport of this size; smaller than a window can be, if need be."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        command = {"cmd": "Emulation.setDeviceMetricsOverride", "params": size}
        _call("POST", f"{self._base}/goog/cdp/execute", command)

    def color_scheme(self, name: str) -> None:
        """Makes the page believe that the reader prefers "light" or "dark"."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        command = {"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}}
        _call("POST", f"{self._base}/goog/cdp/execute", command)

    def script(self, code: str, *arguments: Any) -> Any:
        """Runs `code` as the body of a function in the page and returns what it returns."""
        return _call(
            "POST", f"{self._base}/execute/sync", {"script": code, "args": list(arguments)}
        )

    def hover(self, selector: str, index: int = 0) -> None:
        """Moves the mouse to the middle of the `index`-th element that a CSS selector finds."""
        self._point("mouse", [self._move(selector, index)])

    def click(self, selector: str, index: int = 0) -> None:
        """Clicks in the middle of the `index`-th element that a CSS selector finds."""
        self._point("mouse", [self._move(selector, index), *_PRESS])

    def drag(self, selector: str, index: int, *path: tuple[int, int]) -> None:
        """Presses the mouse in the middle of an element, moves it along `path`, and lets go."""
        moves = [
            {"type": "pointerMove", "duration": 20, "origin": "pointer", "x": x, "y": y}
            for x, y in path
        ]
        self._point("mouse", [self._move(selector, index), _PRESS[0], *moves, _PRESS[1]])

    def pinch(self, selector: str, index: int, *, closer: int) -> None:
        """Puts two fingers 200 pixels apart around the middle of an element and moves them."""
        start = self._move(selector, index)
        fingers = [
            [{**start, "x": side * 100}, _PRESS[0], {**start, "x": side * (100 - closer // 2)}]
            for side in (-1, 1)
        ]
        actions = [
            _pointer(f"finger {number}", [*moves, _PRESS[1]], "touch")
            for number, moves in enumerate(fingers)
        ]
        _call("POST", f"{self._base}/actions", {"actions": actions})

    def wheel(self, selector: str, index: int, *, down: int, control: bool = False) -> None:
        """Turns the mouse wheel over the middle of an element."""
        over = self._move(selector, index)
        turn = {**over, "type": "scroll", "deltaX": 0, "deltaY": down}
        actions: list[Any] = [{"type": "wheel", "id": "wheel", "actions": [_PAUSE, turn, _PAUSE]}]
        if control:
            keys = [{"type": kind, "value": CONTROL} for kind in ("keyDown", "keyUp")]
            actions.append({"type": "key", "id": "keys", "actions": [keys[0], _PAUSE, keys[1]]})
        _call("POST", f"{self._base}/actions", {"actions": actions})

    def press(self, *keys: str) -> None:
        """Presses keys one after the other: characters, or codes such as `ENTER`."""
        presses = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        _call(
            "POST",
            f"{self._base}/actions",
            {"actions": [{"type": "key", "id": "keys", "actions": presses}]},
        )

    def save_downloads_in(self, folder: Path) -> None:
        """Lets pages download into a folder."""
        params = {"behavior": "allow", "downloadPath": str(folder)}
        command = {"cmd": "Browser.setDownloadBehavior", "params": params}
        _call("POST", f"{self._base}/goog/cdp/execute", command)

    def _move(self, selector: str, index: int) -> dict[str, Any]:
        """Brings an element into the window; the action that moves a pointer onto it."""
        found = _call(
            "POST", f"{self._base}/elements", {"using": "css selector", "value": selector}
        )
        element = {_ELEMENT: found[index][_ELEMENT]}
        self.script(
            "arguments[0].scrollIntoView({block: 'center', inline: 'center'})",
            element,
        )
        return {"type": "pointerMove", "duration": 0, "origin": element, "x": 0, "y": 0}

    def _point(self, name: str, actions: list[Any]) -> None:
        _call("POST", f"{self._base}/actions", {"actions": [_pointer(name, actions)]})

    def screenshot(self, picture: Path) -> None:
        """Writes a PNG of the window's content."""
        import base64

        picture.write_bytes(base64.b64decode(_call("GET", f"{self._base}/screenshot")))

    def console_errors(self) -> list[str]:
        """Returns the messages of severity SEVERE that the console got since the last call."""
        entries = _call("POST", f"{self._base}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]


@contextlib.contextmanager
def open_driver(*, width: int = 1280, height: int = 900) -> Iterator[Driver]:
    """Starts chromedriver and a browser window of the given size, and ends both afterwards."""
    browser, server = find_browser(), find_driver()
    assert browser is not None and server is not None, "no browser or no driver"
    with _profile() as profile:
        log = Path(profile) / "driver.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [server, "--port=0"],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "no_proxy": "*"},
            )
        try:
            address = f"http://127.0.0.1:{_port(log, process)}"
            options = {
                "binary": browser,
                "args": [
                    *FLAGS,
                    f"--user-data-dir={profile}/data",
                    f"--window-size={width},{height}",
                ],
            }
            wanted = {
                "browserName": "chrome",
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL"},
            }
            session = _call(
                "POST", f"{address}/session", {"capabilities": {"alwaysMatch": wanted}}
            )["sessionId"]
            try:
                yield Driver(address, session)
            finally:
                _call("DELETE", f"{address}/session/{session}")
        finally:
            process.terminate()
            process.wait(timeout=20)


def _port(log: Path, process: subprocess.Popen[bytes]) -> int:
    """The port that chromedriver says it listens on."""
    for _ in range(200):
        for line in log.read_text(errors="replace").splitlines():
            if "started successfully on port" in line:
                return int(line.rstrip(".").rsplit(" ", 1)[1])
        assert process.poll() is None, log.read_text(errors="replace")
        time.sleep(0.05)
    raise AssertionError(f"chromedriver did not start: {log.read_text(errors='replace')}")


def _call(method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        url, data=data, method=method, headers={"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(f"{method} {url}: {error.read().decode()}") from error
