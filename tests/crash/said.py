"""What is wrong with the events of a run, whatever happened to its processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chainette.files.ledger import Ledger
from chainette.observe import event_of


def wrongly_said(run: Path, *, over: bool = True) -> list[str]:
    """A line for each thing; none: every chunk is read and committed once and in order, just those that `commits.jsonl`
    knows, and stages are well nested. With `over`, the run has come to its end."""
    try:
        records = [json.loads(line) for line in (run / "events.jsonl").read_bytes().split(b"\n")[:-1]]
    except ValueError as error:
        return [f"events.jsonl: {error}"]
    wrong = [f"no event: {record}" for record in records if event_of(record) is None]
    wrong += _wrong_chunks(records, run)
    wrong += _wrong_stages(records)
    if over and records[-1]["event"] != "run_finished":
        wrong.append(f"the last event is {records[-1]}")
    return wrong


def _wrong_chunks(records: list[dict[str, Any]], run: Path) -> list[str]:
    wrong: list[str] = []
    read: dict[int, tuple[int, int]] = {}
    rows: list[int] = []  # after each chunk that is committed
    for place, record in enumerate(records, 1):
        chunk = record.get("chunk")
        match record["event"]:
            case "chunk_read":
                if chunk in read:
                    wrong.append(f"event {place}: chunk {chunk} is read twice")
                read[record["chunk"]] = record["first"], record["rows"]
            case "chunk_committed":
                if chunk not in read or chunk != len(rows):
                    wrong.append(f"event {place}: chunk {chunk} is committed behind {len(rows)}, read: {chunk in read}")
                rows.append(record["rows_committed"])
            case "chunks_cut_back":
                read = {known: its for known, its in read.items() if known < record["from_chunk"]}
                del rows[record["from_chunk"] :]
    known, total = [], 0
    for closed in Ledger(run / "commits.jsonl").chunks():
        total += closed.count.rows
        known.append(total)
    if rows != known:
        wrong.append(f"rows after each chunk: {rows}, and the commit records say {known}")
    firsts = [0, *rows]
    wrong += [
        f"chunk {chunk} begins at row {read[chunk][0]}, and is committed behind row {firsts[chunk]}"
        for chunk in range(len(rows))
        if chunk in read and read[chunk] != (firsts[chunk], rows[chunk] - firsts[chunk])
    ]
    return wrong


def _wrong_stages(records: list[dict[str, Any]]) -> list[str]:
    """Of each process; one that was killed leaves its last stage open."""
    wrong: list[str] = []
    running, now, last = False, None, -1
    for place, record in enumerate(records, 1):
        before_start = record["event"] == "chunks_cut_back" or record.get("recovered")
        match record["event"]:
            case "run_started":
                running, now, last = True, None, -1
            case "run_finished":
                if not running or now is not None:
                    wrong.append(f"event {place}: the run is finished, running: {running}, in stage {now}")
                running = False
            case "stage_started":
                if now is not None or record["stage"] <= last or record["stage"] >= record["stages"]:
                    wrong.append(f"event {place}: {record} in stage {now}, behind {last}")
                now = last = record["stage"]
            case "stage_finished":
                if now != record["stage"]:
                    wrong.append(f"event {place}: {record} in stage {now}")
                now = None
            case _ if not running and not before_start:
                wrong.append(f"event {place}: {record} while no process is at work")
            case _:
                pass
    return wrong
