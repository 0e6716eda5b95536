"""What a user declares: steps, applies, branches, chains. Pure data; nothing here is checked against a graph or run."""

from chainette.chain.apply import Apply, apply
from chainette.chain.branch import Branch
from chainette.chain.chain import Chain
from chainette.chain.context import Context, context
from chainette.chain.step import Step

__all__ = ["Apply", "Branch", "Chain", "Context", "Step", "apply", "context"]
