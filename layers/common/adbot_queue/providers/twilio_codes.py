"""Error codes of Twilio: what they mean, and what follows for the message, its recipient and everything after it.

https://www.twilio.com/docs/api/errors. Twilio adds codes every year and says of some that their use may change: a code
that is missing here is a refusal of this one message.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from adbot_queue.core.errors import Reach


class Outcome(StrEnum):
    """What a code means for the request."""

    REFUSED = "refused"  # the same request is refused again
    WAIT = "wait"  # one too many: the same request may pass later
    CLOSED = "closed"  # the account or its sender is refused, for every recipient


class Concern(StrEnum):
    """What a refusal says of something other than the request."""

    UNREACHABLE = "unreachable"  # the recipient has no WhatsApp, or no such phone
    OPTED_OUT = "opted_out"  # the recipient wants no messages
    MARKETING_LIMIT = "marketing_limit"  # WhatsApp delivers no marketing to the recipient for now
    TEMPLATE = "template"  # the template or its variables
    WINDOW = "window"  # a text outside the 24 hours
    MESSAGING_LIMIT = "messaging_limit"  # the business has used up its recipients or its rate


@dataclass(frozen=True, slots=True)
class Code:
    """A code.

    Attributes:
        meaning: for a person.
        outcome: what it means for the request.
        reach: of WAIT and CLOSED: which calls it concerns; PART is the channel, SMS or WhatsApp.
        concern: what it says of recipient, template or business.
    """

    meaning: str
    outcome: Outcome = Outcome.REFUSED
    reach: Reach = Reach.JOB
    concern: Concern | None = None


def _refused(meaning: str, concern: Concern | None = None) -> Code:
    return Code(meaning, concern=concern)


def _wait(reach: Reach, meaning: str, concern: Concern | None = None) -> Code:
    return Code(meaning, Outcome.WAIT, reach, concern)


def _closed(reach: Reach, meaning: str) -> Code:
    return Code(meaning, Outcome.CLOSED, reach)


CODES: dict[int, Code] = {
    10001: _closed(Reach.PROVIDER, "the account is not active"),
    10002: _closed(Reach.PROVIDER, "a trial account may not do this"),
    14107: _wait(Reach.JOB, "too many messages between two numbers"),
    20003: _closed(Reach.PROVIDER, "Twilio does not accept the credentials, or the account is suspended"),
    20005: _closed(Reach.PROVIDER, "the account is not active"),
    20006: _closed(Reach.PROVIDER, "the credentials do not allow to send messages"),
    20008: _closed(Reach.PROVIDER, "test credentials cannot send messages"),
    20403: _closed(Reach.PROVIDER, "the credentials do not allow to send messages"),
    20404: _closed(Reach.PROVIDER, "the account does not exist"),
    20429: _wait(Reach.PROVIDER, "too many requests of the account at once"),
    21211: _refused("no valid phone number", Concern.UNREACHABLE),
    21212: _closed(Reach.PART, "the sender is no valid number"),
    21408: _refused("messages to the number's region are not permitted for the account"),
    21603: _closed(Reach.PART, "the sender is missing"),
    21606: _closed(Reach.PART, "the sender is no number of the account"),
    21610: _refused("the recipient has unsubscribed", Concern.OPTED_OUT),
    21611: _wait(Reach.PART, "the sender's queue is full"),
    21614: _refused("no mobile number", Concern.UNREACHABLE),
    21617: _refused("the text is too long"),
    21655: _refused("the template does not exist", Concern.TEMPLATE),
    21656: _refused("the template's variables cannot be read", Concern.TEMPLATE),
    21660: _closed(Reach.PART, "the sender is no number of the account"),
    21701: _closed(Reach.PART, "the messaging service does not exist"),
    21703: _closed(Reach.PART, "the messaging service has no sender"),
    21704: _closed(Reach.PART, "the messaging service has no sender"),
    21705: _closed(Reach.PART, "the messaging service is not valid"),
    21712: _closed(Reach.PART, "the messaging service does not hold the sender"),
    30001: _wait(Reach.PART, "the queue is full"),
    30002: _closed(Reach.PROVIDER, "the account is suspended"),
    30003: _refused("the phone is switched off or out of reach"),
    30004: _refused("the message was blocked"),
    30005: _refused("the number is unknown or out of service", Concern.UNREACHABLE),
    30006: _refused("a landline, or a carrier that cannot be reached", Concern.UNREACHABLE),
    30007: _refused("filtered as unwanted by the carrier"),
    30036: _refused("not delivered within its time of validity"),
    63007: _closed(Reach.PART, "the sender is no WhatsApp sender of the account"),
    63013: _refused(
        "WhatsApp does not take the content: an empty variable, line breaks, too many spaces", Concern.TEMPLATE
    ),
    63014: _refused("the recipient has blocked the sender", Concern.OPTED_OUT),
    63016: _refused("no template, and more than 24 hours after the recipient's last WhatsApp message", Concern.WINDOW),
    63018: _wait(Reach.PART, "the sender's rate or the business's messaging limit is used up", Concern.MESSAGING_LIMIT),
    63020: _closed(Reach.PART, "the WhatsApp Business Account is not in order"),
    63024: _refused("the recipient cannot get WhatsApp messages", Concern.UNREACHABLE),
    63027: _refused("the template does not exist in this language", Concern.TEMPLATE),
    63028: _refused("the template wants another number of variables", Concern.TEMPLATE),
    63032: _refused("Meta holds the recipient out of marketing as a control group", Concern.MARKETING_LIMIT),
    63038: _closed(Reach.PROVIDER, "the account's messages of the day are used up"),
    63040: _refused("WhatsApp has rejected the template", Concern.TEMPLATE),
    63041: _refused("WhatsApp has paused the template", Concern.TEMPLATE),
    63042: _refused("WhatsApp has disabled the template", Concern.TEMPLATE),
    63049: _refused("Meta delivers no more marketing to the recipient for now", Concern.MARKETING_LIMIT),
    63112: _closed(Reach.PART, "Meta has disabled the WhatsApp Business Account"),
    90010: _closed(Reach.PROVIDER, "the account is suspended or closed"),
}


def meaning(code: int | None) -> str | None:
    """Return what a code means, None for an unknown code."""
    found = CODES.get(code or 0)
    return found.meaning if found else None


def concern(code: int | None) -> Concern | None:
    """Return what a code says of recipient, template or business."""
    found = CODES.get(code or 0)
    return found.concern if found else None
