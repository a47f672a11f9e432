"""The file of cooldowns: what is written is read by others, whatever happens to who writes it."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from gateway.upstreams.cooldowns import FORGOTTEN_SECONDS, GENERATION, SLOTS, USED, Cooldown, Cooldowns
from gateway.upstreams.faults import Cause
from tests.support.eventually import eventually
from tests.support.machine import PROJECT

NOW = 1_800_000_000.0
HERE, THERE = b"h" * 16, b"t" * 16
SPENT = Cooldown(Cause.QUOTA, NOW, NOW + 30.0, False, 0, "RequestsPerMinute", "You exceeded your quota: é")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cooldowns"


def test_what_one_writes_another_reads(path: Path) -> None:
    mine, other = Cooldowns(path), Cooldowns(path)
    before = other.head[GENERATION]
    assert other.read(NOW) == {}
    mine.write(HERE, SPENT)
    out = Cooldown(Cause.KEY, NOW, NOW + 180.0, True, 7, "", "")
    mine.write(THERE, out)
    assert other.head[GENERATION] != before
    assert other.read(NOW) == {HERE: SPENT, THERE: out}
    longer = SPENT._replace(until=NOW + 60.0, message="")
    other.write(HERE, longer)
    assert mine.read(NOW) == {HERE: longer, THERE: out}
    before = other.head[GENERATION]
    mine.erase(HERE)
    assert other.head[GENERATION] != before
    assert other.read(NOW) == {THERE: out}
    assert other.head[USED] == 2


def test_it_outlives_who_wrote_it(path: Path) -> None:
    first = Cooldowns(path)
    first.write(HERE, SPENT)
    first.close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert Cooldowns(path).read(NOW) == {HERE: SPENT}


def test_a_quota_is_over_at_its_end_and_what_ends_with_a_trial_a_while_later(path: Path) -> None:
    file = Cooldowns(path)
    failed = Cooldown(Cause.OVERLOAD, NOW, NOW + 30.0, False, 0, "", "")
    file.write(HERE, SPENT)
    file.write(THERE, failed)
    assert set(file.read(NOW + 29.9)) == {HERE, THERE}
    assert set(file.read(NOW + 30.0)) == {THERE}
    assert file.read(NOW + 30.0 + FORGOTTEN_SECONDS) == {}


def test_a_place_is_used_again_when_what_is_there_is_over(path: Path) -> None:
    file = Cooldowns(path)
    for second in range(2 * SLOTS):
        file.write(second.to_bytes(16, "big"), SPENT._replace(since=NOW + second, until=NOW + second + 1.0))
    assert file.read(NOW + 2 * SLOTS - 0.5) == {
        (2 * SLOTS - 1).to_bytes(16, "big"): SPENT._replace(since=NOW + 2 * SLOTS - 1, until=NOW + 2 * SLOTS)
    }
    assert file.head[USED] == 1


def test_a_full_file_forgets_what_ends_first(path: Path) -> None:
    file = Cooldowns(path)
    places = [number.to_bytes(16, "big") for number in range(SLOTS + 1)]
    for number, place in enumerate(places):
        file.write(place, SPENT._replace(until=NOW + 1000.0 + (number - 500) ** 2))
    assert set(file.read(NOW)) == set(places) - {places[500]}
    assert path.stat().st_size == 4096 + 1024 * SLOTS


@pytest.mark.parametrize("text", ["é" * 2000, "\ud800 half", "", "\x00"])
def test_texts_are_cut_to_fit(path: Path, text: str) -> None:
    file = Cooldowns(path)
    file.write(HERE, SPENT._replace(quota_id=text, message=text))
    read = file.read(NOW)[HERE]
    whole = text.replace("\ud800", "?")
    assert whole.startswith(read.message)
    assert whole.startswith(read.quota_id)
    assert len(read.message) >= min(len(whole), 380)
    assert len(read.quota_id) >= min(len(whole), 100)


def test_what_is_no_such_file_is_made_one(path: Path) -> None:
    for content in (b"x", b"\xff" * 5000, os.urandom(4096 + 1024 * SLOTS + 7)):
        path.write_bytes(content)
        file = Cooldowns(path)
        assert file.read(NOW) == {}
        file.write(HERE, SPENT)
        assert Cooldowns(path).read(NOW) == {HERE: SPENT}


@pytest.mark.parametrize("used", [-1, SLOTS + 1])
def test_a_damaged_head_is_begun_anew(path: Path, used: int) -> None:
    file = Cooldowns(path)
    file.write(HERE, SPENT)
    file.head[USED] = used
    file = Cooldowns(path)
    assert file.read(NOW) == {}
    file.write(HERE, SPENT)
    assert file.read(NOW) == {HERE: SPENT}


def test_a_damaged_slot_counts_for_nothing_and_can_be_written_again(path: Path) -> None:
    file = Cooldowns(path)
    file.write(HERE, SPENT)
    file.write(THERE, SPENT)
    slot = path.read_bytes()[4096 : 4096 + 120]
    for at in range(44 + len(SPENT.quota_id) + len(SPENT.message.encode())):
        with path.open("r+b") as raw:
            raw.seek(4096 + at)
            raw.write(bytes([slot[at] ^ 0x55]))
        assert file.read(NOW) == {THERE: SPENT}, at
        with path.open("r+b") as raw:
            raw.seek(4096)
            raw.write(slot)
    assert file.read(NOW) == {HERE: SPENT, THERE: SPENT}


def test_a_file_that_cannot_be_made_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Cooldowns(tmp_path / "nowhere" / "cooldowns")


WRITER = """
import sys
from pathlib import Path
from gateway.upstreams.cooldowns import Cooldown, Cooldowns
from gateway.upstreams.faults import Cause
file, now = Cooldowns(Path(sys.argv[1])), float(sys.argv[2])
number = 0
while True:
    number += 1
    text = str(number) * 100
    file.write(bytes([number % 7 + 1]) * 16, Cooldown(Cause.QUOTA, now, now + number, False, 0, text, text))
    if number % 5 == 0:
        file.erase(bytes([number % 7 + 1]) * 16)
"""


def _is_beyond(file: Cooldowns, generation: int) -> bool:
    return file.head[GENERATION] > generation


async def test_a_writer_killed_at_any_moment_leaves_it_whole_and_nobody_waiting(path: Path) -> None:
    file = Cooldowns(path)
    seen = set()
    for _ in range(5):
        before = file.head[GENERATION]
        many = before + random.randint(50, 2000)
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(NOW)], cwd=PROJECT)
        try:
            await eventually("written", partial(_is_beyond, file, many))
        finally:
            writer.kill()
            writer.wait()
        for place, cooldown in file.read(NOW).items():
            number = round(cooldown.until - NOW)
            text = str(number) * 100
            assert place == bytes([number % 7 + 1]) * 16
            assert text.startswith(cooldown.message)
            assert text.startswith(cooldown.quota_id)
            seen.add(number)
        file.write(HERE, SPENT)
        assert file.read(NOW)[HERE] == SPENT
        file.erase(HERE)
    assert seen


HOLDER = """
import fcntl, sys
with open(sys.argv[1]) as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


def _is_waited_for(path: Path) -> bool:
    """Whether somebody waits for the lock on that file: the kernel lists who."""
    inode = f":{path.stat().st_ino} "
    return any("-> FLOCK" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


async def test_who_writes_waits_for_the_lock_but_for_no_holder_that_is_killed(path: Path) -> None:
    file = Cooldowns(path)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin
    assert holder.stdout
    try:
        assert holder.stdout.readline() == b"held\n"
        writing = asyncio.create_task(asyncio.to_thread(file.write, HERE, SPENT))
        await eventually("it waits", partial(_is_waited_for, path))
        assert file.head[GENERATION] == 0
    finally:
        holder.kill()
        holder.communicate()
    await writing
    assert file.read(NOW) == {HERE: SPENT}
