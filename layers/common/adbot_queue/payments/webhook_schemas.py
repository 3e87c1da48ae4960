"""What the webhook answers. Apart from the other models: every payment waits for this function's start."""

from __future__ import annotations

from typing import Literal

from adbot_queue.core.schema import View


class Received(View):
    """The event is recorded: `new`, `repeated`, `settled` (before) or `ignored`.

    `rejected`: it is another account's, or of the other mode, and is not carried out.
    """

    event_id: str
    outcome: Literal["new", "repeated", "settled", "ignored", "rejected"]
