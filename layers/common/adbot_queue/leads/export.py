"""Exports for spreadsheets: CSV with a byte order mark and CRLF, in which no cell is a formula.

Rows are written page by page, so that memory holds one page and the file. Above its limits an export is refused: the
whole file is one answer of Lambda (6 MB).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from adbot_queue.core.clock import iso
from adbot_queue.core.errors import Invalid
from adbot_queue.core.spreadsheets import safe
from adbot_queue.leads import store as lead_store
from adbot_queue.leads.model import Entry, Lead
from adbot_queue.leads.store import LeadStore

MAX_ROWS = 5_000
MAX_SEARCHED = 20_000
"""Leads that an export looks at."""

MAX_BYTES = 5 * 1024 * 1024
PAGE_SIZE = 100
"""Rows in memory: one BatchGet."""


def _too_many() -> Invalid:
    return Invalid(f"narrow the filter: an export has at most {MAX_ROWS} rows and 5 MB, out of {MAX_SEARCHED} leads")


def cell(value: Any) -> str:
    """Return a value as a spreadsheet shows it: text that it would take for a formula begins with an apostrophe."""
    return "" if value is None else safe(str(value))


def moment(value: int | None) -> str:
    """Return a time (ms) as a cell."""
    return "" if value is None else iso(value)


LEAD_COLUMNS: dict[str, Callable[[Lead], Any]] = {
    "lead_id": lambda lead: lead.id,
    "owner_id": lambda lead: lead.owner_id,
    "client_id": lambda lead: lead.client_id,
    "project_id": lambda lead: lead.project_id,
    "name": lambda lead: lead.name,
    "phone": lambda lead: lead.phone,
    "status": lambda lead: lead.status,
    "priority": lambda lead: lead.priority,
    "source": lambda lead: lead.source,
    "consent": lambda lead: lead.consent.state,
    "consent_source": lambda lead: lead.consent.source,
    "consent_proof": lambda lead: lead.consent.proof,
    "reach": lambda lead: lead.reach,
    "touches": lambda lead: lead.touches,
    "queued_for": lambda lead: lead.queued_for,
    "taken_by": lambda lead: lead.taken_by,
    "last_in": lambda lead: moment(lead.last_in),
    "last_out": lambda lead: moment(lead.last_out),
    "created_at": lambda lead: moment(lead.created_at),
    "fields": lambda lead: "; ".join(f"{name}={value}" for name, value in sorted(lead.fields.items())),
}

EntryRow = tuple[Entry, Lead | None]
ENTRY_COLUMNS: dict[str, Callable[[EntryRow], Any]] = {
    "place": lambda row: row[0].key.place,
    "date": lambda row: row[0].key.date,
    "owner_id": lambda row: row[0].key.owner_id,
    "lead_id": lambda row: row[0].key.lead_id,
    "name": lambda row: row[1] and row[1].name,
    "phone": lambda row: row[1] and row[1].phone,
    "state": lambda row: row[0].state,
    "reason": lambda row: row[0].reason,
    "code": lambda row: row[0].code,
    "sid": lambda row: row[0].sid,
    "template": lambda row: row[0].content_sid,
    "variables": lambda row: "; ".join(f"{name}={value}" for name, value in sorted(row[0].variables.items())),
    "changed_at": lambda row: moment(row[0].changed_at),
}


def write(columns: dict[str, Callable[[Any], Any]], rows: Iterable[Any]) -> bytes:
    """Return rows as a file, with a header also when there are none.

    Raises:
        Invalid: more than 5,000 rows, or more than 5 MB.
    """
    file = io.BytesIO()
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    text.write("\N{ZERO WIDTH NO-BREAK SPACE}")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    for number, row in enumerate(rows):
        writer.writerow([cell(read(row)) for read in columns.values()])
        if number >= MAX_ROWS or file.tell() > MAX_BYTES:
            raise _too_many()
    return file.getvalue()


class Exporter:
    """Exports leads and the queues of days."""

    def __init__(self, store: LeadStore) -> None:
        self._store = store

    def leads(self, index: str, value: str, wanted: Callable[[Lead], bool]) -> bytes:
        """Return the wanted leads of an owner (`by_owner`) or a client (`by_client`), newest first.

        Raises:
            Invalid: the filter is to be narrowed.
        """
        return write(LEAD_COLUMNS, filter(wanted, self._listed(index, value)))

    def queue(self, owner_id: str, date: str) -> bytes:
        """Return the entries of a day, in the order of sending."""
        return write(ENTRY_COLUMNS, self._entries(owner_id, date))

    def _listed(self, index: str, value: str) -> Iterator[Lead]:
        searched, cursor = 0, None
        while True:
            page, cursor = self._store.listed(index, value, PAGE_SIZE, cursor)
            yield from page
            searched += PAGE_SIZE
            if cursor is None:
                return
            if searched >= MAX_SEARCHED:
                raise _too_many()

    def _entries(self, owner_id: str, date: str) -> Iterator[EntryRow]:
        cursor: str | None = None
        while True:
            entries, cursor = self._store.entries(owner_id, date, PAGE_SIZE, cursor)
            leads = self._store.leads(entry.key.lead_id for entry in entries)
            yield from ((entry, leads.get(entry.key.lead_id)) for entry in entries)
            if cursor is None:
                return


def headers(name: str) -> dict[str, str]:
    """Return the headers of a file's answer."""
    return {"content-type": "text/csv; charset=utf-8", "content-disposition": f'attachment; filename="{name}.csv"'}


@lru_cache(maxsize=1)
def from_env() -> Exporter:
    """The exporter of this installation."""
    return Exporter(lead_store.from_env())
