"""What the processes on one machine share: where they count, which targets rest, how usage gets stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.config import Config
from gateway.counters import Counters
from gateway.counters.memory import MemoryCounters
from gateway.counters.redis import RedisCounters
from gateway.errors import ConfigurationError
from gateway.ledger import Ledger, Shipper, spool_folder
from gateway.limits import Limits
from gateway.stores import Store
from gateway.upstreams.cooldowns import Cooldowns
from gateway.usage_record import NANOS


@dataclass(frozen=True, slots=True)
class Counting:
    """Where requests are counted, and where instead while that can't be asked (None: nowhere)."""

    counters: Counters
    away: Counters | None


def open_counters(config: Config, stack: AsyncExitStack) -> Counting:
    """The counters, until the stack is closed. Raises ConfigurationError."""
    settings = config.counters
    on_this_machine: MemoryCounters | None = None
    if settings.url.is_memory or settings.when_unavailable == "admit":
        with _state_folder(config) as folder:
            on_this_machine = MemoryCounters(folder / "counters")
        stack.push_async_callback(on_this_machine.close)
    if settings.url.is_memory:
        assert on_this_machine
        return Counting(on_this_machine, None)
    password = settings.password
    redis = RedisCounters(settings.url.with_password(password.reveal()) if password else settings.url)
    stack.push_async_callback(redis.close)
    return Counting(redis, on_this_machine)


def open_cooldowns(config: Config, stack: AsyncExitStack) -> Cooldowns:
    """Which targets rest, until the stack is closed. Raises ConfigurationError."""
    with _state_folder(config) as folder:
        cooldowns = Cooldowns(folder / "cooldowns")
    stack.callback(cooldowns.close)
    return cooldowns


@contextmanager
def _state_folder(config: Config) -> Iterator[Path]:
    """The folder for files that processes share; what goes wrong with one is a ConfigurationError."""
    folder = config.store.state_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        raise ConfigurationError(f"store.state_dir: {folder}: {error.strerror or error}") from None


def default_limits(config: Config) -> Limits:
    """Those of projects that have none of their own."""
    limits = config.limits
    return Limits(
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        concurrent_requests=limits.concurrent_requests,
        tokens_per_day=limits.tokens_per_day,
        spend_per_day_nanos=round(limits.spend_per_day_usd * NANOS),
    )


def open_ledger(config: Config, stack: AsyncExitStack) -> Ledger:
    """This process's way into the spool, until the stack is closed."""
    ledger = Ledger(spool_folder(config.store.state_dir), config.ledger.spool_bytes)
    stack.push_async_callback(ledger.close)
    return ledger


def ship(config: Config, store: Store, stack: AsyncExitStack) -> Shipper:
    """Have usage go into the store until the stack is closed: one process of each machine does that."""
    shipper = Shipper(
        spool_folder(config.store.state_dir), store, retention_days=config.ledger.retention_days
    )
    shipper.start()
    stack.push_async_callback(shipper.close)
    return shipper
