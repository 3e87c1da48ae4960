"""`create-user`: an account in the user pool, its groups, and a mail that says how to get a password.

Every step may be repeated, and none is doubled: the user is created with the job's key in one call, so that the next
attempt recognises it; groups are sets; a user who has chosen a password keeps it; the mail is a job under a key of its
own. The random passwords that are set here are not kept: the owner of the address asks for one at the sign-in page
(Cognito's "forgot password", which wants a code from a mail).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from adbot_queue import ledger
from adbot_queue.core import telemetry
from adbot_queue.core.errors import IdempotencyMismatch, ProviderFailed
from adbot_queue.core.ids import derived_id
from adbot_queue.core.schema import Input
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType
from adbot_queue.jobs.provider_call import calling, verdict
from adbot_queue.providers import cognito, registry

Group = Literal["admin", "viewer", "customer"]
"""Owners are made by hand."""


class CreateUser(Input):
    """An account. Its name may not be an address: the pool takes addresses as aliases of names."""

    email: str = Field(
        max_length=254, pattern=r"^[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>]+$", description="one email address"
    )
    username: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="1 to 100 of A-Z, a-z, 0-9, ., _ and -"
    )
    groups: list[Group] = Field(default=["customer"], max_length=3)


def create_user(payload: CreateUser, context: Context) -> dict[str, Any]:
    """Make the account, or finish making it.

    Returns:
        user_id (the tokens' `sub`), username, groups, and the job that writes to the user.

    Raises:
        PermanentError: the name or the address is taken, or refused. TransientError: Cognito is busy or was not
            reached.
        NotConfigured: there is no pool, no page to sign in, or it is not ours to change.
    """
    sign_in = registry.setting("cognito", "sign_in")
    username = payload.username or derived_id("usr_", context.idempotency_key)
    groups = sorted(set(payload.groups))
    try:
        user = _made(username, payload.email, context)
        for group in groups:
            with calling("cognito", cognito.TIMEOUT_S, context):
                cognito.add_to_group(username, group)
        if user.is_new:
            with calling("cognito", cognito.TIMEOUT_S, context):
                cognito.confirm(username)
    except ProviderFailed as error:
        raise verdict(error) from error.__cause__ or error
    mail = _welcome(payload.email, username, sign_in, context)
    telemetry.count("UsersCreated")
    return {"user_id": user.id, "username": username, "groups": groups, "welcome": mail}


def _made(username: str, email: str, context: Context) -> cognito.User:
    """The user that this job has made, now or in an earlier attempt."""
    try:
        with calling("cognito", cognito.TIMEOUT_S, context):
            return cognito.create(username, email, context.idempotency_key)
    except cognito.Taken:
        with calling("cognito", cognito.TIMEOUT_S, context):
            user = cognito.find(username)
    if user is None:
        raise PermanentError("the address belongs to another user")
    if user.mark != context.idempotency_key:
        raise PermanentError("the user name is taken")
    return user


def _welcome(email: str, username: str, sign_in: str, context: Context) -> str:
    """The id of the job that writes to the user; it is the same one at every attempt."""
    from adbot_queue.jobs import service  # noqa: PLC0415  the service knows the processors
    from adbot_queue.jobs.enqueue.request import JobRequest  # noqa: PLC0415  as above

    text = (
        "Hello,\n\nan account has been made for you.\n\n"
        f"User name: {username}\n\n"
        f'To choose a password go to {sign_in} and ask for a new one ("forgot password"); a code comes by mail.\n'
    )
    mail = JobRequest(
        "send-email",
        {"to": email, "subject": "Your account", "text": text, "categories": ["welcome"]},
        tenant=context.tenant,
        key=f"welcome:{context.idempotency_key}",
    )
    try:
        return service.from_env().enqueue(mail, ledger.SYSTEM).job.id
    except IdempotencyMismatch as error:  # an attempt by another version has written it, in other words
        return str(error.extra["job_id"])


JOB = JobType(
    queue="accounts",
    payload=CreateUser,
    handler=create_user,
    horizon_s=DAY_S,
    cap_s=15 * MINUTE_S,
    needs=("cognito", "sendgrid"),
    example={"email": "cara@example.com", "groups": ["customer"]},
)
