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
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from adbot_queue.core.errors import AccountRefused, BadSignature, NotConfigured, ProviderFailed
from adbot_queue.core.telemetry import logger
from adbot_queue.providers import registry
from adbot_queue.providers.twilio_codes import CODES, Outcome
from adbot_queue.providers.waiting import retry_after, throttled

TWILIO = "https://api.twilio.com"
CONNECT_S = 2
TIMEOUT_S = 10
"""Twilio answers within a second as a rule. A longer wait is better than an answer that is lost."""

LOOK_S = 4
LOOKED_AT = 100
"""The latest messages to a number that `find` looks through."""

NOT_CONNECTED = (ConnectTimeoutError, NewConnectionError)
"""Twilio cannot have taken what it was not connected for."""

CLOCKS_DIFFER_MS = 60_000
"""A message may bear a time that is so much earlier than ours."""

CREATED, OK, TOO_MANY, SERVER_ERROR = 201, 200, 429, 500
UNAUTHORIZED, UNPAID, FORBIDDEN, NOT_FOUND = 401, 402, 403, 404
NO_CREDENTIALS = 20003


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Message:
    """A message to one phone: a text, or (WhatsApp) a template of Twilio's Content Editor with its variables.

    Attributes:
        to: E.164; on WhatsApp also the id of a person whose phone is not known (`US.123`).
        status_callback: receives reports on it; empty: none.
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
    """A message at Twilio: its id, its status as far as known, and the error code if it failed."""

    sid: str
    status: str
    code: int | None = None


def send(message: Message, timeout_s: float = TIMEOUT_S) -> Sent:
    """Hand one message to Twilio.

    Raises:
        NotConfigured: no sender or no credentials. AccountRefused: Twilio does not accept them, or the account or its
            sender is not in order. Unavailable: as `secrets.read`.
        ProviderFailed: refused or not reached. With `extra["uncertain"]` (a lost answer, 5xx) the message may have gone
            out nevertheless.
    """
    taken = ask("POST", _messages(), timeout_s, form=_form(message))
    return _sent(taken)


def find(message: Message, since_ms: int, timeout_s: float = LOOK_S) -> list[Sent]:
    """Messages of the same text to the same phone that Twilio has taken since a moment, the oldest first.

    Raises:
        As `send`.
    """
    listed = ask("GET", _messages(), timeout_s, query={"To": message.address, "PageSize": str(LOOKED_AT)})
    entries = [entry for entry in listed.get("messages") or [] if isinstance(entry, dict)]
    return [
        _sent(entry)
        for entry in reversed(entries)
        if entry.get("direction") == "outbound-api"
        and entry.get("body") == message.text
        and _millis(entry.get("date_created")) >= since_ms - CLOCKS_DIFFER_MS
    ]


def look_up(sid: str, timeout_s: float = LOOK_S) -> Sent | None:
    """Ask how far a message came; None: Twilio has it no more.

    Raises:
        As `send`.
    """
    found = ask("GET", _messages().replace(".json", f"/{sid}.json"), timeout_s, may_be_missing=True)
    return _sent(found) if found else None


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


def ask(
    method: str,
    url: str,
    timeout_s: float,
    form: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
    *,
    may_be_missing: bool = False,
) -> dict[str, Any]:
    """Send one request with the account's credentials and return the answer; empty if what `may_be_missing` is.

    Raises:
        As `send`.
    """
    account, token = registry.credential("twilio", "account_sid"), registry.credential("twilio", "auth_token")
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
        uncertain = not isinstance(error, NOT_CONNECTED)
        sentence = f"Twilio could not be reached ({type(error).__name__})"
        raise ProviderFailed(sentence, retryable=True, uncertain=uncertain) from error
    if may_be_missing and answer.status == NOT_FOUND:
        return {}
    if answer.status not in {CREATED, OK}:
        raise _refusal(answer)
    return _content(answer)


def _messages() -> str:
    account = registry.credential("twilio", "account_sid")
    return f"{registry.base('twilio') or TWILIO}/2010-04-01/Accounts/{account}/Messages.json"


def _content(answer: BaseHTTPResponse) -> dict[str, Any]:
    with suppress(ValueError):
        content = json.loads(answer.data)
        if isinstance(content, dict):
            return content
    raise ProviderFailed("Twilio's answer cannot be read", retryable=True, uncertain=True)


def _refusal(answer: BaseHTTPResponse) -> Exception:
    """What a refusal means: its code, never Twilio's sentence, which quotes numbers."""
    code = 0
    with suppress(ValueError, TypeError, LookupError):
        code = int(json.loads(answer.data)["code"])
    logger.warning("Twilio refused", status=answer.status, code=code)
    # A 403 is about a recipient as well: regions, for instance.
    named_none = answer.status in {UNAUTHORIZED, UNPAID} or (answer.status == FORBIDDEN and not code)
    known = CODES.get(code) or (CODES[NO_CREDENTIALS] if named_none else None)
    if known and known.outcome is Outcome.CLOSED:
        sentence = f"{known.meaning} ({code or answer.status}); see the secret that TwilioSecretArn names"
        return AccountRefused(sentence, known.reach)
    named = f", {code}" + (f": {known.meaning}" if known else "") if code else ""
    sentence = f"Twilio refused the message (HTTP {answer.status}{named})"
    if known and known.outcome is Outcome.WAIT:
        return throttled(sentence, answer.headers, known.reach, code=code)
    if answer.status == TOO_MANY:
        return throttled(sentence, answer.headers)
    failed = answer.status >= SERVER_ERROR
    return ProviderFailed(
        sentence, retryable=failed, retry_after=retry_after(answer.headers), uncertain=failed, code=code
    )


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
    """The sender, and the messaging service whose opt-outs hold for it."""
    sender = {"From": _on_channel(registry.credential("twilio", "whatsapp_from"), whatsapp=True)}
    with suppress(NotConfigured):
        sender["MessagingServiceSid"] = registry.credential("twilio", "messaging_service_sid")
    return sender


def _on_channel(number: str, *, whatsapp: bool) -> str:
    return f"whatsapp:{number.removeprefix('whatsapp:')}" if whatsapp else number


def _sent(entry: Mapping[str, Any]) -> Sent:
    """The message of an answer: its id counts, a status that is missing is the first one."""
    if not (sid := entry.get("sid")):
        raise ProviderFailed("Twilio's answer cannot be read", retryable=True, uncertain=True)
    code = entry.get("error_code")
    return Sent(str(sid), str(entry.get("status") or "accepted"), code if isinstance(code, int) else None)


def _millis(moment: object) -> int:
    """`Thu, 30 Jul 2015 20:12:31 +0000`, in milliseconds; 0 when it is not there."""
    with suppress(ValueError, TypeError):
        return round(parsedate_to_datetime(str(moment or "")).timestamp() * 1000)
    return 0


@lru_cache(maxsize=1)
def _pool() -> PoolManager:
    """The connections of this process; a worker runs up to ten jobs at once."""
    return PoolManager(maxsize=10)
