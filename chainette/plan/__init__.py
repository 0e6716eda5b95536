"""Graph, engines and devices to a plan: who runs where and when, leased how often. Starts nothing and knows no backend
by name.
"""

from chainette.plan.plan import Plan, make_plan
from chainette.plan.stages import Stage

__all__ = ["Plan", "Stage", "make_plan"]
