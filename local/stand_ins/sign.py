"""Prints a sample as API Gateway would hand it to the webhook, signed now: a signature is good for five minutes.

export STRIPE_WEBHOOK_SECRET=whsec_...
python -m local.stand_ins.sign events/stripe/invoice.paid.first.json | sam local invoke WebhookFunction -e -
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from local.stand_ins.app import signed


def webhook_event(payload: str, secret: str) -> dict[str, Any]:
    """An HTTP API event (payload 2.0) of POST /webhooks/stripe."""
    route = "POST /webhooks/stripe"
    http = {"method": "POST", "path": "/webhooks/stripe", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"}
    return {
        "version": "2.0",
        "routeKey": route,
        "rawPath": "/webhooks/stripe",
        "rawQueryString": "",
        "headers": signed(payload, secret),
        "requestContext": {"requestId": "local", "routeKey": route, "stage": "$default", "http": http},
        "body": payload,
        "isBase64Encoded": False,
    }


def main() -> int:
    """Print it; 1 and a sentence on stderr without a secret."""
    secret = os.environ.get("STRIPE_WEBHOOK_SECRET", "")
    if not secret:
        print("Set STRIPE_WEBHOOK_SECRET to the signing secret that the function knows.", file=sys.stderr)
        return 1
    print(json.dumps(webhook_event(Path(sys.argv[1]).read_text(), secret)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
