"""How many calls an endpoint of somebody else's can use at once, told by its replies. Knows no clock and no sockets.

The window falls when too large a share of the calls under way is refused for their number, or calls take longer without
more being answered; it rises with each window of answers, quickly up to where it was refused last. What did not help is
taken back, so that the endpoint never waits for us.
"""

from __future__ import annotations

from dataclasses import dataclass

FEWER = 0.7
FEWEST = 0.35
"""Of a window that was refused as a whole, what is kept at least."""
TOLERATED = 0.1
"""The share of refusals that is no crowd: some endpoints refuse now and then, however few calls they have."""
DEVIATIONS = 3.0
"""Standard deviations above the tolerated share from which on refusals are no chance."""
ALERT_DEVIATIONS = 1.0
"""The same after a window was cut, when a crowd is expected. When the refused one is tried again, it is 0."""
PATIENCE = 6
"""Windows of answers until the window that was refused is tried again; twice as many each time that it is refused."""
FEW = 16
"""Answers below which a rate says nothing."""
MANY = 64
"""Answers over which refusals are counted at least: of fewer, one in four may be chance."""
SLOWER = 2.0
"""Times as long as in the best of times: more calls wait there than are worked on."""
QUICK_S = 0.5
"""Calls that take less are slowed by us, not by the endpoint."""
FARTHER = 1.25
"""A window so much larger must have been of use."""
REST = 16
"""Windows of answers until more is tried again after it was of no use."""

Pair = tuple[float, float]
"""Of calls and of tokens. Steps differ in the length of their answers: when other ones have their turn, only one of the
two becomes worse; with a crowd both do."""


@dataclass(slots=True)
class _Span:
    """Answers between two judgements."""

    began_s: float
    calls: int = 0
    seconds: float = 0.0
    tokens: int = 0
    full: bool = True
    """Whether the window was in use all the time; what is seen otherwise says nothing about it."""

    def rate(self, now_s: float) -> Pair:
        took_s = max(now_s - self.began_s, 1e-9)
        return self.calls / took_s, self.tokens / took_s

    def slowness(self) -> Pair:
        return self.seconds / self.calls, self.seconds / self.tokens if self.tokens else 0.0


def _ratios(now: Pair, then: Pair) -> list[float]:
    return [a / b for a, b in zip(now, then, strict=True) if b]


class Crowding:
    """The window, and what it is judged by."""

    def __init__(self, window: int, most: int, *, judges: bool) -> None:
        """It begins at `window` and is never more than `most`. Without `judges` only refusals make it smaller, and only
        what they took is given back."""
        self.window = window
        self.judges = judges
        self._declared = window
        self._most = most
        self._step = max(1, window // 32)
        self._refusals = 0
        self._answers = 0
        """Replies since a first refusal, of a round trip at least."""
        self._burst = 0
        self._burst_refused = 0
        self._burst_until = -1
        """The last request that was in flight with the first one refused: all of them were too many together."""
        self._cut = False
        """Whether that burst has made the window smaller."""
        self._alert = False
        """Whether no round trip has gone well since the window was made smaller."""
        self._ceiling: int | None = None
        """The window that was refused last."""
        self._patience = PATIENCE
        self._patient = 0
        self._since = -1
        """Only answers to requests after this one are of the present window."""
        self._span: _Span | None = None
        self._reference: tuple[int, Pair] | None = None
        """A window and its rate, which a larger one has to surpass."""
        self._before: tuple[int, Pair] | None = None
        """Where it was before it was made smaller for slowness, and the best rate since that began."""
        self._best: Pair | None = None
        """The least slowness seen."""
        self._slow = 0
        """Judgements in a row that found it slow."""
        self._rest = 0

    @property
    def listens(self) -> bool:
        """Whether answers matter to it."""
        return self.judges or self.refuses or self._refusals > 0 or self._alert

    @property
    def refuses(self) -> bool:
        """Whether refusals have made the window smaller, and not all was given back yet."""
        return self.window < self._declared and not self.judges

    def become(self, window: int) -> None:
        """Another window, from someone who knows the server."""
        self.window = self._declared = window
        self._ceiling = None

    def refused(self, number: int, newest: int, in_flight: int) -> None:
        """Request `number` was refused because there are too many; `newest` was sent last."""
        if number > self._burst_until:
            self._burst = max(1, min(self.window, in_flight))
            self._burst_refused = 0
            self._burst_until = newest
            self._cut = False
        self._burst_refused += 1
        accepted = self._burst - self._burst_refused
        if self._cut:
            self._fall(accepted, newest)
            return
        self._refusals += 1
        trial = self._ceiling is not None and self.window >= self._ceiling
        deviations = 0.0 if trial else ALERT_DEVIATIONS if self._alert else DEVIATIONS
        share = self._crowded_share(in_flight, deviations)
        if share:
            self._patience = min(REST, self._patience * 2) if trial else PATIENCE
            self._cut, self._burst_until = True, newest
            self._ceiling, self._patient = self.window, self._patience
            self._fall(accepted if trial else min(accepted, self._burst * max(FEWER, 1 - share)), newest)

    def _crowded_share(self, in_flight: int, deviations: float) -> float:
        """The share of the calls of this round trip that were refused; 0 where that may be chance."""
        calls = self._refusals + self._answers + in_flight - 1
        chance = TOLERATED * calls + deviations * (TOLERATED * (1 - TOLERATED) * calls) ** 0.5
        return self._refusals / calls if self._refusals > chance else 0.0

    def _fall(self, kept: float, newest: int) -> None:
        self._reference = self._before = None
        self._refusals = self._answers = 0
        self._alert = True
        self._become(min(self.window, round(max(self._burst * FEWEST, kept))), newest)

    def answered(self, number: int, newest: int, full: bool, seconds: float, tokens: int, now_s: float) -> None:
        """Request `number` was answered after `seconds`; `full`: the window was in use."""
        if self._refusals or self._alert:
            self._answers += 1
            if self._answers >= max(self.window, FEW):
                self._alert = False
            if self._answers >= max(self.window, MANY):
                self._refusals = self._answers = 0
        span = self._span
        if span is None:
            if number > self._since:
                self._span = _Span(now_s)
            return
        span.calls += 1
        span.seconds += seconds
        span.tokens += tokens
        span.full = span.full and full
        if span.calls >= max(self.window, FEW):
            self._span = _Span(now_s)
            if span.full:
                self._judge(span, now_s, newest)

    def _judge(self, span: _Span, now_s: float, newest: int) -> None:
        if self.judges and not self._was_of_use(span, now_s, newest):
            return
        if self._rest:
            self._rest -= 1
            return
        most = self._most if self.judges else self._declared
        self._become(min(most, self._larger()), newest)

    def _larger(self) -> int:
        """The window to try next: near to the one that was refused at once, and that itself after a while."""
        more = self._step if self.window >= self._declared else max(1, self.window // 4)
        if self._ceiling is None or self.window >= self._ceiling:
            self._ceiling = None
            return self.window + more
        if self.window < self._ceiling - 1:
            return min(self._ceiling - 1, self.window + more)
        if self._patient:
            self._patient -= 1
            return self.window
        return self._ceiling

    def _was_of_use(self, span: _Span, now_s: float, newest: int) -> bool:
        """Takes back what helped nobody; True where nothing stands against a larger window."""
        rate, slowness = span.rate(now_s), span.slowness()
        if self._before is not None:
            window, top_rate = self._before
            if min(_ratios(rate, top_rate)) < 0.95:
                self._before, self._best = None, slowness
                self._become(window, newest)
                return False
            self._reference = (self.window, rate)
        best = self._best or slowness
        self._best = best = (min(best[0], slowness[0]), min(best[1] or slowness[1], slowness[1]))
        self._slow = self._slow + 1 if self._is_slow(span, rate, min(_ratios(slowness, best))) else 0
        if self._slow == 1 and self._before is None:
            return False  # half of it may be from better times, and no measure of what comes
        if self._slow:
            top = rate if self._before is None else self._before[1]
            self._before = (self.window, (max(rate[0], top[0]), max(rate[1], top[1])))
            self._become(round(self.window * FEWER), newest)
            return False
        self._before = None
        return self._surpasses(rate, newest)

    def _is_slow(self, span: _Span, rate: Pair, times: float) -> bool:
        """`times` as slow as in the best of times."""
        if times <= SLOWER or span.seconds < QUICK_S * span.calls:
            return False
        more_answers = self._reference is not None and max(_ratios(rate, self._reference[1])) > 1.05
        return not more_answers and self.window > max(1, self._declared // 8)

    def _surpasses(self, rate: Pair, newest: int) -> bool:
        """Whether the window, if it is much larger than that of reference, is of more use. What was declared, and
        refused for a while, has nothing to prove."""
        if self._reference is None:
            if self.window >= self._declared:
                self._reference = (self.window, rate)
            return True
        window, reference_rate = self._reference
        if self.window < window * FARTHER:
            return True
        if max(_ratios(rate, reference_rate)) < 1 + (self.window / window - 1) / 4:
            self._rest = REST
            self._become(window, newest)
            return False
        self._reference = (self.window, rate)
        return True

    def _become(self, window: int, newest: int) -> None:
        window = max(1, window)
        if window != self.window:
            self.window = window
            self._since = newest
            self._span = None
