"""Who may buy: asked of the user pool, and remembered for a while."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache

from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.settings import MissingSetting

ANY = "any"
REMEMBERED_MS = 5 * 60_000
MAX_REMEMBERED = 10_000


class Customers:
    """The users that a bot can be given to.

    A definite answer is remembered for five minutes in this process; an outage never is.
    """

    def __init__(self, exists: Callable[[str], bool] | None, now: Clock = system_clock) -> None:
        """Args: exists: asks the pool for a user by `sub`; None: the shop keeps its users elsewhere."""
        self._exists = exists
        self._now = now
        self._answers: dict[str, tuple[int, bool]] = {}

    def knows(self, user_id: str) -> bool:
        """Return whether there is such a user; True for every well-formed id where users are kept elsewhere.

        Raises:
            ProviderFailed, NotConfigured: the pool gave no answer. Come back later; it is neither yes nor no.
        """
        if self._exists is None:
            return True
        now = self._now()
        asked_at, answer = self._answers.get(user_id, (0, False))
        if now - asked_at > REMEMBERED_MS:
            answer = self._exists(user_id)
            if len(self._answers) >= MAX_REMEMBERED:
                self._answers.clear()
            self._answers[user_id] = (now, answer)
        return answer


@lru_cache(maxsize=1)
def from_env() -> Customers:
    """Return the customers of this process: `KNOWN_USERS` is a user pool's id, or `any`.

    Raises:
        MissingSetting: the variable is absent: this function must not settle payments.
    """
    pool = os.environ.get("KNOWN_USERS")
    if not pool:
        raise MissingSetting("environment variables are not set: KNOWN_USERS")
    if pool == ANY:
        return Customers(None)

    def exists(user_id: str) -> bool:
        from adbot_queue.providers import cognito  # noqa: PLC0415  only first sales and renewals ask

        return cognito.has_user(pool, user_id)

    return Customers(exists)
