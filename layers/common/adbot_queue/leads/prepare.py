"""*Prepare tomorrow's queue*: an owner's eligible leads become the entries of a day.

A lead enters under the version that was read, in the transaction that counts it in the day's header, writes its trail
and keeps the person from other owners' queues. So two who prepare at once, and one who dies, leave each lead in the
queue once or not at all, and never more entries than the capacity; a second call adds what still fits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice

from adbot_queue.core.clock import DAY_MS, iso
from adbot_queue.core.conflicts import MAX_CONFLICT_RETRIES, retry_on_conflict
from adbot_queue.core.dynamodb import TRANSACTION_LIMIT, TransactionRejected
from adbot_queue.core.errors import Conflict, Invalid, Unavailable
from adbot_queue.leads import service as lead_service
from adbot_queue.leads.calendar import MAX_DAYS_AHEAD, Window, local_date
from adbot_queue.leads.model import (
    SENDABLE,
    UNSENDABLE,
    Day,
    DayState,
    Entry,
    EntryKey,
    EntryState,
    Lead,
)
from adbot_queue.leads.references import ReferenceKind
from adbot_queue.leads.service import Act, LeadService
from adbot_queue.leads.settings import FIRST, Category, LeadSettings, Step
from adbot_queue.leads.store import LeadStore
from adbot_queue.leads.writer import Writer
from adbot_queue.ledger import LedgerEntry

PAGE_SIZE = 500
"""Leads of one Query, well below its 1 MB."""

MAX_EXAMINED = 10_000
"""Leads that one call looks at."""

RESERVE_MS = 4_000
"""Time left of a request at which no further transaction begins."""

_US = "+1"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a day takes: read before anything is decided. `day` is None before the first call."""

    settings: LeadSettings
    step: Step
    date: str
    window: Window
    day: Day | None

    @property
    def capacity(self) -> int:
        """Entries of the day: as prepared once it runs, as set until then."""
        is_fixed = self.day and self.day.state is not DayState.PREPARED
        return self.day.capacity if self.day and is_fixed else self.settings.capacity

    def holds(self, lead: Lead) -> bool:
        """Return whether a person is kept from other owners' queues: only a shared one can be in one."""
        return self.settings.exclusive and lead.shared

    @property
    def room(self) -> int:
        """Entries that still fit."""
        return max(0, self.capacity - (self.day.load if self.day else 0))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A lead that fits, and the variables of its message."""

    lead: Lead
    variables: Mapping[str, str]


@dataclass(slots=True)
class Prepared:
    """What preparing did, or would do.

    Attributes:
        plan: the day.
        eligible: leads that may be queued, those without a known consent among them; not `is_exact`: or more.
        prepared: entries that were added.
        skipped: leads that were left out, by reason.
        failed: leads that changed at the same time, with the reason.
        is_complete: False if time ran out; a second call goes on.
        unexamined: sendable leads that were not looked at.
    """

    plan: Plan
    eligible: int
    is_exact: bool
    prepared: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    is_complete: bool = True
    unexamined: int = 0


def skip_reason(lead: Lead, step: Step, date: str) -> str | None:
    """Return why an eligible lead is left out of a date's queue, in a word; None if it is not."""
    if refusal := lead.refusal():
        return refusal
    if lead.last_entry and lead.last_entry.date == date:
        return "already_today"
    if step.category is Category.MARKETING and lead.phone.startswith(_US):
        return "us_marketing"
    return None


def render(step: Step, facts: Mapping[str, str]) -> dict[str, str] | None:
    """Return the variables of a message; None if one is empty, which Twilio refuses (63013).

    Line breaks, tabs and runs of spaces, which it refuses too, become one space.
    """
    rendered = {name: " ".join(facts.get(source, "").split()) for name, source in step.variables.items()}
    return rendered if all(rendered.values()) else None


class Preparer:
    """Prepares days."""

    def __init__(self, leads: LeadService) -> None:
        self._store: LeadStore = leads.store
        self._ledger = leads.ledger

    def preview(self, owner_id: str, date: str | None) -> Prepared:
        """Return what `prepare` would do now, without doing it. Raises as `prepare`."""
        result = self._begin(self._plan(owner_id, date))
        result.prepared = sum(1 for _ in islice(self._candidates(result), result.plan.room))
        return self._end(result)

    def prepare(self, owner_id: str, date: str | None, by: Act, time_left: Callable[[], int]) -> Prepared:
        """Queue the leads that fit into a day of an owner.

        Args:
            owner_id: whose.
            date: in the owner's zone, today to a week ahead; the next day with hours if None.
            by: who prepares.
            time_left: milliseconds of the request.

        Raises:
            Invalid: the owner does not exist or has no template; the date has no hours, is over or too far ahead.
            Conflict: the day is over.
            Unavailable: others changed the day again and again.
        """
        result = self._begin(self._plan(owner_id, date))
        candidates = self._candidates(result)
        while chunk := self._chunk(candidates, result.plan):
            if time_left() < RESERVE_MS:
                result.is_complete = False
                break
            self._add(chunk, result, by)
        return self._end(result)

    @staticmethod
    def _chunk(candidates: Iterator[Candidate], plan: Plan) -> list[Candidate]:
        """Return as many as fit into a transaction: three items each, four with the person."""
        chunk: list[Candidate] = []
        size = 2  # the day, and the ledger's entry
        while len(chunk) < plan.room and size + 4 <= TRANSACTION_LIMIT and (one := next(candidates, None)):
            chunk.append(one)
            size += 4 if plan.holds(one.lead) else 3
        return chunk

    # Reading

    def _plan(self, owner_id: str, date: str | None) -> Plan:
        settings = self._store.user(owner_id)
        if settings is None:
            raise Invalid.field("owner_id", f"user {owner_id} does not exist")
        step = settings.steps.get(FIRST)
        if step is None:
            raise Invalid.field(f"steps.{FIRST}", "no template is set: PUT /leads/settings")
        if self._store.template_category(step.content_sid) == Category.MARKETING:
            step = replace(step, category=Category.MARKETING)  # whatever the settings say
        day, window = self._day_of(settings, date)
        stored = self._store.day(owner_id, day)
        if stored and stored.state is DayState.DONE:
            raise Conflict(f"the queue of {day} is over", state=stored.state)
        return Plan(settings, step, day, window, stored)

    def _day_of(self, settings: LeadSettings, date: str | None) -> tuple[str, Window]:
        now = self._store.now()
        if date is None:
            following = settings.next_day(now)
            if following is None:
                raise Invalid.field("week", f"no hours in the next {MAX_DAYS_AHEAD} days that the pause leaves open")
            return following
        today, last = local_date(now, settings.zone), local_date(now + MAX_DAYS_AHEAD * DAY_MS, settings.zone)
        if not today <= date <= last:
            raise Invalid.field("date", f"must be between {today} and {last}")
        window = settings.window(date)
        if window is None:
            raise Invalid.field("date", f"{date} has no hours in the settings")
        if window.end <= max(now, settings.pause_until or 0):
            raise Invalid.field("date", f"the hours of {date} are over, or paused, at {iso(window.end)}")
        return date, window

    def _begin(self, plan: Plan) -> Prepared:
        owner_id = plan.settings.user_id
        sendable, is_all = self._store.count_eligible(owner_id, SENDABLE)
        unknown, is_all_unknown = self._store.count_eligible(owner_id, UNSENDABLE)
        skipped = Counter({"consent_unknown": unknown})
        is_exact = is_all and is_all_unknown
        return Prepared(plan, sendable + unknown, is_exact, skipped=skipped, unexamined=sendable)

    def _end(self, result: Prepared) -> Prepared:
        if result.unexamined > 0:
            result.skipped["over_capacity"] += result.unexamined
        result.skipped = +result.skipped
        return result

    def _candidates(self, result: Prepared) -> Iterator[Candidate]:
        """Yield the leads that fit, in their order, and count those that do not."""
        plan, after, examined = result.plan, "", 0
        while examined < MAX_EXAMINED:
            page, following = self._store.candidates(plan.settings.user_id, after, PAGE_SIZE)
            names = self._names(plan.step, page)
            for lead in page:
                examined += 1
                result.unexamined -= 1
                reason = skip_reason(lead, plan.step, plan.date)
                variables = None if reason else render(plan.step, {**lead.fields, "name": lead.name, **names(lead)})
                if variables is None:
                    result.skipped[reason or "empty_variable"] += 1
                else:
                    yield Candidate(lead, variables)
            if following is None:
                return
            after = following
        result.is_complete = False

    def _names(self, step: Step, page: Sequence[Lead]) -> Callable[[Lead], dict[str, str]]:
        """Return the names of a lead's client and project, read for the page if the message has them."""
        kinds = {kind for kind in (ReferenceKind.CLIENT, ReferenceKind.PROJECT) if kind in step.variables.values()}
        ids = {kind: {_reference(lead, kind) for lead in page} - {None} for kind in kinds}
        names = {kind: self._store.names(kind, filter(None, ids[kind])) for kind in kinds}
        return lambda lead: {kind: names[kind].get(_reference(lead, kind) or "", "") for kind in kinds}

    # Writing

    def _add(self, chunk: list[Candidate], result: Prepared, by: Act) -> None:
        """Queue these leads in one transaction, without those that it refuses."""
        for _ in range(MAX_CONFLICT_RETRIES):
            plan = result.plan
            if not (chunk := chunk[: plan.room]):
                return
            writer, after = self._transaction(plan, chunk, by)
            try:
                retry_on_conflict(writer.fill().commit)
            except TransactionRejected as refused:
                chunk = [one for one in chunk if not _was_refused(one.lead, refused, result)]
                if any(tag.startswith("day:") for tag in refused.failed):
                    result.plan = self._plan(plan.settings.user_id, plan.date)
                continue
            result.prepared += len(chunk)
            result.plan = replace(plan, day=after)
            return
        raise Unavailable("too many changes at once; try again in a moment")

    def _transaction(self, plan: Plan, chunk: Sequence[Candidate], by: Act) -> tuple[Writer, Day]:
        """Return what queues these leads, and the day as it is then.

        Items of each lead: the entry (new), the lead (refuses another version), its trail, and if another owner has the
        person too, the person (refuses another owner's queue). The day refuses more than its capacity.
        """
        now, writer, owner_id = self._store.now(), self._store.writer(), plan.settings.user_id
        first = plan.day.counts.get("prepared", 0) if plan.day else 0
        for place, (lead, variables) in enumerate(((one.lead, one.variables) for one in chunk), start=first):
            key = EntryKey(owner_id, plan.date, place, lead.id)
            writer.entry(None, Entry(key, EntryState.QUEUED, plan.step.content_sid, variables, now))
            writer.lead(lead, lead.changed(now, open_entry=key, last_entry=key))
            writer.trail(lead.id, "prepared", by.actor, date=plan.date)
            if plan.holds(lead):
                writer.hold(lead, plan.date)
        day = self._put_day(writer, plan)
        target = f"lead-day:{owner_id}#{plan.date}"
        self._ledger.sign(
            writer.transaction, LedgerEntry(by.actor, "lead-day.prepare", target, after={"added": len(chunk)})
        )
        counts = dict(day.counts) | {"prepared": first + len(chunk)}
        return writer, replace(day, load=day.load + len(chunk), counts=counts)

    def _put_day(self, writer: Writer, plan: Plan) -> Day:
        """Add the day, or bring one that has not begun up to date with the settings."""
        settings, day = plan.settings, plan.day
        start, end = plan.window
        writer.room(settings.user_id, plan.date, plan.capacity)
        if day is None:
            day = Day(settings.user_id, plan.date, DayState.PREPARED, plan.capacity, start, end, settings.zone)
            writer.day(None, day)
            return day
        wanted = replace(day, capacity=plan.capacity, window_from=start, window_to=end, zone=settings.zone)
        if day.state is DayState.PREPARED and wanted != day:
            changed = wanted.changed()
            writer.day(day, changed)
            return changed
        writer.day_in(settings.user_id, plan.date, *(state for state in DayState if state is not DayState.DONE))
        return day


def _reference(lead: Lead, kind: ReferenceKind) -> str | None:
    return lead.client_id if kind is ReferenceKind.CLIENT else lead.project_id


def _was_refused(lead: Lead, refused: TransactionRejected, result: Prepared) -> bool:
    """Return whether a transaction refused a lead, and note why."""
    if refused.failed.keys() & {f"lead:{lead.id}", f"entry:{lead.id}"}:
        result.failed[lead.id] = "changed at the same time"
        return True
    if f"reach:{lead.id}" in refused.failed:
        result.skipped["owner_elsewhere"] += 1
        return True
    return False


@lru_cache(maxsize=1)
def from_env() -> Preparer:
    """The preparer of this installation."""
    return Preparer(lead_service.from_env())
