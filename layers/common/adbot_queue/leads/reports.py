"""Reports of Twilio on messages to leads: POST /webhooks/twilio/leads?lead=…&at=…&job=…, under Twilio's signature.

The address names the message and its entry, and Twilio signs it; so a report needs no look-up and may come before the
answer to the request that it is about. Twilio is asked to repeat a report that meets an error of ours (`#rc`).
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlencode

from adbot_queue.core import telemetry
from adbot_queue.core.errors import Malformed
from adbot_queue.core.telemetry import logger
from adbot_queue.leads import inbound_messages
from adbot_queue.leads.messages import MessageKey
from adbot_queue.leads.model import EntryKey
from adbot_queue.leads.sending import Report, Sending
from adbot_queue.messaging.sent_messages import STEPS
from adbot_queue.messaging.twilio_webhook import public_url, signed_form

PATH = "/webhooks/twilio/leads"
PARAMETERS = ("lead", "at", "job", "owner", "date", "place")
REPEATED = "#rc=3&rp=all"
"""https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides: not sent, and not signed."""

_TIME = re.compile(r"[0-9]{1,15}")
_PLACE = re.compile(r"[0-9]{1,9}")
_ERROR_CODE = re.compile(r"[0-9]{1,9}")
_USER = re.compile(r"[A-Z]{2}\.[A-Za-z0-9.]{1,128}")


def address(message: MessageKey, entry: EntryKey | None) -> str:
    """Return where Twilio is to report a message; empty when the API's public address is not set."""
    public = public_url()
    if not public:
        return ""
    owner, date, place = (entry.owner_id, entry.date, str(entry.place)) if entry else ("", "", "")
    values = (message.lead_id, str(message.at), message.ref, owner, date, place)
    return f"{public}{PATH}?{urlencode(list(zip(PARAMETERS, values, strict=True)))}{REPEATED}"


def receive(sending: Sending, body: bytes, query: str, domain: str, signature: str | None) -> bool:
    """Write a report; arguments and errors are those of `signed_form`.

    Returns:
        Whether it is news.
    """
    form = signed_form(body, query, domain, signature, PATH, PARAMETERS)
    sid = form.get("MessageSid") or form.get("SmsSid") or ""
    state = (form.get("MessageStatus") or form.get("SmsStatus") or "").strip().lower()
    about = dict(parse_qsl(query, keep_blank_values=True))
    if not sid or not state or not about.get("lead") or not _TIME.fullmatch(about.get("at", "")):
        telemetry.count("EventsUnreadable")
        raise Malformed("MessageSid and MessageStatus are required")
    if state not in STEPS:
        logger.info("report ignored", sid=sid, state=state[:40])
        telemetry.count("DeliveriesIgnored")
        return False
    code, place = form.get("ErrorCode", ""), about.get("place", "")
    user = (form.get("ExternalUserId") or form.get("ExternalUserIdentifier") or "").removeprefix(
        f"{inbound_messages.WHATSAPP}:"
    )
    entry = EntryKey(about["owner"], about["date"], int(place), about["lead"]) if _PLACE.fullmatch(place) else None
    report = Report(
        MessageKey(about["lead"], int(about["at"]), about.get("job", "")),
        entry,
        state,
        sid,
        int(code) if _ERROR_CODE.fullmatch(code) else None,
        user if _USER.fullmatch(user) else None,
    )
    news = sending.report(report)
    logger.info("message reported", sid=sid, state=state, error_code=report.code, lead_id=about["lead"], news=news)
    return news
