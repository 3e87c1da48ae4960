"""What callers were promised, and whether it holds in the end."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from adbot_queue.adbots.audit.findings import PoolSnapshot
from adbot_queue.adbots.model import AdbotStatus, Run
from adbot_queue.adbots.service import AdbotService
from adbot_queue.adbots.storage import items
from adbot_queue.core import dynamodb
from adbot_queue.ledger import search
from adbot_queue.stock.publication import STAGED


@dataclass
class Promises:
    """Everything that was acknowledged during a run."""

    bought: dict[str, int] = field(default_factory=dict)  # bot -> sessions
    accepted: dict[str, set[str]] = field(default_factory=dict)  # upload -> session ids
    cancelled: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)  # session ids
    done: set[str] = field(default_factory=set)  # reasons of commands that sign exactly once
    refused: set[str] = field(default_factory=set)  # reasons of such commands that changed nothing
    lock: threading.Lock = field(default_factory=threading.Lock)

    def bots(self) -> list[str]:
        """Bots that exist by now."""
        with self.lock:
            return list(self.bought)


def broken(promises: Promises, snapshot: PoolSnapshot, service: AdbotService) -> Iterator[str]:
    """Promises that were not kept."""
    for name, required in promises.bought.items():
        bot = snapshot.adbots.get(name)
        if bot is None or bot.required != required:
            yield f"bot {name} for {required} sessions was acknowledged and is {bot}"
    for name in promises.cancelled:
        bot = snapshot.adbots.get(name)
        if bot is None or bot.status is not AdbotStatus.CANCELLED:
            yield f"bot {name} was cancelled and is {bot}"
    for upload, ids in promises.accepted.items():
        if (signed := snapshot.accepted.get(upload)) != len(ids):
            yield f"upload {upload}: {len(ids)} accepted lines were acknowledged, the ledger has {signed}"
    claims = Counter(name for ids in promises.accepted.values() for name in ids)
    for name, times in claims.items():
        if times > 1:
            yield f"session {name} was accepted {times} times"
    yield from _signed(promises, service)
    yield from _sessions(promises, snapshot, service)
    yield from _at_rest(snapshot, service)


def _signed(promises: Promises, service: AdbotService) -> Iterator[str]:
    """A command that was done signed once, however often it had to be repeated; one that was refused never did."""
    signed: Counter[str] = Counter()
    for action in ("adbot.reassign", "adbot.start", "adbot.stop"):
        cursor = None
        while True:
            page, cursor = search.read(
                service.ledger,
                actor=None,
                action=action,
                target=None,
                since=None,
                until=None,
                limit=1000,
                cursor=cursor,
            )
            signed.update(entry["reason"] for entry in page)
            if cursor is None:
                break
    for reason in promises.done | promises.refused:
        if signed[reason] != (reason in promises.done):
            yield f"{reason} was {'done' if reason in promises.done else 'refused'} and signed {signed[reason]} times"


def _sessions(promises: Promises, snapshot: PoolSnapshot, service: AdbotService) -> Iterator[str]:
    """Every session is at one position of one upload, and every counted position is a session's."""
    store = service.store
    pages: dict[str, list[str]] = {
        name: service.sessions.session_ids((Run(name, 0, n),)) for name, n in snapshot.uploads.items()
    }
    names = {name for ids in (*pages.values(), *promises.accepted.values(), promises.lost) for name in ids}
    found = dynamodb.get_many(store.client, store.table, [items.session_key(name) for name in names])
    current = {item["pk"].removeprefix("SESSION#"): item for item in found}
    home = {name: item["upload"] for name, item in current.items()}  # not there: an abandoned upload got no further
    for name in promises.lost:
        if "lost_at" not in current.get(name, ()):
            yield f"session {name} was lost and is not"
    for upload, ids in promises.accepted.items():
        for name in ids:
            if home.get(name) != upload:
                yield f"session {name} was accepted in {upload} and is in {home.get(name)}"
    dead = {(name, n) for name, ids in pages.items() for n, one in enumerate(ids) if home.get(one) != name}
    for bot in snapshot.adbots.values():
        held = [(run.upload, offset) for run in bot.runs for offset in range(run.offset, run.end)]
        for upload, offset in held:
            if (upload, offset) in dead:
                yield f"bot {bot.id} holds {upload} {offset}, which is a second position of {pages[upload][offset]}"


def _at_rest(snapshot: PoolSnapshot, service: AdbotService) -> Iterator[str]:
    """Nothing is left to do, and no bot was set aside."""
    header, arrived = snapshot.header, len(snapshot.inbox)
    if arrived or (header.free and header.queue_length):
        yield f"the pool does not rest: {arrived} in the inbox, {header.free} free, {header.queue_length} wait"
    if snapshot.parked:
        yield f"bots were set aside: {snapshot.parked}"
    if service.store.listed_between(STAGED, "0", "9", 1, None)[0]:
        yield "uploads are left unpublished"
