#!/usr/bin/env python3
"""A client of a vdist server with nothing but the standard library: streams that survive what happens to the connection.

    client = Client("http://127.0.0.1:8000")
    for text in client.complete("Once upon a time", max_tokens=60):
        print(text, end="", flush=True)

    usage: vdist_client.py URL PROMPT [--max-tokens N] [--seed N] [--chat]

Every request is named by an Idempotency-Key, and every event says with its id how far the stream has come. When a
connection breaks, be it that the network did or that the server's process died, the same request is sent again with the id
of the last event that was read (Last-Event-ID): the server goes on behind it, and nothing is read twice or lost.
"""

import argparse
import http.client
import json
import sys
import time
import urllib.parse
import uuid

CONNECT_S = 10  # a connection that does not come about, or falls silent for so long, is given up
RETRY_S = 0.1  # before the first new try; doubles up to RETRY_MAX_S
RETRY_MAX_S = 2
GIVE_UP_S = 60  # without a new event


class ServerError(Exception):
    """The server has refused the request, or its stream has failed: a new try would not help."""

    def __init__(self, status, message):
        super().__init__(f"{status}: {message}")
        self.status = status


class Event:
    def __init__(self, data, id):
        self.data = data
        self.id = id  # None: it has none


def events_of(lines):
    """Server-sent events of an iterable of lines (bytes). One that the connection cut off is not given."""
    data, id = [], None
    for line in lines:
        line = line.decode("utf-8").rstrip("\r\n")
        if not line:
            if data:
                yield Event("\n".join(data), id)
            data, id = [], None
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif line.startswith("id:"):
            id = line[3:].strip()


class Client:
    def __init__(self, url, api_key=None, on_retry=None):
        """`on_retry(reason)` hears of every new try."""
        parts = urllib.parse.urlsplit(url)
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host = parts.netloc
        # A connection per request: it ends with the answer, and closing the answer early tells the server so.
        self._headers = {"Content-Type": "application/json", "Connection": "close"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._on_retry = on_retry or (lambda reason: None)

    def model(self):
        """The name of the model that is served."""
        with self._open("GET", "/v1/models") as answer:
            return json.load(answer)["data"][0]["id"]

    def complete(self, prompt, **parameters):
        """Yields pieces of text. Parameters are those of OpenAI's API: max_tokens, temperature, seed, stop, …"""
        body = {"model": self.model(), "prompt": prompt, **parameters, "stream": True}
        for chunk in self._stream("/v1/completions", body):
            yield from (choice["text"] for choice in chunk["choices"] if choice["text"])

    def chat(self, messages, **parameters):
        """Yields pieces of the assistant's answer. `messages`: dicts with role and content."""
        body = {"model": self.model(), "messages": messages, **parameters, "stream": True}
        for chunk in self._stream("/v1/chat/completions", body):
            yield from (choice["delta"]["content"] for choice in chunk["choices"] if choice["delta"].get("content"))

    def _open(self, method, path, body=None, headers=None):
        connection = self._kind(self._host, timeout=CONNECT_S)
        connection.request(method, path, json.dumps(body) if body else None, {**self._headers, **(headers or {})})
        answer = connection.getresponse()
        if answer.status != 200:
            text = answer.read().decode("utf-8", "replace")
            try:
                text = json.loads(text)["error"]["message"]
            except (ValueError, KeyError, TypeError):
                pass
            raise ServerError(answer.status, text)
        return answer

    def _stream(self, path, body):
        name = str(uuid.uuid4())
        last_id = None
        pause = RETRY_S
        give_up = time.monotonic() + GIVE_UP_S
        while True:
            headers = {"Idempotency-Key": name}
            if last_id is not None:
                headers["Last-Event-ID"] = last_id
            try:
                with self._open("POST", path, body, headers) as answer:
                    for event in events_of(answer):
                        if event.data == "[DONE]":
                            return
                        chunk = json.loads(event.data)
                        if "error" in chunk:
                            raise ServerError(chunk["error"].get("code"), chunk["error"]["message"])
                        yield chunk
                        last_id = event.id if event.id is not None else last_id
                        pause = RETRY_S
                        give_up = time.monotonic() + GIVE_UP_S
                reason = "the stream was cut off"
            except ServerError as cause:
                if cause.status not in (429, 503):  # busy, or just starting again
                    raise
                reason = str(cause)
            except (OSError, http.client.HTTPException) as cause:
                reason = str(cause) or type(cause).__name__
            if time.monotonic() + pause > give_up:
                raise ServerError(0, f"no event for {GIVE_UP_S} s: {reason}")
            self._on_retry(reason)
            time.sleep(pause)
            pause = min(2 * pause, RETRY_MAX_S)


def main():
    parser = argparse.ArgumentParser(description="Streams a completion of a vdist server.")
    parser.add_argument("url")
    parser.add_argument("prompt")
    parser.add_argument("--max-tokens", type=int, default=60)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--chat", action="store_true", help="as the message of a user instead of a text to go on with")
    options = parser.parse_args()
    parameters = {"max_tokens": options.max_tokens, **({} if options.seed is None else {"seed": options.seed})}
    client = Client(options.url, on_retry=lambda reason: print(f"\n[{reason}; trying again]", file=sys.stderr))
    try:
        if options.chat:
            pieces = client.chat([{"role": "user", "content": options.prompt}], **parameters)
        else:
            pieces = client.complete(options.prompt, **parameters)
        for piece in pieces:
            print(piece, end="", flush=True)
        print()
    except ServerError as cause:
        sys.exit(f"vdist_client: {cause}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
