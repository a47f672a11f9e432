"""What rests for one process of a machine rests for all of them, and after a restart."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.google_tokens import Token, TokenUnavailable
from gateway.upstreams import Upstream
from gateway.upstreams.cooldowns import Cooldowns
from gateway.upstreams.faults import CONNECTION_FAULT, Cause, Fault
from gateway.upstreams.pool import Pool
from gateway.upstreams.renewal import Renewal
from gateway.upstreams.rest import KEY_SECONDS
from gateway.upstreams.shared_rests import TRIAL_SECONDS
from gateway.upstreams.target import Target
from gateway.upstreams.target_state import State
from tests.upstreams.pool_rig import FLASH, PRO, SetClock, Worker, studio

SPENT = Fault(Cause.QUOTA, 30.0, message="spent: é" * 300, quota_id="RequestsPerMinute")
REFUSED = Fault(Cause.KEY)
Another = Callable[..., Awaitable[Worker]]


class NoSource:
    """None that is ever asked."""

    def fetch(self) -> Token:
        raise TokenUnavailable("nowhere")


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def worker(tmp_path: Path, clock: SetClock) -> AsyncIterator[Another]:
    """Starts one more process of the machine, as far as this is about it."""
    workers: list[Worker] = []

    async def another(*upstreams: Upstream, clock: SetClock = clock) -> Worker:
        workers.append(Worker(upstreams or [await studio()], clock, tmp_path / "cooldowns"))
        return workers[-1]

    yield another
    for each in workers:
        each.cooldowns.close()
        for upstream in each.upstreams:
            await upstream.close()


def fails(target: Target, times: int = 5) -> None:
    for _ in range(times):
        trial = target.begin()
        target.failed(CONNECTION_FAULT)
        target.end(trial)


def refusal(worker: Worker) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        worker.chosen()
    return caught.value


async def test_a_quota_of_one_is_a_quota_of_all_with_what_google_said(
    worker: Another, clock: SetClock
) -> None:
    one, other, late = await worker(), await worker(), await worker()
    assert other.chosen().at_ease
    one.chosen().failed(SPENT)
    clock.passes(10.0)
    for each in (other, late):  # one knows the target, one does not yet
        error = refusal(each)
        assert (error.refusal.http, error.refusal.reason) == (429, "UPSTREAM_COOLDOWN")
        assert dict(error.refusal.headers)["Retry-After"] == "20"
        assert SPENT.message.startswith(error.refusal.message)
        assert len(error.refusal.message) > 300
        assert error.metadata["quotaId"] == "RequestsPerMinute"
        assert each.told == []  # it is counted where it was heard
        assert each.pool.choose(PRO).at_ease
    assert one.told == [("studio", "quota")]
    clock.passes(20.0)
    for each in (one, other, late):
        assert each.chosen().at_ease


async def test_it_shows_where_nobody_asks(worker: Another) -> None:
    one, other = await worker(), await worker()
    other.chosen()
    one.chosen().failed(SPENT)
    [state] = other.pool.targets()
    assert (state.state, state.cause) == (State.COOLING, "RequestsPerMinute")


async def test_a_refused_key_is_out_for_all_and_all_its_models(
    worker: Another, clock: SetClock, caplog: pytest.LogCaptureFixture
) -> None:
    one = await worker(await studio("studio", "bad", "good"))
    other = await worker(await studio("studio", "bad", "good"))
    bad = one.pool.choose(PRO)
    assert bad.key is one.upstreams[0].keys[0]
    bad.failed(REFUSED)
    [refused] = [record.message for record in caplog.records if record.levelno >= logging.ERROR]
    assert refused == "upstream studio refuses the gateway's key 1"
    for model in (FLASH, PRO):
        assert {other.pool.choose(model).key.name for _ in range(10)} == {"2"}
    caplog.clear()
    clock.passes(KEY_SECONDS)
    tried = next(target for _ in range(10) if (target := other.chosen()).key.name == "1")
    trial = tried.begin()
    assert trial
    assert {one.chosen().key.name for _ in range(10)} == {"2"}  # one tries it for all
    tried.failed(REFUSED)
    tried.end(trial)
    clock.passes(KEY_SECONDS - 1.0)
    assert {one.chosen().key.name for _ in range(10)} == {"2"}
    assert not caplog.records
    clock.passes(1.0)
    tried = next(target for _ in range(10) if (target := one.chosen()).key.name == "1")
    trial = tried.begin()
    tried.answered(0.1, trial)
    tried.end(trial)
    assert {other.chosen().key.name for _ in range(10)} == {"1", "2"}


async def test_another_key_at_its_place_is_asked_at_once(worker: Another) -> None:
    one = await worker(await studio("studio", "old"))
    one.chosen().failed(REFUSED)
    assert refusal(await worker(await studio("studio", "old"))).refusal.http == 502
    assert (await worker(await studio("studio", "new"))).chosen().at_ease


async def test_a_quota_is_one_of_the_key_wherever_that_stands_in_the_list(worker: Another) -> None:
    one = await worker(await studio("studio", "spent"))
    one.chosen().failed(SPENT)
    other = await worker(await studio("studio", "new", "spent"))
    assert {other.chosen().key.name for _ in range(4)} == {"1"}
    refusal(await worker(await studio("studio", "spent")))


async def test_a_token_may_be_another_in_each_process(worker: Another) -> None:
    workers = []
    for number in range(3):
        upstream = await studio()
        [key] = upstream.keys
        upstream.renewal = Renewal(upstream.name, key, NoSource(), str.encode)
        key.renew(b"token %d" % number)
        workers.append(await worker(upstream))
    one, other, third = workers
    one.chosen().failed(REFUSED)  # which says something of this token alone
    assert other.chosen().at_ease
    other.chosen().failed(SPENT)
    assert refusal(third).refusal.http == 429
    [key] = third.upstreams[0].keys
    key.renew(b"the next token")
    assert refusal(third).refusal.http == 429


async def test_one_trial_for_all_and_the_rest_grows_with_the_trials_of_all(
    worker: Another, clock: SetClock
) -> None:
    workers = [await worker() for _ in range(3)]
    fails(workers[0].chosen())
    for number, seconds in enumerate((5.0, 10.0, 20.0, 40.0, 60.0, 60.0)):
        assert [refusal(each).refusal.http for each in workers] == [503] * 3
        clock.passes(seconds - 0.01)
        assert [refusal(each).refusal.http for each in workers] == [503] * 3
        clock.passes(0.01)
        first, *others = workers[number % 3 :] + workers[: number % 3]
        target = first.chosen()
        trial = target.begin()
        assert [refusal(each).refusal.http for each in workers] == [503] * 3
        assert [refusal(each).refusal.http for each in others] == [503] * 2
        target.failed(CONNECTION_FAULT)
        target.end(trial)
    clock.passes(60.0)
    target = workers[1].chosen()
    trial = target.begin()
    target.answered(0.1, trial)
    target.end(trial)
    for each in workers:
        assert each.chosen().at_ease
        fails(each.chosen(), 4)
        assert each.chosen().at_ease
    fails(workers[2].chosen(), 1)
    clock.passes(5.0)
    assert workers[0].chosen()


async def test_a_trial_that_says_nothing_or_is_never_told_of_leaves_it_to_others(
    worker: Another, clock: SetClock
) -> None:
    one, other = await worker(), await worker()
    fails(one.chosen())
    clock.passes(5.0)
    target = one.chosen()
    trial = target.begin()
    refusal(other)
    target.end(trial)  # its client had asked for nonsense
    target = other.chosen()
    assert target.begin()  # and then it is killed
    refusal(one)
    clock.passes(TRIAL_SECONDS)
    assert one.chosen().begin()


async def test_ones_own_trial_ends_its_rest_though_it_was_told_to_others(
    worker: Another, clock: SetClock
) -> None:
    one = await worker()
    fails(one.chosen())
    clock.passes(5.0)
    target = one.chosen()
    trial = target.begin()
    refusal(one)  # which reads what has changed
    target.answered(0.1, trial)
    target.end(trial)
    assert one.chosen().at_ease


@pytest.mark.parametrize("fault", [CONNECTION_FAULT, REFUSED])
async def test_so_it_does_though_other_targets_come_and_upstreams_change(
    worker: Another, clock: SetClock, fault: Fault
) -> None:
    one = await worker()
    target = one.chosen()
    for _ in range(5):
        target.failed(fault)
    clock.passes(KEY_SECONDS)
    trial = one.chosen().begin()
    one.pool.replace(one.upstreams)
    refusal(one)
    with suppress(GatewayError):
        one.pool.choose(PRO)
    target.answered(0.1, trial)
    target.end(trial)
    assert one.chosen() is target
    assert target.at_ease
    assert (await worker()).chosen().at_ease


async def test_a_restart_remembers(worker: Another, clock: SetClock) -> None:
    one = await worker()
    one.chosen().failed(Fault(Cause.QUOTA, until_day_ends=True, quota_id="PerDay"))
    later = SetClock(clock.wall() + 60.0)  # another clock that never goes back
    assert refusal(await worker(clock=later)).metadata == {"quotaId": "PerDay"}
    later.passes(25 * 3600.0)
    assert (await worker(clock=later)).chosen().at_ease


async def test_a_clock_that_was_set_back_keeps_nothing_longer(worker: Another, clock: SetClock) -> None:
    (await worker()).chosen().failed(SPENT)
    back = SetClock(clock.wall() - 86400.0)
    other = await worker(clock=back)
    assert dict(refusal(other).refusal.headers)["Retry-After"] == "30"


async def test_what_is_to_pass_all_errors_learns_nothing(worker: Another) -> None:
    one, other = await worker(), await worker(await studio(cooldown=False))
    other.chosen()
    one.chosen().failed(SPENT)
    assert other.chosen().at_ease


async def test_a_quota_that_many_hear_of_is_told_once(worker: Another, clock: SetClock) -> None:
    one = await worker()
    target = one.chosen()
    target.failed(SPENT)
    generation = one.cooldowns.head[1]
    for _ in range(9):
        clock.passes(0.1)
        target.failed(SPENT)
    assert one.cooldowns.head[1] == generation
    clock.passes(0.2)
    target.failed(SPENT)
    assert one.cooldowns.head[1] != generation


async def test_no_secret_is_in_the_file(worker: Another, tmp_path: Path) -> None:
    one = await worker(await studio("studio", "PLANTED"))
    one.chosen().failed(SPENT)
    one.pool.choose(PRO).failed(REFUSED)
    assert len(Cooldowns(tmp_path / "cooldowns").read(0.0)) == 2
    assert b"PLANTED" not in (tmp_path / "cooldowns").read_bytes()


async def test_a_pool_by_itself_needs_no_file(clock: SetClock) -> None:
    pool = Pool([await studio()], clock=clock)
    pool.choose(FLASH).failed(SPENT)
    with pytest.raises(GatewayError):
        pool.choose(FLASH)
    clock.passes(30.0)
    assert pool.choose(FLASH).at_ease
