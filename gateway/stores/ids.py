"""Ids for projects and branches: speakable, unguessed, and fit to be a DNS label."""

from __future__ import annotations

import secrets

_FIRST = ("amber", "bright", "calm", "cool", "early", "gentle", "little", "misty", "quiet", "snowy", "winter")
_SECOND = ("brook", "creek", "dawn", "field", "forest", "glade", "hill", "lake", "meadow", "pond", "wave")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def new_branch_id() -> str:
    """Such as `br-winter-pond-a1b2c3d4`: at most 26 characters of `[a-z0-9-]`."""
    return "br-" + _words()


def new_project_id() -> str:
    """Such as `pr-winter-pond-a1b2c3d4`."""
    return "pr-" + _words()


def _words() -> str:
    tail = "".join(secrets.choice(_ALPHABET) for _ in range(8))
    return f"{secrets.choice(_FIRST)}-{secrets.choice(_SECOND)}-{tail}"
