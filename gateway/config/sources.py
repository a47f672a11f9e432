"""The three places that settings come from, put into one table: file, environment, command line.

The table has the file's shape and is not checked yet; it remembers which key came from where, so that an
error can name the place to mend.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from gateway.config.schema import Settings
from gateway.errors import ConfigurationError

_PREFIX = "GATEWAY_"
_AI_STUDIO = "https://generativelanguage.googleapis.com"


@dataclass(slots=True)
class Table:
    """Settings in the file's shape, and where each came from."""

    values: dict[str, Any]
    label: str
    """The file, or what stands in for it."""
    origins: dict[str, str] = field(default_factory=dict)
    """By dotted key: the environment variable or option that set it."""

    def error(self, key: str, message: str) -> ConfigurationError:
        """One line about a dotted key that names the place to mend."""
        part = key
        while part not in self.origins and (shorter := re.sub(r"(\.[^.\[]*|\[[^\]]*\])\Z", "", part)) != part:
            part = shorter
        if part in self.origins:
            return ConfigurationError(f"{self.origins[part]}: {message}")
        return ConfigurationError(f"{self.label}: {key}: {message}")


def read(path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object]) -> Table:
    """All settings; a later place overrides an earlier one, key by key.

    `overrides` are the command line's, by dotted key; None means that the option was not given.
    """
    if path is None:
        table = Table(default_config(environ), "built-in configuration")
    else:
        table = Table(read_file(path), str(path))
    for name in sorted(environ, key=_by_number):
        if name.startswith(_PREFIX) and "__" in name and environ[name].strip():
            _set(table, _segments(name), environ[name].strip(), name)
    for key, value in overrides.items():
        if value is not None:
            segments = key.split(".")
            _set(table, segments, value, "--" + segments[-1].replace("_", "-"))
    _complete(table, environ)
    return table


def read_file(path: Path) -> dict[str, Any]:
    """A TOML file's table. Raises ConfigurationError."""
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is not UTF-8 text") from None
    except ValueError as error:  # a number of thousands of digits is one, too, and a path with a zero byte
        raise ConfigurationError(f"{path}: is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigurationError(f"{path}: is nested too deeply") from None


def default_config(environ: Mapping[str, str]) -> dict[str, Any]:
    """What the gateway is without a file: Google AI Studio where there is a key for it, else simulated."""
    if environ.get("GEMINI_API_KEY"):
        return {"upstreams": [{"name": "ai-studio", "kind": "ai-studio", "keys": ["env:GEMINI_API_KEY"]}]}
    return {"upstreams": [{"name": "simulated", "kind": "simulated"}]}


def _segments(variable: str) -> list[str]:
    if variable != variable.upper():
        raise ConfigurationError(f"{variable}: names no configuration key (they are in capitals)")
    return variable.removeprefix(_PREFIX).lower().split("__")


def _by_number(variable: str) -> str:
    """Sorts the entry 2 of a list before its entry 10."""
    return re.sub(r"[0-9]+", lambda digits: digits[0].zfill(6), variable)


def _complete(table: Table, environ: Mapping[str, str]) -> None:
    """Fill in what depends on the surroundings or on another key, which a plain default cannot."""
    store = table.values.setdefault("store", {})
    folder = _state_folder(environ)
    if isinstance(store, dict):
        if folder is not None:
            store.setdefault("url", f"sqlite:///{folder / 'gateway.db'}")
        _complete_state_dir(store, environ, folder)
    server = table.values.get("server")
    if isinstance(server, dict) and isinstance(server.get("listen"), str):
        server["listen"] = [server["listen"]]
    upstreams = table.values.get("upstreams")
    for upstream in upstreams if isinstance(upstreams, list) else ():
        if not isinstance(upstream, dict):
            continue
        if upstream.get("kind") == "ai-studio":
            upstream.setdefault("base_url", _AI_STUDIO)
        elif upstream.get("kind") == "vertex":
            upstream.setdefault("base_url", _vertex(str(upstream.get("location", "global"))))


def _vertex(location: str) -> str:
    """Where Google answers for a location: everywhere, in a continent, in a region."""
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in ("us", "eu"):
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


def _complete_state_dir(store: dict[str, Any], environ: Mapping[str, str], folder: Path | None) -> None:
    """Beside an SQLite file, which is this machine's too; otherwise the service's folder, or the user's."""
    url = store.get("url")
    if isinstance(url, str) and url.startswith("sqlite:///"):
        store.setdefault("state_dir", str(Path(url.removeprefix("sqlite:///")).parent))
    elif given := environ.get("STATE_DIRECTORY", "").partition(":")[0]:  # systemd's
        store.setdefault("state_dir", given)
    elif folder is not None:
        store.setdefault("state_dir", str(folder))


def _state_folder(environ: Mapping[str, str]) -> Path | None:
    """The user's folder for state, after the XDG base directory specification (a relative one is ignored)."""
    for variable, below in (("XDG_STATE_HOME", ""), ("HOME", ".local/state")):
        if environ.get(variable, "").startswith("/"):
            return Path(environ[variable], below, "gemini-gateway")
    return None


def _set(table: Table, segments: list[str], value: object, origin: str) -> None:
    """Put one value where its segments say."""
    found = _typed_path(segments)
    if found is None:
        raise ConfigurationError(f"{origin}: names no configuration key")
    path, kind = found
    if isinstance(value, str):
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise ConfigurationError(f"{origin}: is not UTF-8 text")
        value = _from_text(kind, value, origin)
    here: Any = table.values
    for step, following in pairwise(path):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(here, dict):
            here = here.setdefault(step, empty)
        elif step in range(len(here)):
            here = here[step]
        elif step == len(here):
            here.append(empty)
            here = empty
        else:
            raise ConfigurationError(f"{origin}: skips a number, the next is {len(here)}")
        if not isinstance(here, type(empty)):
            return  # the file's own mistake, which the type check will name
    here[path[-1]] = value
    table.origins["".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)[1:]] = origin


def _typed_path(segments: list[str]) -> tuple[list[str | int], Any] | None:
    """The steps to a value and its type; None where the segments lead to no value."""
    path: list[str | int] = []
    kind: Any = Settings
    for segment in segments:
        if _is_table(kind):
            path.append(segment)
            kind = get_type_hints(kind, include_extras=True).get(segment)
        elif _is_list_of_tables(kind) and segment.isdigit():
            path.append(int(segment))
            kind = get_args(kind)[0]
        else:
            return None
    return None if kind is None or _is_table(kind) or _is_list_of_tables(kind) else (path, kind)


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _is_list_of_tables(kind: Any) -> bool:
    return get_origin(kind) is tuple and _is_table(get_args(kind)[0])


def _from_text(kind: Any, text: str, origin: str) -> object:
    """A value in the shape that the file would give it, for the type of its key."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) is tuple and not (text.startswith("[") and text.endswith("]")):
        return [item.strip() for item in text.split(",") if item.strip()]
    if get_origin(kind) not in (tuple, dict) and kind not in (int, float):
        return text
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        table = {}
    if table.keys() == {"value"}:
        return table["value"]
    if kind in (int, float):
        return text  # for the type check, which says what it expected
    raise ConfigurationError(f"{origin}: is not a valid TOML value")
