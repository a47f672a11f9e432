"""What was used, on its way from the end of a request to the store: off the request's path, and never twice.

Every process that serves has a `Ledger`, which appends records to a spool of small files on this machine.
One process of the machine has a `Shipper`, which moves them into the store as soon as it takes them.
"""

from __future__ import annotations

from pathlib import Path

from gateway.ledger.ledger import Ledger
from gateway.ledger.shipper import Shipper

__all__ = ["Ledger", "Shipper", "spool_folder"]


def spool_folder(state_dir: Path) -> Path:
    """Where the spool is: in the folder that this machine keeps for itself."""
    return state_dir / "spool"
