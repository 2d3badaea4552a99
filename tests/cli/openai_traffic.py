#!/usr/bin/env python3
"""What the openai-python client said to vdist-run, said again: every answer has to be the recorded one.

usage: openai_traffic.py VDIST_RUN MODEL_FOLDER TRAFFIC

TRAFFIC is one exchange a line, written by `openai_client.py … --record TRAFFIC`. Needs neither the client nor a network.
Answers are compared without what differs between any two runs: ids that nobody chose, times, and where a stream was cut
into events.
"""

import http.client
import json
import pathlib
import sys
import urllib.parse

from served_tiny import served

TIMEOUT_S = 30
CHANGING = ("created", "id")  # of answers


def events(body):
    for block in body.split("\n\n"):
        data = [line[5:].strip() for line in block.split("\n") if line.startswith("data:")]
        if data:
            yield "\n".join(data)


def shape(value):
    """The names and types in it."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in sorted(value.items()) if name not in CHANGING}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def stream_story(body):
    """Of a stream: what every choice was told and why it ended, the usage, the shapes of its events, its last word."""
    texts, reasons, usage, shapes = {}, {}, None, set()
    data = list(events(body))
    for event in data[:-1]:
        chunk = json.loads(event)
        usage = chunk.get("usage") or usage
        shapes.add(json.dumps(shape({**chunk, "usage": None, "choices": []})))
        for choice in chunk["choices"]:
            piece = choice.get("text") or choice.get("delta", {}).get("content") or ""
            texts[choice["index"]] = texts.get(choice["index"], "") + piece
            reasons[choice["index"]] = choice.get("finish_reason") or reasons.get(choice["index"])
    return {"texts": texts, "reasons": reasons, "usage": usage, "shapes": sorted(shapes), "last": data[-1]}


def without_changing(value):
    if isinstance(value, dict):
        return {name: without_changing(inner) for name, inner in value.items() if name not in CHANGING}
    if isinstance(value, list):
        return [without_changing(inner) for inner in value]
    return value


def story(status, kind, body):
    if kind.startswith("text/event-stream"):
        return {"status": status, "stream": stream_story(body)}
    answer = json.loads(body)
    names = [one["id"] for one in answer["data"]] if isinstance(answer.get("data"), list) else None
    return {"status": status, "models": names, "answer": without_changing(answer)}


def say(url, exchange):
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=TIMEOUT_S)
    connection.request(
        exchange["method"], exchange["path"], body=exchange["body"].encode(), headers=exchange["headers"]
    )
    answer = connection.getresponse()
    got = story(answer.status, answer.headers["content-type"], answer.read().decode())
    connection.close()
    return got


def main():
    vdist_run, model, traffic = sys.argv[1:4]
    exchanges = [json.loads(line) for line in pathlib.Path(traffic).read_text().splitlines()]
    assert exchanges, "nothing was recorded"
    with served(vdist_run, model) as url:
        for number, exchange in enumerate(exchanges, 1):
            expected = story(exchange["status"], exchange["content_type"], exchange["answer"])
            got = say(url, exchange)
            assert got == expected, f"exchange {number}, {exchange['method']} {exchange['path']}:\n{got}\ninstead of\n{expected}"
    print(f"{len(exchanges)} exchanges of {exchanges[0]['headers'].get('user-agent', 'a client')}: as recorded")


if __name__ == "__main__":
    main()
