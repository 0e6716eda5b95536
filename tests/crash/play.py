"""One disturbed run after the other, each brought to its end by `chainette resume` and compared with a whole one."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random

from tests.crash import disk
from tests.crash.moments import Moment, Whole, draw
from tests.crash.program import Program
from tests.crash.said import wrongly_said
from tests.crash.server import Server

CHAIN = f"{Path(__file__).with_name('pipeline.py')}:chain"
WINDOW = 32
"""Calls in flight at once."""
FAILED_ROWS, INTERRUPTED, STOPPED = 3, 130, 1
_WORDS = "the lamp hums and the kettle leaks at night while a chair stands in rain under old clocks é 日本".split()


@dataclass(frozen=True)
class Layout:
    """How a run's files are cut: what their bytes depend on."""

    format: str = "jsonl"
    max_lines: int | None = None

    @property
    def options(self) -> list[str]:
        lines = [] if self.max_lines is None else ["--max-lines-per-file", str(self.max_lines)]
        return ["--format", self.format, *lines]


@dataclass
class Played:
    """How one disturbed run went."""

    run: Path
    layout: Layout
    options: Sequence[str] = ()
    before: Sequence[str] = ()
    """Words in front of `chainette`, such as a program that takes rights away."""
    moments: list[str] = field(default_factory=list)
    """Of the kills that met a living process."""
    calls: int = 0
    """Requests that the server got from all its processes."""
    unlogged: list[int] = field(default_factory=list)
    """For each kill: requests that the server had got and that were not in `calls/`."""
    exit_codes: list[int] = field(default_factory=list)


class Stage:
    """Inputs, an engines file and the undisturbed runs. Everything lies below `place`."""

    def __init__(self, place: Path, server: Server, rows: int, chain: str = CHAIN) -> None:
        self.place = place
        self.chain = chain
        self.server = server
        self.inputs = place / "in.jsonl"
        self.engines = place / "engines.yml"
        self.programs: list[Program] = []
        self._whole: dict[Layout, tuple[Path, Whole]] = {}
        self._numbers = count(1)
        place.mkdir(parents=True)
        random = Random(7)
        with self.inputs.open("w", encoding="utf-8") as file:
            for number in range(rows):
                text = " ".join(random.choices(_WORDS, k=random.randrange(3, 30)))
                file.write(json.dumps({"number": number, "text": text}, ensure_ascii=False) + "\n")
        self.write_engines()

    def write_engines(self, *, max_retries: int = 1, retry_wait_s: float = 0.01) -> None:
        self.engines.write_text(
            f"engines: [{{name: server, backend: openai, model: scripted, endpoint: '{self.server.url}', "
            f"max_concurrency: {WINDOW}, max_retries: {max_retries}, retry_wait_s: {retry_wait_s}}}]\n"
        )

    def at(self, server: Server) -> Stage:
        """The same with another server, and the same undisturbed runs."""
        other = copy.copy(self)
        other.server = server
        other.engines = self.place / f"engines-{server.port}.yml"
        other.write_engines()
        return other

    @contextmanager
    def emptied(self) -> Iterator[None]:
        """Afterwards none of its processes lives."""
        try:
            yield
        finally:
            for program in self.programs:
                program.kill()
            self.programs.clear()

    def fresh(self) -> Path:
        """A path for a run that is not there yet."""
        return self.place / f"run-{next(self._numbers)}"

    def log(self, run: Path) -> Path:
        return self.place / f"{run.name}.log"

    def begin(self, played: Played) -> Program:
        words = ["run", self.chain, "-i", str(self.inputs), "-f", str(self.engines), "-o", str(played.run), "-q"]
        return self._start(played, *words, *played.layout.options, *played.options)

    def begin_and_do(self, share: float, played: Played) -> Program:
        """The run when it has made that share of all calls."""
        calls = int(share * self.undisturbed(played.layout)[1].calls)
        goal = self.server.calls() + calls
        program = self.begin(played)
        assert program.until(lambda: self.server.calls() >= goal, f"call {calls}"), program.said()
        return program

    def resume(self, played: Played) -> Program:
        return self._start(played, "resume", str(played.run), "-f", str(self.engines), "-q")

    def retry(self, played: Played) -> Program:
        return self._start(played, "retry", str(played.run), "-f", str(self.engines), "-q")

    def cancel(self, played: Played) -> Program:
        return self._start(played, "cancel", str(played.run))

    def _start(self, played: Played, *words: str) -> Program:
        self.programs.append(Program(*words, log=self.log(played.run), before=played.before))
        return self.programs[-1]

    def go_on(self, played: Played) -> Program:
        """What a user types next; the same again where the run died before it had said what it is."""
        return self.resume(played) if (played.run / "graph.json").exists() else self.begin(played)

    def undisturbed(self, layout: Layout) -> tuple[Path, Whole]:
        """A run that nobody disturbed, made when it is first asked for."""
        if layout not in self._whole:
            run = self.place / f"whole-{len(self._whole)}"
            before, began = self.server.calls(), time.monotonic()
            program = self.begin(Played(run, layout))
            assert program.end() == FAILED_ROWS, program.said()
            whole = Whole(
                calls=self.server.calls() - before,
                parts=0 if layout.format == "jsonl" else disk.sealed(run),
                seconds=time.monotonic() - began,
            )
            assert disk.calls(run) == whole.calls
            self._whole[layout] = run, whole
        return self._whole[layout]

    def finish(self, played: Played) -> None:
        """Resumes to the end. The program says that rows failed, as it does after an undisturbed run."""
        before = self.server.calls()
        program = self.go_on(played)
        played.exit_codes.append(program.end())
        program.leaves_no_process()
        played.calls += self.server.calls() - before
        assert played.exit_codes[-1] in (FAILED_ROWS, 0), program.said()

    def same(self, played: Played) -> list[str]:
        """In what the run differs from the undisturbed one. No line: in nothing."""
        return disk.differences(self.undisturbed(played.layout)[0], played.run)

    def story(self, played: Played) -> str:
        said = self.log(played.run).read_text(encoding="utf-8", errors="replace")[-3000:]
        return f"killed at: {'; '.join(played.moments)}\n{played.run}\n{said}"


def killed(stage: Stage, layout: Layout, options: Sequence[str], random: Random, kills: int) -> Played:
    """A run that is killed so many times, the first time as a new run and then while it resumes, and then finished."""
    played = Played(stage.fresh(), layout, options)
    _, whole = stage.undisturbed(layout)
    for _ in range(kills):
        if not strike(stage, played, draw(random, whole, played.run, stage.server)):
            break
    stage.finish(played)
    return played


def disturb(
    stage: Stage,
    seed: int,
    layout: Layout,
    chunk_size: int,
    kills: int,
    unlike: Callable[[Path, Path], list[str]] = disk.differences,
) -> Iterator[tuple[Played, int]]:
    """Runs with so many kills in all, each with the number of its differences.

    Raises:
        AssertionError: there are any, or a call was made again that was in the log.
    """
    random = Random(seed)
    expected, whole = stage.undisturbed(layout)
    for _ in range(10 * kills):
        played = killed(stage, layout, ["--chunk-size", str(chunk_size)], random, kills)
        differences = unlike(expected, played.run) + wrongly_said(played.run)
        yield played, len(differences)
        assert not differences, f"{chr(10).join(differences[:20])}\n{stage.story(played)}"
        twice = played.calls - whole.calls
        assert twice == sum(played.unlogged), f"{twice} calls were made again, {stage.story(played)}"
        kills -= len(played.moments)
        if kills <= 0:
            return
    raise AssertionError(f"{kills} processes too many ended before the moment to kill them")


def strike(stage: Stage, played: Played, moment: Moment) -> bool:
    """Goes on with the run and kills it at that moment. False: it had ended before."""
    logged, before = disk.calls(played.run), stage.server.calls()
    program = stage.go_on(played)
    met = program.until(lambda: moment.reached(program), moment.words)
    if met:
        program.kill()
    else:
        assert program.end() in (FAILED_ROWS, 0), program.said()
    program.leaves_no_process()
    seen = stage.server.calls() - before
    played.calls += seen
    if met:
        played.moments.append(moment.words)
        played.unlogged.append(seen - (disk.calls(played.run) - logged))
    return met
