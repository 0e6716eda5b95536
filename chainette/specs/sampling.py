"""`SamplingParams`, spelled as vLLM spells it. Does not know which backend takes which field."""

from __future__ import annotations

import json
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from chainette.errors import ChainError, Problem, nearest


class SamplingParams(BaseModel):
    """How the model draws its tokens. A field left out is left to the engine.

    Source: https://docs.vllm.ai/en/latest/api/vllm/sampling_params.html

    Raises:
        ChainError: an unknown field (with the nearest name) or a value out of range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int | None = Field(None, ge=1)
    """Answers per prompt; each becomes a row `17.0`, `17.1`, …"""
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = None
    min_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0)
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool | None = None
    bad_words: list[str] | None = None
    ignore_eos: bool | None = None
    max_tokens: int | None = Field(None, ge=1)
    min_tokens: int | None = Field(None, ge=0)
    logprobs: int | None = Field(None, ge=0)
    prompt_logprobs: int | None = Field(None, ge=0)
    logit_bias: dict[int, float] | None = None
    allowed_token_ids: list[int] | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    truncate_prompt_tokens: int | None = None
    extra_args: dict[str, Any] | None = None
    """Sent as further fields of the request body, unchecked."""

    @field_validator("*")
    @classmethod
    def _fits_into_json(cls, value: Any) -> Any:
        try:
            orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
            json.dumps(value, allow_nan=False)  # orjson writes null for what is no number
        except (TypeError, ValueError) as error:
            raise ValueError(f"cannot be sent as JSON: {error}") from None
        return value

    @model_validator(mode="after")
    def _agree(self) -> SamplingParams:
        if self.min_tokens is not None and self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens {self.min_tokens} is above max_tokens {self.max_tokens}")
        if self.bad_words and not all(word.strip() for word in self.bad_words):
            raise ValueError("bad_words holds an empty one")
        return self

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise ChainError([_problem(e) for e in error.errors()]) from None

    def given(self) -> dict[str, Any]:
        """The fields that were set, by name; the rest is the engine's to choose."""
        return self.model_dump(exclude_none=True)


def _problem(error: Any) -> Problem:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        hint = nearest(name, SamplingParams.model_fields)
        return Problem(f"SamplingParams.{name}", "no such sampling field", hint)
    if error["type"] == "value_error":
        return Problem(f"SamplingParams.{name}".removesuffix("."), str(error["ctx"]["error"]))
    return Problem(f"SamplingParams.{name}", f"{error['msg']}, not {error['input']!r}")
