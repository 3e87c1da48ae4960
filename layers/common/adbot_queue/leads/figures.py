"""Days as people look at them: figures of a user or a team, and the entries of a queue."""

from __future__ import annotations

from datetime import date as calendar_date
from datetime import timedelta
from functools import lru_cache

from adbot_queue.core.errors import Invalid
from adbot_queue.leads import store as lead_store
from adbot_queue.leads.model import CANCELLABLE, Day, Entry, Lead
from adbot_queue.leads.references import ReferenceKind
from adbot_queue.leads.store import LeadStore

MAX_DAYS = 31
MAX_USERS = 100
"""Of one page of a team's figures: one BatchGet."""

DayOf = tuple[str, str, Day | None]
"""An owner, a date, and the day if there is one."""


class Figures:
    """Reads of days."""

    def __init__(self, store: LeadStore) -> None:
        self._store = store

    def of_user(self, owner_id: str, first: str, last: str) -> list[DayOf]:
        """Return a user's days, both ends included: one call.

        Raises:
            Invalid: none, or more than 31.
        """
        begin, end = calendar_date.fromisoformat(first), calendar_date.fromisoformat(last)
        count = (end - begin).days + 1
        if not 1 <= count <= MAX_DAYS:
            raise Invalid.field("to", f"must be from 0 to {MAX_DAYS - 1} days after from")
        dates = [(begin + timedelta(days=number)).isoformat() for number in range(count)]
        days = self._store.days((owner_id, date) for date in dates)
        return [(owner_id, date, days.get((owner_id, date))) for date in dates]

    def of_team(self, date: str, cursor: str | None) -> tuple[list[DayOf], str | None]:
        """Return the day of every user, 100 a page: two calls."""
        users, following = self._store.references(ReferenceKind.USER, MAX_USERS, cursor)
        days = self._store.days((user.user_id, date) for user in users)
        return [(user.user_id, date, days.get((user.user_id, date))) for user in users], following

    def next_date(self, owner_id: str) -> str:
        """Return the date that is prepared next.

        Raises:
            Invalid: the user does not exist, or a week has no hours.
        """
        settings = self._store.user(owner_id)
        following = settings.next_day(self._store.now()) if settings else None
        if following is None:
            raise Invalid.field("date", "needed: this user has no hours in the next 7 days")
        return following[0]

    def day(self, owner_id: str, date: str) -> Day | None:
        """Return a day; None if it was never prepared."""
        return self._store.day(owner_id, date)

    def entries(
        self, owner_id: str, date: str, limit: int, cursor: str | None
    ) -> tuple[list[tuple[Entry, Lead | None]], str | None]:
        """Return a page of a day's entries with their leads, in the order of sending."""
        entries, following = self._store.entries(owner_id, date, limit, cursor)
        leads = self._store.leads(entry.key.lead_id for entry in entries)
        return [(entry, leads.get(entry.key.lead_id)) for entry in entries], following

    def waiting(self, day: Day, limit: int) -> list[tuple[Entry, Lead | None]]:
        """Return the entries that go out next, with their leads; none is read where none waits."""
        if not any(day.counts.get(state) for state in CANCELLABLE):
            return []
        entries = self._store.waiting_entries(day.owner_id, day.date, limit)
        leads = self._store.leads(entry.key.lead_id for entry in entries)
        return [(entry, leads.get(entry.key.lead_id)) for entry in entries]


@lru_cache(maxsize=1)
def from_env() -> Figures:
    """The figures of this installation."""
    return Figures(lead_store.from_env())
