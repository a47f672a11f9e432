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
from tests.support.identity import damaged, issue
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


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_file_and_folder_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = await SqliteStore.open(file_in(tmp_path / "a" / "b"))
        try:
            await store.create_branch("default", "x", "main")
            assert mode(tmp_path / "a" / "b") == 0o700
            files = list((tmp_path / "a" / "b").iterdir())
            assert [mode(file) for file in files] == [0o600] * 3, files
        finally:
            await store.close()
    finally:
        os.umask(before)


async def test_what_was_kept_is_there_again_and_no_token_is_in_the_file(tmp_path: Path) -> None:
    path = file_in(tmp_path / "odd ?#% name")
    store = await SqliteStore.open(path)
    project, branches = (await store.projects())[0], await store.branches("default")
    token = await issue(store)
    credential = await store.credential(tokens.token_id(token))
    await store.close()
    store = await SqliteStore.open(path)
    assert (await store.projects(), await store.branches("default")) == ([project], branches)
    assert await store.credential(tokens.token_id(token)) == credential
    await store.close()
    assert token[25:].encode() not in path.read_bytes()


async def test_the_file_is_as_durable_as_promised(tmp_path: Path) -> None:
    store = await SqliteStore.open(file_in(tmp_path))
    settings = [
        [(await connection.execute_fetchall(f"PRAGMA {name}"), name) for name in names]
        for connection, names in (
            (store._writer, ["journal_mode", "synchronous", "foreign_keys", "busy_timeout"]),
            (store._reader, ["journal_mode", "query_only", "busy_timeout"]),
        )
    ]
    values = [[value for [(value,)], _ in connection] for connection in settings]
    await store.close()
    assert values == [["wal", 2, 1, 5000], ["wal", 1, 1000]]


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
    store = await SqliteStore.open(path)
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
    await store.close()


async def test_look_ups_see_what_another_process_changed(tmp_path: Path) -> None:
    gateway, command = await SqliteStore.open(file_in(tmp_path)), await SqliteStore.open(file_in(tmp_path))
    token = await issue(command)
    assert await gateway.credential(tokens.token_id(token)) is not None
    revoked = await command.revoke_credential(tokens.token_id(token))
    assert await gateway.credential(tokens.token_id(token)) == revoked
    await gateway.close()
    await command.close()


async def test_nothing_blocks_the_event_loop(tmp_path: Path) -> None:
    seen: set[int] = set()

    def here(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event.startswith("sqlite3."):
            seen.add(threading.get_ident())

    watching = True
    sys.addaudithook(here)
    store = await SqliteStore.open(file_in(tmp_path))
    await store.close()
    watching = False
    assert seen
    assert threading.get_ident() not in seen


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
    with pytest.raises(StoreError, match=f"^{path}: not an SQLite database") as told:
        await SqliteStore.open(path)
    assert "\n" not in str(told.value)
    assert path.read_bytes() == content


async def test_a_damaged_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = file_in(tmp_path)
    await (await SqliteStore.open(path)).close()
    content = path.read_bytes()[:6000]
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        await SqliteStore.open(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("PRAGMA user_version = 99", r"made by a newer gateway \(version 99, this one knows \d+\)"),
        ("PRAGMA application_id = 7", "the database of another program"),
    ],
)
async def test_a_database_of_a_newer_or_other_program_is_left_as_it_is(
    tmp_path: Path, change: str, message: str
) -> None:
    path = file_in(tmp_path)
    await (await SqliteStore.open(path)).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(change)
    content = path.read_bytes()
    with pytest.raises(StoreError, match=message):
        await SqliteStore.open(path)
    assert path.read_bytes() == content


async def test_another_programs_tables_are_not_mixed_with_ours(tmp_path: Path) -> None:
    path = file_in(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    content = path.read_bytes()
    with pytest.raises(StoreError, match="the database of another program"):
        await SqliteStore.open(path)
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
        with pytest.raises(StoreError, match=message) as told:
            await SqliteStore.open(path)
        assert str(told.value).startswith(f"{path}: ")
        assert "\n" not in str(told.value)
    assert (tmp_path / "file").read_text() == ""


async def test_a_file_locked_by_another_process_is_told(tmp_path: Path) -> None:
    path = file_in(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailable, match=f"^{path}: locked by another process$"):
            await SqliteStore.open(path)


async def test_look_ups_fail_while_the_file_is_damaged_and_work_when_it_is_mended(tmp_path: Path) -> None:
    path = file_in(tmp_path)
    store = await SqliteStore.open(path)
    main = (await store.branches("default"))[0]
    with damaged(path):
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="damaged"):
                await store.lineage(main.id)
        with pytest.raises(StoreUnavailable):
            await store.credential("a" * 16)
    assert await store.lineage(main.id) == (main.id,)
    await store.close()
