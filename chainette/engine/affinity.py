"""Which replica has seen the beginning of a prompt, so that its cache is used again. Knows no engines and no loads.

Engines keep what they computed for a prompt's head; a row with the same head is cheaper where it was seen before.
Source: https://docs.vllm.ai/en/latest/features/automatic_prefix_caching.html
"""

from __future__ import annotations

from itertools import islice
from typing import Any
from zlib import crc32

from chainette.engine.protocol import Message

BLOCK_CHARS = 512
MOST_BLOCKS = 64
"""Of one prompt: a longer common head tells nothing more."""
REMEMBERED = 65_536
"""Heads; the oldest are forgotten."""
LEAST_SHARE = 0.5
"""Of the prompt that must have been seen, for its place to count."""


class Heads:
    """The heads of prompts by the replica that has them."""

    def __init__(self) -> None:
        self._owners: dict[int, int] = {}

    def find(self, blocks: list[int]) -> int | None:
        """The replica that has seen the longest head, where that is at least half of the prompt."""
        owners = self._owners
        for position in range(len(blocks) - 1, -1, -1):
            owner = owners.get(blocks[position])
            if owner is not None:
                return owner if position + 1 >= LEAST_SHARE * len(blocks) else None
        return None

    def note(self, blocks: list[int], replica: int) -> None:
        """The replica gets this prompt. Who had a head first keeps it."""
        owners = self._owners
        for block in blocks:
            owners.setdefault(block, replica)
        if len(owners) > REMEMBERED:
            for block in list(islice(owners, len(owners) - REMEMBERED + REMEMBERED // 8)):
                del owners[block]

    def forget(self, replica: int) -> None:
        """Its cache is gone."""
        self._owners = {block: owner for block, owner in self._owners.items() if owner != replica}


def blocks_of(messages: list[Message]) -> list[int]:
    """A number per whole block of the prompt's text, each of which stands for all the text up to its end. Empty for a
    prompt shorter than a block."""
    text = "\x00".join([_text(message) for message in messages]).encode("utf-8", "replace")
    blocks, seen = [], 0
    for start in range(0, min(len(text), MOST_BLOCKS * BLOCK_CHARS) - BLOCK_CHARS + 1, BLOCK_CHARS):
        piece = text[start : start + BLOCK_CHARS]
        seen = crc32(piece, seen)
        blocks.append(seen << 32 | crc32(piece[::-1]))
    return blocks


def _text(message: Message) -> str:
    content: Any = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "".join([str(part.get("text") or part.get("image_url") or "") for part in parts if isinstance(part, dict)])
