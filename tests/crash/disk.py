"""What a run left on disk, and in what it differs from an undisturbed run."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

DERIVED = ("inputs", "steps", "flattened", "failed")
"""Byte for byte the same, however often the run was killed."""
_OF_ONE_RUN = {"run_id", "pid", "started", "updated", "seconds", "message"}
_OF_ONE_CALL = {"started_s", "seconds", "queue_s", "first_token_s", "replica", "sent"}
_TIMES = ("seconds", "busy_s", "up_s", "gpu_seconds")


def files(run: Path) -> dict[str, Path]:
    """Every file of a run folder by its path in it, as of now: another process may be writing there."""
    found = {}
    for folder, _, names in os.walk(run):
        inside = os.path.relpath(folder, run)
        for name in names:
            found[os.path.normpath(f"{inside}/{name}")] = Path(folder, name)
    return dict(sorted(found.items()))


def sizes(run: Path) -> dict[str, int]:
    """Bytes of every file, as of now."""
    found = {}
    for name, path in files(run).items():
        with contextlib.suppress(OSError):
            found[name] = path.stat().st_size
    return found


def size(run: Path, name: str) -> int:
    """Bytes of a file, or of all below a folder, as of now."""
    return sum(size for path, size in sizes(run).items() if path.startswith(name))


def calls(run: Path) -> int:
    """Calls to an engine that are on disk: whole lines that say whether they were sent."""
    return sum(_sent(path.read_bytes()) for name, path in files(run).items() if name.startswith("calls/"))


def _sent(data: bytes) -> int:
    return data[: data.rfind(b"\n") + 1].count(b'"sent":')


def sealed(run: Path) -> int:
    """Parts in their final form."""
    return sum(name.startswith(("steps/", "flattened/")) for name in files(run))


def temporaries(run: Path) -> int:
    """Files that are about to take the place of another."""
    return sum(name.endswith(".tmp") for name in files(run))


def differences(expected: Path, found: Path) -> list[str]:
    """What is not as it would be without the disturbance, a line for each."""
    said = derived_differ(expected, found)
    said += [f"status.json: {line}" for line in _unlike(_status(expected), _status(found))]
    return said + _calls_differ(_calls(expected), _calls(found))


def differences_but_for_order(expected: Path, found: Path) -> list[str]:
    """As `differences`, of runs whose rows go on in another order each time: the same lines, however they lie."""
    ours, theirs = (_lines(run) for run in (found, expected))
    said = [f"{name}: {count} too many of {line[:200]!r}" for (name, line), count in (ours - theirs).items()]
    said += [f"{name}: lacks {count} of {line[:200]!r}" for (name, line), count in (theirs - ours).items()]
    said += [f"{path.relative_to(found)}: {line}" for path in found.rglob("*.jsonl") for line in _torn(path)]
    said += [f"status.json: {line}" for line in _unlike(_status(expected), _status(found))]
    return said + _calls_differ(_calls(expected), _calls(found))


def _lines(run: Path) -> Counter[tuple[str, bytes]]:
    return Counter(
        (os.path.dirname(name), line)
        for name, path in files(run).items()
        if name.startswith(DERIVED)
        for line in path.read_bytes().splitlines()
    )


def ids(run: Path, node: str) -> list[str]:
    """Of the rows in a node's files, in order."""
    parts = sorted((run / "steps" / node).iterdir())
    return [json.loads(line)["_id"] for part in parts for line in part.read_bytes().splitlines()]


def recorded_order(run: Path, node: str) -> list[int]:
    """In which order a function over the whole run gave its rows back, by their places before."""
    parts = sorted((run / "calls" / node).iterdir())
    records = [json.loads(line) for part in parts for line in part.read_bytes().splitlines()]
    sets = {record["set"] for record in records if record["_id"].endswith("//end")}
    assert len(sets) == 1, f"{len(sets)} orders are written down"
    return [place for record in records if record["set"] in sets for place in record.get("rows", ())]


def derived_differ(expected: Path, found: Path) -> list[str]:
    """As `differences`, of what does not say how it came about."""
    theirs, ours = files(expected), files(found)
    said = [f"{name} is missing" for name in theirs if name not in ours]
    said += [f"{name} should not be there" for name in ours if name not in theirs]
    said += [f"{path.relative_to(found)} is an empty folder" for path in found.rglob("*") if _is_empty(path)]
    for name in theirs:
        if name in ours and name.startswith(DERIVED):
            said += _bytes_differ(name, theirs[name].read_bytes(), ours[name].read_bytes())
    for name, path in ours.items():
        if path.suffix == ".jsonl":
            said += [f"{name}: {line}" for line in _torn(path)]
    return said


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _bytes_differ(name: str, expected: bytes, found: bytes) -> list[str]:
    if expected == found:
        return []
    pairs = enumerate(zip(expected, found, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(expected), len(found)))
    line = expected.count(b"\n", 0, at) + 1
    near = slice(max(0, at - 40), at + 40)
    where = f"differs from byte {at} (line {line}): {found[near]!r} instead of {expected[near]!r}"
    return [f"{name}: {len(found)} bytes instead of {len(expected)}, {where}"]


def _status(run: Path) -> dict[str, Any]:
    status: dict[str, Any] = json.loads((run / "status.json").read_bytes())
    for counted in (*status["nodes"].values(), *status["engines"].values()):
        for name in _TIMES:
            counted.pop(name, None)
    return {key: value for key, value in status.items() if key not in _OF_ONE_RUN}


def _unlike(expected: dict[str, Any], found: dict[str, Any], where: str = "") -> list[str]:
    said = []
    for key in {**expected, **found}:
        theirs, ours = expected.get(key), found.get(key)
        if isinstance(theirs, dict) and isinstance(ours, dict):
            said += _unlike(theirs, ours, f"{where}{key}.")
        elif theirs != ours:
            said.append(f"{where}{key} is {ours!r} instead of {theirs!r}")
    return said


def _calls(run: Path) -> Counter[str]:
    """Every logged call, without its times and its place in the log. What is carried over the end of a chunk and what
    a function gave for the whole run is left out: that depends on the chunks."""
    found: Counter[str] = Counter()
    for name, path in files(run).items():
        for line in path.read_bytes().splitlines() if name.startswith("calls/") else ():
            if not line.startswith((b'{"_id":"carry"', f'{{"_id":"{path.parent.name}//'.encode())):
                found[f"{path.parent.name} {_lasting(line)}"] += 1
    return found


def _lasting(line: bytes) -> str:
    try:
        record = json.loads(line)
    except ValueError:
        return repr(line)
    return json.dumps({key: value for key, value in record.items() if key not in _OF_ONE_CALL}, sort_keys=True)


def _calls_differ(expected: Counter[str], found: Counter[str]) -> list[str]:
    said = [f"calls/ has {count} too many of {record[:200]}" for record, count in (found - expected).items()]
    said += [f"calls/ lacks {count} of {record[:200]}" for record, count in (expected - found).items()]
    return [*said[:3], f"calls/: {len(said)} differences in all"] if len(said) > 3 else said


def _torn(path: Path) -> list[str]:
    data = path.read_bytes()
    said = [] if data.endswith(b"\n") else ["ends without a line break"]
    for number, line in enumerate(data.splitlines(), 1):
        try:
            json.loads(line)
        except ValueError:
            said.append(f"line {number} is no JSON: {line[:80]!r}")
    return said
