"""Events of a made-up run, for what only listens."""

from __future__ import annotations

from chainette.events import EngineCount, NodeCount, Progressed, RunFinished, RunStarted

TREE = [
    "extract",
    {
        "branches": [
            {"name": "fr", "alias": "fr", "items": ["verdict_fr"]},
            {"name": "es", "alias": "spanish", "items": ["verdict_es", "check"]},
            {"name": "audit", "alias": None, "items": ["note"]},
        ],
        "join": "join-1",
    },
    "keep",
    "summarise",
]
NODES = (
    ("extract", "step", "extract"),
    ("verdict_fr", "step", "verdict_fr"),
    ("verdict_es", "step", "verdict_es"),
    ("check", "apply", "check"),
    ("note", "step", "note"),
    ("join-1", "join", "join-1"),
    ("keep", "apply", "keep"),
    ("summarise", "step", "summarise"),
)
FOLDER = "runs/reviews-20261121-005512-a1b2"


def started(total: int | None = 100, warnings: tuple[str, ...] = ()) -> RunStarted:
    engines = (("demo", "the demo model, 3M parameters, knows only the examples"),)
    return RunStarted("reviews-20261121-005512-a1b2", FOLDER, "Reviews", total, NODES, TREE, engines, warnings)


def node(
    done: int, entered: int | None = None, failed: int = 0, dropped: int = 0, made: int | None = None
) -> NodeCount:
    entered = done + failed + dropped if entered is None else entered
    return NodeCount(
        entered=entered,
        done=done,
        made=done if made is None else made,
        failed=failed,
        dropped=dropped,
        running=entered - done - failed - dropped,
        seconds=0.1 * (done + failed + dropped),
    )


def progressed(elapsed_s: float, rows_done: int, tokens: int = 0, **nodes: NodeCount) -> Progressed:
    counts = {id_: nodes.get(id_.replace("-", "_"), NodeCount()) for id_, _, _ in NODES}
    load = EngineCount(window=8, running=5, waiting=12, calls=rows_done * 4, completion_tokens=tokens)
    return Progressed(100, rows_done, elapsed_s, counts, {"demo": load})


def finished(
    state: str = "done", failures: tuple[tuple[str, str, str, int], ...] = (), message: str = ""
) -> RunFinished:
    counts = {id_: node(100) for id_, _, _ in NODES}
    failed = sum(f[3] for f in failures)
    counts["extract"] = node(100 - failed, failed=failed)
    engines = {"demo": EngineCount(window=8, calls=400, completion_tokens=8000)}
    return RunFinished(
        "reviews-20261121-005512-a1b2",
        FOLDER,
        state,
        100,
        100 - failed,
        failed,
        0,
        12.34,
        counts,
        engines,
        failures,
        message,
    )


def everywhere(done: int) -> dict[str, NodeCount]:
    """The same count at every node, for `progressed(..., **everywhere(7))`."""
    return {id_.replace("-", "_"): node(done) for id_, _, _ in NODES}
