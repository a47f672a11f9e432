"""What every store does with usage: each attempt counted once, and sums that stay exact."""

from __future__ import annotations

import asyncio
import json
import random
import time

import msgspec
import pytest

from gateway.stores import Store, StoreError, UsageBy
from gateway.stores.sql_store import SqlStore
from gateway.stores.sql_usage import COLUMNS, MOST
from gateway.usage_record import UsageRecord, UsageSource
from tests.stores.conftest import Place
from tests.support.usage import DAY, NOON, summed, usage_record

EVERY_GROUP = tuple(UsageBy)
EVER = (0.0, NOON * 2)


@pytest.fixture
async def project(store: Store) -> str:
    """The id of the project whose usage is looked at."""
    return (await store.projects())[0].id


async def test_each_attempt_counts_once_however_often_it_comes(store: Store, project: str) -> None:
    first = [usage_record(project=project) for _ in range(450)]
    second = [usage_record(project=project, request_id=first[0].request_id, attempt=2)]
    assert await store.add_usage([*first[:300], *first[:10]]) == 300
    assert await store.add_usage(first) == 150
    assert await store.add_usage([*first, *second]) == 1
    assert await store.add_usage([]) == 0
    (told,) = await store.usage(project, *EVER)
    assert [told] == summed([*first, *second])
    assert (told.requests, told.attempts, told.input_tokens) == (450, 451, 451 * 105)


async def test_what_is_not_known_is_counted_as_such(store: Store, project: str) -> None:
    unknown = {
        name: None
        for name in UsageRecord.__struct_fields__
        if name.endswith("_tokens") or name == "cost_nanos"
    }
    records = [
        usage_record(project=project),
        usage_record(project=project, usage_source=UsageSource.UNKNOWN, **unknown),
        usage_record(project=project, usage_source=UsageSource.PARTIAL),
        usage_record(project=project, unpriced=("google_search",)),
        usage_record(project=project, unpriced=("model",), cost_nanos=None),
    ]
    await store.add_usage(records)
    (told,) = await store.usage(project, *EVER)
    assert (told.attempts, told.unknown_usage, told.unpriced) == (5, 1, 2)
    assert (told.cost_nanos, told.total_tokens) == (3_000, 4 * 128)


async def test_a_record_is_kept_with_all_that_it_says(store: Store, project: str) -> None:
    whole = usage_record(
        project=project,
        attempt=2,
        attempts=3,
        time=NOON + 0.125,
        client_request_id="theirs",
        model_version="gemini-3.5-flash-001 ö",
        modalities={"prompt": {"TEXT": 60, "AUDIO": 40}},
        traffic_type="ON_DEMAND",
        service_tier="priority",
        unpriced=("google_search", "model"),
        first_byte_ms=12.5,
        duration_ms=80.25,
        request_bytes=1234,
        response_bytes=5678,
    )
    await store.add_usage([whole])
    assert isinstance(store, SqlStore)
    (row,) = await store.database.report(f"SELECT {', '.join(COLUMNS)} FROM usage_records")
    kept = dict(zip(COLUMNS, row, strict=True))
    assert kept.pop("day") == 20513
    kept["modalities"], kept["unpriced"] = json.loads(kept["modalities"]), json.loads(kept["unpriced"])
    assert msgspec.convert(kept, UsageRecord) == whole
    assert set(kept) == set(UsageRecord.__struct_fields__)


@pytest.mark.parametrize(
    "fields",
    [
        {"model_version": "a\0b"},
        {"traffic_type": "\ud800"},
        {"prompt_tokens": -1},
        {"total_tokens": MOST + 1},
        {"cost_nanos": 2**63},
        {"time": float("nan")},
        {"time": -1.0},
        {"time": 1e300},
    ],
)
async def test_a_record_that_cannot_be_kept_keeps_the_others_out(
    store: Store, project: str, fields: dict[str, object]
) -> None:
    good = [usage_record(project=project) for _ in range(300)]
    bad = usage_record(project=project, **fields)
    with pytest.raises(StoreError, match=bad.request_id):
        await store.add_usage([*good, bad])
    assert await store.usage(project, *EVER) == []
    assert await store.add_usage(good) == 300


async def test_the_largest_numbers_are_kept_exactly(store: Store, project: str) -> None:
    records = [usage_record(project=project, total_tokens=MOST, cost_nanos=MOST - n) for n in range(1000)]
    await store.add_usage(records)
    assert await store.usage(project, *EVER) == summed(records)
    assert await store.usage(project, NOON, NOON + 1) == summed(records)


@pytest.mark.parametrize("seed", range(6))
async def test_sums_are_those_of_the_records_at_any_time_in_any_groups(
    store: Store, project: str, seed: int
) -> None:
    rng = random.Random(seed)
    midnight = NOON - DAY / 2

    def moment() -> float:
        """Often at, or right beside, the seam of two days."""
        return midnight + rng.choice([0, 0, -0.001, 0.001, 1, rng.uniform(0, DAY)]) + DAY * rng.randint(0, 4)

    records = [
        usage_record(
            project=project,
            time=moment(),
            attempt=rng.choice([1, 1, 1, 2]),
            branch=rng.choice(["br-a", "br-B", "br-ö"]),
            credential=rng.choice("xy"),
            model=rng.choice(["m", "M"]),
            upstream=rng.choice(["studio", "vertex"]),
            total_tokens=rng.choice([None, 0, rng.randrange(10**6)]),
            cost_nanos=rng.choice([None, rng.randrange(10**9)]),
            usage_source=rng.choice(list(UsageSource)),
        )
        for _ in range(300)
    ]
    for begin in range(0, 300, 50):
        await store.add_usage(records[max(0, begin - rng.randint(0, 50)) : begin + 50])
    await store.add_usage([usage_record(time=moment())])  # another project's
    for _ in range(40):
        since, until = sorted((moment(), moment()))
        by = rng.sample(EVERY_GROUP, rng.randint(0, 5))
        expected = summed([r for r in records if since <= r.time < until], by)
        assert list(await store.usage(project, since, until, by)) == expected, (since, until, by)


async def test_today_is_summed_up_like_other_days(store: Store, project: str) -> None:
    now = time.time()
    records = [usage_record(project=project, time=now) for _ in range(3)]
    await store.add_usage(records)
    await store.drop_usage(now + 1)  # so that only the day's sums know of them
    assert await store.usage(project, now // DAY * DAY, now + 60, [UsageBy.DAY]) == summed(
        records, [UsageBy.DAY]
    )


async def test_no_time_at_all_holds_nothing(store: Store, project: str) -> None:
    await store.add_usage([usage_record(project=project)])
    for since, until in ((NOON, NOON), (NOON + 1, NOON), (float("nan"), NOON), (NOON, float("nan"))):
        assert await store.usage(project, since, until) == []
    assert len(await store.usage(project, float("-inf"), float("inf"))) == 1


async def test_sums_stay_when_records_are_dropped(store: Store, project: str) -> None:
    records = [usage_record(project=project, time=NOON + DAY * (n // 10)) for n in range(40)]
    await store.add_usage(records)
    before = await store.usage(project, *EVER, EVERY_GROUP)
    assert await store.drop_usage(NOON + 2 * DAY, most=15) == 15
    assert await store.drop_usage(NOON + 2 * DAY) == 5
    assert await store.drop_usage(NOON + 2 * DAY) == 0
    assert await store.usage(project, *EVER, EVERY_GROUP) == before
    # Whole days stand, of one that lies in it by half nothing is known any more.
    assert await store.usage(project, NOON - DAY / 2, NOON + DAY) == summed(records[:10])
    assert await store.usage(project, NOON + 2 * DAY, NOON + 2 * DAY + 1) == summed(records[20:30])
    await store.add_usage(records[20:])
    assert await store.usage(project, *EVER, EVERY_GROUP) == before


async def test_a_drop_cut_off_anywhere_changes_no_sum(store: Store, project: str) -> None:
    records = [usage_record(project=project) for _ in range(400)]
    await store.add_usage(records)
    for steps in range(20):
        task = asyncio.create_task(store.drop_usage(NOON + 1, most=20))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    while await store.drop_usage(NOON + 1, most=50):
        pass
    assert await store.usage(project, *EVER) == summed(records)


async def test_an_addition_cut_off_anywhere_happens_whole_or_not_at_all(store: Store, project: str) -> None:
    batches = [[usage_record(project=project) for _ in range(250)] for _ in range(30)]
    for steps, batch in enumerate(batches):
        task = asyncio.create_task(store.add_usage(batch))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        (told,) = await store.usage(project, *EVER) or summed([usage_record(attempt=2)])
        assert told.requests % 250 == 0
    for batch in batches:
        assert await store.add_usage(batch) in {0, 250}
    assert await store.usage(project, *EVER) == summed([record for batch in batches for record in batch])


async def test_many_that_add_the_same_at_once_count_it_once(place: Place) -> None:
    stores = [await place.open() for _ in range(4)]
    project = (await stores[0].projects())[0].id
    records = [
        usage_record(project=project, model=f"m{n % 7}", credential=f"c{n % 11}", time=NOON + 7 * n)
        for n in range(1200)
    ]

    async def add(store: Store, seed: int) -> int:
        order = random.Random(seed).sample(records, len(records))
        return sum([await store.add_usage(order[begin : begin + 150]) for begin in range(0, 1200, 150)])

    try:
        added = await asyncio.gather(*(add(store, seed) for seed, store in enumerate(stores)))
        assert sum(added) == 1200
        assert await stores[0].usage(project, *EVER, EVERY_GROUP) == summed(records, EVERY_GROUP)
    finally:
        for store in stores:
            await store.close()
