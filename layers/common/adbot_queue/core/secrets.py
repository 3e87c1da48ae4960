"""Credentials of providers: JSON secrets that the operator fills in, read through a cache.

Powertools has this too, but its parameters import boto3: 70 to 190 ms of the first request for what is ten lines here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core import aws
from adbot_queue.core.clock import system_clock
from adbot_queue.core.errors import NotConfigured, Unavailable
from adbot_queue.core.telemetry import logger

MAX_AGE_MS = 300_000
"""How long a secret is kept: one that is replaced must be good together with its successor for as long."""


def read(secret_id: str, field: str, setting: str) -> Any:
    """One field of a JSON secret.

    Args:
        secret_id: name or ARN of the secret.
        field: which of its fields.
        setting: the environment variable that names the secret, for the sentence.

    Raises:
        NotConfigured: the secret has no value, is not JSON, or lacks the field.
        Unavailable: the secret cannot be read now.
    """
    try:
        secret = json.loads(_filled(_value, secret_id, setting))
    except ValueError as error:
        raise NotConfigured(f"the secret that {setting} names is not JSON") from error
    value = secret.get(field) if isinstance(secret, dict) else None
    if not value:
        raise NotConfigured(f'"{field}" is not filled in in the secret that {setting} names')
    return value


def require(secret_id: str, setting: str) -> None:
    """Check that a secret has a value without reading it: the caller has no right to. Its fields are not checked.

    Args:
        secret_id: name or ARN of the secret.
        setting: what names the secret, for the sentence.

    Raises:
        NotConfigured: the secret has no value.
        Unavailable: the secret cannot be described now.
    """
    _filled(_current, secret_id, setting)


def replaced(secret_id: str) -> bool:
    """Read a secret again, and tell whether it is another one than was known: its successor is in force from now on.

    Raises:
        ClientError, BotoCoreError: it cannot be read now.
    """
    known = _kept().pop((_value, secret_id), None)
    return known is not None and _of(_value, secret_id) != known[1]


def version(secret_id: str, *, fresh: bool = False) -> str:
    """Which version of a secret is in force here; `fresh`: read it again first.

    Raises:
        ClientError, BotoCoreError: it cannot be read now.
    """
    if fresh:
        _kept().pop((_value, secret_id), None)
    return hashlib.sha256(_of(_value, secret_id).encode()).hexdigest()[:16]


def _of(ask: Callable[[str], str], secret_id: str) -> str:
    """What was last asked of a secret, if that is not too old; otherwise it is asked again."""
    asked_at, answer = _kept().get((ask, secret_id), (0, ""))
    now = system_clock()
    if now - asked_at > MAX_AGE_MS:
        answer = ask(secret_id)
        _kept()[ask, secret_id] = (now, answer)
    return answer


def _filled(ask: Callable[[str], str], secret_id: str, setting: str) -> str:
    """What is asked of a secret that has a value; errors as those of `require`."""
    try:
        answer = _of(ask, secret_id)
    except (ClientError, BotoCoreError) as error:
        logger.error("secret not readable", setting=setting, error=str(error))
        raise Unavailable(f"the secret that {setting} names cannot be read") from error
    if not answer:
        raise NotConfigured(f"the secret that {setting} names has no value")
    return answer


def _current(secret_id: str) -> str:
    """Name the version that holds the secret's value; empty while the operator has not put one."""
    versions = aws.secrets_manager().describe_secret(SecretId=secret_id).get("VersionIdsToStages", {})
    return next((version for version, stages in versions.items() if "AWSCURRENT" in stages), "")


def _value(secret_id: str) -> str:
    """The secret's value; empty while the operator has not put one: the template creates secrets without."""
    try:
        return aws.secrets_manager().get_secret_value(SecretId=secret_id).get("SecretString", "")
    except ClientError as error:
        # A missing secret has the same code; only the message differs: "Secrets Manager can't
        # find the specified secret value for staging label: AWSCURRENT".
        found = error.response["Error"]
        if found["Code"] == "ResourceNotFoundException" and "AWSCURRENT" in found.get("Message", ""):
            return ""
        raise


@lru_cache(maxsize=1)
def _kept() -> dict[tuple[Callable[[str], str], str], tuple[int, str]]:
    """When what was asked of each secret, and the answer."""
    return {}
