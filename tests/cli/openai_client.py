#!/usr/bin/env python3
"""The openai-python client against vdist-run: what it parses, types and raises is what its users get.

usage: openai_client.py VDIST_RUN MODEL_FOLDER VENV [--record TRAFFIC]

Runs itself in the virtual environment VENV, which is made and filled from the package index when it lacks the client. Exit
code 77: skipped, since there is no way to such an environment or to the index; openai_traffic.py needs neither, and says
again what --record wrote. Everything within a deadline.
"""

import contextlib
import http.client
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
import urllib.parse

from served_tiny import API_KEY, served

SKIPPED = 77
INSTALL_S = 120
OF_CONNECTION = ("host", "connection", "content-length", "accept-encoding")


def enter_venv(venv):
    python = pathlib.Path(venv) / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--retries", "0", "--timeout", "10", "openai>=1.40,<4"]
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", venv], check=True, timeout=INSTALL_S)
        if subprocess.run([python, "-c", "import openai"], stderr=subprocess.DEVNULL).returncode != 0:
            subprocess.run(install, check=True, timeout=INSTALL_S)
    except (OSError, subprocess.SubprocessError) as cause:
        print(f"skipped: the openai client cannot be installed: {cause}")
        sys.exit(SKIPPED)
    os.execv(python, [str(python), __file__, *sys.argv[1:], "--in-venv"])


@contextlib.contextmanager
def recorder(url, exchanges):
    """Yields the URL of a proxy that also writes down what passes, whole answer by whole answer."""

    class handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            headers = {name: value for name, value in self.headers.items() if name.lower() not in OF_CONNECTION}
            to = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=30)
            to.request(self.command, self.path, body=body.encode(), headers=headers)
            got = to.getresponse()
            text = got.read()
            exchanges.append(
                {
                    "method": self.command,
                    "path": self.path,
                    "headers": {name.lower(): value for name, value in headers.items()},
                    "body": body,
                    "status": got.status,
                    "content_type": got.headers["content-type"],
                    "answer": text.decode(),
                }
            )
            self.send_response(got.status)
            self.send_header("content-type", got.headers["content-type"])
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = answer

        def log_message(self, *_):
            pass

    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{proxy.server_port}"
    proxy.shutdown()


def check(url):
    import openai

    client = openai.OpenAI(base_url=url + "/v1", api_key=API_KEY, max_retries=0, timeout=30)
    messages = [{"role": "user", "content": "Once upon a time"}]
    assert [one.id for one in client.models.list()] == ["tiny"]

    whole = client.completions.create(model="tiny", prompt="Once upon a time", max_tokens=24, seed=1, n=2, logprobs=2)
    assert len(whole.choices) == 2 and whole.choices[0].finish_reason == "length", whole
    assert len(whole.choices[0].logprobs.tokens) == 24, whole
    assert whole.usage.completion_tokens == 48, whole.usage

    told = ""
    stream = client.completions.create(model="tiny", prompt="Once upon a time", max_tokens=24, seed=1, stream=True)
    for chunk in stream:
        told += chunk.choices[0].text
    assert told == whole.choices[0].text, (told, whole.choices[0].text)

    chat = client.chat.completions.create(
        model="tiny", messages=messages, max_completion_tokens=24, seed=1, logprobs=True, top_logprobs=2
    )
    assert chat.choices[0].message.role == "assistant" and chat.choices[0].message.content == told, chat
    assert len(chat.choices[0].logprobs.content) == 24, chat

    told, usage = "", None
    stream = client.chat.completions.create(
        model="tiny",
        messages=messages,
        max_completion_tokens=24,
        seed=1,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        told += chunk.choices[0].delta.content or "" if chunk.choices else ""
        usage = chunk.usage or usage
    assert told == chat.choices[0].message.content and usage.completion_tokens == 24, (told, usage)

    named = {"Idempotency-Key": "one"}
    first = client.completions.create(model="tiny", prompt="One morning", max_tokens=16, seed=3, extra_headers=named)
    again = client.completions.create(model="tiny", prompt="One morning", max_tokens=16, seed=3, extra_headers=named)
    assert first.choices[0].text == again.choices[0].text and first.id == again.id, (first, again)

    def refused(kind, call):
        try:
            call()
        except kind as cause:
            return cause
        raise AssertionError(f"no {kind.__name__}")

    create = client.completions.create
    assert refused(openai.BadRequestError, lambda: create(model="tiny", prompt="a", top_p=7)).param == "top_p"
    refused(openai.NotFoundError, lambda: create(model="none", prompt="a"))
    refused(openai.ConflictError, lambda: create(model="tiny", prompt="Another", max_tokens=16, extra_headers=named))
    stranger = openai.OpenAI(base_url=url + "/v1", api_key="wrong", max_retries=0)
    refused(openai.AuthenticationError, stranger.models.list)


def main():
    vdist_run, model, venv = sys.argv[1:4]
    more = sys.argv[4:]
    if "--in-venv" not in more:
        enter_venv(venv)
    import openai

    with served(vdist_run, model) as url:
        if "--record" not in more:
            check(url)
        else:
            exchanges = []
            with recorder(url, exchanges) as proxy:
                check(proxy)
            lines = [json.dumps(one, ensure_ascii=False, sort_keys=True) + "\n" for one in exchanges]
            pathlib.Path(more[more.index("--record") + 1]).write_text("".join(lines))
    print(f"openai {openai.__version__}: models, completions, chats, streams, names and errors")


if __name__ == "__main__":
    main()
