"""`run-lead-queue`: sends the queue of a day over its window, as a long-running job.

A slice hands over the next entries: each becomes a `send-lead-message` job, in one transaction. After a stop it gives
back what was handed over and not sent; after the window it carries over what is left; four hours later it asks Twilio
about messages without a report.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pydantic import BaseModel

from adbot_queue.core.dynamodb import Transaction
from adbot_queue.core.errors import ProviderFailed
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.jobs import job_types
from adbot_queue.jobs import service as job_service
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.job_queues import exponential
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType
from adbot_queue.jobs.long_running import LongRunningJob, Progress, Slice, run
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.provider_call import calling, verdict
from adbot_queue.jobs.service import JobService
from adbot_queue.jobs.store.items import item_of
from adbot_queue.leads import automation, pacing
from adbot_queue.leads import sending as being_sent
from adbot_queue.leads.messages import MessageKey
from adbot_queue.leads.model import Day, DayState, Entry, EntryState
from adbot_queue.leads.sending import WINDOW_OVER, Report, Sending
from adbot_queue.leads.settings import LeadSettings
from adbot_queue.leads.templates import Templates
from adbot_queue.leads.writer import Writer
from adbot_queue.ledger import SYSTEM
from adbot_queue.messaging.sent_messages import STEPS
from adbot_queue.providers import twilio

SEND = "send-lead-message"
READ_PAGE_SIZE = 100
MAX_WITHDRAWN = 20
"""Entries of a slice that gives back or carries over: each is up to three items of its transaction."""

WAIT_MS = 15 * 60_000
"""The longest sleep before the window, so that a stop or another pause is seen."""

LOOK_AGAIN_MS = 60_000
SILENT_MS = 4 * 3_600_000
"""When Twilio is asked about a message without a report."""

SETTLING = "settling"

LEFT = frozenset({EntryState.QUEUED, EntryState.HANDED})
"""What no run may leave behind: its leads are in no other queue."""


class RunLeadQueue(BaseModel):
    """Which day."""

    owner_id: str
    date: str


class LeadRun(LongRunningJob):
    """The work of one run. Its cursor: `place` of the next entry, since when the batch is `full`, its `phase`."""

    def __init__(
        self, payload: RunLeadQueue, context: Context, sending: Sending, jobs: JobService, known: Templates
    ) -> None:
        self._owner, self._date = payload.owner_id, payload.date
        self._context = context
        self._sending = sending
        self._store = sending.store
        self._jobs = jobs
        self._templates = known

    def next_slice(self, progress: Progress) -> Slice:
        """Hand over, give back, carry over or settle, as the day is now."""
        cursor: dict[str, Any] = progress.cursor or {"place": 0}
        now = self._context.now()
        if cursor.get("phase") == SETTLING:
            return self._settle(cursor, now)
        day = self._store.day(self._owner, self._date)
        if day is None or day.job_id != self._context.job_id:
            return Slice(cursor, is_last=True)  # another run has the day
        return self._work(cursor, day, now)

    def _work(self, cursor: dict[str, Any], day: Day, now: int) -> Slice:
        if now >= day.window_to:
            return self._clear(cursor, day, LEFT, EntryState.CARRIED_OVER) or self._finish(day, DayState.DONE)
        if day.state is DayState.STOPPING:
            handed = frozenset({EntryState.HANDED})
            return self._clear(cursor, day, handed, EntryState.QUEUED) or self._finish(day, DayState.STOPPED)
        if day.state is not DayState.RUNNING:
            return self._settled_later(day)
        settings = self._store.user(self._owner) or LeadSettings(self._owner)
        opens = max(day.window_from, settings.pause_until or 0)
        if now < opens:
            return Slice(cursor, of=day.counts.get("prepared"), not_before=min(opens, now + WAIT_MS, day.window_to))
        return self._dispatch_next(cursor, settings, day, now)

    # Handing over

    def _dispatch_next(self, cursor: dict[str, Any], settings: LeadSettings, day: Day, now: int) -> Slice:
        handed, sending = (day.counts.get(state, 0) for state in (EntryState.HANDED, EntryState.SENDING))
        if not day.counts.get(EntryState.QUEUED):
            if handed or sending:  # what Twilio does not take is handed again
                return Slice(cursor, not_before=min(now + LOOK_AGAIN_MS, day.window_to))
            return self._finish(day, DayState.DONE)
        step = pacing.step(
            now,
            day.window_to,
            queued=day.counts[EntryState.QUEUED],
            unreported=handed + sending,
            batch=settings.batch,
            spread=settings.spread,
            full_since=cursor.get("full"),
            jitter=random.random(),  # noqa: S311  no secret
        )
        following = cursor | {"full": step.full_since}
        if not step.count:
            return Slice(following, not_before=step.not_before)
        entries, place = self._queued(cursor["place"], step.count)
        if not entries:  # what is queued lies before the cursor: it was given back
            return Slice(following | {"place": 0}, not_before=now + (LOOK_AGAIN_MS if not cursor["place"] else 0))
        for content_sid in {entry.content_sid for entry in entries}:
            known = self._templates.get(content_sid)
            if problem := automation.problem_of(known):
                status = known.template.status if known else "unknown"
                return self._halt(cursor, day, f"template_{status}", problem)
        jobs = [self._job(entry, now) for entry in entries]
        return Slice(
            following | {"place": place},
            done=len(entries),
            outcomes={"handed": len(entries)},
            effects=self._effects(lambda writer: self._write(writer, list(zip(entries, jobs, strict=True)), now)),
            afterwards=partial(self._send, jobs),
            of=day.counts.get("prepared"),
            not_before=step.not_before,
        )

    def _queued(self, place: int, wanted: int) -> tuple[list[Entry], int]:
        """Return the next queued entries, and the place behind them."""
        found: list[Entry] = []
        while page := self._store.entries_after(self._owner, self._date, place, READ_PAGE_SIZE):
            for entry in page:
                place = entry.key.place + 1
                if entry.state is EntryState.QUEUED:
                    found.append(entry)
                if len(found) == wanted:
                    return found, place
            if len(page) < READ_PAGE_SIZE:
                break
        return found, place

    def _job(self, entry: Entry, now: int) -> Job:
        key = entry.key
        payload = {"owner_id": key.owner_id, "date": key.date, "place": key.place, "lead_id": key.lead_id}
        queue = job_types.find(SEND).queue
        return Job(time_ordered_id(now), SEND, queue, payload, now, tenant=self._owner).waiting(now)

    def _write(self, writer: Writer, handed: Sequence[tuple[Entry, Job]], now: int) -> None:
        """Items: the day (refuses unless it runs), of each the entry (refuses unless queued), the trail, the job."""
        for entry, job in handed:
            writer.entry(entry, entry.moved(EntryState.HANDED, now, job_id=job.id))
            writer.trail(entry.key.lead_id, "handed", SYSTEM, date=self._date, job_id=job.id)
            writer.transaction.create("job", self._jobs.store.table, item_of(job))
        writer.day_in(self._owner, self._date, DayState.RUNNING)

    def _send(self, jobs: Sequence[Job]) -> None:
        self._jobs.dispatcher.send(jobs)

    # Ending

    def _halt(self, cursor: dict[str, Any], day: Day, reason: str, problem: str) -> Slice:
        after = day.changed(state=DayState.STOPPING, reason=reason)
        automation.warn(after, problem)
        return Slice(cursor, outcomes={reason: 1}, effects=self._effects(lambda writer: writer.day(day, after)))

    def _finish(self, day: Day, state: DayState) -> Slice:
        after = day.changed(state=state)
        later = self._settled_later(day)
        return Slice(later.cursor, effects=self._effects(lambda writer: writer.day(day, after)))

    def _clear(self, cursor: dict[str, Any], day: Day, states: frozenset[EntryState], into: EntryState) -> Slice | None:
        """Move what is not sent to where it is not sent any more, some at a time; None: nothing is left."""
        if not any(day.counts.get(state) for state in states):
            return None
        entries = self._in(states)
        if not entries:  # the figures are ahead of what was read
            return Slice(cursor, not_before=self._context.now() + LOOK_AGAIN_MS)
        leads = self._store.leads(entry.key.lead_id for entry in entries)
        reason = WINDOW_OVER if into is EntryState.CARRIED_OVER else day.reason
        now = self._context.now()

        def write(writer: Writer) -> None:
            for entry in entries:
                lead = leads.get(entry.key.lead_id)
                changes = {"job_id": None} if into is EntryState.QUEUED else {"reason": reason}
                writer.entry(entry, entry.moved(into, now, **changes))
                if lead and into is EntryState.CARRIED_OVER and lead.open_entry == entry.key:
                    writer.lead(lead, lead.changed(now, open_entry=None))
                writer.trail(entry.key.lead_id, into.value, SYSTEM, date=self._date, reason=reason)
            writer.day_in(self._owner, self._date, day.state)

        outcome = "given_back" if into is EntryState.QUEUED else into.value
        return Slice(cursor | {"place": 0}, outcomes={outcome: len(entries)}, effects=self._effects(write))

    def _in(self, states: frozenset[EntryState]) -> list[Entry]:
        found: list[Entry] = []
        place = 0
        while page := self._store.entries_after(self._owner, self._date, place, READ_PAGE_SIZE):
            found += [entry for entry in page if entry.state in states][: MAX_WITHDRAWN - len(found)]
            if len(found) == MAX_WITHDRAWN or len(page) < READ_PAGE_SIZE:
                break
            place = page[-1].key.place + 1
        return found

    # Settling

    def _settled_later(self, day: Day) -> Slice:
        at = max(self._context.now() + SILENT_MS, day.window_to)
        return Slice({"place": 0, "phase": SETTLING, "at": at}, not_before=at)

    def _settle(self, cursor: dict[str, Any], now: int) -> Slice:
        """Carry over what a stop has left, then ask Twilio about the messages without a report, one a slice."""
        if now < cursor["at"]:
            return Slice(cursor, not_before=cursor["at"])
        day = self._store.day(self._owner, self._date)
        if day and day.job_id == self._context.job_id:
            if left := self._clear(cursor, day, LEFT, EntryState.CARRIED_OVER):
                return left
            if day.state is not DayState.DONE:
                after = day.changed(state=DayState.DONE)
                return Slice(cursor, effects=self._effects(lambda writer: writer.day(day, after)))
        place = cursor["place"]
        while page := self._store.entries_after(self._owner, self._date, place, READ_PAGE_SIZE):
            for entry in page:
                if entry.state is EntryState.SENDING and entry.changed_at <= now - SILENT_MS:
                    self._ask(entry)
                    return Slice(cursor | {"place": entry.key.place + 1}, outcomes={"asked": 1})
            place = page[-1].key.place + 1
        return Slice(cursor, is_last=True)

    def _ask(self, entry: Entry) -> None:
        message = MessageKey(entry.key.lead_id, entry.changed_at, entry.job_id or "")
        if entry.sid is None:
            self._sending.forgotten(entry.key)
            return
        try:
            with calling("twilio", twilio.LOOK_S, self._context, "whatsapp") as seconds:
                sent = twilio.look_up(entry.sid, seconds)
        except ProviderFailed as error:
            raise verdict(error) from error.__cause__ or error
        if sent and sent.status in STEPS:
            self._sending.report(Report(message, entry.key, sent.status, entry.sid, sent.code))

    def _effects(self, write: Callable[[Writer], None]) -> Callable[[Transaction], None]:
        def effects(transaction: Transaction) -> None:
            writer = self._store.writer(transaction)
            write(writer)
            writer.fill()

        return effects


def run_lead_queue(payload: RunLeadQueue, context: Context) -> dict[str, Any]:
    """Work on a run.

    Raises:
        NextRun, Cancelled: as `long_running.run`.
    """
    sending = being_sent.from_env()
    return run(LeadRun(payload, context, sending, job_service.from_env(), sending.templates), context)


JOB = JobType(
    queue="messages",
    payload=RunLeadQueue,
    handler=run_lead_queue,
    horizon_s=DAY_S,
    cap_s=15 * MINUTE_S,
    timeout_s=20,
    policy=exponential(20, 2),
    parallel=False,
    cancellable=True,
    internal=True,
    long_running=True,
)
