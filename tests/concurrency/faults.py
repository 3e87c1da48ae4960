"""What goes wrong between a worker and DynamoDB: death, conflicts, throttling, answers that get lost."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

from botocore.awsrequest import AWSResponse


class Killed(BaseException):
    """The process is gone. No `except Exception` may survive it."""


@dataclass(frozen=True)
class Rates:
    """Chances of each fault, for one call to AWS."""

    kill: float = 0.0  # half of them before the call, half when it was carried out
    conflict: float = 0.0  # DynamoDB Local never has one
    throttle: float = 0.0  # nor this
    resend: float = 0.0  # the answer is lost on the way, and botocore sends the request again; or a statement's is
    mixed: float = 0.0  # a refused transaction names a conflict on its first item with the conditions that failed


class Faults:
    """Sits between one client and the network. Does nothing until it is armed."""

    def __init__(self, client: Any) -> None:
        self.counts: Counter[str] = Counter()
        self._rates = Rates()
        self._chance = random.Random()
        events = client.meta.events
        events.register("before-call.dynamodb", self._before)
        events.register("after-call.dynamodb", self._after)
        events.register_first("needs-retry.dynamodb.TransactWriteItems", self._lose_answer)

    def arm(self, rates: Rates, seed: str) -> None:
        """From now on, things go wrong at these rates."""
        self._rates, self._chance = rates, random.Random(seed)

    def disarm(self) -> None:
        """From now on, nothing does."""
        self._rates = Rates()

    def _strikes(self, fault: str, rate: float) -> bool:
        if self._chance.random() >= rate:
            return False
        self.counts[fault] += 1
        return True

    def _before(self, model: Any, **_: Any) -> tuple[AWSResponse, dict[str, Any]] | None:
        if self._strikes("kills", self._rates.kill / 2):
            raise Killed
        if self._strikes("throttles", self._rates.throttle):
            # As the caller sees it when botocore's own retries are used up.
            return _answer(400, {"Error": {"Code": "ProvisionedThroughputExceededException", "Message": "injected"}})
        if model.name == "TransactWriteItems" and self._strikes("conflicts", self._rates.conflict):
            reasons = [{"Code": "TransactionConflict", "Message": "injected"}]
            error = {"Code": "TransactionCanceledException", "Message": "injected"}
            return _answer(400, {"Error": error, "CancellationReasons": reasons})
        return None

    def _after(self, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        if self._strikes("kills", self._rates.kill / 2):
            raise Killed
        if model.name == "BatchExecuteStatement":
            for response in parsed.get("Responses", []):
                if "Error" not in response and self._strikes("unsure", self._rates.resend):
                    response["Error"] = {"Code": "InternalServerError", "Message": "injected"}
        reasons = parsed.get("CancellationReasons") or [{}]
        if reasons[0].get("Code") == "ConditionalCheckFailed" and self._strikes("conflicts", self._rates.mixed):
            reasons[0] = {"Code": "TransactionConflict", "Message": "injected"}

    def _lose_answer(self, attempts: int, caught_exception: Exception | None, **_: Any) -> int | None:
        if attempts == 1 and caught_exception is None and self._strikes("resends", self._rates.resend):
            return 0  # seconds until the request is sent again
        return None


def _answer(status: int, parsed: dict[str, Any]) -> tuple[AWSResponse, dict[str, Any]]:
    parsed["ResponseMetadata"] = {"HTTPStatusCode": status, "RetryAttempts": 0}
    return AWSResponse("", status, {}, None), parsed
