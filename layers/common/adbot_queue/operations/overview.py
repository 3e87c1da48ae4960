"""The whole system in figures, for JSON (`schemas`) and Prometheus (`prometheus`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adbot_queue.adbots import service as adbots
from adbot_queue.adbots.pool_state import PoolState
from adbot_queue.core.clock import system_clock
from adbot_queue.jobs.model import BAD_ENDS
from adbot_queue.platform import circuit_breaker as circuits
from adbot_queue.platform import mode
from adbot_queue.platform.circuit import Circuit
from adbot_queue.platform.mode import Switch
from adbot_queue.providers.declarations import PROVIDERS
from adbot_queue.queues import service as queues
from adbot_queue.queues.service import QueueSnapshot, QueueStats

LENGTHS = (5, 60)
"""Periods of the figures, in minutes back from now."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Bots:
    """The queue of bots, all pools together, and each pool; ages in seconds."""

    queued: int
    missing_sessions: int
    free_stock: int
    parked: int
    oldest_queued_seconds: int
    pools: Sequence[PoolState] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Overview:
    """Everything as of `now` (ms)."""

    now: int
    switch: Switch
    queues: Sequence[QueueSnapshot]
    bots: Bots
    circuits: Sequence[Circuit]

    @property
    def dead_letters(self) -> int:
        """Jobs in a bad end that wait for a person's decision."""
        return sum(queue.levels[state] for queue in self.queues for state in BAD_ENDS)

    def oldest_waiting_seconds(self, queue: QueueSnapshot) -> int:
        """Age of a queue's oldest waiting job; 0 when none waits."""
        return 0 if queue.oldest_waiting_at is None else max(0, self.now - queue.oldest_waiting_at) // 1000


def gather(oldest: Callable[[str], int | None] | None = None) -> Overview:
    """Read it: one item, the queues (`Queues.snapshots`, which explains `oldest`), one item a pool, one a provider."""
    now = system_clock()
    snapshots, breakers = queues.from_env().snapshots(oldest), circuits.from_env().read(PROVIDERS)
    return Overview(now, mode.from_env().read(), snapshots, _bots(now), breakers)


def recent() -> dict[str, list[QueueStats]]:
    """What every queue did in the last minutes (`LENGTHS`): one Query each."""
    return {name: queues.from_env().periods(name, *LENGTHS) for name in queues.names()}


def _bots(now: int) -> Bots:
    headers = adbots.from_env().pools.headers()
    oldest = [header.oldest_queued_at for header in headers if header.oldest_queued_at is not None]
    return Bots(
        queued=sum(header.queue_length for header in headers),
        missing_sessions=sum(header.missing_total for header in headers),
        free_stock=sum(header.free for header in headers),
        parked=sum(header.parked for header in headers),
        oldest_queued_seconds=max(0, now - min(oldest, default=now)) // 1000,
        pools=headers,
    )
