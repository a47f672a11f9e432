"""What holds of targets whatever happens, in any order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.catalog import Model
from gateway.errors import GatewayError
from gateway.upstreams import Key, Upstream
from gateway.upstreams.faults import CONNECTION_FAULT, TIMEOUT_FAULT, Cause, Fault, read_answer
from gateway.upstreams.pool import Pool
from gateway.upstreams.rest import KEY_SECONDS, Rest
from gateway.upstreams.target import Target
from gateway.upstreams.target_state import State
from tests.upstreams.pool_rig import FLASH, PRO, SetClock, studio
from tests.upstreams.test_faults import FILE, error

QUOTAS = st.builds(Fault, st.just(Cause.QUOTA), st.floats(0.0, 100.0))
OUTCOMES = st.one_of(
    st.none(),
    st.floats(0.01, 30.0),
    QUOTAS,
    st.sampled_from([CONNECTION_FAULT, TIMEOUT_FAULT, Fault(Cause.OVERLOAD, 30.0), Fault(Cause.KEY)]),
)


@dataclass(frozen=True)
class Ask:
    """A request begins."""

    model: Model
    caller: str


@dataclass(frozen=True)
class End:
    """One of the requests under way ends."""

    which: int
    outcome: float | Fault | None


@dataclass(frozen=True)
class Passes:
    """Time does."""

    seconds: float


@dataclass(frozen=True)
class Break:
    """Whoever is asked for the model fails until it rests."""

    model: Model


ASKS = st.builds(Ask, st.sampled_from([FLASH, PRO]), st.sampled_from(["", "ann", "bob"]))
EVENTS = st.lists(
    ASKS
    | st.builds(End, st.integers(0, 5), OUTCOMES)
    | st.builds(Passes, st.sampled_from([0.5, 5.0, 70.0, KEY_SECONDS]))
    | st.builds(Break, st.sampled_from([FLASH, PRO])),
    max_size=80,
)


async def _upstreams() -> list[Upstream]:
    return [await studio("a", "x", "y"), await studio("b", weight=3), await studio("c", priority=2)]


UPSTREAMS = asyncio.run(_upstreams())


@dataclass
class Play:
    """A pool, and the test's own reckoning of who is not to be asked."""

    clock: SetClock = field(default_factory=SetClock)
    open: list[tuple[Target, Rest | None, tuple[Rest | None, ...]]] = field(default_factory=list)
    """Requests under way: where, what they may end, and what of it rested when they began."""
    spent: dict[Target, float] = field(default_factory=dict)
    """Until when a quota is used up."""
    refused: dict[Key, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for upstream in UPSTREAMS:
            for key in upstream.keys:
                key.rest = None
        self.pool = Pool(UPSTREAMS, sticky_seconds=20.0, clock=self.clock)

    def ask(self, model: Model, caller: str) -> bool:
        """Whether it was sent."""
        try:
            target = self.pool.choose(model, caller)
        except GatewayError:
            assert self.pool.another(model, caller, ()) is None
            return False
        now = self.clock.monotonic()
        assert self.spent.get(target, 0.0) <= now
        assert self.refused.get(target.key, 0.0) <= now
        rests = (target.rest, target.key.rest)
        for rest in rests:
            assert not (rest and any(rest in others for _, _, others in self.open)), "one tries already"
        trial = target.begin()
        assert target.at_ease or trial
        self.open.append((target, trial, rests))
        return True

    def end(self, number: int, outcome: float | Fault | None) -> None:
        if number >= len(self.open):
            return
        target, trial, _ = self.open.pop(number)
        now = self.clock.monotonic()
        if isinstance(outcome, Fault):
            target.failed(outcome)
            if outcome.cause is Cause.QUOTA:
                self.spent[target] = max(self.spent.get(target, 0.0), now + (outcome.delay or 0.0))
            elif outcome.cause is Cause.KEY:
                self.refused[target.key] = now + KEY_SECONDS
        elif outcome is not None:
            target.answered(outcome, trial)
        target.end(trial)


@settings(max_examples=400)
@given(EVENTS)
def test_nobody_is_asked_in_a_rest_and_one_at_a_time_after_it(
    events: list[Ask | End | Passes | Break],
) -> None:
    play = Play()
    for event in events:
        match event:
            case Ask(model, caller):
                play.ask(model, caller)
            case End(which, outcome):
                play.end(which, outcome)
            case Passes(seconds):
                play.clock.passes(seconds)
            case Break(model):
                for _ in range(5):
                    if play.ask(model, "ann"):
                        play.end(len(play.open) - 1, CONNECTION_FAULT)
    assert sum(state.in_flight for state in play.pool.targets()) == len(play.open)
    while play.open:
        play.end(0, None)
    assert all(state.in_flight == 0 for state in play.pool.targets())
    assert not any(state.state is State.TRIAL for state in play.pool.targets())
    play.clock.passes(86400.0)
    for model in (FLASH, PRO):  # nobody is out for good
        play.ask(model, "")
        assert play.open.pop()[0].upstream.name in "ab"


HOSTILE = st.one_of(
    st.tuples(st.just(403), st.text().map(lambda name: error(FILE.format(name))), st.booleans()),
    st.tuples(st.sampled_from([400, 404, 413, 499]), st.text().map(error), st.booleans()),
    st.tuples(st.just(504), st.text().map(error), st.just(True)),
    st.none(),
)
"""What a client can bring about: status, body and whether it has told how long it waits; None: it leaves."""


@given(st.lists(HOSTILE, min_size=1, max_size=100))
def test_a_hostile_client_keeps_nobody_from_anything(
    attempts: list[tuple[int, bytes, bool] | None],
) -> None:
    play = Play()
    for attempt in attempts:
        play.ask(FLASH, "mallory")
        fault = read_answer(attempt[0], b"", attempt[1], client_deadline=attempt[2]) if attempt else None
        play.end(0, fault)
        assert not play.open
    asked = {play.pool.choose(FLASH) for _ in range(10)}
    assert len(asked) == 3
    assert all(target.at_ease for target in asked)
    assert all(state.error_share == 0.0 for state in play.pool.targets())
