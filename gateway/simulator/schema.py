"""A value that a JSON schema admits: what the simulated model "writes" as JSON and as function arguments.

Takes both of Gemini's schema languages: its OpenAPI subset (upper-case types, `nullable`, snake_case names)
and JSON Schema (`$ref`, `$defs`, lists of types). Not honoured, as by Gemini: `pattern`, `multipleOf`,
`allOf`, `not`, `if`.
"""

from __future__ import annotations

import math
import re
from typing import Any

from gateway.simulator.errors import invalid

_NODE_LIMIT = 5000
_DEPTH_LIMIT = 64
# The older clients send the types of a schema as numbers (`$alt=json;enum-encoding=int`).
_NUMBERED_TYPES = ("string", "string", "number", "integer", "boolean", "array", "object", "null")
_FORMATS = {
    "date-time": "2026-01-01T12:00:00Z",
    "date": "2026-01-01",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "simulated@example.com",
    "hostname": "simulated.example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/simulated",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def example(schema: Any, hint: str = "") -> Any:
    """A value that `schema` admits; the same each time for the same arguments.

    Of an enum's values the first that `hint` names is taken, otherwise the first. A schema that refers to
    itself is followed once and then kept as small as it allows. Raises GoogleError for one that never ends,
    is far too large or refers to nothing.
    """
    return _Writer(schema, hint).value(schema, "", frozenset(), False)


class _Writer:
    """One walk over a schema.

    Its methods pass on `inside`, the references that the value at hand stands within, and `small`, which says
    to leave out what may be left out: set where a reference is met again, so that recursion ends.
    """

    def __init__(self, root: Any, hint: str):
        self.root = root
        self.hint = hint
        self.nodes = 0
        self.depth = 0

    def value(self, schema: Any, name: str, inside: frozenset[str], small: bool) -> Any:
        """A value for the property `name` (empty at the top)."""
        self.nodes += 1
        if self.nodes > _NODE_LIMIT or self.depth > _DEPTH_LIMIT:
            raise invalid("The specified schema produces a constraint that has too many states for serving.")
        if not isinstance(schema, dict):
            return _string({}, name)
        self.depth += 1
        reference = _reference(schema)
        if reference:
            target = self._resolve(reference)
            result = self.value(target, name, inside | {reference}, small or reference in inside)
        else:
            result = self._plain(schema, name, inside, small)
        self.depth -= 1
        return result

    def _resolve(self, reference: str) -> Any:
        target = self.root
        for step in filter(None, reference.removeprefix("#").split("/")):
            target = target.get(step) if isinstance(target, dict) else None
        if target is None:
            raise invalid(f"Reference to undefined schema: {reference}")
        return target

    def _plain(self, schema: dict[str, Any], name: str, inside: frozenset[str], small: bool) -> Any:
        options = _first(schema, "anyOf", "any_of", "oneOf", "one_of")
        values = schema.get("enum")
        fixed = _first(schema, "const", "default")
        if small and schema.get("nullable"):
            return None
        if fixed is not None:
            return fixed
        if isinstance(values, list) and values:
            return _choose(values, self.hint)
        if isinstance(options, list) and options:
            return self._option(options, name, inside, small)
        match _kind(schema):
            case "object":
                return self._object(schema, inside, small)
            case "array":
                return self._array(schema, name, inside, small)
            case "integer" | "number" as kind:
                return _number(schema, kind)
            case "boolean":
                return True
            case "null":
                return None
        return _string(schema, name)

    def _option(self, options: list[Any], name: str, inside: frozenset[str], small: bool) -> Any:
        """The first alternative that isn't null; for a small value null, or one that doesn't recur."""
        real = [option for option in options if not (isinstance(option, dict) and _kind(option) == "null")]
        if not real or (small and len(real) < len(options)):
            return None
        ending = [option for option in real if _reference(option) not in inside]
        return self.value(ending[0] if small and ending else real[0], name, inside, small)

    def _object(self, schema: dict[str, Any], inside: frozenset[str], small: bool) -> dict[str, Any]:
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        required = _list(schema, "required")
        order = _list(schema, "propertyOrdering", "property_ordering")
        ranked = sorted(properties, key=lambda name: order.index(name) if name in order else len(order))
        result = {
            name: self.value(properties[name], name, inside, small)
            for name in ranked
            if name in required or not small
        }
        others = _first(schema, "additionalProperties", "additional_properties")
        if isinstance(others, dict) and not properties and not small:
            result["simulated"] = self.value(others, "simulated", inside, small)
        return result

    def _array(self, schema: dict[str, Any], name: str, inside: frozenset[str], small: bool) -> list[Any]:
        prefix = _list(schema, "prefixItems", "prefix_items")
        result = [self.value(item, name, inside, small) for item in prefix]
        least = _count(_first(schema, "minItems", "min_items"), 0)
        most = _count(_first(schema, "maxItems", "max_items"), _NODE_LIMIT)
        wanted = min(most, max(least, 0 if small or result else 1))
        while "items" in schema and len(result) < wanted:
            result.append(self.value(schema["items"], name, inside, small))
        return result


def _choose(values: list[Any], hint: str) -> Any:
    """The first of an enum's values that `hint` names, otherwise the first."""
    hint = hint.lower()
    return next((value for value in values if str(value).lower() in hint), values[0])


def _reference(schema: Any) -> str:
    """What a schema refers to, or "". (Vertex's form of a schema writes `ref`.)"""
    found = _first(schema, "$ref", "ref") if isinstance(schema, dict) else ""
    return found if isinstance(found, str) else ""


def _kind(schema: dict[str, Any]) -> str:
    """The type, in lower case; of several the first that isn't null; guessed where none is given."""
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if isinstance(kind, int) and 0 < kind < len(_NUMBERED_TYPES):
        return _NUMBERED_TYPES[kind]
    if isinstance(kind, str) and kind != "TYPE_UNSPECIFIED":
        return kind.lower()
    if "properties" in schema or "additionalProperties" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _number(schema: dict[str, Any], kind: str) -> int | float:
    """The middle of the range allowed; near the bound where there is one; 1 where there is none."""
    step = 1 if kind == "integer" else 0
    low = _bound(schema, "minimum", "exclusiveMinimum", step)
    high = _bound(schema, "maximum", "exclusiveMaximum", -step)
    if low is not None and high is not None:
        value = (low + high) / 2
    elif low is not None:
        value = max(low + 1, 1.0)
    else:
        value = min(high - 1, 1.0) if high is not None else 1.0
    return math.floor(value) if kind == "integer" else value


def _bound(schema: dict[str, Any], inclusive: str, exclusive: str, step: int) -> float | None:
    for value, shift in ((schema.get(exclusive), step), (schema.get(inclusive), 0)):
        if isinstance(value, int | float) and abs(value) < 1e300:
            return float(value) + shift
    return None


def _string(schema: dict[str, Any], name: str) -> str:
    form = schema.get("format")
    if isinstance(form, str) and form in _FORMATS:
        return _FORMATS[form]
    text = f"simulated {name}".strip()
    text = text.ljust(_count(_first(schema, "minLength", "min_length"), 0), "x")
    return text[: _count(_first(schema, "maxLength", "max_length"), len(text))]


def _first(schema: dict[str, Any], *names: str) -> Any:
    """The value under the first of the names that the schema has."""
    return next((schema[name] for name in names if schema.get(name) is not None), None)


def _list(schema: dict[str, Any], *names: str) -> list[Any]:
    value = _first(schema, *names)
    return value if isinstance(value, list) else []


def _count(value: Any, otherwise: int) -> int:
    """A small count; protocol buffers' JSON writes 64-bit ones as strings."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,4}", value):
        return int(value)
    return value if isinstance(value, int) and 0 <= value <= 9_999 else otherwise
