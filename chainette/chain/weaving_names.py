"""Names of branches and aliases that a weaving makes: unique side by side, and usable in templates."""

from __future__ import annotations

import re

from chainette.chain.branch import JINJA2_NAMES

_OWN = {"chain_input", "row_id", "input"}


class Names:
    """Of one place in the chain."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def branch(self, wanted: str) -> str:
        name, number = wanted, 2
        while _spelling(name) in self._taken:
            name, number = f"{wanted}_{number}", number + 1
        self._taken.add(_spelling(name))
        return name

    def alias(self, wanted: str) -> str:
        if wanted.lower() in JINJA2_NAMES or _spelling(wanted) in _OWN or wanted.startswith("_"):
            wanted = f"row_{wanted.lstrip('_')}"
        return self.branch(wanted)


def _spelling(name: str) -> str:
    return re.sub(r"[\s\-_.]+", "_", name.strip()).casefold()
