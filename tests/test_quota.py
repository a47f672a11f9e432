"""Which limits are for a request, what it reserves, and what its client is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits import Level, Limits
from gateway.quota.admission import Admission, Standing
from gateway.quota.estimate import MODELS, MOST_TOKENS, UNANNOUNCED, Estimator
from gateway.quota.headers import rate_limit_lines
from gateway.quota.refusals import limit_exceeded
from gateway.quota.rules import DAY, MINUTE, Kind, Rule, Span, rules_for

MODEL = "gemini-2-5-pro"


def rules(**levels: Limits) -> tuple[Rule, ...]:
    return rules_for(
        {Level(name): limits for name, limits in levels.items()},
        project_id="default",
        branch_id="br-calm-lake-12345678",
        credential_id="abcdefgh12345678",
        model=MODEL,
    )


# Rules


def test_there_is_a_rule_for_each_limit_that_is_set() -> None:
    made = rules(
        project=Limits(tokens_per_minute=200_000, requests_per_minute=0),
        branch=Limits(),
        credential=Limits(spend_per_day_nanos=5, concurrent_requests=3, tokens_per_minute=7),
    )
    assert [(rule.kind, rule.level, rule.limit, rule.span) for rule in made] == [
        ("tokens_per_minute", "project", 200_000, MINUTE),
        ("tokens_per_minute", "credential", 7, MINUTE),
        ("concurrent_requests", "credential", 3, None),
        ("spend_per_day_nanos", "credential", 5, DAY),
    ]
    assert [rule.name for rule in made] == [
        "{default}:tokens_per_minute:project:default:gemini-2-5-pro",
        "{default}:tokens_per_minute:credential:abcdefgh12345678:gemini-2-5-pro",
        "{default}:concurrent_requests:credential:abcdefgh12345678",
        "{default}:spend_per_day_nanos:credential:abcdefgh12345678",
    ]


def test_every_limit_has_its_kind() -> None:
    assert sorted(Kind) == sorted(Limits.__struct_fields__)


@pytest.mark.parametrize(("span", "seconds"), [(MINUTE, 60), (DAY, 86_400)])
def test_a_window_has_a_bucket_more_than_its_time(span: Span, seconds: int) -> None:
    assert span.unit * (span.buckets - 1) == seconds


# Estimates

requests = st.tuples(
    st.integers(0, 10**8), st.integers(0, 10**7), st.integers(0, 10**6), st.none() | st.integers(0, 10**12)
)


@given(st.lists(requests, max_size=30), st.none() | st.integers(0, 10**9))
def test_an_estimate_is_at_least_one_and_never_as_much_as_a_model_takes(
    learnt: list[tuple[int, int, int, int | None]], announced: int | None
) -> None:
    estimator = Estimator()
    for request_bytes, input_tokens, output_tokens, nanos in learnt:
        estimator.learn(MODEL, request_bytes, input_tokens, output_tokens, nanos)
    estimate = estimator.estimate(MODEL, announced)
    assert 1 <= estimate.tokens <= MOST_TOKENS
    assert estimate.cost_nanos >= 0


def test_before_anything_is_learnt_it_is_guessed() -> None:
    assert Estimator().estimate(MODEL, 4000).tokens == 1000 + 500 + 1
    assert Estimator().estimate(MODEL, None).tokens == UNANNOUNCED + 500 + 1
    assert Estimator().estimate(MODEL, 4000).cost_nanos == 0


def test_it_follows_what_was_reported_lately() -> None:
    estimator = Estimator()
    for _ in range(200):
        estimator.learn(MODEL, 3000, 1000, 200, 120_000)
    estimate = estimator.estimate(MODEL, 6000)
    assert estimate.tokens == pytest.approx(2200, rel=0.01)
    assert estimate.cost_nanos == pytest.approx(220_000, rel=0.01)
    for _ in range(50):
        estimator.learn(MODEL, 3000, 500, 10, None)
    estimate = estimator.estimate(MODEL, 6000)
    assert estimate.tokens == pytest.approx(1010, rel=0.02)
    assert estimate.cost_nanos == pytest.approx(101_000, rel=0.02)  # at the price known last
    assert estimator.estimate("another", 6000).cost_nanos == 0


def test_estimates_of_many_come_to_what_they_use_together() -> None:
    estimator = Estimator()
    sizes = [(500, 150, 20), (1_000_000, 258, 50)] * 200  # a question; a question with a picture
    reserved = used = 0
    for number, (size, tokens, output) in enumerate(sizes):
        if number >= 20:  # when it has learnt something
            reserved += estimator.estimate(MODEL, size).tokens
            used += tokens + output
        estimator.learn(MODEL, size, tokens, output, None)
    assert reserved == pytest.approx(used, rel=0.05)


def test_a_short_body_that_stands_for_much_does_not_make_long_ones_dear() -> None:
    estimator = Estimator()
    for _ in range(20):
        estimator.learn(MODEL, 200, 9_000, 100, None)
    assert estimator.estimate(MODEL, 200).tokens == pytest.approx(9_100, rel=0.2)
    assert estimator.estimate(MODEL, 4_000).tokens < 14_000


def test_not_all_models_are_remembered() -> None:
    estimator = Estimator()
    for number in range(MODELS + 1):
        estimator.learn(f"gemini-{number}", 1000, 1000, 7000, None)
    fresh = estimator.estimate("unheard-of", 1000)
    assert estimator.estimate("gemini-0", 1000) == fresh
    assert estimator.estimate("gemini-1", 1000) != fresh


# What a client is told


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            Kind.TOKENS_PER_MINUTE,
            'ai gateway per-minute token limit exceeded for model "gemini-2-5-pro"',
        ),
        (Kind.REQUESTS_PER_MINUTE, "ai gateway per-minute request limit exceeded"),
        (Kind.CONCURRENT_REQUESTS, "ai gateway concurrent request limit exceeded"),
        (Kind.TOKENS_PER_DAY, "ai gateway daily token limit exceeded"),
        (Kind.SPEND_PER_DAY, "ai gateway daily spend limit exceeded"),
    ],
)
def test_messages_are_the_contracts(kind: Kind, message: str) -> None:
    (rule,) = rules(branch=Limits(**{kind: 5}))
    error = limit_exceeded(Admission(blocked_by=rule, retry_after=17), MODEL)
    assert (error.refusal.http, error.refusal.status) == (429, "RESOURCE_EXHAUSTED")
    assert error.refusal.reason == "REQUEST_LIMIT_EXCEEDED"
    assert error.refusal.message == message
    assert error.refusal.headers == (("Retry-After", "17"),)
    assert error.metadata == {"limit": kind.value, "level": "branch", "quotaValue": "5"}


def test_what_does_not_lift_by_itself_has_no_retry_after() -> None:
    (rule,) = rules(branch=Limits(concurrent_requests=5))
    assert limit_exceeded(Admission(blocked_by=rule), MODEL).refusal.headers == ()


TOKENS = Standing(limit=200_000, remaining=150, reset=61)
REQUESTS = Standing(limit=60, remaining=0, reset=7)
TOKEN_LINES = (
    b"x-ratelimit-limit-tokens: 200000\r\nx-ratelimit-remaining-tokens: 150\r\nx-ratelimit-reset-tokens: 61"
)
REQUEST_LINES = (
    b"x-ratelimit-limit-requests: 60\r\nx-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 7"
)


@pytest.mark.parametrize(
    ("tokens", "requests", "lines"),
    [
        (None, None, b""),
        (TOKENS, None, TOKEN_LINES),
        (None, REQUESTS, REQUEST_LINES),
        (TOKENS, REQUESTS, TOKEN_LINES + b"\r\n" + REQUEST_LINES),
    ],
)
def test_headers_say_what_is_left(tokens: Standing | None, requests: Standing | None, lines: bytes) -> None:
    assert rate_limit_lines(Admission(token_standing=tokens, request_standing=requests)) == lines
