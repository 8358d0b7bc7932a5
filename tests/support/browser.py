"""Headless Chromium, driven over its DevTools protocol: what the status page is looked at with.

    with Browser(folder) as browser:
        page = browser.open("http://ann:secret@127.0.0.1:8090/", width=360)
        page.evaluate("document.title")

Protocol: https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import websocket

COMMANDS = ("chromium", "chromium-browser", "google-chrome")
WAIT_SECONDS = 60


def command():
    """The path of Chromium, None when it is not installed."""
    return next(filter(None, map(shutil.which, COMMANDS)), None)


class Browser:
    """A Chromium process of its own, without a window and without a profile of anybody's."""

    def __init__(self, folder):
        self._folder = Path(folder)

    def __enter__(self):
        if not command():
            raise RuntimeError("Chromium is not installed: run bash tests/demo/install_servers")
        profile = self._folder / "profile"
        options = ["--headless=new", "--remote-debugging-port=0", "--user-data-dir=%s" % profile]
        options += ["--no-first-run", "--disable-background-networking", "--disable-gpu"]
        options += ["--disable-dev-shm-usage", "--remote-allow-origins=*", "--hide-scrollbars"]
        options += ["--disable-quic", "--disable-component-update", "--disable-sync"]
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # Chromium refuses to start as root otherwise
        with open(self._folder / "chromium.log", "wb") as log:
            self._process = subprocess.Popen(
                [command(), *options, "about:blank"], stdout=log, stderr=log
            )
        port_file = profile / "DevToolsActivePort"
        try:
            _wait(lambda: port_file.exists() and port_file.read_text().count("\n"), "Chromium")
        except BaseException:
            self.__exit__()
            raise
        self._address = "http://127.0.0.1:%s" % port_file.read_text().split()[0]
        self._pages = []
        return self

    def __exit__(self, *_):
        for page in getattr(self, "_pages", ()):
            page.close()
        self._process.terminate()
        self._process.wait(WAIT_SECONDS)

    def open(self, url, **options):
        """A new tab with a page in it, loaded; ``options`` are those of Page."""
        request = urllib.request.Request(self._address + "/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
            target = json.load(answer)
        page = Page(target["webSocketDebuggerUrl"], **options)
        self._pages.append(page)
        page.go(url)
        return page


class Page:
    """A tab. ``requests`` are the addresses it has asked for, ``complaints`` what it complained of.

    :param width: of the window, in CSS pixels.
    :param dark: whether the reader prefers dark colours.
    :param script: whether scripts run at all.
    """

    def __init__(self, address, width=1280, height=900, dark=False, script=True):
        self._socket = websocket.create_connection(address, timeout=WAIT_SECONDS)
        self._numbers = itertools.count(1)
        self._loaded = False
        self.requests = []
        self.complaints = []
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility", "DOM"):
            self.send(domain + ".enable")
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Emulation.setScriptExecutionDisabled", value=not script)

    def send(self, method, **params):
        """Call a method of the protocol and return its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                assert "error" not in message, "%s: %s" % (method, message.get("error"))
                return message["result"]
            self._event(message)

    def go(self, url):
        """Load an address and wait until it is there."""
        self._loaded = False
        self.send("Page.navigate", url=url)
        self.wait(lambda: self._loaded, "the page to load")

    def evaluate(self, expression):
        """The value of an expression in the page; promises are awaited."""
        found = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def text(self, selector="body"):
        """What a reader sees of an element."""
        return self.evaluate("document.querySelector(%s).innerText" % json.dumps(selector))

    def click(self, selector):
        """Click in the middle of an element, as a mouse does."""
        place = self.evaluate(
            "(e => (e.scrollIntoView({block: 'center'}), (b => [b.x + b.width / 2, b.y + b.height"
            " / 2])(e.getBoundingClientRect())))(document.querySelector(%s))" % json.dumps(selector)
        )
        for kind in ("mousePressed", "mouseReleased"):
            where = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
            self.send("Input.dispatchMouseEvent", type=kind, **where)

    def press(self, key, code=None, text=""):
        """Press a key on the keyboard."""
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            virtual = {"Tab": 9, "Enter": 13, " ": 32}.get(key, 0)
            self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=code or key,
                windowsVirtualKeyCode=virtual,
                **more,
            )

    def tree(self):
        """The accessibility tree, flat: ``(role, name, properties)`` of what is not ignored."""
        nodes = self.send("Accessibility.getFullAXTree")["nodes"]
        return [
            (
                node["role"]["value"],
                node.get("name", {}).get("value", ""),
                {p["name"]: p["value"].get("value") for p in node.get("properties", ())},
            )
            for node in nodes
            if not node["ignored"]
        ]

    def picture(self, path):
        """Write a PNG of the whole page."""
        found = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        Path(path).write_bytes(base64.b64decode(found["data"]))

    def wait(self, check, what):
        """The first true answer of ``check``; fails with ``what`` was awaited."""

        def look():
            self.send("Runtime.getIsolateId")  # takes in the events that wait
            return check()

        return _wait(look, what)

    def close(self):
        """Leave the tab."""
        self._socket.close()

    def _event(self, message):
        method, params = message["method"], message["params"]
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"].get("text", "exception"))
        elif method == "Log.entryAdded":
            self.complaints.append("%(source)s: %(text)s" % params["entry"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append("console." + params["type"])


def _wait(check, what):
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, "waited in vain for " + what
        time.sleep(0.05)
