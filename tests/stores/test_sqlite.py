"""The SQLite file: made safely, shared between processes, refused whole when something is wrong with it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from gateway import tokens
from gateway.stores import StoreError, StoreUnavailable
from gateway.stores.sqlite import SqliteStore
from tests.support.identity import damaged, issue, opened
from tests.support.machine import PROJECT

# Opens the store once told to, makes as many branches as told, and prints what it found.
_PROCESS = """
import asyncio, sys
from pathlib import Path
from gateway.stores.sqlite import SqliteStore

async def main(path, prefix, count):
    print("ready", flush=True)
    sys.stdin.readline()
    store = await SqliteStore.open(Path(path))
    for n in range(int(count)):
        await store.create_branch("default", f"{prefix}{n}", "main")
    print((await store.projects())[0].id, flush=True)
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


def file_in(folder: Path) -> Path:
    return folder / "gateway.db"


async def refusal(path: Path) -> str:
    """What opening a file ends with, in one line."""
    with pytest.raises(StoreError) as told:
        async with opened(path):
            pass
    assert str(told.value).startswith(f"{path}: ")
    assert "\n" not in str(told.value)
    return str(told.value).removeprefix(f"{path}: ")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_file_and_folder_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with opened(file_in(tmp_path / "a" / "b")) as store:
            await store.create_branch("default", "x", "main")
            assert mode(tmp_path / "a" / "b") == 0o700
            files = list((tmp_path / "a" / "b").iterdir())
            assert [mode(file) for file in files] == [0o600] * 3, files
    finally:
        os.umask(before)


async def test_what_was_kept_is_there_again_and_no_token_is_in_the_file(tmp_path: Path) -> None:
    path = file_in(tmp_path / "odd ?#% name")
    async with opened(path) as store:
        project, branches = (await store.projects())[0], await store.branches("default")
        token = await issue(store)
        credential = await store.credential(tokens.token_id(token))
    async with opened(path) as store:
        assert (await store.projects(), await store.branches("default")) == ([project], branches)
        assert await store.credential(tokens.token_id(token)) == credential
    assert token[25:].encode() not in path.read_bytes()


async def test_the_file_is_as_durable_as_promised(tmp_path: Path) -> None:
    async with opened(file_in(tmp_path)) as store:
        for connection, expected in (
            (
                store.database.writer,
                {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000},
            ),
            (store.database.reader, {"journal_mode": "wal", "query_only": 1, "busy_timeout": 1000}),
            (store.database.reporter, {"journal_mode": "wal", "query_only": 1, "busy_timeout": 5000}),
        ):
            for name, value in expected.items():
                assert list(await connection.execute_fetchall(f"PRAGMA {name}")) == [(value,)], name


@pytest.mark.parametrize("attempt", range(3))
def test_processes_that_start_at_once_find_one_store(tmp_path: Path, attempt: int) -> None:
    path, count = file_in(tmp_path), 5
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS, str(path), prefix, str(count)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for prefix in ("a", "b", "c")
    ]
    found = set()
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        found.add(output)
    assert len(found) == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM projects").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM branches").fetchone() == (1 + 3 * count,)


async def test_a_change_waits_for_another_process_while_look_ups_go_on(tmp_path: Path) -> None:
    path = file_in(tmp_path)
    async with opened(path) as store:
        main = (await store.branches("default"))[0]
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("UPDATE branches SET name = 'renamed'")
            change = asyncio.create_task(store.create_branch("default", "x", "renamed"))
            for _ in range(20):
                assert await store.lineage(main.id) == (main.id,)
            assert not change.done()
            other.execute("COMMIT")
        assert (await change).parent_id == main.id


async def test_opening_waits_for_another_process_that_makes_the_store(tmp_path: Path) -> None:
    path = file_in(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        opening = asyncio.create_task(SqliteStore.open(path))
        await asyncio.wait((opening,), timeout=0.3)
        assert not opening.done()
        other.execute("COMMIT")
    await (await opening).close()


async def test_look_ups_see_what_another_process_changed(tmp_path: Path) -> None:
    async with opened(file_in(tmp_path)) as gateway, opened(file_in(tmp_path)) as command:
        token = await issue(command)
        assert await gateway.credential(tokens.token_id(token)) is not None
        revoked = await command.revoke_credential(tokens.token_id(token))
        assert await gateway.credential(tokens.token_id(token)) == revoked


async def test_an_earlier_revocation_keeps_its_time(tmp_path: Path) -> None:
    async with opened(file_in(tmp_path)) as store:
        branch = await store.create_branch("default", "x", "main")
        credential_id = tokens.token_id(await issue(store, branch.id))
        await store.revoke_credential(credential_id)
        with closing(sqlite3.connect(file_in(tmp_path), isolation_level=None)) as connection:
            connection.execute("UPDATE credentials SET revoked = 1000")
        assert (await store.revoke_credential(credential_id)).revoked == 1000
        await store.delete_branch("default", branch.id)
        credential = await store.credential(credential_id)
        assert credential is not None
        assert credential.revoked == 1000


async def test_the_event_loop_is_left_in_peace_while_the_file_is_opened(tmp_path: Path) -> None:
    seen: dict[str, int] = {}

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event in ("os.mkdir", "open", "sqlite3.connect") and str(tmp_path) in str(arguments):
            seen[event] = threading.get_ident()

    watching = True
    sys.addaudithook(note)  # for good: Python has no way to take it back
    async with opened(file_in(tmp_path / "folder")):
        watching = False
    assert set(seen) == {"os.mkdir", "open", "sqlite3.connect"}
    assert threading.get_ident() not in seen.values()


@pytest.mark.parametrize("content", [b"x", b"not a database at all\n" * 1000, b"SQLite format 2\0" * 64])
@pytest.mark.parametrize("with_log", [False, True])
async def test_a_file_of_something_else_is_left_as_it_is(
    tmp_path: Path, content: bytes, with_log: bool
) -> None:
    path = file_in(tmp_path)
    if with_log:  # of a store that ended without closing, which SQLite would work into the file
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE t (x)")
            log = Path(f"{path}-wal").read_bytes()
        Path(f"{path}-wal").write_bytes(log)
    path.write_bytes(content)
    assert await refusal(path) == "not an SQLite database, or damaged; left as it is"
    assert path.read_bytes() == content


async def test_a_damaged_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = file_in(tmp_path)
    async with opened(path):
        pass
    content = path.read_bytes()[:6000]
    path.write_bytes(content)
    assert "damaged" in await refusal(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("PRAGMA user_version = 99", "made by a newer gateway (version 99, this one knows 2)"),
        ("PRAGMA application_id = 7", "the database of another program"),
    ],
)
async def test_a_database_of_a_newer_or_other_program_is_left_as_it_is(
    tmp_path: Path, change: str, message: str
) -> None:
    path = file_in(tmp_path)
    async with opened(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(change)
    content = path.read_bytes()
    assert await refusal(path) == f"{message}; left as it is"
    assert path.read_bytes() == content


async def test_another_programs_tables_are_not_mixed_with_ours(tmp_path: Path) -> None:
    path = file_in(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    content = path.read_bytes()
    assert "the database of another program" in await refusal(path)
    assert path.read_bytes() == content


async def test_a_place_that_cannot_hold_it_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for path, message in (
        (tmp_path / "file" / "gateway.db", f"{tmp_path}/file is not a folder"),
        (tmp_path / "file" / "sub" / "gateway.db", "Not a directory"),
        (tmp_path / "folder", "not a regular file"),
        (tmp_path / "link", "No such file or directory"),
        (Path("/proc/gateway/gateway.db"), "can't be made"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        assert message in await refusal(path)
    assert (tmp_path / "file").read_text() == ""


async def test_a_file_locked_by_another_process_is_told(tmp_path: Path) -> None:
    path = file_in(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert await refusal(path) == "locked by another process"


async def test_look_ups_fail_while_the_file_is_damaged_and_work_when_it_is_mended(tmp_path: Path) -> None:
    path = file_in(tmp_path)
    async with opened(path) as store:
        main = (await store.branches("default"))[0]
        with damaged(path):
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match="damaged"):
                    await store.lineage(main.id)
            with pytest.raises(StoreUnavailable):
                await store.credential("a" * 16)
        assert await store.lineage(main.id) == (main.id,)
