"""Chunks that wait for a later stage, or behind one that does: out of memory, and back in input order.

Knows when a chunk may come back, not why it had to wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from chainette.errors import ChainetteError
from chainette.executor.flat_flow import flatten, restored
from chainette.executor.flow import Flow
from chainette.files.held import HeldChunks

DONE = 1 << 30
"""The place of chunks that are finished and wait for those before them: behind every stage."""


class Parking:
    """A store per stage. Chunks are put by one thread at a time, read by any."""

    def __init__(self, folder: Path, stage_of: Mapping[int, int], warn: Callable[[str], None]) -> None:
        """`stage_of` gives the stage of a step by its node; `warn` is called in the thread that puts."""
        self._folder = folder
        self._stage_of = stage_of
        self._warn = warn
        self._stores: dict[int, HeldChunks] = {}
        self._place_of: dict[int, int] = {}
        self._in_memory: dict[int, Flow] = {}
        self._has_warned = False

    def put(self, flow: Flow) -> None:
        """Takes a chunk at rest. In a thread; the caller lets go of the flow.

        Raises:
            RunFolderError: the disk is full or the like.
        """
        # Where all rows of the chunk have come, they wait at a barrier, or at a scan for the chunks before.
        whole = [node for node in flow.pending if not flow.sources[node]]
        place = min((self._stage_of[node] for node in (*flow.parked, *whole)), default=DONE)
        try:
            self._store(place).put(flow.index, flatten(flow))
        except ChainetteError:
            raise
        except Exception as error:  # what a class of the user's may raise when it is pickled
            self._in_memory[flow.index] = flow
            if not self._has_warned:
                self._has_warned = True
                words = f"{type(error).__name__}: {error}"
                self._warn(
                    f"rows that wait for a later stage stay in memory: chunk {flow.index} cannot be pickled ({words})"
                )
        self._place_of[flow.index] = place

    def waits_for(self, stage: int) -> bool:
        return stage in self._place_of.values()

    def flows(self, stage: int) -> Iterator[Flow]:
        """The chunks that wait for the stage, in input order. Each stays here until it is forgotten."""
        for index in sorted(index for index, place in self._place_of.items() if place == stage):
            yield self.read(index)

    def read(self, index: int) -> Flow:
        flow = self._in_memory.get(index)
        return flow if flow is not None else restored(self._store(self._place_of[index]).read(index))

    def is_on_disk(self, index: int) -> bool:
        """Whether what is read is the reader's own."""
        return index not in self._in_memory

    def forget(self, index: int) -> None:
        """The chunk is under way again, or committed."""
        place = self._place_of.pop(index)
        if self._in_memory.pop(index, None) is None:
            self._store(place).forget(index)

    def close(self) -> None:
        for store in self._stores.values():
            store.close()

    def _store(self, place: int) -> HeldChunks:
        store = self._stores.get(place)
        if store is None:
            store = self._stores[place] = HeldChunks(self._folder)
        return store
