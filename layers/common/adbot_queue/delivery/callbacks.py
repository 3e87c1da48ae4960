"""Twilio tells how far a message came: POST /webhooks/twilio?job=…&effect=…, form-encoded, under its signature.

The signature covers the whole address, so job and effect are believed as much as the rest. Twilio asks once, as a rule:
a report that meets an error of ours is lost, and the next one says more than it did.
"""

from __future__ import annotations

import os
from urllib.parse import parse_qsl, urlencode

from adbot_queue.core import telemetry
from adbot_queue.core.errors import Malformed
from adbot_queue.core.settings import MissingSetting
from adbot_queue.core.telemetry import logger
from adbot_queue.delivery import messages
from adbot_queue.providers import twilio

PATH = "/webhooks/twilio"
MOST_BYTES = 16 * 1024
MOST_FIELDS = 100
LOST = {"undelivered", "failed", "canceled"}


def address(job: str, effect: str) -> str:
    """Where Twilio is to report a message of a job; empty when the API's public address is not set."""
    public = _public()
    return f"{public}{PATH}?{urlencode({'job': job, 'effect': effect})}" if public else ""


def receive(body: bytes, query: str, domain: str, signature: str | None) -> None:
    """Note what Twilio reports.

    Args:
        body: as it came.
        query: the address's, as it came.
        domain: under which the API was called; what counts when its public address is not set.
        signature: the header X-Twilio-Signature.

    Raises:
        BadSignature: Twilio did not sign it. Malformed: it cannot be read.
        NotConfigured, Unavailable: as `twilio.verify`.
    """
    try:
        form = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError as error:
        raise Malformed("the body is no form") from error
    url = (_public() or f"https://{domain}") + PATH + (f"?{query}" if query else "")
    twilio.verify(url, form, signature)
    _note(dict(form), dict(parse_qsl(query)))


def _note(report: dict[str, str], about: dict[str, str]) -> None:
    sid, state, code = report.get("MessageSid"), report.get("MessageStatus"), report.get("ErrorCode", "")
    if not sid or not state:
        raise Malformed("MessageSid and MessageStatus are needed")
    if state not in messages.STEPS or not about.keys() >= {"job", "effect"}:
        # A status that Twilio did not have when this was written, or a message that is none of ours.
        telemetry.count("DeliveriesIgnored")
        logger.info("report ignored", sid=sid, state=state)
        return
    error_code = int(code) if code.isascii() and code.isdigit() else None
    news = messages.from_env().reported(sid, state, about["effect"], about["job"], error_code)
    if news and (state in LOST or state == "delivered"):
        telemetry.count("MessagesLost" if state in LOST else "MessagesDelivered")
    logger.info("message reported", sid=sid, state=state, error_code=error_code, job_id=about["job"])


def _public() -> str:
    try:
        return os.environ["PUBLIC_API_URL"].rstrip("/")
    except KeyError:
        raise MissingSetting("environment variables are not set: PUBLIC_API_URL") from None
