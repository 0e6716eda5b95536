"""The servers of one engine of ours, one per replica: started together, brought back one by one, asleep, awake, ended.

Knows neither who holds the engine nor what else is on its devices.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chainette.devices import Device, Placement
from chainette.engine.asking import answers
from chainette.engine.backends import Running, backend_of
from chainette.engine.live import LiveServer, born_of, fingerprint, here
from chainette.engine.process import Server, ServerProcess, WarmServer
from chainette.errors import EngineStartError, EngineStartGivenUp
from chainette.specs import EngineSpec

SLEEP_TIMEOUT_S = 120.0
"""Weights are copied to the host's memory, or back: tens of gigabytes."""
STARTS = 2
"""Times a server is started that ends because its port was taken meanwhile."""

PORT_TAKEN = re.compile("address already in use", re.IGNORECASE)

Seats = Sequence[tuple[Device, ...]]
"""Devices per replica; an empty tuple for a server that takes none."""


class Hosted:
    """One engine's servers. Any thread may call."""

    def __init__(self, spec: EngineSpec, seats: Seats, *, share: float = 0.0, stays: bool = False) -> None:
        """`share` is what it takes of each of its devices. Servers that stay outlive this process."""
        self.spec = spec
        self.seats = seats
        self.share = share
        self.stays = stays
        self.asleep = False
        self._servers: list[Server | None] = [None] * len(seats)
        self._running: list[Running | None] = [None] * len(seats)
        self._live: list[LiveServer | None] = [None] * len(seats)
        self._reviving = [threading.Lock() for _ in seats]
        self._begun: Callable[[], object] = lambda: None
        self._ended = threading.Event()
        self._owner = os.getpid()
        self._attached = False

    @classmethod
    def attach(cls, spec: EngineSpec, live: Sequence[LiveServer]) -> Hosted:
        """The servers that somebody else keeps warm. One that dies is replaced by one of ours."""
        hosted = cls(spec, [_named(one) for one in live], share=live[0].share)
        hosted._attached = True
        for position, one in enumerate(live):
            server = WarmServer(one)
            hosted._servers[position] = server
            hosted._running[position] = Running(one.url, one.api_key, server.died)
        return hosted

    @property
    def running(self) -> list[Running]:
        """In the replicas' order. Only of an engine that was started."""
        return [one for one in self._running if one is not None]

    @property
    def servers(self) -> list[Server]:
        return [server for server in self._servers if server is not None]

    @property
    def warm(self) -> bool:
        """Whether somebody else keeps them."""
        return any(isinstance(server, WarmServer) for server in self.servers)

    @property
    def placement(self) -> Placement | None:
        """None where it takes no devices, or somebody else chose them."""
        seated = any(self.seats) and not self._attached
        return tuple(tuple(device.index for device in seat) for seat in self.seats) if seated else None

    @property
    def device_count(self) -> int:
        return sum(len(seat) for seat in self.seats)

    def start(self, given_up: Callable[[], bool] = lambda: False, begun: Callable[[], object] = lambda: None) -> None:
        """All replicas side by side; blocks until every one is healthy. `begun` is called once all processes are there
        and other processes can know of them.

        Raises:
            EngineStartError: one did not come up; then all are ended.
        """
        failed = threading.Event()
        self._begun = begun

        def one(replica: int) -> None:
            try:
                self._start_one(replica, lambda: failed.is_set() or given_up())
            except BaseException:
                failed.set()
                raise

        try:
            if len(self.seats) == 1:
                one(0)
                return
            with ThreadPoolExecutor(len(self.seats), thread_name_prefix="chainette-start") as pool:
                starts = [pool.submit(one, replica) for replica in range(len(self.seats))]
                try:
                    errors = [error for start in starts if (error := start.exception()) is not None]
                except BaseException:  # Ctrl-C: the pool is left only when all have given up
                    failed.set()
                    raise
            if errors:  # the first to fail, and not one that was given up for it
                raise next((e for e in errors if not isinstance(e, EngineStartGivenUp)), errors[0])
        except BaseException:
            self.stop()
            raise

    def revive(self, replica: int, dead: Running, restarting: Callable[[], None]) -> Running:
        """A server in the place of one that is dead or answers nobody: a new one, whose start `restarting` is told of,
        or the one that is there already when others were quicker to notice. Blocks.

        Raises:
            EngineStartError: it did not come up, or the engine was ended meanwhile.
        """
        with self._reviving[replica]:
            now = self._running[replica]
            if now is not None and now.url != dead.url and now.died() is None:
                return now
            restarting()
            old = self._servers[replica]
            if old is not None:
                old.end()  # what is left of it must give its devices back first
            self._forget(replica)
            return self._start_one(replica, self._ended.is_set)

    def _start_one(self, replica: int, given_up: Callable[[], bool]) -> Running:
        spec, seat = self.spec, self.seats[replica]
        environment = {"CUDA_VISIBLE_DEVICES": ",".join(device.visible for device in seat)} if seat else {}
        for left in reversed(range(STARTS)):
            launch = backend_of(spec).launch(spec, len(seat))
            try:
                server = ServerProcess.start(
                    spec.name,
                    launch,
                    spec.start_timeout_s,
                    lambda: self._ended.is_set() or given_up(),
                    replica=replica,
                    environment=environment,
                    begun=lambda server, key=launch.api_key: self._note(replica, server, key),  # type: ignore[misc]
                )
            except EngineStartError as error:
                self._forget(replica)
                if not left or not PORT_TAKEN.search(str(error)):
                    raise
                continue
            break
        self._servers[replica] = server
        self._note(replica, server, launch.api_key)
        running = self._running[replica] = Running(server.url, launch.api_key, server.died)
        if self._ended.is_set():
            self.stop()
            raise EngineStartError(f'engine "{spec.name}" was stopped while it started')
        return running

    def _note(self, replica: int, server: ServerProcess, api_key: str) -> None:
        """Makes the server known to other processes."""
        spec = self.spec
        self._live[replica] = live = LiveServer(
            name=spec.name,
            replica=replica,
            replicas=len(self.seats),
            fingerprint=fingerprint(spec),
            grammar=spec.grammar,
            backend=spec.backend,
            model=spec.model,
            devices=tuple(device.visible for device in self.seats[replica]),
            device_ids=tuple(device.id for device in self.seats[replica]),
            share=self.share,
            place=here(),
            pid=server.pid,
            born=born_of(server.pid),
            owner_pid=os.getpid(),
            owner_born=born_of(os.getpid()),
            seated=not self._attached,
            started_s=time.time(),
            warm=self.stays,
            url=server.url,
            api_key=api_key,
            log=str(server.log),
        )
        try:
            live.write()
        except OSError as error:
            if self.stays:
                raise EngineStartError(f"{live.file} cannot be written: {error.strerror}") from None
        if len(self.live()) == len(self.seats):
            self._begun()

    def live(self) -> list[LiveServer]:
        """What other processes are told of those that were started here."""
        return [one for one in self._live if one is not None]

    def dead(self) -> bool:
        """Whether no server is left."""
        return all(server.died() is not None for server in self.servers)

    @property
    def sleeps(self) -> bool:
        """Whether the servers were started so that they can sleep."""
        return not self.warm and backend_of(self.spec).with_sleep(self.spec) == self.spec

    def has_host_memory(self) -> bool:
        """Whether the host has room for the weights of sleeping servers."""
        import psutil

        return psutil.virtual_memory().available > weights_bytes(self.spec, self.seats, self.share)

    def sleep(self) -> bool:
        """Gives the devices' memory back and keeps the weights on the host. False when a server would not."""
        done = [_posted(one, "/sleep?level=1") for one in self.running]
        self.asleep = all(done)
        return self.asleep

    def wake(self) -> bool:
        """False when a server did not come back; it should be ended then."""
        done = [_posted(one, "/wake_up") for one in self.running]
        self.asleep = not all(done)
        return all(done)

    def let_go(self) -> None:
        """Servers that stay are on their own from now on."""
        for server in self.servers:
            if isinstance(server, ServerProcess):
                server.let_go()
        self._servers = []

    def stop(self) -> None:
        """Ends the servers that are ours, side by side. Blocks until they are gone. Does nothing in a process that was
        forked from the one they belong to."""
        if os.getpid() != self._owner:
            return
        self._ended.set()
        servers = self.servers
        if len(servers) == 1:
            servers[0].stop()
        elif servers:
            threads = [threading.Thread(target=server.stop) for server in servers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        for replica in range(len(self._live)):
            self._forget(replica)

    def _forget(self, replica: int) -> None:
        live = self._live[replica]
        if live is not None:
            live.forget()
            self._live[replica] = None


def weights_bytes(spec: EngineSpec, seats: Seats, share: float) -> int:
    """What all servers' weights take at most: the model's files where they are at hand, else the devices' share."""
    files = list(Path(spec.model).expanduser().glob("*.safetensors")) if spec.model else []
    if files:
        return sum(file.stat().st_size for file in files) * len(seats)
    return int(sum((device.memory_bytes or 0) * share for seat in seats for device in seat))


def seats_of(placement: Placement, devices: Sequence[Device]) -> Seats:
    """The devices behind a placement's indexes."""
    by_index = {device.index: device for device in devices}
    return [tuple(by_index[index] for index in replica) for replica in placement]


def _posted(running: Running, path: str) -> bool:
    return answers(running.url, running.api_key, path, method="POST", within_s=SLEEP_TIMEOUT_S)


def _named(live: LiveServer) -> tuple[Device, ...]:
    """Devices of which only their names are known."""
    pairs = zip(live.devices, live.device_ids, strict=True)
    return tuple(Device(index, visible=name, uuid=id) for index, (name, id) in enumerate(pairs))
