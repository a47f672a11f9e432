"""The upstream's addresses: one look-up for all who wait, used for seconds, and an old answer in need."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiohappyeyeballs import AddrInfoType

from gateway.upstreams.resolver import FRESH, STALE, Resolver

PORT = 8443
NO_SUCH_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def info(address: str) -> AddrInfoType:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    rest = (0, 0) if ":" in address else ()
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, PORT, *rest)


class NameServer:
    """What the system would ask. While `answering` is not set, whoever asks has to wait."""

    def __init__(self, *addresses: str) -> None:
        self.answer: list[str] | Exception = list(addresses)
        self.asked = 0
        self.answering = asyncio.Event()
        self.answering.set()
        self.now = 1000.0

    async def look_up(self, host: str, port: int) -> list[AddrInfoType]:
        assert (host, port) == ("upstream.example", PORT)
        self.asked += 1
        await self.answering.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return [info(address) for address in self.answer]

    def resolver(self) -> Resolver:
        return Resolver("upstream.example", PORT, self.look_up, lambda: self.now)


async def addresses(resolver: Resolver) -> list[str]:
    return [address[4][0] for address in await resolver.addresses()]


async def waiting(resolver: Resolver, count: int) -> list[asyncio.Task[list[str]]]:
    """So many who ask; each has come to wait."""
    tasks = [asyncio.create_task(addresses(resolver)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_all_who_wait_share_one_look_up() -> None:
    names = NameServer("192.0.2.1")
    names.answering.clear()
    tasks = await waiting(names.resolver(), 1000)
    names.answering.set()
    assert await asyncio.gather(*tasks) == [["192.0.2.1"]] * 1000
    assert names.asked == 1


async def test_one_who_leaves_takes_the_answer_from_nobody() -> None:
    names = NameServer("192.0.2.1")
    names.answering.clear()
    first, *others, last = await waiting(names.resolver(), 5)
    first.cancel()
    last.cancel()
    assert isinstance((await asyncio.gather(first, return_exceptions=True))[0], asyncio.CancelledError)
    names.answering.set()
    assert await asyncio.gather(*others) == [["192.0.2.1"]] * 3
    assert names.asked == 1


async def test_an_answer_nobody_waited_for_is_used() -> None:
    names = NameServer("192.0.2.1")
    names.answering.clear()
    resolver = names.resolver()
    (only,) = await waiting(resolver, 1)
    only.cancel()
    (again,) = await waiting(resolver, 1)
    names.answering.set()
    assert await again == ["192.0.2.1"]
    assert names.asked == 1


async def test_an_answer_is_used_for_seconds_and_then_asked_for_again() -> None:
    names = NameServer("192.0.2.1")
    resolver = names.resolver()
    assert await addresses(resolver) == ["192.0.2.1"]
    names.answer = ["192.0.2.2"]
    names.now += FRESH - 0.01
    assert await addresses(resolver) == ["192.0.2.1"]
    assert names.asked == 1
    names.now += 0.02
    assert await addresses(resolver) == ["192.0.2.2"]
    assert names.asked == 2


async def test_the_old_answer_serves_while_there_is_no_new_one() -> None:
    names = NameServer("192.0.2.1")
    resolver = names.resolver()
    await resolver.addresses()
    names.answer = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    names.now += FRESH
    for _ in range(3):
        assert await addresses(resolver) == ["192.0.2.1"]
    assert names.asked == 2
    names.now += FRESH
    assert await addresses(resolver) == ["192.0.2.1"]
    assert names.asked == 3
    names.answer = ["192.0.2.2"]
    names.now += FRESH
    assert await addresses(resolver) == ["192.0.2.2"]
    names.answer = NO_SUCH_NAME
    names.now += STALE
    with pytest.raises(socket.gaierror):
        await resolver.addresses()


async def test_a_slow_look_up_holds_nobody_up_who_has_an_old_answer() -> None:
    names = NameServer("192.0.2.1")
    resolver = names.resolver()
    await resolver.addresses()
    names.answering.clear()
    names.answer = ["192.0.2.2"]
    names.now += FRESH
    assert await asyncio.gather(*await waiting(resolver, 2)) == [["192.0.2.1"]] * 2
    names.now += FRESH
    assert await addresses(resolver) == ["192.0.2.1"]
    assert names.asked == 2
    names.answering.set()
    names.now += FRESH
    assert await addresses(resolver) == ["192.0.2.2"]
    assert names.asked == 2


async def test_a_failure_is_everybodys_own_and_is_not_kept() -> None:
    names = NameServer("192.0.2.1")
    names.answering.clear()
    right, names.answer = names.answer, NO_SUCH_NAME
    resolver = names.resolver()
    tasks = await waiting(resolver, 3)
    names.answering.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in errors] == [socket.gaierror] * 3
    assert [str(error) for error in errors] == [str(NO_SUCH_NAME)] * 3
    assert len({id(error) for error in [*errors, NO_SUCH_NAME]}) == 4
    names.answer = right
    assert await addresses(resolver) == ["192.0.2.1"]


async def test_each_address_is_the_first_in_turn_and_families_keep_their_order() -> None:
    names = NameServer("2001:db8::1", "192.0.2.1", "192.0.2.2", "2001:db8::2", "192.0.2.3")
    resolver = names.resolver()
    seen = [await addresses(resolver) for _ in range(6)]
    assert [one[:2] for one in seen] == [["2001:db8::1", "2001:db8::2"], ["2001:db8::2", "2001:db8::1"]] * 3
    fours = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    turned = [fours, fours[1:] + fours[:1], fours[2:] + fours[:2]]
    assert [one[2:] for one in seen] == turned * 2


@pytest.mark.parametrize("literal", ["127.0.0.1", "::1"])
async def test_an_address_is_looked_up_by_nobody(literal: str) -> None:
    async def look_up(host: str, port: int) -> list[AddrInfoType]:
        raise AssertionError("nobody needs to be asked")

    assert await addresses(Resolver(literal, PORT, look_up)) == [literal]


async def test_the_system_is_asked() -> None:
    found = await Resolver("localhost", PORT).addresses()
    assert set(found) <= {info("127.0.0.1"), info("::1")}
    assert {kind for _, kind, *_ in found} == {socket.SOCK_STREAM}


@pytest.mark.parametrize("host", ["a..example", "a" * 64 + ".example"])
async def test_what_can_not_be_a_name_is_an_error_like_any(host: str) -> None:
    with pytest.raises(OSError, match=r"not the name of a host|not known"):
        await Resolver(host, PORT).addresses()


async def test_closing_ends_the_look_up_but_nobody_who_waits() -> None:
    names = NameServer("192.0.2.1")
    names.answering.clear()
    resolver = names.resolver()
    (asking,) = await waiting(resolver, 1)
    resolver.close()
    with pytest.raises(OSError, match="given up"):
        await asking
    names.answering.set()
    assert await addresses(resolver) == ["192.0.2.1"]
