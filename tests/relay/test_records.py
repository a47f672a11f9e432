"""Every recorded exchange through the whole gateway: its record says what the upstream reported last."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.exchange import Framing
from gateway.ledger import spool_folder
from gateway.usage_record import UsageRecord, UsageSource
from tests.relay.conftest import Start
from tests.support.eventually import eventually
from tests.support.metering import as_stream, cut_at
from tests.support.raw_upstream import RawUpstream
from tests.support.recorded import RecordedExchange, last_usage, recorded_exchanges, response_objects
from tests.support.script import response
from tests.support.spool import finished
from tests.test_pricing import HAND_WORKED

ACTIONS = {
    Framing.SSE: "streamGenerateContent?alt=sse",
    Framing.JSON_ARRAY: "streamGenerateContent",
}
OTHERWISE_PRICED = {
    # An introductory price, which ends; here is no clock to be set.
    "llm-gemini/test_prompt#0",
    "llm-gemini/test_tools_with_nested_pydantic_models#0",
    # Priced as what is asked for here, for what answered has no price any more.
    "pydantic-ai/test_google_native_output_multiple#0",
}


@dataclass(frozen=True)
class Asked:
    """One way to have a recorded answer come."""

    exchange: RecordedExchange
    action: str
    headers: list[tuple[str, str]]
    body: bytes


def ways(exchange: RecordedExchange) -> Iterator[Asked]:
    """As it was recorded; and what was answered well in both framings of a stream, plain and compressed."""
    alt = f"?alt={exchange.alt}" if exchange.alt else ""
    yield Asked(exchange, exchange.action + alt, list(exchange.headers), exchange.body)
    if exchange.status != 200:
        return
    documents = [json.dumps(one, ensure_ascii=False).encode() for one in response_objects(exchange)]
    for framing, action in ACTIONS.items():
        body = as_stream(framing, *documents)
        yield Asked(exchange, action, [], body)
        yield Asked(exchange, action, [("Content-Encoding", "gzip")], gzip.compress(body))


def tokens(record: UsageRecord) -> dict[str, int | None]:
    """By the names that the upstream has for them."""
    return {
        "promptTokenCount": record.prompt_tokens,
        "cachedContentTokenCount": record.cached_tokens,
        "candidatesTokenCount": record.candidates_tokens,
        "thoughtsTokenCount": record.thoughts_tokens,
        "toolUsePromptTokenCount": record.tool_use_prompt_tokens,
        "totalTokenCount": record.total_tokens,
    }


async def test_the_record_of_each_is_its_last_report_to_the_token(start: Start, tmp_path: Path) -> None:
    chance = random.Random(6)
    asked = [way for exchange in recorded_exchanges() for way in ways(exchange)]
    with RawUpstream() as upstream:
        stack = await start(upstream.url)
        async with stack.client() as client:
            for one in asked:
                cuts = [chance.randrange(len(one.body) + 1) for _ in range(chance.randrange(12))]
                pieces = cut_at(one.body, sorted(cuts))
                splits = chance.sample(range(len(one.body) + 100), 5)
                status = one.exchange.status
                upstream.answer_next(response(status, one.headers, pieces, "chunked", splits=splits))
                headers = [("Accept-Encoding", "gzip")]
                await client.send(stack.request(b"{}", action=one.action, headers=headers))
                answer = await client.read_response()
                assert (answer.status, answer.ended, answer.body) == (status, "complete", one.body)
        spool = spool_folder(tmp_path)
        await eventually("all are on disk", lambda: len(finished(spool)) == len(asked))
    compared = set()
    for one, record in zip(asked, finished(spool), strict=True):
        name, said = one.exchange.name, last_usage(one.exchange)
        source = UsageSource.UNKNOWN if said is None else UsageSource.REPORTED
        assert (record.status, record.usage_source) == (one.exchange.status, source), one
        expected = {key: None if said is None else said.get(key, 0) for key in tokens(record)}
        assert tokens(record) == expected, one
        if name in HAND_WORKED.keys() - OTHERWISE_PRICED:
            assert (record.cost_nanos, record.unpriced) == HAND_WORKED[name], one
            compared.add(name)
    assert len(compared) >= 10
