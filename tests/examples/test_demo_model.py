"""The demo model does what it was trained for, through the library, on rows it has not seen."""

from __future__ import annotations

import pytest

from examples.demo_model.evaluate import check
from examples.demo_model.through_run import STEPS, exact_share, shipped

pytestmark = pytest.mark.embedded


@pytest.mark.parametrize("task", STEPS)
def test_ninety_five_of_a_hundred_held_out_rows_are_exact(task):
    rows = shipped(task)
    assert len(rows) == 100
    assert exact_share(task, rows) >= 0.95


def test_the_prompts_of_the_examples_are_those_it_was_trained_on():
    assert check() == []
