"""Credentials of providers: JSON secrets that the operator fills in, read through a cache."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adbot_queue.core import aws
from adbot_queue.core.errors import NotConfigured, Unavailable
from adbot_queue.core.telemetry import logger

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.parameters import SecretsProvider

MAX_AGE = 300
"""Seconds for which a secret is kept: one that is rotated must be valid in both versions for at least as long."""


def read(secret_id: str, field: str, setting: str) -> Any:
    """One field of a JSON secret.

    Args:
        secret_id: name or ARN of the secret.
        field: which of its fields.
        setting: the environment variable that names the secret, for the sentence.

    Raises:
        NotConfigured: the secret is not JSON, or the field is missing or empty.
        Unavailable: the secret cannot be read now.
    """
    from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError, TransformParameterError  # noqa: PLC0415

    try:
        secret = _provider().get(secret_id, max_age=MAX_AGE, transform="json")
    except TransformParameterError as error:
        raise NotConfigured(f"the secret that {setting} names is not JSON") from error
    except GetParameterError as error:
        logger.error("secret not readable", setting=setting, error=str(error))
        raise Unavailable(f"the secret that {setting} names cannot be read") from error
    value = secret.get(field) if isinstance(secret, dict) else None
    if not value:
        raise NotConfigured(f'"{field}" is not filled in in the secret that {setting} names')
    return value


@lru_cache(maxsize=1)
def _provider() -> SecretsProvider:
    # Imported when first used: 50 ms that a cold start without need of secrets does not pay.
    from aws_lambda_powertools.utilities.parameters import SecretsProvider  # noqa: PLC0415

    return SecretsProvider(boto_config=aws.CONFIG)
