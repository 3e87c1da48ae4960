"""The plugin for job types, used as an application uses it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from adbot_queue import ledger
from adbot_queue.core.errors import Invalid, NotFound
from adbot_queue.core.schema import Input
from adbot_queue.jobs import job_queues, job_types, service
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError, TransientError
from adbot_queue.jobs.job_types import HOUR_S, JobType
from adbot_queue.jobs.model import JobState
from adbot_queue.jobs.retry import RetryPolicy
from adbot_queue.jobs.service import JobRequest
from adbot_queue.testing.harness import Jobs
from adbot_queue.testing.job_platform import job_platform

pytest_plugins = ["adbot_queue.testing"]


class Shout(Input):
    text: str
    times: int = 1
    options: dict[str, str] | None = None


class Voice:
    """What the test decides about the handler's outcome."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.shouted: list[str] = []

    def shout(self, payload: Shout, context: Context) -> dict[str, str]:
        self.shouted.append(payload.text)
        if self.error:
            raise self.error
        return {"shouted": payload.text.upper()}


@pytest.fixture
def voice(jobs: Jobs) -> Voice:
    made = Voice()
    jobs.declare("shout", JobType("messages", Shout, made.shout, policy=RetryPolicy(3, 5_000)))
    return made


@pytest.fixture
def shouts(jobs: Jobs, voice: Voice) -> Jobs:
    jobs.enqueue("shout", {"text": "hello", "options": {"tone": "high"}}, priority=7, tags=("a", "b"))
    return jobs


def failure(action: object, *args: object, **expected: object) -> str:
    with pytest.raises(AssertionError) as caught:
        action(*args, **expected)  # type: ignore[operator]
    return str(caught.value)


# Running


@pytest.mark.parametrize("queue", job_queues.QUEUES)
@pytest.mark.parametrize("how", ["run", "drain", "settle"])
def test_runs_a_job_on_every_queue(jobs: Jobs, queue: str, how: str) -> None:
    timeout_s = job_queues.QUEUES[queue].max_run_s
    jobs.declare("own", JobType(queue, Shout, lambda payload, _: {"said": payload.text}, timeout_s=timeout_s))

    if how == "run":
        job = jobs.run("own", {"text": "hello"})
    else:
        job = jobs.enqueue("own", {"text": "hello"})
        jobs.drain(queue) if how == "drain" else jobs.settle()

    assert jobs.get(job).result == {"said": "hello"}
    assert jobs.drain() == 0


def test_types_and_jobs_of_a_test_end_with_it() -> None:
    with job_platform() as jobs:
        jobs.declare("own", JobType("messages", Shout, lambda *_: {}))
        jobs.enqueue("own", {"text": "hello"})

    with job_platform() as jobs:
        assert jobs.all() == []
        assert job_types.get("own") is None


def test_a_payload_that_breaks_a_rule_is_refused_at_the_door(jobs: Jobs, voice: Voice) -> None:
    with pytest.raises(Invalid) as refused:
        jobs.run("shout", {"text": 5})

    assert [error.field for error in refused.value.errors] == ["payload.text"]


def test_a_failing_handler_leaves_the_reason_on_the_job(jobs: Jobs, voice: Voice) -> None:
    voice.error = PermanentError("hoarse")

    job = jobs.run("shout", {"text": "hello"})

    assert job.state is JobState.FAILED
    assert job.failure
    assert (job.failure.kind, job.failure.message) == ("permanent", "hoarse")
    assert jobs.drain() == 0


def test_a_job_is_retried_when_its_time_has_come_and_not_before(jobs: Jobs, voice: Voice) -> None:
    voice.error = TransientError("away", retry_after=60)
    job = jobs.run("shout", {"text": "hello"})
    voice.error = None

    jobs.advance(59.999)
    assert jobs.drain() == 0
    jobs.advance(0.001)
    assert jobs.drain() == 1

    assert jobs.get(job).result == {"shouted": "HELLO"}
    assert jobs.get(job).attempt == 2


def test_settling_spends_all_attempts(jobs: Jobs, voice: Voice) -> None:
    voice.error = TransientError("away")

    job = jobs.run("shout", {"text": "hello"})
    jobs.settle()

    assert jobs.get(job).state is JobState.DEAD
    assert len(voice.shouted) == 3


def test_settling_names_the_jobs_that_do_not_end(jobs: Jobs, voice: Voice) -> None:
    jobs.enqueue("shout", {"text": "hello"}, run_at=jobs.clock() + 9 * 86_400_000)

    assert failure(jobs.settle) == "not ended after 8 days: shout on messages (delayed)"


def test_a_paused_queue_keeps_its_jobs(jobs: Jobs, voice: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.service, "paused", lambda: {"messages"})
    jobs.enqueue("shout", {"text": "hello"})

    assert jobs.drain() == 0
    assert failure(jobs.settle) == "no worker takes these jobs: shout on messages (waiting)"


def test_a_drain_that_would_not_end_names_the_jobs(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adbot_queue.testing.harness.MAX_ATTEMPTS", 5)

    def echo(payload: Shout, context: Context) -> None:
        service.from_env().enqueue(JobRequest("echo", {"text": payload.text}), ledger.SYSTEM)

    jobs.declare("echo", JobType("messages", Shout, echo))
    jobs.enqueue("echo", {"text": "hello"})

    assert "due without an end: echo on messages" in failure(jobs.drain)


def test_a_drain_of_one_queue_leaves_the_others(jobs: Jobs, voice: Voice) -> None:
    jobs.declare("mail", JobType("email", Shout, lambda *_: {}))
    jobs.enqueue("mail", {"text": "hello"})
    jobs.enqueue("shout", {"text": "hello"})

    assert jobs.drain("email") == 1
    assert voice.shouted == []
    with pytest.raises(NotFound):
        jobs.drain("emails")


def test_a_job_that_enqueues_others_does_so_by_the_clock_of_the_test(jobs: Jobs, voice: Voice) -> None:
    def tell(payload: Shout, context: Context) -> dict[str, int]:
        child = JobRequest("shout", {"text": payload.text}, delay_ms=10_000, tags=("child",))
        service.from_env().enqueue_many([child, child], ledger.SYSTEM)
        return {"children": 2}

    jobs.declare("tell", JobType("email", Shout, tell))
    jobs.run("tell", {"text": "hello"})

    children = jobs.assert_enqueued("shout", tags=["child"], run_at=jobs.clock() + 10_000, count=2)
    assert jobs.drain() == 0
    jobs.advance(10)
    assert jobs.drain() == 2
    assert {jobs.get(child).state for child in children} == {JobState.COMPLETED}


def test_a_job_runs_after_those_it_depends_on(jobs: Jobs, voice: Voice) -> None:
    first = jobs.enqueue("shout", {"text": "first"})
    jobs.enqueue("shout", {"text": "second"}, depends_on=(first.id,))

    jobs.drain()

    assert voice.shouted == ["first", "second"]


def test_a_queue_with_a_rate_runs_the_rest_later(jobs: Jobs, voice: Voice) -> None:
    jobs.declare("slow", JobType("accounts", Shout, voice.shout, horizon_s=HOUR_S))
    for number in range(15):
        jobs.enqueue("slow", {"text": str(number)})

    jobs.drain()
    assert len(voice.shouted) == 10
    jobs.advance(1)
    jobs.drain()

    assert len(voice.shouted) == 15


# Asserting


def test_answers_the_jobs_that_are_as_expected(shouts: Jobs) -> None:
    [job] = shouts.assert_enqueued(
        "shout",
        payload={"text": "hello", "options": {"tone": "high"}},
        queue="messages",
        priority=7,
        tags=["b"],
    )

    assert shouts.get(job).priority == 7


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ({"payload": {"text": "bye"}}, 'payload.text is "hello", not "bye"'),
        ({"payload": {"times": 2}}, "payload.times is missing"),
        ({"payload": {"options": {"tone": "low"}}}, 'payload.options.tone is "high", not "low"'),
        ({"queue": "email"}, "queue is messages, not email"),
        ({"priority": 5}, "priority is 7, not 5"),
        ({"tags": ["a", "c"]}, 'tags are ["a", "b"], without c'),
        ({"run_at": 1_790_000_000_000}, "run_at is not set, not 2026-09-21T14:13:20.000Z"),
    ],
)
def test_a_failure_says_how_what_was_enqueued_differs(shouts: Jobs, expected: dict[str, object], said: str) -> None:
    message = failure(shouts.assert_enqueued, "shout", **expected)

    assert message.startswith("expected 1 job of type shout with ")
    assert message.endswith(f"found none. Enqueued were:\n- shout on messages (waiting): {said}")
    shouts.refute_enqueued("shout", **expected)  # type: ignore[arg-type]


def test_a_failure_says_how_many_there_were(shouts: Jobs) -> None:
    assert failure(shouts.assert_enqueued, "shout", count=2) == (
        "expected 2 jobs of type shout, found 1. Enqueued were:\n- shout on messages (waiting): as expected"
    )


def test_a_second_job_is_one_too_many(shouts: Jobs) -> None:
    shouts.enqueue("shout", {"text": "hello"})

    assert "expected 1 job of type shout, found 2" in failure(shouts.assert_enqueued, "shout")


def test_a_failure_lists_jobs_of_other_types(shouts: Jobs) -> None:
    assert failure(shouts.assert_enqueued, "send-email") == (
        "expected 1 job of type send-email, found none. Enqueued were:\n"
        '- shout on messages (waiting): payload {"options": {"tone": "high"}, "text": "hello"}'
    )


def test_a_failure_says_that_nothing_was_enqueued(jobs: Jobs) -> None:
    assert failure(jobs.assert_enqueued, "send-email").endswith("found none. No job was enqueued.")


def test_a_refutation_says_what_was_enqueued(shouts: Jobs) -> None:
    message = failure(shouts.refute_enqueued, "shout", payload={"text": "hello"})

    assert message.startswith('expected no job of type shout with payload {"text": "hello"}, found 1.')


def test_times_are_compared_to_the_second(jobs: Jobs, voice: Voice) -> None:
    moment = datetime(2026, 9, 21, 15, 0, 0, 400_000, tzinfo=UTC)
    jobs.enqueue("shout", {"text": "hello"}, run_at=moment)

    jobs.assert_enqueued("shout", run_at=moment + timedelta(milliseconds=599))
    jobs.assert_enqueued("shout", run_at=moment - timedelta(milliseconds=400))
    jobs.refute_enqueued("shout", run_at=moment + timedelta(milliseconds=600))
    jobs.refute_enqueued("shout", run_at=moment - timedelta(milliseconds=401))


@pytest.mark.parametrize(
    ("job_type", "expected", "said"),
    [
        ("shuot", {}, "shuot: "),
        ("shout", {"queue": "emails"}, "there is no queue emails"),
        ("shout", {"payload": {"txet": "hello"}}, "payload.txet: does not exist; the fields are options, text, times"),
    ],
)
def test_an_expectation_that_no_job_can_meet_fails(
    jobs: Jobs, voice: Voice, job_type: str, expected: dict[str, object], said: str
) -> None:
    assert said in failure(jobs.refute_enqueued, job_type, **expected)
