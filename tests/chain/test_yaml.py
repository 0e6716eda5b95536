"""Chains from files and back."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import chainette.chain
from chainette import Branch, Chain, ChainError, EngineSpec, SamplingParams, Step, apply
from chainette.chain import Taking, cond, delay, gather, scan, switch, while_loop
from chainette.chain.yaml_format import json_schema
from chainette.chain.yaml_writer import to_yaml
from chainette.graph import build
from tests.chain import pieces as p

MODULE = "tests.chain.pieces"


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Chain]:
    """The chain of a file with this text."""

    def reading(text: str) -> Chain:
        (tmp_path / "chain.yml").write_text(text, encoding="utf-8")
        return Chain.from_yaml("chain.yml")

    return reading


@pytest.fixture
def refused(read: Callable[[str], Chain]) -> Callable[[str], list[str]]:
    """All that is said against a file with this text."""

    def reading(text: str) -> list[str]:
        with pytest.raises(ChainError) as error:
            read(text)
        return [str(problem) for problem in error.value.problems]

    return reading


def signature(chain: Chain) -> str:
    graph, problems = build(chain)
    assert [str(problem) for problem in problems if problem.severity == "error"] == []
    return graph.signature


def back(chain: Chain, folder: Path) -> Chain:
    (folder / "written.yml").write_text(to_yaml(chain, folder), encoding="utf-8")
    return Chain.from_yaml(folder / "written.yml")


def number_step(id: str, **fields: Any) -> Step:
    return Step(**{"id": id, "input_model": p.Number, "output_model": p.Number, "user_prompt": "{{ value }}", **fields})


INLINE = """
name: Reviews
models:
  Facts:
    product: str
    rating: {type: int, ge: 1, le: 5}
steps:
  - id: facts
    input_model: {text: str}
    output_model: Facts
    user_prompt: "{{ text }}"
    sampling: {temperature: 0.2}
  - - branch: fr
      join: true
      steps:
        - {id: french, input_model: Facts, output_model: {verdict: str}, user_prompt: "French {{ product }}"}
  - {id: last, input_model: Facts, output_model: {verdict: str}, user_prompt: "Last {{ product }} {{ fr.verdict }}"}
"""


def test_a_chain_of_steps_and_models_needs_no_python(read: Callable[[str], Chain]) -> None:
    chain = read(INLINE)
    facts, (branch,), last = chain.steps
    assert (chain.name, facts.id, facts.sampling) == ("Reviews", "facts", SamplingParams(temperature=0.2))
    assert facts.output_model.model_json_schema()["properties"]["rating"]["maximum"] == 5
    assert (branch.name, branch.alias) == ("fr", "fr")
    assert branch.steps[0].input_model is facts.output_model
    assert branch.steps[0].output_model is last.output_model  # the same fields: the same model
    signature(chain)


def test_a_chain_from_a_file_runs(read: Callable[[str], Chain], engine: Any) -> None:
    engine(answers={"Last a b": {"verdict": "c"}, "French a": {"verdict": "b"}, "x": {"product": "a", "rating": 3}})
    result = read(INLINE).run([{"text": "x"}])
    assert [row.verdict for row in result.outputs] == ["c"]


def test_every_kind_of_field_becomes_what_pydantic_has(read: Callable[[str], Chain]) -> None:
    chain = read("""
name: a
models:
  Item: {name: str, parts: {type: "list[Item]", default: []}}
  Names: list[str]
  All:
    a: float
    b: {type: float, ge: 0, le: 1, description: how sure}
    c: {enum: [fr, es]}
    d: str | None
    e: list[Item]
    f: {type: int, default: 3}
    g: Names
    h: dict[str, int]
    i: Literal["x", 1]
    j: tests.chain.pieces:Number
    k: {type: str, pattern: "^a", max_length: 3}
steps: [{id: s, input_model: All, output_model: Item, user_prompt: x}]
""")
    model = chain.steps[0].input_model
    item = chain.steps[0].output_model
    types = {name: field.annotation for name, field in model.model_fields.items()}
    assert types == {
        "a": float,
        "b": float,
        "c": Literal["fr", "es"],
        "d": str | None,
        "e": list[item],
        "f": int,
        "g": list[str],
        "h": dict[str, int],
        "i": Literal["x", 1],
        "j": p.Number,
        "k": str,
    }
    assert model.model_fields["b"].description == "how sure"
    assert item.model_validate({"name": "a", "parts": [{"name": "b"}]}).parts[0].name == "b"


def test_python_objects_are_named_by_module_and_name(read: Callable[[str], Chain]) -> None:
    chain = read(f"""
name: a
steps:
  - {MODULE}:chosen
  - step: {MODULE}:inner
  - {MODULE}:pair
  - apply: {MODULE}:minus
    bind: {{by: 2}}
    id: two
    retries: 1
  - apply: {MODULE}:Embedder
    replicas: 2
""")
    chosen, inner, pair, two, embed = chain.steps
    assert (chosen, inner, pair) == (p.chosen, p.inner, p.pair)
    assert (two.fn(p.Number(value=5)).value, two.id, two.retries) == (3, "two", 1)
    assert (embed.fn, embed.replicas) == (p.Embedder, 2)


def test_modules_are_looked_for_beside_the_file(read: Callable[[str], Chain], tmp_path: Path) -> None:
    (tmp_path / "beside_the_file.py").write_text(
        "from pydantic import BaseModel\nclass N(BaseModel):\n    value: int\ndef same(n: N) -> N:\n    return n\n"
    )
    chain = read("name: a\nsteps: [{apply: beside_the_file:same}, {apply: ./beside_the_file.py:same, id: b}]")
    assert chain.steps[0].fn is chain.steps[1].fn


def test_a_module_beside_the_file_comes_before_one_of_its_name_elsewhere(tmp_path: Path) -> None:
    for folder, value in (("one", 1), ("two", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same_name.py").write_text(f"def f(n: int) -> int:\n    return {value}\n")
        (tmp_path / folder / "chain.yml").write_text("name: a\nsteps: [{apply: same_name:f}]")
    chains = [Chain.from_yaml(tmp_path / folder / "chain.yml") for folder in ("one", "two")]
    assert [chain.steps[0].fn(0) for chain in chains] == [1, 2]


def test_control_flow_reads_as_it_is_declared(read: Callable[[str], Chain]) -> None:
    chain = read(f"""
name: a
steps:
  - {{cond: {MODULE}:is_even, then: {{apply: {MODULE}:inc}}, otherwise: [{{apply: {MODULE}:minus}}]}}
  - switch: value
    cases:
      1: [{{apply: {MODULE}:inc, id: one}}]
      "1.5": []
      "no": {MODULE}:chosen
    default: []
  - {{while_loop: [{{apply: {MODULE}:inc, id: x}}], until: {MODULE}:is_even, max_iterations: 5, keep: all}}
  - {{delay: 2}}
  - {{apply: {MODULE}:split}}
  - {{gather: halves, missing: skip}}
  - {{scan: {MODULE}:add, over: pages, init: {{model: {MODULE}:Number, value: {{value: 0}}}}}}
""")
    first, second, loop, wait, _, gathered, scanned = chain.steps
    assert (first.kind, first.key) == ("cond", p.is_even)
    assert [way[0] for way in first.ways] == ["then", "otherwise"]
    assert (second.key, list(second.cases), second.default) == ("value", [1, "1.5", "no"], ())
    assert (loop.until, loop.max_iterations, loop.keep) == (p.is_even, 5, "all")
    assert (wait.seconds, gathered.alias, gathered.missing) == (2, "halves", "skip")
    assert (scanned.function, scanned.over, scanned.init) == (p.add, "pages", p.Number(value=0))


def test_what_a_node_works_on_can_be_said(read: Callable[[str], Chain]) -> None:
    chain = read(f"""
name: a
steps:
  - {{apply: {MODULE}:inc, takes: fr}}
  - {{step: {MODULE}:chosen, takes: {{value: fr}}}}
""")
    assert [item.source for item in chain.steps] == ["fr", {"value": "fr"}]


def test_anchors_and_merges_are_plain_yaml(read: Callable[[str], Chain]) -> None:
    chain = read("""
name: a
steps:
  - &one {id: one, input_model: {a: str}, output_model: {a: str}, user_prompt: "{{ a }}", retries: 5}
  - {<<: *one, id: two}
""")
    assert [(step.id, step.retries) for step in chain.steps] == [("one", 5), ("two", 5)]


PLACES = [
    (
        "name: a\nsteps:\n  - - branch: b\n      steps: []\n      join: [3]",
        "chain.yml:5 steps[0][0].join: must be text",
    ),
    ("name: a\nstepz: []", 'chain.yml:2 stepz: no such key "stepz" (did you mean "steps"?)'),
    ("name: a\nsteps: [{aply: m:f}]", 'chain.yml:2 steps[0].aply: no such key "aply" (did you mean "apply"?)'),
    ("name: a", "chain.yml:1: needs `steps`"),
    ("", "chain.yml: is empty"),
    ("- a", "chain.yml:1: must be a mapping with `name` and `steps`, not a list"),
    ("name: a\nsteps: [3]", "steps[0]: must be a step: a mapping, module:name, or a list of branches, not 3"),
    ("name: a\nname: b\nsteps: []", "chain.yml:2 name: is there twice, first in line 1"),
    ("name: a\nsteps:\n\t- b", "chain.yml:3: is not YAML: found character '\\t'"),
    ("name: a\nsteps: [{switch: x, cases: {no: []}}]", "steps[0].cases.no: the key `no` is a text to some readers"),
    ("name: a\nchunk_size: 010\nsteps: []", "chunk_size: `010` is read differently by different readers"),
    ("name: a\nsteps: [!!python/name:os.system x]", "steps[0]: the tag !!python/name:os.system is refused"),
    (
        "name: a\nsteps: [{id: a, input_model: str, output_model: str, user_prompt: {{ x }}}]",
        'a template is quoted: "{{ text }}"',
    ),
    ("name: a\nmodels: {A: {b: list[str]}}\nsteps: []", 'inside {} a type with brackets is quoted: "list[str]"'),
    ("name: a\nsteps: &a [*a]", "steps[0]: an alias that contains itself"),
    ("name: a\n---\nname: b", "one chain a file, without a second ---"),
    (
        f"name: a\nsteps: [{{apply: {MODULE}:incc}}]",
        'steps[0].apply: tests.chain.pieces: has no "incc" (did you mean "inc"?)',
    ),
    ("name: a\nsteps: [tests.chain.piecez:inc]", "steps[0]: tests.chain.piecez: no such module from here"),
    ("name: a\nsteps: [./nowhere.py:f]", "steps[0]: nowhere.py: there is no such file"),
    (f"name: a\nsteps: [{MODULE}:inc]", f'"{MODULE}:inc" is a function, not a step (apply: {MODULE}:inc)'),
    ("name: a\nsteps: [{delay: -1}]", "steps[0]: delay: seconds must be a positive number, not -1"),
    ("name: a\nmodels: {A: {b: strr}}\nsteps: []", 'models.A.b: no type "strr" (did you mean "str"?)'),
    ("name: a\nmodels: {A: {b: {type: int, default: x}}}\nsteps: []", "models.A.b: default 'x' does not fit"),
    (
        "name: a\nmodels: {A: {b: {type: int, gee: 3}}}\nsteps: []",
        'models.A.b.gee: no such key "gee" (did you mean "ge"?)',
    ),
    ("name: a\nmodels: {A: A}\nsteps: []", "models.A: refers to itself"),
    (
        "name: a\nengines: [{name: x, backend: scripted, modle: y}]\nsteps: []",
        'engines[0]: engine "x": no such key "modle"',
    ),
    ("name: ''\nsteps: []", "chain.yml:1: chain: needs a `name` that is not blank"),
]


@pytest.mark.parametrize(("text", "said"), PLACES)
def test_what_is_wrong_is_told_with_its_place(text: str, said: str, refused: Callable[[str], list[str]]) -> None:
    problems = refused(text)
    assert len(problems) == 1
    assert said in problems[0]


def test_everything_that_is_wrong_is_told_at_once(refused: Callable[[str], list[str]]) -> None:
    problems = refused(f"""
name: a
models: {{A: {{b: strr}}, C: {{d: A}}}}
engines: [{{name: x, backend: openay}}]
steps:
  - {{id: one, input_model: A, output_model: Cc, user_prompt: x, retriez: 3}}
  - {{apply: {MODULE}:incc}}
  - - {{branch: b, steps: [{{delay: -1}}], missing: maybe}}
    - {{branch: c, steps: [{{delay: -2}}]}}
  - {{id: two, input_model: A, output_model: Cc, user_prompt: x, sampling: {{temprature: 1}}}}
""")
    told = [problem.split(": ")[0].split(" ", 1)[1] for problem in problems]
    assert sorted(told) == [
        "engines[0]",
        "models.A.b",
        "steps[0].retriez",
        "steps[1].apply",
        "steps[2][0].missing",
        "steps[2][1].steps[0]",
        "steps[3].output_model",
        "steps[3].sampling",
    ]


def test_aliases_cannot_fill_the_memory(refused: Callable[[str], list[str]]) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in zip("abcdef", "bcdefg", strict=True)]
    (problem,) = refused("\n".join(lines))
    assert "values, aliases counted" in problem


def test_a_file_that_is_not_there_is_told_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "chain.yml").write_text("name: a")
    with pytest.raises(ChainError, match=r'chian.yml: there is no such file \(did you mean "chain.yml"\?\)'):
        Chain.from_yaml("chian.yml")


SHAPES: dict[str, list[Any]] = {
    "steps": [
        number_step(
            "é",
            name="Été 🌞",
            system_prompt="Be kind:\n- to all\n\n- of them\n",
            user_prompt=[
                {"role": "user", "content": " {{ value }} \n"},
                {"role": "assistant", "content": "no"},
                {"role": "user", "content": "{{ value }}\n  # now"},
            ],
            sampling=SamplingParams(temperature=1e-5, stop=["\n", "12:30"], logit_bias={3: 1.0}),
            metadata={"a": {"b": [1, None, True]}},
            output_format_instruction="",
            timeout_s=3.5,
            yield_output=False,
        ),
        number_step("samples", n=3),
    ],
    "applies": [
        apply(p.inc),
        apply(p.inc),
        apply(functools.partial(p.minus, by=2), id="two"),
        apply(p.minus_three, durable=True, version=3),
        apply(p.embedder),
        apply(p.Embedder, replicas=2, metadata={"a": 1}),
        apply(p.anything, input_model=p.Number, output_model=p.Number, shape="map"),
        apply(p.anything, id="list", emoji="🌞"),
    ],
    "branches": [
        [Branch("fr", [apply(p.inc)]).join(), Branch("es", [apply(p.minus)]).join("sp", missing="none")],
        Taking(apply(p.inc, id="taking"), "fr"),
        [Branch("aside", [apply(p.inc, id="c"), [Branch("deep", [number_step("d")])]])],
    ],
    "chains": [
        Chain(name="in", steps=[apply(p.inc), Chain(name="most", steps=[apply(p.inc)], metadata={"a": 1})]),
        p.inner,
    ],
    "control": [
        cond(p.is_even, apply(p.inc), id="even"),
        cond("value", [], [apply(p.minus), apply(p.inc)]),
        switch(p.remainder, {0: apply(p.inc), "no": [cond(p.is_even, apply(p.inc))], True: []}, name="By rest"),
        switch("value", {"a b": [], None: [apply(p.inc)]}, default=[]),
        while_loop([apply(p.inc)], until=p.is_even, max_iterations=7, at_least_once=True, keep="all"),
        while_loop(number_step("turn"), until="value", feed="input", metadata={"a": 1}),
        delay(2.5, id="wait"),
    ],
    "gathered": [apply(p.split), gather("halves", missing="skip"), apply(p.split), gather()],
    "scanned": [scan(p.add, over="pages", init=0, keep="all")],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_written_chain_reads_back_as_the_same_graph(shape: str, tmp_path: Path) -> None:
    taken = {"scanned": p.Book}.get(shape, p.Number)
    chain = Chain(name="é: x", steps=SHAPES[shape], input_model=taken, chunk_size=7, metadata={"a": [1, {"b": 2}]})
    again = back(chain, tmp_path)
    assert signature(again) == signature(chain)
    assert (again.name, again.chunk_size, again.metadata) == (chain.name, 7, {"a": [1, {"b": 2}]})
    assert to_yaml(again, tmp_path) == to_yaml(chain, tmp_path)


def test_a_traced_chain_is_written_as_the_steps_that_it_traced(tmp_path: Path) -> None:
    from tests.chain.pieces_traced import diamond

    assert signature(back(diamond, tmp_path)) == signature(diamond)


def test_models_of_a_file_are_written_into_the_next(read: Callable[[str], Chain], tmp_path: Path) -> None:
    chain = read("""
name: a
models:
  Tags: "list[Literal['x', 'y']]"
  Item: {name: str, parts: {type: "list[Item]", default: []}, tags: Tags}
steps:
  - {id: one, input_model: {a: str}, output_model: Item, user_prompt: "{{ a }}"}
  - {id: two, input_model: Item, output_model: {b: {enum: [1, "no"]}}, user_prompt: "{{ name }}"}
""")
    again = back(chain, tmp_path)
    assert signature(again) == signature(chain)
    written = yaml.safe_load(to_yaml(chain))["models"]
    assert set(written) == {"OneInput", "Item", "Tags", "TwoOutput"}


def test_engines_are_written_without_their_secrets(tmp_path: Path) -> None:
    spec = EngineSpec.parse(
        {"name": "e", "endpoint": "http://me:pass@host/v1", "model": "m", "api_key": "sk", "headers": {"X-Key": "sk"}}
    )
    chain = Chain(name="a", steps=[apply(p.inc)], engines=[spec, "demo"])
    assert yaml.safe_load(to_yaml(chain))["engines"] == [
        {"name": "e", "backend": "openai", "model": "m", "endpoint": "http://host/v1"},
        "demo",
    ]


def test_what_nothing_can_import_is_told_with_the_node_and_what_to_do() -> None:
    class Local(p.Number):
        pass

    chain = Chain(
        name="a",
        steps=[
            apply(lambda n: n),
            apply(p.local_function(), id="closure"),
            apply(p.Embedder(4), id="object"),
            cond(lambda n: True, []),
            number_step("s", output_model=Local, metadata={"a": object}),
        ],
    )
    with pytest.raises(ChainError) as error:
        to_yaml(chain)
    told = [str(problem) for problem in error.value.problems]
    assert told[0] == 'apply "apply": function: a lambda cannot be written to a file (def it at the top of a module)'
    assert "made inside local_function, where nothing can import it (move it to the top of its module)" in told[1]
    assert told[2].endswith("(name = Embedder(…) at the top of a module)")
    assert told[3].startswith('cond "cond": pred: a lambda')
    assert told[4].startswith('step "s": output_model: ')
    assert told[5].startswith('step "s": metadata: ')


def test_a_prompt_of_several_lines_is_a_block() -> None:
    chain = Chain(name="a", steps=[number_step("s", user_prompt="One:\n\n  {{ value }}\n")])
    assert "user_prompt: |\n      One:\n\n        {{ value }}\n" in to_yaml(chain)


def test_the_schema_that_ships_is_that_of_the_format() -> None:
    """`python -c 'from chainette.chain.yaml_format import write_schema; write_schema()'` writes it anew."""
    file = Path(chainette.chain.__path__[0]) / "chain.schema.json"
    assert json.loads(file.read_text(encoding="utf-8")) == json_schema()


def test_the_form_has_every_field_of_a_step_and_every_argument_of_an_apply() -> None:
    import dataclasses
    import inspect

    forms = json_schema()["$defs"]
    assert set(forms["StepForm"]["properties"]) == {f.name for f in dataclasses.fields(Step)} | {"takes"}
    assert set(forms["ApplyForm"]["properties"]) == (set(inspect.signature(apply).parameters) - {"fn"}) | {
        "apply",
        "bind",
        "takes",
    }


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n"), min_size=1).filter(str.strip)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


def lines(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(inner, min_size=1, max_size=3)


leaves = st.one_of(
    st.sampled_from([p.inc, p.embedder, p.minus_three, p.anything]).map(lambda fn: lambda: apply(fn)),
    st.just(lambda: delay(0.5)),
    st.builds(
        lambda system, metadata: lambda: ("step", {"system_prompt": system, "metadata": {"m": metadata}}), texts, plain
    ),
)
nodes = st.recursive(
    leaves,
    lambda inner: st.one_of(
        lines(inner).map(lambda steps: ("cond", steps)),
        st.dictionaries(texts | st.integers() | st.booleans(), lines(inner), min_size=1, max_size=3).map(
            lambda cases: ("switch", cases)
        ),
        lines(inner).map(lambda steps: ("loop", steps)),
        lines(inner).map(lambda steps: ("chain", steps)),
        st.tuples(lines(inner), st.booleans()).map(lambda branch: ("branch", branch)),
    ),
    max_leaves=6,
)


class Making:
    """Random pieces as nodes; each id and name is used once."""

    def __init__(self) -> None:
        self.number = 0

    def all(self, pieces: list[Any]) -> list[Any]:
        return [self.one(piece) for piece in pieces]

    def one(self, piece: Any) -> Any:
        self.number += 1
        name = f"n{self.number}"
        if callable(piece):
            made = piece()
            return number_step(name, **made[1]) if isinstance(made, tuple) else made
        kind, inner = piece
        if kind == "cond":
            return cond(p.is_even, self.all(inner), id=name)
        if kind == "switch":
            texts = {str(case): case for case in inner}
            return switch("value", {case: self.all(inner[case]) for case in texts.values()}, default=[])
        if kind == "loop":
            return while_loop(self.all(inner), until=p.is_even)
        if kind == "chain":
            return Chain(name=name, steps=self.all(inner))
        steps, joined = inner
        branch = Branch(name, self.all(steps))
        return [branch.join() if joined else branch]


@settings(max_examples=60, deadline=None)
@given(lines(nodes), texts, plain)
def test_any_chain_reads_back_as_the_same_graph(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[Any], name: str, metadata: Any
) -> None:
    chain = Chain(name=name, steps=Making().all(drawn), input_model=p.Number, metadata={"m": metadata})
    again = back(chain, tmp_path_factory.getbasetemp())
    assert build(again)[0].signature == build(chain)[0].signature
    assert [str(problem) for problem in build(again)[1]] == [str(problem) for problem in build(chain)[1]]
    assert (again.name, again.metadata) == (name, {"m": metadata})
