#!/usr/bin/env python3
"""Faults on real GPUs: workers are killed, their devices fail and hang, and every stream is held to an undisturbed run.

  faults.py exact   --program build/bin/vdist-run --gpus N           small model, every topology that N GPUs take
  faults.py figures --program build/bin/vdist-run --gpus N           8B (random weights): stalls, memory
  faults.py cost    --program build/bin/vdist-run --gpus N           throughput without faults
  faults.py others  --program build/bin/vdist-run --gpus N           data 2: the other replica's streams meanwhile (N >= 2)
  faults.py long    --program build/bin/vdist-run --gpus N           steps of long prompts: the struck rank dies and nobody else

Writes report.json, report.md and time lines (*.svg) to --out. Exit code 1: a stream was lost, altered or doubled, a run
failed, or a figure missed its bound (--no-bounds only reports these).

What makes runs comparable: on a GPU the same work gives the same bits, another batch may not. So one long prompt (the gate)
occupies the engine until all other requests have arrived; from then on the order of everything follows from the plans.
"""
import argparse
import concurrent.futures
import dataclasses
import itertools
import json
import math
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
RUN_DEADLINE_S = 300
PROMPT = 2048  # tokens
# Bounds of all rows: a spare is ready again, memory of the device behind the strikes of a run, a step without faults.
REDUNDANCY_MS = 5000
GROWTH_MIB = 16
COST = 0.01
COST_OF_KV = 0.05  # with KV written through to the host
PARTS = ("detection", "fence", "quiesce", "respawn", "attach", "rebuild", "first_token", "stall")
# No strike is refused for being one of many; no request is to blame.
PATIENT = {
    "fault_tolerance.max_restarts": "10000",
    "fault_tolerance.restart_window_s": "1",
    "fault_tolerance.restart_backoff_ms": "0",
    "fault_tolerance.poison_strikes": "0",
}


@dataclasses.dataclass(frozen=True)
class Load:
    """Requests of one size, behind a gate."""

    sequences: int
    prompt: int
    tokens: int
    gate: int  # tokens of the long prompt; 0: none
    batch_tokens: int
    vocabulary: int
    penalised: int = 0  # requests whose tokens the host chooses; it waits for every step of the device, then

    def lines(self):
        def ids(count, seed):
            state, out = seed * 2654435761 % 2**32 + 1, []
            for _ in range(count):
                state = (state * 1664525 + 1013904223) % 2**32
                out.append((state >> 8) % self.vocabulary)
            return out

        rows = [{"id": "gate", "token_ids": ids(self.gate, 7919), "max_tokens": 1, "temperature": 0}] if self.gate else []
        for i in range(self.sequences):
            rows.append({"id": str(i), "token_ids": ids(self.prompt, i), "max_tokens": self.tokens, "ignore_eos": True,
                         "seed": i, "temperature": 0 if i % 2 == 0 else 0.9,
                         "repetition_penalty": 1.1 if i >= self.sequences - self.penalised else 1.0})
        return "".join(json.dumps(row) + "\n" for row in rows)

    def first_decode(self):
        """A step at which every prompt has been computed, and the pace of decoding is known."""
        return math.ceil(self.gate / self.batch_tokens) + math.ceil(self.sequences * self.prompt / self.batch_tokens) + 20


@dataclasses.dataclass(frozen=True)
class Row:
    """One figure: a fault, again and again, on one topology."""

    name: str
    action: str
    tensor: int
    standby: int
    every: int  # steps between two strikes
    bound_ms: float  # of the stall's p99
    again: int = 0  # so many steps later the successor is struck, too; 0: it is not
    penalised: float = 0  # share of the requests with a penalty, and one at least

    def load(self, wanted):
        load = Load(wanted.sequences, wanted.prompt, wanted.tokens, wanted.gate, wanted.batch_tokens, wanted.vocabulary)
        load = dataclasses.replace(load, penalised=math.ceil(load.sequences * self.penalised))
        return dataclasses.replace(load, tokens=min(load.tokens, 17 * self.every + 20)) if self.penalised == 1 else load


ROWS = [
    Row("kill -9", "kill9", 1, 0, 50, 700),
    Row("kill -9", "kill9", 1, 1, 150, 50),
    Row("illegal address", "illegal_address", 1, 1, 150, 400),
    Row("kernel hangs", "stuck_kernel", 1, 1, 150, 400),
    Row("kernel hangs, and again at once", "stuck_kernel", 1, 1, 150, 1000, 3),
    Row("kernel hangs, one has a penalty", "stuck_kernel", 1, 1, 150, 400, penalised=0.001),
    Row("kernel hangs, the host samples", "stuck_kernel", 1, 1, 40, 500, penalised=1),  # all of them: slow steps
    Row("kill -9", "kill9", 2, 0, 50, 900),
    Row("kill -9", "kill9", 2, 1, 150, 60),
    Row("illegal address", "illegal_address", 2, 1, 150, 400),
    Row("kernel hangs", "stuck_kernel", 2, 1, 150, 400),
    Row("kill -9", "kill9", 4, 0, 50, 900),
    Row("kill -9", "kill9", 4, 1, 150, 60),
    Row("illegal address", "illegal_address", 4, 1, 150, 400),
    Row("kernel hangs", "stuck_kernel", 4, 1, 150, 400),
]


def settings(*overrides):
    merged = {}
    for each in overrides:
        merged.update(each)
    return [word for key, value in merged.items() for word in ("--set", f"{key}={value}")]


def script(strikes):
    """`strikes`: rules as vdist-ctl writes them, or "after 50 ms: kill9 vault"."""
    def fault(strike):
        late = re.fullmatch(r"after (\d+) ms: (.*)", strike)
        return f'every_ms = {late[1]}\nchoose = ["{late[2]}"]\ncount = 1\n' if late else f'rule = "{strike}"\n'

    return "seed = 1\n" + "".join("[[fault]]\n" + fault(strike) for strike in strikes)


def results_of(path):
    return {r["id"]: r.get("token_ids", r.get("error")) for r in map(json.loads, path.read_text().splitlines())}


class Failed(Exception):
    pass


class Memory:
    """What a device's processes have of it, sampled while something runs (MiB)."""

    def __init__(self, device):
        self.samples = []
        self.tool = None
        query = ["nvidia-smi", "-i", str(device), "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-lms", "250"]
        if shutil.which("nvidia-smi"):
            self.tool = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
            threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.tool.stdout:
            if line.strip().isdigit():
                self.samples.append((time.monotonic(), int(line)))

    def stop(self):
        if self.tool:
            self.tool.terminate()
            self.tool.wait()


def growth_of(samples):
    """MiB between the second and the last quarter of a run, each as what it mostly was; 0 when there is too little to say."""
    quarter = len(samples) // 4
    if quarter < 10:
        return 0
    return statistics.mode(samples[3 * quarter:]) - statistics.mode(samples[quarter:2 * quarter])


def run(wanted, folder, name, load, overrides, strikes=(), device=None):
    """One vdist-run over the load. Returns its streams and, with strikes, its report."""
    (folder / "input.jsonl").write_text(load.lines())
    output = folder / f"{name}.jsonl"
    command = [*wanted.program, str(wanted.config), "--input", str(folder / "input.jsonl"), "--output", str(output), "--quiet"]
    if strikes:
        (folder / f"{name}.toml").write_text(script(strikes))
        command += ["--faults", str(folder / f"{name}.toml")]
    command += settings({"cluster.name": f"faults-{folder.name}", "log.level": wanted.log_level}, overrides)
    place = {} if device is None else {"CUDA_VISIBLE_DEVICES": str(device)}
    with open(folder / f"{name}.log", "w") as log:
        try:
            code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, timeout=RUN_DEADLINE_S,
                                  env={**os.environ, **place}).returncode
        except subprocess.TimeoutExpired:
            code = f"nothing within {RUN_DEADLINE_S} s"
    if code != 0:
        raise Failed(f"{name}: vdist-run ended with {code}: {(folder / f'{name}.log').read_text()[-2000:]}")
    report = output.with_name(output.name + ".faults.json")
    return results_of(output), json.loads(report.read_text()) if strikes else None


def differing(expected, got):
    """Ids of streams that are not as they should be, lost ones included."""
    return sorted(k for k in expected if got.get(k) != expected[k])


def percentile(values, share):
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def summary(values):
    return {"n": len(values), "p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "max": max(values)} if values else {"n": 0}


def strikes_of(row, load, count, first):
    ranks = row.tensor
    after = [0, row.again] if row.again else [0]
    return [f"worker.step_begin rank={i % ranks} step={first + i * row.every + steps} {row.action}" for i in range(count) for steps in after]


def measure(wanted, row, expected):
    """As many runs as `n` strikes take; each run strikes as often as its streams are long."""
    load = row.load(wanted)
    per_run = max((load.tokens - 20) // row.every, 1)
    found = {"name": row.name, "tensor": row.tensor, "standby": row.standby, "bound_ms": row.bound_ms,
             "streams": 0, "altered": 0, "prefilled_again": 0, "memory_mib": [], "redundancy_ms": [], "failure": ""}
    parts = {part: [] for part in PARTS}
    with tempfile.TemporaryDirectory(prefix="g") as name:
        folder = pathlib.Path(name)
        overrides = {**PATIENT, **wanted.overrides, "fault_tolerance.standby": row.standby, "parallel.tensor": row.tensor}
        done, turn = 0, 0
        while done < wanted.n:
            count = min(per_run, wanted.n - done)
            first = load.first_decode() + turn * 7 % row.every
            title = f"{row.name.replace(' ', '-')}-t{row.tensor}-s{row.standby}-{turn}"
            memory = Memory(0)
            begin = time.monotonic()
            try:
                got, report = run(wanted, folder, title, load, overrides, strikes_of(row, load, count, first))
            except Failed as cause:
                found["failure"] = str(cause)
                break
            finally:
                memory.stop()
                for kept in [*folder.glob("*.svg"), *folder.glob("*.log"), *folder.glob("*.faults.json")]:
                    shutil.copy(kept, wanted.out / kept.name.replace(".jsonl.faults", ""))
            found["memory_mib"].append([mib for _, mib in memory.samples])
            found["streams"] += len(expected)
            found["altered"] += len(differing(expected, got))
            found["prefilled_again"] += report["tokens_prefilled_again"]
            for hit in report["rows"]:
                for part in PARTS:
                    if hit.get(f"{part}_ms") is not None:
                        parts[part].append(hit[f"{part}_ms"])
                if hit.get("spare_ms") is not None:
                    found["redundancy_ms"].append(hit["spare_ms"])
            done, turn = done + count, turn + 1
            print(f"  {title}: {count} strikes in {time.monotonic() - begin:.0f} s", flush=True)
    found["parts"] = {part: summary(values) for part, values in parts.items()}
    stall = found["parts"]["stall"]
    found["growth_mib"] = max((growth_of(samples) for samples in found["memory_mib"]), default=0)
    found["ok"] = (not found["failure"] and found["altered"] == 0 and found["prefilled_again"] == 0
                   and stall["n"] >= wanted.n and stall["p99"] <= row.bound_ms
                   and max(found["redundancy_ms"], default=0) <= REDUNDANCY_MS and found["growth_mib"] <= GROWTH_MIB)
    return found


def in_lanes(wanted, jobs):
    """Jobs of one GPU run beside each other, one per GPU; those of more run alone. A job: (gpus, function of the device)."""
    done = {}
    alone = [(i, job) for i, (gpus, job) in enumerate(jobs) if gpus > 1]
    single = [(i, job) for i, (gpus, job) in enumerate(jobs) if gpus == 1]
    with concurrent.futures.ThreadPoolExecutor(wanted.gpus) as pool:
        lanes = [pool.submit(lambda d=d: [(i, job(d)) for i, job in single[d :: wanted.gpus]]) for d in range(wanted.gpus)]
        for lane in lanes:
            done.update(lane.result())
    for i, job in alone:
        done[i] = job(None)
    return [done[i] for i in range(len(jobs))]


def figures(wanted):
    """Alone on the machine, one after the other: beside another cluster that starts processes a context takes twice as long."""
    wanted.overrides = {"model.max_model_len": 20480, **wanted.overrides}  # gate and long streams
    rows = [row for row in ROWS if row.tensor <= wanted.gpus and re.search(wanted.rows, f"{row.name} t{row.tensor} s{row.standby}")]
    expected = {}
    for row in rows:
        key = (row.tensor, row.penalised)
        if key not in expected:
            with tempfile.TemporaryDirectory(prefix="g") as name:
                overrides = {**wanted.overrides, "parallel.tensor": row.tensor}
                expected[key] = run(wanted, pathlib.Path(name), "undisturbed", row.load(wanted), overrides)[0]
    return [measure(wanted, row, expected[(row.tensor, row.penalised)]) for row in rows]


def table(rows):
    lines = ["| fault | tensor | standby | n | stall p50 / p99 / max ms | must | altered | prefilled again | redundancy p50 / max ms | memory MiB |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        stall, again = row["parts"]["stall"], row["redundancy_ms"]
        what = "{p50:.1f} / {p99:.1f} / {max:.1f}".format(**stall) if stall["n"] else row["failure"][:80]
        whole = f"{statistics.median(again):.0f} / {max(again):.0f}" if again else ""
        lines.append(f"| {row['name']} | {row['tensor']} | {row['standby']} | {stall['n']} | {what} | {row['bound_ms']:.0f} | "
                     f"{row['altered']} of {row['streams']} | {row['prefilled_again']} | {whole} | {row['growth_mib']:+} |")
    lines += ["", "| part, p50 / p99 ms | " + " | ".join(PARTS) + " |", "|" + "---|" * (len(PARTS) + 1)]
    for row in rows:
        cells = ["{p50:.1f} / {p99:.1f}".format(**row["parts"][p]) if row["parts"][p]["n"] else "" for p in PARTS]
        lines.append(f"| {row['name']}, tensor {row['tensor']}, standby {row['standby']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


# LAST: the last rank of a replica.
EXACT_SCRIPTS = {
    "kills": ["worker.step_begin rank=0 step=30 kill9", "worker.step_end rank=LAST step=60 kill9", "worker.step_begin rank=0 step=90 kill9",
              "worker.step_begin rank=LAST step=90 kill9"],
    "prefill": ["worker.step_begin rank=LAST step=2 kill9", "worker.step_begin rank=0 step=3 kill9"],
    "control": ["executor.before_send step=40 kill9", "executor.before_send step=80 kill_actor"],
    "vault": ["after 40 ms: kill9 vault", "worker.step_begin rank=LAST step=60 kill9"],
    "replacement": ["worker.step_begin rank=0 step=30 kill9", "worker.load rank=0 nth=1 kill9"],
    "illegal address": ["worker.step_begin rank=0 step=30 illegal_address", "worker.step_begin rank=LAST step=70 illegal_address"],
    "stuck kernel": ["worker.step_begin rank=0 step=30 stuck_kernel", "worker.step_begin rank=LAST step=70 stuck_kernel"],
    "stuck again at once": ["worker.step_begin rank=0 step=30 stuck_kernel", "worker.step_begin rank=0 step=33 stuck_kernel"],
    "stuck device": ["worker.step_begin rank=LAST step=30 stuck_device"],
    "stuck copy": ["worker.step_begin rank=0 step=30 stuck_copy", "worker.step_begin rank=LAST step=70 stuck_copy"],
    "stop": ["worker.step_begin rank=LAST step=30 stop(60000)"],
    "no memory": ["worker.step_begin rank=0 step=30 oom", "worker.step_begin rank=LAST step=60 cuda_error"],
}
# Three requests have a penalty: device and host sample, and the host waits for every step of the device.
BOTH_SCRIPTS = ["illegal address", "stuck kernel", "stuck device", "stuck copy", "skipped", "kills"]
# Of tensor groups only.
GROUP_SCRIPTS = {
    "skipped": ["worker.step_begin rank=LAST step=30 skip_collective", "worker.step_begin rank=0 step=70 skip_collective"],
    "flipped bit": ["worker.step_begin rank=0 step=30 flip_bit", "worker.step_begin rank=LAST step=70 flip_bit"],
}
# Of those only that can go on with less.
LOSS_SCRIPTS = {"lost device": ["worker.step_begin rank=LAST step=30 device_lost"]}
TOPOLOGIES = {"one": {}, "tensor 2": {"parallel.tensor": 2}, "pipeline 2": {"parallel.pipeline": 2}, "data 2": {"parallel.data": 2},
              "tensor 4": {"parallel.tensor": 4}, "tensor 2, pipeline 2": {"parallel.tensor": 2, "parallel.pipeline": 2}}


def exact(wanted):
    """A small model in float32, whose tokens do not depend on the batch: every stream is that of an undisturbed run."""
    found = []
    loads = {"device": Load(16, 24, 100, 0, 512, 250), "both": Load(16, 24, 100, 0, 512, 250, penalised=3)}
    base = {**PATIENT, **wanted.overrides, "model.dtype": "float32", "model.path": wanted.small, "model.max_model_len": 256,
            "scheduler.max_batch_tokens": 512, "scheduler.max_sequences": 32, "device.kind": wanted.device, "device.shared": "true" if wanted.shared else "false"}

    def job_of(title, topology, workers, standby, label, strikes, chooser):
        def job(device):
            with tempfile.TemporaryDirectory(prefix="g") as name:
                overrides = {**base, **topology, "fault_tolerance.standby": standby}
                last = workers // int(topology.get("parallel.data", 1)) - 1
                rules = [rule.replace("LAST", str(last)) for rule in strikes]
                row = {"topology": title, "standby": standby, "script": label, "sampled_by": chooser, "streams": loads[chooser].sequences,
                       "altered": 0, "failure": ""}
                try:
                    got, report = run(wanted, pathlib.Path(name), "struck", loads[chooser], overrides, rules, device)
                    row["altered"] = len(differing(expected[(title, chooser)], got))
                    row["hits"] = [{part: hit.get(f"{part}_ms") for part in PARTS} for hit in report["rows"]]
                    row["stall_ms"] = max(hit["stall"] or 0 for hit in row["hits"])
                except Failed as cause:
                    row["failure"] = str(cause)
                row["ok"] = not row["failure"] and row["altered"] == 0
                print(f"  {title:22} standby {standby}  {label:20} {chooser:6} {row.get('stall_ms', 0):7.1f} ms "
                      f"{'same' if row['ok'] else row['failure'] or row['altered']}", flush=True)
                return row
        return (workers, job)

    def reference(topology, chooser):
        def job(device):
            with tempfile.TemporaryDirectory(prefix="g") as name:
                return run(wanted, pathlib.Path(name), "undisturbed", loads[chooser], {**base, **topology}, (), device)[0]
        return job

    jobs, references, titles = [], [], []
    for title, topology in TOPOLOGIES.items():
        workers = math.prod(int(v) for v in topology.values())
        if workers > wanted.gpus and not wanted.shared:
            continue
        if not re.search(wanted.topologies, title):
            continue
        for chooser in loads:
            titles.append((title, chooser))
            references.append((workers, reference(topology, chooser)))
        scripts = {**EXACT_SCRIPTS, **(GROUP_SCRIPTS if "parallel.tensor" in topology else {}), **(LOSS_SCRIPTS if workers > 1 else {})}
        for standby, (label, strikes), chooser in itertools.product((0, 1), scripts.items(), loads):
            if re.search(wanted.rows, label) and (chooser == "device" or label in BOTH_SCRIPTS):
                jobs.append(job_of(title, topology, workers, standby, label, strikes, chooser))
    expected = dict(zip(titles, in_lanes(wanted, references)))
    found = in_lanes(wanted, jobs)
    streams, altered = sum(r["streams"] for r in found), sum(r["altered"] for r in found)
    print(f"exact: {altered} of {streams} streams altered or lost, {sum(bool(r['failure']) for r in found)} of {len(found)} runs failed")
    return found


def long(wanted):
    """Prompts that look back further and further, on as many ranks as there are: steps that are long, each other than the one before."""
    ranks = min(wanted.gpus, 2)
    steps = (10, 30, 50)
    length = wanted.prompt if wanted.prompt != PROMPT else 60000
    load = Load(4, length, 80, 0, 4096, wanted.vocabulary)
    base = {**PATIENT, **wanted.overrides, "scheduler.max_sequences": 8, "scheduler.max_batch_tokens": load.batch_tokens,
            "model.max_model_len": length + load.tokens + 16, "parallel.tensor": ranks}
    with tempfile.TemporaryDirectory(prefix="g") as name:
        expected = run(wanted, pathlib.Path(name), "undisturbed", load, base)[0]
    found = []
    for standby, action in itertools.product((0, 1), ("kill9", "stuck_kernel")):
        row = {"name": f"long prompts, {action}, standby {standby}", "streams": load.sequences, "altered": 0, "failure": ""}
        rules = [f"worker.step_begin rank={i % ranks} step={step} {action}" for i, step in enumerate(steps)]
        with tempfile.TemporaryDirectory(prefix="g") as name:
            folder = pathlib.Path(name)
            try:
                got, report = run(wanted, folder, f"long-{action}-{standby}", load, {**base, "fault_tolerance.standby": standby}, rules)
                row["altered"] = len(differing(expected, got))
                row["hits"] = [{part: hit.get(f"{part}_ms") for part in PARTS} for hit in report["rows"]]
                row["restarts"] = report["worker_restarts"]
            except Failed as cause:
                row["failure"] = str(cause)
            for kept in folder.glob("*.log"):
                shutil.copy(kept, wanted.out / kept.name)
        row["ok"] = not row["failure"] and row["altered"] == 0 and row["restarts"] == len(steps)
        found.append(row)
        print(f"  {row['name']:40} {row['failure'] or [round(hit['stall'] or 0) for hit in row['hits']]} ms, "
              f"{row.get('restarts', 0)} deaths, {row['altered']} altered", flush=True)
    return found


def cost(wanted):
    """Throughput of one batch without faults, with and without a sleeping standby, in turns."""
    bench = [word.replace("vdist-run", "vdist-bench") for word in wanted.program]
    sets = {"threads": {"cluster.isolation": "thread"}, "standby 0": {"fault_tolerance.standby": 0}, "standby 1": {"fault_tolerance.standby": 1},
            "KV to host": {"fault_tolerance.kv_host_bytes": 16 << 30}}
    rates = {name: [] for name in sets}
    for _ in range(3):
        for name, overrides in sets.items():
            command = [*bench, "batch", str(wanted.config), "--prompt-tokens", str(min(wanted.prompt, 1024)), "--tokens", "256", "--sequences",
                       str(wanted.sequences), *settings({"cluster.isolation": "process"}, wanted.overrides, overrides)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_DEADLINE_S)
            rate = re.search(r"([0-9.]+) ms per step", done.stdout)
            if done.returncode != 0 or not rate:
                return [{"ok": False, "failure": done.stderr[-1000:] + done.stdout[-1000:]}]
            rates[name].append(float(rate.group(1)))
    for name, steps in rates.items():
        print(f"cost: {name:12} {statistics.median(steps):.3f} ms per step {steps}", flush=True)
    base = statistics.median(rates["threads"])
    shares = {name: statistics.median(steps) / base - 1 for name, steps in rates.items()}
    return [{"name": name, "steps_ms": steps, "share": shares[name], "ok": shares[name] <= (COST_OF_KV if name == "KV to host" else COST)} for name, steps in rates.items()]


class Server:
    """A cluster that serves, with a port per replica; ended with the block."""

    def __init__(self, wanted, folder, overrides):
        self.name, self.log = f"faults-{folder.name}", open(folder / "server.log", "w")
        self.ctl = [word.replace("vdist-run", "vdist-ctl") for word in wanted.program]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [*wanted.program, str(wanted.config), *settings({"cluster.name": self.name, "server.port": self.port, "log.level": "warn",
                   "server.balancing": "external"}, overrides)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def __enter__(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port + 1}/ready", timeout=1) as answer:
                    if answer.status == 200:
                        return self
            except OSError:
                time.sleep(0.05)
        self.__exit__()
        raise Failed("the server is not ready")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def kill_worker(self, rank):
        return subprocess.run([*self.ctl, "--cluster", self.name, "kill", "worker", str(rank)], capture_output=True).returncode


def with_texts(model, folder):
    """The same model with a tokenizer whose every token is a text, so that every token is a chunk of a stream."""
    shape = pathlib.Path(model.removeprefix("random:"))
    if not model.startswith("random:") or (shape / "tokenizer.json").exists():
        return model
    config = json.loads((shape / "config.json").read_text())
    vocabulary = {f"t{i}": i for i in range(config["vocab_size"])}
    bytes_as_text = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": bytes_as_text,
                 "post_processor": None, "decoder": bytes_as_text,
                 "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                           "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocabulary, "merges": []}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return f"random:{folder}"


def others(wanted):
    """ITL of clients of the second replica, while the first one is struck again and again, and while it is not."""
    if wanted.gpus < 2:
        return [{"ok": True, "name": "others", "skipped": "needs two GPUs"}]
    bench = [word.replace("vdist-run", "vdist-bench") for word in wanted.program]
    sequences = max(wanted.sequences // 2, 1)
    load = ["--workload", f"random:{wanted.prompt // 2}/{min(wanted.tokens, 400)}", "--closed", str(sequences), "--requests", str(2 * sequences),
            "--vocabulary", str(wanted.vocabulary)]
    found = []
    overrides = {**PATIENT, **wanted.overrides, "parallel.data": 2, "parallel.tensor": wanted.gpus // 2, "fault_tolerance.standby": 0}
    with tempfile.TemporaryDirectory(prefix="g") as name:
        folder = pathlib.Path(name)
        overrides["model.path"] = with_texts(wanted.big, folder)
        with Server(wanted, folder, overrides) as server:
            for kind in ("warm up", "quiet", "struck"):
                clients = [subprocess.Popen([*bench, "serve", f"http://127.0.0.1:{server.port + i}", *load, "--json", str(folder / f"{kind}-{i}.json")],
                                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for i in range(2)]
                strikes = 0
                while kind == "struck" and clients[1].poll() is None:
                    strikes += server.kill_worker(0) == 0
                    time.sleep(1.5)
                for client in clients:
                    client.communicate(timeout=RUN_DEADLINE_S)
                report = json.loads((folder / f"{kind}-1.json").read_text())
                found.append({"name": f"others, {kind}", "strikes": strikes, "itl_p99_ms": report["p99_itl_ms"], "itl_p50_ms": report["median_itl_ms"],
                              "itl_max_ms": report["max_itl_ms"], "failed": report["failed"], "ok": report["failed"] == 0})
                print(f"{found[-1]}", flush=True)
    quiet, struck = found[1], found[2]
    struck["share"] = struck["itl_p99_ms"] / quiet["itl_p99_ms"] - 1
    struck["ok"] = struck["ok"] and struck["strikes"] > 0 and struck["share"] <= 0.10
    print(f"others: ITL p99 {quiet['itl_p99_ms']:.2f} ms, while the other replica is struck {struck['itl_p99_ms']:.2f} ms ({100 * struck['share']:+.1f} %)")
    return found


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("what", choices=["exact", "figures", "cost", "others", "long"])
    arguments.add_argument("--program", required=True, nargs="+", help="vdist-run, behind a launcher if there is one")
    arguments.add_argument("--gpus", type=int, default=1)
    arguments.add_argument("--device", default="cuda", help="cpu: the tests of this file")
    arguments.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/gpu-faults"))
    arguments.add_argument("--config", type=pathlib.Path, default=HERE / "one_gpu.toml")
    arguments.add_argument("--small", default=str(HERE.parents[1] / "examples/models/tiny-tales"), help="model of exact")
    arguments.add_argument("--big", default=f"random:{HERE}/configs/Llama-3.1-8B", help="model of figures and cost")
    arguments.add_argument("--rows", default="", help="only those that match, as \"kill -9 t1 s1\"")
    arguments.add_argument("--topologies", default="", help="of exact: only those that match, as \"tensor 2\"")
    arguments.add_argument("--n", type=int, default=30, help="strikes per row")
    arguments.add_argument("--sequences", type=int, default=64)
    arguments.add_argument("--prompt", type=int, default=PROMPT)
    arguments.add_argument("--tokens", type=int, default=2300)
    arguments.add_argument("--gate", type=int, default=16000)
    arguments.add_argument("--batch-tokens", type=int, default=8192)
    arguments.add_argument("--vocabulary", type=int, default=128000)
    arguments.add_argument("--kv-bytes", type=int, default=44 << 30)
    arguments.add_argument("--shared", action="store_true", help="exact: more workers than GPUs take turns on them")
    arguments.add_argument("--log-level", default="info")
    arguments.add_argument("--set", action="append", default=[], help="for every run, as vdist-run has it")
    arguments.add_argument("--no-bounds", action="store_true")
    wanted = arguments.parse_args()
    wanted.out.mkdir(parents=True, exist_ok=True)
    wanted.overrides = {"cluster.isolation": "process", "device.kind": wanted.device, "model.path": wanted.big,
                        "device.kv_cache_bytes": wanted.kv_bytes, "scheduler.max_sequences": max(wanted.sequences, 1),
                        "scheduler.max_batch_tokens": wanted.batch_tokens, **dict(each.split("=", 1) for each in wanted.set)}
    if wanted.what == "exact":
        for key in ("device.kv_cache_bytes", "scheduler.max_sequences", "scheduler.max_batch_tokens"):
            wanted.overrides.pop(key)
    began = time.monotonic()
    found = {"exact": exact, "figures": figures, "cost": cost, "others": others, "long": long}[wanted.what](wanted)
    (wanted.out / f"{wanted.what}.json").write_text(json.dumps({"rows": found, "seconds": time.monotonic() - began}, indent=1) + "\n")
    if wanted.what == "figures":
        text = table(found)
        (wanted.out / "figures.md").write_text(text)
        print(text)
    for row in found:
        if row.get("failure"):
            print(f"FAILED {row.get('name', row.get('topology', ''))} {row.get('script', '')}: {row['failure']}", flush=True)
    sound = [row for row in found if row["ok"] or (wanted.no_bounds and not row["failure"] and not row.get("altered"))]
    sys.exit(0 if len(sound) == len(found) else 1)


if __name__ == "__main__":
    main()
