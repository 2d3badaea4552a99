#!/usr/bin/env python3
"""Records what Hugging Face transformers computes for tiny random models.

Usage: record.py [--only NAME]   (writes the folders beside this file)

Every model gets weights that are large enough for clear margins between the best and the second token; seeds are tried
until the margin of every greedy step is above MARGIN_MIN. The weights are stored once per model, in the type named in
MODELS; the expectations of the other types are those of the stored weights converted by torch.

NAME/config.json, NAME/model.safetensors   the checkpoint, as save_pretrained writes it: its tensor names are the
                                           published ones
NAME/expected.json                         prompts, greedy tokens, margins, versions, date; own_errors is what
                                           the reference's logits lose by computing activations in the type
NAME/expected.safetensors                  logits_<dtype>_<prompt>: [last positions of the prompt, vocabulary] float32
"""

import argparse
import datetime
import json
import os
import pathlib

os.environ["HF_HUB_OFFLINE"] = "1"

import safetensors
import safetensors.torch
import torch
import transformers

transformers.utils.logging.disable_progress_bar()

HERE = pathlib.Path(__file__).resolve().parent
GREEDY_STEPS = 64
LAST_POSITIONS = 4
# Smallest difference between the best and the second logit, as a share of the logits' standard deviation. A float32
# engine is off by 1e-5 of it, so tokens that satisfy this cannot depend on rounding.
MARGIN_MIN = 2e-3
# Relative error that bfloat16 activations may cost the reference itself; engines that keep activations in float32 are
# compared with it at 2e-2.
OWN_ERROR_MAX = 1.4e-2
SEEDS = 200
DTYPES = ["float32", "bfloat16", "float16"]
PROMPT_LENGTHS = [1, 7, 24]

LLAMA = dict(vocab_size=256, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=8,
             max_position_embeddings=128, rms_norm_eps=1e-5, tie_word_embeddings=False)
# The relatives of Llama, small: what sets them apart shows at any size.
RELATIVE = dict(vocab_size=128, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-5, tie_word_embeddings=False,
                rope_parameters=dict(rope_type="default", rope_theta=10000.0))
OPT = dict(vocab_size=125, hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4,
           max_position_embeddings=128, dropout=0.0)

CLASSES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "gpt2": (transformers.GPT2Config, transformers.GPT2LMHeadModel),
    "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    "phi3": (transformers.Phi3Config, transformers.Phi3ForCausalLM),
    "opt": (transformers.OPTConfig, transformers.OPTForCausalLM),
}

MODELS = {
    # name: (stored type, class, configuration)
    "llama2_mha": ("bfloat16", "llama", LLAMA | dict(num_hidden_layers=4, num_key_value_heads=8)),
    "llama3_gqa": ("float32", "llama", LLAMA | dict(
        num_key_value_heads=2, rope_parameters=dict(
            rope_type="llama3", rope_theta=500000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=32))),
    "llama32_tied": ("bfloat16", "llama", LLAMA | dict(
        num_key_value_heads=4, head_dim=16, num_hidden_layers=2, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0))),
    "llama_bias": ("bfloat16", "llama", LLAMA | dict(
        num_key_value_heads=4, num_hidden_layers=2, attention_bias=True, mlp_bias=True, vocab_size=251,
        rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.0))),
    "gpt2": ("float32", "gpt2", dict(vocab_size=257, n_embd=64, n_head=8, n_layer=2, n_positions=128,
                                     resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)),
    "mistral_window": ("bfloat16", "mistral", RELATIVE | dict(head_dim=16, sliding_window=8)),
    "qwen2_tied": ("bfloat16", "qwen2", RELATIVE | dict(vocab_size=125, tie_word_embeddings=True)),
    "qwen2_window": ("bfloat16", "qwen2", RELATIVE | dict(
        num_hidden_layers=3, use_sliding_window=True, sliding_window=8, max_window_layers=1)),
    "qwen3": ("bfloat16", "qwen3", RELATIVE | dict(head_dim=16)),
    "opt": ("bfloat16", "opt", OPT),
    "opt_post_norm": ("bfloat16", "opt", OPT | dict(word_embed_proj_dim=16, do_layer_norm_before=False)),
    "phi3_short": ("bfloat16", "phi3", RELATIVE | dict(
        sliding_window=10, max_position_embeddings=512, original_max_position_embeddings=128,
        rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, short_factor=[1.0, 1.2, 1.7, 2.5],
                             long_factor=[1.5, 4.0, 16.0, 40.0]))),
    "phi3_long": ("bfloat16", "phi3", RELATIVE | dict(
        original_max_position_embeddings=16,
        rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75,
                             short_factor=[1.0, 1.2, 1.7], long_factor=[1.5, 4.0, 16.0]))),
}

# Longer than original_max_position_embeddings: the reference takes the long factors for these only.
PROMPT_LENGTHS_OF = {"phi3_long": [17, 20, 24]}


# With tied embeddings a strong token embedding predicts itself for ever.
EMBEDDING_STD = {"llama32_tied": 0.08, "gpt2": 0.12, "qwen2_tied": 0.12, "opt": 0.12, "opt_post_norm": 0.2}
EMBEDDING_STD_DEFAULT = 0.4


def make_model(name, seed):
    _, kind, configuration = MODELS[name]
    embedding_std = EMBEDDING_STD.get(name, EMBEDDING_STD_DEFAULT)
    torch.manual_seed(seed)
    config_class, model_class = CLASSES[kind]
    model = model_class(config_class(**configuration, bos_token_id=0, eos_token_id=0, pad_token_id=None,
                                     attn_implementation="eager"))
    # Unit gain: sharper attention makes the reference itself lose several percent to bfloat16 activations.
    linear_std = 0.96 / model.config.hidden_size**0.5
    with torch.no_grad():
        for key, weight in model.named_parameters():
            is_norm = "norm" in key or ".ln_" in key
            if is_norm and key.endswith("weight"):
                weight.normal_(1.0, 0.2)
            elif key.endswith("bias"):
                weight.normal_(0.0, 0.2)
            elif "embed" in key or "wte" in key or "wpe" in key or "lm_head" in key:
                weight.normal_(0.0, embedding_std)
            else:
                weight.normal_(0.0, linear_std)
    return model.eval()


def greedy(model, prompt):
    """Tokens and margins of GREEDY_STEPS steps, every one computed from the whole sequence."""
    ids, tokens, margins = list(prompt), [], []
    for _ in range(GREEDY_STEPS):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1].float()
        best = torch.topk(logits, 2)
        margins.append(float((best.values[0] - best.values[1]) / logits.std()))
        tokens.append(int(best.indices[0]))
        ids.append(tokens[-1])
    return tokens, margins


def record_logits(folder, dtype, prompts, tensors):
    """Logits of one element type, from the stored checkpoint as from_pretrained reads it; the largest own error."""
    model = load(folder, dtype)
    rounded = load(folder, dtype).to(torch.float32)  # the same weights, activations in float32
    own_error = 0.0
    for index, prompt in enumerate(prompts):
        logits = model(torch.tensor([prompt]), use_cache=False).logits[0, -LAST_POSITIONS:].float().contiguous()
        exact = rounded(torch.tensor([prompt]), use_cache=False).logits[0, -LAST_POSITIONS:]
        own_error = max(own_error, float((logits - exact).norm() / exact.norm()))
        tensors[f"logits_{dtype}_{index}"] = logits
    return own_error


def record_tokens(folder, dtype, prompts):
    model = load(folder, dtype)
    runs = []
    for prompt in prompts:
        tokens, margins = greedy(model, prompt)
        runs.append(dict(greedy=tokens, margins=[round(m, 5) for m in margins]))
    return runs


def load(folder, dtype):
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), attn_implementation="eager").eval()


def store(model, folder, stored):
    """Writes the checkpoint in the type `stored`."""
    model.to(getattr(torch, stored)).save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    for file in folder.iterdir():
        file.chmod(0o644)


def save(tensors, path):
    safetensors.torch.save_file(tensors, path)
    path.chmod(0o644)


@torch.no_grad()
def record(name):
    stored, _, configuration = MODELS[name]
    folder = HERE / name
    lengths = PROMPT_LENGTHS_OF.get(name, PROMPT_LENGTHS)
    for seed in range(1, SEEDS):
        store(make_model(name, seed), folder, stored)
        generator = torch.Generator().manual_seed(seed)
        vocabulary = configuration["vocab_size"]
        prompts = [torch.randint(0, vocabulary, [n], generator=generator).tolist() for n in lengths]
        tensors = {}
        own_errors = {dtype: record_logits(folder, dtype, prompts, tensors) for dtype in DTYPES}
        if own_errors["bfloat16"] > OWN_ERROR_MAX:
            continue
        exact = record_tokens(folder, "float32", prompts)
        has_margins = min(min(run["margins"]) for run in exact) >= MARGIN_MIN
        if has_margins and all(len(set(run["greedy"])) > 8 for run in exact):
            break
    else:
        raise SystemExit(f"{name}: no seed gives clear margins")
    cases = {"float32": exact} | {dtype: record_tokens(folder, dtype, prompts) for dtype in DTYPES[1:]}
    save(tensors, folder / "expected.safetensors")
    expected = dict(
        recorded=datetime.date.today().isoformat(), seed=seed, stored=stored, prompts=prompts,
        versions=dict(transformers=transformers.__version__, torch=torch.__version__,
                      safetensors=safetensors.__version__),
        own_errors=own_errors, cases=cases)
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    worst = {d: min(min(run["margins"]) for run in cases[d]) for d in DTYPES}
    print(f"{name}: seed {seed}, smallest margins {worst}, own errors {own_errors}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(MODELS))
    only = parser.parse_args().only
    torch.set_num_threads(1)
    for name in MODELS:
        if only in (None, name):
            record(name)


if __name__ == "__main__":
    main()
