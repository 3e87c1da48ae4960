"""Every job type and every queue, one declaration each. A new type touches this, its processor and its tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Protocol

from adbot_queue.core.errors import Invalid, NotFound
from adbot_queue.jobs.retry import RetryPolicy

if TYPE_CHECKING:
    from pydantic import BaseModel

    from adbot_queue.core.errors import FieldError
    from adbot_queue.jobs.context import Context
    from adbot_queue.jobs.model import Job

MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400

TOLERANT = {"unknown_fields": "ignored"}
"""The context of such a validation, for validators that validate something themselves."""


class Processor(Protocol):
    """Does the work of a job type. Raises `Permanent`, `Transient`, `Postponed` or `Cancelled` (jobs.retry)."""

    def __call__(self, payload: Any, context: Context) -> dict[str, Any] | None:
        """Answer the job's result: JSON, without secrets."""


class Check(Protocol):
    """Looks at a payload that fits its model."""

    def __call__(self, payload: Any, before: Job | None) -> Sequence[FieldError]:
        """The rules that it breaks; `before` is the job that is to be retried with it."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second, so many at once after a pause."""

    per_second: float
    burst: int


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue and its policy. Concurrency and memory of its workers stand in the template (Mappings)."""

    name: str
    policy: RetryPolicy
    rate: Rate | None = None
    money: bool = False


@dataclass(frozen=True, slots=True)
class JobType:
    """A job type.

    Attributes:
        name: what callers say.
        queue: where it runs.
        processor: `module:function`, imported when the first job runs.
        payload: `module:Model` (pydantic), imported when the first payload is checked; must not import an SDK.
        timeout_s: longest run; below the timeout of the queue's Lambda in the template.
        window_s: for how long an idempotency key means the same job.
        is_once: a second effect of the same payload is never wanted: equal payloads of a tenant are one job without a
            key, too, unless the first one failed, or was cancelled before it ran.
        policy: another one than the queue's.
        horizon_s: how long after its first run a job is tried while somebody else is out of order (`jobs.retry`); 0: as
            long as its quick tries take.
        cap_s: the longest delay between two of those tries.
        parallel: whether several of a batch may run at once in one process.
        internal: only the platform itself enqueues it.
        long_running: its handler works in slices (`jobs.long_running`).
        leads: `module:function` that tells the types of the jobs that it enqueues for a payload. When one that leads
            jobs is cancelled in the midst of its work, its processor stops them.
        check: `module:function` for rules that the payload's model does not know.
        needs: providers (`providers.registry`) without whose credentials no such job is taken.
    """

    name: str
    queue: str
    processor: str
    payload: str
    timeout_s: int = 20
    window_s: int = DAY_S
    is_once: bool = False
    policy: RetryPolicy | None = None
    horizon_s: int = 0
    cap_s: int = HOUR_S
    parallel: bool = True
    internal: bool = False
    long_running: bool = False
    leads: str | None = None
    check: str | None = None
    needs: tuple[str, ...] = ()

    def retry_policy(self) -> RetryPolicy:
        """The type's policy, or its queue's, up to the type's horizon."""
        policy = self.policy or QUEUES[self.queue].policy
        return replace(policy, horizon_ms=self.horizon_s * 1000, cap_ms=self.cap_s * 1000)

    def load_processor(self) -> Processor:
        """Import the processor."""
        processor: Processor = _resolve(self.processor)
        return processor

    def led(self, payload: dict[str, Any]) -> Iterable[str]:
        """The types of the jobs that a checked payload will enqueue."""
        types: Iterable[str] = _resolve(self.leads)(payload) if self.leads else ()
        return types

    def load_check(self) -> Check | None:
        """Import the check of further rules, if there is one."""
        check: Check | None = _resolve(self.check) if self.check else None
        return check

    def load_payload(self) -> type[BaseModel]:
        """Import the payload's model."""
        model: type[BaseModel] = _resolve(self.payload)
        return model

    def read(self, payload: dict[str, Any]) -> BaseModel:
        """A payload that was accepted at the door, by this version or another one: unknown fields are ignored.

        Raises:
            ValidationError: this version cannot read it.
        """
        return self.load_payload().model_validate_json(json.dumps(payload), extra="ignore", context=TOLERANT)


def _exponential(attempts: int, base_s: float) -> RetryPolicy:
    return RetryPolicy(attempts, round(base_s * 1000), 2)


def _fixed(attempts: int, base_s: float) -> RetryPolicy:
    return RetryPolicy(attempts, round(base_s * 1000))


QUEUES: dict[str, Queue] = {
    queue.name: queue
    for queue in (
        Queue("money", _exponential(10, 2), money=True),
        Queue("email", _fixed(3, 5)),
        Queue("codes", _fixed(3, 5)),
        Queue("messages", _fixed(3, 5)),
        # 5 s, 20 s, 80 s, 5 min, 20 min, then hourly: a receiver may be away for a day.
        Queue("webhooks", RetryPolicy(8, 5000, 4)),
        Queue("ai-content", _exponential(5, 10)),
        Queue("ai-seo", _exponential(5, 10)),
        Queue("workflow", _exponential(5, 10)),
        Queue("plugin", _exponential(5, 10)),
        Queue("analytics", _fixed(2, 10)),
        Queue("maintenance", _fixed(2, 10)),
        Queue("accounts", _exponential(3, 2), rate=Rate(10, 10)),
    )
}

TYPES: dict[str, JobType] = {
    declared.name: declared
    for declared in (
        JobType(
            "deliver-webhook",
            "webhooks",
            "adbot_queue.processors.webhook:deliver",
            "adbot_queue.processors.webhook:DeliverWebhook",
            horizon_s=DAY_S,
            internal=True,
        ),
        JobType(
            "send-dead-letter",
            "maintenance",
            "adbot_queue.jobs.dead_letter_jobs:send_dead_letter",
            "adbot_queue.jobs.dead_letter_jobs:SendDeadLetter",
            horizon_s=DAY_S,
            cap_s=15 * MINUTE_S,
            policy=_exponential(10, 2),
            internal=True,
        ),
        JobType(
            "replay-dead-letters",
            "maintenance",
            "adbot_queue.jobs.dead_letter_jobs:replay_dead_letters",
            "adbot_queue.jobs.dead_letter_jobs:ReplayDeadLetters",
            horizon_s=DAY_S,
            cap_s=15 * MINUTE_S,
            timeout_s=30,
            # It goes on where it stands, however often its worker dies: hours of a large replay must survive that.
            policy=_exponential(20, 2),
            parallel=False,
            internal=True,
        ),
        JobType(
            "payment-process",
            "money",
            "adbot_queue.processors.payment:process_payment",
            "adbot_queue.processors.payment:ProcessPayment",
            horizon_s=3 * DAY_S,
            cap_s=15 * MINUTE_S,
            timeout_s=20,
            window_s=90 * DAY_S,
            needs=("stripe",),
        ),
        JobType(
            "nft-mint",
            "money",
            "adbot_queue.processors.nft:mint",
            "adbot_queue.processors.nft:MintNft",
            horizon_s=3 * DAY_S,
            cap_s=15 * MINUTE_S,
            timeout_s=20,  # 13 s of it are the chain's, until nothing can be undone
            window_s=365 * DAY_S,
            is_once=True,
            needs=("solana",),
        ),
        JobType(
            "refund-process",
            "money",
            "adbot_queue.processors.refund:process_refund",
            "adbot_queue.processors.refund:ProcessRefund",
            horizon_s=3 * DAY_S,
            cap_s=15 * MINUTE_S,
            timeout_s=20,
            window_s=90 * DAY_S,
            needs=("stripe",),
        ),
        JobType(
            "payout-process",
            "money",
            "adbot_queue.processors.payout:process_payout",
            "adbot_queue.processors.payout:ProcessPayout",
            horizon_s=3 * DAY_S,
            cap_s=15 * MINUTE_S,
            timeout_s=20,
            window_s=90 * DAY_S,
            needs=("stripe",),
        ),
        JobType(
            "send-email",
            "email",
            "adbot_queue.processors.email:send_email",
            "adbot_queue.processors.email:SendEmail",
            horizon_s=DAY_S,
            cap_s=15 * MINUTE_S,
            timeout_s=15,
            needs=("sendgrid",),
        ),
        JobType(
            "send-sms",
            "messages",
            "adbot_queue.processors.messages:send_sms",
            "adbot_queue.processors.messages:SendSms",
            horizon_s=HOUR_S,
            cap_s=5 * MINUTE_S,
            timeout_s=15,
            needs=("twilio",),
        ),
        JobType(
            "send-whatsapp",
            "messages",
            "adbot_queue.processors.messages:send_whatsapp",
            "adbot_queue.processors.messages:SendWhatsApp",
            horizon_s=HOUR_S,
            cap_s=5 * MINUTE_S,
            timeout_s=15,
            needs=("twilio",),
        ),
        JobType(
            "send-otp",
            "codes",
            "adbot_queue.processors.otp:send_otp",
            "adbot_queue.processors.otp:SendOtp",
            # A code lives for five minutes; each message wants a new one.
            horizon_s=5 * MINUTE_S,
            cap_s=30,
            timeout_s=15,
            internal=True,
            needs=("twilio",),
        ),
        JobType(
            "send-push",
            "messages",
            "adbot_queue.processors.push:send_push",
            "adbot_queue.processors.push:SendPush",
            horizon_s=HOUR_S,
            cap_s=5 * MINUTE_S,
            timeout_s=15,
            needs=("web-push",),
        ),
        JobType(
            "analytics-track",
            "analytics",
            "adbot_queue.processors.analytics:track",
            "adbot_queue.processors.analytics:Track",
            horizon_s=DAY_S,
            cap_s=15 * MINUTE_S,
            timeout_s=15,
            needs=("segment",),
        ),
        JobType(
            "run-workflow",
            "workflow",
            "adbot_queue.workflow.run:run_workflow",
            "adbot_queue.workflow.declaration:RunWorkflow",
            horizon_s=DAY_S,
            cap_s=15 * MINUTE_S,
            check="adbot_queue.workflow.check:check",
            leads="adbot_queue.workflow.check:types",
        ),
        JobType(
            "workflow-wait",
            "workflow",
            "adbot_queue.workflow.waiting:wait",
            "adbot_queue.workflow.waiting:Wait",
            horizon_s=DAY_S,
            cap_s=15 * MINUTE_S,
            internal=True,
        ),
        JobType(
            "generate-content",
            "ai-content",
            "adbot_queue.processors.ai:generate_content",
            "adbot_queue.processors.ai:GenerateContent",
            horizon_s=6 * HOUR_S,
            cap_s=15 * MINUTE_S,
            timeout_s=75,
            needs=("bedrock",),
        ),
        JobType(
            "optimize-seo",
            "ai-seo",
            "adbot_queue.processors.ai:optimize_seo",
            "adbot_queue.processors.ai:OptimizeSeo",
            horizon_s=6 * HOUR_S,
            cap_s=15 * MINUTE_S,
            timeout_s=75,
            needs=("bedrock",),
        ),
        JobType(
            "execute-plugin",
            "plugin",
            "adbot_queue.processors.plugin:execute",
            "adbot_queue.processors.plugin:ExecutePlugin",
            horizon_s=6 * HOUR_S,
            cap_s=15 * MINUTE_S,
            timeout_s=75,
            needs=("plugins",),
        ),
        JobType(
            "create-user",
            "accounts",
            "adbot_queue.processors.account:create_user",
            "adbot_queue.processors.account:CreateUser",
            horizon_s=DAY_S,
            cap_s=15 * MINUTE_S,
            timeout_s=20,
            needs=("cognito", "sendgrid"),
        ),
        JobType(
            "process-snapshot",
            "analytics",
            "adbot_queue.processors.aggregates:process_snapshot",
            "adbot_queue.processors.aggregates:ProcessSnapshot",
            horizon_s=DAY_S,
            cap_s=15 * MINUTE_S,
            # A job of many slices must survive that some of them die.
            policy=_exponential(10, 10),
            parallel=False,
        ),
        JobType(
            "rebuild-article-stats",
            "analytics",
            "adbot_queue.processors.aggregates:rebuild_article_stats",
            "adbot_queue.processors.aggregates:RebuildArticleStats",
            horizon_s=DAY_S,
            cap_s=15 * MINUTE_S,
            policy=_exponential(10, 10),
            parallel=False,
        ),
        JobType(
            "cleanup-old-data",
            "maintenance",
            "adbot_queue.processors.maintenance:cleanup_old_data",
            "adbot_queue.processors.maintenance:CleanupOldData",
            horizon_s=DAY_S,
            cap_s=15 * MINUTE_S,
            policy=_exponential(10, 10),
            parallel=False,
        ),
        JobType(
            "generate-report",
            "maintenance",
            "adbot_queue.processors.maintenance:generate_report",
            "adbot_queue.processors.maintenance:GenerateReport",
            horizon_s=DAY_S,
            cap_s=15 * MINUTE_S,
            policy=_exponential(5, 10),
            parallel=False,
        ),
    )
}


def job_type(name: str) -> JobType:
    """The declaration of a type.

    Raises:
        Invalid: there is no such type.
    """
    found = TYPES.get(name)
    if found is None:
        known = ", ".join(sorted(known.name for known in TYPES.values() if not known.internal))
        raise Invalid.field("type", f"there is no such job type; known are {known}")
    return found


def queue(name: str) -> Queue:
    """The declaration of a queue.

    Raises:
        NotFound: there is no such queue.
    """
    found = QUEUES.get(name)
    if found is None:
        raise NotFound(f"there is no queue {name}; there are {', '.join(QUEUES)}")
    return found


def tier(queue_name: str) -> str:
    """The queue's name in the template: `ai-content` -> `AiContent`."""
    return "".join(word.title() for word in queue_name.split("-"))


def queue_urls(pattern: str) -> dict[str, str]:
    """Return the URL of every job queue by its name; `pattern` is the setting `queue_url`."""
    return {name: pattern.replace("%s", f"jobs-{name}") for name in QUEUES}


def policy_of(type_name: str, queue_name: str) -> RetryPolicy:
    """The retry policy of a job, also of one whose type this version of the code does not know."""
    known = TYPES.get(type_name)
    return known.retry_policy() if known else QUEUES[queue_name].policy


def leads_jobs(type_name: str) -> bool:
    """Whether jobs of the type have jobs of their own."""
    known = TYPES.get(type_name)
    return known is not None and known.leads is not None


def longest_run_ms(queue_name: str) -> int:
    """The longest that a job of the queue may run."""
    return 1000 * max((known.timeout_s for known in TYPES.values() if known.queue == queue_name), default=20)


@cache
def _resolve(name: str) -> Any:
    return resolve_name(name)
