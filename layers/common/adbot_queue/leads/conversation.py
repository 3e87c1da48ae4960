"""Free text from the lead's page, while WhatsApp's window is open, and the conversation as it was."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from adbot_queue.core.clock import iso
from adbot_queue.core.conflicts import retry_on_conflict
from adbot_queue.core.dynamodb import TransactionConflict, TransactionRejected
from adbot_queue.core.errors import Conflict, IdempotencyMismatch
from adbot_queue.core.ids import derived_id, time_ordered_id
from adbot_queue.jobs import job_types
from adbot_queue.jobs import service as job_service
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.service import JobService, TimeLeft
from adbot_queue.jobs.store.items import item_of
from adbot_queue.leads import messages, templates
from adbot_queue.leads import service as lead_service
from adbot_queue.leads.inbound_messages import WHATSAPP
from adbot_queue.leads.messages import WAITING, LeadMessage, MessageKey
from adbot_queue.leads.model import Lead, Status
from adbot_queue.leads.service import Act, LeadService
from adbot_queue.leads.templates import Templates
from adbot_queue.ledger import LedgerEntry

SEND = "send-lead-text"


class Written(NamedTuple):
    """A message that is on its way, and its job; `replayed` when the Idempotency-Key had written it before."""

    message: MessageKey
    job: Job
    replayed: bool = False


class Conversations:
    """Messages of leads."""

    def __init__(self, leads: LeadService, jobs: JobService, known: Templates) -> None:
        self._leads = leads
        self._jobs = jobs
        self._templates = known

    def page(
        self, lead_id: str, sees_only: str | None, limit: int, cursor: str | None, reader: str
    ) -> tuple[list[LeadMessage], str | None]:
        """Return messages of a lead, newest first; of a template the text that the person reads.

        They are read then, if the user who reads them is the one that works the lead.

        Raises:
            NotFound: as `LeadService.get`.
        """
        lead = self._leads.get(lead_id, sees_only)
        if lead.unread and lead.last_in and reader == lead.worked_by:
            self._leads.store.mark_read(lead_id, lead.last_in)
        found, following = messages.page(self._leads.store, lead_id, limit, cursor)
        if not any(message.content_sid for message in found):
            return found, following
        bodies = {one.template.sid: one.template.body for one in self._templates.listed().items}
        return [messages.rendered(message, bodies.get(message.content_sid or "")) for message in found], following

    def write(self, lead_id: str, text: str, by: Act, time_left: TimeLeft | None = None) -> Written:
        """Send a text to a lead.

        Items: the lead (refuses if it changed), the message, the job (refuses a key that was used), the ledger entry.

        Raises:
            NotFound: as `LeadService.get`. Conflict: the window is closed, or the person opted out.
            IdempotencyMismatch: the key was used for another text.
        """
        written = retry_on_conflict(lambda: self._write(lead_id, text, by), (TransactionConflict, _Changed))
        if not written.replayed:
            self._jobs.dispatch([written.job], time_left)
        return written

    def _write(self, lead_id: str, text: str, by: Act) -> Written:
        lead = self._leads.get(lead_id, by.sees_only)
        store = self._leads.store
        now = store.now()
        _check(lead, now)
        job_id = derived_id("txt_", by.actor.id, by.key) if by.key else f"txt_{time_ordered_id(now)}"
        key = MessageKey(lead.id, now, job_id)
        payload = {"lead_id": lead.id, "at": now, "text": text, "request": by.fingerprint}
        queue = job_types.find(SEND).queue
        job = Job(job_id, SEND, queue, payload, now, tenant=lead.owner_id).waiting(now)
        writer = store.writer()
        read = {"read_at": lead.last_in} if by.actor.id == lead.worked_by else {}
        writer.lead(lead, lead.changed(now, **read))
        messages.add(writer, store, LeadMessage(key, "out", WHATSAPP, WAITING, text, by=by.actor.id))
        writer.transaction.create("job", self._jobs.store.table, item_of(job))
        entry = LedgerEntry(by.actor, "lead.write", f"lead:{lead.id}", after={"job_id": job_id})
        self._leads.ledger.sign(writer.transaction, entry)
        try:
            writer.commit()
        except TransactionRejected as rejected:
            if "job" not in rejected.failed:
                raise _Changed from rejected
            known = self._jobs.store.get(job_id)
            if known is None or known.payload.get("request") != by.fingerprint:
                raise IdempotencyMismatch("this Idempotency-Key was used with another request") from None
            return Written(MessageKey(lead.id, known.payload["at"], job_id), known, replayed=True)
        return Written(key, job)


class _Changed(Exception):
    """The lead is not as it was read."""


def _check(lead: Lead, now: int) -> None:
    if lead.status is Status.OPTED_OUT:
        raise Conflict("this person opted out of messages")
    if (lead.window_until or 0) <= now:
        since = f" and closed at {iso(lead.window_until)}" if lead.window_until else ""
        raise Conflict(
            f"WhatsApp's window is open for 24 hours after the person's last message{since}; until then only "
            "templates may be sent",
            window_until=lead.window_until and iso(lead.window_until),
        )


@lru_cache(maxsize=1)
def from_env() -> Conversations:
    """The conversations of this installation."""
    return Conversations(lead_service.from_env(), job_service.from_env(), templates.from_env())
