"""The provider behind the jobs of a run: honours idempotency keys, counts effects, and fails as it likes."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

from adbot_queue.core.schema import Input
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError, Snooze, TransientError


class Order(Input):
    """What a job asks for; `run` names the provider."""

    run: str
    name: str


class Provider:
    """Remembers what it did by idempotency key, as a payment provider does."""

    def __init__(self, seed: object, *, calm: bool = False, slow: int = 6) -> None:
        self.effects: Counter[str] = Counter()
        self.served: list[str] = []  # names, in the order in which they were asked for
        self._calm = calm
        self._weights = [70, slow, 5, 8, 3, 5, slow // 2]
        self.refused: set[str] = set()
        self._done: set[str] = set()
        self._chance = random.Random(f"provider {seed}")
        self._lock = threading.Lock()

    def order(self, key: str, name: str) -> dict[str, str]:
        """One order, or one of the many ways in which it does not work out."""
        with self._lock:
            self.served.append(name)
            if self._calm:
                self.effects[name] += 1
                return {"order": key}
            way = self._chance.choices(
                ["good", "slow", "busy", "down", "no", "lost answer", "slow and lost"], self._weights
            )[0]
        if "slow" in way:
            time.sleep(1.5)  # real seconds, in which the run's clock goes on past the lease and the sweeper comes by
        with self._lock:
            if key in self.refused:
                way = "no"
            match way:
                case "busy":
                    raise Snooze("rate limited", 2)
                case "down":
                    raise TransientError("HTTP 503")
                case "no" if key not in self._done:
                    self.refused.add(key)
                    raise PermanentError("declined")
            if key not in self._done:
                self._done.add(key)
                self.effects[name] += 1
            if "lost" in way:
                raise TransientError("connection reset")
            return {"order": key}


PROVIDERS: dict[str, Provider] = {}


def process(payload: Order, context: Context) -> dict[str, str]:
    """The processor of every type in a run."""
    context.check_cancelled()
    return PROVIDERS[payload.run].order(context.idempotency_key, payload.name)
