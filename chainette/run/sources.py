"""The input of a run: found, looked at, made into chunks. Knows nothing of the run folder but what it read before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from chainette.errors import InputError
from chainette.files import RowValidator, check_input, open_input
from chainette.files.input_log import InputLog
from chainette.files.inputs import Input, recorded_input
from chainette.files.recorded_inputs import RecordedSource, is_complete
from chainette.files.recovery import Recovered
from chainette.graph import Graph
from chainette.graph.types import fields_of
from chainette.rows import InputChunk
from chainette.run.checking import Checked
from chainette.run.id_guard import IdGuard
from chainette.run.options import RunOptions
from chainette.run.record import chunk_size_of


def source_again(checked: Checked, inputs: Any, options: RunOptions, path: Path) -> Input:
    """The input of an earlier run: what is given now, else what it read, where it read all of it."""
    if inputs is None or (isinstance(inputs, str) and inputs == "-"):
        if is_complete(path):
            return recorded_input(path, plain=checked.graph.input_type is Any)
        if inputs is None:
            raise InputError(
                f"{path.name} had not read its whole input, and where the rest is is not known; give the same input "
                f"again: chain.run(inputs, resume=…), or … | chainette resume {path.name} -i -"
            )
    return source_of(checked, inputs, options)


def source_of(checked: Checked, inputs: Any, options: RunOptions) -> Input:
    """The input; what can be checked cheaply is checked now."""
    input_type = checked.graph.input_type
    fields = list(fields_of(input_type) or {})
    source = open_input(inputs, columns=options.columns, model_fields=fields, limit=options.limit)
    if source.cheap and source.rereadable:
        # What spoils a whole file is raised by this in any case; bad rows only count when none may fail.
        id_field = options.id_field or source.id_field
        problems = check_input(source, lambda: RowValidator(input_type, id_field=id_field, keep_bad=True))
        if problems and options.max_failed is None:
            raise InputError("\n".join(problems))
    return source


def chunks_of(
    checked: Checked, source: Input, options: RunOptions, run: Path
) -> Callable[[Recovered], Iterator[InputChunk]]:
    """The chunks behind those that are whole, which are compared on the way where no fingerprint tells a change."""
    graph = checked.graph

    def chunks(before: Recovered) -> Iterator[InputChunk]:
        validate = RowValidator(graph.input_type, id_field=options.id_field, keep_bad=options.max_failed is not None)
        guard = IdGuard() if options.id_field is not None and _expands(graph) else None
        done = before.count.rows
        compares = done > 0 and not source.has_fingerprint
        if done and options.id_field is not None:
            ids = list(RecordedSource(run).ids(done))
            if not compares:
                validate.remember(ids)
            if guard is not None:
                guard.check(ids)
        index = before.chunk
        with closing(InputLog(run, options.max_lines_per_file)) as stored:
            for raw in source.chunks(chunk_size_of(graph, options), done, skipped_too=compares):
                if raw.first < done:
                    stored.compare(validate.chunk(raw, index))
                    continue
                index += 1
                chunk = validate.chunk(raw, index)
                if guard is not None:
                    guard.check(chunk.ids)
                yield chunk

    return chunks


def _expands(graph: Graph) -> bool:
    """Whether a node may make several rows of one."""
    return any(
        node.step.samples > 1 if node.kind == "step" else node.kind == "apply" and node.apply.shape.makes in _SEVERAL
        for node in graph.nodes
    )


_SEVERAL = ("many", "list")
