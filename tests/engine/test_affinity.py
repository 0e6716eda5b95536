"""Which replica has seen the head of a prompt."""

from __future__ import annotations

from chainette.engine.affinity import BLOCK_CHARS, REMEMBERED, Heads, blocks_of

LONG = "a document that is long " * 100


def blocks(text: str) -> list[int]:
    return blocks_of([{"role": "user", "content": text}])


def test_a_prompt_with_a_known_head_goes_where_it_was_seen():
    heads = Heads()
    heads.note(blocks(LONG + "first question"), 2)
    assert heads.find(blocks(LONG + "second question")) == 2


def test_a_head_of_less_than_half_of_the_prompt_says_nothing():
    heads = Heads()
    heads.note(blocks("x" * 2 * BLOCK_CHARS + "y" * 8 * BLOCK_CHARS), 1)
    assert heads.find(blocks("x" * 2 * BLOCK_CHARS + "z" * 8 * BLOCK_CHARS)) is None


def test_the_longest_head_counts():
    heads = Heads()
    heads.note(blocks("x" * 2 * BLOCK_CHARS), 0)
    heads.note(blocks("x" * 2 * BLOCK_CHARS + "y" * 2 * BLOCK_CHARS), 3)
    assert heads.find(blocks("x" * 2 * BLOCK_CHARS + "y" * 2 * BLOCK_CHARS + "z" * BLOCK_CHARS)) == 3


def test_the_beginning_must_be_the_same():
    heads = Heads()
    heads.note(blocks(LONG), 0)
    assert heads.find(blocks("!" + LONG)) is None


def test_a_short_prompt_has_no_head():
    assert blocks("short") == []
    assert Heads().find([]) is None


def test_pictures_and_roles_of_several_messages_are_part_of_the_head():
    def prompt(picture: str) -> list[int]:
        parts = [{"type": "text", "text": LONG}, {"type": "image_url", "image_url": {"url": picture}}]
        return blocks_of([{"role": "system", "content": "x"}, {"role": "user", "content": parts}])

    assert prompt("a" * BLOCK_CHARS) == prompt("a" * BLOCK_CHARS)
    assert prompt("a" * BLOCK_CHARS)[-1] != prompt("b" * BLOCK_CHARS)[-1]


def test_a_dead_replica_has_no_heads():
    heads = Heads()
    heads.note(blocks(LONG), 1)
    heads.forget(1)
    assert heads.find(blocks(LONG)) is None


def test_the_oldest_heads_are_forgotten():
    heads = Heads()
    heads.note([-1], 0)
    heads.note(list(range(REMEMBERED)), 1)
    assert heads.find([-1]) is None
    assert heads.find([REMEMBERED - 1]) == 1
