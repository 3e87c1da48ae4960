"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core import telemetry
from adbot_queue.core.dynamodb import TransactionConflict
from adbot_queue.core.error_codes import CONTENTION
from adbot_queue.core.errors import AppError, Internal, Unavailable
from adbot_queue.core.telemetry import logger


def answer(error: Exception, request_id: str) -> dict[str, Any]:
    """The answer to an error. The log keeps what the caller cannot mend; the answer says as little as possible."""
    known = _as_app_error(error)
    headers = {
        "content-type": "application/problem+json",
        "cache-control": "no-store",
        **(known.headers if known else {}),
    }
    if known is None:
        logger.exception("unexpected error")
        telemetry.count("UnexpectedErrors")
        known = Internal("internal error; quote request_id to support")
    if known.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = "1"
    document: dict[str, Any] = {
        "type": f"urn:adbot-queue:problem:{known.slug}",
        "title": known.status.phrase,
        "status": int(known.status),
        "detail": known.detail,
        "request_id": request_id,
        **known.extra,
    }
    if known.errors:
        document["errors"] = [{"field": entry.field, "message": entry.message} for entry in known.errors]
    return {"statusCode": int(known.status), "headers": headers, "body": json.dumps(document, default=str)}


def _as_app_error(error: Exception) -> AppError | None:
    if isinstance(error, AppError):
        return error
    if isinstance(error, TransactionConflict):
        return Unavailable("too many changes at once; try again in a moment")
    if isinstance(error, BotoCoreError) or (
        isinstance(error, ClientError) and error.response.get("Error", {}).get("Code") in CONTENTION
    ):
        logger.warning("AWS refused", error=type(error).__name__)
        return Unavailable("a service we depend on is busy; try again in a moment")
    return None
