#!/usr/bin/env python3
"""How fast transformers decodes with torch.compile and a static cache: the figure beside vdist's own.

Usage: transformers_decode.py FOLDER... [--batch 1] [--context 1024]   (folders with a config.json; random weights)

generate() with cache_implementation="static" compiles the forward pass of one token and replays it from a CUDA graph;
nothing is sampled, and nothing but the length ends it. A long and a short generation from the same prompt differ by
decode steps only, so their difference over the steps is the time of one: prefill and start-up fall out. Prints for
every model the median of several pairs in milliseconds per token, the smallest and the largest, and the share of the
read bandwidth that this run measures with a plain sum over 4 GiB: a step must read every weight that it multiplies by
(the token embedding is looked up, unless it is the head too) and the keys and values of its context.
"""

import argparse
import gc
import os
import pathlib
import statistics
import time

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch
import transformers

transformers.utils.logging.set_verbosity_error()

WARM_UPS = 2
PAIRS = 7
STEPS_SHORT = 16


def synchronize(device):
    if device == "cuda":
        torch.cuda.synchronize()


def read_bandwidth(device):
    """Bytes per second of a reduction over 4 GiB (on a CPU 64 MiB: there it only shows that the script runs)."""
    data = torch.ones((1 << 32 if device == "cuda" else 1 << 26) // 2, dtype=torch.bfloat16, device=device)
    seconds = []
    for _ in range(WARM_UPS + PAIRS):
        synchronize(device)
        start = time.perf_counter()
        data.sum()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return data.numel() * 2 / statistics.median(seconds[WARM_UPS:])


def random_model(folder, device):
    config = transformers.AutoConfig.from_pretrained(folder)
    torch.manual_seed(1)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.generation_config = transformers.GenerationConfig(do_sample=False, eos_token_id=None, pad_token_id=0)
    return model.eval()


def bytes_of_step(model, batch, context):
    """Weights that a step reads, and its keys and values halfway through."""
    config = model.config
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    table = model.get_input_embeddings().weight
    if model.get_output_embeddings().weight is not table:
        weights -= table.numel() * table.element_size()
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", config.num_attention_heads)
    return weights + batch * context * config.num_hidden_layers * 2 * kv_heads * head_dim * 2


@torch.no_grad()
def seconds_per_step(model, arguments):
    ids = torch.randint(0, model.config.vocab_size, (arguments.batch, arguments.context), device=arguments.device)
    mask = torch.ones_like(ids)

    def generate(steps):
        synchronize(arguments.device)
        start = time.perf_counter()
        out = model.generate(ids, attention_mask=mask, max_new_tokens=steps, cache_implementation="static")
        synchronize(arguments.device)
        if out.shape[1] != arguments.context + steps:
            raise SystemExit(f"generate: ended early (tokens={out.shape[1] - arguments.context} wanted={steps})")
        return time.perf_counter() - start

    # The cache is as long as the generation, and every length compiles once: both lengths are run before they count.
    steps_long = STEPS_SHORT + arguments.steps
    start = time.perf_counter()
    for _ in range(WARM_UPS):
        generate(STEPS_SHORT)
        generate(steps_long)
    warm_up = time.perf_counter() - start
    pairs = [(generate(STEPS_SHORT), generate(steps_long)) for _ in range(PAIRS)]
    return [(long - short) / arguments.steps for short, long in pairs], warm_up


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="each with the config.json of a model")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--context", type=int, default=1024, help="tokens of the prompt")
    parser.add_argument("--steps", type=int, default=128, help="decode steps between the two lengths")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    arguments = parser.parse_args()
    bandwidth = read_bandwidth(arguments.device)
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    print(f"{name}: reads {bandwidth * 1e-9:.0f} GB/s; torch {torch.__version__}, transformers "
          f"{transformers.__version__}", flush=True)
    for folder in arguments.folders:
        model = random_model(folder, arguments.device)
        seconds, warm_up = seconds_per_step(model, arguments)
        median = statistics.median(seconds)
        context = arguments.context + STEPS_SHORT + arguments.steps // 2
        share = bytes_of_step(model, arguments.batch, context) / median / bandwidth
        print(f"transformers {pathlib.Path(folder).resolve().name}, compiled, static cache, batch {arguments.batch}, "
              f"context {arguments.context}: {median * 1e3:.3f} ms per token ({min(seconds) * 1e3:.3f} to "
              f"{max(seconds) * 1e3:.3f}), {arguments.batch / median:.0f} tokens/s, {share:.1%} of the bandwidth; "
              f"warm-up {warm_up:.0f} s", flush=True)
        del model
        gc.collect()
        torch._dynamo.reset()
        if arguments.device == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
