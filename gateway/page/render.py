"""Content as HTML: what the templates are given and can call, and the headers that go with every page."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from gateway.exchange import Ending
from gateway.limits import Level
from gateway.page import chart, figures, units
from gateway.page.content import Content, state
from gateway.page.periods import Period
from gateway.page.selection import GROUPINGS
from gateway.quota.rules import Kind
from gateway.stores.rows import UsageBy
from gateway.upstreams.target_state import State

if TYPE_CHECKING:
    from jinja2 import Environment

CREDENTIALS = 100
LIMITS = 50
TARGETS = 50
"""How many are shown: the API and the command line show all."""

_LEAST_TOKENS = 10
_LEAST_SPEND = 1_000_000
"""What a chart's full height stands for at the least."""
_KINDS = {
    Kind.TOKENS_PER_MINUTE: "tokens per minute",
    Kind.REQUESTS_PER_MINUTE: "requests per minute",
    Kind.CONCURRENT_REQUESTS: "concurrent requests",
    Kind.TOKENS_PER_DAY: "tokens per day",
    Kind.SPEND_PER_DAY: "metered token spend per day",
}
_ENDINGS = {
    Ending.COMPLETE: "passed on whole",
    Ending.REFUSED: "refused by the gateway",
    Ending.UPSTREAM_ERROR: "an error of the upstream, passed on",
    Ending.UPSTREAM_ERROR_IN_STREAM: "an error inside a stream",
    Ending.TRUNCATED: "broken off by the upstream",
    Ending.SUSPECT: "ended without a finish reason",
    Ending.CLIENT_ABORTED: "left by the client",
    Ending.DEADLINE: "cut off by a deadline",
}
_STATES = {
    State.READY: "ready",
    State.TRIAL: "tried by one request",
    State.COOLING: "cooling down",
    State.OUT: "key refused",
    State.UNAVAILABLE: "no key to ask with",
}

_STYLE = files(__package__).joinpath("templates", "style.css").read_text("utf-8")
_STYLE_HASH = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS: Mapping[str, str] = {
    # No script, nothing from elsewhere, in nobody's frame. The style and the icon are in the page itself.
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def page(content: Content) -> str:
    """The whole page. Takes milliseconds, and more where there are thousands of groups."""
    selection, window = content.selection, content.window
    branches = {branch.id: branch.name for branch in content.branches}
    credentials = {credential.id: credential.name for credential in content.credentials}
    names = {UsageBy.BRANCH: branches, UsageBy.CREDENTIAL: credentials}
    used = figures.arrange(content.found, window, names.get(selection.by, {}))
    parts = used.all.parts
    by_layer = [part.input_tokens for part in parts], [part.output_tokens for part in parts]
    titles = [bucket.title for bucket in window.buckets]
    return (
        _environment()
        .get_template("usage.html")
        .render(
            content=content,
            selection=selection,
            window=window,
            figures=used,
            projects=[
                (one.name, selection.link(project=one.name), one.id == content.project.id)
                for one in content.projects
            ],
            periods=[(one.words, selection.link(period=one), one is selection.period) for one in Period],
            groupings=[(one.value, selection.link(by=one), one is selection.by) for one in GROUPINGS],
            tokens_chart=chart.stacked(by_layer, _LEAST_TOKENS),
            tokens_summary=_summary(titles, used.all.tokens, units.number),
            tokens_texts=[
                f"{title}: {units.tokens(part.input_tokens, part)} input, "
                f"{units.tokens(part.output_tokens, part)} output"
                for title, part in zip(titles, parts, strict=True)
            ],
            spend_chart=chart.stacked([used.all.spend], _LEAST_SPEND),
            spend_summary=_summary(titles, used.all.spend, units.dollars),
            spend_texts=[f"{title}: {units.spend(part)}" for title, part in zip(titles, parts, strict=True)],
            branches=branches,
            subjects={
                Level.PROJECT: {content.project.id: content.project.name},
                Level.BRANCH: branches,
                Level.CREDENTIAL: credentials,
            },
            limits_shown=LIMITS,
            targets_shown=TARGETS,
            credentials=sorted(
                content.credentials, key=lambda one: (state(one, content.now) != "active", -one.created)
            )[:CREDENTIALS],
        )
    )


def problem(text: str) -> str:
    """A page that says why there is no other."""
    return _environment().get_template("problem.html").render(text=text)


@cache
def _environment() -> Environment:
    # Not before somebody looks: no process that serves no page needs its two megabytes.
    import jinja2  # noqa: PLC0415
    from markupsafe import Markup  # noqa: PLC0415

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = (
        units.number,
        units.dollars,
        units.tokens,
        units.spend,
        units.in_unit,
        units.percent,
        units.rate,
        units.share,
        units.machine_time,
        units.minute,
        units.second,
        units.seconds,
        chart.bars,
        state,
    )
    environment.filters |= {function.__name__: function for function in shown}
    environment.globals |= {
        "style": Markup(_STYLE),  # noqa: S704 - the package's own file
        "endings": _ENDINGS,
        "kinds": _KINDS,
        "states": _STATES,
        "short_number": units.short,
        "number": units.number,
        "dollars": units.dollars,
    }
    return environment


def _summary(titles: Sequence[str], values: Sequence[int], shown: Callable[[int], str]) -> str:
    """What a chart says, for those who don't see it."""
    most = max(values)
    if not most:
        return f"None, from {titles[0]} to {titles[-1]}."
    return (
        f"From {titles[0]} to {titles[-1]}: {shown(sum(values))} in all, at most {shown(most)}, "
        f"on {titles[values.index(most)]}. The same in numbers is in a table below."
    )
