"""Random programs of control flow over numbers: as a chain, and as a plain function that says what must come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from pydantic import BaseModel

from chainette import Branch, Drop, apply, cond, delay, gather, scan, switch, while_loop


class Num(BaseModel):
    value: int
    seen: int = 0
    """How many functions it went through: so that no two rows are alike by chance for long."""


class Stopped(Exception):
    """The row ends here."""


class Dropped(Stopped):
    pass


class Failed(Stopped):
    pass


@dataclass
class Counted:
    """What became of rows at a function."""

    entered: int = 0
    done: int = 0
    dropped: int = 0
    failed: int = 0


@dataclass
class Tally:
    nodes: dict[str, Counted] = field(default_factory=dict)

    def at(self, id: str) -> Counted:
        return self.nodes.setdefault(id, Counted())


def moved(num: Num, by: int) -> Num:
    return Num(value=num.value + by, seen=num.seen + 1)


def up(num: Num) -> Num:
    return moved(num, 1)


def down(num: Num) -> Num:
    return moved(num, -3)


def halved(num: Num) -> Num:
    return Num(value=num.value // 2, seen=num.seen + 1)


def touchy(num: Num) -> Num:
    if num.value % 5 == 3:
        raise ValueError(f"{num.value} is not to be touched")
    return moved(num, 1)


def picky(num: Num) -> Num | Drop:
    return moved(num, 2) if num.value % 4 else Drop("a multiple of four")


def children_of(num: Num) -> list[Num]:
    return [Num(value=num.value + turn, seen=num.seen + 1) for turn in range(num.value % 3)]


def summed(nums: list[Num]) -> Num:
    return Num(value=sum(num.value for num in nums), seen=sum(num.seen for num in nums) + 1)


FUNCTIONS: dict[str, Callable[[Num], Any]] = {
    "up": up,
    "down": down,
    "halved": halved,
    "touchy": touchy,
    "picky": picky,
}
PREDICATES: dict[str, Callable[[Num], Any]] = {
    "even": lambda num: num.value % 2 == 0,
    "small": lambda num: num.value < 9,
    "fussy": lambda num: 1 // (num.value % 7) >= 0,
}
KEYS: dict[str, Callable[[Num], Any]] = {"rest": lambda num: num.value % 4, "seen": lambda num: min(num.seen, 3)}


@dataclass(frozen=True)
class Piece:
    """One construct: its name, what it is told, and the lines inside it."""

    what: str
    told: Any = None
    lines: tuple[tuple[Piece, ...], ...] = ()


leaves = st.one_of(
    st.sampled_from(sorted(FUNCTIONS)).map(lambda name: Piece("function", name)),
    st.sampled_from(["up", "down", "halved"]).map(lambda name: Piece("list", name)),
    st.just(Piece("delay")),
    st.just(Piece("pages")),
)


def _around(inner: st.SearchStrategy[Piece]) -> st.SearchStrategy[Piece]:
    line = st.lists(inner, max_size=2).map(tuple)
    some = st.lists(inner, min_size=1, max_size=2).map(tuple)
    predicate = st.sampled_from(sorted(PREDICATES))
    return st.one_of(
        st.builds(lambda p, a, b: Piece("cond", p, (a, b)), predicate, line, line),
        st.builds(
            lambda k, lines, default: Piece("switch", (k, default), tuple(lines)),
            st.sampled_from(sorted(KEYS)),
            st.lists(line, min_size=2, max_size=4),
            st.booleans(),
        ),
        st.builds(
            lambda p, most, once, feed, body: Piece("loop", (p, most, once, feed), (body,)),
            predicate,
            st.integers(1, 4),
            st.booleans(),
            st.sampled_from(["result", "input"]),
            some,
        ),
        st.builds(lambda missing, body: Piece("children", missing, (body,)), st.sampled_from(["fail", "skip"]), line),
        st.builds(
            lambda missing, a, b: Piece("branches", missing, (a, b)), st.sampled_from(["fail", "none", ""]), some, some
        ),
    )


pieces = st.recursive(leaves, _around, max_leaves=8)
programs = st.lists(pieces, min_size=1, max_size=3).map(tuple)


class Pages(BaseModel):
    value: int
    seen: int
    pages: list[int]


def paged(num: Num) -> Pages:
    return Pages(value=num.value, seen=num.seen, pages=list(range(num.value % 4)))


def turn_page(carry: Num, item: int) -> Num:
    if carry.value % 11 == 10:
        raise ValueError("no page is turned at ten")
    return moved(carry, item)


def closed(book: Any) -> Num:
    return moved(book.carry, 1)


def first_carry(pages: Pages) -> Num:
    return Num(value=pages.value, seen=pages.seen)


_LAST = Piece("function", "up")
"""So that what the chain gives is the rows of a node that is written."""


class Program:
    """`line` as steps of a chain, and what must become of a number that goes through them."""

    def __init__(self, line: tuple[Piece, ...]) -> None:
        self.functions: set[str] = set()
        self._line = line
        self.tally = Tally()
        self.steps = self._steps((*line, _LAST), "p")

    def outcome(self, num: Num) -> Num | type[Stopped]:
        try:
            return self._through((*self._line, _LAST), num, "p")
        except Stopped as stopped:
            return type(stopped)

    def _steps(self, line: tuple[Piece, ...], at: str) -> list[Any]:
        return [step for n, piece in enumerate(line) for step in self._piece(piece, f"{at}_{n}")]

    def _piece(self, piece: Piece, id: str) -> list[Any]:
        inner = [self._steps(line, f"{id}{chr(97 + n)}") for n, line in enumerate(piece.lines)]
        if piece.what in ("function", "list"):
            self.functions.add(id)
            return [_function(piece, id)]
        if piece.what == "delay":
            return [delay(0.001, id=id)]
        if piece.what == "pages":
            return [
                apply(paged, id=f"{id}in"),
                scan(turn_page, over="pages", init=first_carry, id=id),
                apply(closed, id=f"{id}out"),
            ]
        if piece.what == "cond":
            return [cond(PREDICATES[piece.told], *inner, id=id)]
        if piece.what == "switch":
            key, has_default = piece.told
            default = inner.pop() if has_default else None
            return [switch(KEYS[key], dict(enumerate(inner)), default, id=id)]
        if piece.what == "loop":
            until, most, once, feed = piece.told
            return [while_loop(inner[0], PREDICATES[until], most, at_least_once=once, feed=feed, id=id)]
        if piece.what == "children":
            return [
                apply(children_of, id=f"{id}in"),
                *inner[0],
                gather(missing=piece.told, id=id),
                apply(summed, id=f"{id}out"),
            ]
        assert piece.what == "branches"
        first, second = (Branch(f"{id}{name}", steps) for name, steps in zip("xy", inner, strict=True))
        return [[first.join(f"{id}j", missing=piece.told) if piece.told else first, second]]

    def _through(self, line: tuple[Piece, ...], num: Num, at: str) -> Num:
        for n, piece in enumerate(line):
            num = self._after(piece, num, f"{at}_{n}")
        return num

    def _after(self, piece: Piece, num: Num, id: str) -> Num:
        count = self.tally.at(id)
        count.entered += 1
        try:
            made = getattr(self, f"_{piece.what}")(piece, num, id)
        except Dropped:
            count.dropped += 1
            raise
        except Failed:
            count.failed += 1
            raise
        count.done += 1
        assert isinstance(made, Num)
        return made

    def _function(self, piece: Piece, num: Num, id: str) -> Num:
        made = _called(FUNCTIONS[piece.told], num)
        if isinstance(made, Drop):
            raise Dropped
        return made

    _list = _function

    def _delay(self, piece: Piece, num: Num, id: str) -> Num:
        return num

    def _pages(self, piece: Piece, num: Num, id: str) -> Num:
        carry = num
        for item in range(num.value % 4):
            carry = _called(lambda carry, item=item: turn_page(carry, item), carry)
        return moved(carry, 1)

    def _cond(self, piece: Piece, num: Num, id: str) -> Num:
        side = 0 if _called(PREDICATES[piece.told], num) else 1
        return self._through(piece.lines[side], num, f"{id}{chr(97 + side)}")

    def _switch(self, piece: Piece, num: Num, id: str) -> Num:
        key, has_default = piece.told
        case = _called(KEYS[key], num)
        cases = len(piece.lines) - has_default
        if case >= cases and not has_default:
            raise Failed
        way = min(case, cases)
        return self._through(piece.lines[way], num, f"{id}{chr(97 + way)}")

    def _loop(self, piece: Piece, num: Num, id: str) -> Num:
        until, most, once, feed = piece.told
        if not once and _called(PREDICATES[until], num):
            return num
        made = num
        for _ in range(most):
            made = self._through(piece.lines[0], num if feed == "input" else made, f"{id}a")
            if _called(PREDICATES[until], made):
                return made
        raise Failed

    def _children(self, piece: Piece, num: Num, id: str) -> Num:
        made, failed = [], False
        for child in children_of(num):
            try:
                made.append(self._through(piece.lines[0], child, f"{id}a"))
            except Dropped:
                continue
            except Failed:
                failed = True
        if failed and piece.told == "fail":
            raise Failed
        return summed(made)

    def _branches(self, piece: Piece, num: Num, id: str) -> Num:
        ends: list[type[Stopped] | None] = []
        for name, line in zip("ab", piece.lines, strict=True):
            try:
                self._through(line, num, f"{id}{name}")
                ends.append(None)
            except Stopped as stopped:
                ends.append(type(stopped))
        if piece.told == "fail" and ends[0] is not None:
            raise ends[0]
        return num


def _called(function: Callable[..., Any], num: Num) -> Any:
    try:
        return function(num)
    except (ValueError, ZeroDivisionError):
        raise Failed from None


def _function(piece: Piece, id: str) -> Any:
    function = FUNCTIONS[piece.told]
    if piece.what == "function":
        return apply(function, id=id)

    def on_lists(nums: list[Num]) -> list[Num]:
        return [function(num) for num in nums]

    return apply(on_lists, id=id)
