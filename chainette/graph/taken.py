"""What a chain takes, where it does not say so: what its first node does. Reads declarations only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainette.chain import Apply, Branch, Chain, Delay, Loop, Step, Switch, Taking
from chainette.chain.asking import asked_type


def input_type(chain: Chain) -> Any:
    """What the chain takes: what it says, or what its first node takes; ways side by side share the first's."""
    return _first(chain, frozenset())


def _first(item: Any, seen: frozenset[int]) -> Any:
    if id(item) in seen:
        return Any
    seen = seen | {id(item)}
    if isinstance(item, Step):
        return item.input_model
    if isinstance(item, Apply):
        return item.shape.input_type
    if isinstance(item, Taking):
        return Any
    if isinstance(item, Switch):
        asked = Any if isinstance(item.key, str) else asked_type(item.key)
        return _first_of([asked, *(_line(steps, seen) for _, steps in item.ways)])
    if isinstance(item, Chain) and item.input_model is not None:
        return item.input_model
    if isinstance(item, Chain | Branch | Loop):
        return _line(item.steps, seen)
    if isinstance(item, Sequence) and not isinstance(item, str):
        return _first_of([_first(inner, seen) for inner in item])
    return Any


def _line(steps: Any, seen: frozenset[int]) -> Any:
    if not isinstance(steps, Sequence) or isinstance(steps, str):
        return Any
    for item in steps:
        type_ = _first(item, seen)
        if type_ is not Any or not isinstance(item, Delay | Switch):
            return type_
    return Any


def _first_of(types: list[Any]) -> Any:
    return next((type_ for type_ in types if type_ is not Any), Any)
