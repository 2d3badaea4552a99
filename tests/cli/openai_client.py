#!/usr/bin/env python3
"""The openai-python client against vdist-run: what it parses, types and raises is what its users get.

usage: openai_client.py VDIST_RUN MODEL_FOLDER VENV

Runs itself in the virtual environment VENV, which is made and filled from the package index when it lacks the client. Exit
code 77: skipped, since the index cannot be reached. Everything within a deadline.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

SKIPPED = 77
INSTALL_S = 120
START_S = 60


def enter_venv(venv):
    python = pathlib.Path(venv) / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True, timeout=INSTALL_S)
    has_client = subprocess.run([python, "-c", "import openai"], stderr=subprocess.DEVNULL).returncode == 0
    if not has_client:
        try:
            subprocess.run(
                [python, "-m", "pip", "install", "--quiet", "--retries", "0", "--timeout", "10", "openai>=1.40,<4"],
                check=True,
                timeout=INSTALL_S,
            )
        except subprocess.SubprocessError as cause:
            print(f"skipped: the openai client cannot be installed: {cause}")
            sys.exit(SKIPPED)
    os.execv(python, [str(python), __file__, *sys.argv[1:], "--in-venv"])


def start(vdist_run, model, folder):
    config = folder / "serve.toml"
    config.write_text(
        f'[model]\npath = "{model}"\nmax_model_len = 256\n'
        '[device]\nkind = "cpu"\nthreads = 1\nkv_cache_bytes = 16777216\n'
        '[server]\nport = 0\nmodel_name = "tiny"\napi_key = "sesame"\n'
    )
    errors = folder / "stderr"
    process = subprocess.Popen([vdist_run, config, "--quiet"], stderr=errors.open("wb"))
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        found = re.search(r"serving at (http://\S+)", errors.read_text())
        if found:
            return process, found.group(1)
        time.sleep(0.02)
    raise SystemExit(f"vdist-run does not serve: {errors.read_text()}")


def check(client, url):
    import openai

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
    first = client.completions.create(model="tiny", prompt="One morning", max_tokens=16, extra_headers=named)
    again = client.completions.create(model="tiny", prompt="One morning", max_tokens=16, extra_headers=named)
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
    if sys.argv[4:] != ["--in-venv"]:
        enter_venv(venv)
    import openai

    with tempfile.TemporaryDirectory() as folder:
        process, url = start(vdist_run, model, pathlib.Path(folder))
        try:
            check(openai.OpenAI(base_url=url + "/v1", api_key="sesame", max_retries=0, timeout=30), url)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
            process.wait()
    print(f"openai {openai.__version__}: models, completions, chats, streams, names and errors")


if __name__ == "__main__":
    main()
