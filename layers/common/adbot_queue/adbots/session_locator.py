"""Where sessions are: with a bot, free in the stock, lost, or in an unpublished upload."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from adbot_queue.adbots.allocation import Segment
from adbot_queue.adbots.changes import StockPosition, position_in
from adbot_queue.adbots.model import MAX_SESSIONS, Run
from adbot_queue.adbots.pool_state import PoolState
from adbot_queue.adbots.storage import items
from adbot_queue.adbots.storage.rows import Reader, UnreadableRow, read_each
from adbot_queue.adbots.storage.store import AdbotStore
from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import Item


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SessionLocation:
    """The place of a session, valid while the header keeps its version."""

    header: PoolState
    upload: str
    offset: int
    adbot_id: str | None
    place: StockPosition | None
    lost: bool = False

    @property
    def pool(self) -> str:
        """The session's pool."""
        return self.header.pool

    @property
    def state(self) -> str:
        """`free`, `assigned`, `lost`, or `unavailable`: its upload is not published yet."""
        return "lost" if self.lost else "assigned" if self.adbot_id else "free" if self.place else "unavailable"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _Holder:
    """The attributes of a bot that name its sessions; the rest of its row may be of an unknown version."""

    runs: tuple[Run, ...]
    releases: tuple[int, ...]

    def holds(self, upload: str, offset: int) -> bool:
        return any(run.covers(upload, offset) for run in self.runs)


class SessionLocator:
    """Locates sessions, one or ten thousand.

    Reads: one BatchGet per 100 headers, bots, uploads or segments, and one Query per upload. No read grows with the
    other sessions of the stock.
    """

    def __init__(self, store: AdbotStore) -> None:
        self._client = store.client
        self._table = store.table

    def of(self, sessions: Sequence[Item], known: Sequence[PoolState] = ()) -> dict[str, SessionLocation]:
        """Locate sessions that were read; by their ids. The headers of their pools are read first, unless known."""
        headers = {header.pool: header for header in known or self._headers(sessions)}
        present = [item for item in sessions if not item.get("lost_at")]
        owners = self._latest_owners(present)
        bots = self._bots(owners.values())
        uploads = {
            item["pk"].removeprefix("UPLOAD#"): item
            for item in self._get(items.upload_key(item["upload"]) for item in present if _spot(item) not in owners)
        }
        numbers = {item["pk"]: _segments(item, owners, bots, uploads) for item in present}
        segments = self._segments({(item["pool"], number) for item in present for number in numbers[item["pk"]]})
        found: dict[str, SessionLocation] = {}
        for item in sessions:
            header, owner = headers[item["pool"]], owners.get(_spot(item))
            place, bot = None, bots.get(owner or "")
            if item.get("lost_at") or (bot and bot.holds(*_spot(item))):
                owner = None if item.get("lost_at") else owner
            else:
                place = _place(item, header, _following(item["pool"], numbers[item["pk"]], segments))
                owner = owner if owner and bot is None else None
            session_id = item["pk"].removeprefix("SESSION#")
            found[session_id] = SessionLocation(header, *_spot(item), owner, place, lost=bool(item.get("lost_at")))
        return found

    def _headers(self, sessions: Iterable[Item]) -> list[PoolState]:
        return [items.header_of(item) for item in self._get(items.header_key(one["pool"]) for one in sessions)]

    def _latest_owners(self, sessions: Iterable[Item]) -> dict[tuple[str, int], str]:
        """The bot that each position was given to last, for those that were given at all."""
        wanted: dict[str, list[int]] = defaultdict(list)
        for item in sessions:
            wanted[item["upload"]].append(item["offset"])
        found: dict[tuple[str, int], str] = {}
        for upload, offsets in wanted.items():
            # An entry of the owner index covers at most 500 positions, from the one that it is filed under.
            low, high = max(0, min(offsets) - MAX_SESSIONS + 1), max(offsets) + 1
            entries = dynamodb.query(
                self._client,
                self._table,
                "pk = :pk AND sk BETWEEN :low AND :high",
                pk=f"UPLOAD#{upload}",
                low=items.alloc_sk(low, 0),
                high=items.alloc_sk(high, 0),
            )
            owners: list[str | None] = [None] * (high - low)
            for entry in sorted(entries, key=lambda entry: entry["sk"].split("#")[2]):
                start = int(entry["sk"].split("#")[1]) - low
                end = min(start + entry["count"], high - low)
                owners[start:end] = [entry["adbot_id"]] * (end - start)
            found |= {(upload, offset): owner for offset in offsets if (owner := owners[offset - low])}
        return found

    def _bots(self, names: Iterable[str]) -> dict[str, _Holder]:
        """Bots by id, less those that cannot be read: what was given to one of them counts as assigned to it."""
        found: dict[str, _Holder] = {}
        for item in self._get(items.adbot_key(name) for name in names):
            with suppress(UnreadableRow):
                row = Reader(item)
                holder = _Holder(items.runs_in(row, "runs"), tuple(row.numbers("releases", list)))
                found[item["pk"].removeprefix("ADBOT#")] = holder
        return found

    def _segments(self, wanted: set[tuple[str, int]]) -> dict[tuple[str, int], Segment]:
        """Readable segments by pool and number, and those through which positions of theirs came back.

        What is in one that cannot be read counts as unavailable.
        """
        found: dict[tuple[str, int], Segment] = {}
        while wanted:
            moved: set[tuple[str, int]] = set()
            for item in self._get(items.segment_key(*key) for key in wanted):
                pool = item["pk"].split("#")[1]
                for segment in read_each([item], items.segment_of).good:
                    found[pool, segment.number] = segment
                    if segment.moved_to is not None:
                        moved.add((pool, segment.moved_to))
            wanted = moved - found.keys()
        return found

    def _get(self, keys: Iterable[Item]) -> list[Item]:
        distinct = {(key["pk"], key["sk"]): key for key in keys}
        return dynamodb.get_many(self._client, self._table, distinct.values()) if distinct else []


def _spot(item: Item) -> tuple[str, int]:
    return item["upload"], item["offset"]


def _segments(
    item: Item, owners: dict[tuple[str, int], str], bots: dict[str, _Holder], uploads: dict[str, Item]
) -> list[int]:
    """The segments that may show a session, latest first: those it came back through, or that of its upload."""
    if owner := owners.get(_spot(item)):
        bot = bots.get(owner)
        return [] if bot is None or bot.holds(*_spot(item)) else list(reversed(bot.releases))
    number = uploads.get(item["upload"], {}).get("segment")
    return [] if number is None else [number]


def _following(pool: str, numbers: Iterable[int], segments: dict[tuple[str, int], Segment]) -> Iterator[Segment]:
    """Segments in the order given, each with those through which what was set aside of it came back."""
    for number in numbers:
        segment = segments.get((pool, number))
        while segment is not None:
            yield segment
            segment = None if segment.moved_to is None else segments.get((pool, segment.moved_to))


def _place(item: Item, header: PoolState, segments: Iterable[Segment]) -> StockPosition | None:
    aside = {number for number, _ in header.aside}
    for segment in segments:
        position = position_in(segment, *_spot(item))
        if position is None or segment.number in aside:
            continue
        place = StockPosition(*_spot(item), segment.number, position)
        return place if position not in segment.dead and place.is_ahead_of(header) else None
    return None
