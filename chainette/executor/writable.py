"""Whether a value of no declared type can stand in a file, so that a row that cannot is a failure and not a `repr`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

_ALWAYS = (BaseModel, str, int, float, bool, type(None))


class Writable:
    """Lets values through that JSON can hold. Types are remembered, so this costs one look-up a row."""

    def __init__(self) -> None:
        self._good: set[type] = set()

    def __call__(self, value: Any) -> Any:
        """
        Raises:
            TypeError: JSON has no way to say it.
        """
        type_ = type(value)
        if type_ in self._good:
            return value
        if isinstance(value, _ALWAYS):
            self._good.add(type_)
            return value
        try:
            to_jsonable_python(value)
        except PydanticSerializationError as error:
            raise TypeError(f"returned {type_.__name__}, which cannot be written as JSON: {error}") from None
        return value
