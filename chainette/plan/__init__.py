"""Graph and engines to a plan: who runs where, leased how often. Starts nothing and knows no backend by name."""

from chainette.plan.plan import Plan, Stage, make_plan

__all__ = ["Plan", "Stage", "make_plan"]
