"""All that one view of the page shows, gathered from where it is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.errors import CountersUnavailable, StoreNotFound, printable
from gateway.page import figures, periods
from gateway.page.activity import Activity, Sampler
from gateway.page.figures import Found
from gateway.page.fullness import Fullness, LimitLevels
from gateway.page.periods import Window
from gateway.page.selection import Selection
from gateway.stores.rows import Branch, Credential, Project, Store, UsageBy
from gateway.upstreams.target_state import State, TargetState

MODELS = 50
"""Beside the catalog's: clients may choose the names of some."""


@dataclass(frozen=True, slots=True)
class Content:
    """What is shown. Everything in it is of about one moment."""

    now: float
    """Seconds since the epoch."""
    selection: Selection
    project: Project
    projects: Sequence[Project]
    branches: Sequence[Branch]
    credentials: Sequence[Credential]
    window: Window
    found: Found
    activity: Activity
    fullness: Fullness | None
    """None: the counters can't be reached."""
    targets: Sequence[TargetState]
    """Of the whole gateway, those that are not ready first."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where it is gathered from."""

    store: Store
    sampler: Sampler
    limits: LimitLevels
    targets: Callable[[], Sequence[TargetState]]
    clock: Callable[[], float]
    """Seconds since the epoch."""


def state(credential: Credential, now: float) -> str:
    """`active`, `expired` or `revoked`."""
    if credential.revoked is not None:
        return "revoked"
    return "active" if credential.expires is None or credential.expires > now else "expired"


async def gather(sources: Sources, selection: Selection) -> Content:
    """Raises StoreError: StoreNotFound where there is no such project."""
    store, now = sources.store, sources.clock()
    projects = await store.projects()
    project = next((one for one in projects if selection.project in (one.id, one.name)), None)
    if project is None:
        raise StoreNotFound(f'there is no project "{printable(selection.project)}"')
    window = periods.window(selection.period, now)
    branches, credentials = await store.branches(project.id), await store.credentials(project.id)
    found = await figures.read(store, project.id, window, selection.by)
    usable = [one for one in credentials if state(one, now) == "active"]
    models = await _models(store, project.id, now)
    try:
        fullness = await sources.limits.of(project.id, branches, usable, models)
    except CountersUnavailable:
        fullness = None
    return Content(
        now=now,
        selection=selection,
        project=project,
        projects=projects,
        branches=branches,
        credentials=credentials,
        window=window,
        found=found,
        activity=sources.sampler.activity(),
        fullness=fullness,
        targets=sorted(sources.targets(), key=lambda one: one.state is State.READY),
    )


async def _models(store: Store, project_id: str, now: float) -> Sequence[str]:
    """Those of which most was used yesterday and today."""
    today = int(now) // periods.DAY * periods.DAY
    sums = await store.usage(project_id, today - periods.DAY, today + periods.DAY, [UsageBy.MODEL])
    largest = sorted(sums, key=lambda one: one.total_tokens, reverse=True)[:MODELS]
    return [one.group[UsageBy.MODEL] for one in largest]
