"""A database that can't be used: exit code 1, one line that names it, and the file left as it was."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.service.rig import Ended, at_home, files_below, serve_to_its_end
from tests.service.test_start import TOKEN
from tests.support.machine import left_out, program
from tests.support.process import Process


def serve_on(database: Path, home: Path, prefix: list[str] | None = None) -> Ended:
    """A start that has to fail because of that database."""
    environment = at_home(home, STORE__URL=f"sqlite:///{database}")
    ended = serve_to_its_end(environment=environment, prefix=prefix or [])
    assert ended.code == 1
    assert ended.error.startswith(f"error: {database}: ")
    return ended


@pytest.fixture(scope="module")
def used_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a gateway that has run."""
    home = tmp_path_factory.mktemp("used")
    process = Process(["serve"], at_home(home, STORE__URL=f"sqlite:///{home}/gateway.db"))
    process.wait_for_line(r"^curl ")
    assert process.stop() == 0
    assert files_below(home) == ["cooldowns", "counters", "gateway.db"]
    return home / "gateway.db"


@pytest.fixture
def database(tmp_path: Path, used_database: Path) -> Path:
    """One like that to be spoilt."""
    return Path(shutil.copy(used_database, tmp_path))


@pytest.fixture
def bound_by_modes(tmp_path: Path) -> list[str]:
    """What runs a program so that the modes of files bind it: for root, without the right to ignore them."""
    prefix = [program("setpriv"), "--bounding-set=-dac_override,-dac_read_search"]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        prefix = []
    folder = tmp_path / "bound"
    folder.mkdir(mode=0o500)
    if not subprocess.run([*prefix, "touch", folder / "file"], capture_output=True, check=False).returncode:
        left_out("file modes do not bind this user")
    return prefix


def test_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = serve_on(tmp_path / "file" / "gateway.db", tmp_path)
    assert f"{tmp_path / 'file'} is not a folder" in ended.error


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "gateway.db").mkdir()
    assert "not a regular file" in serve_on(tmp_path / "gateway.db", tmp_path).error


def test_where_no_file_can_be(tmp_path: Path) -> None:
    serve_on(Path("/proc/gateway/gateway.db"), tmp_path)


def test_a_folder_that_may_not_be_written(tmp_path: Path, bound_by_modes: list[str]) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o500)
    assert "Permission denied" in serve_on(folder / "gateway.db", tmp_path, bound_by_modes).error
    assert files_below(folder) == []


def test_a_file_that_may_not_be_written(database: Path, bound_by_modes: list[str]) -> None:
    before = database.read_bytes()
    database.chmod(0o400)
    ended = serve_on(database, database.parent, bound_by_modes)
    assert "may not read and write it" in ended.error
    assert database.read_bytes() == before


def test_a_file_in_a_folder_that_may_not_be_written(database: Path, bound_by_modes: list[str]) -> None:
    """SQLite needs files beside it."""
    before = database.read_bytes()
    database.parent.chmod(0o500)
    serve_on(database, database.parent, bound_by_modes)
    assert database.read_bytes() == before


def test_a_full_disk(tmp_path: Path) -> None:
    """Told at the first start, which then is one as soon as there is room."""
    file = tmp_path / "gateway.db"
    serve_on(file, tmp_path, [program("prlimit"), "--fsize=8192"])
    process = Process(["serve"], at_home(tmp_path, STORE__URL=f"sqlite:///{file}"))
    process.wait_for_line(r"^curl ")
    assert process.stop() == 0
    assert len(TOKEN.findall("\n".join(process.log_lines()))) == 2


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "something else": lambda _: b"This is not a database.\n" * 1000,
    "zeros": lambda data: bytes(len(data)),
    "a beginning of zeros": lambda data: bytes(4096) + data[4096:],
    "a few bytes": lambda _: b"SQLite",
    "its first page alone": lambda data: data[:4096],
    "a schema of zeros": lambda data: data[:100] + bytes(3996) + data[4096:],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file(database: Path, damage: str) -> None:
    damaged = DAMAGE[damage](database.read_bytes())
    database.write_bytes(damaged)
    ended = serve_on(database, database.parent)
    assert "damaged" in ended.error
    assert database.read_bytes() == damaged


def test_a_newer_gateways(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA user_version = 999")
    before = database.read_bytes()
    assert "made by a newer gateway (version 999" in serve_on(database, database.parent).error
    assert database.read_bytes() == before


def test_another_programs(tmp_path: Path) -> None:
    file = tmp_path / "gateway.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE theirs (what TEXT)")
        connection.commit()
    before = file.read_bytes()
    assert "the database of another program" in serve_on(file, tmp_path).error
    assert file.read_bytes() == before
