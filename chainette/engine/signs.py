"""Signs of life of one endpoint, as its calls see them. Knows neither sockets nor what a call says."""

from __future__ import annotations

from chainette.engine.replies import Absence


class Signs:
    """What the calls of one engine saw of its endpoint. A reply below 500, right or wrong, is a sign of life."""

    __slots__ = ("answered_s", "newest", "proven", "replies", "requests", "troubled")

    def __init__(self) -> None:
        self.requests = 0
        """Sent so far; the number of the last one."""
        self.newest = 0
        """The highest number of a request that was replied to."""
        self.replies = 0
        self.answered_s = 0.0
        """`time.time()` of the last answer; 0 before the first."""
        self.proven = False
        """Whether a call was served. Until then, what would meet every call alike ends them all."""
        self.troubled = 0
        """Calls that are being sent again."""


class Trouble:
    """One call that is being sent again, and what is seen of the endpoint meanwhile."""

    __slots__ = ("_replies", "_requests", "_signs")

    def __init__(self, signs: Signs) -> None:
        signs.troubled += 1
        self._signs = signs
        self._requests = signs.requests
        self._replies: int | None = None

    def again(self) -> None:
        """The call is sent once more. Replies count from the first time on: those that had been on their way when the
        server died come in shortly after its first sign of death."""
        if self._replies is None:
            self._replies = self._signs.replies

    def over(self) -> None:
        self._signs.troubled -= 1

    def doubt(self, absence: Absence) -> str:
        """What the end of this call says about the endpoint: `alive`, `gone`, or `ask`, when it may be the call's own
        fault, as with a prompt that makes its server fall over.

        Only requests sent after the call's first failure count as life: a server that shuts down still answers older
        ones. Where a proxy answers for it, a second call in trouble and no reply at all to anybody is proof enough.
        """
        signs = self._signs
        if signs.newest > self._requests:
            return "alive"
        if absence == "no_connection":
            return "gone"
        if absence == "gateway" and signs.troubled > 1 and signs.replies == self._replies:
            return "gone"
        return "ask"
