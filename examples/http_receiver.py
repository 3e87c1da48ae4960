"""A receiver of `http-request` jobs: verifies who sent a request, and does its work once.

    pip install standardwebhooks
    WEBHOOK_SECRET=whsec_... python examples/http_receiver.py 8000

Behind a public https address it is a team's own code behind the queue. The secret is the stack's output
`WebhookSecretId`, its field `current`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

MAX_BODY = 64 * 1024
"""Bytes: the most that `http-request` sends."""

Work = Callable[[str, bytes], dict[str, Any]]
"""(message id, body) -> what the job's result keeps."""


def make_server(port: int, secret: str, work: Work) -> ThreadingHTTPServer:
    """Return a server on loopback that calls `work` for each new request that is ours.

    A request that comes again has the same `webhook-id`: keep the ids where you keep the effect, in one transaction.
    This example keeps them in memory.
    """
    verifier, done = Webhook(secret), dict[str, dict[str, Any]]()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(min(int(self.headers["content-length"] or 0), MAX_BODY))
            try:
                verifier.verify(body, {name.lower(): value for name, value in self.headers.items()})
            except WebhookVerificationError:
                self._answer(401, {"error": "the signature does not match"})  # the job fails: a forgery is not retried
                return
            message_id = self.headers["webhook-id"]
            if message_id not in done:
                done[message_id] = work(message_id, body)
            self._answer(200, done[message_id])

        def _answer(self, status: int, said: dict[str, Any]) -> None:
            content = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Log nothing: a request's headers may hold secrets."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def greet(message_id: str, body: bytes) -> dict[str, Any]:
    """The team's own code."""
    return {"greeted": json.loads(body)["name"], "message_id": message_id}


if __name__ == "__main__":
    make_server(int(sys.argv[1]), os.environ["WEBHOOK_SECRET"], greet).serve_forever()
