#!/usr/bin/env python3
"""Build the demo model tiny-tales: clean the books, train a tokenizer, train, export.

Three steps, each a subcommand:

    prepare   folder of Markdown books      -> one compressed corpus file (.jsonl.xz)
    train     books folder or corpus file   -> model folder that transformers can load
    readme    model folder                  -> its README.md (choose which samples to show)

Needs Python 3.10+, torch, transformers, tokenizers and safetensors. The released weights
come from one H200 GPU in under ten minutes; `--preset mini` proves the pipeline on a CPU.
"""

from __future__ import annotations

import argparse
import datetime
import json
import lzma
import math
import platform
import random
import re
import time
import zlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Callable, Iterator

# ---------------------------------------------------------------------------------------
# Corpus
# ---------------------------------------------------------------------------------------

#: Books in plain, story-telling English, by the start of their file name.
EASY_BOOKS = (
    "Aesop__", "Anna_Sewell__", "Edith_Nesbit__", "Hans_Christian_Andersen__",
    "Kenneth_Grahame__", "L._Frank_Baum__", "Lewis_Carroll__",
    "Frances_Hodgson_Burnett__A_Little_Princess", "Frances_Hodgson_Burnett__The_Secret_Garden",
    "George_MacDonald__The_Princess_and_the_Goblin",
    "Louisa_May_Alcott__Little_Women", "Louisa_May_Alcott__Little_Men",
    "Lucy_Maud_Montgomery__Anne_of_Green_Gables", "Lucy_Maud_Montgomery__Christmas_Stories",
    "Oscar_Wilde__The_Happy_Prince", "Rudyard_Kipling__The_Jungle_Book",
    "Jack_London__The_Call_of_the_Wild", "Jack_London__White_Fang",
)

#: Left out: plays (no prose), a book of essays, and a novel written in heavy dialect.
SKIPPED_BOOKS = (
    "Oscar_Wilde__An_Ideal_Husband", "Oscar_Wilde__The_Importance_of_Being_Earnest",
    "G.K._Chesterton__All_Things_Considered", "Mark_Twain__Adventures_of_Huckleberry_Finn",
)

#: Paragraphs with these words are dropped: a demo should not repeat them.
OFFENSIVE = re.compile(r"\b(nigg|darky|darkies|chinaman|half-caste)", re.IGNORECASE)

CHARACTER_MAP = str.maketrans({
    "\u2018": "'", "\u2019": "'", "\u2032": "'", "\u201c": '"', "\u201d": '"',
    "\u2014": "--", "\u2013": "-", "\u2026": "...", "\u00a0": " ", "\ufeff": "",
    "_": "", "*": "", "\u00ab": '"', "\u00bb": '"',
})

#: Words that begin with an apostrophe, so that it is no opening quotation mark.
ELISIONS = re.compile(
    r"'(?=(?:tis|twas|twere|twill|twould|em|im|er|ee|ave|ad|ow|ouse|ome|cause|bout|round|"
    r"fraid|gainst|nough|neath|un|ere|way|ware|pon|most|appen|scuse|stead|spect|ware)\b)",
    re.IGNORECASE)


@dataclass
class Piece:
    """A chapter or a short tale: cleaned paragraphs joined by blank lines."""

    book: str
    author: str
    easy: bool
    text: str


def double_quotes(text: str) -> str:
    """Turn British single quotation marks for speech into double ones (and the inverse)."""
    text = ELISIONS.sub("\x00", text.replace('"', "\x01"))
    text = re.sub(r"(^|[\s(\-\x01])'(?=[\w\x01\x00.-])", r'\1"', text)
    text = re.sub(r"(?<=[.,!?;:\-)\x01])'(?=$|[\s)\-\x01.,;])", '"', text)
    return text.replace("\x00", "'").replace("\x01", "'")


def repair_mojibake(text: str) -> str:
    """Undo UTF-8 that had been read as Latin-1 (two characters for one letter)."""
    def fix(match: re.Match[str]) -> str:
        try:
            return match.group(0).encode("latin-1").decode("utf-8")
        except UnicodeError:
            return ""
    return re.sub("\u00c3.", fix, text)


def clean_paragraph(raw: str, single_quoted: bool) -> str | None:
    """One paragraph as a single line of plain text, or None when it is no prose."""
    lines = [line.strip() for line in raw.strip().splitlines() if line.strip()]
    if not lines or re.match(r"\[?(Footnote|Illustration|Note\b)|\*\s|\[\d", lines[0]):
        return None
    if len(lines) > 1 and sum(map(len, lines)) / len(lines) < 58:
        return None  # verse, lists, inscriptions
    text = repair_mojibake(" ".join(lines)).translate(CHARACTER_MAP)
    text = re.sub(r"\[(?:\d+|[a-z])\]|<[^>]*>|^>+ ?", "", text)
    if single_quoted:
        text = double_quotes(text)
    text = re.sub(r"\s*\.(?:\s*\.){2,}", "...", text)
    text = re.sub(r"-{3,}", "--", text)
    text = re.sub(r"\s+", " ", text).strip()
    letters = [c for c in text if c.isalpha()]
    if len(text) < 2 or len(letters) < 0.6 * len(text):
        return None
    if sum(c.isupper() for c in letters) > 0.5 * len(letters):
        return None
    if OFFENSIVE.search(text) or re.match(r"the end\b", text, re.IGNORECASE):
        return None
    if re.search(r"[^\x20-\x7e\u00c0-\u017f\u00a3]", text):
        return None
    return text


def read_book(path: Path) -> list[Piece]:
    """Split one Markdown book at its headings into cleaned pieces."""
    text = path.read_text(encoding="utf-8")
    heading = {key: match.group(1).strip() if (match := re.search(
        rf"^#+ {key}: *(.*)$", text, re.MULTILINE)) else "" for key in ("Title", "Author")}
    body = text.split("-------", 1)[-1]
    single_quoted = len(re.findall(r"(?:^|\s)'\w", body, re.MULTILINE)) > body.count('"')
    easy = path.name.startswith(EASY_BOOKS)
    pieces = []
    for section in re.split(r"^#{1,6} .*$", body, flags=re.MULTILINE):
        cleaned = (clean_paragraph(p, single_quoted) for p in re.split(r"\n\s*\n", section))
        paragraphs = [p for p in cleaned if p]
        joined = "\n\n".join(paragraphs)
        if len(joined) >= 150:
            pieces.append(Piece(heading["Title"], heading["Author"], easy, joined))
    return pieces


def read_books(folder: Path) -> list[Piece]:
    """All pieces of all books of a folder, in file name order."""
    pieces: list[Piece] = []
    for path in sorted(folder.glob("*.md")):
        if not path.name.startswith(SKIPPED_BOOKS):
            pieces.extend(read_book(path))
    if not pieces:
        raise SystemExit(f"no books (*.md) with text in {folder}")
    return pieces


def save_corpus(pieces: list[Piece], path: Path) -> None:
    """Write pieces as JSON lines, xz-compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(path, "wt", encoding="utf-8", preset=6) as out:
        for piece in pieces:
            out.write(json.dumps(asdict(piece), ensure_ascii=False) + "\n")


def load_corpus(path: Path) -> list[Piece]:
    """Read what save_corpus wrote."""
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        return [Piece(**json.loads(line)) for line in lines]


def is_held_out(piece: Piece, index: int) -> bool:
    """3 % of the easy pieces and 1 % of the others, by a hash so that it never moves."""
    return zlib.crc32(f"{piece.book}/{index}".encode()) % 1000 < (30 if piece.easy else 10)


# ---------------------------------------------------------------------------------------
# Tokenizer
# ---------------------------------------------------------------------------------------

BOS, EOS = "<|bos|>", "<|end|>"
BOS_ID, EOS_ID = 0, 1

SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

#: A base model has no roles: a conversation is the story so far.
CHAT_TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}"


def train_tokenizer(texts: Iterator[str], vocab_size: int):
    """Byte-level BPE that adds the BOS token in front of what it encodes."""
    from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers,
                            processors, trainers)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(t, special=True, normalized=False) for t in (BOS, EOS)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS}:1 $B:1", special_tokens=[(BOS, BOS_ID)])
    return tokenizer


# ---------------------------------------------------------------------------------------
# Model: parameter names are those of transformers' LlamaForCausalLM
# ---------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Shape:
    """Architecture of a Llama model with tied embeddings."""

    vocab: int = 6144
    hidden: int = 256
    layers: int = 8
    heads: int = 8
    kv_heads: int = 4
    intermediate: int = 768
    context: int = 1024
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads

    def parameters(self) -> int:
        """Number of weights, the tied embedding counted once."""
        attention = 2 * self.hidden * (self.heads + self.kv_heads) * self.head_dim
        block = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        return self.vocab * self.hidden + self.layers * block + self.hidden


STUDENT = Shape()
TEACHER = Shape(hidden=512, layers=10, heads=8, kv_heads=8, intermediate=1408)
MINI = Shape(vocab=1024, hidden=64, layers=2, heads=8, kv_heads=4, intermediate=128, context=128)

try:
    import torch
    import torch.nn.functional as F
    from torch import nn
except ImportError as error:  # `prepare` and `readme` work without torch
    torch = None
    TORCH_ERROR = error

if torch is not None:

    def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """Rotary position embedding, first half of a head paired with its second half."""
        low, high = x.chunk(2, dim=-1)
        return x * cos + torch.cat((-high, low), dim=-1) * sin

    class RMSNorm(nn.Module):
        """Root-mean-square normalisation in float32."""

        def __init__(self, size: int, eps: float) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(size))
            self.eps = eps

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            wide = x.float()
            scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
            return (wide * scale).to(x.dtype) * self.weight.to(x.dtype)

    class Attention(nn.Module):
        """Causal grouped-query attention."""

        def __init__(self, shape: Shape) -> None:
            super().__init__()
            self.shape = shape
            rows, kv_rows = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
            self.q_proj = nn.Linear(shape.hidden, rows, bias=False)
            self.k_proj = nn.Linear(shape.hidden, kv_rows, bias=False)
            self.v_proj = nn.Linear(shape.hidden, kv_rows, bias=False)
            self.o_proj = nn.Linear(rows, shape.hidden, bias=False)

        def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
            batch, length, _ = x.shape
            shape = self.shape
            q = self.q_proj(x).view(batch, length, shape.heads, shape.head_dim).transpose(1, 2)
            k = self.k_proj(x).view(batch, length, shape.kv_heads, shape.head_dim).transpose(1, 2)
            v = self.v_proj(x).view(batch, length, shape.kv_heads, shape.head_dim).transpose(1, 2)
            q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
            groups = shape.heads // shape.kv_heads
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.o_proj(out.transpose(1, 2).reshape(batch, length, -1))

    class FeedForward(nn.Module):
        """SwiGLU."""

        def __init__(self, shape: Shape) -> None:
            super().__init__()
            self.gate_proj = nn.Linear(shape.hidden, shape.intermediate, bias=False)
            self.up_proj = nn.Linear(shape.hidden, shape.intermediate, bias=False)
            self.down_proj = nn.Linear(shape.intermediate, shape.hidden, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))

    class Block(nn.Module):
        """One decoder layer, dropout on both residual branches."""

        def __init__(self, shape: Shape, dropout: float) -> None:
            super().__init__()
            self.input_layernorm = RMSNorm(shape.hidden, shape.norm_eps)
            self.self_attn = Attention(shape)
            self.post_attention_layernorm = RMSNorm(shape.hidden, shape.norm_eps)
            self.mlp = FeedForward(shape)
            self.dropout = dropout

        def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
            branch = self.self_attn(self.input_layernorm(x), cos, sin)
            x = x + F.dropout(branch, self.dropout, self.training)
            branch = self.mlp(self.post_attention_layernorm(x))
            return x + F.dropout(branch, self.dropout, self.training)

    class Decoder(nn.Module):
        """Embedding, layers and final norm."""

        def __init__(self, shape: Shape, dropout: float) -> None:
            super().__init__()
            self.embed_tokens = nn.Embedding(shape.vocab, shape.hidden)
            self.layers = nn.ModuleList(Block(shape, dropout) for _ in range(shape.layers))
            self.norm = RMSNorm(shape.hidden, shape.norm_eps)
            self.dropout = dropout
            steps = torch.arange(0, shape.head_dim, 2).float() / shape.head_dim
            angles = torch.outer(torch.arange(shape.context).float(), shape.rope_theta ** -steps)
            angles = torch.cat((angles, angles), dim=-1)
            self.register_buffer("cos", angles.cos(), persistent=False)
            self.register_buffer("sin", angles.sin(), persistent=False)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            cos, sin = self.cos[:ids.shape[1]], self.sin[:ids.shape[1]]
            x = F.dropout(self.embed_tokens(ids), self.dropout, self.training)
            for layer in self.layers:
                x = layer(x, cos, sin)
            return self.norm(x)

    class Llama(nn.Module):
        """Llama with the output projection tied to the embedding."""

        def __init__(self, shape: Shape, dropout: float) -> None:
            super().__init__()
            self.shape = shape
            self.model = Decoder(shape, dropout)
            for name, weight in self.named_parameters():
                if weight.dim() == 2:
                    deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                    std = 0.02 / math.sqrt(2 * shape.layers) if deep else 0.02
                    nn.init.normal_(weight, std=std)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            """Logits of shape (batch, length, vocabulary)."""
            return F.linear(self.model(ids), self.model.embed_tokens.weight)

    class Ensemble(nn.Module):
        """Several models as one: the mean of their distributions."""

        def __init__(self, members: list[Llama]) -> None:
            super().__init__()
            self.members = nn.ModuleList(members)
            self.requires_grad_(False).eval()

        def probabilities(self, ids: torch.Tensor) -> torch.Tensor:
            """Next-token probabilities, float32, of shape (batch, length, vocabulary)."""
            total = sum(F.softmax(member(ids).float(), dim=-1) for member in self.members)
            return total / len(self.members)

    # -----------------------------------------------------------------------------------
    # Optimizer
    # -----------------------------------------------------------------------------------

    def orthogonalise(update: torch.Tensor, steps: int = 5) -> torch.Tensor:
        """Nearest semi-orthogonal matrices of a stack (count, rows, columns), roughly.

        Newton-Schulz iteration with a quintic polynomial: singular values end near 1.
        """
        a, b, c = 3.4445, -4.7750, 2.0315
        x = update.bfloat16() if update.is_cuda else update.float()
        tall = x.shape[-2] > x.shape[-1]
        x = x.mT if tall else x
        x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
        for _ in range(steps):
            gram = x @ x.mT
            x = a * x + (b * gram + c * gram @ gram) @ x
        return (x.mT if tall else x).to(update.dtype)

    class Muon:
        """Momentum with orthogonalised updates for the matrices inside the layers.

        The update is scaled to the size that Adam's would have, so both optimizers
        share one learning rate.
        """

        def __init__(self, weights: list[nn.Parameter], decay: float, momentum: float = 0.95):
            self.decay, self.momentum = decay, momentum
            by_shape: dict[tuple[int, ...], list[nn.Parameter]] = {}
            for weight in weights:
                by_shape.setdefault(tuple(weight.shape), []).append(weight)
            self.groups = [(ws, torch.zeros(len(ws), *size, device=ws[0].device))
                           for size, ws in by_shape.items()]

        @torch.no_grad()
        def step(self, rate: float) -> None:
            for weights, buffer in self.groups:
                gradient = torch.stack([w.grad for w in weights])
                buffer.lerp_(gradient, 1 - self.momentum)
                update = orthogonalise(gradient.lerp(buffer, self.momentum))
                scale = 0.2 * math.sqrt(max(buffer.shape[-2:]))
                torch._foreach_mul_(weights, 1 - rate * self.decay)
                torch._foreach_add_(weights, list(update.unbind(0)), alpha=-rate * scale)

    class Optimizer:
        """Muon for the layers' matrices, AdamW for embedding and norms."""

        def __init__(self, model: Llama, decay: float) -> None:
            named = list(model.named_parameters())
            inner = [w for n, w in named if w.dim() == 2 and "embed" not in n]
            norms = [w for _, w in named if w.dim() == 1]
            self.muon = Muon(inner, decay)
            self.adam = torch.optim.AdamW(
                [{"params": [model.model.embed_tokens.weight], "weight_decay": decay},
                 {"params": norms, "weight_decay": 0.0}],
                betas=(0.9, 0.95), eps=1e-8, fused=inner[0].is_cuda)
            self.weights = [w for _, w in named]

        def step(self, rate: float) -> None:
            """One update at learning rate `rate`; clears the gradients."""
            nn.utils.clip_grad_norm_(self.weights, 1.0)
            self.muon.step(rate)
            for group in self.adam.param_groups:
                group["lr"] = rate
            self.adam.step()
            for weight in self.weights:
                weight.grad = None


# ---------------------------------------------------------------------------------------
# Data on the device
# ---------------------------------------------------------------------------------------

class Stream:
    """Pieces of one tier as one run of tokens, and where a window may start.

    A window starts at the beginning of a piece or of a paragraph; its first token is
    always BOS, as in generation.
    """

    def __init__(self, pieces: list[list[int]], breaks: set[int], context: int, device: str):
        tokens: list[int] = []
        openings: list[int] = []
        for ids in pieces:
            openings.append(len(tokens))
            tokens.extend([BOS_ID, *ids, EOS_ID])
        while tokens and len(tokens) < 2 * context + 2:
            tokens.extend(tokens)
        last = len(tokens) - context - 1
        paragraphs = [i for i, t in enumerate(tokens) if i <= last and (t in breaks or t == BOS_ID)]
        self.size = len(tokens)
        self.context = context
        self.tokens = torch.tensor(tokens, dtype=torch.int32, device=device)
        self.openings = torch.tensor([i for i in openings if i <= last] or [0], device=device)
        self.paragraphs = torch.tensor(paragraphs or [0], device=device)

    def windows(self, starts: torch.Tensor) -> torch.Tensor:
        """Token ids (len(starts), context + 1)."""
        offsets = torch.arange(self.context + 1, device=self.tokens.device)
        ids = self.tokens[starts[:, None] + offsets].long()
        ids[:, 0] = BOS_ID
        return ids

    def sample(self, count: int, opening_share: float = 0.1) -> torch.Tensor:
        """Random windows, a share of them from the openings of pieces."""
        first = round(count * opening_share)
        device = self.tokens.device
        picks = [self.openings[torch.randint(len(self.openings), (first,), device=device)],
                 self.paragraphs[torch.randint(len(self.paragraphs), (count - first,), device=device)]]
        return self.windows(torch.cat(picks))

    def fixed(self, count: int) -> torch.Tensor:
        """Evenly spread windows, the same on every call."""
        index = torch.linspace(0, len(self.paragraphs) - 1, min(count, len(self.paragraphs)))
        return self.windows(self.paragraphs[index.long().to(self.tokens.device)])


@dataclass
class Data:
    """Training and validation streams of both tiers."""

    easy: Stream
    rest: Stream
    easy_held_out: Stream
    rest_held_out: Stream

    def batch(self, count: int, easy_share: float) -> torch.Tensor:
        """A training batch with `easy_share` of its windows from the easy books."""
        easy = round(count * easy_share)
        return torch.cat((self.easy.sample(easy), self.rest.sample(count - easy)))


def encode_corpus(pieces: list[Piece], tokenizer, context: int, device: str) -> Data:
    """Tokenize all pieces and sort them into the four streams."""
    breaks = {i for t, i in tokenizer.get_vocab().items() if t.endswith("\u010a")}
    encoded = tokenizer.encode_batch([p.text for p in pieces], add_special_tokens=False)
    parts: dict[tuple[bool, bool], list[list[int]]] = {}
    for index, (piece, encoding) in enumerate(zip(pieces, encoded)):
        parts.setdefault((piece.easy, is_held_out(piece, index)), []).append(encoding.ids)
    for group in parts.values():
        random.Random(7).shuffle(group)

    def stream(easy: bool, held_out: bool) -> Stream:
        return Stream(parts.get((easy, held_out)) or parts[(easy, False)][:1],
                      breaks, context, device)
    return Data(stream(True, False), stream(False, False), stream(True, True), stream(False, True))


# ---------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------

@dataclass
class Recipe:
    """How one model is trained. `minutes` is wall clock after compilation."""

    minutes: float
    batch: int                  # windows per step
    rate: float = 4e-3          # peak learning rate
    decay: float = 0.3          # weight decay
    dropout: float = 0.1
    ema: float = 0.99           # decay of the averaged weights, per step
    max_epochs: float = 50.0    # stop after this many times the tokens of the corpus
    distil: float = 1.0         # with teachers: their weight in the loss, the text has the rest
    seed: int = 1
    compile: bool = True
    eval_windows: int = 96      # per tier


@dataclass
class History:
    """What a run did, for the log and the loss curve."""

    points: list[dict[str, float | None]] = field(default_factory=list)
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    tokens_per_second: float = 0.0


def learning_rate(progress: float, peak: float) -> float:
    """Warm-up 2 %, flat, then linear to 2 % of the peak over the last 55 %."""
    if progress < 0.02:
        return peak * max(progress / 0.02, 0.02)
    return peak * min(1.0, 0.02 + 0.98 * (1.0 - progress) / 0.55)


def easy_share(progress: float) -> float:
    """Share of windows from the easy books: near their share of the text, double at the end."""
    return 0.25 if progress < 0.7 else 0.25 + 0.25 * (progress - 0.7) / 0.3


def autocast(device: str):
    """bfloat16 arithmetic on a GPU; float32 on a CPU."""
    return torch.autocast("cuda", torch.bfloat16, enabled=device == "cuda")


def cross_entropy(logits, targets):
    """Mean negative log-likelihood, nats per token."""
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def validation_loss(model, windows, device: str) -> float:
    """Mean loss over fixed windows, nats per token."""
    was_training = model.training
    model.eval()
    total = 0.0
    with torch.no_grad(), autocast(device):
        for part in windows.split(16):
            total += cross_entropy(model(part[:, :-1]), part[:, 1:]).item() * len(part)
    model.train(was_training)
    return total / len(windows)


class Averaged:
    """Exponential moving average of a model's weights, and the best snapshot of it."""

    def __init__(self, model, decay: float) -> None:
        self.weights = list(model.parameters())
        self.average = [w.detach().clone() for w in self.weights]
        self.decay = decay
        self.best_loss = math.inf
        self.best: list = self.average

    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, [w.detach() for w in self.weights], 1 - decay)

    def evaluate(self, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Measure with the averaged weights in place; remember them if they are best.

        Best is the smallest mean over the tiers.
        """
        kept = [w.detach().clone() for w in self.weights]
        self.install(self.average)
        losses = measure()
        self.install(kept)
        score = sum(losses.values()) / len(losses)
        if score < self.best_loss:
            self.best_loss = score
            self.best = [w.clone() for w in self.average]
        return losses

    def install(self, source: list) -> None:
        with torch.no_grad():
            torch._foreach_copy_(self.weights, source)


def make_loss(model, teachers, recipe: Recipe, device: str):
    """Function from windows to (training loss, cross entropy).

    With teachers the loss pulls the model towards their mean distribution.
    """
    def loss(windows):
        inputs, targets = windows[:, :-1], windows[:, 1:]
        with autocast(device):
            logits = model(inputs)
        plain = cross_entropy(logits, targets)
        if teachers is None:
            return plain, plain.detach()
        with torch.no_grad(), autocast(device):
            wanted = teachers.probabilities(inputs)
        soft = -(wanted * F.log_softmax(logits.float(), dim=-1)).sum(-1).mean()
        return recipe.distil * soft + (1 - recipe.distil) * plain, plain.detach()
    return loss


def compiled(function, warm_up: Callable, wanted: bool):
    """torch.compile if it works here, otherwise the function itself."""
    if wanted:
        try:
            torch._dynamo.reset()
            candidate = torch.compile(function)
            warm_up(candidate)
            return candidate
        except Exception as error:  # compilation is only an optimisation
            print(f"torch.compile failed, going on without: {str(error)[:300]}", flush=True)
    warm_up(function)
    return function


def fit(name: str, shape: Shape, data: Data, recipe: Recipe, device: str, teachers=None):
    """Train one model within its wall-clock budget; returns (model, history)."""
    torch.manual_seed(recipe.seed)
    model = Llama(shape, recipe.dropout).to(device)
    model.train()
    optimizer = Optimizer(model, recipe.decay)
    average = Averaged(model, recipe.ema)
    held_out = {"easy": data.easy_held_out.fixed(recipe.eval_windows),
                "rest": data.rest_held_out.fixed(recipe.eval_windows)}

    def warm_up(function) -> None:
        function(data.batch(recipe.batch, 0.5))[0].backward()
        for weight in model.parameters():
            weight.grad = None
    began = time.monotonic()
    loss_of = compiled(make_loss(model, teachers, recipe, device), warm_up, recipe.compile)
    print(f"{name}: {shape.parameters():,} parameters, ready after "
          f"{time.monotonic() - began:.0f} s, training {recipe.minutes:.2f} min", flush=True)

    history = History()
    budget = recipe.minutes * 60
    token_limit = recipe.max_epochs * (data.easy.size + data.rest.size)
    per_step = recipe.batch * shape.context
    began, next_eval, recent = time.monotonic(), 0.0, []
    progress = 0.0
    while True:
        if progress >= next_eval:
            losses = average.evaluate(lambda: {
                tier: validation_loss(model, ids, device) for tier, ids in held_out.items()})
            train = round(float(torch.stack(recent).mean()), 4) if recent else None
            point = {"step": history.steps, "tokens": history.tokens,
                     "seconds": round(time.monotonic() - began, 1), "train": train,
                     "easy": round(losses["easy"], 4), "rest": round(losses["rest"], 4)}
            history.points.append(point)
            print(f"{name}: {progress:6.1%} {json.dumps(point)}", flush=True)
            recent, next_eval = [], min(1.0, next_eval + 1 / 30)
        if progress >= 1.0:
            break
        value, plain = loss_of(data.batch(recipe.batch, easy_share(progress)))
        value.backward()
        optimizer.step(learning_rate(progress, recipe.rate))
        history.steps += 1
        history.tokens += per_step
        average.update(history.steps)
        recent.append(plain)
        if device == "cuda" and history.steps % 20 == 0:
            torch.cuda.synchronize()  # keep the clock honest
        progress = min(1.0, max((time.monotonic() - began) / budget,
                                history.tokens / token_limit, progress))
    history.seconds = round(time.monotonic() - began, 1)
    history.tokens_per_second = round(history.tokens / history.seconds)
    average.install(average.best)
    model.eval()
    return model, history


# ---------------------------------------------------------------------------------------
# Export
# ---------------------------------------------------------------------------------------

PROMPTS = (
    "Once upon a time", "The little rabbit", "One day, the king", "There was once a poor woodcutter who",
    "The old house stood at the end of the lane.", "\"Where are you going?\" asked the girl.",
    "In the middle of the forest", "The fox looked at the hen and said,",
    "It was a cold winter night, and", "",
)


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def export(model, shape: Shape, tokenizer, out: Path) -> None:
    """Write weights (bfloat16), configuration and tokenizer as Hugging Face files."""
    from safetensors.torch import save_file
    out.mkdir(parents=True, exist_ok=True)
    weights = {n: w.detach().to("cpu", torch.bfloat16).contiguous()
               for n, w in model.named_parameters()}
    save_file(weights, str(out / "model.safetensors"), metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    write_json(out / "config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "vocab_size": shape.vocab, "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim, "max_position_embeddings": shape.context,
        "rope_theta": shape.rope_theta, "rms_norm_eps": shape.norm_eps, "hidden_act": "silu",
        "attention_bias": False, "mlp_bias": False, "attention_dropout": 0.0,
        "initializer_range": 0.02, "tie_word_embeddings": True, "use_cache": True,
        "bos_token_id": BOS_ID, "eos_token_id": EOS_ID, "torch_dtype": "bfloat16"})
    write_json(out / "generation_config.json", {
        "bos_token_id": BOS_ID, "eos_token_id": EOS_ID, "do_sample": True,
        "temperature": 0.8, "top_p": 0.95, "repetition_penalty": 1.15})
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    special = {str(i): {"content": t, "lstrip": False, "normalized": False, "rstrip": False,
                        "single_word": False, "special": True}
               for i, t in ((BOS_ID, BOS), (EOS_ID, EOS))}
    write_json(out / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": special,
        "bos_token": BOS, "eos_token": EOS, "clean_up_tokenization_spaces": False,
        "model_max_length": shape.context, "chat_template": CHAT_TEMPLATE})
    write_json(out / "special_tokens_map.json", {"bos_token": BOS, "eos_token": EOS})


def check_export(model, data: Data, out: Path, device: str) -> tuple[dict[str, float], list[str]]:
    """Load the folder with transformers, compare with the trained model, measure the loss.

    Returns the losses of the bfloat16 weights and what is wrong, if anything.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    problems = []
    tokenizer = AutoTokenizer.from_pretrained(out)
    for text in ("Once upon a time", "  two  spaces\n\ttab", "caf\u00e9 \u4f60\u597d \U0001f409\u200d!",
                 "don't 12345 -- \"No!\"\n\n\nEnd ", "\x00\x7f\r\n<|end"):
        ids = tokenizer.encode(text)
        if ids[0] != BOS_ID or tokenizer.decode(ids[1:]) != text:
            problems.append(f"the tokenizer does not give back {text!r}")
    torch.set_float32_matmul_precision("highest")
    exact = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).to(device).eval()
    part = data.easy_held_out.fixed(4)[:, :-1]
    rounded = Llama(model.shape, 0.0).to(device).eval()
    rounded.load_state_dict({n: w.bfloat16().float() for n, w in model.state_dict().items()})
    with torch.no_grad():
        gap = (exact(part).logits - rounded(part)).abs().max().item()
    if not gap < 2e-2:
        problems.append(f"logits of transformers and of this script differ by {gap}")
    served = AutoModelForCausalLM.from_pretrained(out, dtype=torch.bfloat16).to(device).eval()
    losses = {"largest_logit_difference": round(gap, 6)}
    for tier, stream in (("easy", data.easy_held_out), ("rest", data.rest_held_out)):
        total, windows = 0.0, stream.fixed(256 if device == "cuda" else 16)
        with torch.no_grad():
            for ids in windows.split(16):
                total += cross_entropy(served(ids[:, :-1]).logits, ids[:, 1:]).item() * len(ids)
        losses[f"bf16_{tier}"] = round(total / len(windows), 4)
    return losses, problems


def write_samples(out: Path, device: str, tokens: int, per_prompt: int) -> list[dict[str, str]]:
    """Continue the prompts at temperature 0.8, top-p 0.95, with transformers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    torch.manual_seed(42)
    tokenizer = AutoTokenizer.from_pretrained(out)
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.bfloat16).to(device).eval()
    samples = []
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer.encode(prompt)], device=device)
        result = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=0.8, top_p=0.95,
            top_k=0, max_new_tokens=tokens, num_return_sequences=per_prompt, pad_token_id=EOS_ID)
        samples.extend({"prompt": prompt, "text": tokenizer.decode(row, skip_special_tokens=True)}
                       for row in result)
    write_json(out / "samples.json", samples)
    return samples


def loss_curve(points: list[dict[str, float]], title: str) -> str:
    """The loss curve as a small stand-alone SVG."""
    width, height, left, top, right, bottom = 640, 360, 56, 34, 16, 44
    series = (("train", "#888888", "training batches"), ("rest", "#c2571a", "held out, all books"),
              ("easy", "#1b6ca8", "held out, easy books"))
    points = [p for p in points if p["step"] > 0]
    values = [p[k] for p in points for k, _, _ in series]
    low, high = math.floor(min(values) * 4) / 4, min(math.ceil(max(values) * 4) / 4, 6.0)
    high = max(high, low + 0.25)
    last = max(p["tokens"] for p in points) / 1e6

    def x(p: dict[str, float]) -> float:
        return left + (width - left - right) * p["tokens"] / 1e6 / last

    def y(value: float) -> float:
        return top + (height - top - bottom) * (high - min(value, high)) / (high - low)
    body = [f'<text x="{left}" y="20" font-size="14">{title}</text>']
    ticks = 5
    for i in range(ticks + 1):
        value, tokens = low + (high - low) * i / ticks, last * i / ticks
        at = left + (width - left - right) * i / ticks
        body.append(f'<line x1="{left}" x2="{width - right}" y1="{y(value):.1f}" y2="{y(value):.1f}" '
                    f'stroke="#dddddd"/><text x="{left - 6}" y="{y(value) + 4:.1f}" '
                    f'text-anchor="end">{value:.2f}</text>')
        body.append(f'<text x="{at:.1f}" y="{height - bottom + 18}" text-anchor="middle">{tokens:.3g}</text>')
    for row, (key, colour, label) in enumerate(series):
        line = " ".join(f"{x(p):.1f},{y(p[key]):.1f}" for p in points)
        body.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        body.append(f'<text x="{width - right - 4}" y="{top + 16 + 16 * row}" text-anchor="end" '
                    f'fill="{colour}">{label}</text>')
    body.append(f'<text x="{(left + width - right) / 2}" y="{height - 8}" text-anchor="middle">'
                'million tokens seen (loss in nats per token)</text>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">\n'
            f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(body) + "\n</svg>\n")


# ---------------------------------------------------------------------------------------
# README
# ---------------------------------------------------------------------------------------

README = """# tiny-tales

A very small language model that tells stories: {millions:.2f} million parameters, Llama
architecture, its own tokenizer, {megabytes:.1f} MB of bfloat16 weights. It exists so that
vdist can be tried, tested and benchmarked without a download. It was trained from nothing
on old books in English only: it knows how such books sound, but no facts, it loses the thread
after a few sentences, and it is no assistant.

The folder is a plain Hugging Face model; `AutoModelForCausalLM` and `AutoTokenizer` of
transformers load it unchanged. Suggested sampling: temperature 0.8, top-p 0.95, repetition penalty 1.15 (also in
`generation_config.json`); temperature 0.9 repeats itself less. The chat template joins the
messages: a conversation is the story so far, and the model goes on with it.

## Architecture

| | |
|---|---|
| architecture | `LlamaForCausalLM`, tied embeddings |
| parameters | {parameters:,} |
| layers | {layers} |
| hidden size | {hidden} |
| feed-forward size | {intermediate} (SwiGLU) |
| attention heads | {heads} query, {kv_heads} key/value, head size {head_dim} |
| positions | rotary, theta {rope_theta:g}, context {context} tokens |
| normalisation | RMSNorm, epsilon {norm_eps:g} |
| vocabulary | {vocab} byte-level BPE tokens; `<\\|bos\\|>` = 0, `<\\|end\\|>` = 1 |
| weights | bfloat16, one `model.safetensors`, {file_bytes:,} bytes |

## Training

| | |
|---|---|
| date | {date} |
| machine | {machine} |
| software | {software} |
| text | {books} books, {characters:.1f} million characters, {corpus_tokens:.1f} million tokens |
| seen in training | {tokens:.0f} million tokens in {steps:,} steps, {seconds:.0f} s |
| validation loss, easy books | {bf16_easy:.3f} nats per token (bfloat16 weights) |
| validation loss, other books | {bf16_rest:.3f} nats per token (bfloat16 weights) |

About {held_out:.1f} % of the text, whole chapters and tales, was held out for the validation
loss. Children's stories and fairy tales are drawn a little more often than their length alone
would have it, and twice as often towards the end. Matrices are trained with Muon, the embedding
and the norms with AdamW; the released weights are a running average.{distilled}

![Loss curve](loss.svg)

All figures of the run are in `training.json`.

## Samples

Temperature 0.8, top-p 0.95, {sample_note}. The prompt is in bold.

{samples}

## Train it again

With one GPU, from a folder of the books as Markdown files:

```sh
python3 examples/models/train.py train --books BOOKS --out examples/models/tiny-tales{options}
```

With `--preset mini --teachers 0 --minutes 0.5` it does everything in miniature on a CPU.
Wall clock decides when training ends, so two runs give similar weights, not equal ones.

## Sources and licence

The weights are under the MIT licence, like vdist itself. Every book of the training text
was first published in 1926 or earlier and is in the public domain in the United States; the
Markdown editions come from the collection `mlschmitt/classic-books-markdown` on GitHub
(commit `944882722e9a`).

{corpus}
"""


def corpus_list(books: list[dict[str, object]]) -> str:
    """Authors and titles, easy books marked, as a Markdown list."""
    authors: dict[str, list[str]] = {}
    for book in books:
        star = "*" if book["easy"] else ""
        authors.setdefault(str(book["author"]), []).append(f"{star}{book['title']}{star}")
    lines = [f"- {author} (public domain): {'; '.join(titles)}"
             for author, titles in sorted(authors.items())]
    return "\n".join(lines) + "\n\nTitles in italics are the easy English."


def quote_sample(sample: dict[str, str]) -> str:
    """A sample as a Markdown quotation with its prompt in bold."""
    rest = sample["text"][len(sample["prompt"]):]
    cut = max(rest.rfind(mark) + len(mark) for mark in (".", "!", "?", '."', '!"', '?"'))
    rest = rest[:cut] if cut > 80 else rest
    text = f"**{sample['prompt']}**{rest}" if sample["prompt"] else rest
    text = text.replace("*" * 4, "")
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def write_readme(out: Path, chosen: list[int]) -> None:
    """README.md from training.json and samples.json of a model folder."""
    log = json.loads((out / "training.json").read_text(encoding="utf-8"))
    samples = json.loads((out / "samples.json").read_text(encoding="utf-8"))
    shape, history = Shape(**log["shape"]), log["student"]
    chosen = chosen or list(range(0, len(samples), log["samples_per_prompt"]))[:3]
    size = (out / "model.safetensors").stat().st_size
    teachers = log["teachers"]
    distilled = "" if not teachers else (
        f"\nThe target is not the text itself but the mean prediction of {len(teachers)} larger "
        f"model{'s' * (len(teachers) > 1)}\n({teachers[0]['parameters'] / 1e6:.0f} million parameters"
        f"{' each' * (len(teachers) > 1)}) that the same run first trains on the same text and then discards.")
    text = README.format(
        millions=shape.parameters() / 1e6, megabytes=size / 1e6, parameters=shape.parameters(),
        head_dim=shape.head_dim, file_bytes=size, date=log["date"], machine=log["machine"],
        software=", ".join(f"{k} {v}" for k, v in log["versions"].items()),
        books=len(log["books"]), characters=log["characters"] / 1e6,
        corpus_tokens=log["corpus_tokens"] / 1e6, tokens=history["tokens"] / 1e6,
        steps=history["steps"], seconds=history["seconds"],
        bf16_easy=log["losses"]["bf16_easy"], bf16_rest=log["losses"]["bf16_rest"],
        held_out=100 * log["held_out_tokens"] / (log["corpus_tokens"] + log["held_out_tokens"]),
        distilled=distilled, options=log["options"],
        sample_note=f"chosen from the {len(samples)} in `samples.json` "
                    f"(numbers {', '.join(map(str, chosen))})",
        samples="\n\n---\n\n".join(quote_sample(samples[i]) for i in chosen),
        corpus=corpus_list(log["books"]), **asdict(shape))
    (out / "README.md").write_text(text, encoding="utf-8")


# ---------------------------------------------------------------------------------------
# Command line
# ---------------------------------------------------------------------------------------

def book_table(pieces: list[Piece]) -> list[dict[str, object]]:
    """Author, title, tier and size of each book."""
    table: dict[tuple[str, str], dict[str, object]] = {}
    for piece in pieces:
        row = table.setdefault((piece.author, piece.book), {
            "author": piece.author, "title": piece.book, "easy": piece.easy, "characters": 0})
        row["characters"] += len(piece.text)
    return list(table.values())


def command_prepare(args: argparse.Namespace) -> None:
    pieces = read_books(args.books)
    save_corpus(pieces, args.corpus)
    easy = sum(len(p.text) for p in pieces if p.easy)
    total = sum(len(p.text) for p in pieces)
    print(f"{len(book_table(pieces))} books, {len(pieces)} pieces, {total:,} characters, "
          f"{easy:,} of them easy; {args.corpus} has {args.corpus.stat().st_size:,} bytes")


def machine_name(device: str) -> str:
    """The accelerator's name, or the processor's kind."""
    return torch.cuda.get_device_name(0) if device == "cuda" else f"CPU ({platform.machine()})"


def versions() -> dict[str, str]:
    import safetensors
    import tokenizers
    import transformers
    return {"python": platform.python_version(), "torch": torch.__version__,
            "transformers": transformers.__version__, "tokenizers": tokenizers.__version__,
            "safetensors": safetensors.__version__}


def command_train(args: argparse.Namespace) -> None:
    if torch is None:
        raise SystemExit(f"training needs torch: {TORCH_ERROR}")
    started = time.monotonic()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")
    mini = args.preset == "mini"
    shape = MINI if mini else STUDENT
    pieces = load_corpus(args.corpus) if args.corpus else read_books(args.books)
    if mini:
        pieces = pieces[::25]
    texts = [p.text for i, p in enumerate(pieces) if not is_held_out(p, i)]
    tokenizer = train_tokenizer(iter(texts), shape.vocab)
    shape = replace(shape, vocab=tokenizer.get_vocab_size())
    data = encode_corpus(pieces, tokenizer, shape.context, device)
    corpus_tokens = data.easy.size + data.rest.size
    print(f"{time.monotonic() - started:.0f} s: {data.easy.size:,} easy and {data.rest.size:,} other "
          f"tokens, held out {data.easy_held_out.size:,} and {data.rest_held_out.size:,}; "
          f"{machine_name(device)}", flush=True)

    def minutes_left(wanted: float, reserve: float) -> float:
        """`wanted`, shortened so that `reserve` minutes remain before the deadline."""
        elapsed = (time.monotonic() - started) / 60
        return max(0.05, min(wanted, args.deadline_minutes - reserve - elapsed))
    batch = 4 if mini else args.batch
    common = Recipe(minutes=args.minutes, batch=batch, rate=args.rate, decay=args.decay,
                    max_epochs=args.max_epochs, compile=not args.no_compile and device == "cuda",
                    eval_windows=8 if mini else 96)
    big = replace(MINI if mini else TEACHER, vocab=shape.vocab)
    members, teacher_logs = [], []
    for number in range(1, args.teachers + 1):
        plan = replace(common, minutes=minutes_left(args.teacher_minutes, 4.0), seed=number,
                       dropout=args.teacher_dropout, rate=args.teacher_rate,
                       decay=args.teacher_decay, max_epochs=args.teacher_epochs)
        member, past = fit(f"teacher {number}", big, data, plan, device)
        members.append(member)
        teacher_logs.append({"shape": asdict(big), "parameters": big.parameters(),
                             "recipe": asdict(plan), **asdict(past)})
    teachers = Ensemble(members) if members else None
    dropout = args.dropout if args.dropout is not None else (0.0 if teachers else 0.1)
    plan = replace(common, dropout=dropout, minutes=minutes_left(args.minutes, 1.4))
    model, history = fit("student", shape, data, plan, device, teachers)

    export(model, shape, tokenizer, args.out)
    losses, problems = check_export(model, data, args.out, device)
    print(f"exported: {json.dumps(losses)}", flush=True)
    options = f" \\\n  --minutes {plan.minutes:.1f}" + "".join(
        f" --{name.replace('_', '-')} {getattr(args, name):g}"
        for name in ("teachers", "teacher_minutes", "batch", "rate", "decay", "dropout",
                     "max_epochs", "teacher_rate", "teacher_decay", "teacher_dropout",
                     "teacher_epochs")
        if getattr(args, name) != args.defaults[name])
    write_json(args.out / "training.json", {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "machine": machine_name(device), "versions": versions(), "options": options,
        "parameters": shape.parameters(), "shape": asdict(shape), "recipe": asdict(plan),
        "losses": losses, "corpus_tokens": corpus_tokens,
        "held_out_tokens": data.easy_held_out.size + data.rest_held_out.size,
        "characters": sum(len(p.text) for p in pieces), "samples_per_prompt": args.samples,
        "student": asdict(history), "teachers": teacher_logs, "books": book_table(pieces)})
    (args.out / "loss.svg").write_text(loss_curve(history.points, "tiny-tales: loss"), encoding="utf-8")
    for index, sample in enumerate(write_samples(args.out, device, 40 if mini else 200, args.samples)):
        print(f"--- sample {index}\n{sample['text']}", flush=True)
    write_readme(args.out, [])
    print(f"done after {time.monotonic() - started:.0f} s: {args.out}", flush=True)
    if problems:
        raise SystemExit("PROBLEMS: " + "; ".join(problems))


def command_readme(args: argparse.Namespace) -> None:
    write_readme(args.model, args.samples)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)

    prepare = commands.add_parser("prepare", help="clean the books into one corpus file")
    prepare.add_argument("--books", type=Path, required=True, help="folder of *.md books")
    prepare.add_argument("--corpus", type=Path, required=True, help="file to write (.jsonl.xz)")
    prepare.set_defaults(run=command_prepare)

    train = commands.add_parser("train", help="train and export the model")
    source = train.add_mutually_exclusive_group(required=True)
    source.add_argument("--books", type=Path, help="folder of *.md books")
    source.add_argument("--corpus", type=Path, help="file that `prepare` wrote")
    train.add_argument("--out", type=Path, required=True, help="model folder to write")
    train.add_argument("--preset", choices=("full", "mini"), default="full")
    train.add_argument("--minutes", type=float, default=5.0, help="training time of the model")
    train.add_argument("--teachers", type=int, default=2,
                       help="larger models to train first and to distil (0: learn from the text)")
    train.add_argument("--teacher-minutes", type=float, default=1.5, help="for each, at most")
    train.add_argument("--deadline-minutes", type=float, default=1e9,
                       help="shorten training so that the whole command ends within this time")
    train.add_argument("--batch", type=int, default=64, help="windows of 1024 tokens per step")
    train.add_argument("--rate", type=float, default=4e-3, help="peak learning rate")
    train.add_argument("--decay", type=float, default=0.3, help="weight decay")
    train.add_argument("--dropout", type=float, help="default 0.1, with teachers 0")
    train.add_argument("--max-epochs", type=float, default=40.0,
                       help="end earlier after so many times the tokens of the corpus")
    train.add_argument("--teacher-rate", type=float, default=2e-3)
    train.add_argument("--teacher-decay", type=float, default=1.0)
    train.add_argument("--teacher-dropout", type=float, default=0.25)
    train.add_argument("--teacher-epochs", type=float, default=8.0)
    train.add_argument("--samples", type=int, default=4, help="samples per prompt")
    train.add_argument("--no-compile", action="store_true")
    train.set_defaults(run=command_train, defaults={
        a.dest: a.default for a in train._actions if a.default is not argparse.SUPPRESS})

    readme = commands.add_parser("readme", help="write README.md again with chosen samples")
    readme.add_argument("--model", type=Path, required=True)
    readme.add_argument("--samples", type=int, nargs="*", default=[], help="numbers in samples.json")
    readme.set_defaults(run=command_readme)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    arguments.run(arguments)
