"""WhatsApp as Twilio reaches it: people with their windows, approved templates, and what becomes of a message.

A phone number that ends in 000 and five digits says what becomes of messages to it (`+4915100063024`):

    21211 21610 21614     Twilio refuses the request with this code
    63013 … 63049         the message fails with this code, as a report says
    10001                 no report ever arrives
    10002                 every report arrives twice
    10003                 the reports arrive in reverse order
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from local.stand_ins.stub_response import StubResponse

WINDOW_S = 24 * 3600
"""How long a person may be written to freely after a message of theirs."""

REFUSED = {
    21211: "Invalid 'To' Phone Number",
    21610: "Attempt to send to unsubscribed recipient",
    21614: "'To' number is not a valid mobile number",
}
FAILURES = {
    63013: "failed",
    63016: "failed",
    63018: "failed",
    63024: "undelivered",
    63032: "undelivered",
    63040: "failed",
    63041: "failed",
    63042: "failed",
    63049: "undelivered",
}
"""How a message ends that fails with a code: https://www.twilio.com/docs/api/errors."""
LOST, TWICE, REVERSED = 10001, 10002, 10003
UNSENDABLE = {"rejected": 63040, "paused": 63041, "disabled": 63042}
"""What a template fails with that WhatsApp does not send; one that was never approved is no template (63016)."""

FIRST, FOLLOW_UP, PAUSED, REJECTED, PENDING, OPTED_OUT = (f"HX{letter * 32}" for letter in "abcdef")
_CODE = re.compile(r"000(\d{5})$")
_VARIABLE = re.compile(r"\{\{(\w+)\}\}")
_BSUID = re.compile(r"[A-Z]{2}\.[A-Za-z0-9.]{1,128}")

Way = list[tuple[str, int | None]]
"""The states that a message goes through after it was taken, each with its error code."""


def code_in(number: str) -> int | None:
    """Return the code that a phone number ends in."""
    found = _CODE.search(number)
    return int(found[1]) if found else None


def bsuid(phone: str) -> str:
    """Return the business-scoped id of a phone's user; the same for the same phone."""
    return f"DE.{int(hashlib.sha256(phone.encode()).hexdigest()[:12], 16)}"


def is_bsuid(address: str) -> bool:
    """Return whether an address without its channel is an id instead of a phone."""
    return _BSUID.fullmatch(address) is not None


class WhatsApp:
    """People and templates of every account."""

    def __init__(self) -> None:
        self._windows: dict[str, float] = {}
        self._opted_out: set[str] = set()
        self._phones: dict[str, str] = {}
        self.templates: dict[str, dict[str, Any]] = {}
        for sid, name, status, category, body in (
            (FIRST, "first_touch", "approved", "MARKETING", "Hello {{1}}, may we show you {{2}}? Reply STOP to end."),
            (FOLLOW_UP, "follow_up", "approved", "UTILITY", "Hello {{1}}, your request is with us."),
            (PAUSED, "paused_offer", "paused", "MARKETING", "Hello {{1}}, our offer ends soon."),
            (REJECTED, "rejected_offer", "rejected", "MARKETING", "Buy now, {{1}}!"),
            (PENDING, "pending_offer", "pending", "MARKETING", "Hello {{1}}, something new."),
            (OPTED_OUT, "opt_out_confirmed", "approved", "UTILITY", "You get no more messages from us."),
        ):
            self.put_template(sid, {"name": name, "status": status, "category": category, "body": body})

    def put_template(self, sid: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Make a template or change it: name, status, category, language, body, rejection_reason."""
        empty = {"name": sid.lower(), "status": "approved", "category": "UTILITY", "language": "en", "body": ""}
        self.templates[sid] = {**empty, "rejection_reason": "", **self.templates.get(sid, {}), **changes}
        return self.templates[sid]

    def phone_of(self, address: str) -> str:
        """Return the phone behind an address without its channel; an id that is unknown stays as it is."""
        return self._phones.get(address, address)

    def knows(self, address: str) -> bool:
        """Return whether an address without its channel can be written to."""
        return not is_bsuid(address) or address in self._phones

    def has_opted_out(self, phone: str) -> bool:
        """Return whether Twilio itself keeps messages from a person."""
        return phone in self._opted_out

    def wrote(self, phone: str, at: float, opt_out_type: str | None) -> None:
        """Note that a person wrote; `opt_out_type`: what Twilio's Advanced Opt-Out made of it."""
        self._phones[bsuid(phone)] = phone
        self._windows[phone] = at + WINDOW_S
        if opt_out_type == "STOP":
            self._opted_out.add(phone)
        elif opt_out_type == "START":
            self._opted_out.discard(phone)

    def way(self, phone: str, form: Mapping[str, str], at: float) -> Way | None:
        """Return how a message fails at WhatsApp, None when it does not."""
        self._phones.setdefault(bsuid(phone), phone)
        code = code_in(phone)
        if code not in FAILURES:
            code = self._refusal(phone, form, at)
        if code is None:
            return None
        first: Way = [("sent", None)] if FAILURES[code] == "undelivered" else []
        return [*first, (FAILURES[code], code)]

    def _refusal(self, phone: str, form: Mapping[str, str], at: float) -> int | None:
        is_open = self._windows.get(phone, 0) > at
        template = self.templates.get(form.get("ContentSid", ""))
        if template is None:
            return None if is_open else 63016
        if template["status"] in UNSENDABLE:
            return UNSENDABLE[template["status"]]
        if template["status"] != "approved":
            return None if is_open else 63016
        values = json.loads(form.get("ContentVariables", "{}"))
        if any(not _is_sendable(values.get(name, "")) for name in _VARIABLE.findall(template["body"])):
            return 63013
        return 63049 if template["category"] == "MARKETING" and phone.startswith("+1") else None

    def text(self, form: Mapping[str, str]) -> str:
        """Return what the phone shows of a message."""
        template = self.templates.get(form.get("ContentSid", ""))
        if template is None:
            return form.get("Body", "")
        values = json.loads(form.get("ContentVariables", "{}"))
        return _VARIABLE.sub(lambda match: str(values.get(match[1], match[0])), template["body"])


def _is_sendable(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and not re.search(r"[\n\t]| {5}", value)


def content(whatsapp: WhatsApp, account: str, path: str, query: Mapping[str, str]) -> StubResponse | None:
    """Answer the Content API: templates and what WhatsApp thinks of them; None for another path."""
    if path == "/v1/ContentAndApprovals":
        return _page(whatsapp, account, query)
    found = re.fullmatch(r"/v1/Content/(HX[0-9a-fA-F]{32})/ApprovalRequests", path)
    if found is None:
        return None
    sid = found[1]
    if sid not in whatsapp.templates:
        return StubResponse(
            404, {"code": 20404, "message": f"The requested resource {path} was not found", "status": 404}
        )
    approval = _approval(whatsapp.templates[sid])
    return StubResponse(
        200, {"sid": sid, "account_sid": account, "whatsapp": {"type": "whatsapp", **approval}, "url": path}
    )


def _page(whatsapp: WhatsApp, account: str, query: Mapping[str, str]) -> StubResponse:
    size, page = int(query.get("PageSize", "50")), int(query.get("Page", "0"))
    sids = sorted(whatsapp.templates)
    address = "https://content.twilio.com/v1/ContentAndApprovals?PageSize={}&Page={}"
    more = len(sids) > (page + 1) * size
    contents = [_shown(account, sid, whatsapp.templates[sid]) for sid in sids[page * size : (page + 1) * size]]
    meta = {
        "page": page,
        "page_size": size,
        "first_page_url": address.format(size, 0),
        "previous_page_url": address.format(size, page - 1) if page else None,
        "next_page_url": address.format(size, page + 1) if more else None,
        "url": address.format(size, page),
        "key": "contents",
    }
    return StubResponse(200, {"contents": contents, "meta": meta})


def _shown(account: str, sid: str, template: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "sid": sid,
        "account_sid": account,
        "date_created": "2026-11-01T09:00:00Z",
        "date_updated": "2026-11-02T09:00:00Z",
        "friendly_name": template["name"],
        "language": template["language"],
        "variables": {name: f"example {name}" for name in _VARIABLE.findall(template["body"])},
        "types": {"twilio/text": {"body": template["body"]}},
        "approval_requests": _approval(template),
    }


def _approval(template: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": template["name"],
        "category": template["category"],
        "content_type": "twilio/text",
        "status": template["status"],
        "rejection_reason": template["rejection_reason"],
        "allow_category_change": True,
    }
