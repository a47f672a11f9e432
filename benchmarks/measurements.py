"""The measurements: what each one asks of a subject, and which figures it takes from the answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.load import LARGE_BYTES, SLOW_BYTES, Ask, Load
from benchmarks.subjects import Subject

CONCURRENCIES = (1, 16, 64, 256)
STREAMS = (50, 200, 1000)
INTERVAL_US = 20_000
MEMORY_STREAMS = 4000
RATE = 500
STREAM_RATE = 200
SLOW_READERS = 20
SLOW_READ_RATE = 40_000

Values = dict[str, float]
"""Figures by name: times in µs, memory in bytes, rates in Hz or bytes a second."""


@dataclass(frozen=True)
class Measurement:
    """One kind of run. `fresh`: it measures memory, so a newly started subject, and not the stub itself.

    `light`: what gateways of another weight can be asked as well.
    """

    name: str
    group: str
    take: Callable[[Load, Subject, float], Values]
    """The last argument is how long to measure, in seconds."""
    fresh: bool = False
    light: bool = False


def all_measurements() -> list[Measurement]:
    """In the order of the report."""
    return [
        *(
            Measurement(f"unary {n}", "unary", _unary(n, Ask(), f"unary/{n}"), light=True)
            for n in CONCURRENCIES
        ),
        Measurement("unary chunked", "unary", _unary(64, Ask(chunked=True), "unary/chunked")),
        Measurement("rate", "latency", _rate),
        Measurement("first byte", "latency", _first_byte),
        *(Measurement(f"streams {n}", "streams", _streams(n)) for n in STREAMS),
        Measurement("upload", "bulk", _bulk("upload", Ask(upload_bytes=LARGE_BYTES))),
        Measurement("response", "bulk", _bulk("response", Ask(length=LARGE_BYTES))),
        Measurement("memory", "memory", _memory, fresh=True),
        Measurement("slow readers", "slow", _slow_readers, fresh=True),
    ]


def _unary(connections: int, ask: Ask, name: str) -> Callable[[Load, Subject, float], Values]:
    def take(load: Load, subject: Subject, seconds: float) -> Values:
        outcome = load.run(subject, "closed", ask, connections=connections, warmup=0.3, seconds=seconds)
        values = {
            f"{name}/rate": outcome.per_second(),
            f"{name}/busy": outcome.number("helpers_busy"),
        }
        if subject.program:
            values[f"{name}/cpu"] = outcome.cpu_us_per("completed")
        return values

    return take


def _rate(load: Load, subject: Subject, seconds: float) -> Values:
    outcome = load.run(subject, "open", Ask(), rate=RATE, warmup=0.3, seconds=seconds)
    return {f"rate/{p}": outcome.number("latency_us", p) for p in ("p50", "p99")}


def _first_byte(load: Load, subject: Subject, seconds: float) -> Values:
    ask = Ask.stream(events=3, interval_us=INTERVAL_US)
    outcome = load.run(subject, "open", ask, rate=STREAM_RATE, warmup=0.3, seconds=seconds)
    return {f"first_byte/{p}": outcome.number("first_byte_us", p) for p in ("p50", "p99")}


def _streams(count: int) -> Callable[[Load, Subject, float], Values]:
    def take(load: Load, subject: Subject, seconds: float) -> Values:
        ramp, steady = _ramp(subject, count), 0.2
        hold = ramp + 0.5
        events = int((ramp + steady + seconds + 1) * 1e6 / INTERVAL_US)
        ask = Ask.stream(events, INTERVAL_US, int(hold * 1e6))
        outcome = load.run(
            subject, "streams", ask, connections=count, ramp=ramp, warmup=hold + steady, seconds=seconds
        )
        values = {f"streams/{count}/{p}": outcome.number("chunk_delay_us", p) for p in ("p50", "p99", "p999")}
        values[f"streams/{count}/busy"] = outcome.number("helpers_busy")
        values[f"streams/{count}/chunks"] = outcome.number("chunks") / outcome.number("seconds")
        if subject.program:
            values[f"streams/{count}/cpu"] = outcome.cpu_us_per("chunks")
        return values

    return take


def _bulk(name: str, ask: Ask) -> Callable[[Load, Subject, float], Values]:
    def take(load: Load, subject: Subject, seconds: float) -> Values:
        outcome = load.run(subject, "closed", ask, connections=1, warmup=0.2, seconds=seconds / 2)
        values = {f"{name}/rate": outcome.per_second() * LARGE_BYTES}
        if subject.program:
            values[f"{name}/cpu"] = outcome.cpu_us_per("completed")
        return values

    return take


def _memory(load: Load, subject: Subject, seconds: float) -> Values:
    _warm_up(load, subject)
    ramp, interval = _ramp(subject, MEMORY_STREAMS), 1.0
    ask = Ask.stream(60, int(interval * 1e6))  # cut off long before
    outcome = load.run(
        subject, "streams", ask, "--memory", connections=MEMORY_STREAMS, ramp=ramp, warmup=1, seconds=1
    )
    return {
        "memory/stream": _growth(outcome.number("memory_before"), outcome.number("memory_peak"))
        / MEMORY_STREAMS
    }


def _slow_readers(load: Load, subject: Subject, seconds: float) -> Values:
    _warm_up(load, subject)
    outcome = load.run(
        subject,
        "slow",
        Ask(length=SLOW_BYTES),
        "--memory",
        connections=SLOW_READERS,
        read_rate=SLOW_READ_RATE,
        ramp=0.2,
        seconds=3 * seconds,
    )
    return {"slow/growth": _growth(outcome.number("memory_before"), outcome.number("memory_peak"))}


def _growth(before: float, peak: float) -> float:
    return max(0.0, peak - before)


def _warm_up(load: Load, subject: Subject) -> None:
    """What a program allocates with its first requests is not what a stream costs."""
    load.run(subject, "closed", Ask(), connections=16, seconds=0.5)


def _ramp(subject: Subject, streams: int) -> float:
    """Seconds over which streams are opened: TLS handshakes are dear, and not what is measured."""
    return max(0.2, streams / (600 if subject.upstream == "tls" else 2500))
