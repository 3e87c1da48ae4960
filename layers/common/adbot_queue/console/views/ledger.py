"""The ledger: who changed what, when and why."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any

from adbot_queue import ledger
from adbot_queue.console import ledger_words
from adbot_queue.console.request import Page, Reply, Visit, with_query
from adbot_queue.core.dynamodb import Item
from adbot_queue.ledger import search
from adbot_queue.operations.system_schemas import LedgerQuery

FILTERS = ("actor", "action", "target", "from", "to")

PAGE_SIZE = 20
"""Rows of a page: as many as a refresh of about 4 kB holds."""


def show(visit: Visit) -> Reply:
    """Entries that meet all filters, newest first; without actor, action and target those of a day. One read."""
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
        "fields": {name: visit.query[name] for name in FILTERS if visit.query.get(name)},
        "day": _day(asked, visit.now) if is_one_day else None,
        **(_days_around(visit, _day(asked, visit.now)) if is_one_day else {"older": "", "newer": ""}),
    }
    return Page("ledger.html", "Ledger", shown)


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
