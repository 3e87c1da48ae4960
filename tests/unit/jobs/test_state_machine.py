"""The job platform against a model that is too simple to be wrong: whatever happens, in whatever order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from moto.dynamodb.models import dynamodb_backends

from adbot_queue.core.errors import Conflict
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.model import RETRYABLE, TERMINAL, Job, JobState
from adbot_queue.jobs.store.claims import TooEarly
from adbot_queue.jobs.sweeper import Sweeper
from adbot_queue.jobs.worker.worker import LEASE_MARGIN_MS, JobMessage
from tests.builders.effects import charging, new_provider
from tests.builders.jobs import Jobs, known_types
from tests.builders.sqs import FakeSqs
from tests.builders.world import ADMIN, AwsHarness

ATTEMPTS = 3  # of the queue `email`
LEASE_MS = 20_000 + LEASE_MARGIN_MS
OUTCOMES = st.lists(st.sampled_from(["good", "transient", "late-transient", "permanent", "snoozed", "bug"]), max_size=5)


@dataclass
class Simple:
    """What the model knows of a job."""

    goes: list[str]
    state: JobState = JobState.WAITING
    attempt: int = 0
    cycle: int = 0
    effect: int = 0  # number of the provider's key
    tries: dict[int, int] = field(default_factory=dict)  # of each key
    happened: set[int] = field(default_factory=set)  # keys under which the provider did it
    run_at: int = 0
    lease_until: int = 0
    asked_to_stop: bool = False

    def claimable(self, now: int) -> bool:
        return self.state is JobState.WAITING or (self.state is JobState.DELAYED and self.run_at <= now)

    def fails(self) -> None:
        """The attempt that runs counts and did not work out. One that was to stop is not tried again."""
        again = JobState.DEAD if self.attempt >= ATTEMPTS else JobState.DELAYED
        self.state = JobState.CANCELLED if self.asked_to_stop else again

    def runs(self) -> None:
        """An attempt, from claim to finish."""
        self.attempt += 1
        tries = self.tries[self.effect] = self.tries.get(self.effect, 0) + 1
        outcome = self.goes[tries - 1] if tries <= len(self.goes) else "good"
        match outcome:
            case "permanent":
                self.state = JobState.FAILED
            case "snoozed":
                self.attempt -= 1
                self.state = JobState.DELAYED
            case "transient" | "bug":
                self.fails()
            case _:
                self.happened.add(self.effect)
                self.state = JobState.COMPLETED
                if outcome == "late-transient":
                    self.fails()


class Platform(RuleBasedStateMachine):
    """The real one and the model, side by side."""

    on: AwsHarness
    changed = False
    ids = Bundle("ids")
    claims = Bundle("claims")

    @initialize(target=ids, scripts=st.lists(OUTCOMES, min_size=3, max_size=3))
    def begin(self, scripts: list[list[str]]) -> Any:
        """Three jobs: hypothesis leaves rules out at random, and without jobs there is nothing to see."""
        for backends in dynamodb_backends.values():
            for table in (table for backend in backends.values() for table in backend.tables.values()):
                table.items.clear()
        self.provider = new_provider()
        self.jobs = Jobs(self.on)
        self.jobs.urls = {"email": "email"}
        self.sqs = FakeSqs(self.jobs.clock)
        self.jobs.dispatcher._sqs, self.jobs.dispatcher._urls = self.sqs, self.jobs.urls  # type: ignore[assignment]
        self.model: dict[str, Simple] = {}
        self.asked: dict[str, int | None] = {}
        return multiple(*(self._enqueue(goes, 0) for goes in scripts))

    # What callers do

    @rule(target=ids, goes=OUTCOMES, delay=st.sampled_from([0, 30, 1000]))
    def enqueue(self, goes: list[str], delay: int) -> Any:
        return self._enqueue(goes, delay) if len(self.model) < 5 else multiple()

    def _enqueue(self, goes: list[str], delay: int) -> str:
        name = f"job {len(self.model)}"
        run_at = self.jobs.clock() + delay * 1000 if delay else None
        job = self.jobs.enqueue("mail", {"name": name, "goes": goes}, key=name, run_at=run_at)
        self.model[job.id] = Simple(goes, JobState.DELAYED if delay else JobState.WAITING, run_at=run_at or 0)
        self.asked[job.id] = run_at
        self.changed = True
        return job.id

    @rule(job_id=ids)
    def enqueue_again(self, job_id: str) -> None:
        job = self.jobs.get(job_id)
        again = self.jobs.enqueued("mail", job.payload, key=job.payload["name"], run_at=self.asked[job_id])
        assert (again.job.id, again.replayed) == (job_id, True)

    @rule(job_id=ids)
    def cancel(self, job_id: str) -> None:
        simple = self.model[job_id]
        if simple.state in TERMINAL - {JobState.CANCELLED}:
            with pytest.raises(Conflict):
                self.jobs.lifecycle.cancel(job_id, ADMIN)
            return
        self.jobs.lifecycle.cancel(job_id, ADMIN)
        if simple.state is JobState.ACTIVE:
            simple.asked_to_stop = True
        else:
            simple.state = JobState.CANCELLED
        self.changed = True

    @rule(job_id=ids)
    def retry(self, job_id: str) -> None:
        simple = self.model[job_id]
        if simple.state not in RETRYABLE:
            with pytest.raises(Conflict):
                self.jobs.lifecycle.retry(job_id, ADMIN)
            return
        self.jobs.lifecycle.retry(job_id, ADMIN)
        simple.effect += simple.state is JobState.FAILED
        simple.state, simple.attempt, simple.cycle = JobState.WAITING, 0, simple.cycle + 1
        self.changed = True

    # What workers do

    @rule(target=claims, job_id=ids, dies=st.booleans())
    def message_arrives(self, job_id: str, dies: bool) -> Any:
        """For any job, in any state: messages come late and twice. The worker may die on it."""
        if dies:
            return self._claim(job_id)
        self._run(job_id)
        return multiple()

    def _run(self, job_id: str) -> None:
        simple = self.model[job_id]
        if any(job.state is JobState.WAITING for one, job in self._others(job_id)) and not simple.claimable(
            self.jobs.clock()
        ):
            return  # the permit would go to another one that waits
        self.jobs.work(self.jobs.get(job_id))
        if simple.claimable(self.jobs.clock()):
            simple.runs()
            self._read_time(job_id)
        self.changed = True

    @rule(job_ids=st.lists(ids, min_size=2, max_size=4))
    def batch_arrives(self, job_ids: list[str]) -> None:
        """For several jobs at once, the same one perhaps twice."""
        claimable = [one for one in dict.fromkeys(job_ids) if self.model[one].claimable(self.jobs.clock())]
        others = [one for one, simple in self.model.items() if simple.state is JobState.WAITING and one not in job_ids]
        if len(claimable) < len(job_ids) and others:
            return  # permits would go to those
        self.jobs.worker.work([JobMessage(one, "email") for one in job_ids], lambda: 60_000)
        for one in claimable:
            self.model[one].runs()
            self._read_time(one)
        self.changed = True

    @rule()
    def queue_is_worked_off(self) -> None:
        """What is visible in the queue, batch by batch."""
        while batch := self.sqs.receive("email"):
            for receipt, body in batch:
                if body["job"] in self.model:
                    self._run(body["job"])
                self.sqs.delete("email", [receipt])

    @rule()
    def messages_are_lost(self) -> None:
        self.sqs.lose("email")

    def _claim(self, job_id: str) -> Any:
        simple, now = self.model[job_id], self.jobs.clock()
        lease = f"lease {job_id} {now} {simple.cycle} {simple.attempt}"
        try:
            taken = self.jobs.store.claim(job_id, "email", "dies", lease, now, now + LEASE_MS)
        except TooEarly:
            taken = None
        assert (taken is not None) == simple.claimable(now)
        if taken is None:
            return multiple()
        simple.state, simple.attempt, simple.lease_until = JobState.ACTIVE, simple.attempt + 1, now + LEASE_MS
        self.changed = True
        return lease, taken

    @rule(claim=claims)
    def worker_comes_back_and_completes(self, claim: tuple[str, Job]) -> None:
        """It was not dead, but slow: it may finish if and only if the claim is still its own."""
        lease, taken = claim
        simple = self.model[taken.id]
        own = simple.state is JobState.ACTIVE and self.jobs.get(taken.id).lease == lease
        self.jobs.worker.finish(taken, taken.completed({"late": True}, self.jobs.clock()))
        if own:
            simple.state = JobState.COMPLETED
        self.changed = True

    # What time does

    @rule(seconds=st.sampled_from([1, 10, 36, 61, 400]))
    def time_passes(self, seconds: int) -> None:
        self.jobs.advance(seconds)

    @rule()
    def sweep(self) -> None:
        now = self.jobs.clock()
        due = {one: job.due_at or now + 1 for one, job in self._others("")}
        assert self.jobs.sweep()["failed"] == 0
        for job_id, simple in self.model.items():
            if simple.state is JobState.ACTIVE and simple.lease_until <= now:
                simple.fails()
                self._read_time(job_id)
            elif simple.state is JobState.DELAYED and simple.run_at <= now and due[job_id] <= now:
                simple.state = JobState.WAITING
        self.changed = True

    @rule()
    def a_minute_passes(self) -> None:
        """With the sweeper's run at its end."""
        self.time_passes(60)
        self.sweep()

    def _read_time(self, job_id: str) -> None:
        """Jitter is chance: the model takes the moment from the job, and checks that it is one."""
        simple, job = self.model[job_id], self.jobs.get(job_id)
        if simple.state is JobState.DELAYED:
            assert job.run_at is not None
            assert 4_000 <= job.run_at - self.jobs.clock() <= 6_000
            simple.run_at = job.run_at

    def _others(self, job_id: str) -> list[tuple[str, Job]]:
        return [(job.id, job) for job in self.jobs.all() if job.id != job_id]

    @invariant()
    def they_agree(self) -> None:
        if not self.changed:
            return
        self.changed = False
        jobs = {job.id: job for job in self.jobs.all()}
        assert jobs.keys() == self.model.keys()
        for job_id, simple in self.model.items():
            job = jobs[job_id]
            assert (job.state, job.attempt, job.cycle) == (simple.state, simple.attempt, simple.cycle)
            assert job.cancel_requested == (simple.asked_to_stop and simple.state is JobState.ACTIVE)
            simple.asked_to_stop = job.cancel_requested
            assert self.provider.effects[job.payload["name"]] == len(simple.happened)
        waiting = {job_id for job_id, simple in self.model.items() if simple.state is JobState.WAITING}
        open_ = {one for one, simple in self.model.items() if simple.state in {JobState.DELAYED, JobState.ACTIVE}}
        assert {job_id for _, job_id in self.jobs.store.ready("email", 10)} == waiting
        assert set(self.jobs.store.due("email", 10**14, 10)[0]) == open_

    def teardown(self) -> None:
        """Left alone, every job ends."""
        for _ in range(40):
            self.queue_is_worked_off()
            if all(simple.state in TERMINAL for simple in self.model.values()):
                break
            self.time_passes(100)
            self.sweep()
        self.they_agree()
        assert all(simple.state in TERMINAL for simple in self.model.values()), self.model


FEW = settings(
    max_examples=10,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
def on_one_queue(on_aws: AwsHarness) -> Iterator[None]:
    Platform.on = on_aws
    with (
        patch.dict(job_queues.QUEUES, {"email": job_queues.QUEUES["email"]}, clear=True),
        known_types(charging("mail", "email")),
    ):
        yield


def test_whatever_happens_jobs_are_as_the_model_says() -> None:
    run_state_machine_as_test(Platform, settings=FEW)


@pytest.mark.long
def test_a_sweeper_that_ignores_leases_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sweeper, "_sweep_page", _hasty(Sweeper._sweep_page))
    _finds_out()


def _hasty(right: Any) -> Any:
    def due(self: Sweeper, *args: Any) -> None:
        clock = self._now
        self._now = lambda: clock() + LEASE_MS
        try:
            right(self, *args)
        finally:
            self._now = clock

    return due


def _finds_out() -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Platform, settings=settings(FEW, max_examples=100, phases=[Phase.generate]))
