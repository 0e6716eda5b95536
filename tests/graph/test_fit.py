from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict

from chainette.graph import fit


class Wide(BaseModel):
    a: int
    b: str


class Narrow(BaseModel):
    a: int


class Strictly(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int


class Other(BaseModel):
    a: list[int]


@pytest.mark.parametrize(
    ("source", "target", "how"),
    [
        (Wide, Wide, "same"),
        (Wide, Narrow, "cast"),
        (Narrow, Wide, "misfit"),
        (Wide, Strictly, "misfit"),
        (Narrow, Other, "misfit"),
        (Any, Wide, "cast"),
        (Wide, Any, "same"),
        (dict, Wide, "cast"),
        (int, float, "cast"),
        (int, Wide, "misfit"),
        (str, int, "cast"),
        (int, str, "misfit"),
        (Wide, Wide | None, "same"),
        (Wide | None, Wide, "cast"),
        (Narrow | str, Wide, "misfit"),
        (list[int], list[float], "cast"),
        (list[int], list[Wide], "misfit"),
        (list[Wide], Wide, "misfit"),
        (str, Literal["a", "b"], "cast"),
    ],
)
def test_what_fits_is_decided_by_type(source, target, how):
    assert fit(source, target)[0] == how
