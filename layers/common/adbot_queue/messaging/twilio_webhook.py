"""Twilio tells how far a message came: POST /webhooks/twilio?job=…&effect=…, form-encoded, under its signature.

The signature covers the whole address, so job and effect are believed as much as the rest. Twilio asks once, as a rule:
a report that meets an error of ours is lost, and the next one says more than it did.

What counts are the message's id and its status. Every other field is optional, and so are job and effect of a message
that its sender has written down.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, urlencode

from adbot_queue.core import telemetry
from adbot_queue.core.clock import system_clock
from adbot_queue.core.errors import BadSignature, Malformed
from adbot_queue.core.settings import MissingSetting
from adbot_queue.core.telemetry import logger
from adbot_queue.messaging import opt_outs
from adbot_queue.messaging import sent_messages as messages
from adbot_queue.providers import twilio
from adbot_queue.providers.twilio_codes import Concern, concern

PATH = "/webhooks/twilio"
MAX_BYTES = 16 * 1024
MAX_FIELDS = 100
LOST = {"undelivered", "failed", "canceled"}

_SIGNATURE = re.compile(r"[A-Za-z0-9+/]{27}=")
"""The form of a signature; other callers than Twilio have as a rule none."""
_SID = re.compile(r"[!-~]{1,64}")
_ID = re.compile(r"[ -~]{1,512}")
_ERROR_CODE = re.compile(r"[0-9]{1,9}")


def address(job: str, effect: str) -> str:
    """Where Twilio is to report a message of a job; empty when the API's public address is not set."""
    public = public_url()
    return f"{public}{PATH}?{urlencode({'job': job, 'effect': effect})}" if public else ""


def receive(body: bytes, query: str, domain: str, signature: str | None) -> None:
    """Note what Twilio reports; arguments and errors are those of `signed_form`."""
    form = signed_form(body, query, domain, signature, PATH, ("job", "effect"))
    _note(form, dict(parse_qsl(query)))


def signed_form(
    body: bytes, query: str, domain: str, signature: str | None, path: str, parameters: Sequence[str] = ()
) -> dict[str, str]:
    """Return the form that Twilio posted.

    The signature counts over the address as it came, and over the one that was given to Twilio: a proxy in between
    may reorder parameters or escape them differently.

    Args:
        body: as it came.
        query: the address's, as it came.
        domain: under which the API was called; what counts when its public address is not set.
        signature: the header X-Twilio-Signature.
        path: of the address.
        parameters: of its query, in the order in which they were given to Twilio.

    Raises:
        BadSignature: Twilio did not sign it. Malformed: it cannot be read.
        NotConfigured, Unavailable: as `twilio.verify`.
    """
    try:
        form = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise Malformed("the body is no form") from error
    url = (public_url() or f"https://{domain}") + path
    about = dict(parse_qsl(query))
    given = urlencode([(name, about.get(name, "")) for name in parameters])
    try:
        try:
            twilio.verify(url + (f"?{query}" if query else ""), form, signature)
        except BadSignature:
            twilio.verify(f"{url}?{given}", form, signature)
    except BadSignature:
        if _SIGNATURE.fullmatch(signature or ""):
            telemetry.gauge("BadTwilioSignatures", 1)
        raise
    telemetry.gauge("BadTwilioSignatures", 0)  # the minimum of an hour is 1 while not one is good
    return dict(form)


def _note(report: Mapping[str, str], about: Mapping[str, str]) -> None:
    sid = report.get("MessageSid") or report.get("SmsSid") or ""
    state = (report.get("MessageStatus") or report.get("SmsStatus") or "").strip().lower()
    if not _SID.fullmatch(sid) or not state:
        telemetry.count("EventsUnreadable")
        raise Malformed("MessageSid and MessageStatus are required")
    known = messages.from_env()
    job, effect = about.get("job", ""), about.get("effect", "")
    if not (_ID.fullmatch(job) and _ID.fullmatch(effect)):
        job, effect = known.owner(sid) or ("", "")
    if state not in messages.STEPS or not effect:
        # A status that Twilio did not have when this was written, or a message that is none of ours.
        telemetry.count("DeliveriesIgnored")
        logger.info("report ignored", sid=sid, known_state=state in messages.STEPS)
        return
    code = report.get("ErrorCode", "")
    error_code = int(code) if _ERROR_CODE.fullmatch(code) else None
    if concern(error_code) is Concern.OPTED_OUT and (to := report.get("To")):
        opt_outs.stop(to.removeprefix("whatsapp:"), system_clock(), job)
    news = known.reported(sid, state, effect, job, error_code)
    if news and (state in LOST or state == "delivered"):
        telemetry.count("MessagesLost" if state in LOST else "MessagesDelivered")
    logger.info("message reported", sid=sid, state=state, error_code=error_code, job_id=job)


def public_url() -> str:
    """Return the API's public address; empty when it is not set."""
    try:
        return os.environ["PUBLIC_API_URL"].rstrip("/")
    except KeyError:
        raise MissingSetting("environment variables are not set: PUBLIC_API_URL") from None
