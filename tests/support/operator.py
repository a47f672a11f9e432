"""An operator's commands on a store of their own, and all that a store holds."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main

CONFIGURATION = """
[store]
url = "sqlite:///{path}"
[[upstreams]]
name = "simulated"
kind = "simulated"
"""


class Operator:
    """Runs commands on a store of its own."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.store_path = folder / "gateway.db"
        self.config_path = folder / "gateway.toml"
        self.config_path.write_text(CONFIGURATION.format(path=self.store_path))
        self._capture = capture

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        code = main([*arguments, "--config", str(self.config_path)])
        captured = self._capture.readouterr()
        return code, captured.out, captured.err

    def ask(self, *arguments: str) -> Any:
        """What a command that succeeds prints as JSON."""
        code, out, err = self.run(*arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    def content(self) -> dict[str, list[Any]]:
        """Every row of the store."""
        return rows(self.store_path)


def rows(store_path: Path) -> dict[str, list[Any]]:
    """Every row of an SQLite file, by table."""
    with closing(sqlite3.connect(store_path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in tables}
