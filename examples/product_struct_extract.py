"""Nested structures: a product description becomes a typed offer, Python prices it, a second step writes the label.

What is out of stock ends at the Python step, so fewer labels come out than descriptions went in.

    chainette run examples.product_struct_extract:chain -i examples/product_struct_extract.jsonl
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from chainette import Chain, SamplingParams, Step, apply

OFFER_SYSTEM = "Extract the offer."
OFFER_USER = "{{ description }}"
LABEL_SYSTEM = "Write the shelf label."
LABEL_USER = "{{ name }}\n{{ tags | join(', ') }}\n{{ euros }} euros"


class Description(BaseModel):
    description: str


class Price(BaseModel):
    amount: float = Field(ge=0, le=10_000)
    currency: Literal["EUR", "USD", "GBP"]


class Offer(BaseModel):
    """What the shop sells, as the description says it."""

    name: str = Field(max_length=80)
    price: Price
    tags: list[str] = Field(max_length=3)
    in_stock: bool


class PricedOffer(BaseModel):
    """An offer that can be bought now, in whole euros."""

    name: str
    tags: list[str]
    euros: int


class Label(BaseModel):
    label: str = Field(max_length=120)


EUROS = {"EUR": 1.0, "USD": 0.9, "GBP": 1.2}

offer = Step(
    id="offer",
    name="Extract the offer",
    input_model=Description,
    output_model=Offer,
    sampling=SamplingParams(temperature=0.0, max_tokens=128),
    output_format_instruction="",
    system_prompt=OFFER_SYSTEM,
    user_prompt=OFFER_USER,
)


def price_in_euros(found: Offer) -> PricedOffer | None:
    """What is out of stock gets no label."""
    if not found.in_stock:
        return None
    return PricedOffer(name=found.name, tags=found.tags, euros=round(found.price.amount * EUROS[found.price.currency]))


label = Step(
    id="label",
    name="Write the shelf label",
    input_model=PricedOffer,
    output_model=Label,
    sampling=SamplingParams(temperature=0.0, max_tokens=96),
    output_format_instruction="",
    system_prompt=LABEL_SYSTEM,
    user_prompt=LABEL_USER,
)

chain = Chain(name="Product offers", steps=[offer, apply(price_in_euros), label])
