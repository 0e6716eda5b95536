"""Which chain is meant, from the ways there are to say it. Loads the library only when asked to load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chainette.chain import Chain
    from chainette.errors import ChainError

_FILES = (".yml", ".yaml")


@dataclass(frozen=True, slots=True)
class Call:
    """What `run` was asked to do, whichever way it was written."""

    target: str
    input: str | None
    output_dir: str | None


def wrong_call(where: str, message: str, hint: str = "", command: str = "run") -> ChainError:
    """The command cannot be understood as it was typed."""
    from chainette.errors import ChainError, Problem

    error = ChainError(Problem(where, message, hint))
    error.add_note(f"next: {f'chainette {command}'.rstrip()} -h")
    return error


def names_chain(word: str) -> bool:
    """Whether a word alone says which chain: `module:chain`, `file.py:chain`, `chain.yml`."""
    return ":" in word.rpartition("/")[2].rpartition("\\")[2] or word.endswith(_FILES)


def chain_target(words: list[str]) -> str:
    """`module:chain` from one word, or from FILE CHAIN."""
    if len(words) == 2 and not names_chain(words[0]):
        return f"{words[0]}:{words[1]}"
    if len(words) > 1:
        raise wrong_call("CHAIN", f"one at a time: {words[0]}, not also {' '.join(words[1:])}", command="inspect")
    return words[0]


def parse_call(words: list[str], input: str | None, output_dir: str | None) -> Call:
    """`module:chain -i INPUT`, or the older FILE CHAIN INPUT OUT; the words may leave out what options say."""
    alone = names_chain(words[0])
    target = words[0] if alone or len(words) == 1 else f"{words[0]}:{words[1]}"
    rest = words[1:] if alone else words[2:]
    if len(rest) > 2:
        raise wrong_call("arguments", f"too many: {' '.join(rest[2:])}", "FILE CHAIN INPUT OUT at most")
    if rest and input is not None and (len(rest) > 1 or output_dir is not None):
        raise wrong_call("--input", f'"{input}", but "{rest[0]}" is given as the input too')
    if rest and input is not None:
        # FILE CHAIN OUT -i INPUT
        return Call(target, input, rest[0])
    if len(rest) == 2 and output_dir is not None:
        raise wrong_call("--output-dir", f'"{output_dir}", but "{rest[1]}" is given as the folder too')
    return Call(target, rest[0] if rest else input, rest[1] if len(rest) == 2 else output_dir)


def load(target: str) -> Chain:
    """The chain; what it prints while it is imported goes to stderr, so that stdout stays ours."""
    import contextlib
    import sys

    from chainette.run import load_chain

    with contextlib.redirect_stdout(sys.stderr):
        return load_chain(target)


def refuse_empty(command: str = "run", /, **values: str | None) -> None:
    """An option that is given and says nothing was meant to say something: a variable of the shell's was empty."""
    for name, value in values.items():
        if value is not None and not value.strip():
            raise wrong_call(f"--{name.replace('_', '-')}", "is empty", command=command)


def pairs(values: list[str] | None, option: str, command: str = "run") -> dict[str, str]:
    """`k=v` options as a dict; the last of one key holds."""
    result = {}
    for value in values or []:
        key, equals, rest = value.partition("=")
        if not equals or not key.strip():
            raise wrong_call(option, f'takes name=value, not "{value}"', command=command)
        result[key.strip()] = rest
    return result
