"""The timeline of a run's folder, as of now where the run is at work. Knows where the events are, no event."""

from __future__ import annotations

import time

from chainette.files.reading import RunReader
from chainette.files.runs import summarise
from chainette.observe.timeline import Timeline


def timeline_of(reader: RunReader, now_s: float | None = None) -> Timeline:
    """`now_s` is taken for now where it is given.

    Raises:
        RunFolderError: the events cannot be read.
    """
    if summarise(reader.path).state != "running":
        return Timeline.of(reader.events())
    return Timeline.of(reader.events(), now_s=time.time() if now_s is None else now_s)
