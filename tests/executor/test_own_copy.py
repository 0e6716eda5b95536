from __future__ import annotations

from pydantic import BaseModel, ConfigDict, PrivateAttr

from chainette.executor.own_copy import OwnCopy


class Flat(BaseModel):
    a: int
    b: str | None = None


class Deep(BaseModel):
    items: list[int]
    flat: Flat


class Secret(BaseModel):
    a: int
    _kept: list[int] = PrivateAttr(default_factory=lambda: [1])


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


def test_a_copy_is_equal_and_changing_it_changes_nothing_else():
    flat = Flat(a=1)
    copied = OwnCopy()(flat)
    assert copied == flat
    assert copied.model_fields_set == {"a"}
    copied.a, copied.b = 2, "x"
    assert (flat.a, flat.b, flat.model_fields_set) == (1, None, {"a"})


def test_what_lies_deeper_is_copied_too():
    deep = Deep(items=[1], flat=Flat(a=1))
    copied = OwnCopy()(deep)
    copied.items.append(2)
    copied.flat.a = 5
    assert deep == Deep(items=[1], flat=Flat(a=1))


def test_private_and_extra_fields_come_along():
    secret = Secret(a=1)
    copied = OwnCopy()(secret)
    copied._kept.append(2)
    assert secret._kept == [1]
    extra = OwnCopy()(Extra(a=1, more="x"))
    assert extra.more == "x"


def test_plain_values_are_themselves_and_dicts_are_copied():
    own, row = OwnCopy(), {"a": [1]}
    assert own("text") == "text"
    own(row)["a"].append(2)
    assert row == {"a": [1]}


def test_a_function_that_only_reads_fields_gets_the_row_itself_unless_something_in_it_could_be_changed():
    flat, deep = Flat(a=1), Deep(items=[1], flat=Flat(a=1))
    own = OwnCopy(reads_only=True)
    assert own(flat) is flat
    assert own(deep) is not deep
