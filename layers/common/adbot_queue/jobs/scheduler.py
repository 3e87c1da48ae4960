"""EventBridge Scheduler's side of schedules: one of its own for each of ours, in the template's group."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core import aws
from adbot_queue.core.settings import MissingSetting
from adbot_queue.jobs.ticks import ON_TIME_MS

if TYPE_CHECKING:
    from mypy_boto3_scheduler import EventBridgeSchedulerClient

    from adbot_queue.jobs.schedule_model import Schedule

SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"
"""EventBridge Scheduler puts the tick's time in its place."""

_PREFIX = "job."
_FINAL = {"ValidationException", "ServiceQuotaExceededException"}


class NotTaken(Exception):
    """EventBridge Scheduler will not have the schedule as it is; the text is its own."""


class NotNow(Exception):
    """EventBridge Scheduler could not be told now."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where ticks go: names and ARNs of the template's resources."""

    group: str
    target: str
    role: str
    dead_letters: str


class Scheduler:
    """Makes EventBridge Scheduler's schedules equal to ours. Everything may be repeated."""

    def __init__(self, client: EventBridgeSchedulerClient, target: Target) -> None:
        self._client = client
        self._target = target

    def put(self, schedule: Schedule, now: int) -> None:
        """Have it there as the row says: not at all when it has no tick left.

        Raises:
            NotTaken: it is refused for good.
            NotNow: try again later.
        """
        request = request_of(schedule, self._target, now)
        if request is None:
            self.remove(schedule.name)
            return
        if not self._call(self._client.update_schedule, request, "ResourceNotFoundException"):
            return
        if self._call(self._client.create_schedule, request, "ConflictException"):
            self._call(self._client.update_schedule, request)

    def remove(self, name: str) -> None:
        """Have it gone.

        Raises:
            NotNow: try again later.
        """
        request = {"Name": _PREFIX + name, "GroupName": self._target.group}
        try:
            self._call(self._client.delete_schedule, request, "ResourceNotFoundException")
        except NotTaken as error:
            raise NotNow(str(error)) from error

    def _call(self, operation: Any, request: dict[str, Any], expected: str | None = None) -> bool:
        """Whether it answered with the expected error."""
        try:
            operation(**request)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code == expected:
                return True
            if code in _FINAL:
                raise NotTaken(error.response["Error"].get("Message") or code) from error
            raise NotNow(code) from error
        except BotoCoreError as error:
            raise NotNow(type(error).__name__) from error
        return False


def request_of(schedule: Schedule, target: Target, now: int) -> dict[str, Any] | None:
    """What UpdateSchedule and CreateSchedule take; None when there is no tick left."""
    plan, wanted = schedule.plan, schedule.wanted
    following = plan.next(now)
    if following is None:
        return None
    request: dict[str, Any] = {
        "Name": _PREFIX + schedule.name,
        "GroupName": target.group,
        "ScheduleExpression": plan.text,
        "ScheduleExpressionTimezone": wanted.timezone,
        "State": "ENABLED" if wanted.enabled else "DISABLED",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        # A schedule after its last tick would count against the account's quota for ever.
        "ActionAfterCompletion": "DELETE",
        "Target": {
            "Arn": target.target,
            "RoleArn": target.role,
            "Input": json.dumps(
                {"schedule": schedule.name, "version": schedule.version, "scheduled_time": SCHEDULED_TIME}
            ),
            # What is later than this was missed, and the sweeper has seen it.
            "RetryPolicy": {"MaximumEventAgeInSeconds": ON_TIME_MS // 1000, "MaximumRetryAttempts": 10},
            "DeadLetterConfig": {"Arn": target.dead_letters},
        },
    }
    if plan.moment is not None:
        # The same moment whatever happens to the zone's rules, and no doubt about an hour that comes twice.
        text = _moment(plan.moment).strftime("%Y-%m-%dT%H:%M:%S")
        return request | {"ScheduleExpression": f"at({text})", "ScheduleExpressionTimezone": "UTC"}
    if plan.interval is not None or (wanted.start is not None and wanted.start > now):
        # A rate begins where its plan goes on; a start of more than five minutes ago is refused.
        request["StartDate"] = _moment(following if plan.interval is not None else max(wanted.start or 0, now))
    if wanted.end is not None:
        request["EndDate"] = _moment(wanted.end)
    return request


def _moment(millis: int) -> datetime:
    return datetime.fromtimestamp(millis / 1000, tz=UTC)


@lru_cache(maxsize=1)
def from_env() -> Scheduler:
    """The scheduler of this installation; only those functions know it that deal with schedules.

    Raises:
        MissingSetting: this is none of them.
    """
    known = os.environ.get("SCHEDULER")
    if known is None:
        raise MissingSetting("environment variables are not set: SCHEDULER")
    return Scheduler(aws.scheduler(), Target(**json.loads(known)))
