"""The ledger: who changed what, when and why."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any

from adbot_queue import ledger
from adbot_queue.console import ledger_words, sessions
from adbot_queue.console.request import Page, Raw, Reply, Visit, with_query
from adbot_queue.core.dynamodb import Item, Transaction
from adbot_queue.core.errors import Invalid
from adbot_queue.ledger import LedgerEntry, search
from adbot_queue.operations.system_schemas import LedgerQuery

FILTERS = ("actor", "action", "target", "from", "to")

PAGE_SIZE = 20
"""Rows of a page: as many as a refresh of about 4 kB holds."""

MAX_EXPORTED = 5_000
MAX_EXPORT_BYTES = 4 * 1024 * 1024
EXPORT_PAGE_SIZE = 1_000
MAX_NAMES = 100
RESERVE_MS = 5_000
"""Time left of a request at which an export is given up."""


def show(visit: Visit) -> Reply:
    """Entries that meet all filters, newest first; without actor, action and target those of a day. Two reads."""
    asked = visit.query_as(LedgerQuery)
    limit = asked.limit if visit.query.get("limit") else PAGE_SIZE
    found, following = search.read(ledger.from_env(), **{**asked.model_dump(), "limit": limit})
    only_people = visit.query.get("who") == "people"
    kept = [entry for entry in found if entry["role"] in ledger_words.PEOPLE or not only_people]
    is_one_day = not (asked.actor or asked.action or asked.target)
    shown = {
        "days": [(day, list(rows)) for day, rows in groupby(map(_row, kept), key=lambda row: row["day"])],
        "count": len(kept),
        "left_out": len(found) - len(kept),
        "following": following,
        "only_people": only_people,
        "names": sessions.from_env().names(entry["actor"] for entry in kept if entry["role"] in ledger_words.PEOPLE),
        "export": with_query("/console/ledger/export.csv", {**_kept(visit), "who": "people" if only_people else None}),
        "fields": _kept(visit),
        "day": _day(asked, visit.now) if is_one_day else None,
        **(_days_around(visit, _day(asked, visit.now)) if is_one_day else {"older": "", "newer": ""}),
    }
    return Page("ledger.html", "Ledger", shown)


def _kept(visit: Visit) -> dict[str, str]:
    return {name: visit.query[name] for name in FILTERS if visit.query.get(name)}


def download(visit: Visit) -> Reply:
    """Return all entries that meet the filters as CSV; the export is an entry in its turn.

    Raises:
        Invalid: there are more than an answer holds.
    """
    asked, only_people = visit.query_as(LedgerQuery), visit.query.get("who") == "people"
    entries = _all(visit, asked)
    if only_people:
        entries = [entry for entry in entries if entry["role"] in ledger_words.PEOPLE]
    people = {entry["actor"] for entry in entries if entry["role"] in ledger_words.PEOPLE}
    text = ledger_words.as_csv(entries, _names(people))
    if len(text) > MAX_EXPORT_BYTES:
        raise _too_many()
    book = ledger.from_env()
    transaction = Transaction(book.client)
    chosen = {**_kept(visit), **({"who": "people"} if only_people else {})}
    book.sign(
        transaction, LedgerEntry(visit.actor, "ledger.export", "ledger:export", after={**chosen, "rows": len(entries)})
    )
    transaction.commit()
    headers = {
        "content-type": "text/csv; charset=utf-8",
        "content-disposition": 'attachment; filename="ledger.csv"',
    }
    return Raw(text, headers)


def _all(visit: Visit, asked: LedgerQuery) -> list[Item]:
    found: list[Item] = []
    cursor: str | None = None
    filters = asked.model_dump() | {"limit": EXPORT_PAGE_SIZE}
    while True:
        page, cursor = search.read(ledger.from_env(), **filters | {"cursor": cursor})
        found += page
        if cursor is None:
            return found
        if len(found) >= MAX_EXPORTED or visit.time_left() < RESERVE_MS:
            raise _too_many()


def _names(people: set[str]) -> dict[str, str]:
    """Return names of people, a hundred a read."""
    known, wanted = sessions.from_env(), sorted(people)
    found: dict[str, str] = {}
    for start in range(0, len(wanted), MAX_NAMES):
        found |= known.names(wanted[start : start + MAX_NAMES])
    return found


def _too_many() -> Invalid:
    return Invalid(f"narrow the filters: an export has at most {MAX_EXPORTED:,} entries and 4 MB")


def _row(entry: Item) -> dict[str, Any]:
    changes = ledger_words.changes(entry["before"], entry["after"])
    return {
        **entry,
        "id": entry["sk"].partition("#")[2],
        "day": entry["at"][:10],
        "day_words": f"{datetime.fromisoformat(entry['at']):%A %-d %B %Y}",
        "changes": changes,
        "shown": [one for one in changes if one.is_change][: ledger_words.INLINE],
        "href": ledger_words.page_of(entry["target"]),
    }


def _day(asked: LedgerQuery, now: int) -> date:
    at = next((end for end in (asked.since, asked.until) if end is not None), now)
    return datetime.fromtimestamp(at / 1000, tz=UTC).date()


def _days_around(visit: Visit, day: date) -> dict[str, str]:
    """Addresses of the day before, and of the next one unless it is still to come."""
    today = datetime.fromtimestamp(visit.now / 1000, tz=UTC).date()

    def of(other: date) -> str:
        text = other.isoformat()
        return with_query(visit.path, {"from": text, "to": text, "who": visit.query.get("who")})

    return {"older": of(day - timedelta(days=1)), "newer": of(day + timedelta(days=1)) if day < today else ""}
