"""What the template tells a function about its surroundings, read once, named by field."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from functools import lru_cache


class MissingSetting(RuntimeError):
    """An environment variable that the template should have set is not there."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Settings:
    """Environment of a function. Each field is the environment variable of the same name in capitals.

    Empty strings are legal only where the comment says so; a variable that is absent raises `MissingSetting`
    at first use, so that a wrong template fails loudly and not as a half-configured send.
    """

    adbots_table: str
    payments_table: str
    ledger_table: str
    system_table: str
    jobs_table: str
    queue_url: str  # of any queue, %s is its name: payments, allocation.fifo, jobs-<job queue>
    dead_letter_topic: str  # SNS
    job_worker: str  # function name of a queue's worker, %s is its logical id: stack_%sWorker
    jobs_per_second: str  # what one user may enqueue in the long run
    jobs_burst: str  # and at once
    event_bus: str
    webhook_secret_id: str
    default_pool: str
    admin_email: str  # empty: notices are counted and logged, no mail is sent
    mail_from: str

    @property
    def payments_queue_url(self) -> str:
        """Where recorded payment events wait to be settled."""
        return self.queue_url.replace("%s", "payments")

    @property
    def allocation_queue_url(self) -> str:
        """Where pools wait to be served; FIFO, a group a pool."""
        return self.queue_url.replace("%s", "allocation.fifo")


def variable(name: str) -> str:
    """Return an environment variable that only the functions which read it have.

    Raises:
        MissingSetting: it is absent.
    """
    if name not in os.environ:
        raise MissingSetting(f"environment variables are not set: {name}")
    return os.environ[name]


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process.

    Raises:
        MissingSetting: names every variable that is absent.
    """
    names = [field.name for field in fields(Settings)]
    missing = [name.upper() for name in names if name.upper() not in os.environ]
    if missing:
        raise MissingSetting(f"environment variables are not set: {', '.join(missing)}")
    return Settings(**{name: os.environ[name.upper()] for name in names})
