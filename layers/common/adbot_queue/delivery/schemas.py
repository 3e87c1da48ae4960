"""Sent messages over HTTP."""

from __future__ import annotations

from adbot_queue.core.clock import iso
from adbot_queue.core.schema import View
from adbot_queue.delivery.messages import Delivery
from adbot_queue.providers.twilio import REASONS


class MessageView(View):
    """How far a message came. `reason` says what the provider's `error_code` means, where that is known here."""

    sid: str
    job: str
    state: str
    changed_at: str
    error_code: int | None
    reason: str | None

    @classmethod
    def of(cls, delivery: Delivery) -> MessageView:
        """Of a message."""
        return cls(
            sid=delivery.sid,
            job=delivery.job,
            state=delivery.state,
            changed_at=iso(delivery.changed_at),
            error_code=delivery.error_code,
            reason=REASONS.get(delivery.error_code) if delivery.error_code else None,
        )
