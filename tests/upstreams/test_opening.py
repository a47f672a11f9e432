"""Upstreams are opened together: none of them waits for another's token."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.config import Config, load
from gateway.errors import ConfigurationError
from gateway.upstreams import renewal
from gateway.upstreams.roster import Roster
from tests.support.eventually import eventually
from tests.support.google import TokenEndpoint, service_account
from tests.support.tls import make_certificates

_UPSTREAM = """
[[upstreams]]
name = "{name}"
kind = "vertex"
base_url = "https://cloud.example"
project = "of-the-tests"
credentials = "{credentials}"
"""


def of_vertex(folder: Path, endpoint: TokenEndpoint, *names: str, more: str = "") -> Config:
    credentials = service_account(folder / "service-account.json", endpoint.token_uri)
    tables = [_UPSTREAM.format(name=name, credentials=credentials) for name in names]
    path = folder / "gateway.toml"
    path.write_text(f'[store]\nurl = "sqlite:///{folder}/db"\n' + "".join(tables) + more)
    return load(path, {"KEY": "AQ.key"})


async def test_two_that_have_to_ask_for_a_token_ask_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "FIRST_SECONDS", 3600.0)
    with TokenEndpoint() as endpoint:
        endpoint.stalls("both have asked")
        roster = Roster(5.0)
        opening = asyncio.create_task(roster.take_up(of_vertex(tmp_path, endpoint, "a", "b").upstreams))
        await eventually("both ask", lambda: endpoint.total_requests == 2)
        endpoint.set("both have asked")
        opened = await opening
        assert [(upstream.name, upstream.keys[0].available) for upstream in opened] == [
            ("a", True),
            ("b", True),
        ]
        await roster.close()


async def test_where_one_cannot_be_opened_none_is_left_open(tmp_path: Path) -> None:
    authority = make_certificates(tmp_path).ca_file
    more = (
        '[[upstreams]]\nname = "c"\nkind = "gateway"\nbase_url = "https://other.example"\n'
        f'keys = ["env:KEY"]\nca_file = "{authority}"\n'
    )
    with TokenEndpoint() as endpoint:
        config = of_vertex(tmp_path, endpoint, "a", more=more)
        authority.unlink()
        roster = Roster(5.0)
        tasks = asyncio.all_tasks()
        with pytest.raises(
            ConfigurationError, match=r"upstream 'c' could not be opened with .*: No such file"
        ):
            await roster.take_up(config.upstreams)
        await eventually("its renewal ends", lambda: asyncio.all_tasks() == tasks)
        assert [one.name for one in await roster.take_up(config.upstreams[:1])] == ["a"]
        await roster.close()
