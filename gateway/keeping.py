"""How much of request bodies is kept for sending them again: so much of each, and so much of all together."""

from __future__ import annotations


class Keeping:
    """Counts what is kept; a body that finds no room is sent once. Sizes are in bytes."""

    def __init__(self, *, each: int, together: int) -> None:
        self.kept = 0
        self._each = each
        self._together = together

    def take(self, size: int, *, already: int = 0) -> bool:
        """Whether so much more of a body may be kept, of which so much is kept already."""
        if already + size > self._each or self.kept + size > self._together:
            return False
        self.kept += size
        return True

    def give_back(self, size: int) -> None:
        """So much is no longer kept."""
        self.kept -= size
