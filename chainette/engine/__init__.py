"""Live engines: how they are called, what each backend takes, and the broker that alone starts and stops them.

Knows nothing of chains, rows on their way or files.
"""

from chainette.engine.backends import capabilities
from chainette.engine.protocol import Answer, CallError, Choice, Engine, Message, Prepared

__all__ = ["Answer", "CallError", "Choice", "Engine", "Message", "Prepared", "capabilities"]
