"""A message that a person sent us, as Twilio posts it. Pure.

https://www.twilio.com/docs/messaging/guides/webhook-request.

`From` is a phone, or on WhatsApp the id of a person who hides it (`whatsapp:DE.123`). WhatsApp writes some phones
otherwise than their owners do, so that a phone has several spellings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from adbot_queue.core.errors import Malformed
from adbot_queue.core.ids import derived_id
from adbot_queue.messaging.opt_outs import Wish, wish_of

MAX_TEXT = 4_096
"""Characters of a text that are kept; WhatsApp has no longer ones."""
MAX_NAME = 200

WHATSAPP = "whatsapp"
_SID = re.compile(r"[A-Za-z0-9]{1,64}")
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
_USER = re.compile(r"[A-Z]{2}\.[A-Za-z0-9.]{1,128}")
_SPELLINGS = (
    (re.compile(r"\+521(\d{10})"), r"+52\1"),  # Mexico: a 1 that is no longer dialled
    (re.compile(r"\+52([2-9]\d{9})"), r"+521\1"),
    (re.compile(r"\+549(\d{10})"), r"+54\1"),  # Argentina: a 9 before mobile numbers
    (re.compile(r"\+54([1-8]\d{9})"), r"+549\1"),
    (re.compile(r"\+55(\d\d)9([6-9]\d{7})"), r"+55\1\2"),  # Brazil: the ninth digit of mobile numbers
    (re.compile(r"\+55(\d\d)([6-9]\d{7})"), r"+55\g<1>9\2"),
)


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message of a person.

    Attributes:
        sid: Twilio's id.
        channel: `whatsapp` or `sms`.
        phone: E.164, None if it is hidden. wa_id: WhatsApp's id of the person, None if it was not sent.
        text: the text, or that of the button that was pressed.
        wish: what it asks for beyond that.
        name: as the person calls themselves on WhatsApp.
        media: pictures and other files with it.
        is_answered: Twilio answers what it asks for by itself (Advanced Opt-Out).
    """

    sid: str
    channel: str
    phone: str | None
    wa_id: str | None
    text: str
    wish: Wish | None
    name: str
    media: int
    is_answered: bool = False

    @property
    def addresses(self) -> list[str]:
        """Return all addresses under which the person may be known."""
        phones = spellings(self.phone) if self.phone else []
        return [*phones, *([self.wa_id] if self.wa_id else [])]


def read(form: Mapping[str, str]) -> Inbound:
    """Return the message in a form.

    `From` and what is said count. A message without an id that can be read has one of its content, so that a STOP is
    heard, and a repetition is the same.

    Raises:
        Malformed: From is missing, or is none.
    """
    named = (form.get(name, "") for name in ("MessageSid", "SmsMessageSid", "SmsSid"))
    sid = next((one for one in named if _SID.fullmatch(one)), None) or derived_id("", *map(repr, sorted(form.items())))
    channel, _, address = form.get("From", "").strip().rpartition(":")  # `rcs:`, `whatsapp:`, none for SMS
    user = (form.get("ExternalUserId") or form.get("ExternalUserIdentifier") or "").rpartition(":")[2]
    phone = next((one for one in (address, f"+{form.get('WaId', '')}") if _PHONE.fullmatch(one)), None)
    wa_id = next((one for one in (address, user) if _USER.fullmatch(one)), None)
    if not (phone or wa_id):
        raise Malformed("From: must be a phone in E.164 form or a WhatsApp id")
    text = form.get("Body") or form.get("ButtonText") or ""
    media = form.get("NumMedia", "")
    return Inbound(
        sid,
        WHATSAPP if channel.lower() == WHATSAPP else "sms",
        phone,
        wa_id,
        text[:MAX_TEXT],
        wish_of(text, form.get("ButtonPayload", ""), form.get("OptOutType", "")),
        form.get("ProfileName", "")[:MAX_NAME],
        int(media) if media.isascii() and media.isdigit() and len(media) < 3 else 0,  # noqa: PLR2004
        is_answered=bool(form.get("OptOutType")),
    )


def spellings(phone: str) -> list[str]:
    """Return the ways in which a phone may be written, itself first."""
    others = (pattern.sub(other, phone) for pattern, other in _SPELLINGS if pattern.fullmatch(phone))
    return [phone, *others]
