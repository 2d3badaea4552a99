#!/usr/bin/env python3
"""Records what Hugging Face transformers generates with the demo model tiny-tales.

Usage: record_tiny_tales.py   (writes tiny_tales.json beside this file)

The bfloat16 weights are widened to float32 and all arithmetic is float32. Every greedy step is computed from the whole
sequence, without a key/value cache and without a stop at the end token.

tiny_tales.json:
  versions, recorded, model_sha256   the libraries, the day, and the weights that this file belongs to
  cases[i].prompt, prompt_ids        a text and its tokens, the begin token included
  cases[i].greedy_ids, greedy_text   the GREEDY_STEPS tokens of largest logit and what they spell
  cases[i].margins                   per step: best minus second logit, as a share of the logits' standard deviation
  cases[i].top                       token ids and logits of the TOP largest logits after the prompt, best first
"""

import datetime
import hashlib
import json
import os
import pathlib

os.environ["HF_HUB_OFFLINE"] = "1"

import tokenizers
import torch
import transformers

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE.parents[2] / "examples" / "models" / "tiny-tales"
PROMPTS = ["Once upon a time", "The little rabbit", "One morning the king"]
GREEDY_STEPS = 64
TOP = 5


@torch.no_grad()
def record(model, tokenizer, prompt):
    """One case: tokens, margins and the largest logits after the prompt."""
    prompt_ids = tokenizer.encode(prompt)
    ids, margins, top = list(prompt_ids), [], None
    for _ in range(GREEDY_STEPS):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        best = torch.topk(logits, TOP)
        if top is None:
            top = dict(ids=best.indices.tolist(), logits=[round(x, 5) for x in best.values.tolist()])
        margins.append(round(float((best.values[0] - best.values[1]) / logits.std()), 5))
        ids.append(int(best.indices[0]))
    greedy = ids[len(prompt_ids):]
    return dict(prompt=prompt, prompt_ids=prompt_ids, greedy_ids=greedy, greedy_text=tokenizer.decode(greedy),
                margins=margins, top=top)


def main():
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        MODEL, dtype=torch.float32, attn_implementation="eager").eval()
    cases = [record(model, tokenizer, prompt) for prompt in PROMPTS]
    recorded = dict(
        recorded=datetime.date.today().isoformat(), dtype="float32", stored="bfloat16",
        model_sha256=hashlib.sha256((MODEL / "model.safetensors").read_bytes()).hexdigest(),
        versions=dict(transformers=transformers.__version__, torch=torch.__version__,
                      tokenizers=tokenizers.__version__),
        cases=cases)
    (HERE / "tiny_tales.json").write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for case in cases:
        print(f"{case['prompt']!r}: smallest margin {min(case['margins'])}: {case['greedy_text']!r}")


if __name__ == "__main__":
    main()
