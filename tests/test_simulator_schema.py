"""The values that the simulated upstream makes of JSON schemas."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import date, datetime
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter

from gateway.simulator.errors import GoogleError
from gateway.simulator.schema import example


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    street: str = Field(min_length=25, max_length=30)
    since: date
    house: int = Field(ge=3, lt=5)


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(gt=6, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    weight: float = Field(gt=0, lt=0.25)


class Tree(BaseModel):
    value: int
    children: list[Tree]
    parent: Tree | None = None


class Sum(BaseModel):
    left: Expression
    right: Expression


class Expression(BaseModel):
    root: Sum | Annotated[float, Field(ge=-1, le=1)]


class Person(BaseModel):
    id: UUID
    seen: datetime
    name: str | None
    colour: Colour
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    addresses: list[Address] = Field(min_length=2, max_length=3)
    scores: dict[str, int]
    position: tuple[float, float]
    active: bool
    anything: Any = None


@pytest.mark.parametrize(
    "kind", [Person, Tree, Expression, list[Person], dict[str, list[int]], Colour, None | int]
)
def test_an_example_is_what_the_schema_admits(kind: Any) -> None:
    adapter = TypeAdapter(kind)
    adapter.validate_python(json.loads(json.dumps(example(adapter.json_schema()))))


def test_googles_own_schemas() -> None:
    assert example({"type": "STRING", "nullable": True, "format": "enum", "enum": ["a"]}) == "a"
    assert example({"any_of": [{"type": "NULL"}, {"type": "INTEGER", "minimum": 5}]}) == 6
    assert example({"type": "ARRAY", "items": {"type": "BOOLEAN"}, "min_items": "2"}) == [True, True]
    assert example({"type": 6, "properties": {"n": {"type": 3}}}) == {"n": 1}
    assert example({"type": ["null", "string"], "maxLength": 4}) == "simu"


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/missing"},
        {"$defs": {"a": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]}}}
        | {"$ref": "#/$defs/a"},
        {"type": "array", "minItems": 9000, "items": {"type": "string"}},
    ],
)
def test_a_schema_that_no_finite_value_meets_is_refused(schema: Any) -> None:
    with pytest.raises(GoogleError) as caught:
        example(schema)
    assert caught.value.code == 400


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
SCHEMA_WORDS = (
    "type properties items required enum anyOf oneOf minItems maxItems minimum exclusiveMaximum nullable "
    "const $ref $defs format minLength maxLength propertyOrdering prefixItems additionalProperties default"
)
keywords = st.sampled_from(SCHEMA_WORDS.split())
words = st.sampled_from(["object", "array", "string", "INTEGER", "number", "null", "#/$defs/a", "date"])


@settings(max_examples=50)
@given(
    st.recursive(
        json_values | words,
        lambda inner: st.dictionaries(keywords | st.text(max_size=2), inner) | st.lists(inner),
    )
)
def test_no_schema_makes_it_fail_otherwise(schema: Any) -> None:
    with suppress(GoogleError):
        json.dumps(example(schema))
