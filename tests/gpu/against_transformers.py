#!/usr/bin/env python3
"""Compares what vdist computes with what Hugging Face transformers computes, both in this run on this machine.

Usage: against_transformers.py --program OUT/bin/vdist-logits --launcher OUT/run.sh [--config FOLDER]...

First small random models of every supported architecture, in three element types; then one model of random weights for
each --config, a folder with the config.json of a large model, in bfloat16. transformers computes every position of
every list of tokens twice: in the type itself, as its users run it, and with the same rounded weights in float64 (large
models: float32), the truth. vdist-logits computes them in these ways:

  decode      every token fed by itself, the lists side by side (large models: behind a prompt of up to 961 tokens)
  prefill     the last positions behind a prompt that is computed at once
  chunked     the same, the prompt in chunks
  tensor 2    two ranks share every matrix             pipeline 2   two ranks share the layers
  recorded    greedy tokens that the device samples in recorded steps; there are no logits to compare

A relative error is the norm of a difference over the norm of what was expected, over all positions of a list of lists.
Two numbers are judged for every way:
  error       vdist against transformers at most BOUNDS[type]
  greedy      at least AGREEMENT_MIN of the positions have the same best token. A position is unclear, and left out, if
              the two best logits of the reference are no further apart than twice the bound, in standard deviations of
              its logits, since both may be off by the bound; twice transformers' own error where that is larger.
Where transformers' own rounding uses a bound up, vdist is held against the truth instead: it must be no worse there than
transformers is, nor beyond TRUTH_SLACK times the bound. Such a verdict reads "truth" instead of "ok".

Prints a table, then "against transformers: N passed, M failed". Exit code 1 if anything failed.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import gc
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy
import torch
import transformers

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

BOUNDS = {"float32": 1e-4, "bfloat16": 1e-2, "float16": 2e-3}
AGREEMENT_MIN = 0.99
TRUTH_SLACK = 3
SEED = 1

# --- Models ------------------------------------------------------------------------------------------------------------

DECODER = dict(vocab_size=512, hidden_size=256, intermediate_size=512, num_hidden_layers=3, num_attention_heads=8,
               num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-5, tie_word_embeddings=False,
               rope_parameters=dict(rope_type="default", rope_theta=10000.0))
OPT = dict(vocab_size=509, ffn_dim=512, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=512,
           dropout=0.0)
LENGTHS = [1, 2, 15, 16, 17, 47, 96]  # around a block of the cache, and beyond one of every tile


def factors(count, last):
    """What longrope divides its frequencies by: from 1 to `last`, geometric."""
    return [last ** (i / (count - 1)) for i in range(count)]


SMALL = {
    # name: (class prefix, configuration, lengths of the lists)
    "llama, heads of 64": ("Llama", DECODER | dict(
        head_dim=64, rope_parameters=dict(
            rope_type="llama3", rope_theta=500000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=32)), LENGTHS),
    "llama, heads of 128, tied": ("Llama", DECODER | dict(head_dim=128, num_attention_heads=4,
                                                          tie_word_embeddings=True), LENGTHS),
    "llama, heads of 32, biases": ("Llama", DECODER | dict(
        num_key_value_heads=8, attention_bias=True, mlp_bias=True, vocab_size=509,
        rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.0)), LENGTHS),
    "llama, 16 heads share one": ("Llama", DECODER | dict(head_dim=64, num_attention_heads=32), LENGTHS),
    "mistral, window": ("Mistral", DECODER | dict(head_dim=128, num_attention_heads=4, sliding_window=24), LENGTHS),
    "mistral, heads of 256": ("Mistral", DECODER | dict(head_dim=256, num_attention_heads=4, sliding_window=None),
                              LENGTHS),
    "qwen2, tied": ("Qwen2", DECODER | dict(num_attention_heads=4, tie_word_embeddings=True), LENGTHS),
    "qwen2, windows by layer": ("Qwen2", DECODER | dict(
        num_attention_heads=4, use_sliding_window=True, sliding_window=24, max_window_layers=1), LENGTHS),
    "qwen3": ("Qwen3", DECODER | dict(head_dim=128, num_attention_heads=4), LENGTHS),
    "phi3, heads of 96": ("Phi3", DECODER | dict(
        hidden_size=384, num_attention_heads=4, num_key_value_heads=4, original_max_position_embeddings=128,
        rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, short_factor=factors(48, 2.5),
                             long_factor=factors(48, 40.0))), LENGTHS),
    # Longer than original_max_position_embeddings: transformers takes the long factors for these only.
    "phi3, long": ("Phi3", DECODER | dict(
        num_attention_heads=4, original_max_position_embeddings=16, rope_parameters=dict(
            rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75, short_factor=factors(24, 1.7),
            long_factor=factors(24, 16.0))), [17, 20, 33, 64, 96]),
    "opt, heads of 80": ("OPT", OPT | dict(hidden_size=320), LENGTHS),
    "opt, norms behind": ("OPT", OPT | dict(hidden_size=256, word_embed_proj_dim=128, do_layer_norm_before=False),
                          LENGTHS),
    "gpt2": ("GPT2", dict(vocab_size=509, n_embd=256, n_head=4, n_layer=3, n_positions=512, resid_pdrop=0.0,
                          embd_pdrop=0.0, attn_pdrop=0.0), LENGTHS),
}
LANGUAGE_MODEL = {"GPT2": "GPT2LMHeadModel"}


@torch.no_grad()
def randomize(model, attention_gain):
    """Gains below one, so that no type loses much; norms and biases that show."""
    torch.manual_seed(SEED)
    for key, weight in model.named_parameters():
        if ("norm" in key or ".ln_" in key) and key.endswith("weight"):
            weight.normal_(1.0, 0.2)
        elif key.endswith("bias"):
            weight.normal_(0.0, 0.1)
        elif any(part in key for part in ("embed", "wte", "wpe", "lm_head")):
            weight.normal_(0.0, 0.2)
        else:
            weight.normal_(0.0, (attention_gain if "attn" in key else 0.5) / model.config.hidden_size**0.5)
    return model


def make_small(name, folder):
    """Writes a random float32 model."""
    prefix, configuration, _ = SMALL[name]
    config = getattr(transformers, prefix + "Config")(
        **configuration, bos_token_id=0, eos_token_id=0, pad_token_id=None)
    model = getattr(transformers, LANGUAGE_MODEL.get(prefix, prefix + "ForCausalLM"))(config)
    randomize(model, attention_gain=0.5).save_pretrained(folder)


def make_large(config_folder, folder, device):
    """A random bfloat16 model of a configuration, stored in shards. Its scores differ more, so that long contexts do not
    average out. (The usual initialisation, 0.02 everywhere, has a gain of 1.3 at 8B: there 32 layers make several
    percent out of the rounding of bfloat16, in any implementation.)"""
    config = transformers.AutoConfig.from_pretrained(config_folder)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    randomize(model, attention_gain=1.0).save_pretrained(folder, max_shard_size="4GB")
    return model.eval()


# --- What transformers computes ------------------------------------------------------------------------------------------


@dataclasses.dataclass
class reference:
    """Logits of every list's last positions, one list behind the other: [positions, vocabulary]."""
    counts: list  # positions of each list
    theirs: torch.Tensor  # in the type
    truth: torch.Tensor

    def rows(self, lists, last):
        """Of the first `lists` lists, the places of the last `last` positions of each; 0: of all that there are."""
        places, at = [], 0
        for count in self.counts[:lists]:
            places.extend(range(at + (max(0, count - last) if last else 0), at + count))
            at += count
        return places


@torch.no_grad()
def logits_of(model, lists, last, device):
    """[positions, vocabulary] on the host, as computed; each list by itself."""
    rows = []
    for ids in lists:
        kept = min(last, len(ids)) if last else len(ids)
        out = model(torch.tensor([ids], device=device), use_cache=False, logits_to_keep=kept).logits[0]
        rows.append(out.float().cpu())
    return torch.cat(rows)


def reference_of(model, wide, lists, last, device):
    """Computes in the model's type, then with the same weights in `wide`; the model is left in that."""
    theirs = logits_of(model, lists, last, device)
    model.set_attn_implementation("eager")  # no kernel with a precision of its own
    truth = logits_of(model.to(wide), lists, last, device)
    return reference([min(last, len(ids)) if last else len(ids) for ids in lists], theirs, truth)


def load(folder, kind, device):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, kind)).to(device).eval()


def random_lists(lengths, vocabulary):
    generator = torch.Generator().manual_seed(SEED)
    return [torch.randint(0, vocabulary, [n], generator=generator).tolist() for n in lengths]


def release_memory():
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# --- What vdist computes -------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class way:
    name: str
    options: tuple = ()
    last: int = 0  # positions of each list; 0: all that the reference has
    lists: int = None  # the first ones; None: all


SMALL_WAYS = [way("decode"), way("prefill", last=4), way("chunked", ("--chunk", "7"), last=4),
              way("tensor 2", ("--tensor", "2"), last=16), way("pipeline 2", ("--pipeline", "2"), last=16),
              way("recorded", ("--tokens",))]

LARGE_LENGTHS = [64] * 4 + [1024] * 2
LARGE_LAST = 64
# Ranks of one device exchange activations through the host here, which long prompts would make slow.
LARGE_WAYS = [way("decode", last=LARGE_LAST), way("prefill", last=2), way("chunked", ("--chunk", "300"), last=2),
              way("tensor 2", ("--tensor", "2"), last=16, lists=4),
              way("pipeline 2", ("--pipeline", "2"), last=16, lists=4), way("recorded", ("--tokens",), last=LARGE_LAST)]


class vdist_logits:
    """Runs the program, several at once."""

    def __init__(self, arguments, scratch):
        self.command = [*([arguments.launcher] if arguments.launcher else []), arguments.program]
        self.device = arguments.device
        self.scratch = scratch

    def run(self, folder, kind, lists, wanted, timeout_s):
        """The rows that one way computes, or the text of its failure."""
        place = pathlib.Path(tempfile.mkdtemp(dir=self.scratch))
        try:
            (place / "lists.json").write_text(json.dumps(lists[:wanted.lists]))
            gpus = ["--gpus", torch.cuda.device_count()] if self.device == "cuda" else []
            command = [*self.command, folder, place / "lists.json", place / "out.npy", "--device", self.device, *gpus,
                       "--dtype", kind, "--last", wanted.last, *wanted.options]
            done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=timeout_s)
            if done.returncode != 0:
                return f"exit code {done.returncode}: {done.stderr.strip()[-500:]}"
            return torch.from_numpy(numpy.load(place / "out.npy"))
        except subprocess.TimeoutExpired:
            return f"not done within {timeout_s} s"
        except (OSError, ValueError) as cause:
            return str(cause)
        finally:
            shutil.rmtree(place, ignore_errors=True)


# --- The verdict ---------------------------------------------------------------------------------------------------------


def relative_error(got, expected):
    """In chunks of rows, in double precision."""
    difference = sum(float((g.double() - e.double()).square().sum()) for g, e in zip(got.split(64), expected.split(64)))
    norm = sum(float(e.double().square().sum()) for e in expected.split(64))
    return (difference / norm) ** 0.5


def agreement(tokens, expected, error):
    """Share of the clear positions whose best token is the expected one; how many are unclear, if logits are off by
    `error`."""
    best = expected.topk(2)
    clear = (best.values[:, 0] - best.values[:, 1]) / expected.std(dim=1) > 2 * error
    same = (tokens == best.indices[:, 0])[clear]
    return (float(same.float().mean()) if len(same) else 1.0), int((~clear).sum())


@dataclasses.dataclass
class outcome:
    """One way of one model in one type. Figures that do not exist are None."""
    failure: str = ""  # why it failed; empty: it passed
    by_truth: bool = False  # transformers' own rounding used the bound up
    error: float = None  # vdist against transformers
    error_to_truth: float = None
    own_error: float = None  # transformers against the truth
    same: float = None  # share of the positions
    same_as_truth: float = None
    unclear: int = None
    positions: int = 0


def judge_error(found, bound):
    """Comparisons with a number that is none are false: it fails."""
    if found.error <= bound:
        return
    found.by_truth = found.error_to_truth <= min(TRUTH_SLACK * bound, found.own_error)
    if not found.by_truth:
        found.failure = (f"relative error {found.error:.2e} against transformers, {found.error_to_truth:.2e} against "
                         f"the truth (transformers itself: {found.own_error:.2e}; bound {bound:.0e})")


def judge_greedy(found, own_same):
    if found.same >= AGREEMENT_MIN or found.failure:
        return
    if found.same_as_truth >= max(AGREEMENT_MIN, own_same):
        found.by_truth = True
    else:
        found.failure = (f"greedy tokens agree at {found.same:.2%} of the clear positions with transformers, at "
                         f"{found.same_as_truth:.2%} with the truth (transformers itself: {own_same:.2%})")


def judge(got, expected, wanted, bound):
    """`got`: what vdist_logits.run returned."""
    if isinstance(got, str):
        return outcome(failure=got)
    rows = expected.rows(wanted.lists, wanted.last)
    theirs, truth = expected.theirs[rows], expected.truth[rows]
    has_logits = got.is_floating_point()
    if len(got) != len(theirs) or (has_logits and got.shape != theirs.shape):
        return outcome(failure=f"shape {list(got.shape)} where {list(theirs.shape)} was expected")
    if has_logits and not bool(got.isfinite().all()):
        return outcome(failure="not all logits are finite")
    found = outcome(positions=len(rows), own_error=relative_error(theirs, truth))
    if has_logits:
        found.error = relative_error(got, theirs)
        found.error_to_truth = relative_error(got, truth)
        judge_error(found, bound)
    tokens = got.argmax(dim=1) if has_logits else got.long()
    margin_error = max(bound, found.own_error)
    found.same, found.unclear = agreement(tokens, theirs, margin_error)
    found.same_as_truth, _ = agreement(tokens, truth, margin_error)
    judge_greedy(found, agreement(theirs.argmax(dim=1), truth, margin_error)[0])
    return found


# --- The table -----------------------------------------------------------------------------------------------------------

COLUMNS = (f"{'model':<28}{'type':<10}{'positions':>9} | {'vdist-tf':>9}{'vdist-truth':>12}{'tf-truth':>9} | "
           f"{'prefill':>8}{'chunked':>9}{'tensor 2':>9}{'pipeline 2':>11} | {'same':>7}{'as truth':>9}{'unclear':>8}"
           f"{'recorded':>9} | verdict")


def number(value, form):
    return "-" if value is None else format(value, form)


def line_of(name, kind, by_way):
    decode, recorded = by_way["decode"], by_way["recorded"]
    errors = {key: number(by_way[key].error, ".2e") for key in ("prefill", "chunked", "tensor 2", "pipeline 2")}
    failed = [key for key, found in by_way.items() if found.failure]
    by_truth = [key for key, found in by_way.items() if found.by_truth]
    verdict = ("FAILED: " + ", ".join(failed)) if failed else ("truth: " + ", ".join(by_truth)) if by_truth else "ok"
    return (f"{name:<28}{kind:<10}{decode.positions:>9} | {number(decode.error, '.2e'):>9}"
            f"{number(decode.error_to_truth, '.2e'):>12}{number(decode.own_error, '.2e'):>9} | {errors['prefill']:>8}"
            f"{errors['chunked']:>9}{errors['tensor 2']:>9}{errors['pipeline 2']:>11} | {number(decode.same, '.2%'):>7}"
            f"{number(decode.same_as_truth, '.2%'):>9}{number(decode.unclear, 'd'):>8}"
            f"{number(recorded.same, '.2%'):>9} | {verdict}")


class report:
    """Prints lines as they come; counts."""

    def __init__(self):
        self.passed = 0
        self.failures = []
        print(COLUMNS, flush=True)

    def add(self, name, kind, by_way):
        print(line_of(name, kind, by_way), flush=True)
        for key, found in by_way.items():
            if found.failure:
                self.failures.append(f"{name}, {kind}, {key}: {found.failure}")
            else:
                self.passed += 1

    def close(self, seconds):
        print(f"\nerrors are relative; same: greedy tokens as transformers', at clear positions; {seconds:.0f} s")
        for text in self.failures:
            print(text)
        print(f"against transformers: {self.passed} passed, {len(self.failures)} failed", flush=True)
        return 1 if self.failures else 0


# --- The runs ------------------------------------------------------------------------------------------------------------


def run_small(arguments, program, pool, table):
    """References here, one after the other, while the pool runs vdist on the models before."""
    pending = collections.deque()
    for name in SMALL:
        if arguments.only not in name:
            continue
        folder = program.scratch / f"small-{len(pending)}"
        make_small(name, folder)
        lists = random_lists(SMALL[name][2], SMALL[name][1]["vocab_size"])
        for kind in BOUNDS:
            runs = {wanted: pool.submit(program.run, folder, kind, lists, wanted, arguments.timeout)
                    for wanted in SMALL_WAYS}
            expected = reference_of(load(folder, kind, arguments.device), torch.float64, lists, 0, arguments.device)
            pending.append((name, kind, runs, expected))
    for name, kind, runs, expected in pending:
        table.add(name, kind, {wanted.name: judge(run.result(), expected, wanted, BOUNDS[kind])
                               for wanted, run in runs.items()})


def run_large(config_folder, arguments, program, table):
    """vdist runs when the reference's memory is free again; weights are on disk only while they are needed."""
    name, kind = pathlib.Path(config_folder).resolve().name, "bfloat16"
    folder = pathlib.Path(arguments.store) / f"vdist-{name}-{os.getpid()}"
    try:
        model = make_large(config_folder, folder, arguments.device)
        lists = random_lists(LARGE_LENGTHS, model.config.vocab_size)
        expected = reference_of(model, torch.float32, lists, LARGE_LAST, arguments.device)
        del model
        release_memory()
        with concurrent.futures.ThreadPoolExecutor(arguments.large_jobs) as pool:
            runs = {wanted: pool.submit(program.run, folder, kind, lists, wanted, arguments.timeout)
                    for wanted in LARGE_WAYS}
            by_way = {wanted.name: judge(run.result(), expected, wanted, BOUNDS[kind]) for wanted, run in runs.items()}
        table.add(name, kind, by_way)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, help="vdist-logits")
    parser.add_argument("--launcher", help="what starts programs that were carried here (OUT/run.sh)")
    parser.add_argument("--config", action="append", default=[], help="folder with the config.json of a large model")
    parser.add_argument("--store", default="/dev/shm", help="folder for the weights of one large model at a time")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="of both")
    parser.add_argument("--only", default="", help="small models whose name contains this; none: 'none'")
    parser.add_argument("--jobs", type=int, default=8, help="vdist-logits at once, small models")
    parser.add_argument("--large-jobs", type=int, default=2, help="the same, large models")
    parser.add_argument("--timeout", type=float, default=180, help="seconds of one vdist-logits")
    return parser.parse_args()


def main():
    started = time.monotonic()
    arguments = parse_arguments()
    arguments.program = str(pathlib.Path(arguments.program).resolve())
    torch.set_float32_matmul_precision("highest")
    with tempfile.TemporaryDirectory(prefix="vdist-against-") as scratch:
        program = vdist_logits(arguments, pathlib.Path(scratch))
        table = report()
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            run_small(arguments, program, pool, table)
        release_memory()
        for config_folder in arguments.config:
            run_large(config_folder, arguments, program, table)
    return table.close(time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main())
