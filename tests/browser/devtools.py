"""devtools.py: a headless Chromium, driven over the DevTools protocol by its pipe, with the standard library only.

Messages are JSON that ends with a zero byte; the browser reads descriptor 3 and writes descriptor 4. Everything that is
waited for has a deadline. One thread.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time

ANSWER_S = 20  # a command's answer, and whatever a page is waited for
START_S = 60  # of the browser
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Failure(Exception):
    """What the test found; its text is for people."""


def find_browser():
    """Its path, None when there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """The process, and its connection."""

    def __init__(self, path):
        self.profile = tempfile.mkdtemp(prefix="vdist-browser-")
        to_read, self.to_write = os.pipe()
        self.to_hear, to_answer = os.pipe()
        # Out of the way of 3 and 4 first, which may be among the four.
        ours = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (to_read, to_answer)]

        def hand_over():
            os.dup2(ours[0], 3)
            os.dup2(ours[1], 4)

        self.process = subprocess.Popen(
            [
                path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
                "--force-color-profile=srgb", "--remote-debugging-pipe", f"--user-data-dir={self.profile}", "about:blank",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=hand_over, pass_fds=(3, 4), start_new_session=True,
        )
        for fd in (to_read, to_answer, *ours):
            os.close(fd)
        self.heard = b""
        self.last_id = 0
        self.events = []  # (session, method, parameters), unread

    def close(self):
        """Ends the whole process group; any number of times."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(ANSWER_S)
        shutil.rmtree(self.profile, ignore_errors=True)

    def ask(self, method, parameters=None, session=None, patience=ANSWER_S):
        """The result of one command."""
        self.last_id += 1
        message = {"id": self.last_id, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = session
        os.write(self.to_write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + patience
        while True:
            answer = self.next_message(deadline, method)
            if answer.get("id") == self.last_id:
                if "error" in answer:
                    raise Failure(f"{method}: {answer['error']['message']}")
                return answer["result"]
            if "method" in answer:
                self.events.append((answer.get("sessionId"), answer["method"], answer["params"]))

    def next_message(self, deadline, what):
        while b"\0" not in self.heard:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.to_hear], [], [], left)[0]:
                raise Failure(f"{what}: the browser does not answer")
            piece = os.read(self.to_hear, 1 << 16)
            if not piece:
                raise Failure(f"{what}: the browser has ended")
            self.heard += piece
        text, self.heard = self.heard.split(b"\0", 1)
        return json.loads(text)


class Page:
    """One tab. What it complains about is kept in `complaints`."""

    def __init__(self, browser):
        self.browser = browser
        self.target = browser.ask("Target.createTarget", {"url": "about:blank"}, patience=START_S)["targetId"]
        attached = browser.ask("Target.attachToTarget", {"targetId": self.target, "flatten": True})
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.complaints = []

    def ask(self, method, parameters=None, patience=ANSWER_S):
        return self.browser.ask(method, parameters, self.session, patience)

    def close(self):
        self.browser.ask("Target.closeTarget", {"targetId": self.target})

    def open(self, url):
        self.ask("Page.navigate", {"url": url})
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'", "the page is loaded")

    def evaluate(self, expression, patience=ANSWER_S):
        """The value of an expression; a promise is awaited."""
        got = self.ask(
            "Runtime.evaluate", {"expression": expression, "awaitPromise": True, "returnByValue": True}, patience + 5
        )
        if "exceptionDetails" in got:
            details = got["exceptionDetails"]
            raise Failure(f"script: {details.get('exception', {}).get('description', details['text'])}: {expression}")
        return got["result"].get("value")

    def wait_for(self, condition, what, patience=ANSWER_S):
        """Returns when the condition holds, which is looked at with every change of the page."""
        held = self.evaluate(
            f"""new Promise((done) => {{
              const holds = () => {{ try {{ return Boolean({condition}); }} catch {{ return false; }} }};
              if (holds()) {{ done(true); return; }}
              const end = (value) => {{ watcher.disconnect(); clearInterval(again); clearTimeout(late); done(value); }};
              const look = () => {{ if (holds()) end(true); }};
              const watcher = new MutationObserver(look);
              watcher.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
              const again = setInterval(look, 50);
              const late = setTimeout(() => end(false), {int(patience * 1000)});
            }})""",
            patience,
        )
        if not held:
            text = self.evaluate("document.body ? document.body.innerText.slice(0, 6000) : ''")
            raise Failure(f"not within {patience} s: {what}; the page says:\n{text}")

    def set_size(self, width, height):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", metrics)

    def set_media(self, **features):
        """set_media(prefers_color_scheme="dark")"""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.ask("Emulation.setEmulatedMedia", {"features": named})

    def press(self, key, code, modifiers=0):
        for kind in ("rawKeyDown", "keyUp"):
            event = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
            self.ask("Input.dispatchKeyEvent", event)

    def type(self, text):
        self.ask("Input.insertText", {"text": text})

    def click(self, selector):
        """As a person does: what lies above gets it."""
        at = self.evaluate(
            f"""(() => {{ const one = document.querySelector({json.dumps(selector)}); one.scrollIntoView({{ block: 'center' }});
              const box = one.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", {"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1})

    def screenshot(self, path):
        """Of the whole page."""
        shot = self.ask("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True}, patience=60)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))

    def take_complaints(self, without_network=False):
        """What console, scripts and the content security policy have said since the last time. `without_network`: a server
        that is not there is no fault of the page."""
        self.evaluate("0")  # events before it have been heard then
        mine = [one for one in self.browser.events if one[0] == self.session]
        self.browser.events = [one for one in self.browser.events if one[0] != self.session]
        found = []
        for _, method, parameters in mine:
            if method == "Runtime.exceptionThrown":
                found.append(parameters["exceptionDetails"].get("exception", {}).get("description", "exception"))
            elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
                found.append(str([one.get("value") for one in parameters["args"]]))
            elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                entry = parameters["entry"]
                if not (without_network and entry["source"] == "network"):
                    found.append(f"{entry['source']}: {entry['text']} ({entry.get('url', '')})")
        return found
