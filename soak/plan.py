"""What the upstream is to do with one request: drawn by a client, carried by the request, known to both."""

from __future__ import annotations

import random
from enum import StrEnum
from typing import Literal

import msgspec

from soak.samples import samples

HEADER = "x-soak"
"""The request header that carries the plan; the gateway is configured to pass it on."""
_FRAMINGS: tuple[Literal["length", "chunked"], ...] = ("length", "chunked")


class Fault(StrEnum):
    """How the answer goes wrong; those up to `SURPLUS` must go unnoticed by the client."""

    NONE = "no fault"
    STALE = "closed without a byte if it comes on a used connection"
    CLOSES = "the connection closed after the answer, as announced"
    DROPS = "the connection closed a little after the answer, without a word"
    UNTIL_CLOSE = "the body ends with the connection"
    SURPLUS = "more bytes behind the answer"
    NO_HEAD_FIN = "closed before the head"
    NO_HEAD_RST = "reset before the head"
    IN_HEAD = "closed in the head"
    NO_HTTP = "an answer that is not HTTP"
    IN_BODY_FIN = "sending half closed in the body"
    IN_BODY_CLOSE = "closed in the body"
    IN_BODY_RST = "reset in the body"
    BAD_CHUNK = "a chunk size that is none"
    STALL_NO_HEAD = "nothing before the head"
    STALL_IN_BODY = "nothing more in the body"


HARMLESS = (Fault.STALE, Fault.CLOSES, Fault.DROPS, Fault.UNTIL_CLOSE, Fault.SURPLUS)
BREAKING = (
    Fault.NO_HEAD_FIN,
    Fault.NO_HEAD_RST,
    Fault.IN_HEAD,
    Fault.NO_HTTP,
    Fault.IN_BODY_FIN,
    Fault.IN_BODY_CLOSE,
    Fault.IN_BODY_RST,
    Fault.BAD_CHUNK,
)
STALLS = (Fault.STALL_NO_HEAD, Fault.STALL_IN_BODY)
_SURPLUS_BYTES = 8000
"""An answer no longer than this reaches the gateway together with what stands behind it."""


class Plan(msgspec.Struct, frozen=True):
    """One answer. Everything that is left to chance follows from `id`."""

    id: str
    """The upstream's own id of the request, which the client gets back."""
    sample: int
    fault: Fault = Fault.NONE
    framing: Literal["length", "chunked"] = "length"
    at: float = 0.0
    """Where the fault falls: a share of the head or of the body, framing included."""
    pieces: int = 1
    """How many times the upstream sends, `gap` seconds apart."""
    gap: float = 0.0
    interim: bool = False
    """Whether a 1xx answer comes first."""
    early: bool = False
    """Whether it is answered before the request's body has come."""
    upload_bytes: int = 0
    upload_crc32: int = 0
    upload_pause: float = 0.0
    """For how long the upstream takes nothing of the request's body."""

    def header(self) -> tuple[str, str]:
        """As the request carries it."""
        return HEADER, msgspec.json.encode(self).decode("ascii")

    @classmethod
    def read(cls, value: str) -> Plan:
        """The plan in a header's value."""
        return msgspec.json.decode(value, type=cls)

    def chance(self) -> random.Random:
        """The same for both sides."""
        return random.Random(self.id)


def draw(
    chance: random.Random,
    positions: list[int],
    *,
    faults: tuple[Fault, ...] = (Fault.NONE,),
    pieces: int = 1,
    gap: float = 0.0,
) -> Plan:
    """A plan with one of these samples and one of these faults."""
    fault = chance.choice(faults)
    if fault is Fault.SURPLUS:
        positions = [one for one in positions if len(samples().all[one].body) < _SURPLUS_BYTES]
        pieces = 1
    return Plan(
        id=f"{chance.getrandbits(64):016x}",
        sample=chance.choice(positions),
        fault=fault,
        framing="chunked" if fault is Fault.BAD_CHUNK else chance.choice(_FRAMINGS),
        at=chance.random(),
        pieces=pieces,
        gap=gap,
        interim=chance.random() < 0.1,
    )
