"""What a response's last report of its usage says; decoded once, when the body is over."""

from __future__ import annotations

from typing import Final

from gateway.metering.findings import Findings
from gateway.metering.response import (
    KEPT_MODALITIES,
    Member,
    ModalityCount,
    UsageMetadata,
    decode_metadata,
    decode_usage,
)
from gateway.metering.scanner import Scanner
from gateway.metering.spelled import MEMBER_NAME
from gateway.token_usage import NO_DETAILS, Usage, UsageDetails

# By name, and by number as `alt=json;enum-encoding=int` has them; 0 is the unset one. Source: google.cloud's
# aiplatform.v1, enumerations `Modality` and `TrafficType`.
_MODALITIES: Final[dict[Member, str]] = {
    **{name: name for name in ("TEXT", "IMAGE", "VIDEO", "AUDIO", "DOCUMENT")},
    **dict(enumerate(("", "TEXT", "IMAGE", "VIDEO", "AUDIO", "DOCUMENT"))),
}
_TRAFFIC_TYPES: Final[dict[Member, str]] = dict(
    enumerate(("", "ON_DEMAND", "PROVISIONED_THROUGHPUT", "ON_DEMAND_PRIORITY", "ON_DEMAND_FLEX"))
)
_SERVICE_TIERS: Final[dict[Member, str]] = {"standard": "standard"}


def read_usage(findings: Findings) -> Usage | None:
    """The counts; None when no report of any came."""
    if not findings.report:
        return None
    try:
        return decode_usage(findings.report)
    except (ValueError, RecursionError):
        return decode_usage(_respelled(findings.report))


def read_details(findings: Findings) -> UsageDetails:
    """What the same report says beside them, and which features were used."""
    features = tuple(sorted(findings.features)) if findings.features else ()
    if not findings.report:
        return UsageDetails(features=features) if features else NO_DETAILS
    try:
        said = decode_metadata(findings.report)
    except (ValueError, RecursionError):
        said = decode_metadata(_respelled(findings.report))
    return UsageDetails(
        _by_modality(said),
        _name(said.traffic_type, _TRAFFIC_TYPES) if said.traffic_type else "",
        _name(said.service_tier, _SERVICE_TIERS) if said.service_tier else "",
        features,
    )


def _respelled(report: bytes) -> bytes:
    """The report without what is of no type that it should be."""
    findings = Findings()
    scanner = Scanner(findings)
    scanner.feed(b'{"usageMetadata":%b}' % report)
    scanner.end()
    return findings.report


def _by_modality(said: UsageMetadata) -> dict[str, dict[str, int]]:
    found = {}
    if (details := said.prompt_tokens_details) and (counts := _counts(details)):
        found["prompt"] = counts
    if (details := said.cache_tokens_details) and (counts := _counts(details)):
        found["cached"] = counts
    if (details := said.candidates_tokens_details) and (counts := _counts(details)):
        found["candidates"] = counts
    if (details := said.tool_use_prompt_tokens_details) and (counts := _counts(details)):
        found["tool_use_prompt"] = counts
    return found


def _counts(details: list[ModalityCount]) -> dict[str, int]:
    """Of a modality that is there twice, both together."""
    counts: dict[str, int] = {}
    for one in details[:KEPT_MODALITIES]:
        name = _name(one.modality, _MODALITIES)
        if name:
            counts[name] = counts.get(name, 0) + one.token_count
    return counts


def _name(member: Member, names: dict[Member, str]) -> str:
    name = names.get(member)
    if name is None:
        return member if isinstance(member, str) and MEMBER_NAME.fullmatch(member) else ""
    return name
