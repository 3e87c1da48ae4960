"""Credentials and settings of the declared providers.

Where they are is in the variable PROVIDERS of those functions that speak to providers:
`{"stripe": {"secret": <name or ARN of a JSON secret>, "base": <another address than the provider's own, or "">}, …}`.
A provider that needs no secret, because the function's role is what lets us in, has its settings there instead.
"""

from __future__ import annotations

import json
import os
from functools import lru_cache
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core import secrets
from adbot_queue.core.errors import NotConfigured
from adbot_queue.core.settings import MissingSetting
from adbot_queue.providers.declarations import PROVIDERS


def credential(provider: str, field: str) -> Any:
    """One field of a provider's secret.

    Raises:
        NotConfigured: it is not filled in; names the template's parameter. Unavailable: it cannot be read now.
    """
    return secrets.read(_places()[provider]["secret"], field, PROVIDERS[provider].parameter)


def base(provider: str) -> str:
    """Another address than the provider's own; empty: there is none."""
    return option(provider, "base")


def option(provider: str, name: str) -> str:
    """A setting that a provider may have; empty: it has not."""
    return _places()[provider].get(name, "")


def setting(provider: str, name: str) -> str:
    """A setting that a provider must have.

    Raises:
        NotConfigured: it is empty; names the template's parameter.
    """
    value = option(provider, name)
    if not value:
        declared = PROVIDERS[provider]
        raise NotConfigured(f"{declared.settings[name]} is empty: {declared.label} is not set up")
    return value


def check(provider: str) -> None:
    """Whether a job that needs the provider has a chance at all: its settings are there, and its secret has a value.

    Who takes jobs may not read the value: a field that is missing in it closes the provider at the first call.

    Raises:
        NotConfigured, Unavailable: as `setting` and `secrets.require`.
    """
    declared = PROVIDERS[provider]
    for name in declared.settings:
        setting(provider, name)
    if declared.parameter:
        secrets.require(_places()[provider]["secret"], declared.parameter)


def version(provider: str, *, fresh: bool = False) -> str:
    """Names the version of the provider's secret that is in force here; `fresh`: read it again first.

    Empty when there is none: the function's role is what lets us in, or the secret cannot be read.
    """
    secret = option(provider, "secret")
    try:
        return secrets.version(secret, fresh=fresh) if secret else ""
    except (ClientError, BotoCoreError):
        return ""


def replaced(provider: str) -> bool:
    """Whether the provider's secret is another one than this process knew until now; it knows the new one now."""
    secret = option(provider, "secret")
    return bool(secret) and secrets.replaced(secret)


@lru_cache(maxsize=1)
def _places() -> dict[str, dict[str, str]]:
    try:
        places: dict[str, dict[str, str]] = json.loads(os.environ["PROVIDERS"])
    except KeyError:
        raise MissingSetting("environment variables are not set: PROVIDERS") from None
    return places
