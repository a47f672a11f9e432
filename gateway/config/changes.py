"""What differs between two readings of the configuration, in the words of its keys. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from gateway.config.schema import Settings, Upstream


def upstream_changes(old: Settings, new: Settings, files: Collection[Path]) -> str:
    """Which upstreams are new, gone, or others: `added: b; changed: a (keys, priority)`; empty where none.

    `files` are those whose content has changed meanwhile.
    """
    before = {upstream.name: upstream for upstream in old.upstreams}
    after = {upstream.name: upstream for upstream in new.upstreams}
    changed = []
    for name in before.keys() & after.keys():
        keys = list(_differing(before[name], after[name]))
        if not keys and any(file in files for file in after[name].files):
            keys = ["its files"]
        if keys:
            changed.append(f"{name} ({', '.join(keys)})")
    parts = {
        "added": [name for name in after if name not in before],
        "removed": [name for name in before if name not in after],
        "changed": sorted(changed),
    }
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)


def other_changes(old: Settings, new: Settings) -> list[str]:
    """The dotted keys outside `upstreams` that differ."""
    found = []
    for section in _differing(old, new):
        if section != "upstreams":
            found += [f"{section}.{key}" for key in _differing(getattr(old, section), getattr(new, section))]
    return found


def watched(upstream: Upstream) -> Iterator[Path]:
    """The files that it is made from: when one changes, the configuration is worth another reading."""
    yield from upstream.files
    for secret in (*upstream.keys, upstream.credentials):
        if secret and secret.path:
            yield secret.path


def _differing(old: msgspec.Struct, new: msgspec.Struct) -> Iterator[str]:
    for field in old.__struct_fields__:
        if getattr(old, field) != getattr(new, field):
            yield field
