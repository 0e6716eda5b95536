"""What a node saw of a row, as far as the run folder still holds it: earlier values, and in a loop those of the right
turn. Knows `graph.json` and rows, neither files nor templates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chainette.files import views
from chainette.reports.outline import flat, last_node, places, ways_of

Rows = list[dict[str, Any]]
Turns = tuple[int, ...]


def turns_of(record: dict[str, Any]) -> Turns:
    """Of a row, failure or call: which turn of each loop around it it is from."""
    return views.turns_of(record.get("_turn", record.get("turn")))


@dataclass
class Sight:
    """The rows of one row's way, as one node saw them in one of its turns."""

    rows: dict[str, Rows] = field(default_factory=dict)
    """By node; several where it has children there."""
    not_yet: set[str] = field(default_factory=set)
    """Nodes of the loop that it had not been to by then."""
    gone: set[str] = field(default_factory=set)
    """Nodes whose value of then is not kept: only that of a later turn is."""
    turn: Turns = ()
    step: str = ""


def sight_of(graph: dict[str, Any], stops: list[dict[str, Any]], step: str, turn: Turns) -> Sight:
    """What `step` saw of the row in `turn`, from what each node has of it on disk."""
    nodes = {node["id"]: node for node in graph.get("nodes") or []}
    order = {stop["id"]: position for position, stop in enumerate(stops)}
    own = _loops(nodes, step)
    sight = Sight(turn=turn, step=step)
    for stop in stops:
        id, rows = stop["id"], stop["rows"]
        shared = _shared(own, _loops(nodes, id))
        if not shared:
            sight.rows[id] = _latest(rows)
            continue
        bound, later = turn[:shared], order[id] >= order.get(step, 0)
        then = [(turns_of(row)[:shared], row) for row in rows]
        fits = [row for at, row in then if at < bound or (at == bound and not later)]
        if fits:
            sight.rows[id] = _latest(fits)
        elif (later and bound == (1,) * shared) or _keeps_all(nodes, id) or not (rows or stop["calls"]):
            sight.not_yet.add(id)
        else:
            sight.gone.add(id)
    return sight


def _loops(nodes: dict[str, Any], id: str) -> list[str]:
    return list((nodes.get(id) or {}).get("loops") or [])


def _shared(one: list[str], other: list[str]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _keeps_all(nodes: dict[str, Any], id: str) -> bool:
    return all((nodes.get(loop) or {}).get("keep") == "all" for loop in _loops(nodes, id))


def _latest(rows: Rows) -> Rows:
    last = max(map(turns_of, rows), default=())
    return [row for row in rows if turns_of(row) == last]


class Entering:
    """Finds the rows that entered a node; None where the folder does not hold them."""

    def __init__(self, graph: dict[str, Any], source: dict[str, Any], sight: Sight) -> None:
        self._nodes = {node["id"]: node for node in graph.get("nodes") or []}
        self._places = places(graph.get("outline"))
        self._ways = dict(_compounds(graph.get("outline")))
        self._source = source
        self._sight = sight

    def of(self, id: str) -> Rows | None:
        """What entered the node in the turn of the sight."""
        place = self._places.get(id)
        if place is None:
            return None
        if place.before is not None and place.inside[-1:] == (place.before,):
            return self._into_way(place.before)
        return self.out_of(place.before)

    def _into_way(self, head: str) -> Rows | None:
        node = self._nodes.get(head, {})
        if node.get("type") == "scan":
            return None
        depth = len(_loops(self._nodes, head))
        is_first = self._sight.turn[depth : depth + 1] == (1,)
        if node.get("type") != "while_loop" or node.get("feed") == "input" or is_first:
            return self.of(head)
        return self.out_of(last_node(self._ways[head][0].get("items")))

    def control_before(self, id: str) -> list[str]:
        """The control flow that rows have passed on their way to the node."""
        if id not in self._places:
            return []
        ids, around = list(self._places), self._places[id].inside
        return [other for other in ids[: ids.index(id)] if other in self._ways and other not in around]

    def out_of(self, id: str | None) -> Rows | None:
        """What came out of a node, or entered the chain."""
        if id is None:
            return [self._source]
        if id in self._sight.gone:
            return None
        if self._sight.rows.get(id):
            return self._sight.rows[id]
        node = self._nodes.get(id, {})
        match node.get("type"):
            case "join" | "delay":
                return self.of(id)
            case "gather":
                return self.of(node["gathers"]) if node.get("alias") and node.get("gathers") else None
            case "cond" | "switch" | "while_loop" if id not in _loops(self._nodes, self._sight.step):
                return self._past(id, node)
        return None

    def _past(self, id: str, node: dict[str, Any]) -> Rows | None:
        """What came out of control flow: of the way that the row took, or as it entered. In a loop it may have taken
        another way in another turn."""
        ends = [last_node(way.get("items")) for way in self._ways.get(id, [])]
        found = [rows for end in ends if end is not None and (rows := self.out_of(end))]
        shared = _shared(_loops(self._nodes, self._sight.step), _loops(self._nodes, id))
        if shared:
            then = self._turn_at(id, shared)
            found = [rows for rows in found if turns_of(rows[0])[:shared] == then]
            if not found and not _keeps_all(self._nodes, id):
                return None
        if found:
            return found[0]
        may_pass = not node.get("at_least_once") if node.get("type") == "while_loop" else None in ends
        return self.of(id) if may_pass else None

    def _turn_at(self, id: str, shared: int) -> Turns:
        """The turn in which the row passed a node that the sight looks back at: this one, or the one before."""
        turn, ids = self._sight.turn[:shared], list(self._nodes)
        return turn if ids.index(id) < ids.index(self._sight.step) else (*turn[:-1], turn[-1] - 1)


def _compounds(items: object) -> list[tuple[str, list[dict[str, Any]]]]:
    """(id, ways) of all control flow, however deep."""
    found: list[tuple[str, list[dict[str, Any]]]] = []
    for item in flat(items):
        if isinstance(item, dict):
            ways = ways_of(item)
            if "compound" in item:
                found.append((str(item["compound"]), ways))
            for way in ways:
                found += _compounds(way.get("items"))
    return found
