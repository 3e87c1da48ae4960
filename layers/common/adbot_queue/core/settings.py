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
    payments_queue_url: str
    allocation_queue_url: str
    notices_queue_url: str
    dead_letter_topic: str  # SNS
    job_queue_urls: str  # JSON: name of each job queue -> its URL
    job_worker: str  # function name of a queue's worker, %s stands for its tier: stack-%sWorker
    jobs_per_second: str  # what one user may enqueue in the long run
    jobs_burst: str  # and at once
    event_bus: str
    webhook_secret_id: str
    webhook_trusted_hosts: str  # host:port, comma between: may be private and without TLS; empty: none
    default_pool: str
    admin_email: str  # empty: notices are counted and logged, no mail is sent
    mail_from: str
    checkout_success_url: str
    checkout_cancel_url: str


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
