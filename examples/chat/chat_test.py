#!/usr/bin/env python3
"""A scripted chat with a real server.

usage: chat_test.py VDIST_RUN MODEL_FOLDER
"""

import pathlib
import subprocess
import sys

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent / "python-client"))
from client_test import check, serving  # noqa: E402


def main():
    vdist_run, model = sys.argv[1:3]
    script = "Once upon a time\n/again\n/system The king\nwas old\n/nonsense\n\n/reset\nOnce upon a time\n/quit\n"
    with serving(vdist_run, model) as (url, _):
        done = subprocess.run(
            [sys.executable, "-B", here / "chat.py", url, "--max-tokens", "12", "--seed", "3", "--temperature", "0"],
            input=script, capture_output=True, text=True, timeout=60,
        )
    check(done.returncode == 0, done.stderr)
    answers = [line.removeprefix("> ") for line in done.stdout.splitlines() if line.removeprefix("> ").strip()]
    check(len(answers) == 5, done.stdout)
    check(answers[0] == answers[1], "the same question again gets the same greedy answer")
    check(answers[2] != answers[0], "what was said before belongs to the question")
    check(answers[3].startswith("commands:"), answers[3])
    check(answers[4] != "", "after a reset it answers still")
    print("chat: ok")


if __name__ == "__main__":
    main()
