#!/usr/bin/env python3
"""Whole clusters on GPUs against the CPU, in float32: the greedy and seeded token ids of every request must be the CPU's,
whatever the topology, the chunking, recorded steps or not, asynchronous or not, with preemption and with a prefix cache.

  same_tokens.py --model FOLDER --program build/bin/vdist-run [--gpus N] [--isolation thread,process]

With fewer GPUs than workers these share them (device.shared): slow, and right. Exit code 1 if a run differs.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

VARIANTS = {
    "one worker": {},
    "no recorded steps": {"device.graphs": "false"},
    "not asynchronous": {"scheduler.async": "false"},
    "small chunks": {"scheduler.prefill_chunk": "7"},
    "no prefix cache": {"scheduler.prefix_cache": "false"},
    "preemption": {"device.kv_cache_bytes": "TIGHT"},
    "tensor 2": {"parallel.tensor": "2"},
    "pipeline 2": {"parallel.pipeline": "2"},
    "data 2": {"parallel.data": "2"},
    "tensor 2, pipeline 2": {"parallel.tensor": "2", "parallel.pipeline": "2"},
    "tensor 4": {"parallel.tensor": "4"},
}


def requests():
    """Prompts that share beginnings, of several lengths; greedy and seeded, some that only the host can sample."""
    stem = "Once upon a time there was a little rabbit who lived in a hole under a tree"
    lines = []
    for i in range(24):
        prompt = " ".join(stem.split()[: 3 + i % 14]) + (f", number {i}" if i % 3 == 0 else "")
        line = {"id": str(i), "prompt": prompt, "max_tokens": 24 + 5 * (i % 7), "ignore_eos": True, "seed": 1000 + i}
        line["temperature"] = 0 if i % 2 == 0 else 0.8
        if i % 5 == 1:
            line["top_p"] = 0.9
        if i % 5 == 3:
            line["top_k"] = 12
        if i % 8 == 7:
            line["frequency_penalty"] = 0.6
        lines.append(line)
    return "".join(json.dumps(line) + "\n" for line in lines)


def config(model, device, workers, gpus, tight_bytes, overrides):
    """A cluster file; `overrides` as --set would."""
    text = (
        f'[cluster]\nname = "same-tokens"\n[model]\npath = "{model}"\ndtype = "float32"\nmax_model_len = 128\n'
        f'[device]\nkind = "{device}"\nthreads = 2\n[scheduler]\nmax_batch_tokens = 512\nmax_sequences = 16\n'
    )
    sets = ["--set", "device.shared=true"] if device == "cuda" and workers > gpus else []
    for key, value in overrides.items():
        sets += ["--set", f"{key}={tight_bytes if value == 'TIGHT' else value}"]
    return text, sets


def run(program, folder, name, text, sets):
    file = folder / "cluster.toml"
    file.write_text(text)
    output = folder / f"{name}.jsonl"
    output.unlink(missing_ok=True)
    command = [*program, str(file), "--input", str(folder / "requests.jsonl"), "--output", str(output), "--quiet", *sets]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        return None, done.stderr.strip()[-300:]
    results = [json.loads(line) for line in output.read_text().splitlines()]
    return {r["id"]: r.get("token_ids", r.get("error")) for r in results}, ""


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--program", required=True, nargs="+", help="vdist-run, behind a launcher if there is one")
    arguments.add_argument("--model", required=True, help="a folder; its weights are converted to float32")
    arguments.add_argument("--gpus", type=int, default=1)
    arguments.add_argument("--isolation", default="thread")
    arguments.add_argument("--tight-bytes", type=int, default=3 << 20, help="KV cache that makes requests wait")
    wanted = arguments.parse_args()
    model = str(pathlib.Path(wanted.model).resolve())
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "requests.jsonl").write_text(requests())
        text, sets = config(model, "cpu", 1, 1, 0, {"cluster.isolation": "thread"})
        expected, error = run(wanted.program, folder, "cpu", text, sets)
        if expected is None:
            sys.exit(f"the CPU's run failed: {error}")
        for isolation in wanted.isolation.split(","):
            for title, overrides in VARIANTS.items():
                workers = 1
                for key in ("parallel.tensor", "parallel.pipeline", "parallel.data"):
                    workers *= int(overrides.get(key, 1))
                all_overrides = {"cluster.isolation": isolation, **overrides}
                text, sets = config(model, "cuda", workers, wanted.gpus, wanted.tight_bytes, all_overrides)
                got, error = run(wanted.program, folder, "gpu", text, sets)
                differing = sorted(k for k in expected if got is None or got.get(k) != expected[k])
                verdict = "same" if not differing else f"{len(differing)} of {len(expected)} differ {differing[:6]} {error}"
                print(f"{isolation:8} {title:24} {verdict}", flush=True)
                failed += bool(differing)
    print(f"same tokens: {'all runs' if failed == 0 else f'{failed} runs differ'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
