"""Turns recorded calls, any DAG, into the steps of a chain as a person would write them. Knows no types and no graph.

The calls that every path goes through are the main line; what lies between two of them is a group of branches. A part
that cannot be branches side by side, because its branches share values, becomes several groups, one after the other:
each value stays under an alias, and whoever needs it says so (`Taking`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chainette.chain.branch import Branch
from chainette.chain.operators import as_alias, node_name
from chainette.chain.taking import MAIN, Taking
from chainette.chain.tracing import Call
from chainette.chain.weaving_names import Names
from chainette.errors import ChainError, Problem


def weave(calls: Sequence[Call], result: int) -> tuple[Any, ...]:
    """The steps whose last gives the rows of call `result`.

    Raises:
        ChainError: a row that leads nowhere and needs the result and another row.
    """
    return tuple(_Weaver(calls).region(0, set(range(1, len(calls))), result))


@dataclass
class _Levels:
    """Groups of branches, one after the other, while they are made."""

    main: int
    live: set[int]
    runs: list[list[int]]
    names: Names
    aliases: dict[int, str]
    inside: bool = False
    """In a branch of their own, with groups before it."""
    level: dict[int, int] = dataclasses.field(default_factory=dict)
    """Last call of a run -> the position of its group."""
    found: list[list[tuple[int, Branch]]] = dataclasses.field(default_factory=lambda: [[]])

    def put(self, depth: int, first: int, branch: Branch) -> None:
        self.found += [[] for _ in range(depth + 1 - len(self.found))]
        self.found[depth].append((first, branch))


class _Weaver:
    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls = calls
        self._after: dict[int, set[int]] = {}
        """Call -> calls after it that do not take its rows, but whose place in the chain is before the call."""

    def region(self, start: int, inside: set[int], end: int) -> list[Any]:
        """The steps from the rows of `start` to those of `end`, with all calls `inside` somewhere on the way."""
        ends, late = self._with_ends(start, inside, end)
        if late is not None:
            message = f"{self._words(late)} leads nowhere, and takes the result and another row"
            raise ChainError(Problem(self._calls[late].place, message, "return it, or leave it out"))
        live = self._before(end, inside, ends)
        line = self._main_line(start, live, ends)
        items: list[Any] = []
        rest = inside - set(line)
        for before, after in zip([start, *line], [*line, None], strict=True):
            between = self._between(before, after, rest, live, ends)
            rest -= between
            groups, aliases = self._groups(before, between, after, ends)
            items += groups
            if after is not None:
                items.append(self._taking(after, {before: MAIN, **aliases}, grouped=bool(aliases)))
        return items

    def _with_ends(self, start: int, inside: set[int], end: int) -> tuple[dict[int, set[int]], int | None]:
        """Call -> dead ends that must be placed before it, since they take rows of several calls.

        With the first dead end for which there is no such place.
        """
        ends: dict[int, set[int]] = {}
        while True:
            live = self._before(end, inside, ends)
            for part in self._parts(inside - live):
                taken = self._taken(part) - part
                if len(taken) > 1:
                    line = self._main_line(start, live, ends)
                    place = next((m for m in line if taken <= self._before(m, inside, ends) - {m} | {start}), None)
                    if place is None:
                        return ends, max(part)
                    used = {source for call in part for source in self._calls[call].sources}
                    ends.setdefault(place, set()).update(part - used)
                    break
            else:
                return ends, None

    def _main_line(self, start: int, live: set[int], ends: Mapping[int, set[int]]) -> list[int]:
        """The calls in `live` that every path goes through, in order."""
        line, order = [], sorted(live, key=lambda call: self._rank(call, live, ends))
        position = {call: number for number, call in enumerate([start, *order])}
        reach = dict.fromkeys(position, 0)
        for call in order:
            for source in self._sources(call, ends):
                reach[source] = max(reach[source], position[call])
        furthest = reach[start]
        for call in order:
            if furthest <= position[call]:
                line.append(call)
            furthest = max(furthest, reach[call])
        return line

    def _rank(self, call: int, live: set[int], ends: Mapping[int, set[int]]) -> int:
        """How many calls of `live` come before it: calls are recorded in order, but dead ends come before others."""
        return len(self._before(call, live, ends))

    def _between(
        self, before: int, after: int | None, rest: set[int], live: set[int], ends: Mapping[int, set[int]]
    ) -> set[int]:
        """What of `rest` belongs between two calls of the main line: what leads to `after`, and dead ends."""
        found = self._before(after, rest | {after}, ends) - {after} if after is not None else set()
        found &= rest
        dead = rest - live
        for part in self._parts(dead):
            taken = self._taken(part) - part
            if taken <= found or taken == {before}:
                found |= part
        return found

    def _groups(
        self, main: int, between: set[int], after: int | None, ends: Mapping[int, set[int]]
    ) -> tuple[list[Any], dict[int, str]]:
        """Groups of branches on the rows of `main`, and call -> alias for what `after` takes of them."""
        wanted = self._calls[after].inputs if after is not None else ()
        names, aliases = Names(), dict[int, str]()
        first: list[tuple[int, Branch]] = []
        tangled: set[int] = set()
        for part in self._parts(between):
            given = sorted(source for _, source in _distinct(wanted) if source in part)
            bound = part & ends.get(after, set()) if after is not None else set()
            if not given and not bound:
                first.append((min(part), self._dead_end(main, part, names)))
            elif len(given) == 1 and not bound and self._with_ends(main, part, given[0])[1] is None:
                aliases[given[0]] = names.alias(self._wanted_name(given[0], wanted, ()))
                branch = Branch(name=aliases[given[0]], steps=self.region(main, part, given[0]))
                first.append((min(part), branch.join(aliases[given[0]])))
            else:
                tangled |= part
        levels = self._levels(main, tangled, wanted, names, aliases, ends)
        group = [branch for _, branch in sorted([*first, *levels[0]], key=lambda pair: pair[0])]
        later = [[branch for _, branch in level] for level in levels[1:]]
        return [group, *later] if group else [], aliases

    def _dead_end(self, main: int, part: set[int], names: Names) -> Branch:
        used = {source for call in part for source in self._calls[call].sources}
        last = max(part - used)
        return Branch(name=names.branch(node_name(self._calls[last].node)), steps=self.region(main, part, last))

    def _levels(
        self,
        main: int,
        tangled: set[int],
        wanted: Sequence[tuple[str | None, int]],
        names: Names,
        aliases: dict[int, str],
        ends: Mapping[int, set[int]],
    ) -> list[list[tuple[int, Branch]]]:
        """Branches of calls that share values, those first that need none of the others."""
        targets = {source for _, source in wanted} | {call for calls in ends.values() for call in calls}
        live = {call for call in tangled if any(call in self._before(t, tangled, {}) for t in targets & tangled)}
        hanging = self._parts(tangled - live)
        for part in list(hanging):  # what takes several of these cannot hang on one of them
            if len(self._taken(part) - part) > 1:
                live |= part
                hanging.remove(part)
        asked = {source for _, source in wanted}
        runs = self._runs(live, asked)
        needed = {call for call in live if any(call in self._before(t, live, {}) for t in asked & live)}
        levels = _Levels(main, live, [run for run in runs if run[0] in needed], names, aliases)
        self._grow(levels, wanted, hanging)
        for part in self._parts(live - needed):
            aside = [run for run in runs if run[0] in part]
            if len(aside) == 1:
                self._grow(dataclasses.replace(levels, runs=aside), (), hanging)
            else:
                self._put_aside(levels, part, aside, hanging)
        return levels.found

    def _grow(self, levels: _Levels, wanted: Sequence[tuple[str | None, int]], hanging: list[set[int]]) -> None:
        """A branch for each run, after those it takes rows of."""
        main, aliases, level, names = levels.main, levels.aliases, levels.level, levels.names
        for run in levels.runs:
            sources = self._calls[run[0]].sources - {main}
            depth = 1 + max((level.get(source, -1) for source in sources), default=-1)
            level[run[-1]] = depth
            grouped = depth > 0 or levels.inside
            steps: list[Any] = [self._taking(run[0], {main: MAIN, **aliases}, grouped=grouped)]
            for number, call in enumerate(run):
                if number:
                    steps.append(self._taking(call, {run[number - 1]: MAIN}, grouped=False))
                dead, hung = [part for part in hanging if self._taken(part) - part == {call}], Names()
                steps += [[self._dead_end(call, part, hung) for part in dead]] if dead else []
            used = [c.inputs for i, c in enumerate(self._calls) if i in levels.live and run[-1] in c.sources]
            if used or run[-1] in {source for _, source in wanted}:
                alias = names.alias(self._wanted_name(run[-1], wanted, used))
                aliases[run[-1]] = alias
                branch = Branch(name=alias, steps=steps).join(alias)
            else:
                branch = Branch(name=names.branch(node_name(self._calls[run[-1]].node)), steps=steps)
            levels.put(depth, run[0], branch)

    def _put_aside(self, levels: _Levels, part: set[int], runs: list[list[int]], hanging: list[set[int]]) -> None:
        """Dead ends that share values, in one branch: what is joined within it fails no row outside of it."""
        name = levels.names.branch(node_name(self._calls[max(part)].node))
        inner = _Levels(levels.main, part, runs, levels.names, dict(levels.aliases), inside=True)
        self._grow(inner, (), hanging)
        steps: list[Any] = [[branch for _, branch in level] for level in inner.found]
        (last, *others) = steps[-1]
        if not others and last.alias is None:
            steps[-1:] = last.steps
        depth = 1 + max((levels.level.get(source, -1) for source in self._taken(part) - part), default=-1)
        levels.put(depth, min(part), Branch(name=name, steps=steps))

    def _runs(self, live: set[int], wanted: set[int]) -> list[list[int]]:
        """Calls that simply follow one another, together; a run comes after those it takes rows of."""
        users: dict[int, set[int]] = {call: set() for call in live}
        for call in live:
            for source in self._calls[call].sources & live:
                users[source].add(call)
        runs: dict[int, list[int]] = {}
        for call in sorted(live):
            (source, *others) = self._calls[call].sources
            if not others and source in runs and users[source] == {call} and source not in wanted:
                runs[call] = [*runs.pop(source), call]
            else:
                runs[call] = [call]
        return sorted(runs.values(), key=lambda run: run[0])

    def _taking(self, call: int, aliases: Mapping[int, str], *, grouped: bool) -> Any:
        """The call's node, with what it takes where that is not the row before it."""
        node, inputs = self._calls[call].node, self._calls[call].inputs
        (field, source), *_ = inputs
        if field is not None:
            return Taking(node, {str(name): aliases[source] for name, source in inputs})
        return Taking(node, aliases[source]) if grouped or aliases[source] != MAIN else node

    def _wanted_name(
        self, call: int, wanted: Sequence[tuple[str | None, int]], used: Sequence[Sequence[tuple[str | None, int]]]
    ) -> str:
        """The keyword under which a call's rows are taken, else its id."""
        for inputs in (wanted, *used):
            for field, source in inputs:
                if source == call and field is not None:
                    return field
        return as_alias(node_name(self._calls[call].node))

    def _sources(self, call: int, ends: Mapping[int, set[int]]) -> set[int]:
        return self._calls[call].sources | ends.get(call, set())

    def _taken(self, part: Iterable[int]) -> set[int]:
        return {source for call in part for source in self._calls[call].sources}

    def _before(self, end: int, inside: set[int], ends: Mapping[int, set[int]]) -> set[int]:
        """`end` and all of `inside` that leads to it."""
        found, open_ = {end}, [end]
        while open_:
            new = self._sources(open_.pop(), ends) & inside - found
            found |= new
            open_ += new
        return found

    def _parts(self, calls: set[int]) -> list[set[int]]:
        """`calls` in parts that have nothing to do with one another, the first recorded first."""
        parts: list[set[int]] = []
        for call in sorted(calls):
            touched = [part for part in parts if part & self._calls[call].sources]
            parts = [part for part in parts if part not in touched] + [set().union({call}, *touched)]
        return sorted(parts, key=min)

    def _words(self, call: int) -> str:
        return f'"{node_name(self._calls[call].node)}"'


def _distinct(inputs: Sequence[tuple[str | None, int]]) -> list[tuple[str | None, int]]:
    """Each source once, with the first field that takes it."""
    return [pair for number, pair in enumerate(inputs) if all(pair[1] != other for _, other in inputs[:number])]
