"""What may be said about one run, beside the chain and its input. Reads no files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from chainette.errors import ChainError, Problem, nearest
from chainette.rows import FailureKind


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of `chain.run` and of the command line; the names are the same."""

    output_dir: str | os.PathLike[str] | None = None
    """The run folder itself, new or empty. None: a new one under `runs_dir`."""
    runs_dir: str | os.PathLike[str] = "runs"
    engines_file: str | os.PathLike[str] | None = None
    """None: `$CHAINETTE_ENGINES`, else `engines.yml` in the working directory if there is one."""
    limit: int | None = None
    """Input rows to take, from the first."""
    columns: Sequence[str] | None = None
    """Columns of the data, mapped in order onto the first model's fields."""
    id_field: str | None = None
    """Field of the data that gives the row ids."""
    chunk_size: int | None = None
    max_lines_per_file: int = 100_000
    format: Literal["jsonl", "parquet", "csv"] = "jsonl"
    flattened: bool = True
    params: Mapping[str, Any] = field(default_factory=dict)
    """What `chainette.context().params` holds."""
    max_failed: int | str | None = None
    """Failed rows that are allowed, `5` or `"2%"`. None: a row that cannot be read stops the run."""
    engines: Mapping[str, str] = field(default_factory=dict)
    """Step id -> engine name, before what the steps say."""
    open_rows: int = 16_384
    """Input rows that may be under way. Those that wait for an earlier one are moved to disk before they fill it."""
    resume: str | os.PathLike[str] | None = None
    """The run to go on with: its folder, name, the beginning of it, or `last`."""
    force: bool = False
    """With `resume`: take a changed chain or input, and of the old calls those that still fit."""
    retry: str | os.PathLike[str] | None = None
    """The run whose failed rows are to be made again, in their places."""
    retry_step: str | None = None
    """Only the rows that failed at this node."""
    retry_kind: str | None = None
    """Only failures of this kind."""
    reuse: str | os.PathLike[str] | None = None
    """A run whose calls are taken wherever their key is the same."""
    tags: Sequence[str] = ()
    """Words by which the run is found again, for `graph.json`; a run that goes on keeps those that it has."""
    otel: str | None = None
    """Where OpenTelemetry spans and metrics go: the URL of an OTLP/HTTP receiver, `env` (the OTEL_EXPORTER_OTLP_…
    variables) or `file:PATH`."""
    command: Sequence[str] = ()
    """What was typed, for `graph.json`."""
    call: Mapping[str, Any] = field(default_factory=dict)
    """Where chain and input are (`target`, `input`, `cwd`, `engines_file`), so that `chainette resume` finds them."""

    def __post_init__(self) -> None:
        problems = []
        for name in ("limit", "chunk_size", "max_lines_per_file", "open_rows"):
            value = getattr(self, name)
            least = 0 if name == "limit" else 1
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
                problems.append(Problem(name, f"must be a whole number from {least}, not {value!r}"))
        if self.resume is not None and self.output_dir is not None:
            problems.append(
                Problem("output_dir", "a run that goes on stays in its folder", "one of resume and output_dir")
            )
        if self.resume is not None and self.reuse is not None:
            problems.append(Problem("reuse", "a run that goes on reuses what it began with", "resume without it"))
        if self.force and self.resume is None and self.retry is None:
            problems.append(Problem("force", "is for a run that goes on", "resume=… or retry=…"))
        if self.retry is not None and (self.resume is not None or self.output_dir is not None):
            problems.append(Problem("retry", "heals a run in its folder", "without resume and output_dir"))
        if self.retry is None and (self.retry_step is not None or self.retry_kind is not None):
            problems.append(Problem("retry_step, retry_kind", "narrow a retry", "retry=…"))
        if self.retry is not None and self.reuse is not None:
            problems.append(Problem("reuse", "is for a new run", "retry without it"))
        if self.retry_kind is not None and self.retry_kind not in get_args(FailureKind):
            hint = nearest(self.retry_kind, get_args(FailureKind))
            problems.append(Problem("retry_kind", f'no kind of failure is called "{self.retry_kind}"', hint))
        problems += _tag_problems(self.tags)
        if self.format not in ("jsonl", "parquet", "csv"):
            problems.append(Problem("format", f'"{self.format}"', nearest(str(self.format), _FORMATS)))
        try:
            self.allowed_failures()
        except ValueError:
            problems.append(Problem("max_failed", f'"{self.max_failed}" is no number of rows', "5 or 2%"))
        if problems:
            raise ChainError(problems)

    @classmethod
    def of(cls, **options: Any) -> RunOptions:
        """The options by name.

        Raises:
            ChainError: an unknown name, with the nearest, or a value that does not fit.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(options) - known)
        if unknown:
            raise ChainError([Problem("run", f'no option "{name}"', nearest(name, known)) for name in unknown])
        return cls(**options)

    def allowed_failures(self) -> tuple[float | None, float | None]:
        """(rows, share of rows) that may fail; both None when nothing was said."""
        if self.max_failed is None:
            return None, None
        text = str(self.max_failed).strip()
        value = float(text[:-1]) / 100 if text.endswith("%") else float(int(text))
        if value < 0 or (text.endswith("%") and value > 1):
            raise ValueError(text)
        return (None, value) if text.endswith("%") else (value, None)


_FORMATS = ("jsonl", "parquet", "csv")
_MOST_OF_A_TAG = 60


def _tag_problems(tags: object) -> list[Problem]:
    if isinstance(tags, str) or not isinstance(tags, Sequence):
        return [Problem("tags", "is a list of words", 'tags=["baseline"]')]
    return [
        Problem(
            "tags", f"{str(tag)[:_MOST_OF_A_TAG]!r} is no tag", f"a word or a few, at most {_MOST_OF_A_TAG} characters"
        )
        for tag in tags
        if not (isinstance(tag, str) and tag.strip() and len(tag) <= _MOST_OF_A_TAG and tag.isprintable())
    ]
