"""What an upstream is asked with: renewed at once, the same object while it is the same credential."""

from __future__ import annotations

from gateway import config
from gateway.exchange import Route
from gateway.secrets import Secret
from gateway.upstreams import Key, Upstream
from gateway.upstreams.clock import Clock
from gateway.upstreams.opening import adjust, open_upstream
from gateway.upstreams.pool import Pool
from gateway.upstreams.target import Target

CONNECT_SECONDS = 1.0


def settings(*keys: str, kind: config.UpstreamKind = "ai-studio", weight: int = 1) -> config.Upstream:
    return config.Upstream(
        name="up",
        kind=kind,
        base_url=config.BaseUrl("" if kind == "simulated" else "http://127.0.0.1:9/base"),
        keys=tuple(Secret(key, "env:X") for key in keys),
        weight=weight,
    )


async def opened(*keys: str, kind: config.UpstreamKind = "ai-studio") -> Upstream:
    return await open_upstream(settings(*keys, kind=kind), CONNECT_SECONDS)


def target_of(upstream: Upstream, key: Key) -> Target:
    return Target(upstream, key, "m", model_id="m", clock=Clock(), watcher=Pool(()))


def head(upstream: Upstream, key: Key) -> bytes:
    return target_of(upstream, key).request_head(Route("v1", "m", "generateContent"))


async def test_a_request_carries_its_key_alone() -> None:
    upstream = await opened("first", "second")
    assert [key.name for key in upstream.keys] == ["1", "2"]
    assert head(upstream, upstream.keys[1]) == (
        b"POST /base/v1/models/m:generateContent HTTP/1.1\r\nHost: 127.0.0.1:9\r\nx-goog-api-key: second\r\n"
    )


async def test_another_gateway_is_given_a_bearer() -> None:
    upstream = await opened("token", kind="gateway")
    assert head(upstream, upstream.keys[0]).endswith(b"\r\nAuthorization: Bearer token\r\n")


async def test_a_simulated_one_has_a_key_that_is_none() -> None:
    upstream = await opened(kind="simulated")
    (key,) = upstream.keys
    assert key.available
    assert head(upstream, key).count(b"\r\n") == 2
    adjust(upstream, settings(kind="simulated"))
    assert upstream.keys == (key,)
    await upstream.close()


async def test_what_a_key_is_renewed_to_goes_with_the_next_request() -> None:
    upstream = await opened("old")
    target = target_of(upstream, upstream.keys[0])
    route = Route("v1", "m", "generateContent")
    assert b": old\r\n" in target.request_head(route)
    target.key.lack()
    assert not target.key.available
    assert b"old" not in target.request_head(route)
    target.key.renew(b"x-goog-api-key: new\r\n")
    assert target.key.available
    assert target.request_head(route).endswith(b"\r\nx-goog-api-key: new\r\n")


async def test_a_key_that_stays_is_the_same_object_at_its_new_place() -> None:
    upstream = await opened("a", "b", "c")
    a, b, c = upstream.keys
    adjust(upstream, settings("c", "new", "b", weight=7))
    first, new, third = upstream.keys
    assert (first, third) == (c, b)
    assert new not in (a, b, c)
    assert [key.name for key in upstream.keys] == ["1", "2", "3"]
    assert upstream.weight == 7


async def test_a_key_given_twice_is_two() -> None:
    upstream = await opened("same", "same")
    assert upstream.keys[0] is not upstream.keys[1]
    adjust(upstream, settings("same", "same"))
    assert upstream.keys[0] is not upstream.keys[1]


async def test_a_key_does_not_show_what_it_carries() -> None:
    upstream = await opened("PLANTED")
    (key,) = upstream.keys
    assert "PLANTED" not in f"{key!r} {key} {upstream!r} {upstream.keys!r}"
    key.lack()
    assert repr(key) == "<Key 1 lacking>"
