"""`payout-process`: sends money on through Stripe, to a connected account or to a bank, once.

The job's key is Stripe's idempotency key and part of the metadata of what it created. After a day Stripe may have
forgotten the key: then the job searches the transfers or payouts created since it was first enqueued.

A balance that is too low (`balance_insufficient`) is permanent. Stripe keeps its refusal under the key: the same job
would get it for a day, also with enough money. A manual retry gets a new key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from adbot_queue.core import telemetry
from adbot_queue.core.schema import Input
from adbot_queue.core.telemetry import logger
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType
from adbot_queue.payments import stripe_calls as money
from adbot_queue.platform.owner_limit import OwnerLimit

if TYPE_CHECKING:
    from stripe import Payout, StripeClient, Transfer

VOID = frozenset(["failed", "canceled"])
CLOCK_SKEW_S = 3600


class ProcessPayout(Input):
    """Money to send on now.

    `transfer` moves it from the platform's balance to the connected `account`, which is needed. `payout` pays it from
    the balance of the connected `account`, or the platform's without one, to the account's own bank.
    """

    kind: Literal["transfer", "payout"]
    amount: money.Amount
    currency: money.Currency
    account: str | None = Field(default=None, pattern=r"^acct_[A-Za-z0-9]{1,250}$", description="an acct_… id")
    description: str = Field(default="", max_length=1000)
    metadata: money.Metadata = Field(default_factory=dict)

    @model_validator(mode="after")
    def _can_be_sent(self) -> Self:
        if self.kind == "transfer" and self.account is None:
            raise ValueError("a transfer needs an account")
        money.fit(self.amount, self.currency, payout=self.kind == "payout")
        return self


def process_payout(payload: ProcessPayout, context: Context) -> dict[str, Any]:
    """Create a transfer or a payout.

    Returns:
        For a transfer: transfer, destination, destination_payment (the connected account's side of it), amount,
        currency, amount_text. For a payout: payout, status, arrival_date (the day on which the bank should have it, in
        UTC), destination (the bank account's id), amount, currency, amount_text.

    Raises:
        PermanentError: too low a balance (`balance_insufficient`), no such account, or refused for another reason.
        TransientError: Stripe is busy or was not reached. NotConfigured, Unavailable, TimeoutError: as `money.asking`.
    """
    return _transfer(payload, context) if payload.kind == "transfer" else _payout(payload, context)


def _transfer(payload: ProcessPayout, context: Context) -> dict[str, Any]:
    def those(client: StripeClient, page: Any) -> Any:
        params: Any = {"destination": payload.account, **page}
        return client.v1.transfers.list(params, money.options())

    transfer: Transfer | None = _made_before(context, those)
    if transfer is None:
        params: Any = {**_params(payload, context), "destination": payload.account}
        with money.asking(context) as client:
            transfer = client.v1.transfers.create(params, money.options(key=context.idempotency_key))
    telemetry.count("TransfersProcessed")
    logger.info("transfer", transfer=transfer.id)
    return {
        "transfer": transfer.id,
        "destination": transfer.destination,
        "destination_payment": getattr(transfer, "destination_payment", None),
        **money.shown(transfer),
    }


def _payout(payload: ProcessPayout, context: Context) -> dict[str, Any]:
    def those(client: StripeClient, page: Any) -> Any:
        return client.v1.payouts.list(page, money.options(payload.account))

    payout: Payout | None = _made_before(context, those, payload.account)
    if payout is None:
        params: Any = _params(payload, context)
        with money.asking(context, account=payload.account) as client:
            payout = client.v1.payouts.create(params, money.options(payload.account, context.idempotency_key))
    if payout.status in VOID:
        raise PermanentError(
            f"payout {payout.id} {payout.status}: {getattr(payout, 'failure_code', None) or 'no reason'}"
        )
    telemetry.count("PayoutsProcessed")
    logger.info("payout", payout=payout.id, status=payout.status)
    return {
        "payout": payout.id,
        "status": payout.status,
        "arrival_date": datetime.fromtimestamp(payout.arrival_date, UTC).date().isoformat(),
        "destination": payout.destination,
        **money.shown(payout),
    }


def _params(payload: ProcessPayout, context: Context) -> dict[str, Any]:
    return {
        "amount": payload.amount,
        "currency": payload.currency,
        "metadata": money.marked(payload.metadata, context),
        **({"description": payload.description} if payload.description else {}),
    }


def _made_before(context: Context, those: Callable[[StripeClient, Any], Any], account: str | None = None) -> Any:
    """What an attempt made whose key Stripe may have forgotten."""
    if context.created_at is None or not money.key_may_be_forgotten(context):
        return None
    since = {"created": {"gte": context.created_at // 1000 - CLOCK_SKEW_S}}
    pages = money.everything(context, lambda client, page: those(client, {**since, **page}), account)
    return money.own(pages, context)


def needs_owner(payload: Mapping[str, Any], limit: OwnerLimit) -> str | None:
    """Return why a payout needs the owner; None: it does not."""
    return limit.reason("a payout", payload.get("amount"), payload.get("currency"))


JOB = JobType(
    queue="money",
    payload=ProcessPayout,
    handler=process_payout,
    needs_owner=needs_owner,
    window_s=90 * DAY_S,
    horizon_s=3 * DAY_S,
    cap_s=15 * MINUTE_S,
    needs=("stripe",),
    example={"kind": "payout", "amount": 100, "currency": "eur"},
)
