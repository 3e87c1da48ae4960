"""HTTP models of text messages."""

from __future__ import annotations

from adbot_queue.core.clock import iso
from adbot_queue.core.schema import View
from adbot_queue.messaging.sent_messages import Delivery
from adbot_queue.providers.twilio import REASONS


class MessageView(View):
    """Delivery state of a text message; `message_id` is the id of the provider, `reason` explains its `error_code`."""

    message_id: str
    job_id: str
    state: str
    changed_at: str
    error_code: int | None
    reason: str | None

    @classmethod
    def of(cls, delivery: Delivery) -> MessageView:
        """Return the view of a message."""
        return cls(
            message_id=delivery.sid,
            job_id=delivery.job,
            state=delivery.state,
            changed_at=iso(delivery.changed_at),
            error_code=delivery.error_code,
            reason=REASONS.get(delivery.error_code) if delivery.error_code else None,
        )
