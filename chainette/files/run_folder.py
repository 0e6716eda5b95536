"""What one run leaves on disk, and what of it is done. Knows nothing of engines, calls' meaning or the graph.

Three threads meet here: the reader's (`add_inputs`), the committer's (`add_chunk`) and the ones that make everything
durable twice a second (`sync_log`, `sync`). Calls and events are only put on a list by whoever says them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import orjson

from chainette.events import RunCount
from chainette.files.call_log import CallLog
from chainette.files.carried import Carried, Uncarried
from chainette.files.disk import RollingFile, replace_file
from chainette.files.healing import Healing, complete_swap
from chainette.files.held import HeldChunks
from chainette.files.input_log import InputLog
from chainette.files.json_text import encode, encode_rows, plain
from chainette.files.ledger import NAME, begin_record, closing_record, commit_record, end_record, is_closing
from chainette.files.names import HEALING, new_run_id
from chainette.files.new_folder import check_empty, make_folder, new_folder
from chainette.files.outputs import Format, MadeChunk, NodeOutput, OutputOptions, Outputs
from chainette.files.part_sealer import PartSealer
from chainette.files.recovery import Recovered, forget, recover, survey
from chainette.files.remote_names import as_url, is_remote
from chainette.files.run_lock import RunLock
from chainette.files.tails import whole_lines
from chainette.rows import InputChunk, NodeChunk

__all__ = ["NodeOutput", "RunFolder"]

Purpose = Literal["new", "resume", "heal"]
_ENDLESS = 1 << 62
_Block = tuple[str | None, str, bytes, int]
"""Node, stream, lines, how many."""


class RunFolder:
    """A folder that one process writes. Made by `create` or `reopen`, told what to expect by `configure`."""

    def __init__(self, path: Path, run_id: str, lock: RunLock, purpose: Purpose = "new") -> None:
        self.path = path
        self.run_id = run_id
        self.before = Recovered()
        """How far the run had come when the folder was opened again."""
        self._purpose = purpose
        self._healing: Healing | None = None
        self._held = HeldChunks(path)
        self._lock = lock
        self._commits_to_come: list[dict[str, Any]] = []
        self.last_whole_chunk = -1
        """The last chunk that this process wrote and whose closing record is on disk."""
        self._syncing = threading.Lock()
        self._logging = threading.Lock()
        self._closed = False
        self._sealed = False
        self._sealer = PartSealer(path, "jsonl")
        self._log = CallLog(path)
        self._commits = RollingFile(path, path, _ENDLESS, name=NAME)
        self._inputs = InputLog(path, 100_000)
        self._outputs = Outputs(path, [], OutputOptions(flattened=False))
        self.remote: Carried = Uncarried()
        """Where what is written goes as well. Set before `configure`."""

    @classmethod
    def create(
        cls, path: str | os.PathLike[str] | None, chain_name: str, *, runs_dir: str | os.PathLike[str] = "runs"
    ) -> RunFolder:
        """A new folder for a run: at `path`, or under `runs_dir` with the chain's name and the time (or URLs).

        Raises:
            RunFolderError: `path` holds something already, another process writes it, or it cannot be made.
        """
        run_id = new_run_id(chain_name)
        if is_remote(runs_dir if path is None else path):
            return cls._at_url(f"{as_url(runs_dir)}/{run_id}" if path is None else as_url(path), run_id)
        folder = new_folder(chain_name, runs_dir) if path is None else make_folder(path)
        lock = RunLock(folder)
        try:
            check_empty(folder)
        except BaseException:
            lock.release()
            raise
        return cls(folder, folder.name if path is None else run_id, lock)

    @classmethod
    def _at_url(cls, url: str, run_id: str) -> RunFolder:
        from chainette.files.remote_carrier import Carrier

        carrier = Carrier.take(url)
        carrier.begin_new()
        folder = cls(carrier.path, run_id, RunLock(carrier.path))
        folder.remote = carrier
        return folder

    @property
    def place(self) -> str:
        """What the user calls the folder."""
        return self.remote.url or str(self.path)

    @classmethod
    def reopen(cls, path: Path, run_id: str, purpose: Literal["resume", "heal"] = "resume") -> RunFolder:
        """The folder of a run that ended or died, to go on with it or to make failed rows of it again.

        Raises:
            RunFolderError: another process writes it, or it may not be written.
        """
        lock = RunLock(path)
        try:
            complete_swap(path)
        except BaseException:
            lock.release()
            raise
        return cls(path, run_id, lock, purpose)

    def forget(self, *, inputs: bool = True) -> None:
        """Takes away all but the calls and what happened, so that everything is made again. Before `configure`.

        Without `inputs` the input rows stay too.

        Raises:
            RunFolderError: something cannot be removed.
        """
        forget(self.path, inputs=inputs)

    def configure(
        self,
        nodes: Sequence[NodeOutput],
        *,
        format: Format = "jsonl",
        max_lines_per_file: int = 100_000,
        flattened: bool = True,
        input_type: Any = Any,
        flat_columns: Sequence[str] = (),
        in_one: bool = False,
    ) -> None:
        """Say what will be written. `input_type` is that of the values in `InputChunk`, `flat_columns` are the nodes in
        the flattened rows. A folder that was opened again is cut to its last whole chunk; with `in_one`, to nothing
        unless all are whole, since chunks have rows of one another.

        Raises:
            RunFolderError: two nodes would share a folder, or the format is unknown; a file cannot be cut back.
        """
        options = OutputOptions(format, max_lines_per_file, flattened, input_type)
        self._outputs = Outputs(self.path, nodes, options)
        self._outputs.describe_flat(flat_columns)
        self._inputs = InputLog(self.path, max_lines_per_file)
        self._sealer = PartSealer(self.path / HEALING if self._purpose == "heal" else self.path, options.format)
        if self._purpose != "new":
            self._log.restore([output.node_id for output in nodes])
        if self._purpose == "resume":
            self._restore(max_lines_per_file, in_one)
        elif self._purpose == "heal":
            self.before, _ = survey(self.path, max_lines_per_file)
            self._outputs = Outputs(self.path / HEALING, nodes, options)
            self._outputs.describe_flat(flat_columns)
            self._healing = Healing(self.path, self._outputs, self.before, max_lines_per_file)
        if self._purpose != "new":
            self.remote.push()  # before anything grows again

    def _restore(self, max_lines: int, in_one: bool) -> None:
        self.before = recover(self.path, max_lines, self._outputs.in_csv(), in_one=in_one)
        logged = self._log.counts()  # the log may be shorter now than it was
        # One less: what a scan carries from the last whole chunk may be the last record from before the next one.
        floor = {id: min(count, logged.get(id, 0)) - 1 for id, count in self.before.floor.items()}
        self.before.floor = {id: max(count, 0) for id, count in floor.items()}
        self._outputs.restore(self.before.marks)
        self._sealer.add(self._outputs.take_full_parts())
        self._inputs.restore(*self.before.inputs)
        if (self.path / NAME).exists():
            self._commits.restore(0, *whole_lines(self.path / NAME))

    def calls_logged(self) -> dict[str, int]:
        """Per node how many calls the log has."""
        return self._log.counts()

    def write_graph(self, graph: Mapping[str, Any]) -> None:
        replace_file(self.path / "graph.json", _document(graph))

    def write_status(self, status: Mapping[str, Any]) -> None:
        replace_file(self.path / "status.json", _document(status))
        self.remote.push_first()

    def add_inputs(self, chunk: InputChunk, *, replays: bool = False) -> None:
        """Write rows as they were read, those that are not there yet. From the reader's thread, in order.

        With `replays`, calls that the log holds from before may be the chunk's.

        Raises:
            InputError: a row was read before and was another one.
        """
        known = replays or chunk.first < self._inputs.known
        position = self._inputs.add(chunk)
        calls = self.before.floor if known else self._log.counts()
        self._commits_to_come.append(begin_record(chunk.index, self.path, position, calls))

    def end_inputs(self, rows: int) -> None:
        """The input has no more than these rows."""
        self._commits_to_come.append(end_record(rows))

    def add_chunk(
        self,
        index: int,
        nodes: Sequence[NodeChunk],
        final_ids: Sequence[str],
        flat: Mapping[str, Sequence[int]],
        inputs: InputChunk,
        *,
        whole: bool = True,
        count: RunCount | None = None,
        failing: RunCount | None = None,
    ) -> RunCount:
        """Write what the nodes made of one chunk. From one thread, in the order of the chunks.

        Returns what the run's counts change by: `count`, less what rows that were made again had added before.

        With `whole=False`, what was finished of a chunk when the run stopped: its rows are there to be read, without
        commit records, so a later run cuts them off and makes the chunk again.

        `flat` says for each column of the flattened rows, per final row, which of that node's values it holds, -1 for
        none; `chain_input` counts in `inputs.values`. `count` is what the chunk adds to the counts, `failing` what of
        that its failed rows add.

        Raises:
            RunFolderError: the disk is full or the like, or a value that `unwritable` has a reason against.
        """
        count = count or RunCount(rows=len(inputs.ids))
        made = self._outputs.lines(MadeChunk(inputs, nodes, final_ids, flat))
        if self._healing is not None:
            return self._healing.put(inputs, made, count, failing) if whole else RunCount()
        blocks = ((lines.step, lines.stream, lines.block, len(lines.ids)) for lines in made)
        self._append(blocks, [closing_record(index, count, failing)] if whole else [], index)
        return count

    def _append(self, blocks: Iterable[_Block], closing: list[dict[str, Any]], index: int) -> None:
        commits: list[dict[str, Any]] = []
        for step, stream, block, rows in blocks:
            _, file = self._outputs.file_of(stream) or (None, None)
            assert file is not None
            ends = self._outputs.append(step, file, block, rows)
            commits += [commit_record(step, index, self.path, position) for position in ends]
        if closing:
            self._commits_to_come.extend(commits + closing)
        # After the commits: whoever finds a full part here finds the commits of all its rows too.
        self._sealer.add(self._outputs.take_full_parts())

    @property
    def can_hold(self) -> bool:
        """Whether chunks may wait in the folder for one before them."""
        return self._healing is None

    def hold_chunk(self, made: MadeChunk, count: RunCount, failing: RunCount | None) -> None:
        """Keep a whole chunk on disk until those before it are whole too. As `add_chunk` otherwise."""
        blocks = [(lines.step, lines.stream, lines.block, len(lines.ids)) for lines in self._outputs.lines(made)]
        self._held.put(made.inputs.index, (blocks, count, failing))

    def add_held(self, index: int, *, whole: bool = True) -> RunCount:
        """Write a chunk that was held."""
        blocks, count, failing = self._held.take(index)
        self._append(blocks, [closing_record(index, count, failing)] if whole else [], index)
        return count  # type: ignore[no-any-return]

    def log_call(self, node_id: str, record: bytes) -> None:
        """One finished call, as one JSON object. Takes no time; on disk after the next `sync_log`."""
        self._log.add_call(node_id, record)

    def log_event(self, record: bytes) -> None:
        """One event, as one JSON object. As `log_call`."""
        self._log.add_event(record)

    def write_log(self) -> None:
        """Calls and events survive this process, if not yet the machine. Costs little.

        Raises:
            RunFolderError: as `sync`.
        """
        self._log.write()

    def sync_log(self) -> None:
        """Make calls and events durable, and the input rows they are about. Nothing else holds it up.

        Raises:
            RunFolderError: as `sync`.
        """
        self._sync_log()
        self.remote.nudge()

    def _sync_log(self) -> None:
        with self._logging:
            self._inputs.file.make_durable()
            self._log.sync()

    def sync(self) -> None:
        """Make all that was added before this call durable. Waits for the disk.

        Raises:
            RunFolderError: the disk is full, the folder is gone or may not be written.
        """
        with self._syncing:
            if not self._closed:
                self._sync()
        self.remote.nudge()

    def _sync(self) -> None:
        full_parts = self._sealer.waiting
        commits = list(self._commits_to_come)
        self._sync_log()
        for file in self._outputs.files():
            file.make_durable()
        if commits:
            self._commits.append(encode_rows(commits), len(commits))
            del self._commits_to_come[: len(commits)]
            self._commits.make_durable()
            closed = [record["chunk"] for record in commits if is_closing(record)]
            self.last_whole_chunk = closed[-1] if closed else self.last_whole_chunk
        self._sealer.seal_full(full_parts)

    def seal(self) -> None:
        """Turn open Parquet and CSV parts into files. No rows are added after it; calls, events and status still are.

        Raises:
            RunFolderError: something could not be written, or a value does not fit its column.
        """
        with self._syncing:
            self._sync()
            self._seal_open_parts()
        self._sealer.require()

    def _seal_open_parts(self) -> None:
        if self._sealed or (self._healing is not None and self._healing.torn):
            return
        self._sealed = True
        if self._healing is not None:
            self._healing.copy_rest()
            self._sealer.add(self._outputs.take_full_parts())
            self._sync()
        for part, layouts in self._outputs.open_parts():
            self._sealer.seal(part, layouts)
        self._sealer.tidy()
        if self._healing is not None and self._sealer.error is None:
            with self.remote.still():
                self._healing.swap()

    def close(self, *, seal: bool) -> None:
        """Make everything durable and give the folder back. With `seal`, open Parquet and CSV parts become files.

        Raises:
            RunFolderError: something could not be written or sealed; the folder is given back all the same.
        """
        with self._syncing:
            if self._closed:
                return
            try:
                self._sync()
                if seal:
                    self._seal_open_parts()
            finally:
                self._closed = True
                for file in (*self._outputs.files(), self._commits):
                    file.close()
                self._inputs.close()
                self._log.close()
                self._held.close()
                try:
                    self.remote.close()
                finally:
                    self._lock.release()
        self._sealer.require()


def _document(content: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(content, default=plain, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        return encode(content) + b"\n"
