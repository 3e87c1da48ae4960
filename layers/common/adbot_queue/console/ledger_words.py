"""Entries of the ledger in words: what changed, and the page of what was changed. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from adbot_queue.console.request import with_query
from adbot_queue.core.spreadsheets import safe

PEOPLE = frozenset({"owner", "admin", "viewer", "sales", "customer"})
"""Roles of people; the others are providers, machines and the system itself."""

INLINE = 2
"""Fields that a row shows; the details show all of them."""

_PAGES = {
    "adbot": "/console/bots/",
    "job": "/console/jobs/",
    "order": "/console/orders/",
    "queue": "/console/queues/",
    "schedule": "/console/schedules/",
    "upload": "/console/stock/uploads/",
}


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field of an entry. `before` is None if it had no value, `after` if it lost it."""

    name: str
    before: str | None
    after: str | None

    @property
    def is_change(self) -> bool:
        """Whether the value is another one now."""
        return self.before != self.after


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[FieldChange]:
    """Return every field of an entry, those that changed first."""
    names = dict.fromkeys([*before, *after])
    found = [FieldChange(name, _text(before.get(name)), _text(after.get(name))) for name in names]
    return sorted(found, key=lambda one: not one.is_change)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


COLUMNS = ("at", "actor", "name", "role", "action", "target", "before", "after", "reason", "request_id")


def as_csv(entries: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> bytes:
    """Return entries as a spreadsheet reads them: with a byte order mark, and no cell that is a formula."""
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(COLUMNS)
    for entry in entries:
        row = {**entry, "name": names.get(entry["actor"], "")}
        rows.writerow([safe(_text(row[column]) or "") for column in COLUMNS])
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def page_of(target: str) -> str:
    """Return the address of what was changed; its entries in the ledger where it has no page."""
    kind, _, name = target.partition(":")
    if kind == "pool":
        return with_query("/console/bots", {"pool": name})
    if kind in _PAGES and name.isascii() and name.replace("_", "").replace("-", "").isalnum():
        return _PAGES[kind] + name
    return with_query("/console/ledger", {"target": target})
