"""From a request that is over to its row in the ledger."""

from __future__ import annotations

import gzip
import json
import time
from random import Random
from typing import Any

import msgspec
import pytest

from gateway.exchange import Ending, Exchange, FailedAttempt, Framing, Principal, Route
from gateway.metering import UsageReader
from gateway.price_settings import ModelPrices, PriceSettings, RateSettings
from gateway.prices import Prices
from gateway.recording import price, usage_record
from gateway.token_usage import Usage, UsageDetails
from gateway.usage_record import UsageRecord, UsageSource
from tests.support.metering import as_stream, cut_at
from tests.support.recorded import RecordedExchange, last_usage, recorded_exchanges, response_objects

PRICES = Prices.build()


def over(usage: Usage | None = None, **attributes: Any) -> Exchange:
    """A request that is over: it took 250 ms, and its first byte 100 ms."""
    exchange = Exchange()
    exchange.principal = Principal("abcdefghij123456", "default", "br-anchor")
    exchange.branch_id = "br-asked"
    exchange.route = Route(action="generateContent")
    exchange.model = "gemini-2-5-flash"
    exchange.upstream = "studio"
    exchange.attempts = 1
    exchange.status = 200
    exchange.ending = Ending.COMPLETE
    exchange.usage = usage
    exchange.first_byte = exchange.began + 0.1
    exchange.ended = exchange.began + 0.25
    for name, value in attributes.items():
        setattr(exchange, name, value)
    exchange.answered_as = exchange.model
    price(exchange, PRICES)
    return exchange


def test_everything_that_is_known_stands_in_the_record() -> None:
    exchange = over(
        Usage(prompt=10, cached=4, candidates=5, thoughts=6, tool_use_prompt=7, total=28),
        usage_details=UsageDetails({"prompt": {"TEXT": 10}}, "ON_DEMAND", "standard", ("google_search",)),
        client_request_id="theirs",
        model="gemini-2-5-pro",
        model_version="gemini-2.5-flash",
        request_bytes=11,
        response_bytes=12,
    )
    before = time.time()
    exchange.failed_attempts = (FailedAttempt("other", 1.0, 0.0, 2.0, 0),) * 2
    record = usage_record(exchange)
    assert before - 1 < record.time <= time.time()
    assert record.first_byte_ms == pytest.approx(100, abs=0.01)
    assert record.duration_ms == pytest.approx(250, abs=0.01)
    assert msgspec.structs.replace(record, time=0.0, first_byte_ms=None, duration_ms=0.0) == UsageRecord(
        request_id=exchange.id,
        attempt=3,
        attempts=3,
        time=0.0,
        client_request_id="theirs",
        project="default",
        branch="br-asked",
        credential="abcdefghij123456",
        model="gemini-2-5-pro",
        model_version="gemini-2.5-flash",
        upstream="studio",
        action="generateContent",
        status=200,
        ending="complete",
        usage_source=UsageSource.REPORTED,
        prompt_tokens=10,
        cached_tokens=4,
        candidates_tokens=5,
        thoughts_tokens=6,
        tool_use_prompt_tokens=7,
        total_tokens=28,
        modalities={"prompt": {"TEXT": 10}},
        traffic_type="ON_DEMAND",
        service_tier="standard",
        # as 2.5 Flash, which answered: (6 + 7) * 0.30 + 4 * 0.03 + 11 * 2.50 = 3.9 + 0.12 + 27.5
        cost_nanos=31_520,
        unpriced=("google_search",),
        request_bytes=11,
        response_bytes=12,
    )


@pytest.mark.parametrize(
    ("ending", "source"),
    [
        (Ending.COMPLETE, UsageSource.REPORTED),
        (Ending.SUSPECT, UsageSource.REPORTED),
        (Ending.UPSTREAM_ERROR, UsageSource.REPORTED),
        (Ending.UPSTREAM_ERROR_IN_STREAM, UsageSource.REPORTED),
        (Ending.TRUNCATED, UsageSource.PARTIAL),
        (Ending.CLIENT_ABORTED, UsageSource.PARTIAL),
        (Ending.DEADLINE, UsageSource.PARTIAL),
        (Ending.REFUSED, UsageSource.PARTIAL),
    ],
)
def test_how_sure_it_is(ending: Ending, source: UsageSource) -> None:
    record = usage_record(over(Usage(prompt=10), ending=ending))
    assert (record.usage_source, record.prompt_tokens, record.cost_nanos) == (source, 10, 3_000)
    record = usage_record(over(ending=ending))
    counts = {getattr(record, name) for name in UsageRecord.__struct_fields__ if name.endswith("_tokens")}
    assert (record.usage_source, counts, record.cost_nanos) == (UsageSource.UNKNOWN, {None}, None)


def test_what_the_upstream_did_not_answer() -> None:
    exchange = over(ending=Ending.REFUSED, status=502, reason="UPSTREAM_FAILED", first_byte=0.0)
    record = usage_record(exchange)
    assert (record.status, record.first_byte_ms, record.ending) == (0, None, "refused")


def test_the_price_is_that_of_the_moment_the_request_began() -> None:
    today = time.gmtime()
    rates = (
        {"input": 1, "output": 0},
        {"since": f"{today.tm_year - 1}-01-01", "input": 2, "output": 0},
        {"since": f"{today.tm_year + 1}-12-31", "input": 3, "output": 0},
    )
    settings = PriceSettings(
        models={"m": ModelPrices(rates=tuple(msgspec.convert(one, RateSettings) for one in rates))}
    )
    exchange = over(Usage(prompt=1), model="m")
    price(exchange, Prices.build(settings))
    assert (exchange.cost_nanos, exchange.unpriced) == (2_000, ())


# What was recorded of the real API, by any split, framing and compression

_FIELDS = {
    "promptTokenCount": "prompt_tokens",
    "cachedContentTokenCount": "cached_tokens",
    "candidatesTokenCount": "candidates_tokens",
    "thoughtsTokenCount": "thoughts_tokens",
    "toolUsePromptTokenCount": "tool_use_prompt_tokens",
    "totalTokenCount": "total_tokens",
}
_KINDS = {
    "promptTokensDetails": "prompt",
    "cacheTokensDetails": "cached",
    "candidatesTokensDetails": "candidates",
    "toolUsePromptTokensDetails": "tool_use_prompt",
}


def recorded(framing: Framing, body: bytes, random: Random, encoding: str) -> UsageRecord:
    """The record of a response with this body, which came in pieces."""
    if encoding:
        body = gzip.compress(body)
    reader = UsageReader(framing, encoding)
    for piece in cut_at(body, [random.randrange(len(body) + 1) for _ in range(random.randrange(40))]):
        reader.feed(piece)
    reader.end()
    exchange = over(reader.usage, usage_details=reader.details, model_version=reader.model_version)
    return usage_record(exchange)


@pytest.mark.parametrize("encoding", ["", "gzip"])
@pytest.mark.parametrize("framing", [Framing.SSE, Framing.JSON_ARRAY])
@pytest.mark.parametrize("exchange", [one for one in recorded_exchanges() if one.status == 200], ids=str)
def test_the_record_equals_the_last_report_to_the_token(
    exchange: RecordedExchange, framing: Framing, encoding: str
) -> None:
    said = last_usage(exchange)
    assert said is not None
    documents = [json.dumps(one, ensure_ascii=False).encode() for one in response_objects(exchange)]
    random = Random(exchange.name)
    for _ in range(10):
        record = recorded(framing, as_stream(framing, *documents), random, encoding)
        assert record.usage_source is UsageSource.REPORTED
        for key, field in _FIELDS.items():
            assert getattr(record, field) == said.get(key, 0)
        assert record.modalities == {
            kind: {one["modality"]: one["tokenCount"] for one in said[key]}
            for key, kind in _KINDS.items()
            if key in said
        }
        assert record.traffic_type == said.get("trafficType", "")
        assert record.service_tier == said.get("serviceTier", "")
        total = record.prompt_tokens or 0
        total += (record.candidates_tokens or 0) + (record.thoughts_tokens or 0)
        assert record.total_tokens == total + (record.tool_use_prompt_tokens or 0)
