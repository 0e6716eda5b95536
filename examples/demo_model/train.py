"""Train the demo model from scratch on the generated rows, on two cores.

    nice -n 15 python -m examples.demo_model.train --out /tmp/demo_model

Writes tokenizer.json, shape.json and weights.pt to the folder; `--resume STEP` goes on from the weights there.
Seeds are fixed; it knows no engine and no GGUF.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from . import tokens
from .data import training
from .model import Llama, Shape
from .nouns import NOUNS
from .words import REAL

SEED = 1
BATCH_TOKENS = 6144
WARM_UP_STEPS, DECAY_FROM = 100, 1000
ECHO_STEPS, ECHO_SHARE, LATER_ECHO_SHARE = 510, 0.5, 0.02
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def learn_tokenizer(path: Path) -> Tokenizer:
    texts = [text for row in training(30_000, SEED, 0.05) for text in (*row.prompt, row.text)]
    copied = {word for noun in NOUNS for word in noun.split()} | set(REAL)
    path.write_text(json.dumps(tokens.learn(texts, size=1792, spaced=160, never_spaced=copied), ensure_ascii=False))
    return tokens.load(path)


def _encoded(tokenizer: Tokenizer, count: int, seed: int, echo: float) -> Iterator[tuple[list[int], int]]:
    """Token ids of whole conversations, and where the answer begins."""
    special = {token: tokenizer.token_to_id(token) for token in tokens.SPECIAL}
    rows = list(training(count, seed, echo))
    texts = [text for row in rows for text in (row.prompt[0], row.prompt[1].strip(), row.text)]
    ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
    for system, user, answer in zip(ids[0::3], ids[1::3], ids[2::3], strict=True):
        head = [special[tokens.SYSTEM], *system, special[tokens.USER], *user, special[tokens.ASSISTANT]]
        yield [*head, *answer, special[tokens.END]], len(head)


def batches(tokenizer: Tokenizer, steps: int) -> Iterator[Batch]:
    """`steps` batches: tokens, the flat positions whose next token is learned, and those next tokens."""
    end = tokenizer.token_to_id(tokens.END)
    random = Random(SEED)
    made, seed = 0, SEED
    while made < steps:
        seed += 1
        echo = ECHO_SHARE if made < ECHO_STEPS else LATER_ECHO_SHARE
        # Sorted by length to waste little on padding, then shuffled so that no length comes in a row.
        rows = sorted(_encoded(tokenizer, 6000, seed, echo), key=lambda row: len(row[0]))
        groups: list[list[tuple[list[int], int]]] = [[]]
        for row in rows:
            if (len(groups[-1]) + 1) * len(row[0]) > BATCH_TOKENS:
                groups.append([])
            groups[-1].append(row)
        random.shuffle(groups)
        for group in groups[: steps - made]:
            length = (max(len(ids) for ids, _ in group) + 7) // 8 * 8
            padded = torch.tensor([ids + [end] * (length - len(ids)) for ids, _ in group])
            wanted = [
                line * length + place
                for line, (ids, start) in enumerate(group)
                for place in range(start - 1, len(ids) - 1)
            ]
            positions = torch.tensor(wanted)
            yield padded, positions, padded.flatten()[positions + 1]
            made += 1


def train(out: Path, steps: int, rate: float, first: int) -> None:
    torch.manual_seed(SEED)
    torch.set_num_threads(2)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = tokens.load(out / "tokenizer.json") if first else learn_tokenizer(out / "tokenizer.json")
    shape = Shape(vocab=tokenizer.get_vocab_size())
    (out / "shape.json").write_text(json.dumps(shape.as_dict()))
    model = Llama(shape)
    if first:
        model.load_state_dict(torch.load(out / "weights.pt"))
    print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters", flush=True)
    matrices = [weight for name, weight in model.named_parameters() if weight.ndim == 2 and "embd" not in name]
    others = [weight for name, weight in model.named_parameters() if weight.ndim == 1 or "embd" in name]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    compiled = torch.compile(model, dynamic=True)
    began, learned, losses = time.monotonic(), 0, []
    for step, (batch, wanted, following) in enumerate(islice(batches(tokenizer, steps), first, None), first):
        # The optimizers keep nothing across a resume, so they are warmed up again.
        now = rate * min((step + 1 - first) / WARM_UP_STEPS, 1.0, (steps - step) / (steps - DECAY_FROM))
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = now
        with torch.autocast("cpu", torch.bfloat16):
            logits = compiled(batch, wanted)
        loss = F.cross_entropy(logits.float(), following)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        learned += batch.numel()
        losses.append(loss.item())
        if step % 100 == 99:
            spent = time.monotonic() - began
            mean = sum(losses[-100:]) / 100
            print(f"step {step + 1} loss {mean:.4f}, {learned / spent:.0f} tokens/s, {spent / 60:.1f} min", flush=True)
        if step % 500 == 499:
            torch.save(model.state_dict(), out / "weights.pt")
    torch.save(model.state_dict(), out / "weights.pt")
    print(f"{learned:,} tokens in {(time.monotonic() - began) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("/tmp/demo_model"))
    parser.add_argument("--steps", type=int, default=2250)
    parser.add_argument("--rate", type=float, default=0.004)
    parser.add_argument("--resume", type=int, default=0, metavar="STEP", help="when weights.pt was written")
    chosen = parser.parse_args()
    train(chosen.out, chosen.steps, chosen.rate, chosen.resume)
