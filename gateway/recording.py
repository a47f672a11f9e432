"""From a request that is over to its row in the ledger: what was used, what it cost, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.exchange import CUT, Ending, Exchange
from gateway.prices import Prices
from gateway.usage_record import UsageRecord, UsageSource

_REPORTED, _PARTIAL, _UNKNOWN = UsageSource.REPORTED, UsageSource.PARTIAL, UsageSource.UNKNOWN


def price(exchange: Exchange, prices: Prices) -> None:
    """Tell the exchange what its usage cost."""
    exchange.cost_nanos, exchange.unpriced = prices.cost(
        exchange.answered_as,
        exchange.model_version,
        exchange.time,
        exchange.usage,
        exchange.usage_details,
    )


def usage_record(exchange: Exchange) -> UsageRecord:
    """The record of the last attempt of an exchange that is over and priced, and that asked an upstream."""
    principal = exchange.principal
    assert principal is not None
    usage = exchange.usage
    details = exchange.usage_details
    began = exchange.began
    first_byte = exchange.first_byte
    if usage is None:
        source = _UNKNOWN
        prompt = cached = candidates = thoughts = tool_use_prompt = total = None
    else:
        source = _PARTIAL if exchange.ending in CUT else _REPORTED
        prompt, cached, candidates = usage.prompt, usage.cached, usage.candidates
        thoughts, tool_use_prompt, total = usage.thoughts, usage.tool_use_prompt, usage.total
    return UsageRecord(
        request_id=exchange.id,
        attempt=len(exchange.failed_attempts) + 1,
        attempts=len(exchange.failed_attempts) + 1,
        time=exchange.time,
        client_request_id=exchange.client_request_id,
        project=principal.project_id,
        branch=exchange.branch_id,
        credential=principal.credential_id,
        model=exchange.model,
        model_version=exchange.model_version,
        upstream=exchange.upstream,
        action=exchange.route.action,
        # A refusal of the gateway's own says nothing of what the upstream answered.
        status=0 if exchange.reason else exchange.status,
        ending=exchange.ending,
        usage_source=source,
        prompt_tokens=prompt,
        cached_tokens=cached,
        candidates_tokens=candidates,
        thoughts_tokens=thoughts,
        tool_use_prompt_tokens=tool_use_prompt,
        total_tokens=total,
        modalities=details.modalities,
        traffic_type=details.traffic_type,
        service_tier=details.service_tier,
        cost_nanos=exchange.cost_nanos,
        unpriced=exchange.unpriced,
        first_byte_ms=int((first_byte - began) * 1e6) / 1e3 if first_byte else None,
        duration_ms=int((exchange.ended - began) * 1e6) / 1e3,
        request_bytes=exchange.request_bytes,
        response_bytes=exchange.response_bytes,
    )


def failed_records(exchange: Exchange) -> Iterator[UsageRecord]:
    """The records of the attempts before the last one: nothing is known of what they used."""
    principal = exchange.principal
    assert principal is not None
    for number, failed in enumerate(exchange.failed_attempts, 1):
        yield UsageRecord(
            request_id=exchange.id,
            attempt=number,
            attempts=number,
            time=exchange.time + (failed.began - exchange.began),
            client_request_id=exchange.client_request_id,
            project=principal.project_id,
            branch=exchange.branch_id,
            credential=principal.credential_id,
            model=exchange.model,
            upstream=failed.upstream,
            action=exchange.route.action,
            status=failed.status,
            ending=Ending.UPSTREAM_ERROR if failed.status else Ending.REFUSED,
            first_byte_ms=round((failed.first_byte - failed.began) * 1e3, 3) if failed.first_byte else None,
            duration_ms=round((failed.ended - failed.began) * 1e3, 3),
            request_bytes=exchange.request_bytes,
        )
