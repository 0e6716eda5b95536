"""What a run used: per engine calls, tokens, time and device time, and what they cost. Counts nothing itself.

Money is never stored: it is worked out of token counts, which are in the commits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chainette.events import EngineCount, NodeCount
from chainette.graph import Graph
from chainette.plan import Plan
from chainette.specs.engine_spec import Prices

_NOTHING = NodeCount()
_IDLE = EngineCount()


class Costs:
    """One run's, over all its processes."""

    def __init__(self, graph: Graph, plan: Plan, status: Mapping[str, Any]) -> None:
        """`status` is that of the run as it was left, empty for a new one."""
        self._steps: dict[str, list[str]] = {name: [] for name in plan.engines}
        for index, name in plan.engine_of.items():
            self._steps[name].append(graph.nodes[index].id)
        self._prices = {name: spec.prices for name, spec in plan.engines.items()}
        before = status.get("engines")
        self._before: Mapping[str, Any] = before if isinstance(before, dict) else {}

    def cost(self, counts: Mapping[str, NodeCount]) -> float | None:
        """Of all calls of the run; None where no engine has prices."""
        costs = [self._cost(name, counts) for name in self._steps]
        told = [cost for cost in costs if cost is not None]
        return sum(told) if told else None

    def priced(self, counts: Mapping[str, NodeCount], engines: Mapping[str, EngineCount]) -> dict[str, EngineCount]:
        """The engines' counts with what their calls cost."""
        return {name: replace(count, cost=self._cost(name, counts)) for name, count in engines.items()}

    def engines(self, counts: Mapping[str, NodeCount], engines: Mapping[str, EngineCount]) -> dict[str, dict[str, Any]]:
        """Per engine, as it stands in `status.json`; `engines` are the counts of this process."""
        record = {}
        for name, steps in self._steps.items():
            served = [counts.get(id, _NOTHING) for id in steps]
            up_s, gpu_seconds = self._time(name, engines)
            record[name] = {
                "calls": sum(count.calls for count in served),
                "prompt_tokens": sum(count.prompt_tokens for count in served),
                "cached_tokens": sum(count.cached_tokens for count in served),
                "completion_tokens": sum(count.completion_tokens for count in served),
                "busy_s": round(sum(count.seconds for count in served), 3),
                "up_s": round(up_s, 3),
                "gpu_seconds": round(gpu_seconds, 3),
                **_money(self._cost(name, counts)),
            }
        return record

    def nodes(self, counts: Mapping[str, NodeCount], engines: Mapping[str, EngineCount]) -> dict[str, dict[str, Any]]:
        """What steps add to their part of `status.json`: device time, shared by the time of their calls, and cost."""
        record: dict[str, dict[str, Any]] = {}
        for name, steps in self._steps.items():
            _, gpu_seconds = self._time(name, engines)
            busy_s = sum(counts.get(id, _NOTHING).seconds for id in steps)
            prices = self._prices[name]
            for id in steps:
                count = counts.get(id, _NOTHING)
                used = {"gpu_seconds": round(gpu_seconds * count.seconds / busy_s, 3)} if gpu_seconds and busy_s else {}
                record[id] = {**used, **_money(cost_of(count, prices) if prices is not None else None)}
        return record

    def _cost(self, name: str, counts: Mapping[str, NodeCount]) -> float | None:
        prices = self._prices.get(name)
        if prices is None:
            return None
        return sum(cost_of(counts.get(id, _NOTHING), prices) for id in self._steps[name])

    def _time(self, name: str, engines: Mapping[str, EngineCount]) -> tuple[float, float]:
        """Seconds it was up and seconds of its devices, those of processes before this one included."""
        count, before = engines.get(name, _IDLE), self._before.get(name)
        before = before if isinstance(before, dict) else {}
        gpu_seconds = float(before.get("gpu_seconds") or 0.0) + count.up_s * count.devices
        return float(before.get("up_s") or 0.0) + count.up_s, gpu_seconds


def cost_of(count: NodeCount, prices: Prices) -> float:
    """Cached tokens are among those of the prompt."""
    cached = min(count.cached_tokens, count.prompt_tokens)
    cached_price = prices.prompt if prices.cached is None else prices.cached
    fresh = count.prompt_tokens - cached
    return (fresh * prices.prompt + cached * cached_price + count.completion_tokens * prices.completion) / 1_000_000


def _money(cost: float | None) -> dict[str, float]:
    return {} if cost is None else {"cost": round(cost, 9)}
