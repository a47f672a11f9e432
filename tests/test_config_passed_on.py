"""A configuration that a worker gets from its parent is the one that the parent has read."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from gateway import control
from gateway.config import Config, load
from gateway.token_usage import Usage
from tests.support.google import service_account

KEY = "AQ.key-of-the-tests"
EVERYTHING = """
[server]
listen = ["127.0.0.1:4040", "[::1]:0", "unix:/run/gateway"]
trusted_proxies = ["10.0.0.0/8", "fd00::1"]
forward_request_headers = ["X-Trace"]
[admin]
token = "env:KEY"
hosts = ["Gateway.internal"]
[store]
url = "postgresql://gateway@localhost/gateway"
password = "env:KEY"
state_dir = "{folder}"
[counters]
url = "redis://localhost"
password = "file:{folder}/key"
[branches]
trusted_suffixes = [".ai.example.com"]
[catalog.models.house-model]
aliases = ["house"]
shutdown = {{ vertex = 2026-12-01 }}
[prices.models.house-model]
rates = [{{ input = 1, output = 2 }}]
[[upstreams]]
name = "studio"
kind = "ai-studio"
base_url = "https://studio.example"
keys = ["env:KEY", "file:{folder}/key"]
[[upstreams]]
name = "cloud"
kind = "vertex"
base_url = "https://cloud.example"
project = "of-the-tests"
credentials = "{credentials}"
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    key = tmp_path / "key"
    key.touch(mode=0o644)
    key.write_text(KEY)
    credentials = service_account(tmp_path / "service-account.json", "https://oauth.example/token")
    path = tmp_path / "gateway.toml"
    path.write_text(EVERYTHING.format(folder=tmp_path, credentials=credentials))
    return load(path, {"KEY": KEY})


def passed_on(config: Config) -> Config:
    """What comes out at the other end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(control.packed(config))
        return control.receive_config(theirs)


def test_it_is_the_same_in_every_part(config: Config) -> None:
    got = passed_on(config)
    assert (got.path, got.settings, got.warnings) == (config.path, config.settings, config.warnings)
    assert got.warnings, "a key that everybody can read"
    assert [(listen, listen.host, listen.port, listen.path) for listen in got.server.listen] == [
        ("127.0.0.1:4040", "127.0.0.1", 4040, ""),
        ("[::1]:0", "::1", 0, ""),
        ("unix:/run/gateway", "", 0, "/run/gateway"),
    ]
    assert "10.1.2.3" in got.server.trusted_proxies[0]
    studio, cloud = got.upstreams
    assert [key.reveal() for key in studio.keys] == [KEY, KEY]
    assert (cloud.credentials, hash(cloud.credentials)) == (
        config.upstreams[1].credentials,
        hash(config.upstreams[1].credentials),
    )
    assert got.catalog.resolve("house").id == "house-model"
    assert got.prices.cost("house-model", "", 0.0, Usage(prompt=3, candidates=4)).nanos == 11_000
    day = date(2026, 11, 23)
    assert got.notices(day) == config.notices(day)
    assert any("house-model" in notice for notice in got.notices(day))


async def test_so_are_the_upstreams_that_come_later(config: Config) -> None:
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_unix_connection(sock=theirs)
    with ours:
        ours.sendall(control.packed(config.upstreams))
        got = await control.receive_upstreams(reader)
    writer.close()
    assert got == config.upstreams
    changed = config.with_upstreams(got[:1])
    assert changed == replace(config, upstreams=got[:1], settings=changed.settings)
    assert passed_on(changed).upstreams == got[:1]


def test_without_a_parent_there_is_none(config: Config) -> None:
    for kept in (0, 2, 100):
        ours, theirs = socket.socketpair()
        with theirs:
            with ours:
                ours.sendall(control.packed(config)[:kept])
            with pytest.raises(ConnectionError):
                control.receive_config(theirs)
