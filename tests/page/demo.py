"""A month of a project, made up from one seed: for the screenshot, and for tests that look at the page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from random import Random

from msgspec import structs

from gateway.exchange import Ending
from gateway.limits import Level, Limits
from gateway.quota.admission import Estimate
from gateway.quota.rules import rules_for
from gateway.stores.rows import Credential, PrincipalType
from gateway.usage_record import UsageRecord, UsageSource
from tests.page.rig import DEFAULTS, MODELS, NOW, Rig

HOUR, DAY = 3600, 86400
CREDENTIALS = (
    ("main", "production", 1.0),
    ("main", "nightly-evaluation", 0.25),
    ("preview/search", "search-team", 0.35),
    ("preview/assistant", "assistant-team", 0.5),
    ("staging", "ci", 0.1),
)
"""Branch, name, and how busy it is."""
_NANOS = {"gemini-2-5-flash": (300, 2_500), "gemini-3-5-flash": (500, 3_000), "gemini-3-pro": (2_000, 12_000)}
"""For a token of input and one of output."""
_LIMITS = (
    (Level.CREDENTIAL, "ci", Limits(requests_per_minute=60, spend_per_day_nanos=5_000_000_000)),
    (Level.CREDENTIAL, "nightly-evaluation", Limits(concurrent_requests=4)),
    (Level.BRANCH, "preview/search", Limits(tokens_per_day=3_000_000)),
)
_ENDINGS = {Ending.COMPLETE: 1460, Ending.REFUSED: 31, Ending.CLIENT_ABORTED: 12, Ending.UPSTREAM_ERROR: 4}


async def fill(rig: Rig) -> None:
    """Put all of it where the page looks."""
    chance = Random(7)
    for name in dict.fromkeys(branch for branch, _, _ in CREDENTIALS if branch != "main"):
        await rig.store.create_branch("default", name, "main")
    credentials = {
        name: await rig.store.create_credential(
            "default",
            branch,
            credential_id="".join(chance.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=16)),
            token_hash=chance.randbytes(32),
            name=name,
            principal_type=PrincipalType.SERVICE,
            scopes=("ai_gateway:invoke",),
            lifetime=None,
        )
        for branch, name, _ in CREDENTIALS
    }
    await rig.store.add_usage(list(_month(chance, list(credentials.values()))))
    await _limits(rig, credentials)
    for ending, times in _ENDINGS.items():
        rig.ended(ending, times)
    rig.metrics.open_requests = 37
    rig.timer.now += 60


def _month(chance: Random, credentials: Sequence[Credential]) -> Iterator[UsageRecord]:
    midnight = NOW // DAY * DAY
    for hour in range(-29 * 24, int(NOW - midnight) // HOUR + 1):
        time = midnight + hour * HOUR
        weekend = time // DAY % 7 in (2, 3)  # the epoch began on a Thursday
        busy = (0.3 if weekend else 1) * (0.2 + math.sin(math.pi * (hour % 24) / 24) ** 2) * (1 + hour / 1400)
        for credential, (_, _, share) in zip(credentials, CREDENTIALS, strict=True):
            model = chance.choices(MODELS, (1, 3, 1))[0]
            prompt = int(chance.uniform(0.5, 1.5) * 900_000 * busy * share)
            begun = UsageRecord(
                request_id=f"{chance.getrandbits(128):032x}",
                time=time,
                project=credential.project_id,
                branch=credential.branch_id,
                credential=credential.id,
                model=model,
                upstream="studio",
                action="streamGenerateContent",
                status=200,
                ending="complete",
            )
            yield begun if chance.random() < 0.003 else _reported(chance, begun, prompt)


def _reported(chance: Random, begun: UsageRecord, prompt: int) -> UsageRecord:
    output = int(prompt * chance.uniform(0.1, 0.3))
    nanos = _NANOS[begun.model]
    return structs.replace(
        begun,
        usage_source=UsageSource.REPORTED,
        prompt_tokens=prompt,
        cached_tokens=prompt // 3,
        candidates_tokens=output,
        total_tokens=prompt + output,
        cost_nanos=prompt * nanos[0] + output * nanos[1],
        unpriced=("google_search",) if chance.random() < 0.002 else (),
    )


async def _limits(rig: Rig, credentials: Mapping[str, Credential]) -> None:
    branches = {branch.name: branch.id for branch in await rig.store.branches("default")}
    all_limits = {(Level.PROJECT, ""): DEFAULTS}
    for level, name, limits in _LIMITS:
        all_limits[level, name] = limits
        subject = {"branch": name} if level is Level.BRANCH else {"credential": credentials[name].id}
        await rig.store.set_limits("default", limits, **subject)
    for branch, name, share in CREDENTIALS:
        credential = credentials[name]
        found = {
            Level.PROJECT: DEFAULTS,
            Level.BRANCH: all_limits.get((Level.BRANCH, branch), Limits()),
            Level.CREDENTIAL: all_limits.get((Level.CREDENTIAL, name), Limits()),
        }
        for model in MODELS[1:]:
            rules = rules_for(
                found,
                project_id=credential.project_id,
                branch_id=branches[branch],
                credential_id=credential.id,
                model=model,
            )
            rig.counters.admit(rules, Estimate(int(70_000 * share), int(10**9 * share)))
