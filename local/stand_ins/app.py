"""The stand-ins behind one address, each under its name, and the pages that Stripe and a bank show."""

from __future__ import annotations

import hashlib
import hmac
import html
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from werkzeug.wrappers import Request, Response

from local.settings import PUSH_HOST
from local.stand_ins import mailbox
from local.stand_ins.bedrock import Bedrock
from local.stand_ins.mailbox import Mailbox, Stored
from local.stand_ins.push import PushService
from local.stand_ins.segment import Segment
from local.stand_ins.sendgrid import SendGrid
from local.stand_ins.sendgrid_events import Events
from local.stand_ins.solana import Solana
from local.stand_ins.stripe import Stripe
from local.stand_ins.stripe_rules import StripeError
from local.stand_ins.stub_response import Peer, StubResponse
from local.stand_ins.twilio import Twilio

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Deliver = Callable[[str, dict[str, str]], int]
"""Posts a webhook's body with headers; answers the status it got."""

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Test payment</title>
<body style="font: 16px/1.5 sans-serif; max-width: 30em; margin: 4em auto">
<h1>Test payment</h1><p>{amount} {currency} for {what}. No money moves: this page replaces Stripe's.</p>
<form method="post"><button>Pay</button> <a href="{cancel}">Give up</a></form></body></html>"""

CHALLENGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Test bank</title>
<body style="font: 16px/1.5 sans-serif; max-width: 30em; margin: 4em auto"><h1>Test bank</h1>
<p>Is this payment yours? This page replaces your bank's.</p>
<form method="post"><button>Yes</button></form></body></html>"""


class StandIns:
    """A WSGI application."""

    def __init__(
        self,
        base_url: str,
        deliver: Deliver,
        webhook_secret: Callable[[], str],
        mail_events: Events | None = None,
        inbound_url: Callable[[], str] = lambda: "",
        accounts: Callable[[], Stored] = lambda: (),
    ) -> None:
        self.stripe = Stripe(
            page=lambda session_id: f"{base_url}/stripe/pay/{session_id}",
            challenge=lambda intent_id: f"{base_url}/stripe/authenticate/{intent_id}",
        )
        self.sendgrid = SendGrid(mail_events)
        self.segment = Segment()
        self.solana = Solana()
        self.bedrock = Bedrock()
        self.twilio = Twilio(inbound_url=inbound_url)
        self.push = PushService(f"https://{PUSH_HOST}")
        self.mailbox = Mailbox(self.sendgrid.messages, self.twilio.messages, self.push.messages, accounts)
        self._deliver = deliver
        self._secret = webhook_secret

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        reply = self.respond(request)
        if reply.delay:
            time.sleep(reply.delay)
        if isinstance(reply.body, str):
            response = Response(reply.body, reply.status, mimetype="text/html" if reply.body else None)
        else:
            response = Response(json.dumps(reply.body), reply.status, mimetype="application/json")
        response.headers.update(reply.headers)
        return response(environ, start_response)

    def respond(self, request: Request) -> StubResponse:
        """Find who answers."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = request.get_data(as_text=True) or request.query_string.decode()
        if page := self._page(request):
            return page
        if request.path.startswith("/push/"):
            return self.push.respond(request.method, request.path.removeprefix("/push"), headers, request.get_data())
        peers: dict[str, Peer] = {
            "stripe": self.stripe,
            "sendgrid": self.sendgrid,
            "segment": self.segment,
            "solana": self.solana,
            "bedrock": self.bedrock,
            "twilio": self.twilio,
        }
        for name, peer in peers.items():
            if request.path.startswith(f"/{name}/"):
                return peer.respond(request.method, request.path.removeprefix(f"/{name}"), headers, body)
        if request.path == "/_effects":
            shown = {name: peer.effects.shown() for name, peer in peers.items()}
            return StubResponse(200, shown | {"push": self.push.effects.shown()})
        return StubResponse(200 if request.path == "/" else 404, {"stand_ins": [f"/{name}" for name in peers]})

    def _page(self, request: Request) -> StubResponse | None:
        """Answer with a page for people; None: the path is of none."""
        if request.path.startswith("/stripe/pay/"):
            return self._pay(request.method, request.path.rsplit("/", 1)[1])
        if request.path.startswith("/stripe/authenticate/"):
            return self._authenticate(request.method, request.path.rsplit("/", 1)[1])
        if request.path == mailbox.PATH or request.path.startswith(f"{mailbox.PATH}/"):
            return self.mailbox.respond(request.host, request.path, request.args.get("to", ""))
        return None

    def _authenticate(self, method: str, intent_id: str) -> StubResponse:
        try:
            if method != "POST":
                self.stripe.intents.show(intent_id)
                return StubResponse(200, CHALLENGE)
            address = self.stripe.intents.authenticate(intent_id)
        except (KeyError, StripeError):
            return StubResponse(404, "There is no such payment.")
        return StubResponse(303, "", {"location": address}) if address else StubResponse(200, "Thank you.")

    def _pay(self, method: str, session_id: str) -> StubResponse:
        session = self.stripe.sessions.get(session_id)
        if session is None:
            return StubResponse(404, "There is no such payment.")
        if method != "POST":
            shown = {
                "amount": f"{session['amount_total'] / 100:.2f}",
                "currency": session["currency"].upper(),
                "what": session["metadata"].get("plan_id", "your order"),
                "cancel": session["cancel_url"] or "#",
            }
            return StubResponse(200, PAGE.format(**{name: html.escape(value) for name, value in shown.items()}))
        payload = json.dumps(self.stripe.complete(session_id))
        status = self._deliver(payload, signed(payload, self._secret()))
        if status != 200:
            return StubResponse(
                502, f"Paid, but the webhook answered {status}. Press Pay again: Stripe would repeat it, too."
            )
        return StubResponse(303, "", {"location": session["success_url"]})


def signed(payload: str, secret: str, at: int | None = None) -> dict[str, str]:
    """The headers of a webhook that Stripe signs now: https://docs.stripe.com/webhooks#verify-manually."""
    at = int(time.time()) if at is None else at
    digest = hmac.new(secret.encode(), f"{at}.{payload}".encode(), hashlib.sha256).hexdigest()
    return {"content-type": "application/json", "stripe-signature": f"t={at},v1={digest}"}


def running_stack(file: Path) -> tuple[Deliver, Callable[[], str]]:
    """How to reach the webhook of the stack that describes itself in `file`, read whenever it is needed."""

    def deliver(payload: str, headers: dict[str, str]) -> int:
        address = json.loads(file.read_text())["api_url"] + "/webhooks/stripe"
        request = urllib.request.Request(address, payload.encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    return deliver, lambda: str(json.loads(file.read_text())["stripe_webhook_secret"])
