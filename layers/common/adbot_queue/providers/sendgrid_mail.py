"""Sending mail through SendGrid's own library.

SendGrid has no idempotency keys: a mail whose answer was lost goes out again when it is tried again. Who must be able
to tell puts something of its own into `custom_args`, which SendGrid reports with every event of the mail.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from adbot_queue.core.errors import AccountRefused, NotConfigured, ProviderFailed
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import logger
from adbot_queue.providers import registry
from adbot_queue.providers.waiting import retry_after, throttled

TIMEOUT_S = 10
"""The library has none of its own."""

SENDER_NAME = "AdBot Queue"
TOO_MANY, SERVER_ERROR = 429, 500

CLOSED = {401: "the API key is not accepted", 402: "the account is not paid for", 403: "the API key may not send mails"}
"""What SendGrid refuses the account by, whatever the mail: all mails have one sender. Its sentences say more:
https://support.sendgrid.com/hc/en-us/articles/18322114821403-4XX-API-Errors-and-Troubleshooting-Suggestions"""

REASONS = {
    "maximum credits exceeded": "the plan's credits are used up",
    "sender identity": "MAIL_FROM is not a sender that SendGrid has verified",
    "suspend": "the account is suspended",
    "disabled": "the account is suspended",
    "deactivated": "the account is suspended",
    "frozen": "the account is suspended",
    "under review": "the account is under review",
}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Message:
    """A mail to one person, with a text, an HTML part or both.

    Attributes:
        marketing: False sends it also to who is on SendGrid's own list of unsubscribes; bounces and complaints hold.
        group: SendGrid's unsubscribe group, of marketing alone.
    """

    to: str
    subject: str
    text: str | None
    html: str | None
    custom_args: Mapping[str, str]
    categories: Sequence[str] = ()
    marketing: bool = False
    group: int | None = None


def send(message: Message, timeout_s: float = TIMEOUT_S) -> str:
    """Send one mail, from the installation's sender.

    Args:
        message: what to send.
        timeout_s: for the connection and for each wait for an answer.

    Returns:
        SendGrid's id of the mail.

    Raises:
        NotConfigured: no sender or no key is set. AccountRefused: SendGrid takes no mail of the account's.
        Unavailable: as `secrets.read`. ProviderFailed: refused or not reached.
    """
    env = settings()
    if not env.mail_from:
        raise NotConfigured("MAIL_FROM is empty: set it to a sender that SendGrid has verified")
    api_key = registry.credential("sendgrid", "api_key")
    from python_http_client.exceptions import HTTPError  # noqa: PLC0415
    from sendgrid import SendGridAPIClient  # noqa: PLC0415

    host = registry.base("sendgrid")
    api = SendGridAPIClient(api_key, **({"host": host} if host else {}))
    api.client.timeout = timeout_s
    try:
        answer = api.send(_request(message, env.mail_from))
    except HTTPError as error:
        status = int(error.status_code)
        logger.warning("SendGrid refused", status=status)
        raise _refusal(status, error.body, error.headers) from error
    except (OSError, HTTPException) as error:
        reason = type(getattr(error, "reason", error)).__name__
        raise ProviderFailed(f"SendGrid could not be reached ({reason})", retryable=True) from error
    return str(answer.headers.get("X-Message-Id") or "")


def _refusal(status: int, body: bytes, headers: Any) -> Exception:
    if status in CLOSED:
        text = body.decode(errors="replace").lower()
        reason = next((reason for words, reason in REASONS.items() if words in text), CLOSED[status])
        return AccountRefused(f"{reason} (HTTP {status}); see the secret that SendGridSecretArn names")
    sentence = f"SendGrid refused the mail (HTTP {status}{_fields(body)})"
    if status == TOO_MANY:
        return throttled(sentence, headers)
    return ProviderFailed(sentence, retryable=status >= SERVER_ERROR, retry_after=retry_after(headers))


def _request(message: Message, sender: str) -> dict[str, Any]:
    """The body of POST /v3/mail/send."""
    # SendGrid wants plain text first.
    parts = (("text/plain", message.text), ("text/html", message.html))
    request: dict[str, Any] = {
        "personalizations": [{"to": [{"email": message.to}], "custom_args": dict(message.custom_args)}],
        "from": {"email": sender, "name": SENDER_NAME},
        "subject": message.subject,
        "content": [{"type": kind, "value": value} for kind, value in parts if value],
    }
    if message.categories:
        request["categories"] = list(message.categories)
    if not message.marketing:
        # https://www.twilio.com/docs/sendgrid/ui/sending-email/index-suppressions#bypass-suppressions
        request["mail_settings"] = {"bypass_unsubscribe_management": {"enable": True}}
    if message.group is not None:
        request["asm"] = {"group_id": message.group}
    return request


def _fields(body: bytes) -> str:
    """The fields that SendGrid complains about. Not its sentences: they may quote an address."""
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        named = [str(error["field"]) for error in json.loads(body)["errors"] if error.get("field")]
        return "".join(f", {field}" for field in named[:5])
    return ""
