"""What a message of a person does: it stops automation for that person in the queue of every owner.

    SID#<sid>   S              when the message came first: Twilio may post it again
    INBOX       <time>#<sid>   a message that matches no lead

A STOP ends messages on every channel and to every address of the person, who need not be a lead, before anything else
is written; the transaction that marks the person first creates the job of its confirmation. Each lead is one
transaction: the lead, its open entry, the day, the message (refused if it is there), the trail, the notice's job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from adbot_queue.core import dynamodb
from adbot_queue.core.clock import DAY_MS
from adbot_queue.core.conflicts import CHANGED, retry_on_conflict
from adbot_queue.core.dynamodb import ConditionFailed, TransactionRejected
from adbot_queue.core.errors import NotFound
from adbot_queue.core.telemetry import count, logger
from adbot_queue.jobs import service as job_service
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.service import JobService
from adbot_queue.jobs.store.items import item_of
from adbot_queue.leads import inbox, messages, notices
from adbot_queue.leads import store as lead_store
from adbot_queue.leads.inbound_messages import WHATSAPP, Inbound
from adbot_queue.leads.inbox import Unmatched
from adbot_queue.leads.messages import RECEIVED, LeadMessage, MessageKey
from adbot_queue.leads.model import CANCELLABLE, Cause, EntryState, Lead, Status
from adbot_queue.leads.store import LeadStore
from adbot_queue.leads.writer import Writer
from adbot_queue.ledger import Actor
from adbot_queue.messaging import opt_outs
from adbot_queue.messaging.opt_outs import Wish

WINDOW_MS = DAY_MS
"""How long WhatsApp allows free text after a message of the person."""
SEEN_MS = 30 * DAY_MS

PERSON = Actor("lead", "lead")
"""Who acts when a person writes."""

_CAUSES = {Wish.STOP: Cause.OPTED_OUT, Wish.START: Cause.OPTED_IN}
_WORDS = {Cause.OPTED_OUT: "opted_out", Cause.OPTED_IN: "opted_in", Cause.REPLIED: "replied"}


class InboundService:
    """Receives messages of persons; each may come again."""

    def __init__(self, store: LeadStore, jobs: JobService) -> None:
        self._store = store
        self._jobs = jobs

    def receive(self, message: Inbound) -> list[str]:
        """Write a message to the leads of the person, or to the inbox.

        Returns:
            Ids of the leads; none: the message is in the inbox.

        Raises:
            NotConfigured, Unavailable: as `opt_outs.stop`; Twilio posts it again.
        """
        at = self._first_seen(message.sid)
        leads = self._store.find(message.addresses)
        jobs = self._obey(message, at, leads)
        if not leads:
            inbox.add(self._store, message, at)
            count("LeadMessagesUnmatched")
        for lead in leads:
            if written := self.write(lead.id, message, at, PERSON):
                jobs += written
        if jobs:
            self._jobs.dispatch(jobs, None)
        logger.info("message received", sid=message.sid, channel=message.channel, wish=message.wish, leads=len(leads))
        count("LeadMessagesReceived")
        return sorted(lead.id for lead in leads)

    def unmatched(self, limit: int, cursor: str | None) -> tuple[list[Unmatched], str | None]:
        """Return a page of the messages that match no lead, newest first."""
        return inbox.page(self._store, limit, cursor)

    def match(self, sid: str, lead_id: str, actor: Actor) -> None:
        """Give a message of the inbox to a lead, to whom later messages of the person go as well.

        Raises:
            NotFound: the message is not in the inbox, or the lead does not exist.
        """
        unmatched, key = inbox.get(self._store, sid)
        lead = self._store.lead(lead_id)
        if lead is None:
            raise NotFound(f"lead {lead_id} does not exist")
        self._mark(unmatched.message, unmatched.at, [lead])
        jobs = self.write(lead_id, unmatched.message, unmatched.at, actor, instead_of=key)
        if jobs is None:
            raise NotFound(f"lead {lead_id} does not exist")
        if jobs:
            self._jobs.dispatch(jobs, None)

    def write(
        self, lead_id: str, message: Inbound, at: int, actor: Actor, *, instead_of: Mapping[str, Any] | None = None
    ) -> list[Job] | None:
        """Write a message to a lead, once.

        Args:
            lead_id: whose message it is.
            message: the message.
            at: when it came (ms).
            actor: the person, or who matched it.
            instead_of: key of the inbox entry that it was until now; refused (tag `inbox`) if that is gone.

        Returns:
            Jobs to be dispatched; None: the lead is gone, or has the message already.
        """

        def attempt() -> list[Job] | None:
            lead = self._store.lead(lead_id)
            if lead is None:
                return None
            writer = self._store.writer()
            after, cause = self._lead(writer, lead, message, at, actor)
            self._message(writer, lead, message, at)
            jobs = []
            if cause is Cause.REPLIED and actor.id != after.worked_by:
                jobs.append(notices.notice(after, message, at, self._store.now()))
                writer.transaction.create("notice", self._jobs.store.table, item_of(jobs[0]))
            if instead_of:
                inbox.remove(writer, self._store, instead_of)
            try:
                writer.commit()
            except TransactionRejected as rejected:
                if "message" in rejected.failed:
                    return None
                if "inbox" in rejected.failed:
                    raise inbox.not_there(message.sid) from None
                raise
            return jobs

        return retry_on_conflict(attempt, CHANGED)

    # What the person asks for

    def _obey(self, message: Inbound, at: int, leads: Iterable[Lead]) -> list[Job]:
        """Opt the person out or in if the message asks for it, and answer it; return the answer's job."""
        answer = notices.answer(message, at, self._store.now())
        if message.wish is Wish.STOP:
            return self._mark(message, at, leads, answer)
        self._mark(message, at, leads)
        return self._answered(self._store.writer(), answer) if answer else []

    def _mark(self, message: Inbound, at: int, leads: Iterable[Lead], confirmation: Job | None = None) -> list[Job]:
        """Opt the person out or in, under every address that is known; return the job that confirms it if it is new."""
        if message.wish not in {Wish.STOP, Wish.START}:
            return []
        known = (address for lead in leads for address in (lead.phone, lead.wa_id) if address)
        addresses = list(dict.fromkeys([*message.addresses, *known]))
        out = message.wish is Wish.STOP
        for address in addresses:
            (opt_outs.stop if out else opt_outs.start)(address, at)
        if confirmation:
            writer = self._store.writer()
            for address in addresses:
                writer.opt_out(address, at)
            if jobs := self._answered(writer, confirmation):
                return jobs
        for address in addresses:
            self._store.mark_opt_out(address, at, out=out)
        return []

    def _answered(self, writer: Writer, answer: Job) -> list[Job]:
        """Create the job of an answer with the rest of a transaction; none if that is refused."""
        writer.transaction.create("answer", self._jobs.store.table, item_of(answer))
        try:
            writer.commit()
        except TransactionRejected:
            return []
        return [answer]

    # What a lead becomes

    def _lead(self, writer: Writer, lead: Lead, message: Inbound, at: int, actor: Actor) -> tuple[Lead, Cause]:
        cause = _CAUSES.get(message.wish, Cause.REPLIED) if message.wish else Cause.REPLIED
        if cause is Cause.OPTED_IN and lead.status is not Status.OPTED_OUT:
            cause = Cause.REPLIED  # a person who never opted out just writes this word
        changes: dict[str, Any] = {"last_in": max(at, lead.last_in or 0)}
        if message.channel == WHATSAPP:
            changes["window_until"] = max(at + WINDOW_MS, lead.window_until or 0)
        if self._withdraw(writer, lead, _WORDS[cause]):
            changes["open_entry"] = None
        changes |= self._learned(writer, lead, message)
        self._count(writer, lead, cause, at)
        after = lead.after(cause, self._store.now(), **changes)
        writer.lead(lead, after)
        writer.trail(lead.id, _WORDS[cause], actor, sid=message.sid, channel=message.channel)
        return after, cause

    def _withdraw(self, writer: Writer, lead: Lead, reason: str) -> bool:
        """Cancel the message that automation was about to send, unless Twilio is asked already."""
        entry = self._store.entry(lead.open_entry) if lead.open_entry else None
        if entry is None or entry.state not in CANCELLABLE:
            return False
        writer.entry(entry, entry.moved(EntryState.CANCELLED, self._store.now(), reason=reason))
        writer.trail(lead.id, "cancelled", PERSON, date=entry.key.date, reason=reason)
        return True

    def _learned(self, writer: Writer, lead: Lead, message: Inbound) -> dict[str, Any]:
        """Name the lead under WhatsApp's id of the person, and under a phone that a person matched to it."""
        changes: dict[str, Any] = {}
        if message.phone and message.phone != lead.phone:
            writer.learn(lead, message.phone)
        if message.wa_id and message.wa_id != lead.wa_id:
            writer.learn(lead, message.wa_id)
            changes["wa_id"] = message.wa_id
        return changes

    def _count(self, writer: Writer, lead: Lead, cause: Cause, at: int) -> None:
        """Count the first reply to a message of automation on the day that sent it."""
        key, sent = lead.last_entry, lead.last_out
        if cause is not Cause.REPLIED or key is None or sent is None or not lead.touches:
            return
        if lead.last_in is None or lead.last_in < sent:
            writer.count(key.owner_id, key.date, {"replied": 1, "first_reply_ms": max(0, at - sent)})

    def _message(self, writer: Writer, lead: Lead, message: Inbound, at: int) -> None:
        key = MessageKey(lead.id, at, message.sid)
        row = LeadMessage(key, "in", message.channel, RECEIVED, message.text, sid=message.sid, media=message.media)
        messages.add(writer, self._store, row)

    def _first_seen(self, sid: str) -> int:
        """Return when a message came first, which makes its second delivery the same."""
        now = self._store.now()
        item = {"pk": f"SID#{sid}", "sk": "S", "at": now, "expires_at": (now + SEEN_MS) // 1000}
        try:
            dynamodb.put_if(self._store.client, self._store.table, item, condition="attribute_not_exists(pk)")
        except ConditionFailed as failed:
            seen: int = (failed.item or {"at": now})["at"]
            return seen
        return now


@lru_cache(maxsize=1)
def from_env() -> InboundService:
    """Messages of persons to this installation."""
    return InboundService(lead_store.from_env(), job_service.from_env())
