"""Twilio's messages as far as the project uses them: they are kept to be read and go nowhere.

Whoever gives a StatusCallback is told how far its message came, signed with the auth token that the message came with.
Numbers with a meaning are those of Twilio's test credentials (https://www.twilio.com/docs/iam/test-credentials), and:

    +15005550016    is outside WhatsApp's 24 hours: a text fails with 63016, a template does not
    fate=undelivered:30003   in the text: the message ends so
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from local.stand_ins.moods import Moods
from local.stand_ins.refusals import refusal
from local.stand_ins.reply import Effects, Reply

KEPT = 1000
"""Messages that can be read; the oldest goes first."""

MOST_TEXT, MOST_VALID_S = 1600, 14_400
KNOWN = {
    "Body", "ContentSid", "ContentVariables", "From", "MessagingServiceSid", "StatusCallback", "To", "ValidityPeriod",
}  # fmt: skip
REFUSED = {
    "+15005550001": (21211, "Invalid 'To' Phone Number: +1500555XXXX"),
    "+15005550002": (21612, "The 'To' phone number is not currently reachable using the 'From' number"),
    "+15005550003": (21408, "Permission to send an SMS has not been enabled for the region"),
    "+15005550004": (21610, "Attempt to send to unsubscribed recipient"),
    "+15005550009": (21614, "'To' number is not a valid mobile number"),
}
REFUSED_FROM = {
    "+15005550001": (21212, "Invalid 'From' Number"),
    "+15005550007": (21606, "not a valid, SMS-capable number"),
}
OUTSIDE = "+15005550016"
_NUMBER = re.compile(r"\+[1-9]\d{6,14}")
_PATH = re.compile(r"/2010-04-01/Accounts/(AC[0-9a-fA-F]{32})/Messages\.json")
_FATE = re.compile(r"\bfate=(delivered|undelivered|failed|read)(?::(\d+))?\b")

Call = Callable[[str, bytes, dict[str, str]], int]
"""Posts a body to an address; answers the status it got."""


class Twilio:
    """Any account, with any auth token, that owns every number and every messaging service."""

    def __init__(
        self,
        call: Call | None = None,
        later: Callable[[Callable[[], None]], object] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.messages: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.effects = Effects()
        self.call = call or _post
        self.later = later or ThreadPoolExecutor(1, "reports").submit  # however many there are to tell
        self._now = now
        self._moods = Moods()

    def respond(self, method: str, path: str, headers: Mapping[str, str], body: str) -> Reply:
        """Answer a request; header names are in lower case, and the body of a GET is its query."""
        if (method, path) == ("GET", "/messages"):
            return Reply(200, {"items": list(self.messages)})
        try:
            account, token = _authenticate(path, headers.get("authorization", ""))
            if method == "GET":
                return self._list(dict(parse_qsl(body)))
            return self._create(account, token, _read(headers, body))
        except TwilioError as error:
            return error.reply

    def _create(self, account: str, token: str, form: dict[str, str]) -> Reply:
        key = parse_qs(urlsplit(form.get("StatusCallback", "")).query).get("effect", [""])[0]
        self.effects.asked(key)
        mood = self._moods.of(key or form["To"], form.get("Body", ""))
        if mood.refusal:
            return refusal("twilio", mood.refusal)
        if mood.status:
            code = 20429 if mood.status == 429 else 20500 if mood.status >= 500 else 20001
            refused = TwilioError(code, "a failure that was asked for", mood.status).reply
            return Reply(refused.status, refused.body, mood.headers)
        message = self._made(account, form)
        self.messages.append(message)
        self.effects.happened(key)
        if callback := form.get("StatusCallback"):
            self.later(lambda: self._report(callback, message, token, form))
        return Reply(201, dict(message), delay=mood.delay)

    def _list(self, query: dict[str, str]) -> Reply:
        found = [message for message in self.messages if query.get("To", message["to"]) == message["to"]]
        size = int(query.get("PageSize", "50"))
        return Reply(200, {"messages": found[::-1][:size], "page": 0, "page_size": size})

    def _made(self, account: str, form: dict[str, str]) -> dict[str, Any]:
        at = formatdate(self._now())
        sid = f"SM{secrets.token_hex(16)}"
        return {
            "account_sid": account,
            "api_version": "2010-04-01",
            "body": form.get("Body", f"(template {form.get('ContentSid')})"),
            "date_created": at,
            "date_sent": None,
            "date_updated": at,
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "from": form.get("From"),
            "messaging_service_sid": form.get("MessagingServiceSid"),
            "num_media": "0",
            "num_segments": "0" if "MessagingServiceSid" in form else "1",
            "price": None,
            "price_unit": None,
            "sid": sid,
            "status": "accepted" if "MessagingServiceSid" in form else "queued",
            "subresource_uris": {"media": f"/2010-04-01/Accounts/{account}/Messages/{sid}/Media.json"},
            "to": form["To"],
            "uri": f"/2010-04-01/Accounts/{account}/Messages/{sid}.json",
        }

    def _report(self, url: str, message: dict[str, Any], token: str, form: dict[str, str]) -> None:
        """One after another, as the message goes its way."""
        for state, code in _way(form):
            message |= {"status": state, "error_code": code}
            report = {
                "SmsSid": message["sid"],
                "SmsStatus": state,
                "MessageStatus": state,
                "To": message["to"],
                "MessageSid": message["sid"],
                "AccountSid": message["account_sid"],
                "From": message["from"] or "+15005550006",
                "ApiVersion": "2010-04-01",
            } | ({"ErrorCode": str(code)} if code else {})
            headers = {
                "content-type": "application/x-www-form-urlencoded; charset=utf-8",
                "x-twilio-signature": signature(url, report, token),
            }
            with suppress(OSError):  # Twilio gives up, too
                self.call(url, urlencode(report).encode(), headers)


class TwilioError(Exception):
    """A refusal in Twilio's words."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        more = f"https://www.twilio.com/docs/errors/{code}"
        self.reply = Reply(status, {"code": code, "message": message, "more_info": more, "status": status})


def signature(url: str, form: Mapping[str, str], token: str) -> str:
    """X-Twilio-Signature: https://www.twilio.com/docs/usage/security#validating-requests."""
    signed = hmac.new(token.encode(), url.encode(), hashlib.sha1)
    for name in sorted(form):
        signed.update(f"{name}{form[name]}".encode())
    return base64.b64encode(signed.digest()).decode()


def _authenticate(path: str, authorization: str) -> tuple[str, str]:
    """The account and the auth token."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise TwilioError(20404, f"The requested resource {path} was not found", 404)
    kind, _, text = authorization.partition(" ")
    try:
        account, _, token = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        account = token = ""
    if kind.lower() != "basic" or account != match[1] or not re.fullmatch(r"[0-9a-f]{32}", token):
        raise TwilioError(20003, "Authenticate", 401)
    return account, token


def _read(headers: Mapping[str, str], body: str) -> dict[str, str]:
    if headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
        raise TwilioError(21604, "A 'To' phone number is required.")
    form = dict(parse_qsl(body, keep_blank_values=True))
    if unknown := form.keys() - KNOWN:  # Twilio ignores them; here a mistake shows
        raise TwilioError(20001, f"Unknown parameters: {', '.join(sorted(unknown))}")
    for check in (_check_recipient, _check_sender, _check_content, _check_rest):
        check(form)
    return form


def _check_recipient(form: Mapping[str, str]) -> None:
    if not form.get("To"):
        raise TwilioError(21604, "A 'To' phone number is required.")
    number = form["To"].removeprefix("whatsapp:")
    if not _NUMBER.fullmatch(number):
        raise TwilioError(21211, "Invalid 'To' Phone Number")
    if number in REFUSED:
        raise TwilioError(*REFUSED[number])


def _check_sender(form: Mapping[str, str]) -> None:
    sender, service = form.get("From", ""), form.get("MessagingServiceSid", "")
    if not sender and not re.fullmatch(r"MG[0-9a-fA-F]{32}", service):
        raise TwilioError(21603, "A 'From' phone number is required.")
    if sender in REFUSED_FROM:
        raise TwilioError(*REFUSED_FROM[sender])
    if sender and sender.startswith("whatsapp:") != form["To"].startswith("whatsapp:"):
        raise TwilioError(63007, "Twilio could not find a Channel with the specified From address")


def _check_content(form: Mapping[str, str]) -> None:
    if not form.get("Body") and not form.get("ContentSid"):
        raise TwilioError(21602, "Message body is required.")
    if len(form.get("Body", "")) > MOST_TEXT:
        raise TwilioError(21617, "The concatenated message body exceeds the 1600 character limit")
    if "ContentSid" in form and not re.fullmatch(r"HX[0-9a-fA-F]{32}", form["ContentSid"]):
        raise TwilioError(21655, "The ContentSid is Invalid")
    if "ContentVariables" in form:
        try:
            variables = json.loads(form["ContentVariables"])
        except ValueError:
            variables = None
        if "ContentSid" not in form or not isinstance(variables, dict):
            raise TwilioError(21656, "The ContentVariables Parameter is invalid")


def _check_rest(form: Mapping[str, str]) -> None:
    valid = form.get("ValidityPeriod", "1")
    if not valid.isdigit() or not 1 <= int(valid) <= MOST_VALID_S:
        raise TwilioError(30109, "The ValidityPeriod is out of range")
    if "StatusCallback" in form and not re.fullmatch(r"https?://[^\s/_]+/\S*", form["StatusCallback"]):
        raise TwilioError(21609, "The 'StatusCallback' URL is not a valid URL.")


def _way(form: Mapping[str, str]) -> list[tuple[str, int | None]]:
    """The states that a message goes through after it was taken."""
    if form["To"] == f"whatsapp:{OUTSIDE}" and "Body" in form:
        return [("failed", 63016)]
    fate = _FATE.search(form.get("Body", ""))
    state, code = (fate[1], int(fate[2]) if fate[2] else None) if fate else ("delivered", None)
    return [("sent", None), *([("delivered", None)] if state == "read" else []), (state, code)]


def _post(url: str, body: bytes, headers: dict[str, str]) -> int:
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
