"""The tokenizer of the demo model: byte-level BPE over 256 bytes, split as llama.cpp's `qwen2` pre-tokenizer splits.

Merges are learned without the leading space, so a word has the same tokens in a sentence and in JSON, and copying is
copying tokens. It knows text only. Imported by `train.py` and `convert.py`; nothing to run here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

END, SYSTEM, USER, ASSISTANT = "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL = [END, SYSTEM, USER, ASSISTANT]
# https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp, LLAMA_VOCAB_PRE_TYPE_QWEN2
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BARE = r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s"
SPACE = "Ġ"


def learn(texts: Iterable[str], size: int, spaced: int, never_spaced: set[str]) -> dict[str, object]:
    """Vocabulary and merges. The last `spaced` merges glue a space to the commonest words that are never copied.

    They come last, so they cannot change how the word behind the space is cut, and they shorten prose by a third.
    """
    kept = list(texts)
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = _splitter(BARE)
    learner.train_from_iterator(
        kept,
        trainers.BpeTrainer(
            vocab_size=size - spaced - len(SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    learned = json.loads(learner.to_str())["model"]
    vocab: dict[str, int] = learned["vocab"]
    merges = [tuple(merge) for merge in learned["merges"]]
    counts: Counter[str] = Counter()
    for text in kept:
        counts.update(word for word in text.split(" ")[1:] if word.isalpha() and word not in never_spaced)
    common = [word for word, _ in counts.most_common(4 * spaced) if _as_token(word) in vocab][:spaced]
    for word in common:
        merges.append((SPACE, _as_token(word)))
        vocab[SPACE + _as_token(word)] = len(vocab)
    for token in SPECIAL:
        vocab[token] = len(vocab)
    return {"vocab": vocab, "merges": [list(merge) for merge in merges]}


def _as_token(word: str) -> str:
    return "".join(piece for piece, _ in pre_tokenizers.ByteLevel(False, use_regex=False).pre_tokenize_str(word))


def _splitter(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def load(path: Path) -> Tokenizer:
    """The tokenizer of a file that `learn` filled."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    tokenizer = Tokenizer(models.BPE(kept["vocab"], [tuple(merge) for merge in kept["merges"]]))
    tokenizer.pre_tokenizer = _splitter(QWEN2)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
