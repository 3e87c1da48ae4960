"""Twilio's messages, asked directly: their library costs 0.4 s of a cold start for one form and one signature.

Twilio has no idempotency keys: every request that it takes is one more message. What it has is a list of messages,
which can be asked whether one of them is ours (`find`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from urllib3 import BaseHTTPResponse, PoolManager, Timeout, make_headers
from urllib3.exceptions import HTTPError

from adbot_queue.core.errors import AccountRefused, BadSignature, NotConfigured, ProviderFailed, Reach
from adbot_queue.core.telemetry import logger
from adbot_queue.providers import registry
from adbot_queue.providers.waiting import retry_after, throttled

TWILIO = "https://api.twilio.com"
CONNECT_S = 2
TIMEOUT_S = 10
"""Twilio answers within a second as a rule. A longer wait is better than an answer that is lost."""

LOOK_S = 4
LOOKED_AT = 100
"""The latest messages to a number that `find` looks through."""

CLOCKS_DIFFER_MS = 60_000
"""A message may bear a time that is so much earlier than ours."""

REASONS = {
    21211: "no valid phone number",
    21408: "messages to the number's region are not permitted for the account",
    21610: "the recipient has unsubscribed",
    21611: "the sender's queue is full",
    21614: "no mobile number",
    21617: "the text is too long",
    30003: "the phone is switched off or out of reach",
    30004: "the message was blocked",
    30005: "the number is unknown or out of service",
    30006: "a landline, or a carrier that cannot be reached",
    30007: "filtered as unwanted by the carrier",
    30036: "not delivered within its time of validity",
    63016: "no template, and more than 24 hours after the recipient's last WhatsApp message",
}
"""What the codes that people meet mean: https://www.twilio.com/docs/api/errors. There are more every year, so nothing
is decided by them but what is in THROTTLES and CLOSED."""

THROTTLES = {
    14107: Reach.JOB,  # too many between two numbers
    20429: Reach.PROVIDER,  # the account's requests at once
    21611: Reach.PART,  # the sender's queue
    30001: Reach.PART,
    63018: Reach.PART,  # the channel's rate
}
"""Refusals that only say that it is one too many, whatever the status."""

CLOSED = {
    10001: (Reach.PROVIDER, "the account is not active"),
    20003: (Reach.PROVIDER, "Twilio does not accept the credentials, or the account is suspended"),
    20005: (Reach.PROVIDER, "the account is not active"),
    20006: (Reach.PROVIDER, "the credentials do not allow to send messages"),
    20008: (Reach.PROVIDER, "test credentials cannot send messages"),
    20403: (Reach.PROVIDER, "the credentials do not allow to send messages"),
    20404: (Reach.PROVIDER, "there is no such account"),
    21212: (Reach.PART, "the sender is no valid number"),
    21606: (Reach.PART, "the sender is no number of the account"),
    21660: (Reach.PART, "the sender is no number of the account"),
    21701: (Reach.PART, "there is no such messaging service"),
    21703: (Reach.PART, "the messaging service has no number"),
    30002: (Reach.PROVIDER, "the account is suspended"),
    63007: (Reach.PART, "the sender is no WhatsApp sender of the account"),
    63020: (Reach.PART, "the WhatsApp Business Account is not in order"),
    63038: (Reach.PROVIDER, "the account's messages of the day are used up"),
    63112: (Reach.PART, "Meta has disabled the WhatsApp Business Account"),
}
"""Refusals of the account or of its sender, whoever the recipient is. PART is the channel: SMS or WhatsApp."""

CREATED, OK, TOO_MANY, SERVER_ERROR = 201, 200, 429, 500
UNAUTHORIZED, UNPAID, FORBIDDEN = 401, 402, 403


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Message:
    """A message to one phone: a text, or (WhatsApp) a template of Twilio's Content Editor with its variables.

    Attributes:
        to: E.164.
        status_callback: is told what becomes of it; empty: nobody.
        valid_s: seconds that it may wait at Twilio, 4 hours unless given.
    """

    to: str
    text: str | None = None
    content_sid: str | None = None
    content_variables: Mapping[str, str] = field(default_factory=dict)
    whatsapp: bool = False
    status_callback: str = ""
    valid_s: int | None = None

    @property
    def channel(self) -> str:
        """Which of the account's senders it leaves by."""
        return "whatsapp" if self.whatsapp else "sms"

    @property
    def address(self) -> str:
        """The recipient as Twilio writes it."""
        return _on_channel(self.to, whatsapp=self.whatsapp)


@dataclass(frozen=True, slots=True)
class Sent:
    """A message at Twilio: its id, and its status as far as known."""

    sid: str
    status: str


def send(message: Message, timeout_s: float = TIMEOUT_S) -> Sent:
    """Hand one message to Twilio.

    Raises:
        NotConfigured: no sender or no credentials. AccountRefused: Twilio does not accept them, or the account or its
            sender is not in order. Unavailable: as `secrets.read`.
        ProviderFailed: refused or not reached. When Twilio was not reached, or answered 5xx, the message may have gone
            out nevertheless.
    """
    taken = _ask("POST", timeout_s, form=_form(message))
    return _sent(taken)


def find(message: Message, since_ms: int, timeout_s: float = LOOK_S) -> list[Sent]:
    """Messages of the same text to the same phone that Twilio has taken since a moment, the oldest first.

    Raises:
        As `send`.
    """
    listed = _ask("GET", timeout_s, query={"To": message.address, "PageSize": str(LOOKED_AT)})
    entries = [entry for entry in listed.get("messages") or [] if isinstance(entry, dict)]
    return [
        _sent(entry)
        for entry in reversed(entries)
        if entry.get("direction") == "outbound-api"
        and entry.get("body") == message.text
        and _millis(entry.get("date_created")) >= since_ms - CLOCKS_DIFFER_MS
    ]


def verify(url: str, form: Iterable[tuple[str, str]], signature: str | None) -> None:
    """Believe a request only if Twilio has signed it.

    Args:
        url: the address that Twilio called, as we had given it.
        form: the fields of its body.
        signature: the header X-Twilio-Signature.

    Raises:
        BadSignature: it has not. NotConfigured, Unavailable: as `registry.credential`.
    """
    token = registry.credential("twilio", "auth_token")
    # As https://www.twilio.com/docs/usage/security#validating-requests says; a field that comes twice counts once.
    text = url + "".join(name + value for name, value in sorted(set(form)))
    expected = base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest())
    if not hmac.compare_digest(expected, (signature or "").encode()):
        raise BadSignature("the signature is missing or not Twilio's")


def _ask(
    method: str, timeout_s: float, form: Mapping[str, str] | None = None, query: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """One request for the account's messages: what was answered."""
    account = registry.credential("twilio", "account_sid")
    token = registry.credential("twilio", "auth_token")
    url = f"{registry.base('twilio') or TWILIO}/2010-04-01/Accounts/{account}/Messages.json"
    headers = make_headers(basic_auth=f"{account}:{token}")
    if form is not None:
        headers["content-type"] = "application/x-www-form-urlencoded"
    try:
        answer = _pool().request(
            method,
            f"{url}?{urlencode(query)}" if query else url,
            body=urlencode(form).encode() if form is not None else None,
            headers=headers,
            timeout=Timeout(connect=min(CONNECT_S, timeout_s), total=timeout_s),
            retries=False,
        )
    except HTTPError as error:
        raise ProviderFailed(f"Twilio could not be reached ({type(error).__name__})", retryable=True) from error
    if answer.status not in {CREATED, OK}:
        raise _refusal(answer)
    return _content(answer)


def _content(answer: BaseHTTPResponse) -> dict[str, Any]:
    with suppress(ValueError):
        content = json.loads(answer.data)
        if isinstance(content, dict):
            return content
    raise ProviderFailed("Twilio's answer cannot be read", retryable=True)


def _refusal(answer: BaseHTTPResponse) -> Exception:
    """What a refusal means: its code, never Twilio's sentence, which quotes numbers."""
    code = 0
    with suppress(ValueError, TypeError, LookupError):
        code = int(json.loads(answer.data)["code"])
    logger.warning("Twilio refused", status=answer.status, code=code)
    # A 403 is about a recipient as well: regions, for instance.
    named_none = answer.status in {UNAUTHORIZED, UNPAID} or (answer.status == FORBIDDEN and not code)
    if code in CLOSED or named_none:
        reach, reason = CLOSED.get(code, CLOSED[20003])
        return AccountRefused(f"{reason} ({code or answer.status}); see the secret that TwilioSecretArn names", reach)
    named = f", {code}" + (f": {REASONS[code]}" if code in REASONS else "") if code else ""
    sentence = f"Twilio refused the message (HTTP {answer.status}{named})"
    if code in THROTTLES or answer.status == TOO_MANY:
        return throttled(sentence, answer.headers, THROTTLES.get(code, Reach.PROVIDER))
    return ProviderFailed(sentence, retryable=answer.status >= SERVER_ERROR, retry_after=retry_after(answer.headers))


def _form(message: Message) -> dict[str, str]:
    """The fields of POST …/Messages.json."""
    form = {"To": message.address, **(_whatsapp_sender() if message.whatsapp else _sms_sender())}
    if message.text is not None:
        form["Body"] = message.text
    if message.content_sid is not None:
        form["ContentSid"] = message.content_sid
        if message.content_variables:
            form["ContentVariables"] = json.dumps(dict(message.content_variables))
    if message.status_callback:
        form["StatusCallback"] = message.status_callback
    if message.valid_s is not None:
        form["ValidityPeriod"] = str(message.valid_s)
    return form


def _sms_sender() -> dict[str, str]:
    with suppress(NotConfigured):
        return {"MessagingServiceSid": registry.credential("twilio", "messaging_service_sid")}
    with suppress(NotConfigured):
        return {"From": registry.credential("twilio", "from")}
    raise NotConfigured(
        'neither "messaging_service_sid" nor "from" is filled in in the secret that TwilioSecretArn names'
    )


def _whatsapp_sender() -> dict[str, str]:
    return {"From": _on_channel(registry.credential("twilio", "whatsapp_from"), whatsapp=True)}


def _on_channel(number: str, *, whatsapp: bool) -> str:
    return f"whatsapp:{number.removeprefix('whatsapp:')}" if whatsapp else number


def _sent(entry: Mapping[str, Any]) -> Sent:
    """The message of an answer: its id counts, a status that is missing is the first one."""
    if not (sid := entry.get("sid")):
        raise ProviderFailed("Twilio's answer cannot be read", retryable=True)
    return Sent(str(sid), str(entry.get("status") or "accepted"))


def _millis(moment: object) -> int:
    """`Thu, 30 Jul 2015 20:12:31 +0000`, in milliseconds; 0 when it is not there."""
    with suppress(ValueError, TypeError):
        return round(parsedate_to_datetime(str(moment or "")).timestamp() * 1000)
    return 0


@lru_cache(maxsize=1)
def _pool() -> PoolManager:
    """The connections of this process; a worker runs up to ten jobs at once."""
    return PoolManager(maxsize=10)
