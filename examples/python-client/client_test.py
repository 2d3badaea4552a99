#!/usr/bin/env python3
"""The client against a real server: what it reads calmly, it reads the same while the server's control process dies, and
while connections break at every place that a proxy chooses.

usage: client_test.py VDIST_RUN MODEL_FOLDER
"""

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import vdist_client

START_S = 60


@contextlib.contextmanager
def serving(vdist_run, model, extra=""):
    """The URL of a vdist-run that serves, and its process id."""
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder) / "serve.toml"
        config.write_text(
            f'[model]\npath = "{model}"\nmax_model_len = 512\n'
            '[device]\nkind = "cpu"\nthreads = 1\nkv_cache_bytes = 16777216\n'
            f"[server]\nport = 0\n{extra}"
        )
        errors = pathlib.Path(folder) / "stderr"
        process = subprocess.Popen([vdist_run, config, "--quiet"], stderr=errors.open("wb"))
        try:
            until = time.monotonic() + START_S
            found = None
            while not found and time.monotonic() < until and process.poll() is None:
                found = re.search(r"serving at (http://\S+)", errors.read_text())
                time.sleep(0.02)
            if not found:
                raise SystemExit(f"vdist-run does not serve: {errors.read_text()}")
            yield found.group(1), process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def child_named(parent, name):
    for pid in pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].endswith(name):
            return int(pid)
    raise SystemExit(f"no {name} among the children of vdist-run")


class CuttingProxy:
    """Passes every connection on to the server and cuts it after so many bytes of the answer, more each time."""

    def __init__(self, url, first_cut, growth):
        self._to = url.removeprefix("http://").split(":")
        self._cut = first_cut
        self._growth = growth
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        server = socket.create_connection((self._to[0], int(self._to[1])))
        threading.Thread(target=self._pump_request, args=(client, server), daemon=True).start()
        left, self._cut = self._cut, self._cut + self._growth
        while left > 0 and (data := server.recv(min(left, 4096))):
            client.sendall(data)
            left -= len(data)
        self.cuts += left == 0
        for end in (client, server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    @staticmethod
    def _pump_request(client, server):
        with contextlib.suppress(OSError):
            while data := client.recv(4096):
                server.sendall(data)


def check(condition, text):
    if not condition:
        raise SystemExit(f"FAILED: {text}")


def main():
    vdist_run, model = sys.argv[1:3]
    parameters = {"max_tokens": 200, "seed": 5, "ignore_eos": True}
    with serving(vdist_run, model) as (url, pid):
        retries = []
        client = vdist_client.Client(url, on_retry=retries.append)
        calm = list(client.complete("Once upon a time", **parameters))
        check(len(calm) > 20 and not retries, "a calm stream comes in many pieces, at once")
        chat = "".join(client.chat([{"role": "user", "content": "One morning"}], max_tokens=12, seed=1))
        check(chat, "a chat is answered")
        try:
            list(client.complete("Once", temperature=9))
            check(False, "what is out of range is refused")
        except vdist_client.ServerError as cause:
            check(cause.status == 400 and "temperature" in str(cause), cause)

        pieces = []
        for piece in client.complete("Once upon a time", **parameters):
            pieces.append(piece)
            if len(pieces) == 20:
                os.kill(child_named(pid, b"vdist-node"), signal.SIGKILL)
        check("".join(pieces) == "".join(calm), "the death of the control process changes nothing")
        check(retries, "the client has had to come back")

        proxy = CuttingProxy(url, first_cut=450, growth=200)
        cut = vdist_client.Client(proxy.url)
        cut.model = client.model  # asked of the server itself: this request is not tried again
        check("".join(cut.complete("Once upon a time", **parameters)) == "".join(calm), "a stream in shreds is the same stream")
        check(proxy.cuts >= 3, f"it was cut {proxy.cuts} times")
    print("python-client: ok")


if __name__ == "__main__":
    main()
