"""`make demo` plays the main job over HTTP against the running local stack, step by step.

A signed Stripe event becomes an order and a bot although stock is short; the bot waits; sessions are uploaded; the bot
completes by itself and is started. Every run has a pool and ids of its own, so that it can be played again.
"""

from __future__ import annotations

import base64
import copy
import json
import secrets
import sys
import time
from collections.abc import Callable
from typing import Any

import requests
from botocore.exceptions import EndpointConnectionError

from local import stack as stacks
from local.settings import ROOT, Refused, Settings
from local.stack import Stack
from local.stand_ins.app import signed

EVENT = ROOT / "events" / "stripe" / "checkout.session.completed.json"
NEEDED = 5
PATIENCE = 90
"""Seconds until a step that happens by itself must have happened; the schedule is not needed for any of them."""


class StepFailed(Refused):
    """A step did not end as it must; the sentence says which and how."""


def play(stack: Stack) -> None:
    """Play the main job and print what happens.

    Raises:
        StepFailed: a step did not end as it must.
    """
    _Play(stack).run()


class _Play:
    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._run = secrets.token_hex(4)
        self._pool = f"demo-{self._run}"
        self._step = 0
        self._tokens = {role: stacks.token(stack, role) for role in ("owner", "customer")}

    def run(self) -> None:
        print(f"\nThe main job, on {self._stack['api_url']} with a pool of its own, {self._pool}:", flush=True)
        self._say(
            "the owner makes a pool without stock", self._call("PUT", f"/admin/stock/pools/{self._pool}", "owner", 201)
        )
        bot_id = self._buy()
        self._refuse_start(bot_id)
        self._upload(1, 3)
        bot = self._wait(bot_id, lambda bot: bot["sessions_assigned"] == 3, "has 3 of 5 sessions")
        self._say(f"it keeps what there is: {bot['missing_sessions_count']} missing, still {bot['status']}")
        self._upload(4, NEEDED)
        self._wait(bot_id, lambda bot: bot["status"] == "READY", "is READY")
        self._say("the bot has become READY by itself")
        started = self._call("POST", f"/adbots/{bot_id}/start", "customer", 200)
        self._say(f"its owner starts it: {started['status']}")
        stats = self._call("GET", "/admin/queue/stats", "owner", 200, params={"pool": self._pool})
        self._say(f"the queue of {self._pool}: {stats['queue_length']} waiting, {stats['free_stock']} free sessions")
        print("Done: no bot waits, nothing was lost.\n", flush=True)

    def _buy(self) -> str:
        """Have Stripe report a payment, twice, and find order and bot."""
        payload = json.dumps(self._event())
        for outcome in ({"new"}, {"repeated", "settled"}):
            answer = self._call("POST", "/webhooks/stripe", None, 200, data=payload, headers=self._signature(payload))
            if answer["outcome"] not in outcome:
                raise StepFailed(f"The webhook answered {answer}, not {' or '.join(outcome)}.")
            self._say(f"Stripe reports the payment, signed: {answer['outcome']}")
        found = self._until(self._find, "the paid order has no bot")
        order = self._call("GET", f"/orders/{found['order_id']}", "customer", 200)
        self._say(
            f"order {order['order_id']} is {order['status']}: {order['amount'] / 100:.2f} {order['currency'].upper()}"
        )
        waits = self._wait(
            found["adbot_id"], lambda bot: bot["queued_reason"] == "INSUFFICIENT_STOCK", "waits for stock"
        )
        self._say(f"bot {waits['adbot_id']} is {waits['status']}: {waits['missing_sessions_count']} sessions missing")
        return str(found["adbot_id"])

    def _event(self) -> dict[str, Any]:
        event: dict[str, Any] = copy.deepcopy(json.loads(EVENT.read_text()))
        event["id"] = f"evt_demo_{self._run}"
        event["created"] = int(time.time())
        metadata = {
            "plan_id": "demo",
            "pool": self._pool,
            "required_sessions": str(NEEDED),
            "user_id": self._customer(),
        }
        ids = {"id": f"cs_demo_{self._run}", "payment_intent": f"pi_demo_{self._run}"}
        event["data"]["object"] |= {**ids, "metadata": metadata}
        return event

    def _customer(self) -> str:
        """The customer's user id, out of the token that Cognito gave."""
        claims = self._tokens["customer"].split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(claims + "=="))["sub"])

    def _signature(self, payload: str) -> dict[str, str]:
        return signed(payload, self._stack["stripe_webhook_secret"])

    def _find(self) -> dict[str, Any] | None:
        mine = self._call("GET", "/adbots", "customer", 200)["items"]
        return next((bot for bot in mine if bot["pool"] == self._pool), None)

    def _refuse_start(self, bot_id: str) -> None:
        refused = self._call("POST", f"/adbots/{bot_id}/start", "customer", 403)
        if refused.get("missing_sessions_count") != NEEDED:
            raise StepFailed(f"The refusal to start does not say that {NEEDED} sessions are missing: {refused}")
        self._say(f"starting it is refused: {refused['detail']}")

    def _upload(self, first: int, last: int) -> None:
        lines = [
            {"session_id": f"{self._run}-{number}", "token": secrets.token_hex(8)} for number in range(first, last + 1)
        ]
        answer = self._call(
            "POST",
            "/admin/stock/sessions/bulk",
            "owner",
            200,
            params={"pool": self._pool},
            data="\n".join(map(json.dumps, lines)),
            headers={"content-type": "application/x-ndjson"},
        )
        self._say(f"the owner uploads sessions: {answer['accepted']} accepted")

    def _wait(self, bot_id: str, holds: Callable[[dict[str, Any]], bool], wanted: str) -> dict[str, Any]:
        """The bot, once something is true of it."""
        last: dict[str, Any] = {}

        def look() -> dict[str, Any] | None:
            nonlocal last
            last = self._call("GET", f"/adbots/{bot_id}", "customer", 200)
            return last if holds(last) else None

        return self._until(look, f"no moment at which bot {bot_id} {wanted}", lambda: f"; it is {last}")

    def _until(
        self, look: Callable[[], dict[str, Any] | None], lacking: str, detail: Callable[[], str] = lambda: ""
    ) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if found := look():
                return found
            time.sleep(0.3)
        raise StepFailed(f"After {PATIENCE} s: {lacking}{detail()}.")

    def _call(self, method: str, path: str, role: str | None, wanted: int, **request: Any) -> dict[str, Any]:
        headers = dict(request.pop("headers", {}))
        if role:
            headers["authorization"] = f"Bearer {self._tokens[role]}"
        answer = requests.request(method, self._stack["api_url"] + path, headers=headers, timeout=60, **request)
        if answer.status_code != wanted:
            raise StepFailed(f"{method} {path} answered {answer.status_code}, not {wanted}: {answer.text[:500]}")
        found: dict[str, Any] = answer.json()
        return found

    def _say(self, sentence: str, answer: dict[str, Any] | None = None) -> None:
        self._step += 1
        detail = f": {answer['free_stock']} free sessions" if answer else ""
        print(f"  {self._step:2}. {sentence}{detail}", flush=True)


def main() -> int:
    """Play; 1 and a sentence on stderr when a step fails."""
    try:
        play(stacks.read(stacks.path(Settings.from_environment())))
    except (requests.ConnectionError, EndpointConnectionError):
        print("The local stack does not answer: `make run` first.", file=sys.stderr)
        return 1
    except Refused as error:
        print(f"The demo failed. {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
