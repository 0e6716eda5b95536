"""Notes on rows: the list, the one thing that a page writes, and the notes as a file to evaluate with."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from chainette.errors import ChainetteError, RunFolderError
from chainette.files.json_text import encode
from chainette.files.names import INPUT_NODE
from chainette.files.notes import BAD, GOOD, Note, check_row
from chainette.files.reading import RunReader
from chainette.files.views import turns_of
from chainette.view.site import NotHere, answer, asked, render, site_of, work
from chainette.view.values import brief

_SHOWN = 500


def routes() -> list[web.RouteDef]:
    return [
        web.get("/run/{run:[^/]+}/notes", notes),
        web.get("/api/run/{run:[^/]+}/notes.jsonl", as_lines),
        web.post("/api/run/{run:[^/]+}/notes", write),
    ]


async def notes(request: web.Request) -> web.Response:
    """The list, filtered by `label`, `step` and a text `q`."""
    name = asked(request, "run")
    reader = await work(request, site_of(request).reader, name)
    wanted = {key: request.query.get(key, "") for key in ("label", "step", "q")}
    found = await work(request, _all, reader)
    chosen = [note for note in found if _fits(note, wanted)]
    shown = await work(request, _with_rows, reader, chosen[:_SHOWN])
    labels = Counter(note.label or "without a label" for note in found)
    return render(
        request,
        "notes.html",
        run=name,
        tab="notes",
        notes=shown,
        count=len(chosen),
        labels=labels.most_common(),
        steps=list(dict.fromkeys(note.step for note in found)),
        wanted=wanted,
        query=request.query_string,
    )


def _all(reader: RunReader) -> list[Note]:
    return sorted(reader.notes().all(), key=lambda note: note.time, reverse=True)


def _fits(note: Note, wanted: dict[str, str]) -> bool:
    label = note.label or "without a label"
    if wanted["label"] and label != wanted["label"]:
        return False
    if wanted["step"] and note.step != wanted["step"]:
        return False
    return wanted["q"].lower() in f"{note.text}\n{note.row_id}\n{note.label}".lower()


def _with_rows(reader: RunReader, found: list[Note]) -> list[dict[str, Any]]:
    return [{"note": note, "row": brief(_fields(_row(reader, note)), 240)} for note in found]


def _row(reader: RunReader, note: Note) -> dict[str, Any] | None:
    """What the note is about, as it is now; None where the row is not there any more."""
    if note.step != INPUT_NODE and note.step not in reader.step_ids():
        return None
    rows = [row for row in reader.kin(note.step, note.row_id, 0) if row.get("_id") == note.row_id]
    of_turn = [row for row in rows if not note.turns or turns_of(row.get("_turn")) == note.turns]
    return of_turn[-1] if of_turn else None


def _fields(row: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if row is None else {name: value for name, value in row.items() if name not in ("_id", "_turn")}


async def as_lines(request: web.Request) -> web.StreamResponse:
    """A line per note, with the row and the input that it is about."""
    name = asked(request, "run")
    reader = await work(request, site_of(request).reader, name)
    wanted = {key: request.query.get(key, "") for key in ("label", "step", "q")}
    chosen = [note for note in await work(request, _all, reader) if _fits(note, wanted)]
    response = web.StreamResponse(
        headers={
            "Content-Type": "application/x-ndjson; charset=utf-8",
            "Content-Disposition": 'attachment; filename="notes.jsonl"',
        }
    )
    await response.prepare(request)
    for block in _blocks(chosen):
        await response.write(await work(request, _lines, reader, block))
    return response


def _blocks(found: list[Note]) -> Iterator[list[Note]]:
    yield from (found[at : at + 50] for at in range(0, len(found), 50))


def _lines(reader: RunReader, found: list[Note]) -> bytes:
    lines = []
    for note in found:
        source = reader.kin(INPUT_NODE, note.row_id, 0)
        told = {**note.public(), "row": _fields(_row(reader, note)), "input": _fields(source[-1]) if source else None}
        lines.append(encode(told) + b"\n")
    return b"".join(lines)


async def write(request: web.Request) -> web.Response:
    """Keeps a note. From a script it is JSON and so is the answer; from a form the answer leads back."""
    name = asked(request, "run")
    is_form = request.content_type != "application/json"
    told = await _told(request, is_form)
    reader = await work(request, site_of(request).reader, name)
    written = await work(request, _write, reader, told)
    if not is_form:
        return answer(written.public())
    back = told.get("back", "")
    # Not any that begins with `/`: a browser takes `//`, `/\` and those with a tab between for another host.
    raise web.HTTPSeeOther(back if back.startswith("/run/") else "/")


async def _told(request: web.Request, is_form: bool) -> dict[str, Any]:
    if is_form:
        form = await request.post()
        found = {key: value for key, value in form.items() if isinstance(value, str)}
        # The button that was pressed counts; "keep" keeps the label too, unless another was written.
        label = found.get("label", found.get("other", ""))
        if "label" not in found and not label and found.get("kept") in (GOOD, BAD):
            label = found["kept"]
        return {**found, "label": label}
    try:
        told = json.loads(await request.text())
    except (ValueError, RecursionError) as error:
        raise ChainetteError(f"a note comes as a JSON object: {error}") from None
    if not isinstance(told, dict):
        raise ChainetteError("a note comes as a JSON object with step, row, label and text")
    return told


def _write(reader: RunReader, told: dict[str, Any]) -> Note:
    texts = {}
    for key in ("step", "row", "label", "text"):
        value = told.get(key, "")
        if not isinstance(value, str):
            raise ChainetteError(f"the {key} of a note is a text, not {brief(value, 60)}")
        texts[key] = value.replace("\r\n", "\n")
    step, row_id = texts["step"], texts["row"]
    try:
        check_row(reader, step, row_id)
    except RunFolderError as error:
        raise NotHere(str(error)) from None
    turns = turns_of(told.get("turn"))
    return reader.notes().write(Note(step, row_id, texts["label"].strip(), texts["text"].strip(), turns))
