"""The language of a fuzz input: bytes for a socket, with marks for where they are cut and what else happens.

An input is bytes as they go out. A backtick begins a mark of two bytes; what is no mark stands for itself:

    ``      a backtick
    `(  `)  what stands between them is one chunk of a chunked body; marks may stand in it
    `#      the length of what follows the next empty line, in decimal digits
    `B      131,072 bytes, all of them `x`
    `|      a pause: what came before is sent, read and handled

Other marks mean something to one side only: see there. Marks rather than a structured format, so that
an input is read as it stands, and whatever a fuzzer makes of one is an input again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

MARK = ord("`")
BLOCK = b"x" * 131_072
MAX_BLOCKS = 3
"""Further ones stand for nothing: an input has to be quick."""
PAUSE = "|"
NEXT = "n"
"""What comes now belongs to the next message."""

Step = bytes | str
"""Bytes to send, or the letter of a mark."""


def escape(data: bytes) -> bytes:
    """The bytes as an input that stands for them."""
    return data.replace(b"`", b"``")


def chosen(choices: Mapping[str, T], letter: bytes) -> T:
    """What a byte of an input chooses: one of those choices in any case."""
    known = choices.get(letter.decode("latin-1"))
    return known or list(choices.values())[letter[0] % len(choices) if letter else 0]


def parse(data: bytes, marks: str) -> list[list[Step]]:
    """The messages of an input, each as its steps, in which no two byte strings are neighbours.

    `marks` are the letters of the side's own marks; `NEXT` among them begins a message.
    """
    messages: list[list[Step]] = [[]]
    blocks = 0
    for step in _tokens(data, f"{PAUSE}()#B{marks}"):
        if step == NEXT:
            messages.append([])
            continue
        if step == "B":
            blocks += 1
            if blocks <= MAX_BLOCKS:
                messages[-1].append(BLOCK)
            continue
        messages[-1].append(step)
    return [_joined(_with_lengths(_with_chunks(message))) for message in messages]


def _tokens(data: bytes, marks: str) -> Iterable[Step]:
    start = at = 0
    while 0 <= (at := data.find(MARK, at)) < len(data) - 1:
        letter = chr(data[at + 1])
        if letter == "`":
            yield data[start : at + 1]
        elif letter in marks:
            yield data[start:at]
            yield letter
        else:
            at += 1
            continue
        start = at = at + 2
    yield data[start:]


def _with_chunks(message: list[Step]) -> list[Step]:
    """The same with the framing of its chunks. One that is not ended lasts to the end and has no end."""
    steps: list[Step] = []
    opened: int | None = None
    for step in message:
        if step == "(":
            if opened is None:
                opened = len(steps)
        elif step == ")":
            if opened is not None:
                steps.insert(opened, b"%x\r\n" % _size(steps[opened:]))
                steps.append(b"\r\n")
                opened = None
        else:
            steps.append(step)
    if opened is not None:
        steps.insert(opened, b"%x\r\n" % _size(steps[opened:]))
    return steps


def _with_lengths(message: list[Step]) -> list[Step]:
    """The same with every length written out."""
    if "#" not in message:
        return message
    steps: list[Step] = []
    for at, step in enumerate(message):
        if step == "#":
            rest = b"".join(one for one in message[at:] if isinstance(one, bytes))
            steps.append(b"%d" % len(rest.partition(b"\r\n\r\n")[2]))
        else:
            steps.append(step)
    return steps


def _size(steps: list[Step]) -> int:
    return sum(len(step) for step in steps if isinstance(step, bytes))


def _joined(message: list[Step]) -> list[Step]:
    steps: list[Step] = []
    for step in message:
        if isinstance(step, bytes) and steps and isinstance(steps[-1], bytes):
            steps[-1] += step
        elif step:
            steps.append(step)
    return steps
