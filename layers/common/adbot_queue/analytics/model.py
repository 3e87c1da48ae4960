"""Events, and what is counted of them. Pure.

Counts are exact. Distinct people are exact below `SKETCH_SIZE`; above, their number is estimated from the smallest
`SKETCH_SIZE` hashes (k minimum values: Bar-Yossef et al., "Counting distinct elements in a data stream", 2002) with a
standard error of 1 / sqrt(SKETCH_SIZE), three percent. A day's people are the union of its hours' sketches, an
article's of its days': a union is the same in any order and for repeated values.
"""

from __future__ import annotations

import hashlib
import struct
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from adbot_queue.core.clock import DAY_MS, day, iso
from adbot_queue.core.instants import day_start, instant

HOUR_MS = 3_600_000

SKETCH_SIZE = 1024
"""Hashes that a set of people keeps: 8 bytes each, 11 KB in an item."""

MAX_NAMES = 50
"""Event names that an aggregate tells apart, those that happened most often; `OTHERS` are the rest."""

OTHERS = "(other)"

VIEWED = "Article Viewed"
"""The event that counts as a view of the article that it names; its person is a reader."""

ARTICLE = "article_id"
"""The property by which an event names an article."""

MAX_ARTICLE_ID = 128

_HASHES = 2**64


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it is counted. Of the person there is only a hash, of the properties only the article.

    Attributes:
        id: what Segment knows it by, too.
        at: when it happened, in ms.
    """

    id: str
    at: int
    name: str
    person: int
    article: str | None = None

    @property
    def hour(self) -> str:
        """The hour in which it happened."""
        return hour_of(self.at)


def person_of(user_id: str | None, anonymous_id: str | None) -> int:
    """64 bits that stand for a person: the user, or the anonymous visitor where no user is named."""
    text = f"u\x1f{user_id}" if user_id is not None else f"a\x1f{anonymous_id}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def article_of(properties: dict[str, Any]) -> str | None:
    """Return the id of the article that an event names, None when it names none."""
    named = properties.get(ARTICLE)
    return None if named is None or article_problem(named) else str(named)


def article_problem(article_id: object) -> str | None:
    """Return what keeps an id from naming an article, None when it can.

    An article's figures are read under its id as one segment of a path, so an id that a path cannot carry is refused.
    """
    if not isinstance(article_id, str | int) or isinstance(article_id, bool):
        return "must be a text or a whole number"
    text = str(article_id)
    if not 1 <= len(text) <= MAX_ARTICLE_ID:
        return f"must have 1 to {MAX_ARTICLE_ID} characters"
    if not text.isprintable() or text != text.strip() or text in {".", ".."} or set(text) & set("/\\"):
        return "must not contain / or \\ or control characters, begin or end with a space, or be . or .."
    return None


class People:
    """A set of people of which a bounded part is kept."""

    def __init__(self, hashes: Iterable[int] = ()) -> None:
        self._hashes = set(hashes)
        self._shrink(SKETCH_SIZE)

    def add(self, person: int) -> None:
        """Add one."""
        self._hashes.add(person)
        self._shrink(2 * SKETCH_SIZE)

    def merge(self, others: People) -> None:
        """Add all of another set."""
        self._hashes |= others._hashes
        self._shrink(2 * SKETCH_SIZE)

    @property
    def hashes(self) -> list[int]:
        """The smallest hashes, at most `SKETCH_SIZE`, in order."""
        return sorted(self._hashes)[:SKETCH_SIZE]

    @property
    def exact(self) -> bool:
        """Whether `count` is no estimate."""
        return len(self._hashes) < SKETCH_SIZE

    @property
    def count(self) -> int:
        """How many people there are."""
        if self.exact:
            return len(self._hashes)
        return round((SKETCH_SIZE - 1) * _HASHES / (self.hashes[-1] + 1))

    def packed(self) -> str:
        """The set as text."""
        kept = self.hashes
        return b64encode(struct.pack(f">{len(kept)}Q", *kept)).decode()

    @classmethod
    def unpacked(cls, text: str) -> People:
        """The set that was packed."""
        raw = b64decode(text)
        return cls(struct.unpack(f">{len(raw) // 8}Q", raw))

    def _shrink(self, most: int) -> None:
        if len(self._hashes) > most:
            self._hashes = set(self.hashes)


@dataclass(slots=True)
class Aggregate:
    """How often what happened, and to how many people."""

    by_event: Counter[str] = field(default_factory=Counter)
    people: People = field(default_factory=People)

    @property
    def events(self) -> int:
        """All events together."""
        return self.by_event.total()

    def merge(self, other: Aggregate) -> None:
        """Add another one's."""
        self.by_event.update(other.by_event)
        self.people.merge(other.people)

    def shown(self) -> dict[str, int]:
        """Event names and how often: the `MAX_NAMES` most frequent, the rest as `OTHERS`."""
        names = sorted(self.by_event, key=lambda name: (-self.by_event[name], name))
        first, rest = names[:MAX_NAMES], names[MAX_NAMES:]
        counts = {name: self.by_event[name] for name in first}
        if rest:
            counts[OTHERS] = counts.get(OTHERS, 0) + sum(self.by_event[name] for name in rest)
        return counts


@dataclass(slots=True)
class Bucket:
    """The counts of a period: all events, and those that name an article by article.

    People of the whole are the persons of its events; people of an article are its readers.
    """

    total: Aggregate = field(default_factory=Aggregate)
    articles: dict[str, Aggregate] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Count an event."""
        self.total.by_event[event.name] += 1
        self.total.people.add(event.person)
        if event.article is None:
            return
        article = self.articles.setdefault(event.article, Aggregate())
        article.by_event[event.name] += 1
        if event.name == VIEWED:
            article.people.add(event.person)


def hour_of(millis: int) -> str:
    """`2025-11-22T05`, in UTC."""
    return iso(millis)[:13]


def hour_start(hour: str) -> int:
    """The first millisecond of an hour.

    Raises:
        ValueError: it is no hour.
    """
    return instant(f"{hour}:00Z")


def hours_between(first: str, last: str) -> list[str]:
    """All hours from the first to the last, both included; none when the last is before the first."""
    return [hour_of(at) for at in range(hour_start(first), hour_start(last) + 1, HOUR_MS)]


def days_between(first: str, last: str) -> list[str]:
    """All days (`2025-11-22`) from the first to the last, both included.

    Raises:
        ValueError: one is no day.
    """
    return [day(at) for at in range(day_start(first), day_start(last) + 1, DAY_MS)]
