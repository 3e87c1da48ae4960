"""HTTP model of the Stripe webhook, apart from the others: every payment waits for its cold start."""

from __future__ import annotations

from typing import Literal

from adbot_queue.core.schema import View


class StripeEventReceived(View):
    """The event is recorded: `new`, `repeated`, `settled` (before) or `ignored`.

    `rejected`: it is of another account or of the other mode (live, test) and has no effect.
    """

    event_id: str
    outcome: Literal["new", "repeated", "settled", "ignored", "rejected"]
