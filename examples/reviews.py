"""Reviews in three languages: a typed extraction, two branches side by side, a join, a summary.

Runs on the demo model that ships with Chainette (a closed little world: short English reviews of household goods).
The same graph as a function is examples/reviews_traced.py, and as data examples/reviews.yml.

    chainette run examples.reviews:chain -i examples/reviews.jsonl
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from chainette import Branch, Chain, SamplingParams, Step

EXTRACT_SYSTEM = "Extract product, sentiment and rating."
EXTRACT_USER = "{{ text }}"
FRENCH_SYSTEM = "Write the verdict in French."
SPANISH_SYSTEM = "Write the verdict in Spanish."
VERDICT_USER = "{{ product }}\n{{ sentiment }}, {{ rating }} of 5"
SUMMARY_SYSTEM = "Summarise in one English line."
SUMMARY_USER = (
    "{{ extract.product }}\n{{ extract.sentiment }}, {{ extract.rating }} of 5\n"
    "French: {{ fr.verdict }}\nSpanish: {{ es.verdict }}"
)


# The models have no docstrings, which would go into their schemas: those of reviews.yml are to be the same.
class Review(BaseModel):
    text: str


class Extract(BaseModel):
    product: str = Field(max_length=80)
    sentiment: Literal["positive", "negative", "mixed"]
    rating: int = Field(ge=1, le=5)


class Verdict(BaseModel):
    verdict: str = Field(max_length=200)


class Verdicts(BaseModel):
    fr: Verdict
    es: Verdict


class Summary(BaseModel):
    summary: str = Field(max_length=300)


sampling = SamplingParams(temperature=0.0, max_tokens=192)

extract = Step(
    id="extract",
    name="Extract the facts",
    input_model=Review,
    output_model=Extract,
    sampling=sampling,
    output_format_instruction="",
    system_prompt=EXTRACT_SYSTEM,
    user_prompt=EXTRACT_USER,
)
verdict_fr = Step(
    id="verdict_fr",
    name="Verdict in French",
    input_model=Extract,
    output_model=Verdict,
    sampling=sampling,
    output_format_instruction="",
    system_prompt=FRENCH_SYSTEM,
    user_prompt=VERDICT_USER,
)
verdict_es = verdict_fr.with_(id="verdict_es", name="Verdict in Spanish", system_prompt=SPANISH_SYSTEM)
summarise = Step(
    id="summarise",
    name="Summarise",
    input_model=Verdicts,
    output_model=Summary,
    sampling=sampling,
    output_format_instruction="",
    system_prompt=SUMMARY_SYSTEM,
    user_prompt=SUMMARY_USER,
)

chain = Chain(
    name="Reviews",
    steps=[
        extract,
        [
            Branch(name="fr", steps=[verdict_fr]).join("fr"),
            Branch(name="es", steps=[verdict_es]).join("es"),
        ],
        summarise,
    ],
)
