"""Start and stop of the queue of a day. The run itself is a long-running job, `leads/jobs/run_lead_queue.py`.

A day is `running` under the id of its run. Messages are claimed only while it is, so nothing goes out after a stop was
answered; a start after a stop is a new run of what is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from adbot_queue import ledger as ledgers
from adbot_queue.core.clock import DAY_MS, iso
from adbot_queue.core.conflicts import CHANGED, retry_on_conflict
from adbot_queue.core.errors import Conflict, NotFound
from adbot_queue.core.ids import derived_id
from adbot_queue.core.telemetry import count, logger
from adbot_queue.jobs import job_types
from adbot_queue.jobs import service as job_service
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.service import JobService, TimeLeft
from adbot_queue.jobs.store.items import item_of
from adbot_queue.leads import calendar, templates
from adbot_queue.leads import store as lead_store
from adbot_queue.leads.model import Day, DayState, Entry, EntryState
from adbot_queue.leads.references import ReferenceKind
from adbot_queue.leads.store import LeadStore
from adbot_queue.leads.templates import KnownTemplate, TemplateList, Templates
from adbot_queue.ledger import SYSTEM, Actor, Ledger, LedgerEntry

RUN = "run-lead-queue"
PAGE_SIZE = 100
DAYS_BACK = 4
"""Dates that `close_left` looks at, today included."""


@dataclass(frozen=True, slots=True)
class Run:
    """A day and its run; `repeated` when it was so before."""

    day: Day
    repeated: bool = False


class Automation:
    """What people do with the queue of a day."""

    def __init__(self, store: LeadStore, jobs: JobService, known: Templates, ledger: Ledger) -> None:
        self._store = store
        self._jobs = jobs
        self._templates = known
        self._ledger = ledger

    def start(self, owner_id: str, date: str | None, actor: Actor, time_left: TimeLeft | None = None) -> Run:
        """Begin to send the messages of a day, today's unless another is named.

        Items: the day (refuses if it changed), the run's job, the ledger entry.

        Raises:
            NotFound: the user has no settings or no queue on the date.
            Conflict: the day is over, nothing is queued, or the template is not approved or needs other variables.
            Others: as `Templates.refresh`, when the approvals that are known are too old.
        """
        checked: set[str] = set()

        def attempt() -> tuple[Day, Job | None]:
            day = self._day(owner_id, date)
            if day.state is DayState.RUNNING and self._is_alive(day):
                return day, None
            self._check(day, checked)
            return self._start(day, actor)

        day, job = retry_on_conflict(attempt, CHANGED)
        if job:
            self._jobs.dispatch([job], time_left)
        return Run(day, repeated=job is None)

    def stop(self, owner_id: str, date: str | None, actor: Actor) -> Run:
        """Send nothing more of a day; what Twilio has is on its way. Stopping twice changes nothing.

        Items: the day (refuses if it changed), the ledger entry.

        Raises:
            NotFound: as `start`.
        """

        def attempt() -> Run:
            day = self._day(owner_id, date)
            if day.state is not DayState.RUNNING:
                return Run(day, repeated=True)
            after = day.changed(state=DayState.STOPPING, reason="stopped")
            self._commit(day, after, None, LedgerEntry(actor, "lead-queue.stop", _target(day)))
            return Run(after)

        return retry_on_conflict(attempt, CHANGED)

    def close_left(self) -> int:
        """Begin a run for each day of the last three that is over, has entries left and is in no run's care.

        It carries them over: a day that was never started, or whose run has died, would keep its leads for ever.

        Returns:
            How many runs began.
        """
        closed = 0
        for day in self._days_over():
            left = any(day.counts.get(state) for state in (EntryState.QUEUED, EntryState.HANDED))
            if not left or self._is_alive(day):
                continue
            try:
                _, job = self._start(day, SYSTEM, day.state, "lead-queue.close")
            except CHANGED:
                continue  # another run has it
            self._jobs.dispatch([job], None)
            closed += 1
        return closed

    def _days_over(self) -> Iterator[Day]:
        now, cursor = self._store.now(), None
        while True:
            users, cursor = self._store.references(ReferenceKind.USER, PAGE_SIZE, cursor)
            keys = [
                (user.user_id, calendar.local_date(now - ago * DAY_MS, user.zone))
                for user in users
                for ago in range(DAYS_BACK)
            ]
            yield from (day for day in self._store.days(keys).values() if now >= day.window_to)
            if cursor is None:
                return

    def _day(self, owner_id: str, date: str | None) -> Day:
        if date is None:
            settings = self._store.user(owner_id)
            if settings is None:
                raise NotFound(f"user {owner_id} has no settings for leads")
            date = calendar.local_date(self._store.now(), settings.zone)
        day = self._store.day(owner_id, date)
        if day is None:
            raise NotFound(f"no queue is prepared for {date}")
        return day

    def _is_alive(self, day: Day) -> bool:
        """Return whether the run of a day that is `running` goes on: its job may have been cancelled."""
        job = self._jobs.store.get(day.job_id) if day.job_id else None
        return job is not None and not job.is_terminal

    def _check(self, day: Day, checked: set[str]) -> None:
        if day.state is DayState.DONE or self._store.now() >= day.window_to:
            raise Conflict(f"the window of {day.date} ended at {iso(day.window_to)}", state=day.state.value)
        first = self._first_queued(day)
        if first is None:
            raise Conflict(f"nothing is queued for {day.date}", state=day.state.value)
        if first.content_sid in checked:
            return
        if _problem(self._templates.fresh(), first) and (problem := _problem(self._templates.refresh(), first)):
            raise Conflict(f"content_sid: {problem}", content_sid=first.content_sid)
        checked.add(first.content_sid)

    def _first_queued(self, day: Day) -> Entry | None:
        if not day.counts.get(EntryState.QUEUED) and not day.counts.get(EntryState.HANDED):
            return None
        place = 0
        while page := self._store.entries_after(day.owner_id, day.date, place, PAGE_SIZE):
            for entry in page:
                if entry.state in {EntryState.QUEUED, EntryState.HANDED}:
                    return entry
            place = page[-1].key.place + 1
        return None

    def _start(
        self, day: Day, actor: Actor, state: DayState = DayState.RUNNING, action: str = "lead-queue.start"
    ) -> tuple[Day, Job]:
        now = self._store.now()
        job_id = derived_id("run_", day.owner_id, day.date, str(day.version))
        payload = {"owner_id": day.owner_id, "date": day.date}
        queue = job_types.find(RUN).queue
        job = Job(job_id, RUN, queue, payload, now, tenant=day.owner_id, long_running=True).waiting(now)
        after = day.changed(state=state, job_id=job_id, reason="" if state is DayState.RUNNING else day.reason)
        entry = LedgerEntry(
            actor, action, _target(day), {"state": day.state.value}, {"run": job_id, "state": state.value}
        )
        self._commit(day, after, job, entry)
        return after, job

    def _commit(self, before: Day, after: Day, job: Job | None, entry: LedgerEntry) -> None:
        writer = self._store.writer()
        writer.day(before, after)
        if job:
            writer.transaction.create("job", self._jobs.store.table, item_of(job))
        self._ledger.sign(writer.transaction, entry)
        writer.commit()


def _named(known: TemplateList, content_sid: str) -> KnownTemplate | None:
    return next((one for one in known.items if one.template.sid == content_sid), None)


def _problem(known: TemplateList, entry: Entry) -> str | None:
    """Return why the message of an entry cannot be sent: its template cannot, or has variables that nothing fills."""
    template = _named(known, entry.content_sid)
    missing = [name for name in template.template.variables if name not in entry.variables] if template else []
    if template and missing and template.is_approved:
        return f"template {template.template.name} needs variable {', '.join(missing)}; set steps.first.variables"
    return problem_of(template)


def problem_of(known: KnownTemplate | None) -> str | None:
    """Return why a template cannot be sent, None if it can."""
    if known is None:
        return "Twilio knows no such template"
    if known.is_approved:
        return None
    template = known.template
    why = f": {template.rejection_reason}" if template.rejection_reason else ""
    return f"template {template.name} is {template.status}, not approved{why}"


def _target(day: Day) -> str:
    return f"lead-queue:{day.owner_id}#{day.date}"


def warn(day: Day, problem: str) -> None:
    """Count and log that a run stops by itself."""
    count("LeadRunsStopped")
    logger.warning("run stopped", owner_id=day.owner_id, date=day.date, reason=day.reason, problem=problem)


@lru_cache(maxsize=1)
def from_env() -> Automation:
    """The automation of this installation."""
    return Automation(lead_store.from_env(), job_service.from_env(), templates.from_env(), ledgers.from_env())
