"""The network of the demo model: a small Llama, laid out as llama.cpp expects it.

It knows tensors only: no tokens, no tasks, no files. Imported by `train.py` and `convert.py`; nothing to run here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """The sizes of the network; written beside the weights and read back by `convert.py`."""

    vocab: int
    width: int = 192
    layers: int = 5
    heads: int = 6
    hidden: int = 512
    context: int = 1024
    rope_base: float = 10_000.0
    norm_eps: float = 1e-5

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), (x.shape[-1],), self.weight.float(), self.eps)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate neighbouring pairs: the layout of llama.cpp's `llama` architecture, so the weights need no permutation."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.attn_norm = RMSNorm(width, shape.norm_eps)
        self.attn_q = nn.Linear(width, width, bias=False)
        self.attn_k = nn.Linear(width, width, bias=False)
        self.attn_v = nn.Linear(width, width, bias=False)
        self.attn_output = nn.Linear(width, width, bias=False)
        self.ffn_norm = RMSNorm(width, shape.norm_eps)
        self.ffn_gate = nn.Linear(width, shape.hidden, bias=False)
        self.ffn_up = nn.Linear(width, shape.hidden, bias=False)
        self.ffn_down = nn.Linear(shape.hidden, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        rows, length, width = x.shape
        normed = self.attn_norm(x)
        split = (rows, length, self.heads, width // self.heads)
        v = self.attn_v(normed).view(split).transpose(1, 2)
        q = rotate(self.attn_q(normed).view(split).transpose(1, 2), cos, sin).to(v.dtype)
        k = rotate(self.attn_k(normed).view(split).transpose(1, 2), cos, sin).to(v.dtype)
        # The fused attention of torch takes twice as long on a CPU at these lengths, nearly all of it backwards.
        scores = (q @ k.transpose(2, 3)).float() * q.shape[-1] ** -0.5
        future = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        mixed = scores.masked_fill(future, float("-inf")).softmax(-1).to(v.dtype) @ v
        x = x + self.attn_output(mixed.transpose(1, 2).reshape(rows, length, width))
        normed = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(normed)) * self.ffn_up(normed))


class Llama(nn.Module):
    """Embedding, layers, norm; the embedding is also the output matrix."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocab, shape.width)
        self.blk = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.output_norm = RMSNorm(shape.width, shape.norm_eps)
        head = shape.width // shape.heads
        angles = torch.outer(
            torch.arange(shape.context).float(), shape.rope_base ** (-torch.arange(0, head, 2).float() / head)
        )
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                depth = (2 * shape.layers) ** -0.5 if name.endswith(("attn_output.weight", "ffn_down.weight")) else 1.0
                nn.init.normal_(weight, std=0.02 if "embd" in name else depth * shape.width**-0.5 / 2)

    def forward(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Logits at the flat positions `wanted` only, since the loss needs no others: [len(wanted), vocab]."""
        length = tokens.shape[1]
        x = self.token_embd(tokens)
        cos, sin = self.cos[:length], self.sin[:length]
        for layer in self.blk:
            x = layer(x, cos, sin)
        x = self.output_norm(x.reshape(-1, x.shape[-1])[wanted])
        return F.linear(x, self.token_embd.weight)
