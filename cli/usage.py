"""What the option parser refuses, in the form of our own errors. Knows the parser's messages, no command."""

from __future__ import annotations

import re
from typing import Any

from chainette.errors import ChainError, Problem, nearest


def as_problem(error: Any) -> ChainError:
    """An error of click's as one of ours: what, a hint, and the command whose help says more."""
    message = error.format_message()
    where, hint = "", ""
    parameter = getattr(error, "param", None)
    if parameter is not None:
        where = _name(parameter)
        message = (error.message or "is missing").removeprefix("Value error, ").removeprefix("Input ")
        message = message.partition(", unable to parse")[0]
    elif getattr(error, "possibilities", None):
        message, hint = error.message, nearest(error.option_name, error.possibilities)
    choice = re.fullmatch(r"'(.*)' is not one of (.*?)\.?", message, re.DOTALL)
    if choice:
        names = re.findall(r"'([^']*)'", choice[2])
        message = f"'{choice[1]}' is not one of {', '.join(names)}"
        hint = nearest(choice[1], names)
        hint = "" if hint.startswith("known: ") else hint  # the message lists them
    said, meant, names_meant = message.partition(". Did you mean ")
    if meant:
        message, hint = said, f"did you mean {names_meant}".replace("'", '"')
    problem = ChainError(Problem(where, _begun_small(message.rstrip(".")), hint))
    command = error.ctx.command_path if error.ctx is not None else "chainette"
    problem.add_note(f"next: {command} -h")
    return problem


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "option":
        return str(max(parameter.opts, key=len))
    return str(parameter.metavar or parameter.name.upper()).strip("[].")


def _begun_small(message: str) -> str:
    return message[:1].lower() + message[1:] if message[1:2].islower() else message
