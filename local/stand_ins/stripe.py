"""Stripe's API as far as the project uses it: payments, refunds, transfers and payouts, with its keys and errors.

Parameters are held against Stripe's published schema and against the rules that its errors name. A session is paid on
its page (`/stripe/pay/<id>`), which sends the signed event that Stripe would send.
"""

from __future__ import annotations

import copy
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from local.stand_ins.fault_injection import FaultInjection
from local.stand_ins.payment_intents import PaymentIntents, missing
from local.stand_ins.payouts import Payouts
from local.stand_ins.refunds import Refunds
from local.stand_ins.refusals import refusal
from local.stand_ins.stripe_balance import PLATFORM, Balances, is_account
from local.stand_ins.stripe_lists import page
from local.stand_ins.stripe_rules import StripeError, authenticate, check_metadata, read
from local.stand_ins.stub_response import Effects, Schema, StubResponse

MIN_AMOUNT = 50


class Stripe:
    """An account in test mode. `page` makes a session's page out of its id, `challenge` a payment's of its id."""

    def __init__(
        self,
        page: Callable[[str], str],
        challenge: Callable[[str], str] = "/stripe/authenticate/{}".format,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.sessions: dict[str, dict[str, Any]] = {}
        self.effects = Effects()
        self.balances = Balances()
        self.intents = PaymentIntents(challenge, now, self.effects, self.balances)
        self._refunds = Refunds(self.intents, self.balances, now, self.effects)
        self._payouts = Payouts(self.balances, now, self.effects)
        self._faults = FaultInjection()
        self._page = page
        self._now = now
        self._schema = Schema("stripe_checkout_session.json")
        self._answers: dict[tuple[str, str], tuple[str, StubResponse]] = {}
        self._lock = threading.Lock()

    def respond(self, method: str, path: str, headers: Mapping[str, str], body: str) -> StubResponse:
        """Answer a request; header names are in lower case, and the body of a GET is its query."""
        request_id = f"req_{secrets.token_hex(7)}"
        key = headers.get("idempotency-key")
        mood = self._faults.of(key, unquote_plus(body))
        if mood.refusal:
            return refusal("stripe", mood.refusal)
        if method == "POST":
            self.effects.asked(key)
        try:
            if mood.status:
                kind = "invalid_request_error" if mood.status == 400 else "api_error"
                raise StripeError("A failure that was asked for.", mood.status, kind)  # noqa: TRY301
            with self._lock:
                reply = self._route(method, path, headers, body)
        except StripeError as error:
            reply = error.reply
        common = {"request-id": request_id, "stripe-version": headers.get("stripe-version", "")}
        return StubResponse(reply.status, reply.body, {**common, **mood.headers, **reply.headers}, mood.delay)

    def _route(self, method: str, path: str, headers: Mapping[str, str], body: str) -> StubResponse:
        authenticate(headers.get("authorization", ""))
        account, key = headers.get("stripe-account", PLATFORM), headers.get("idempotency-key")
        if account != PLATFORM and not is_account(account):
            said = f"The provided key does not have access to account '{account}' (or that account does not exist)."
            raise StripeError(said, 403, code="account_invalid")
        if method == "POST":
            acts: dict[str, Callable[[], StubResponse]] = {
                "/v1/checkout/sessions": lambda: self._create(body),
                "/v1/payment_intents": lambda: self.intents.create(body, key),
                "/v1/payouts": lambda: self._payouts.payout(body, key, account),
                "/v1/refunds": lambda: self._refunds.create(body, key),
                "/v1/transfers": lambda: self._payouts.transfer(body, key),
            }
            if path in acts:
                return self._once(account, key, f"{path}?{body}", acts[path])
        if method == "GET":
            return self._look(path, body, account)
        raise StripeError(f"Unrecognized request URL ({method}: {path}).", 404)

    def _look(self, path: str, query: str, account: str) -> StubResponse:
        looks: dict[str, Callable[[], StubResponse]] = {
            "/v1/balance": lambda: self.balances.show(account),
            "/v1/checkout/sessions": lambda: page(path, query, self.sessions.values()),
            "/v1/payment_intents/search": lambda: self.intents.search(path, query),
            "/v1/payouts": lambda: self._payouts.payouts(path, query, account),
            "/v1/refunds": lambda: self._refunds.list(path, query),
            "/v1/transfers": lambda: self._payouts.transfers(path, query),
        }
        if path in looks:
            return looks[path]()
        collection, _, name = path.rpartition("/")
        if collection == "/v1/payment_intents":
            return self.intents.show(name)
        if collection == "/v1/charges":
            return self.intents.show_charge(name)
        if collection == "/v1/checkout/sessions":
            if name in self.sessions:
                return StubResponse(200, self.sessions[name])
            raise missing("checkout.session", name, "session", 404)
        raise StripeError(f"Unrecognized request URL (GET: {path}).", 404)

    def _once(self, account: str, key: str | None, request: str, act: Callable[[], StubResponse]) -> StubResponse:
        """Answer as the first time under the same key; what was refused for its parameters is not remembered."""
        if key is None:
            return act()
        if (account, key) in self._answers:
            before, reply = self._answers[account, key]
            if before != request:
                raise StripeError(
                    "Keys for idempotent requests can only be used with the same parameters they were first used "
                    f"with. Try using a key other than '{key}' if you meant to execute a different request.",
                    kind="idempotency_error",
                )
            return StubResponse(reply.status, reply.body, {"idempotent-replayed": "true"})
        reply = act()
        # What it made may change; the answer does not.
        self._answers[account, key] = (request, StubResponse(reply.status, copy.deepcopy(reply.body)))
        return reply

    def _create(self, body: str) -> StubResponse:
        params = read(body, self._schema)
        _check(params)
        session_id = f"cs_test_{secrets.token_hex(28)}"
        amount = sum(item["price_data"]["unit_amount"] * item.get("quantity", 1) for item in params["line_items"])
        now = int(self._now())
        session = {
            "id": session_id,
            "object": "checkout.session",
            "amount_subtotal": amount,
            "amount_total": amount,
            "cancel_url": params.get("cancel_url"),
            "client_reference_id": params.get("client_reference_id"),
            "created": now,
            "currency": params["line_items"][0]["price_data"]["currency"],
            "customer": params.get("customer"),
            "expires_at": params.get("expires_at", now + 86_400),
            "invoice": None,
            "livemode": False,
            "metadata": params.get("metadata", {}),
            "mode": params["mode"],
            "payment_intent": None,
            "payment_method_types": ["card"],
            "payment_status": "unpaid",
            "status": "open",
            "subscription": None,
            "success_url": params["success_url"],
            "url": self._page(session_id),
        }
        self.sessions[session_id] = session
        return StubResponse(200, session)

    def complete(self, session_id: str) -> dict[str, Any]:
        """Pay a session, once, and give the event that tells of it.

        Raises:
            KeyError: there is none.
        """
        with self._lock:
            session = self.sessions[session_id]
            if session["status"] == "open":
                paid_by = "subscription" if session["mode"] == "subscription" else "payment_intent"
                prefix = "sub" if paid_by == "subscription" else "pi"
                session |= {
                    "status": "complete",
                    "payment_status": "paid",
                    paid_by: f"{prefix}_{secrets.token_hex(12)}",
                }
            return {
                "id": f"evt_{session_id.removeprefix('cs_test_')[:24]}",
                "object": "event",
                "api_version": "2025-09-30.clover",
                "created": int(self._now()),
                "data": {"object": {**session, "url": None}},
                "livemode": False,
                "pending_webhooks": 1,
                "request": {"id": None, "idempotency_key": None},
                "type": "checkout.session.completed",
            }


def _check(params: dict[str, Any]) -> None:
    """Rules that Stripe's schema does not tell, in the words of its errors."""
    mode, line_items = params.get("mode", "payment"), params.get("line_items")
    if not line_items:
        raise StripeError(f"`line_items` is required in `{mode}` mode.", code="parameter_missing", param="line_items")
    wrong = "payment_intent_data" if mode == "subscription" else "subscription_data"
    if wrong in params:
        raise StripeError(f"You can not pass `{wrong}` in `{mode}` mode.", param=wrong)
    for name in ("success_url", "cancel_url"):
        parts = urlsplit(params.get(name, "https://x"))
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise StripeError("Not a valid URL", code="url_invalid", param=name)
    for number, item in enumerate(line_items):
        _check_item(item, mode, f"line_items[{number}]")
    for where in (params, params.get("payment_intent_data", {}), params.get("subscription_data", {})):
        check_metadata(where.get("metadata", {}))


def _check_item(item: dict[str, Any], mode: str, where: str) -> None:
    price = item.get("price_data")
    if price is None:
        raise StripeError(f"No such price: '{item.get('price')}'", code="resource_missing", param=f"{where}[price]")
    if ("product" in price) == ("product_data" in price):
        raise StripeError(f"Either `product` or `product_data` must be given in {where}[price_data].")
    if "recurring" in price and mode == "payment":
        raise StripeError("You specified `payment` mode but passed a recurring price.", param=where)
    if "recurring" not in price and mode == "subscription":
        raise StripeError("You must provide at least one recurring price in `subscription` mode when using prices.")
    if not re.fullmatch(r"[a-z]{3}", price["currency"]):
        raise StripeError(f"Invalid currency: {price['currency']}.", param=f"{where}[price_data][currency]")
    if price.get("unit_amount", 0) < MIN_AMOUNT:
        raise StripeError("The Checkout Session's total amount due must add up to more.", code="amount_too_small")
