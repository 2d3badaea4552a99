#!/usr/bin/env python3
"""A chat in the terminal with a vdist server, over HTTP. Ctrl-C ends an answer, Ctrl-D the chat.

    usage: chat.py URL [--system TEXT] [--max-tokens N] [--temperature T]

Commands: /reset forgets the conversation, /again asks for another answer, /system TEXT sets the stage, /quit.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python-client"))
import vdist_client  # noqa: E402


class Conversation:
    """What has been said. The server keeps nothing: every question carries all of it."""

    def __init__(self, system):
        self.system = system
        self.turns = []

    def messages(self):
        stage = [{"role": "system", "content": self.system}] if self.system else []
        return stage + self.turns

    def ask(self, text):
        self.turns.append({"role": "user", "content": text})

    def answer(self, text):
        self.turns.append({"role": "assistant", "content": text})

    def take_back_answer(self):
        if self.turns and self.turns[-1]["role"] == "assistant":
            self.turns.pop()
        return bool(self.turns)


def stream_answer(client, conversation, parameters):
    """Prints the answer as it comes and remembers it; what was cut off by Ctrl-C counts as said."""
    said = []
    try:
        for piece in client.chat(conversation.messages(), **parameters):
            said.append(piece)
            print(piece, end="", flush=True)
    except KeyboardInterrupt:  # closes the connection, which cancels the request
        print(" …", end="")
    print()
    conversation.answer("".join(said))


def obey(command, conversation):
    """Whether an answer is wanted now. Raises EOFError to end."""
    word, _, rest = command.partition(" ")
    if word == "/quit":
        raise EOFError
    if word == "/reset":
        conversation.turns.clear()
    elif word == "/system":
        conversation.system = rest
    elif word == "/again":
        return conversation.take_back_answer()
    else:
        print("commands: /reset, /again, /system TEXT, /quit")
    return False


def chat(client, conversation, parameters):
    while True:
        try:
            line = input("> ").strip()
            if line.startswith("/"):
                if not obey(line, conversation):
                    continue
            elif line:
                conversation.ask(line)
            else:
                continue
            stream_answer(client, conversation, parameters)
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()
        except vdist_client.ServerError as cause:
            print(f"({cause})")


def main():
    parser = argparse.ArgumentParser(description="A chat in the terminal with a vdist server.")
    parser.add_argument("url")
    parser.add_argument("--system", default="", help="what the model is told before the first question")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    if sys.stdin.isatty():
        import readline  # noqa: F401: lines can be edited, and come back with the arrow keys
    parameters = {
        name: value
        for name, value in (("max_tokens", options.max_tokens), ("temperature", options.temperature), ("seed", options.seed))
        if value is not None
    }
    client = vdist_client.Client(options.url, on_retry=lambda reason: print(f"[{reason}]", end="", flush=True))
    chat(client, Conversation(options.system), parameters)


if __name__ == "__main__":
    main()
