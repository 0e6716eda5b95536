"""Tries on the installed vLLM what each of its grammar backends holds a model to, and prints it as one line of JSON.

Run by the Python that has vLLM, its source on standard input: it imports nothing of ours, and only needs a processor.
Each keyword is put to the backend through vLLM's own classes, with an answer that fits and one that breaks only it.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

Case = tuple[dict[str, Any], list[Any], list[Any]]
"""A schema for the property `a`, values that fit, values that break it."""

BACKENDS = {
    "xgrammar": ("backend_xgrammar", "XgrammarBackend", "validate_xgrammar_grammar", True),
    "guidance": ("backend_guidance", "GuidanceBackend", "validate_guidance_grammar", True),
    "outlines": ("backend_outlines", "OutlinesBackend", "validate_structured_output_request_outlines", False),
    "lm-format-enforcer": (
        "backend_lm_format_enforcer",
        "LMFormatEnforcerBackend",
        "validate_structured_output_request_lm_format_enforcer",
        False,
    ),
}
"""Module, class, the check behind HTTP 400, and whether it takes `disable_any_whitespace`."""

SPELLINGS = ((",", ":"), (", ", ":"), (", ", ": "))
"""Of one and the same value; some backends know only one of them."""

INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}
STRING = {"type": "string"}
FORMATS: dict[str, tuple[str, str]] = {
    "date": ("2024-02-29", "29 February"),
    "time": ("10:20:30Z", "half past ten"),
    "date-time": ("2024-02-29T10:20:30Z", "2024-02-29"),
    "duration": ("P1DT2H", "two hours"),
    "email": ("ann@example.org", "ann at example"),
    "hostname": ("example.org", "no host!"),
    "ipv4": ("127.0.0.1", "127.0.0"),
    "ipv6": ("2001:db8:0:0:0:0:0:1", "2001-db8"),
    "uri": ("https://example.org/a?b=c", "not a link"),
    "uuid": ("123e4567-e89b-12d3-a456-426614174000", "123e4567"),
}
HELD = 9 * 10**18
"""As in `chainette.engine.runaways`: what integers are held to so that their digits end."""


def cases() -> dict[str, Case]:
    """By feature: a keyword, where it matters of which type (`integer.minimum`), or keywords together."""
    return {**_scalars(), **_numbers(), **_lists(), **_objects(), **_combined()}


def _scalars() -> dict[str, Case]:
    formats = {
        f"format.{name}": ({**STRING, "format": name}, [fits], [breaks]) for name, (fits, breaks) in FORMATS.items()
    }
    return {
        "type": (INTEGER, [1], ["x"]),
        "enum": ({"enum": ["x", "y", 3]}, ["y", 3], ["z"]),
        "const": ({"const": "x"}, ["x"], ["y"]),
        "minLength": ({**STRING, "minLength": 3}, ["abc", "abcd"], ["ab"]),
        "maxLength": ({**STRING, "maxLength": 3}, ["abc", "é"], ["abcd"]),
        "pattern": ({**STRING, "pattern": "^[a-c]{2}[0-9]+$"}, ["ab1"], ["abc", "xab1"]),
        "pattern.lookaround": ({**STRING, "pattern": "^(?!x)[a-z]+$"}, ["ab"], ["xb"]),
        **formats,
        "format.?": ({**STRING, "format": "no-such-format"}, ["anything"], []),
    }


def _numbers() -> dict[str, Case]:
    made: dict[str, Case] = {
        "integer.multipleOf": ({**INTEGER, "multipleOf": 5}, [10, -10], [12]),
        "number.multipleOf": ({**NUMBER, "multipleOf": 0.01}, [0.5, 0.55, -0.5], [0.555]),
        "integer.multipleOf+minimum": ({**INTEGER, "multipleOf": 5, "minimum": 0}, [0, 10], [12]),
        "number.multipleOf+minimum": ({**NUMBER, "multipleOf": 0.01, "minimum": 0}, [0.5, 0.55, 1], [0.555]),
        "integer.held": ({**INTEGER, "minimum": -HELD, "maximum": HELD}, [5, -5, HELD - 1], [10**25]),
        "number.held": ({**NUMBER, "minimum": 0, "maximum": HELD}, [5, 0.5, 10**17], [10**25]),
    }
    for type_, step in (("integer", 1), ("number", 0.5)):
        base = {"type": type_}
        made |= {
            f"{type_}.minimum": ({**base, "minimum": 10}, [10, 120], [10 - step, -12]),
            f"{type_}.maximum": ({**base, "maximum": 10}, [10, -12], [10 + step, 120]),
            f"{type_}.exclusiveMinimum": ({**base, "exclusiveMinimum": 10}, [10 + step], [10]),
            f"{type_}.exclusiveMaximum": ({**base, "exclusiveMaximum": 10}, [10 - step], [10]),
        }
    return made


def _lists() -> dict[str, Case]:
    some = {"type": "array", "items": INTEGER}
    pair = {"type": "array", "prefixItems": [INTEGER, STRING]}
    return {
        "items": (some, [[1, 2]], [["x"]]),
        "minItems": ({**some, "minItems": 2}, [[1, 2]], [[1], []]),
        "maxItems": ({**some, "maxItems": 2}, [[1, 2], []], [[1, 2, 3]]),
        "uniqueItems": ({**some, "uniqueItems": True}, [[1, 2]], [[1, 1]]),
        "contains": ({**some, "contains": {"const": 7}}, [[1, 7]], [[1, 2]]),
        "minContains": ({**some, "contains": {"const": 7}, "minContains": 2}, [[7, 7]], [[7, 1]]),
        "maxContains": ({**some, "contains": {"const": 7}, "maxContains": 1}, [[7, 1]], [[7, 7]]),
        "prefixItems": ({**pair, "minItems": 2, "maxItems": 2}, [[1, "x"]], [["x", 1], [1], [1, "x", 2]]),
        "unevaluatedItems": ({**pair, "unevaluatedItems": False}, [[1, "x"]], [[1, "x", 2]]),
    }


def _objects() -> dict[str, Case]:
    two = {"type": "object", "properties": {"b": INTEGER, "c": INTEGER}, "additionalProperties": False}
    free = {"type": "object", "additionalProperties": INTEGER}
    needs = {"dependentRequired": {"b": ["c"]}}
    return {
        "properties": (two, [{"b": 1, "c": 2}, {"b": 1}], [{"b": "x"}]),
        "required": ({**two, "required": ["b", "c"]}, [{"b": 1, "c": 2}], [{"b": 1}, {}]),
        "additionalProperties": (two, [{"b": 1}], [{"b": 1, "d": 2}]),
        "additionalProperties.schema": (free, [{"k": 1}], [{"k": "x"}]),
        "minProperties": ({**free, "minProperties": 2}, [{"k": 1, "l": 2}], [{"k": 1}]),
        "maxProperties": ({**free, "maxProperties": 1}, [{"k": 1}], [{"k": 1, "l": 2}]),
        "patternProperties": (
            {"type": "object", "patternProperties": {"^[a-z]$": INTEGER}, "additionalProperties": False},
            [{"k": 1}],
            [{"k": "x"}, {"KK": 1}],
        ),
        "propertyNames": ({**free, "propertyNames": {"pattern": "^[a-z]$"}}, [{"k": 1}], [{"KK": 1}]),
        "propertyNames.enum": ({**free, "propertyNames": {"enum": ["k", "l"]}}, [{"k": 1}], [{"m": 1}]),
        "dependentRequired": ({**two, **needs}, [{"b": 1, "c": 2}, {"c": 1}], [{"b": 1}]),
        "dependentSchemas": ({**two, "dependentSchemas": {"b": {"required": ["c"]}}}, [{"b": 1, "c": 2}], [{"b": 1}]),
        "unevaluatedProperties": (
            {"type": "object", "properties": {"b": INTEGER}, "unevaluatedProperties": False},
            [{"b": 1}],
            [{"b": 1, "d": 2}],
        ),
    }


def _combined() -> dict[str, Case]:
    low, high = {**INTEGER, "minimum": 5}, {**INTEGER, "maximum": 9}
    letters = {**STRING, "pattern": "^[a-z]+$"}
    free = {"type": "object", "additionalProperties": INTEGER}
    tree = {"type": "object", "properties": {"v": INTEGER, "n": {"$ref": "#/$defs/T"}}, "required": ["v"]}
    closed = {**tree, "additionalProperties": False}
    kinds = {"if": {"properties": {"b": {"const": 1}}}, "then": {"required": ["c"]}, "else": {"required": ["d"]}}
    three = {"type": "object", "properties": {"b": INTEGER, "c": INTEGER, "d": INTEGER}, "additionalProperties": False}
    return {
        "anyOf": ({"anyOf": [INTEGER, STRING]}, [1, "x"], [True]),
        "oneOf": ({"oneOf": [low, high]}, [20, -1], [7]),
        "oneOf.disjoint": ({"oneOf": [INTEGER, STRING]}, [1, "x"], [True]),
        "allOf": ({"allOf": [low]}, [6], [4]),
        "allOf.several": ({"allOf": [low, high]}, [6], [4, 10]),
        "not": ({**STRING, "not": {"const": "x"}}, ["y"], ["x"]),
        "if": ({**three, **kinds}, [{"b": 1, "c": 2}, {"b": 2, "d": 1}], [{"b": 1, "d": 2}]),
        "$ref": ({"$ref": "#/$defs/T", "$defs": {"T": closed}}, [{"v": 1, "n": {"v": 2}}], [{"v": 1, "n": {"v": "x"}}]),
        "$ref.siblings": ({"$ref": "#/$defs/S", "maxLength": 2, "$defs": {"S": STRING}}, ["ab"], ["abc"]),
        "pattern+maxLength": ({**letters, "maxLength": 2}, ["ab"], ["abc", "1"]),
        "pattern+minLength": ({**letters, "minLength": 2}, ["ab"], ["a", "12"]),
        "format+maxLength": ({**STRING, "format": "email", "maxLength": 8}, ["a@b.org"], ["ann@example.org", "ann"]),
        "format+minLength": (
            {**STRING, "format": "email", "minLength": 9},
            ["ann@example.org"],
            ["a@b.org", "a b c d e f"],
        ),
        "properties+propertyNames": (
            {**free, "properties": {"b": STRING}, "propertyNames": {"pattern": "^[a-z]$"}},
            [{"b": "x", "k": 1}],
            [{"b": "x", "KK": 1}],
        ),
        "properties+patternProperties": (
            {"type": "object", "properties": {"b": STRING}, "patternProperties": {"^[c-z]$": INTEGER}},
            [{"b": "x", "k": 1}],
            [{"b": "x", "k": "y"}],
        ),
        "patternProperties.several": (
            {"type": "object", "patternProperties": {"^[a-k]$": INTEGER, "^[l-z]$": STRING}},
            [{"k": 1, "l": "x"}],
            [{"k": "x"}, {"l": 1}],
        ),
    }


def main() -> None:
    tokenizer = _byte_tokenizer()
    found: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for name in BACKENDS:
        try:
            backend = Backend(name, tokenizer)
        except Exception as error:  # not installed, or not for this vLLM
            missing[name] = f"{type(error).__name__}: {error}"[:300]
            continue
        found[name] = {
            "features": {feature: backend.judge(*case) for feature, case in cases().items()},
            "refusals": dict(backend.refusals(cases())),
            "runaways": backend.runaways(),
        }
    sampling = importlib.import_module("vllm.sampling_params").SamplingParams
    repetition = "repetition_detection" in getattr(sampling, "__struct_fields__", dir(sampling))
    print(json.dumps({"backends": found, "missing": missing, "cuts_repetition": repetition}), flush=True)


def _byte_tokenizer() -> Any:
    """A token for each byte, so that any text can be put to a grammar."""
    tokenizers = importlib.import_module("tokenizers")
    transformers = importlib.import_module("transformers")
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["</s>"])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>")


class Backend:
    """One of vLLM's backends, made as its server makes it."""

    def __init__(self, name: str, tokenizer: Any) -> None:
        module, kind, check, compact = BACKENDS[name]
        made = importlib.import_module(f"vllm.v1.structured_output.{module}")
        types = importlib.import_module("vllm.v1.structured_output.backend_types")
        self._params = importlib.import_module("vllm.sampling_params")
        self._torch = importlib.import_module("torch")
        self._json = types.StructuredOutputOptions.JSON
        self._check: Callable[[Any], None] = getattr(made, check)
        self._tokenizer = tokenizer
        outputs = SimpleNamespace(disable_any_whitespace=compact, disable_additional_properties=False, backend=name)
        config = SimpleNamespace(structured_outputs_config=outputs, model_config=None, speculative_config=None)
        self._made = getattr(made, kind)(vllm_config=config, tokenizer=tokenizer, vocab_size=len(tokenizer))
        if not self.accepts(_wrapped(INTEGER), '{"a":1}') and not self.accepts(_wrapped(INTEGER), '{"a": 1}'):
            raise RuntimeError("does not take the simplest answer")

    def judge(self, schema: dict[str, Any], fits: list[Any], breaks: list[Any]) -> str:
        """`enforced`, `ignored`, `refused` or `broken`: an answer that fits is rejected."""
        whole = _wrapped(schema)
        if self._refusal(whole):
            return "refused"
        try:
            if not all(self._takes(whole, value) for value in fits):
                return "broken"
            ignored = any(self._takes(whole, value) for value in breaks)
        except Exception:  # past vLLM's own check: the engine would meet it
            return "refused"
        return "ignored" if ignored or not breaks else "enforced"

    def refusals(self, table: dict[str, Case]) -> Iterator[tuple[str, str]]:
        for feature, (schema, _, _) in table.items():
            if said := self._refusal(_wrapped(schema)):
                yield feature, said[:200]

    def runaways(self) -> dict[str, bool]:
        """Which of them the grammar lets happen."""
        ones = "1" * 300
        return {
            "integer": self._any(INTEGER, [ones]),
            "number": self._any(NUMBER, [ones, "0." + ones, "1e" + ones]),
            "number.bounded": self._any({**NUMBER, "minimum": 0, "maximum": 1}, ["0." + ones]),
            "blanks": self._blanks(),
            "more_properties": self.accepts({"type": "object", "properties": {"a": INTEGER}}, '{"a":1,"b":2}'),
        }

    def accepts(self, schema: dict[str, Any], text: str) -> bool:
        """Whether sampling may give the text and end there: each token in the mask of the ones before it."""
        grammar = self._made.compile_grammar(self._json, json.dumps(schema))
        size = len(self._tokenizer)
        end = self._tokenizer.eos_token_id
        mask = self._torch.full((1, (size + 31) // 32), -1, dtype=self._torch.int32)
        for token in [*self._tokenizer.encode(text, add_special_tokens=False), end]:
            mask.fill_(-1)
            grammar.fill_bitmask(mask, 0)
            if not (int(mask[0, token // 32]) >> (token % 32)) & 1:
                return False
            if token != end and not grammar.accept_tokens("probe", [token]):
                return False
        return True

    def _takes(self, schema: dict[str, Any], value: Any) -> bool:
        texts = (json.dumps({"a": value}, separators=marks, ensure_ascii=False) for marks in SPELLINGS)
        return any(self.accepts(schema, text) for text in texts)

    def _any(self, schema: dict[str, Any], raw: list[str]) -> bool:
        whole = _wrapped(schema)
        return any(self.accepts(whole, f'{{"a":{blank}{text}}}') for text in raw for blank in ("", " "))

    def _blanks(self) -> bool:
        """Whether anywhere outside of strings there is room for many."""
        schema = {
            "type": "object",
            "properties": {
                "a": {"type": "array", "items": INTEGER},
                "b": {"type": "object", "additionalProperties": INTEGER},
            },
            "required": ["a", "b"],
        }
        parts = '{ "a" : [ 1 , 2 ] , "b" : { "k" : 1 , "l" : 2 } }'.split()
        for position in range(len(parts) + 1):
            for blank in (" ", "\n", "\t"):
                if self.accepts(schema, "".join([*parts[:position], blank * 40, *parts[position:]])):
                    return True
        return False

    def _refusal(self, schema: dict[str, Any]) -> str:
        """What the server would answer with HTTP 400, or the empty string."""
        asked = self._params.StructuredOutputsParams(json=schema)
        try:
            self._check(self._params.SamplingParams(structured_outputs=asked))
        except Exception as error:
            return str(error) or type(error).__name__
        return ""


def _wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    """As a model's only field; definitions move to the top, where references look for them."""
    inner = {keyword: value for keyword, value in schema.items() if keyword != "$defs"}
    whole = {"type": "object", "properties": {"a": inner}, "required": ["a"], "additionalProperties": False}
    return {**whole, "$defs": schema["$defs"]} if "$defs" in schema else whole


if __name__ == "__main__":
    sys.path[:] = [entry for entry in sys.path if entry]  # nothing of the folder it is started in
    main()
