"""The usage reader on real traffic: what the last `usageMetadata` says, however the bytes are split."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from random import Random

import pytest

from gateway.exchange import Framing
from tests.support.metering import Found, by_byte, cut_at, details_of, expected, read, usage_of
from tests.support.recorded import RecordedExchange, last_usage, recorded_exchanges

EXCHANGES = recorded_exchanges()


def framing(exchange: RecordedExchange) -> Framing:
    if exchange.action != "streamGenerateContent":
        return Framing.UNARY
    return Framing.SSE if exchange.alt == "sse" else Framing.JSON_ARRAY


def truth(exchange: RecordedExchange) -> Found:
    plain = gzip.decompress(exchange.body) if exchange.compressed else exchange.body
    if framing(exchange) is Framing.SSE:
        events = plain.replace(b"\r\n", b"\n").split(b"\n\n")
        found = expected(json.loads(event.removeprefix(b"data:")) for event in events if event)
    else:
        found = expected([json.loads(plain)])
    last = last_usage(exchange)
    assert found.usage == (None if last is None else usage_of(last))
    assert found.details == details_of(last or {}, found.details.features)
    return found


@pytest.mark.parametrize("exchange", EXCHANGES, ids=str)
def test_recorded_exchange_at_any_split(exchange: RecordedExchange) -> None:
    encoding = "gzip" if exchange.compressed else ""
    body = exchange.body
    truly = truth(exchange)
    assert truly.finished == (exchange.status == 200)
    assert truly.error_seen == (exchange.status != 200)

    assert read(framing(exchange), [body], encoding) == truly
    assert read(framing(exchange), by_byte(body), encoding) == truly
    if framing(exchange) is Framing.UNARY:  # so short a body is decoded whole: scan it as well
        assert read(Framing.JSON_ARRAY, by_byte(body), encoding) == truly
    random = Random(exchange.name)  # the same splits each time
    for pieces in (1, 2, 3, 5, 10, 30):
        places = [random.randrange(len(body) + 1) for _ in range(pieces)]
        assert read(framing(exchange), cut_at(body, places), encoding) == truly, places


@pytest.mark.parametrize("exchange", [one for one in EXCHANGES if one.compressed], ids=str)
def test_recorded_gzip_cut_anywhere(exchange: RecordedExchange) -> None:
    """The last object that is whole in what was sent counts; Google indents by two."""
    seen = set()
    for cut in range(0, len(exchange.body), 7):
        plain = zlib.decompressobj(31).decompress(exchange.body[:cut]).decode("utf-8", "ignore")
        objects = re.findall(r'^  "usageMetadata": (\{\n.*?^  \})', plain, re.DOTALL | re.MULTILINE)
        truly = usage_of(json.loads(objects[-1])) if objects else None
        assert read(framing(exchange), [exchange.body[:cut]], "gzip").usage == truly, cut
        seen.add(truly)
    assert None in seen
    assert len(seen) >= 2
