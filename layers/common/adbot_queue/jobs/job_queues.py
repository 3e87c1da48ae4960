"""The queues that jobs run on, one declaration each; `infra/template.yaml` has a row for each of them.

What must be known of a job before its type's module is imported is a fact of its queue.
"""

from __future__ import annotations

from dataclasses import dataclass

from adbot_queue.core.errors import NotFound
from adbot_queue.jobs.retry import RetryPolicy
from adbot_queue.platform.rate import Rate


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue. Concurrency and memory of its workers are in the template (Mappings).

    Attributes:
        policy: how its jobs are retried, unless their type says otherwise.
        max_run_s: longest run of any of its types; below the timeout of the queue's Lambda in the template.
        rate: jobs started per second.
        is_money: its jobs move money.
    """

    name: str
    policy: RetryPolicy
    max_run_s: int = 20
    rate: Rate | None = None
    is_money: bool = False


def exponential(attempts: int, base_s: float) -> RetryPolicy:
    """Return a policy whose delays double from `base_s` seconds."""
    return RetryPolicy(attempts, round(base_s * 1000), 2)


def fixed(attempts: int, base_s: float) -> RetryPolicy:
    """Return a policy whose delays are all `base_s` seconds."""
    return RetryPolicy(attempts, round(base_s * 1000))


QUEUES: dict[str, Queue] = {
    queue.name: queue
    for queue in (
        Queue("money", exponential(10, 2), is_money=True),
        Queue("email", fixed(3, 5)),
        Queue("codes", fixed(3, 5)),
        Queue("messages", fixed(3, 5)),
        # 5 s, 20 s, 80 s, 5 min, 20 min, then hourly: a receiver may be away for a day.
        Queue("webhooks", RetryPolicy(8, 5000, 4)),
        Queue("http", RetryPolicy(8, 5000, 4), max_run_s=35),
        Queue("ai-content", exponential(5, 10), max_run_s=75),
        Queue("ai-seo", exponential(5, 10), max_run_s=75),
        Queue("workflow", exponential(5, 10)),
        Queue("plugin", exponential(5, 10), max_run_s=75),
        Queue("analytics", fixed(2, 10)),
        Queue("maintenance", fixed(2, 10), max_run_s=30),
        Queue("accounts", exponential(3, 2), rate=Rate(10, 10)),
    )
}


def queue(name: str) -> Queue:
    """Return the declaration of a queue.

    Raises:
        NotFound: the queue does not exist.
    """
    found = QUEUES.get(name)
    if found is None:
        raise NotFound(f"there is no queue {name}; there are {', '.join(QUEUES)}")
    return found


def logical_id(queue_name: str) -> str:
    """Return the queue's name in the template: `ai-content` -> `AiContent`."""
    return "".join(word.title() for word in queue_name.split("-"))


def queue_urls(pattern: str) -> dict[str, str]:
    """Return the URL of every job queue by its name; `pattern` is the setting `queue_url`."""
    return {name: pattern.replace("%s", f"jobs-{name}") for name in QUEUES}
