"""`greet`, by the pytest plugin: no network, no AWS account, no waiting."""

from __future__ import annotations

from adbot_queue.jobs.model import JobState
from adbot_queue.testing.harness import Jobs

pytest_plugins = ["adbot_queue.testing"]


def test_greet_answers_whom_it_greeted(jobs: Jobs) -> None:
    job = jobs.run("greet", {"name": "Cara"})  # one attempt by the real worker, here

    assert job.result == {"greeted": "Cara"}


def test_a_number_fails_at_once(jobs: Jobs) -> None:
    job = jobs.run("greet", {"name": "42"})

    assert job.state is JobState.FAILED


def test_godot_is_greeted_a_minute_later(jobs: Jobs) -> None:
    job = jobs.run("greet", {"name": "Godot"})
    jobs.assert_enqueued("greet", queue="messages", run_at=jobs.clock() + 60_000)

    jobs.advance(60)  # the clock is the test's
    jobs.drain()  # until nothing is due

    assert jobs.get(job).result == {"greeted": "Godot"}
    jobs.refute_enqueued("send-email")
