"""What came in and went out of an order, and when. Pure: derived from the payment's facts, one entry a movement."""

from __future__ import annotations

from adbot_queue.adbots.model import Movement
from adbot_queue.payments.model import Payment


def movements(payment: Payment) -> dict[str, Movement]:
    """Return every movement of money of a purchase, by a name that stays the same whatever comes first.

    A charge tells the sum given back so far; what was given back at a time is the difference to the sum before it.
    Nothing moves before something was bought: refunds of other shops' sales on the same account are not ours.
    """
    if not payment.paid:
        return {}
    found = {
        f"IN#{name}": Movement(payment.paid_at[name], payment.currency, amount, 0)
        for name, amount in payment.paid.items()
        if amount and name in payment.paid_at
    }
    for charge, sums in payment.returned_at.items():
        before = 0
        for total in sorted(map(int, sums)):
            if total > before:
                at = sums[str(total)]
                found[f"OUT#{charge}#{total:012d}"] = Movement(at, payment.currency, 0, total - before)
            before = max(before, total)
    return found
