"""PostgreSQL when something goes wrong: told in one line, without the password, and over when it is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import asyncpg
import pytest

from gateway import tokens
from gateway.config.values import StoreUrl
from gateway.limits import Limits
from gateway.secrets import Secret
from gateway.stores import Store, StoreError, StoreUnavailable, open_store
from gateway.stores.postgres import LOOKUP_SECONDS, PostgresStore
from tests.support.identity import issue
from tests.support.ports import refusing_port, silent_port
from tests.support.postgres_server import PASSWORD, PostgresServer
from tests.support.usage import NOON, summed, usage_record

SLACK_SECONDS = 1.5
"""For a loaded machine."""


@pytest.fixture
def server(postgres: Callable[[], PostgresServer]) -> PostgresServer:
    return postgres()


@pytest.fixture
async def url(server: PostgresServer) -> StoreUrl:
    return await server.empty_database()


@pytest.fixture
async def store(server: PostgresServer, url: StoreUrl) -> AsyncIterator[PostgresStore]:
    store = await PostgresStore.open(url, server.password)
    yield store
    await store.close()


async def refusal(url: StoreUrl, password: Secret | None) -> str:
    """What opening a store ends with."""
    with pytest.raises(StoreError) as told:
        await open_store(url, password)
    line = str(told.value)
    assert line.startswith(f"{url.partition('?')[0]}: ")
    assert "\n" not in line
    assert PASSWORD not in line
    assert told.value.__cause__ is None
    return line.removeprefix(f"{url.partition('?')[0]}: ")


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """The server answers nothing, and closes nothing."""
    server.freeze(frozen=True)
    try:
        yield
    finally:
        server.freeze(frozen=False)


async def test_a_password_that_is_wrong_or_missing_is_told_without_it(
    server: PostgresServer, url: StoreUrl
) -> None:
    wrong = Secret("wrong-" + PASSWORD, "env:X")
    assert await refusal(url, wrong) == 'password authentication failed for user "gateway"'
    assert "password" in await refusal(url, None)
    store = await PostgresStore.open(url, server.password)
    assert PASSWORD not in repr(store) + repr(store.database) + repr(vars(store.database))
    await store.close()


async def test_a_server_that_is_not_there_is_told_in_one_line(server: PostgresServer) -> None:
    with refusing_port() as port:
        assert "Connect call failed" in await refusal(
            StoreUrl.parse(f"postgresql://u@127.0.0.1:{port}/d"), None
        )
    with silent_port() as port:
        began = time.monotonic()
        url = StoreUrl.parse(f"postgresql://u@127.0.0.1:{port}/d?sslmode=disable")
        assert await refusal(url, None) == "no answer within 10 s"
        assert time.monotonic() - began < 10 + SLACK_SECONDS
    assert await refusal(server.url("missing"), server.password) == 'database "missing" does not exist'


async def test_a_newer_or_unfit_database_is_left_as_it_is(server: PostgresServer, url: StoreUrl) -> None:
    await (await open_store(url, server.password)).close()
    connection = await server.connect(url)
    await connection.execute("UPDATE gemini_gateway.schema_version SET version = 99")
    assert await refusal(url, server.password) == (
        "made by a newer gateway (version 99, this one knows 1); left as it is"
    )
    await connection.close()
    latin = await server.new_database("latin", "ENCODING 'LATIN1' TEMPLATE template0")
    assert await refusal(latin, server.password) == "the database's encoding is not UTF8"
    connection = await server.connect(latin)
    assert await connection.fetchval("SELECT to_regnamespace('gemini_gateway')") is None
    await connection.close()


async def test_others_tables_of_the_same_names_are_left_alone(server: PostgresServer, url: StoreUrl) -> None:
    connection = await server.connect(url)
    await connection.execute("CREATE TABLE public.projects (theirs text)")
    store = await open_store(url, server.password)
    assert [project.name for project in await store.projects()] == ["default"]
    await store.close()
    assert await connection.fetchval("SELECT count(*) FROM public.projects") == 0
    await connection.execute("DROP TABLE public.projects")
    await connection.close()


async def test_stores_that_open_at_once_find_one(server: PostgresServer, url: StoreUrl) -> None:
    stores = await asyncio.gather(*(open_store(url, server.password) for _ in range(8)))
    found = {(await store.projects())[0].id for store in stores}
    for store in stores:
        await store.close()
    assert len(found) == 1


async def test_a_store_takes_few_of_the_connections_that_a_server_has(
    server: PostgresServer, url: StoreUrl, store: PostgresStore
) -> None:
    calls = [store.branches("default") for _ in range(40)]
    calls += [store.audit_trail() for _ in range(40)]  # type: ignore[misc]
    await asyncio.gather(*calls)
    connection = await server.connect()
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gemini-gateway' AND datname = $1"
    assert await connection.fetchval(query, url.rpartition("/")[2]) <= 7
    await connection.close()


async def test_while_the_server_is_down_nothing_hangs_and_when_it_is_back_all_works(
    server: PostgresServer, store: PostgresStore
) -> None:
    token = await issue(store)
    records = [usage_record(project=(await store.projects())[0].id) for _ in range(300)]
    adding = asyncio.create_task(store.add_usage(records))
    server.stop()
    for _ in range(3):
        for call in (
            store.credential(tokens.token_id(token)),
            store.create_project("p"),
            store.limits_version(),
            store.usage("default", 0, NOON),
            store.add_usage(records),
        ):
            began = time.monotonic()
            with pytest.raises(StoreUnavailable) as told:
                await call
            assert time.monotonic() - began < SLACK_SECONDS
            assert PASSWORD not in str(told.value)
    await asyncio.gather(adding, return_exceptions=True)
    server.start()
    assert await store.credential(tokens.token_id(token)) is not None
    await store.create_project("p")
    await store.add_usage(records)
    assert await store.usage("default", 0, NOON + 1) == summed(records)


async def test_while_the_server_is_silent_a_look_up_ends_in_time(
    server: PostgresServer, store: PostgresStore
) -> None:
    main = (await store.branches("default"))[0]
    with frozen(server):
        for _ in range(2):
            began = time.monotonic()
            calls = (store.lineage(main.id) for _ in range(12))
            told = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(error) for error in told} == {StoreUnavailable}
            assert f"no answer within {LOOKUP_SECONDS:g} s" in str(told[0])
            assert time.monotonic() - began < LOOKUP_SECONDS + SLACK_SECONDS
    assert await store.lineage(main.id) == (main.id,)
    await store.create_project("p")


async def test_a_store_closes_while_the_server_is_silent(server: PostgresServer, url: StoreUrl) -> None:
    store = await open_store(url, server.password)
    await store.branches("default")
    with frozen(server):
        pending = asyncio.create_task(store.create_project("p"))
        await asyncio.wait((pending,), timeout=0.2)
        began = time.monotonic()
        await store.close()
        assert time.monotonic() - began < 2 + SLACK_SECONDS
        await asyncio.gather(pending, return_exceptions=True)


async def test_a_connection_that_is_cut_in_the_middle_is_replaced(
    server: PostgresServer, url: StoreUrl, store: PostgresStore
) -> None:
    connection = await server.connect()
    for _ in range(5):
        await asyncio.gather(store.branches("default"), store.branches("default"), store.limits("default"))
        slow = asyncio.create_task(store.database.report("SELECT pg_sleep(20)"))
        cut = 0
        while not slow.done():
            cut += await connection.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE application_name = 'gemini-gateway' AND datname = $1 AND query LIKE '%pg_sleep(20)'",
                url.rpartition("/")[2],
            )
        with pytest.raises(StoreUnavailable):
            await slow
        assert cut
        assert len(await store.branches("default")) == 1
        await store.set_limits("default", Limits(tokens_per_day=1))
    await connection.close()


async def test_what_a_cancelled_caller_asked_for_reaches_no_other(store: PostgresStore) -> None:
    """Answers left in a connection would be taken for those of the next query."""

    async def echo(number: int) -> int:
        (row,) = await store.database.look_up("SELECT $1::bigint FROM pg_sleep(0.001)", number)
        return int(row[0])

    for steps in range(60):
        doomed = [asyncio.create_task(echo(-n)) for n in range(6)]
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)
        assert await asyncio.gather(*(echo(n) for n in range(6))) == list(range(6))


async def test_a_change_that_is_cancelled_leaves_no_lock_behind(
    server: PostgresServer, url: StoreUrl, store: PostgresStore
) -> None:
    other = await open_store(url, server.password)
    for steps in range(40):
        task = asyncio.create_task(store.set_limits("default", Limits(tokens_per_day=steps)))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await other.set_limits("default", Limits(tokens_per_day=10**6 + steps))
        assert await store.limits("default") == Limits(tokens_per_day=10**6 + steps)
    await other.close()


async def test_a_change_waits_for_another_machines_and_gives_up_in_time(
    server: PostgresServer, url: StoreUrl, store: PostgresStore
) -> None:
    other = await server.connect(url)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT pg_advisory_xact_lock($1)", 0x67656D67)
    waiting = asyncio.create_task(store.create_project("p"))
    assert len(await store.branches("default")) == 1  # look-ups don't wait
    await store.add_usage([usage_record()])  # nor does usage
    assert not waiting.done()
    with pytest.raises(StoreUnavailable, match="lock timeout"):
        await waiting
    await transaction.rollback()
    await store.create_project("p")
    await other.close()


async def test_machines_that_add_to_the_same_day_add_up(server: PostgresServer, url: StoreUrl) -> None:
    stores: list[Store] = [await open_store(url, server.password) for _ in range(3)]
    project = (await stores[0].projects())[0].id
    batches = [[usage_record(project=project, credential=f"c{n % 5}") for n in range(100)] for _ in range(30)]
    await asyncio.gather(*(stores[n % 3].add_usage(batch) for n, batch in enumerate(batches)))
    assert await stores[1].usage(project, 0, NOON * 2) == summed(r for batch in batches for r in batch)
    for store in stores:
        await store.close()


async def test_errors_quote_no_row(server: PostgresServer, store: PostgresStore) -> None:
    token = await issue(store)
    assert isinstance(token, str)
    with pytest.raises(StoreUnavailable) as told:
        async with store.database.change() as change:
            await change.run("INSERT INTO projects (id, name, created) SELECT id, name, 0 FROM projects")
    assert "duplicate key" in str(told.value)
    assert "(" not in str(told.value).partition("duplicate")[2]
    assert told.value.__cause__ is None
    assert isinstance(told.value.__context__, asyncpg.UniqueViolationError)
