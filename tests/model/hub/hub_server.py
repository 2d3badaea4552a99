"""A model host for tests: the part of the Hugging Face API that a download uses, with faults.

hub_server.py FOLDER LOG SCENARIO
  FOLDER    the files of the repository org/toy; *.safetensors are kept in a store on another port
  LOG       one JSON line per request, written before its answer
  SCENARIO  a JSON object, see the defaults below

Prints "ports HOST STORE" when it listens, and "held FILE" when a download is being held.
"""

import hashlib
import json
import os
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SCENARIO = {
    "token": None,         # asked for by the host; the store refuses any
    "more_siblings": [],   # names beside those of the folder
    "many_siblings": 0,    # this many names more
    "padding": 0,          # bytes of an answer's field that nobody needs
    "meet": 0,             # the list is answered when so many ask for it
    "repository_status": 200,
    # Of one file's downloads, in turn; what is left over is answered well:
    # "cut:N" after N bytes, "hold:N" until the client leaves, "wrong", "status:N", "whole" (no range),
    # "shift" (another range than asked for), "long" (more bytes than promised), "loop" (redirects).
    "faults": {},
    "no_checksum": False,
    "no_redirect": False,  # the host itself has everything
}
FOLDER, LOG = sys.argv[1], sys.argv[2]
SCENARIO.update(json.loads(sys.argv[3]))
lock = threading.Lock()
meeting = threading.Barrier(max(SCENARIO["meet"], 1), timeout=20)
store_port = 0


def contents(name):
    with open(os.path.join(FOLDER, name), "rb") as file:
        return file.read()


def checksum(name, data):
    if name.endswith(".safetensors"):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Host(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_name = "host"

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        entry = {"server": self.server_name, "method": self.command, "path": self.path,
                 "range": self.headers.get("Range"), "token": self.headers.get("Authorization")}
        with lock, open(LOG, "a") as log:
            log.write(json.dumps(entry) + "\n")
        path = urllib.parse.unquote(urllib.parse.urlparse(self.path).path)
        if self.server_name == "store":
            return self.send_file(path.rsplit("/", 1)[1])
        if SCENARIO["token"] and entry["token"] != "Bearer " + SCENARIO["token"]:
            return self.send(401)
        if path in ("/api/models/org/toy/revision/main", "/api/models/org/toy/revision/" + COMMIT):
            return self.send_list()
        prefix = "/org/toy/resolve/" + COMMIT + "/"
        if path.startswith(prefix) and os.path.isfile(os.path.join(FOLDER, path[len(prefix):])):
            return self.resolve(path[len(prefix):])
        return self.send(404)

    def send_list(self):
        if SCENARIO["meet"]:
            meeting.wait()
        names = sorted(os.listdir(FOLDER)) + SCENARIO["more_siblings"]
        names += ["file%d" % i for i in range(SCENARIO["many_siblings"])]
        body = {"sha": COMMIT, "padding": "x" * SCENARIO["padding"], "config": {"a": [{"b": [1]}]},
                "siblings": [{"rfilename": name, "size": 1} for name in names]}
        self.send(SCENARIO["repository_status"], {}, json.dumps(body).encode())

    def resolve(self, name):
        """Small files are here, large ones in the store; both state what they are."""
        data = contents(name)
        head = {} if SCENARIO["no_checksum"] else {"ETag": '"%s"' % checksum(name, data)}
        if not name.endswith(".safetensors") or SCENARIO["no_redirect"]:
            return self.send_file(name, head)
        head = {"X-Linked-" + key: value for key, value in head.items()}
        head["X-Linked-Size"] = str(len(data))
        head["Location"] = "http://127.0.0.1:%d/store/%s?signature=sesame" % (store_port, name)
        return self.send(302, head, b"elsewhere")

    def next_fault(self, name):
        with lock:
            faults = SCENARIO["faults"].get(name, [])
            return faults.pop(0).partition(":") if faults and self.command == "GET" else ("", "", "")

    def send_file(self, name, head=None):
        data = contents(name)
        head = dict(head or {"ETag": '"the-store-has-its-own"'})
        kind, _, number = self.next_fault(name)
        if kind == "status":
            return self.send(int(number), head, b"busy")
        if kind == "loop":
            return self.send(302, {"Location": self.path})
        if kind == "wrong":
            data = bytes(255 - byte for byte in data)
        if kind == "long":
            data += b"more"
        first = int((self.headers.get("Range") or "bytes=0-").split("=")[1].split("-")[0])
        is_part = self.headers.get("Range") is not None and kind != "whole"
        if is_part and first >= len(data):
            return self.send(416, head)
        if is_part:
            shown = first + 1 if kind == "shift" else first
            head["Content-Range"] = "bytes %d-%d/%d" % (shown, len(data) - 1, len(data))
            data = data[first:]
        end = int(number) - (first if is_part else 0) if kind in ("cut", "hold") else len(data)
        self.send(206 if is_part else 200, head, data, max(0, end))
        if kind == "hold":
            print("held", name, flush=True)
            self.connection.recv(1)  # until the client leaves
        if kind in ("cut", "hold"):
            self.close_connection = True

    def send(self, status, head=None, body=b"", end=None):
        self.send_response(status)
        for key, value in (head or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:end])
            self.wfile.flush()

    def handle(self):
        try:
            super().handle()
        except (ConnectionError, threading.BrokenBarrierError):
            pass

    def log_message(self, *_):
        pass


class Store(Host):
    server_name = "store"


host = ThreadingHTTPServer(("127.0.0.1", 0), Host)
store = ThreadingHTTPServer(("127.0.0.1", 0), Store)
host.daemon_threads = store.daemon_threads = True
store_port = store.server_address[1]
threading.Thread(target=store.serve_forever, daemon=True).start()
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()  # with the test
print("ports", host.server_address[1], store_port, flush=True)
host.serve_forever()
