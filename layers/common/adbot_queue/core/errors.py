"""Errors that callers can act upon: problem type, HTTP status, and further members.

`core.http` turns them into RFC 9457 problem documents; nothing else chooses a status.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field, and the limit it broke."""

    field: str
    message: str


class AppError(Exception):
    """Base of everything that is the caller's to mend, or to try again.

    Args:
        detail: one sentence for a person.
        extra: members added to the problem document.
    """

    slug: ClassVar[str] = "error"
    status: ClassVar[HTTPStatus] = HTTPStatus.BAD_REQUEST

    def __init__(self, detail: str, *, errors: tuple[FieldError, ...] = (), **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.extra = extra
        self.headers: dict[str, str] = {}


class Invalid(AppError):
    """The input breaks a rule; `errors` names the fields."""

    slug = "validation"
    status = HTTPStatus.UNPROCESSABLE_ENTITY

    @classmethod
    def field(cls, name: str, message: str) -> Invalid:
        """One field, one rule."""
        return cls(f"{name}: {message}", errors=(FieldError(name, message),))


class Malformed(AppError):
    """The request cannot be read at all: not JSON, not UTF-8, a charset that is not supported."""

    slug = "malformed-body"
    status = HTTPStatus.BAD_REQUEST


class UnknownEvent(AppError):
    """The function was invoked with something else than an HTTP API event: no caller of the API sees this."""

    slug = "unknown-event"
    status = HTTPStatus.BAD_REQUEST


class TooLarge(AppError):
    """The body is over its limit."""

    slug = "body-too-large"
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class BadSignature(AppError):
    """A provider's signature is missing, wrong or too old."""

    slug = "bad-signature"
    status = HTTPStatus.BAD_REQUEST


class Unauthenticated(AppError):
    """No identity came with the request."""

    slug = "unauthenticated"
    status = HTTPStatus.UNAUTHORIZED


class Forbidden(AppError):
    """The identity lacks the role."""

    slug = "forbidden"
    status = HTTPStatus.FORBIDDEN


class NotFound(AppError):
    """No such thing, or not the caller's: the answer does not tell which."""

    slug = "not-found"
    status = HTTPStatus.NOT_FOUND


class TargetGone(NotFound):
    """The row that a message points to does not exist, or the message does not say which."""


class Conflict(AppError):
    """The thing is not in a state that allows the action."""

    slug = "conflict"
    status = HTTPStatus.CONFLICT


class IdempotencyMismatch(AppError):
    """An Idempotency-Key was used before with another request."""

    slug = "idempotency-key-reused"
    status = HTTPStatus.CONFLICT


class RateLimited(AppError):
    """The caller asks faster than it may; `headers` say when to come back."""

    slug = "rate-limited"
    status = HTTPStatus.TOO_MANY_REQUESTS


class Unavailable(AppError):
    """Something we depend on refused for now; the same request may be sent again."""

    slug = "unavailable"
    status = HTTPStatus.SERVICE_UNAVAILABLE


class Internal(AppError):
    """An unexpected error; the log has it under the request id."""

    slug = "internal"
    status = HTTPStatus.INTERNAL_SERVER_ERROR


class NotConfigured(AppError):
    """A provider has no credentials here; the sentence names the setting."""

    slug = "not-configured"
    status = HTTPStatus.SERVICE_UNAVAILABLE


class Reach(StrEnum):
    """Whom a provider's refusal concerns beyond the request that met it."""

    PROVIDER = "provider"  # every call of the provider
    PART = "part"  # every call of one part of it: an account, a sender, a host
    JOB = "job"  # no other call


class AccountRefused(NotConfigured):
    """A provider refuses the installation itself: its key, its plan or its account. No job of it has a chance now.

    Args:
        detail: one sentence for a person, without anything secret.
        reach: which calls it concerns.
    """

    def __init__(self, detail: str, reach: Reach = Reach.PROVIDER) -> None:
        super().__init__(detail)
        self.reach = reach


class ProviderFailed(AppError):
    """A provider refused or could not be reached.

    `extra` says whether the same request may succeed later (`retryable`), in how many seconds as far as the provider
    said so (`retry_after`), and, when it was refused for being one too many, whom that concerns (`throttled`, a Reach).
    """

    slug = "provider-failed"
    status = HTTPStatus.BAD_GATEWAY
