"""Drive a headless Chromium by the DevTools protocol, with the functions that the page tests need."""

import base64
import json
import subprocess
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.programs import require
from tests.system.harness import STUCK_S

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
    # Tabs are used one after the other, so one renderer process is enough; several would double the cost.
    "--renderer-process-limit=1",
)


class Browser:
    """Context manager that starts and stops Chromium."""

    def __init__(self, *flags: str) -> None:
        self._flags = flags

    def __enter__(self) -> Self:
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [
                require("chromium"),
                *FLAGS,
                *self._flags,
                f"--user-data-dir={self._profile.name}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        port_file = Path(self._profile.name) / "DevToolsActivePort"
        deadline = time.monotonic() + STUCK_S
        while not (port_file.exists() and port_file.read_text().count("\n") == 1):
            if time.monotonic() > deadline:
                self._stop()
                pytest.fail("chromium does not open its debugging port")
            time.sleep(0.02)
        self._port = int(port_file.read_text().splitlines()[0])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STUCK_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STUCK_S)
        self._profile.cleanup()

    def page(self, url: str, width: int = 1200, height: int = 900, dark: bool = False) -> "Page":
        """Open a page in a new tab, with storage that other tabs do not share."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request, timeout=STUCK_S) as answer:
            target = json.load(answer)
        closing = f"http://127.0.0.1:{self._port}/json/close/{target['id']}"
        return Page(target["webSocketDebuggerUrl"], closing, url, width, height, dark)


class Page:
    """One tab.

    `problems` has console errors, uncaught exceptions and violations of the security policy; `messages` has
    everything written to the console.
    """

    def __init__(
        self, debugger_url: str, closing_url: str, url: str, width: int, height: int, dark: bool
    ) -> None:
        self._closing_url = closing_url
        self._stack = ExitStack()
        self._socket: ClientConnection = self._stack.enter_context(
            connect(debugger_url, max_size=64 * 1024 * 1024, open_timeout=STUCK_S)
        )
        self._number = 0
        self.problems: list[str] = []
        self.messages: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.command(f"{domain}.enable")
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.command("Emulation.setEmulatedMedia", features=scheme)
        self.command("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The browser closes the tab, because the page itself cannot during a navigation.
        with urllib.request.urlopen(self._closing_url, timeout=STUCK_S) as answer:
            answer.read()
        self._stack.close()

    def command(self, method: str, **parameters: Any) -> Any:
        """Send one command and return its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=STUCK_S))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self._notice(message)

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression; if it is a promise, wait for its result."""
        answer = self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str) -> Any:
        """Wait until a JavaScript expression is truthy, and return its value."""
        deadline = time.monotonic() + STUCK_S
        while True:
            value = self.run(condition)
            if value:
                return value
            assert time.monotonic() < deadline, (
                f"never came true: {condition}; {self.text('body')}; {self.problems}"
            )
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """Return the visible text of an element."""
        value: str = self.run(f"document.querySelector({json.dumps(selector)}).innerText")
        return value

    def type(self, selector: str, text: str) -> None:
        """Replace the content of a field, as if a user typed it."""
        self.run(f"document.querySelector({json.dumps(selector)}).select()")
        self.command("Input.insertText", text=text)

    def choose(self, selector: str, value: str) -> None:
        """Select an entry of a select element."""
        self.run(
            f"(e => {{ e.value = {json.dumps(value)}; e.dispatchEvent(new Event('change')) }})"
            f"(document.querySelector({json.dumps(selector)}))"
        )

    def click(self, selector: str) -> None:
        """Click the middle of an element."""
        x, y = self.run(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const r = e.getBoundingClientRect();"
            f" return [r.x + r.width / 2, r.y + r.height / 2] }})(document.querySelector({json.dumps(selector)}))"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, modifiers: int = 0, code: int = 0) -> None:
        """Press a key; modifier 2 is Ctrl."""
        for kind in ("rawKeyDown", "keyUp"):
            self.command(
                "Input.dispatchKeyEvent", type=kind, key=key, modifiers=modifiers, windowsVirtualKeyCode=code
            )

    def screenshot(self, path: Path) -> None:
        """Save the whole page as PNG."""
        image = self.command("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(image["data"]))

    def view(self, path: Path) -> None:
        """Save the visible part of the page as PNG."""
        image = self.command("Page.captureScreenshot")
        path.write_bytes(base64.b64decode(image["data"]))

    def _notice(self, message: dict[str, Any]) -> None:
        method, parameters = message.get("method"), message.get("params", {})
        if method in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
            self.messages.append(str(parameters))
        if method == "Runtime.exceptionThrown":
            self.problems.append(str(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.problems.append(parameters["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            self.problems.append(str(parameters["args"]))
