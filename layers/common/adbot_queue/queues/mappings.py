"""The event source mappings of the queues' workers, which obey the desired states that `pause` writes.

The sweeper calls `reconcile` every minute: it completes a change that died in between and reverts any other change.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core import aws
from adbot_queue.core.settings import MissingSetting, settings
from adbot_queue.core.telemetry import count, logger
from adbot_queue.platform import health_log
from adbot_queue.platform.health_log import HealthLog, LogLevel
from adbot_queue.platform.queue_pauses import DesiredState, Pauses

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

PENDING = "Pending"
"""Said of a mapping that could not be changed yet: the sweeper does it."""

_RIGHT = {True: {"Disabled", "Disabling"}, False: {"Enabled", "Enabling"}}
_SETTLED = {"Enabled", "Disabled"}


class Mappings:
    """Changes mappings, by the names of their queues."""

    def __init__(self, functions: Callable[[], LambdaClient], uuids: Mapping[str, str], log: HealthLog) -> None:
        self._functions = functions
        self._uuids = uuids
        self._log = log

    def apply(self, queue: str, *, paused: bool) -> str:
        """Change a mapping; return its state, `PENDING` if Lambda refused or was not reached."""
        try:
            answer = self._functions().update_event_source_mapping(UUID=self._uuids[queue], Enabled=not paused)
        except (ClientError, BotoCoreError) as error:
            # As a rule it is being changed this very moment (ResourceInUseException).
            message = f"the event source mapping of {queue} could not be changed; the sweeper tries again"
            self._log.record(LogLevel.WARNING, "queue.mapping", message, queue=queue, error=_name(error))
            return PENDING
        return str(answer["State"])

    def reconcile(self, desired_states: Iterable[tuple[str, DesiredState]]) -> list[str]:
        """Change the mappings that do not obey; return their queues. One that fails stops no other.

        One that is just being changed is left to the next run.
        """
        repaired: list[str] = []
        for queue, desired in desired_states:
            try:
                state = self._functions().get_event_source_mapping(UUID=self._uuids[queue])["State"]
            except (ClientError, BotoCoreError) as error:
                logger.warning("mapping cannot be read", queue=queue, error=_name(error))
                continue
            if state in _RIGHT[desired.paused] or state not in _SETTLED:
                continue
            message = f"the event source mapping of {queue} was {state}; it is set right"
            self._log.record(LogLevel.WARNING, "queue.mapping", message, queue=queue, paused=desired.paused)
            if self.apply(queue, paused=desired.paused) != PENDING:
                repaired.append(queue)
        count("MappingsRepaired", len(repaired))
        return repaired


def _name(error: ClientError | BotoCoreError) -> str:
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", type(error).__name__))
    return type(error).__name__


def reconcile() -> list[str]:
    """Change the mappings that do not obey the desired states of this installation."""
    pauses = Pauses(aws.dynamodb(), settings().system_table, _uuids())
    return from_env().reconcile(pauses.desired_states().items())


def _uuids() -> dict[str, str]:
    """Return queue -> UUID of its mapping. Only functions that may change mappings know them.

    Raises:
        MissingSetting: this function may not.
    """
    mappings = os.environ.get("EVENT_SOURCE_MAPPINGS")
    if mappings is None:
        raise MissingSetting("EVENT_SOURCE_MAPPINGS is not set: queue=UUID of its event source mapping, comma between")
    return dict(mapping.split("=", 1) for mapping in mappings.split(",") if mapping)


@lru_cache(maxsize=1)
def from_env() -> Mappings:
    """Return the mappings of this process. Raises as `_uuids`."""
    return Mappings(aws.functions, _uuids(), health_log.from_env())
