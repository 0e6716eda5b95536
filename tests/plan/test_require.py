"""What stops a run before it starts: the declaration, or only the machine."""

from __future__ import annotations

import pytest

from chainette import Chain
from chainette.errors import ChainError, PlanError
from chainette.run import check
from tests.models import Question, step


@pytest.fixture
def one_device(engine, monkeypatch: pytest.MonkeyPatch):
    """An engine of which two replicas do not fit on the only device."""
    monkeypatch.setenv("CHAINETTE_DEVICES", "1")
    monkeypatch.setenv("CHAINETTE_STAND_IN_REPLICAS", "2")
    return engine(hosted=True)


def test_what_does_not_fit_is_a_plan_error_with_the_arithmetic(one_device) -> None:
    with pytest.raises(PlanError) as error:
        check(Chain(name="c", steps=[step("a", Question, Question)])).require()
    assert str(error.value) == 'engine "stand_in": does not fit: 0.9 (stand_in) + 0.9 (stand_in) = 1.8 of gpu 0'


def test_a_wrong_chain_comes_first_and_tells_of_the_devices_too(one_device) -> None:
    with pytest.raises(ChainError) as error:
        check(Chain(name="c", steps=[step("a", Question, Question, "{{ txet }}")])).require()
    assert [problem.where for problem in error.value.problems] == ['step "a" user_prompt', 'engine "stand_in"']
