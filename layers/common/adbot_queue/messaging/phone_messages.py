"""Messages through Twilio, each sent once: shared by `send-sms`, `send-whatsapp` and `send-otp`.

Twilio has no idempotency keys. So an attempt writes a note before it calls Twilio, and an attempt that finds such a
note checks before it sends: has Twilio reported a message of this effect (its reports name the effect, if the API's
public address is set), or does its list have one with the same text and phone, sent since, that is no other job's?

Gaps: a message is sent twice if Twilio's answer was lost and at the next attempt, 4 s later or more, Twilio has neither
reported nor listed it. A template's text is Twilio's, so only reports help there; a text that Twilio redacts or
rewrites (short links) is not recognised in the list either. And a message may not be sent at all if another job with
the same text and phone has lost its answer and finds ours in the list, between Twilio's answer and our record.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from adbot_queue.core import telemetry
from adbot_queue.core.errors import ProviderFailed
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError
from adbot_queue.jobs.provider_call import calling, verdict
from adbot_queue.messaging import opt_outs
from adbot_queue.messaging import sent_messages as messages
from adbot_queue.messaging import twilio_webhook as callbacks
from adbot_queue.messaging.sent_messages import Begun
from adbot_queue.providers import twilio
from adbot_queue.providers.twilio_codes import Concern, concern

MAX_TEXT = 1600
"""Characters that Twilio takes in one message: https://www.twilio.com/docs/api/errors/21617."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]


def send(message: twilio.Message, context: Context) -> twilio.Sent:
    """Send a message whatever was sent before, and write it down; for what is new at each attempt.

    A code that a person asks for is sent to those who opted out as well.

    Raises:
        PermanentError: refused for what was asked. TransientError: Twilio is busy or was not reached.
        NotConfigured, Unavailable: as `twilio.send`.
    """
    try:
        with calling("twilio", twilio.TIMEOUT_S, context, message.channel) as seconds:
            sent = twilio.send(message, seconds)
    except ProviderFailed as error:
        if concern(error.extra.get("code")) is Concern.OPTED_OUT:
            opt_outs.stop(message.to, context.now(), context.job_id)
        raise verdict(error) from error.__cause__ or error
    messages.from_env().sent(sent.sid, _state(sent), context.idempotency_key, context.job_id)
    return sent


def send_once(message: twilio.Message, context: Context, *, even_if_opted_out: bool = False) -> twilio.Sent:
    """Send a message unless an earlier attempt has, or the recipient wants none. Raises as `send`.

    Args:
        message: the message.
        context: the job's.
        even_if_opted_out: the recipient has just asked for it: the confirmation of a STOP.
    """
    begun = messages.from_env().begin(context.idempotency_key)
    if begun and (before := _sent_before(message, begun, context)):
        telemetry.count("MessagesRecovered")
        return before
    if not even_if_opted_out and opt_outs.is_stopped(message.to):
        raise PermanentError("the recipient has opted out of messages")
    return send(message, context)


def _sent_before(message: twilio.Message, begun: Begun, context: Context) -> twilio.Sent | None:
    """The message that an earlier attempt sent, if it did."""
    known = messages.from_env()
    if begun.sid:
        return twilio.Sent(begun.sid, known.delivery(begun.sid).state)
    if message.text is None:
        return None
    try:
        with calling("twilio", twilio.LOOK_S, context, message.channel) as seconds:
            found = twilio.find(message, begun.begun_at, seconds)
    except ProviderFailed as error:
        raise verdict(error) from error.__cause__ or error
    ours = (sent for sent in found if known.sent(sent.sid, _state(sent), context.idempotency_key, context.job_id))
    return next(ours, None)


def callback_url(context: Context) -> str:
    """Return the address that Twilio reports to."""
    return callbacks.address(context.job_id, context.idempotency_key)


def _state(sent: twilio.Sent) -> str:
    """Twilio's status; one that is not known here counts as the first."""
    return sent.status if sent.status in messages.STEPS else "accepted"
