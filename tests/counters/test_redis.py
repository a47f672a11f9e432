"""The server of the counters: what it holds and for how long, who may ask it, and what giving up does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from gateway.counters.pipeline import Command, encoded
from gateway.counters.redis import LEASE, RedisCounters
from gateway.errors import CountersUnavailable
from gateway.limits import Level, Limits
from gateway.quota.admission import Admission, Estimate
from gateway.quota.rules import Rule, rules_for
from tests.counters.rig import LENIENT, PROJECT, RedisRig, answer, rules
from tests.support.eventually import eventually
from tests.support.machine import PROJECT as MACHINE
from tests.support.redis_server import RedisServer

ONE = Estimate(1, 1)
ALL = Limits(
    requests_per_minute=1000,
    tokens_per_minute=10**6,
    concurrent_requests=1000,
    tokens_per_day=10**6,
    spend_per_day_nanos=10**6,
)
EVERYTHING = rules(ALL, ALL, ALL)
OPEN = rules(Limits(concurrent_requests=3))
REQUESTS = rules(Limits(requests_per_minute=1000))


async def ask(counters: RedisCounters, rules: tuple[Rule, ...], estimate: Estimate) -> Admission:
    return await answer(counters.admit(rules, estimate))


@pytest.fixture
async def rig(redis_server: RedisServer) -> AsyncIterator[RedisRig]:
    made = RedisRig(redis_server)
    yield made
    await made.close()


async def test_time_is_the_servers(rig: RedisRig) -> None:
    counters = RedisCounters(rig.server.url, deadline=LENIENT)
    before = rig.client.time()[0]
    admission = await ask(counters, REQUESTS, ONE)
    assert before <= admission.since <= before + 5
    await counters.close()


async def test_keys_are_of_one_place_and_expire(rig: RedisRig) -> None:
    counters = rig.make()
    await ask(counters, EVERYTHING, ONE)
    await ask(counters, rules(Limits(tokens_per_minute=100), model="other"), Estimate(1000, 0))
    names = sorted(str(key, "ascii") for key in rig.client.scan_iter("gateway:*"))
    assert len(names) == 16
    for name in names:
        assert name.startswith(f"gateway:{{{PROJECT}}}:")
        if name.endswith(":other"):
            lives = 10 * 61 + 1  # until the debt is paid
        elif "concurrent" in name:
            lives = LEASE
        else:
            lives = 61 + 1 if "minute" in name else (1441 + 1) * 60
        assert lives - 5 <= rig.client.ttl(name) <= lives
    await counters.close()


async def test_a_cluster_takes_what_is_judged_together(tmp_path: object) -> None:
    server = RedisServer("--cluster-enabled", "yes", "--dir", str(tmp_path))
    client = server.client()
    client.cluster("ADDSLOTSRANGE", 0, 16383)
    await eventually("it serves", lambda: client.cluster("INFO")["cluster_state"] == "ok")
    counters = RedisCounters(server.url, deadline=LENIENT)
    admission = await ask(counters, EVERYTHING, ONE)
    counters.settle(admission, 3, 4, final=True)
    assert await counters.levels(EVERYTHING) == [3] * 3 + [1] * 3 + [0] * 3 + [3] * 3 + [4] * 3
    await counters.close()
    client.close()
    server.stop()


async def test_many_at_once_get_each_their_own_answer(rig: RedisRig) -> None:
    here, there = rig.make(), rig.make()
    limited = rules(Limits(requests_per_minute=500))
    admitted = 0
    for turn in range(8):
        others = [rules(Limits(tokens_per_minute=1000 + n), model=f"gemini-{turn}-{n}") for n in range(40)]
        verdicts = await asyncio.gather(
            *(ask(here, limited, ONE) for _ in range(50)),
            *(ask(there, limited, ONE) for _ in range(50)),
            *(ask(here, other, ONE) for other in others),
        )
        admitted += sum(verdict.blocked_by is None for verdict in verdicts[:100])
        standings = [verdict.token_standing for verdict in verdicts[100:]]
        assert [standing.limit for standing in standings if standing] == [1000 + n for n in range(40)]
    assert admitted == 500
    await here.close()
    await there.close()


TOKENS_AND_OPEN = rules(Limits(tokens_per_minute=1000, concurrent_requests=100))


@pytest.mark.parametrize("turns", range(10))
async def test_a_request_that_is_given_up_reserves_nothing_and_disturbs_nobody(
    rig: RedisRig, turns: int
) -> None:
    counters = rig.make()
    await ask(counters, REQUESTS, ONE)
    given_up = asyncio.create_task(ask(counters, TOKENS_AND_OPEN, Estimate(500, 0)))
    for _ in range(turns):  # of the event loop
        await asyncio.sleep(0)
    given_up.cancel()
    standing = (await ask(counters, REQUESTS, ONE)).request_standing
    assert standing
    assert standing.limit == 1000
    await asyncio.wait([given_up])
    if not given_up.cancelled():  # the server was quick
        counters.settle(given_up.result(), 0, 0, final=True)
    assert await counters.levels(TOKENS_AND_OPEN) == [0, 0]
    await counters.close()


async def test_a_request_that_is_given_up_in_the_moment_of_its_answer_reserves_nothing(rig: RedisRig) -> None:
    counters = rig.make()
    given_up = asyncio.create_task(ask(counters, TOKENS_AND_OPEN, Estimate(500, 0)))
    await asyncio.sleep(0)

    def answered(answer: object, error: CountersUnavailable | None) -> None:
        assert not given_up.done()
        given_up.cancel()

    # Sent together with its question, and answered after it, but before it hears of its own answer.
    counters._pipeline.submit(Command(encoded([b"0", b"levels", b""]), 3, answered, waited_for=True))
    await asyncio.wait([given_up])
    assert given_up.cancelled()
    assert await counters.levels(TOKENS_AND_OPEN) == [0, 0]
    await counters.close()


async def test_passwords_are_used_and_not_told() -> None:
    server = RedisServer("--requirepass", "open-sesame")
    right = RedisCounters(server.url.replace("//", "//:open-sesame@"), deadline=LENIENT)
    assert (await ask(right, REQUESTS, ONE)).blocked_by is None
    wrong = RedisCounters(server.url.replace("//", "//:open-simsim@"), deadline=LENIENT)
    with pytest.raises(CountersUnavailable, match="AuthenticationError") as refused:
        await ask(wrong, REQUESTS, ONE)
    assert "simsim" not in repr(refused.value) + str(refused.value.__context__)
    await right.close()
    await wrong.close()
    server.stop()


async def test_the_permissions_that_the_documentation_names_suffice(rig: RedisRig) -> None:
    text = (MACHINE / "docs/quotas.md").read_text()
    (permissions,) = re.findall(r"`(~gateway:\*[^`]*)`", text)
    keys, *commands = permissions.split()
    rig.client.acl_setuser(
        "counter", enabled=True, passwords=["+secret"], keys=[keys.removeprefix("~")], commands=commands
    )
    url = rig.server.url.replace("//", "//counter:secret@")
    counters = RedisCounters(url, renewal=0.01, deadline=LENIENT)
    tight = rules(Limits(tokens_per_minute=1), model="other")
    await ask(counters, EVERYTHING, ONE)
    oversized = await ask(counters, tight, Estimate(5, 0))
    assert (await ask(counters, tight, ONE)).blocked_by
    counters.settle(oversized, 9, 9, final=True)
    assert await counters.levels(tight) == [9]
    renewals = rig.client.info("commandstats")["cmdstat_evalsha"]["calls"]
    await eventually(
        "a lease is renewed",
        lambda: rig.client.info("commandstats")["cmdstat_evalsha"]["calls"] > renewals + 1,
    )
    assert counters.available
    assert counters.unsettled == 0
    await counters.close()
    rig.client.acl_deluser("counter")


async def test_what_a_dead_gateway_had_under_way_comes_back(rig: RedisRig) -> None:
    dead, alive = rig.make(), rig.make()
    for _ in range(3):
        await ask(dead, OPEN, ONE)
    await dead.close()
    rig.at(LEASE - 1)
    assert (await ask(alive, OPEN, ONE)).blocked_by
    rig.at(LEASE)
    assert (await ask(alive, OPEN, ONE)).blocked_by is None
    assert await alive.levels(OPEN) == [1]
    await alive.close()


async def test_what_is_under_way_for_long_goes_on_counting(rig: RedisRig) -> None:
    counters = RedisCounters(
        rig.server.url, clock="redis.call('GET', 'clock')", renewal=0.01, deadline=LENIENT
    )
    first, second = [await ask(counters, OPEN, ONE) for _ in range(2)]
    counters.settle(first, 1, 1, final=True)
    key = f"gateway:{OPEN[0].name}"
    for seconds in range(LEASE // 2, 10 * LEASE, LEASE // 2):
        rig.at(seconds)
        if seconds == 5 * LEASE:
            rig.client.delete(key)  # the server was started anew
        leases = [(second.reservation, rig.now + LEASE)]
        await eventually(
            "its lease is renewed",
            lambda: rig.client.zrange(key, 0, -1, withscores=True) == leases,  # noqa: B023
        )
    counters.settle(second, 1, 1, final=True)
    assert await counters.levels(OPEN) == [0]
    await counters.close()


async def test_only_what_is_under_way_is_renewed(rig: RedisRig) -> None:
    counters = RedisCounters(rig.server.url, renewal=0.01, deadline=LENIENT)
    some = [await ask(counters, OPEN, ONE) for _ in range(3)]
    for admission in some[1:]:
        counters.settle(admission, 1, 1, final=True)
    await counters.levels(OPEN)

    def calls(command: str) -> int:
        return int(rig.client.info("commandstats")[f"cmdstat_{command}"]["calls"])

    renewals, leases = calls("evalsha"), calls("zadd")
    await eventually("leases are renewed", lambda: calls("evalsha") > renewals + 5)
    assert calls("zadd") - leases <= calls("evalsha") - renewals
    await counters.close()


async def test_a_clock_that_goes_back_by_far_begins_anew(rig: RedisRig) -> None:
    counters = rig.make()
    tokens = rules(Limits(tokens_per_minute=100))
    rig.at(100_000)
    await ask(counters, tokens, Estimate(100, 0))
    rig.at(0)
    assert (await ask(counters, tokens, Estimate(60, 0))).blocked_by is None
    assert (await ask(counters, tokens, Estimate(60, 0))).retry_after == 61
    rig.at(61)
    assert await counters.levels(tokens) == [0]
    await counters.close()


def test_names_differ_wherever_counts_do() -> None:
    names = set()
    for project, branch, credential, model in (
        ("p", "b", "c", "m"),
        ("q", "b", "c", "m"),
        ("p", "d", "e", "n"),
    ):
        made = rules_for(
            dict.fromkeys(Level, ALL),
            project_id=project,
            branch_id=branch,
            credential_id=credential,
            model=model,
        )
        names |= {(rule.name, rule.key) for rule in made}
    # The third shares its project with the first, of which only tokens per minute are of a model.
    assert len(names) == 15 + 15 + 15 - 4
    assert len({key for _, key in names}) == len(names)
