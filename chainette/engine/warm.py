"""Engines that outlive the command that started them: one start for however many ask, from however many processes.

Knows no leases: who uses a warm engine is the broker's business, and when it ends a person's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from chainette.devices import Device
from chainette.engine.asking import answers
from chainette.engine.backends import backend_of
from chainette.engine.hosted import Hosted, seats_of
from chainette.engine.live import LiveServer, live_servers, seat_lock, start_lock, warm_servers
from chainette.engine.process import end_live, end_orphans
from chainette.engine.room import Room
from chainette.errors import EngineStartError
from chainette.specs import EngineSpec


def warm_up(
    spec: EngineSpec, devices: Callable[[], Sequence[Device]], starting: Callable[[str], None] = lambda why: None
) -> tuple[list[LiveServer], bool]:
    """Its servers, one per replica, in order, when all are healthy; and whether they were started now. Blocks.

    One that is warm already is kept, if it was made from the same spec and answers; else it is ended and started anew.
    `starting` gets the reason for a start.

    Raises:
        EngineStartError: it is not ours to start, does not fit, or did not come up; nothing of it is left then.
    """
    backend = backend_of(spec)
    if backend.base_url(spec) is not None:
        raise EngineStartError(f'engine "{spec.name}" is an endpoint: there is nothing to start')
    known = backend.capabilities(spec)
    if known.ready:
        raise EngineStartError(f'engine "{spec.name}": {known.ready}')
    spec = backend.settled(spec)
    with start_lock(spec.name):
        warm = warm_servers(spec)
        if warm and all(answers(one.url, one.api_key) for one in warm):
            return warm, False
        old = [one for one in live_servers([spec.name]) if one.warm]
        for one in old:
            end_live(one)
        starting(_why(old, warm))
        hosted = _start(spec, devices)
        live = hosted.live()
        hosted.let_go()
        return live, True


def end_servers(names: Sequence[str] | None = None) -> tuple[list[LiveServer], list[LiveServer]]:
    """Ends the warm servers of these names, or all, and those whose owner is gone, side by side; blocks until they are.
    Returns those, and the ones that were left alone because they end with their run."""
    live = live_servers(names)
    doomed = [one for one in live if one.warm or one.orphaned]
    if doomed:
        with ThreadPoolExecutor(len(doomed)) as side_by_side:
            list(side_by_side.map(end_live, doomed))
    return doomed, [one for one in live if one not in doomed]


def _start(spec: EngineSpec, devices: Callable[[], Sequence[Device]]) -> Hosted:
    known = backend_of(spec).capabilities(spec)
    end_orphans()
    here = devices() if known.on_devices else ()
    seated = seat_lock()
    with seated:
        if not here and (known.on_cpu or not known.on_devices):
            hosted = Hosted(spec, [()], stays=True)
        else:
            room = Room(here)
            placement = room.fit(spec)
            if placement is None:
                raise EngineStartError(f'engine "{spec.name}" does not fit: {room.shortage(spec)}')
            hosted = Hosted(spec, seats_of(placement, here), share=room.share_of(spec), stays=True)
        hosted.start(begun=seated.release)
    return hosted


def _why(old: Sequence[LiveServer], warm: Sequence[LiveServer]) -> str:
    if warm:
        return "it did not answer any more"
    if any(one.url for one in old):
        return "its spec has changed"
    return ""
