"""A headless Chromium, driven by its DevTools protocol."""

import base64
import contextlib
import io
import itertools
import json
import pathlib
import shutil
import subprocess
import tempfile
import time

from PIL import Image
from websockets.sync.client import connect

from processes import SLOW

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def program():
    """Chromium's path; None where it is not installed."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Browser:
    """One page."""

    def __init__(self, socket):
        self.socket = socket
        self.numbers = itertools.count(1)

    def call(self, method, **params):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv(timeout=30 * SLOW))
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def open(self, address):
        self.call("Page.navigate", url=address)

    def sign_in(self, address, password):
        """Opens a page that asks for a password, as a user answers the browser's question. Returns how often it asked."""
        self.call("Fetch.enable", handleAuthRequests=True)
        self.socket.send(json.dumps({"id": next(self.numbers), "method": "Page.navigate", "params": {"url": address}}))
        asked, loaded = 0, False
        while not loaded:
            event = json.loads(self.socket.recv(timeout=30 * SLOW))
            request = {"requestId": event.get("params", {}).get("requestId")}
            if event.get("method") == "Fetch.authRequired":
                asked += 1
                answer = {"response": "ProvideCredentials", "username": "", "password": password} if asked == 1 else {
                    "response": "CancelAuth"}
                self.socket.send(json.dumps({"id": next(self.numbers), "method": "Fetch.continueWithAuth",
                                             "params": {**request, "authChallengeResponse": answer}}))
            elif event.get("method") == "Fetch.requestPaused":
                self.socket.send(json.dumps({"id": next(self.numbers), "method": "Fetch.continueRequest", "params": request}))
            loaded = event.get("method") == "Page.loadEventFired"
        self.call("Fetch.disable")
        return asked

    def size(self, width, height, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)

    def prefer(self, scheme):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def value(self, script):
        """Of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, script, what, seconds=20):
        end = time.monotonic() + seconds * SLOW
        while time.monotonic() < end:
            with contextlib.suppress(AssertionError):  # the page is being loaded
                if self.value(script):
                    return
            time.sleep(0.1)
        raise AssertionError(f"the page did not get there: {what}")

    def press(self, key, text=""):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key if not text else "Space",
                      windowsVirtualKeyCode={"Tab": 9}.get(key, 32), **({"text": text} if text and kind == "keyDown" else {}))

    def picture(self, selector=None):
        """A screenshot of the page, or of one element."""
        params = {"captureBeyondViewport": True}
        if selector:
            box = self.value(f"(() => {{ const b = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
                             "return {x: b.x + scrollX, y: b.y + scrollY, width: b.width, height: b.height}; })()")
            params["clip"] = {**box, "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", **params)["data"]
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")

    def names(self, role):
        """The accessible names of everything with this role, as a screen reader has them."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [node["name"]["value"] for node in nodes
                if not node["ignored"] and node.get("role", {}).get("value") == role and "name" in node]


@contextlib.contextmanager
def opened():
    with tempfile.TemporaryDirectory(prefix="hcb") as folder:
        process = subprocess.Popen(
            [program(), "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run",
             f"--user-data-dir={folder}", "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port_file = pathlib.Path(folder) / "DevToolsActivePort"
            end = time.monotonic() + 30 * SLOW
            while not port_file.exists() or not port_file.read_text():
                assert process.poll() is None and time.monotonic() < end, "chromium did not start"
                time.sleep(0.05)
            port, path = port_file.read_text().split()
            with connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as socket:
                target = Browser(socket).call("Target.createTarget", url="about:blank")["targetId"]
            with connect(f"ws://127.0.0.1:{port}/devtools/page/{target}", max_size=None) as socket:
                browser = Browser(socket)
                browser.call("Page.enable")
                browser.call("Accessibility.enable")
                yield browser
        finally:
            process.terminate()
            process.wait(20)
