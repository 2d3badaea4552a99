#!/usr/bin/env python3
"""Records what the Hugging Face tokenizers library does, for tests/runtime/text/oracle_test.cpp.

Writes, next to this file:
  bytes.json, characters.json   two tiny tokenizer.json files, trained here on the sentences below
  oracle.jsonl                  line 1: the library's version; then per case one line {"case", "base", "patch"}
                                (patch: members of tokenizer.json that replace the base's; "model": members of the
                                model), followed by its samples {"text", "add", "ids"} and {"ids", "skip", "decoded"}

Run with the `tokenizers` package installed: python3 record.py. Recording is deterministic for one library version.
"""
import copy
import json
import pathlib
import random

import tokenizers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).parent
MARK = "\u2581"

SENTENCES = [
    "The quick brown fox jumps over the lazy dog, and the dog doesn't mind.",
    "There is a time for many words, and there is also a time for sleep.",
    "We'll see what they've done: 123 apples, 4567 pears and 89 oranges!",
    "   indented code: for (int i = 0; i < 10; ++i) { total += values[i]; }",
    "She said that the other brother gathered feathers in the winter weather.",
    "caf\u00e9 na\u00efve r\u00e9sum\u00e9 \u00fcber stra\u00dfe \u0441\u043b\u043e\u0432\u043e \u043f\u0440\u0438\u0432\u0435\u0442 \u65e5\u672c\u8a9e \u4e2d\u6587",
    "the the the and and and ing ing tion tion er er in in on on re re",
    "Numbers 1 22 333 4444 55555 and words: tomorrow, together, another, nothing.",
]

TEXTS = [
    "",
    " ",
    "a",
    "The weather is nothing.",
    "  the  dog   doesn't\n\nmind\t\r\n now ",
    "We'LL see 12345678 apples\u00a0and\u3000pears",
    "caf\u00e9 cafe\u0301 \uac00 \u1100\u1161 \ufb01n \u212b \u0130stanbul \u1e9e",
    "\U0001f389\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f\u200d\U0001f308!",
    "<s>the<end>and </s> <end>  the",
    "the <pad> dog<pad>dog _word_ x_word_ _word_.",
    "for(int i=0;i<10;++i){a[i]=b_c[i]*2;} // !!??",
    MARK + "the" + MARK + MARK + "dog \u0120the",
    "\u65e5\u672c\u8a9e\u3068\u4e2d\u6587 mixed\u0e01\u0e33 \u0928\u092e\u0938\u094d\u0924\u0947",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "\u0000\u0001\u001f\u007f\u0085\u2028x",
]


def random_text(rng):
    parts = ["the", "and", " ", "  ", "\n", "'s", "1", "42", ".", "--", "\u00e9", "e\u0301", "\u4e2d", "\U0001f600",
             "ing", "Tion", "\t", "<end>", "<s>", "_word_", MARK, "\u00a0", "there", "x"]
    return "".join(rng.choice(parts) for _ in range(rng.randint(1, 14)))


def added(content, **flags):
    token = {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": True}
    token.update(flags)
    return token


def train(pre_tokenizer, alphabet, size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return json.loads(tokenizer.to_str())


def with_added(base, tokens):
    next_id = len(base["model"]["vocab"])
    base["added_tokens"] = []
    for token in tokens:
        known = base["model"]["vocab"].get(token["content"])
        if known is None:
            known, next_id = next_id, next_id + 1
        base["added_tokens"].append({"id": known, **token})
    base["added_tokens"].sort(key=lambda t: t["id"])
    return base


def make_bases():
    special = [added("<s>"), added("</s>", normalized=True), added("<end>", rstrip=True),
               added("<pad>", lstrip=True, special=False), added("_word_", single_word=True, normalized=True,
                                                                 special=False)]
    byte_base = train(pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.ByteLevel.alphabet(), 420)
    byte_base["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    character_base = train(pre_tokenizers.Metaspace(), [], 200)
    vocab = {"<unk>": 0}
    vocab.update({f"<0x{b:02X}>": b + 1 for b in range(256)})
    for text in character_base["model"]["vocab"]:
        vocab[text] = len(vocab)
    character_base["model"].update(vocab=vocab, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    return {"bytes": with_added(byte_base, special), "characters": with_added(character_base, special)}


def split(regex, behavior, invert=False):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


def sequence(kind, *steps):
    return {"type": "Sequence", kind: list(steps)}


BYTES_LAST = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
FALLBACK_DECODER = sequence("decoders", {"type": "Replace", "pattern": {"String": MARK}, "content": " "},
                            {"type": "ByteFallback"}, {"type": "Fuse"},
                            {"type": "Strip", "content": " ", "start": 1, "stop": 0})
SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": MARK}


def template(bos, bos_id):
    piece = {"SpecialToken": {"id": bos, "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {"type": "TemplateProcessing", "single": [piece, text], "pair": [piece, text, {"Sequence": {
        "id": "B", "type_id": 1}}], "special_tokens": {bos: {"id": bos, "ids": [bos_id], "tokens": [bos]}}}


def metaspace(scheme, does_split):
    return {"type": "Metaspace", "replacement": MARK, "prepend_scheme": scheme, "split": does_split}


def make_cases(bases):
    def id_of(base, content):
        return next(t["id"] for t in bases[base]["added_tokens"] if t["content"] == content)

    start, end = id_of("bytes", "<s>"), id_of("bytes", "</s>")
    cases = {
        "gpt2": ("bytes", {}),
        "gpt2_prefix_space": ("bytes", {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True,
                                                          "trim_offsets": True, "use_regex": True}}),
        "llama3": ("bytes", {"pre_tokenizer": sequence("pretokenizers", split(LLAMA3, "Isolated"), BYTES_LAST),
                             "model": {"ignore_merges": True}, "post_processor": sequence(
                                 "processors", {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False,
                                                "use_regex": True}, template("<s>", start))}),
        "qwen": ("bytes", {"normalizer": {"type": "NFC"}, "pre_tokenizer": sequence(
            "pretokenizers", split(LLAMA3.replace("{1,3}", ""), "Isolated"), BYTES_LAST)}),
        "deepseek": ("bytes", {"normalizer": sequence("normalizers"), "pre_tokenizer": sequence(
            "pretokenizers", split(r"\p{N}{1,3}", "Isolated"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
                                                                     "Isolated"),
            split(r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
                  r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+", "Isolated"), BYTES_LAST)}),
        "falcon": ("bytes", {"pre_tokenizer": sequence(
            "pretokenizers", {"type": "Punctuation", "behavior": "Contiguous"},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            {"type": "Digits", "individual_digits": False}, split("[0-9][0-9][0-9]", "Isolated"))}),
        "roberta": ("bytes", {"post_processor": {"type": "RobertaProcessing", "sep": ["</s>", end],
                                                 "cls": ["<s>", start], "trim_offsets": True,
                                                 "add_prefix_space": False}}),
        "nfkc_lower": ("bytes", {"normalizer": sequence(
            "normalizers", {"type": "NFKC"}, {"type": "Lowercase"},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Strip", "strip_left": True, "strip_right": True}), "pre_tokenizer": sequence(
                "pretokenizers", {"type": "Digits", "individual_digits": True}, BYTES_LAST)}),
        "nfd_accents": ("bytes", {"normalizer": sequence("normalizers", {"type": "NFD"}, {"type": "StripAccents"}),
                                  "pre_tokenizer": sequence("pretokenizers", {"type": "BertPreTokenizer"},
                                                            BYTES_LAST)}),
        "nfkd": ("bytes", {"normalizer": {"type": "NFKD"}, "pre_tokenizer": sequence(
            "pretokenizers", {"type": "Whitespace"}, BYTES_LAST)}),
        "llama2": ("characters", {"normalizer": sequence("normalizers", {"type": "Prepend", "prepend": MARK}, SPACES),
                                  "pre_tokenizer": None, "decoder": FALLBACK_DECODER,
                                  "post_processor": template("<s>", id_of("characters", "<s>"))}),
        "mistral": ("characters", {"pre_tokenizer": metaspace("first", False), "decoder": FALLBACK_DECODER}),
        "gemma": ("characters", {"normalizer": SPACES, "pre_tokenizer": {
            "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
            "decoder": sequence("decoders", *FALLBACK_DECODER["decoders"][:3])}),
        "metaspace_always": ("characters", {"pre_tokenizer": metaspace("always", True), "decoder": metaspace(
            "always", True), "model": {"byte_fallback": False}}),
        "metaspace_never": ("characters", {"pre_tokenizer": metaspace("never", True), "decoder": metaspace(
            "never", True), "model": {"byte_fallback": False, "fuse_unk": False}}),
        "no_decoder": ("characters", {"pre_tokenizer": {"type": "WhitespaceSplit"}, "decoder": None,
                                      "model": {"byte_fallback": False, "unk_token": None}}),
        "strip_decoder": ("characters", {"pre_tokenizer": {"type": "CharDelimiterSplit", "delimiter": "e"},
                                         "decoder": {"type": "Strip", "content": "t", "start": 1, "stop": 1}}),
    }
    for behavior in ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]:
        for invert in [False, True]:
            cases[f"split_{behavior}_{invert}"] = ("bytes", {"pre_tokenizer": sequence(
                "pretokenizers", split("[aeiou ]", behavior, invert), BYTES_LAST)})
    return cases


def patched(base, patch):
    spec = copy.deepcopy(base)
    for key, value in patch.items():
        if key == "model":
            spec["model"].update(value)
        else:
            spec[key] = value
    return spec


def main():
    rng = random.Random(20240501)
    bases = make_bases()
    for name, base in bases.items():
        (HERE / f"{name}.json").write_text(json.dumps(base, ensure_ascii=True) + "\n")
    lines = [{"library": "tokenizers " + tokenizers.__version__}]
    for name, (base, patch) in make_cases(bases).items():
        tokenizer = Tokenizer.from_str(json.dumps(patched(bases[base], patch)))
        lines.append({"case": name, "base": base, "patch": patch})
        size = tokenizer.get_vocab_size()
        for text in TEXTS + [random_text(rng) for _ in range(10)]:
            add = rng.random() < 0.5
            ids = tokenizer.encode(text, add_special_tokens=add).ids
            lines.append({"text": text, "add": add, "ids": ids})
        for i in range(8):
            skip = rng.random() < 0.5
            ids = [rng.randrange(size) for _ in range(rng.randint(1, 12))]
            if base == "characters":  # invalid runs of byte tokens are decoded differently, on purpose
                ids = tokenizer.encode(random_text(rng)).ids
            if ids and name != "strip_decoder" or i == 0:
                lines.append({"ids": ids, "skip": skip, "decoded": tokenizer.decode(ids, skip_special_tokens=skip)})
    (HERE / "oracle.jsonl").write_text("".join(json.dumps(line, ensure_ascii=True) + "\n" for line in lines))


if __name__ == "__main__":
    main()
