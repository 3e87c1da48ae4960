"""How each provider really throttles and refuses an account: bodies, codes and headers as its documentation has them.

Asked for by a request's own content, like every failure (`faults`): `fail=throttled`, `fail=revoked`, `fail=quota`,
`fail=suspended`, each with a number of times if wanted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from local.stand_ins.stub_response import StubResponse

WINDOW_S = 30
"""When SendGrid's rate limit begins anew."""


def refusal(provider: str, word: str) -> StubResponse:
    """What a provider answers instead.

    Raises:
        KeyError: it does not refuse by this.
    """
    made: StubResponse = _REFUSALS[provider][word]()
    return made


def _sendgrid(status: int, message: str) -> StubResponse:
    reset = {"x-ratelimit-limit": "600", "x-ratelimit-remaining": "0", "x-ratelimit-reset": str(_now() + WINDOW_S)}
    body = {"errors": [{"message": message, "field": None, "help": None}]}
    return StubResponse(status, body, reset if status == 429 else {})


def _stripe(status: int, kind: str, code: str, headers: Mapping[str, str] | None = None) -> StubResponse:
    return StubResponse(status, {"error": {"type": kind, "code": code, "message": "refused"}}, headers or {})


def _twilio(status: int, code: int, message: str) -> StubResponse:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return StubResponse(status, {"code": code, "message": message, "more_info": more, "status": status})


def _aws(status: int, code: str, message: str) -> StubResponse:
    return StubResponse(status, {"message": message}, {"x-amzn-errortype": code})


def _rpc(status: int, code: int, message: str) -> StubResponse:
    return StubResponse(status, {"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": 1})


def _now() -> int:
    return int(time.time())


_REFUSALS: dict[str, dict[str, Any]] = {
    "stripe": {
        "throttled": lambda: _stripe(429, "invalid_request_error", "rate_limit", {"stripe-should-retry": "true"}),
        "locked": lambda: _stripe(429, "invalid_request_error", "lock_timeout", {"stripe-should-retry": "true"}),
        "revoked": lambda: _stripe(401, "invalid_request_error", "api_key_expired"),
        "suspended": lambda: _stripe(403, "invalid_request_error", "account_invalid"),
    },
    "sendgrid": {
        "throttled": lambda: _sendgrid(429, "too many requests"),
        "revoked": lambda: _sendgrid(401, "The provided authorization grant is invalid, expired, or revoked"),
        "quota": lambda: _sendgrid(401, "Maximum credits exceeded"),
        "suspended": lambda: _sendgrid(403, "Your account has been suspended"),
    },
    "twilio": {
        "throttled": lambda: _twilio(429, 20429, "Too Many Requests"),
        "locked": lambda: _twilio(429, 21611, "This 'From' number has exceeded the maximum number of queued messages"),
        "revoked": lambda: _twilio(401, 20003, "Authenticate"),
        "quota": lambda: _twilio(429, 63038, "Account exceeded the 9 daily messages limit"),
        "suspended": lambda: _twilio(403, 20005, "Account not active"),
    },
    "segment": {
        "throttled": lambda: StubResponse(429, {"success": False, "message": "Too Many Requests"}),
        "revoked": lambda: StubResponse(401, {"success": False, "message": "invalid write key"}),
    },
    "solana": {
        "throttled": lambda: _rpc(429, 429, "Too many requests for a specific RPC call"),
        "behind": lambda: _rpc(200, -32005, "Node is behind by 42 slots"),
        "revoked": lambda: _rpc(401, -32052, "API key is not allowed to access blockchain"),
        "quota": lambda: _rpc(402, -32000, "plan limit reached"),
    },
    "bedrock": {
        "throttled": lambda: _aws(429, "ThrottlingException", "Too many requests, please wait before trying again."),
        "revoked": lambda: _aws(403, "AccessDeniedException", "You don't have access to the model."),
        "quota": lambda: _aws(400, "ServiceQuotaExceededException", "Too many tokens per day."),
    },
    "push": {
        "throttled": lambda: StubResponse(406, ""),
        "revoked": lambda: StubResponse(403, {"reason": "BadJwtToken"}),
        "mismatch": lambda: StubResponse(403, "the VAPID credentials do not correspond to the subscription's"),
    },
}
