"""docs/configuration.md has one line for each key, with its true default, and none for a key that is not."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import GenericAlias
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest

from gateway.config import load
from gateway.config.schema import Settings

DOCUMENT = Path(__file__).parents[1] / "docs" / "configuration.md"
NO_PLAIN_DEFAULT = {
    "none",
    "required",
    "in the user's state folder",
    "beside the SQLite file",
    "Google's for `ai-studio` and `vertex`",
    "required for `vertex`",
}


def keys(kind: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every key below a table, dotted, with its default."""
    hints = get_type_hints(kind)
    for field in msgspec.structs.fields(kind):
        below: Any = hints[field.name]
        name = prefix + field.name
        if isinstance(below, GenericAlias) and get_origin(below) is tuple:
            below, name = get_args(below)[0], f"{name}[]"
        elif isinstance(below, GenericAlias) and get_origin(below) is dict:
            below, name = get_args(below)[1], f"{name}.<id>"
        if isinstance(below, type) and issubclass(below, msgspec.Struct):
            yield from keys(below, f"{name}.")
        else:
            default = field.default_factory() if callable(field.default_factory) else field.default
            yield prefix + field.name, default


def documented() -> dict[str, str]:
    """Key to the default that its line names."""
    lines = re.findall(r"^\| `([^`]+)` \| [^|]+ \| ([^|]+) \| [^|]+ \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert len(lines) == len(dict(lines))
    return dict(lines)


def test_every_key_has_its_line_and_every_line_its_key() -> None:
    assert set(documented()) == {key for key, _ in keys(Settings)}


@pytest.mark.parametrize(("key", "default"), list(keys(Settings)))
def test_the_default_in_the_line_is_the_true_one(key: str, default: object) -> None:
    told = documented()[key]
    if told in NO_PLAIN_DEFAULT:
        assert default in (None, "", msgspec.NODEFAULT)
    else:
        value = tomllib.loads(f"value = {told.strip('`')}")["value"]
        assert msgspec.to_builtins(default, enc_hook=str) == (
            tuple(value) if isinstance(value, list) else value
        )


def test_the_example_is_a_good_configuration(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(\[server\].*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert example
    file = tmp_path / "gateway.toml"
    file.write_text(example[1])
    (tmp_path / "gemini_api_key").write_text("key")
    config = load(file, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert config.upstreams[0].keys[0].reveal() == "key"
