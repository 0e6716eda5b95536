"""The one broker of a program, for people with a notebook or a script. Runs have brokers of their own."""

from __future__ import annotations

import functools

from chainette.devices import devices_here
from chainette.engine.broker import Broker
from chainette.engine.held import EngineState
from chainette.engine.lease import Lease
from chainette.errors import ChainError
from chainette.specs import engines_here


class EngineBroker:
    """The broker of this process, on the engines registered in code, in `engines.yml` here, and in the environment.

    with EngineBroker.acquire("llama3") as engine:
        texts = engine.generate(["Hello"], SamplingParams(max_tokens=20))
    """

    @staticmethod
    def acquire(name: str) -> Lease:
        """
        Raises:
            ChainError: there is no engine of that name, or `engines.yml` is wrong.
        """
        registry, problems = engines_here()
        if problems:
            raise ChainError(problems)
        return _shared().acquire(registry.get(name))

    @staticmethod
    def flush(force: bool = False) -> None:
        """Stops the engines without a lease, with `force` all of them."""
        _shared().flush(force)

    @staticmethod
    def sweep() -> list[str]:
        """Stops what has been idle for its `idle_timeout_s`; returns the names."""
        return _shared().sweep()

    @staticmethod
    def statistics() -> list[EngineState]:
        return _shared().statistics()


@functools.cache
def _shared() -> Broker:
    return Broker(devices=lambda: devices_here(engines_here()[0].declared_devices).devices)
