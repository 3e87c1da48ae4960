"""Twilio's messages as far as the project uses them: they are kept to be read and go nowhere.

A message with a StatusCallback is reported on, signed with the auth token that the message came with. Numbers with a
meaning are those of Twilio's test credentials (https://www.twilio.com/docs/iam/test-credentials) and those of
`whatsapp`; `fate=undelivered:30003` in the text (or in a template's variables): the message ends so.

    GET  /messages                  messages that were taken
    POST /people/{phone}/messages   a person writes to us: {"text", "button", "hides_phone", "advanced", "sid", "times"}
    PUT  /templates/{sid}           makes or changes a template: {"status": "paused"}
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
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from local.stand_ins import whatsapp
from local.stand_ins.fault_injection import FaultInjection
from local.stand_ins.refusals import refusal
from local.stand_ins.stub_response import Effects, StubResponse
from local.stand_ins.whatsapp import Way, WhatsApp

MAX_KEPT = 1000
"""Messages that can be read; the oldest goes first."""

MAX_TEXT, MAX_VALID_S = 1600, 14_400
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
SENDER = "+15005550006"
"""The number that messages of a messaging service leave from."""
OPT_OUTS = {"STOP": "STOP", "UNSUBSCRIBE": "STOP", "START": "START", "HELP": "HELP"}
"""What Advanced Opt-Out makes of a message's text."""
_NUMBER = re.compile(r"\+[1-9]\d{6,14}")
_PATH = re.compile(
    r"/2010-04-01/Accounts/(AC[0-9a-fA-F]{32})/Messages(?:/SM[0-9a-f]{32})?\.json|/v1/\w+(?:/HX[0-9a-fA-F]{32}/\w+)?"
)
_MESSAGE = re.compile(r"/Messages/(SM[0-9a-f]{32})\.json")
_PERSON = re.compile(r"/people/(\+\d+)/messages")
_TEMPLATE = re.compile(r"/templates/(HX[0-9a-fA-F]{32})")
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
        inbound_url: Callable[[], str] = lambda: "",
    ) -> None:
        self.messages: deque[dict[str, Any]] = deque(maxlen=MAX_KEPT)
        self.whatsapp = WhatsApp()
        self.inbound_url = inbound_url
        self._account = ("", "")  # of the latest request, with its auth token
        self.effects = Effects()
        self.call = call or _post
        self.later = later or ThreadPoolExecutor(1, "reports").submit  # however many there are to tell
        self._now = now
        self._faults = FaultInjection()

    def respond(self, method: str, path: str, headers: Mapping[str, str], body: str) -> StubResponse:
        """Answer a request; header names are in lower case, and the body of a GET is its query."""
        if (method, path) == ("GET", "/messages"):
            return StubResponse(200, {"items": list(self.messages)})
        if method == "POST" and (person := _PERSON.fullmatch(path)):
            return self._hear(person[1], json.loads(body))
        if method == "PUT" and (template := _TEMPLATE.fullmatch(path)):
            return StubResponse(200, self.whatsapp.put_template(template[1], json.loads(body)))
        try:
            account, token = self._account = _authenticate(path, headers.get("authorization", ""))
            if method == "GET":
                query = dict(parse_qsl(body))
                return whatsapp.content(self.whatsapp, account, path, query) or self._show(path) or self._list(query)
            return self._create(account, token, self._read(headers, body))
        except TwilioError as error:
            return error.reply

    def _hear(self, phone: str, said: dict[str, Any]) -> StubResponse:
        """Have a person write to us: Twilio posts it, as often as `times` says."""
        account, token = self._account
        if not token or not self.inbound_url():
            return StubResponse(409, {"message": "No account has used this stand-in yet, so nothing would be signed."})
        text, button = said.get("text", ""), said.get("button")
        opt_out_type = OPT_OUTS.get(text.strip().upper()) if said.get("advanced") else None
        self.whatsapp.wrote(phone, self._now(), opt_out_type)
        user = f"whatsapp:{whatsapp.bsuid(phone)}"
        sid = said.get("sid") or f"SM{secrets.token_hex(16)}"
        form = {
            "MessageSid": sid,
            "SmsMessageSid": sid,
            "SmsSid": sid,
            "SmsStatus": "received",
            "AccountSid": account,
            "ApiVersion": "2010-04-01",
            "From": user if said.get("hides_phone") else f"whatsapp:{phone}",
            "To": f"whatsapp:{SENDER}",
            "ExternalUserId": user,
            "Body": text,
            "NumMedia": "0",
            "NumSegments": "1",
            "MessageType": "button" if button else "text",
            "ProfileName": said.get("name", "Cara"),
        }
        form |= {} if said.get("hides_phone") else {"WaId": phone.removeprefix("+")}
        form |= {"ButtonText": text, "ButtonPayload": button} if button else {}
        form |= {"OptOutType": opt_out_type} if opt_out_type else {}
        statuses = [self._post(self.inbound_url(), form, token) for _ in range(said.get("times", 1))]
        return StubResponse(200, {"sid": sid, "from": form["From"], "statuses": statuses})

    def _create(self, account: str, token: str, form: dict[str, str]) -> StubResponse:
        key = parse_qs(urlsplit(form.get("StatusCallback", "")).query).get("effect", [""])[0]
        self.effects.asked(key)
        mood = self._faults.of(key or form["To"], form.get("Body", "") + form.get("ContentVariables", ""))
        if mood.refusal:
            return refusal("twilio", mood.refusal)
        if mood.status:
            code = 20429 if mood.status == 429 else 20500 if mood.status >= 500 else 20001
            refused = TwilioError(code, "a failure that was asked for", mood.status).reply
            return StubResponse(refused.status, refused.body, mood.headers)
        message = self._made(account, form)
        answer = dict(message)
        message |= {"content_sid": form.get("ContentSid")}  # nothing that Twilio shows
        self.messages.append(message)
        self.effects.happened(key)
        if callback := form.get("StatusCallback"):
            self.later(lambda: self._report(callback, message, token, form))
        return StubResponse(201, answer, delay=mood.delay)

    def _show(self, path: str) -> StubResponse | None:
        """Answer about one message; None for another path."""
        if not (found := _MESSAGE.search(path)):
            return None
        message = next((one for one in self.messages if one["sid"] == found[1]), None)
        if message is None:
            return TwilioError(20404, f"The requested resource {path} was not found", 404).reply
        return StubResponse(200, {name: value for name, value in message.items() if name != "content_sid"})

    def _list(self, query: dict[str, str]) -> StubResponse:
        found = [message for message in self.messages if query.get("To", message["to"]) == message["to"]]
        size = int(query.get("PageSize", "50"))
        return StubResponse(200, {"messages": found[::-1][:size], "page": 0, "page_size": size})

    def _made(self, account: str, form: dict[str, str]) -> dict[str, Any]:
        at = formatdate(self._now())
        sid = f"SM{secrets.token_hex(16)}"
        return {
            "account_sid": account,
            "api_version": "2010-04-01",
            "body": self.whatsapp.text(form),
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
        """Report one state after another, as the message goes its way; some reports get lost on theirs."""
        phone = self.whatsapp.phone_of(message["to"].removeprefix("whatsapp:"))
        reports = []
        for state, code in self._way(phone, form):
            message |= {"status": state, "error_code": code}
            reports.append(_about(message, state, code, phone))
        match whatsapp.code_in(phone):
            case whatsapp.LOST:
                reports = []
            case whatsapp.TWICE:
                reports = [report for report in reports for _ in range(2)]
            case whatsapp.REVERSED:
                reports.reverse()
        for report in reports:
            self._post(url, report, token)

    def _way(self, phone: str, form: Mapping[str, str]) -> Way:
        if form["To"].startswith("whatsapp:") and (failed := self.whatsapp.way(phone, form, self._now())):
            return failed
        fate = _FATE.search(form.get("Body", "") + form.get("ContentVariables", ""))
        state, code = (fate[1], int(fate[2]) if fate[2] else None) if fate else ("delivered", None)
        return [("sent", None), *([("delivered", None)] if state == "read" else []), (state, code)]

    def _post(self, address: str, form: Mapping[str, str], token: str) -> int:
        """Post a signed form; the status, 0 when there is none. `#rc=3` in the address asks for three repetitions."""
        url, _, overrides = address.partition("#")
        headers = {
            "content-type": "application/x-www-form-urlencoded; charset=utf-8",
            "x-twilio-signature": signature(url, form, token),
        }
        status = 0
        for _ in range(1 + int(parse_qs(overrides).get("rc", ["0"])[0])):
            with suppress(OSError):
                status = self.call(url, urlencode(form).encode(), headers)
            if 200 <= status < 500:
                break
        return status

    def _read(self, headers: Mapping[str, str], body: str) -> dict[str, str]:
        if headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
            raise TwilioError(21604, "A 'To' phone number is required.")
        form = dict(parse_qsl(body, keep_blank_values=True))
        if unknown := form.keys() - KNOWN:  # Twilio ignores them; here a mistake shows
            raise TwilioError(20001, f"Unknown parameters: {', '.join(sorted(unknown))}")
        for check in (self._check_recipient, _check_sender, self._check_content, _check_rest):
            check(form)
        return form

    def _check_recipient(self, form: Mapping[str, str]) -> None:
        if not form.get("To"):
            raise TwilioError(21604, "A 'To' phone number is required.")
        address = form["To"].removeprefix("whatsapp:")
        phone = self.whatsapp.phone_of(address)
        if not _NUMBER.fullmatch(phone):
            raise TwilioError(21211, "Invalid 'To' Phone Number")
        if phone in REFUSED:
            raise TwilioError(*REFUSED[phone])
        if (code := whatsapp.code_in(phone)) in whatsapp.REFUSED:
            raise TwilioError(code, whatsapp.REFUSED[code])
        if self.whatsapp.has_opted_out(phone):
            raise TwilioError(21610, whatsapp.REFUSED[21610])

    def _check_content(self, form: Mapping[str, str]) -> None:
        if not form.get("Body") and not form.get("ContentSid"):
            raise TwilioError(21602, "Message body is required.")
        if len(form.get("Body", "")) > MAX_TEXT:
            raise TwilioError(21617, "The concatenated message body exceeds the 1600 character limit")
        if "ContentSid" in form and form["ContentSid"] not in self.whatsapp.templates:
            raise TwilioError(21655, "The ContentSid is Invalid")
        if "ContentVariables" in form:
            try:
                variables = json.loads(form["ContentVariables"])
            except ValueError:
                variables = None
            if "ContentSid" not in form or not isinstance(variables, dict):
                raise TwilioError(21656, "The ContentVariables Parameter is invalid")


class TwilioError(Exception):
    """A refusal in Twilio's words."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        more = f"https://www.twilio.com/docs/errors/{code}"
        self.reply = StubResponse(status, {"code": code, "message": message, "more_info": more, "status": status})


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
    if kind.lower() != "basic" or (match[1] or account) != account or not re.fullmatch(r"[0-9a-f]{32}", token):
        raise TwilioError(20003, "Authenticate", 401)
    return account, token


def _check_sender(form: Mapping[str, str]) -> None:
    sender, service = form.get("From", ""), form.get("MessagingServiceSid", "")
    if not sender and not re.fullmatch(r"MG[0-9a-fA-F]{32}", service):
        raise TwilioError(21603, "A 'From' phone number is required.")
    if sender in REFUSED_FROM:
        raise TwilioError(*REFUSED_FROM[sender])
    if sender and sender.startswith("whatsapp:") != form["To"].startswith("whatsapp:"):
        raise TwilioError(63007, "Twilio could not find a Channel with the specified From address")


def _check_rest(form: Mapping[str, str]) -> None:
    valid = form.get("ValidityPeriod", "1")
    if not valid.isdigit() or not 1 <= int(valid) <= MAX_VALID_S:
        raise TwilioError(30109, "The ValidityPeriod is out of range")
    if "StatusCallback" in form and not re.fullmatch(r"https?://[^\s/_]+/\S*", form["StatusCallback"]):
        raise TwilioError(21609, "The 'StatusCallback' URL is not a valid URL.")


def _about(message: Mapping[str, Any], state: str, code: int | None, phone: str) -> dict[str, str]:
    """Return one report of a message."""
    of_whatsapp = message["to"].startswith("whatsapp:")
    return (
        {
            "SmsSid": message["sid"],
            "SmsStatus": state,
            "MessageStatus": state,
            "To": message["to"],
            "MessageSid": message["sid"],
            "AccountSid": message["account_sid"],
            "From": message["from"] or (f"whatsapp:{SENDER}" if of_whatsapp else SENDER),
            "ApiVersion": "2010-04-01",
        }
        | ({"ErrorCode": str(code)} if code else {})
        | ({"ExternalUserId": f"whatsapp:{whatsapp.bsuid(phone)}"} if of_whatsapp else {})
    )


def _post(url: str, body: bytes, headers: dict[str, str]) -> int:
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def of_running_stack(file: Path) -> Callable[[], str]:
    """Where the stack that describes itself in `file` hears messages, read whenever it is needed."""
    return lambda: f"{json.loads(file.read_text())['api_url']}/webhooks/twilio/inbound"
