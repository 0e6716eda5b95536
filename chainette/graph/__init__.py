"""Chain to graph: ids, order, types on the edges, names in reach, signatures. Pure: starts, opens and runs nothing."""

from chainette.graph.build import build
from chainette.graph.nodes import INPUT_ID, Graph, Intake, JoinedBranch, Node, Reference
from chainette.graph.types import cast_to, fit, type_name

__all__ = [
    "INPUT_ID",
    "Graph",
    "Intake",
    "JoinedBranch",
    "Node",
    "Reference",
    "build",
    "cast_to",
    "fit",
    "type_name",
]
