"""served_cluster.py: a vdist-run that serves, asked over HTTP and killed in parts, and clients that keep it busy."""

import http.client
import json
import os
import re
import select
import signal
import subprocess
import threading
import time

START_S = 120
END_S = 60
SERVING = re.compile(rb"serving at http://127\.0\.0\.1:(\d+)")


class Cluster:
    """One vdist-run with a configuration of its own; `key` is its API key."""

    def __init__(self, program, config, key):
        self.key = key
        self.process = subprocess.Popen([program, config, "--quiet"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.log = b""
        try:
            self.port = self.wait_for_port()
        except BaseException:
            self.process.kill()
            raise
        self.reader = threading.Thread(target=self.read_on, daemon=True)
        self.reader.start()

    def wait_for_port(self):
        deadline = time.monotonic() + START_S
        while not (found := SERVING.search(self.log)) or not self.log.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stderr], [], [], left)[0]:
                raise RuntimeError(f"vdist-run does not serve in time: {self.log.decode(errors='replace')}")
            piece = os.read(self.process.stderr.fileno(), 1 << 16)
            if not piece:
                raise RuntimeError(f"vdist-run has ended: {self.log.decode(errors='replace')}")
            self.log += piece
        return int(found.group(1))

    def read_on(self):
        while piece := os.read(self.process.stderr.fileno(), 1 << 16):
            self.log += piece

    def ask(self, path):
        """The JSON of a GET."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.key}"})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def workers(self):
        """By rank."""
        replicas = self.ask("/v1/cluster")["status"]["replicas"]
        return {one["rank"]: one for replica in replicas for one in replica["workers"]}

    def pid_of(self, role):
        processes = self.ask("/v1/cluster")["status"]["processes"]
        return next(one["pid"] for one in processes if one["role"] == role)

    def stop(self):
        """Returns the exit code after SIGTERM."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(END_S)


class Load:
    """Clients that stream completions one after the other until they are told to stop."""

    def __init__(self, cluster, clients):
        self.cluster = cluster
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(clients)]
        for one in self.threads:
            one.start()

    def run(self, number):
        for round_number in range(1_000_000):
            if self.is_over.is_set():
                return
            try:
                self.stream(number * 1000 + round_number)
            except (OSError, http.client.HTTPException):
                self.is_over.wait(0.1)  # the control process is being replaced

    def stream(self, seed):
        connection = http.client.HTTPConnection("127.0.0.1", self.cluster.port, timeout=30)
        try:
            body = {"model": "tiny-tales", "prompt": "One morning", "max_tokens": 200, "ignore_eos": True, "stream": True, "seed": seed}
            headers = {"Authorization": f"Bearer {self.cluster.key}", "Content-Type": "application/json"}
            connection.request("POST", "/v1/completions", json.dumps(body), headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise OSError(f"status {answer.status}")
            while answer.read1(1 << 14) and not self.is_over.is_set():
                pass
        finally:
            connection.close()

    def stop(self):
        self.is_over.set()
        for one in self.threads:
            one.join(END_S)
