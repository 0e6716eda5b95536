"""`module:chain`, `file.py:chain` or `chain.yml` to a chain. Checks nothing in it."""

from __future__ import annotations

import os
from pathlib import Path

from chainette.chain import Chain
from chainette.chain.importing import module_from_file, module_named
from chainette.errors import ChainError, Problem, nearest


def load_chain(target: str) -> Chain:
    """The chain that `package.module:name`, `path/file.py:name`, `path/file.py` (with one chain in it) or `chain.yml`
    names.

    Raises:
        ChainError: no such module, file or name, with the nearest; the code raised while it was imported; or the file
            says something that no chain can be made of.
    """
    if target.endswith((".yml", ".yaml")):
        return Chain.from_yaml(Path(target).expanduser())
    place, separator, name = _split(target)
    if not place or (separator and not name):
        missing = "names no chain after the colon" if place else "names no module or file before the colon"
        raise ChainError(Problem(target, missing, "module:chain or file.py:chain"))
    module = module_from_file(place) if place.endswith(".py") or os.sep in place else module_named(place)
    chains = {key: value for key, value in vars(module).items() if isinstance(value, Chain)}
    if not separator:
        if len(chains) == 1:
            return next(iter(chains.values()))
        if "chain" in chains:
            return chains["chain"]
        raise ChainError(Problem(target, "say which chain", f"{place}:NAME, {nearest('', chains) or 'it has none'}"))
    if name in chains:
        return chains[name]
    value = getattr(module, name, None)
    if value is not None:
        hint = nearest(name, chains)
        raise ChainError(Problem(target, f'"{name}" is a {type(value).__name__}, not a Chain', hint))
    hint = nearest(name, chains) if chains else f"{place} holds no chain: chain = Chain(name=…, steps=[…])"
    raise ChainError(Problem(target, f'no "{name}" in {place}', hint))


def _split(target: str) -> tuple[str, str, str]:
    place, separator, name = target.rpartition(":")
    if not separator or os.sep in name or (os.name == "nt" and len(place) == 1 and place.isalpha()):
        return target, "", ""
    return place, separator, name
