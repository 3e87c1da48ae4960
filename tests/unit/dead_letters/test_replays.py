"""Replays: at their rate, each dead letter at most once, under crashes and with several workers."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adbot_queue.core.clock import iso
from adbot_queue.core.errors import Conflict, Invalid, NotFound
from adbot_queue.dead_letters.model import DeadLetterFilter
from adbot_queue.dead_letters.replay_service import Preview
from adbot_queue.dead_letters.store import DeadLetterStore
from adbot_queue.jobs.model import Job, JobState
from tests.builders.crash import Killed, crash_after, every_call
from tests.builders.dead_letters import DeadLetterHarness
from tests.builders.effects import Provider, new_provider
from tests.builders.jobs import Jobs
from tests.builders.payments import empty, snapshot
from tests.builders.world import ADMIN


@pytest.fixture
def office(jobs: Jobs) -> DeadLetterHarness:
    return DeadLetterHarness(jobs)


def outcomes(job: Job) -> dict[str, int]:
    """What has become of the dead letters so far."""
    return {"replayed": 0, "skipped": 0, "refused": 0} | job.checkpoint.get("outcomes", {})


def retried(office: DeadLetterHarness, replay: Job) -> list[str]:
    """Jobs that the ledger says this replay had retried."""
    entries = office.jobs.world.ledger(action="dead-letter.replay")
    return [entry["target"] for entry in entries if entry["after"].get("replay") == replay.id]


def test_a_replay_of_named_letters_retries_these_alone(office: DeadLetterHarness) -> None:
    letters = office.lay(4)
    replay = office.start(job_ids=(letters[1].id, letters[3].id))
    assert (replay.payload["count"], replay.checkpoint["of"]) == (2, 2)

    ended = office.finish(replay)

    assert (ended.state, outcomes(ended)["replayed"]) == (JobState.COMPLETED, 2)
    assert set(office.listed()) == {letters[0].id, letters[2].id}


def test_a_replay_retries_what_matches_and_nothing_else(office: DeadLetterHarness, provider: Provider) -> None:
    mails = [*office.lay(4), *office.lay(2, kind="permanent")]
    (other,) = office.lay(1, queue="money")
    replay = office.start(queue="email", rate=100)
    assert (replay.payload["count"], replay.payload["count_is_exact"]) == (6, True)

    ended = office.finish(replay)
    office.jobs.drain("email")

    assert (ended.state, outcomes(ended)["replayed"]) == (JobState.COMPLETED, 6)
    assert {office.jobs.get(job).state for job in mails} == {JobState.COMPLETED}
    assert office.listed() == [other.id]
    assert provider.effects == {"n0": 2, "n1": 2, "n2": 1, "n3": 1}
    cut_off = iso(replay.created_at)
    assert ended.result == {"done": 6, "of": 6, "outcomes": {"replayed": 6}, "cut_off": cut_off}
    entries = office.jobs.world.ledger(action="dead-letter.replay")
    assert {(entry["actor"], entry["role"], entry["reason"]) for entry in entries} == {("ada", "admin", "fixed")}


def test_what_dies_after_the_start_is_not_replayed(office: DeadLetterHarness) -> None:
    replay = office.start()
    office.jobs.advance(1)
    (late,) = office.lay(1)

    ended = office.finish(replay)

    assert outcomes(ended)["replayed"] == 0
    assert office.listed() == [late.id]


def test_a_job_that_dies_again_is_not_replayed_again(office: DeadLetterHarness) -> None:
    jobs = office.lay(3, goes=20)
    replay = office.start(rate=1)
    office.go_on(replay)
    first = next(job for job in jobs if office.jobs.get(job).state is JobState.WAITING)

    office.die(first)
    office.finish(replay)

    assert office.jobs.get(first).state is JobState.DEAD
    assert sorted(retried(office, replay)) == sorted(f"job:{job.id}" for job in jobs)


def test_a_job_that_dies_again_on_a_clock_that_is_behind_is_known_by_its_mark(office: DeadLetterHarness) -> None:
    (job,) = office.lay(1, goes=20)
    replay = office.start(rate=1)
    office.go_on(replay)
    now = office.jobs.clock.now
    office.jobs.clock.now = replay.created_at - 60_000
    office.jobs.work(job)
    current = office.jobs.get(job)
    office.jobs.store.change(
        current, current.changed(state=JobState.DEAD, run_at=None, due_at=None, finished_at=now - 60_000)
    )
    office.jobs.clock.now = now

    ended = office.finish(replay)

    assert (outcomes(ended)["replayed"], len(retried(office, replay))) == (1, 1)


def test_the_rate_is_kept(office: DeadLetterHarness) -> None:
    office.lay(15)
    replay = office.start(rate=5)
    began = office.jobs.clock()

    for _ in range(20):
        office.go_on(replay)
        done = office.replays.show(replay.id)
        assert outcomes(done)["replayed"] <= (office.jobs.clock() - began) / 1000 * 5 + 1
        if done.state is JobState.COMPLETED:
            break

    assert outcomes(done)["replayed"] == 15
    assert 2 <= (office.jobs.clock() - began) / 1000 <= 8
    assert (done.attempt, len(done.attempts)) == (1, 1)


def test_a_pause_is_not_made_up_for(office: DeadLetterHarness) -> None:
    office.lay(15)
    replay = office.start(rate=1)
    office.go_on(replay)

    office.jobs.advance(3600)
    office.go_on(replay)

    assert 2 <= outcomes(office.replays.show(replay.id))["replayed"] <= 8


def test_a_cancel_stops_before_the_next_letters_and_a_retry_resumes(
    office: DeadLetterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = office.lay(10)
    replay = office.start(rate=5)
    rows, seen = DeadLetterStore.rows, []

    def cancels_the_third(store: DeadLetterStore, entries: Any) -> Any:
        seen.append(1)
        if len(seen) == 3:
            office.replays.cancel(replay.id, ADMIN, "wrong filter")
        return rows(store, entries)

    with monkeypatch.context() as patched:
        patched.setattr(DeadLetterStore, "rows", cancels_the_third)
        stopped = office.finish(replay)

    done = outcomes(stopped)["replayed"]
    assert (stopped.state, 0 < done < 10) == (JobState.CANCELLED, True)
    assert [office.jobs.get(job).state for job in jobs].count(JobState.DEAD) == 10 - done
    assert office.replays.cancel(replay.id, ADMIN).state is JobState.CANCELLED
    office.jobs.lifecycle.retry(replay.id, ADMIN, "right after all")
    assert outcomes(office.finish(replay)) == {"replayed": 10, "skipped": 0, "refused": 0}
    assert sorted(retried(office, replay)) == sorted(f"job:{job.id}" for job in jobs)


def test_a_completed_replay_cannot_be_cancelled_and_an_unknown_one_not_be_found(office: DeadLetterHarness) -> None:
    replay = office.start()
    office.finish(replay)

    with pytest.raises(Conflict):
        office.replays.cancel(replay.id, ADMIN)
    with pytest.raises(NotFound):
        office.replays.show("rep_none")


def test_two_replays_of_the_same_letters_retry_each_once_together(office: DeadLetterHarness) -> None:
    jobs = office.lay(10)
    one, two = office.start(rate=3), office.start(rate=2)

    for _ in range(30):
        for replay in (one, two):
            if not office.jobs.get(replay).is_terminal:
                office.go_on(replay)

    both = [*retried(office, one), *retried(office, two)]
    assert sorted(both) == sorted(f"job:{job.id}" for job in jobs)
    ends = [office.replays.show(replay.id) for replay in (one, two)]
    assert [end.state for end in ends] == [JobState.COMPLETED] * 2
    assert sum(outcomes(end)["replayed"] for end in ends) == 10


@pytest.mark.parametrize("late", [False, True], ids=["before it is read", "after it was read"])
def test_what_others_decided_meanwhile_is_skipped(
    office: DeadLetterHarness, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    jobs = office.lay(3)
    replay = office.start()
    rows = DeadLetterStore.rows

    def discarded(store: DeadLetterStore, entries: Any) -> Any:
        found = rows(store, entries) if late else None
        with suppress(Conflict):
            if any(entry.job_id == jobs[1].id for entry in entries):
                office.letters.discard(jobs[1].id, ADMIN)
        return found or rows(store, entries)

    with monkeypatch.context() as patched:
        patched.setattr(DeadLetterStore, "rows", discarded)
        ended = office.finish(replay)

    # The slice that was refused reads the index again, which does not have it any more.
    assert outcomes(ended) == {"replayed": 2, "skipped": int(not late), "refused": 0}
    assert office.jobs.get(jobs[1]).decision == "discarded"


def test_the_same_key_is_the_same_replay(office: DeadLetterHarness) -> None:
    def start() -> str:
        return office.replays.start(DeadLetterFilter(), 5, "", ADMIN, key="k", fingerprint="f").job.id

    assert start() == start()
    assert len([job for job in office.jobs.all() if job.type == "replay-dead-letters"]) == 1


# Killed


def finish_whatever_dies(office: DeadLetterHarness) -> None:
    """What queues, workers and the sweeper do after a crash."""
    for _ in range(9):
        office.jobs.advance(70)
        office.jobs.sweep()
        with office.on_this_clock():
            drained = sum(office.jobs.drain(queue) for queue in ("maintenance", "email", "money"))
        if not drained and not office.jobs.open():
            return
    raise AssertionError(f"still open: {office.jobs.open()}")


@pytest.mark.parametrize("runs", [0, 1])
def test_killed_after_any_call_of_a_run_nothing_is_lost_and_nothing_done_twice(
    office: DeadLetterHarness, runs: int
) -> None:
    """The first run replays one dead letter, the second one two in one slice."""
    office.lay(1)
    office.lay(1, kind="permanent", queue="money")
    office.lay(1, kind="permanent", queue="email")
    replay = office.start()
    for _ in range(runs):
        office.go_on(replay)
        office.jobs.advance(5)
    restore, clock = snapshot(), office.jobs.clock.now
    with crash_after(None) as calls:
        office.go_on(replay)
    number = len(calls.names)
    assert number >= 8
    for call in every_call(number):
        restore()
        office.jobs.clock.now = clock
        provider = new_provider()
        with crash_after(call), suppress(Killed):
            office.go_on(replay)
        finish_whatever_dies(office)
        ended = office.replays.show(replay.id)
        assert ended.state is JobState.COMPLETED, f"after call {call}"
        assert outcomes(ended) == {"replayed": 3, "skipped": 0, "refused": 0}, f"after call {call}"
        assert provider.effects == {"n0": 3}, f"after call {call}"
        targets = retried(office, replay)
        assert len(targets) == len(set(targets)) == 3, f"after call {call}"
        assert office.listed() == []


@pytest.mark.parametrize("kind", ["transient", "permanent"])
def test_killed_after_any_call_of_replaying_one_it_happens_once(
    office: DeadLetterHarness, provider: Provider, kind: str
) -> None:
    (job,) = office.lay(1, kind=kind)
    restore, clock = snapshot(), office.jobs.clock.now
    with crash_after(None) as calls:
        office.letters.replay(job.id, ADMIN)
    for call in every_call(len(calls.names)):
        restore()
        office.jobs.clock.now = clock
        after = new_provider()
        with crash_after(call), suppress(Killed):
            office.letters.replay(job.id, ADMIN)
        with suppress(Conflict):  # the person asks again
            office.letters.replay(job.id, ADMIN)
        finish_whatever_dies(office)
        current = office.jobs.get(job)
        assert (current.state, current.cycle) == (JobState.COMPLETED, 1), f"after call {call}"
        assert after.effects == {"n0": 1}


def test_killed_after_any_call_of_starting_a_replay_it_is_started_once(office: DeadLetterHarness) -> None:
    office.lay(2)
    counted = office.replays.preview(DeadLetterFilter())
    restore, clock = snapshot(), office.jobs.clock.now

    def start() -> Job:
        return office.replays.start(DeadLetterFilter(), 100, "", ADMIN, confirmed=counted, key="k", fingerprint="f").job

    with crash_after(None) as calls:
        start()
    for call in every_call(len(calls.names)):
        restore()
        office.jobs.clock.now = clock
        with crash_after(call), suppress(Killed):
            start()
        replay = start()
        finish_whatever_dies(office)
        assert outcomes(office.replays.show(replay.id))["replayed"] == 2, f"after call {call}"


@pytest.mark.timeout(300)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False), st.integers(1, 4), st.booleans())
def test_with_random_kills_and_a_second_worker_each_job_is_retried_at_most_once(
    office: DeadLetterHarness, chance: random.Random, number: int, again: bool
) -> None:
    """`again`: the jobs die again, at once, while the replay runs."""
    empty()
    new_provider()
    jobs = office.lay(number, goes=60 if again else 0)
    replay = office.start(rate=chance.choice([1, 5, 100]))
    for turn in range(30):
        kill = chance.randint(1, 40) if turn < 12 and chance.random() < 0.5 else None
        _go_on_with_a_rival(office, replay, kill, chance)
        if again:
            office.die(*(job for job in map(office.jobs.get, jobs) if job.state is not JobState.DEAD))
        if office.replays.show(replay.id).state is JobState.COMPLETED:
            break
    ended = office.replays.show(replay.id)
    assert (ended.state, outcomes(ended)) == (JobState.COMPLETED, {"replayed": number, "skipped": 0, "refused": 0})
    assert sorted(retried(office, replay)) == sorted(f"job:{job.id}" for job in jobs)
    assert {office.jobs.get(job).cycle for job in jobs} == {1}


def _go_on_with_a_rival(office: DeadLetterHarness, replay: Job, kill: int | None, chance: random.Random) -> None:
    """A run that may be killed, and in the middle of which its lease may be lost to another worker."""
    store = DeadLetterStore
    rows, rival = store.rows, chance.random() < 0.3

    def interrupted(self: DeadLetterStore, entries: Any) -> Any:
        nonlocal rival
        found = rows(self, entries)
        if rival:
            rival = False
            _take_over(office)
            office.go_on(replay, office.jobs.new_worker("rival"))
        return found

    if office.jobs.get(replay).state is JobState.ACTIVE:  # its worker was killed
        _take_over(office)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "rows", interrupted)
        with crash_after(kill), suppress(Killed):
            if not office.jobs.get(replay).is_terminal:
                office.go_on(replay)


def _take_over(office: DeadLetterHarness) -> None:
    """The lease ran out, and the sweeper makes the job wait again."""
    office.jobs.advance(70)
    office.jobs.sweep()


# Canary


def one_by_one(office: DeadLetterHarness, number: int) -> list[Job]:
    """Dead letters, a second apart."""
    laid: list[Job] = []
    for _ in range(number):
        laid += office.lay(1)
        office.jobs.advance(1)
    return laid


def states(office: DeadLetterHarness, jobs: list[Job]) -> list[JobState]:
    return [office.jobs.get(job).state for job in jobs]


def test_a_canary_goes_first_and_the_rest_follow_when_it_has_completed(office: DeadLetterHarness) -> None:
    mails = one_by_one(office, 4)
    replay = office.go_on(office.start(queue="email", canary=True))
    assert states(office, mails) == [JobState.WAITING] + [JobState.DEAD] * 3

    waiting = office.go_on(replay)
    assert (waiting.state, states(office, mails).count(JobState.DEAD)) == (JobState.DELAYED, 3)

    office.jobs.drain("email")
    ended = office.finish(waiting)
    assert (ended.state, outcomes(ended)["replayed"]) == (JobState.COMPLETED, 4)
    office.jobs.drain("email")
    assert set(states(office, mails)) == {JobState.COMPLETED}


@pytest.mark.parametrize("kind", ["transient", "permanent"])
def test_a_canary_that_fails_stops_the_replay_until_it_completes(office: DeadLetterHarness, kind: str) -> None:
    bad = office.dead_job(goes=4) if kind == "transient" else office.failed_job()
    office.jobs.advance(1)
    mails = one_by_one(office, 2)
    replay = office.go_on(office.start(queue="email", canary=True))
    office.jobs.work(office.jobs.get(bad))
    stopped = office.finish(replay)
    assert (stopped.state, states(office, mails)) == (JobState.FAILED, [JobState.DEAD] * 2)
    assert stopped.failure
    assert bad.id in stopped.failure.message

    if office.jobs.get(bad).is_terminal:
        office.letters.replay(bad.id, ADMIN, payload={"name": "a"})
    office.jobs.settle()
    assert office.jobs.get(bad).state is JobState.COMPLETED
    office.jobs.lifecycle.retry(replay.id, ADMIN)
    ended = office.finish(replay)
    assert (ended.state, outcomes(ended)["replayed"]) == (JobState.COMPLETED, 3)


def test_a_canary_that_was_deleted_stops_nothing(office: DeadLetterHarness) -> None:
    first, *_ = one_by_one(office, 3)
    replay = office.go_on(office.start(queue="email", canary=True))
    office.jobs.store.client.delete_item(
        TableName=office.jobs.store.table, Key={"pk": {"S": f"JOB#{first.id}"}, "sk": {"S": "J"}}
    )
    assert outcomes(office.finish(replay))["replayed"] == 3


# Confirmation


def test_a_confirmed_replay_begins_only_if_that_number_died_before_the_cut_off(office: DeadLetterHarness) -> None:
    office.lay(3)
    office.jobs.advance(1)
    seen = office.replays.preview(DeadLetterFilter(queue="email"))
    office.jobs.advance(1)
    office.lay(2)  # the queue is busy

    wrong = Preview(seen.count + 2, is_exact=True, cut_off=seen.cut_off)
    with pytest.raises(Conflict, match="confirm: 3 dead letters match, not 5"):
        office.replays.start(DeadLetterFilter(queue="email"), 100, "", ADMIN, confirmed=wrong)
    started = office.replays.start(
        DeadLetterFilter(queue="email"), 100, "", ADMIN, confirmed=seen, key="k", fingerprint="f"
    )
    assert outcomes(office.finish(started.job))["replayed"] == 3
    again = office.replays.start(
        DeadLetterFilter(queue="email"), 100, "", ADMIN, confirmed=seen, key="k", fingerprint="f"
    )
    assert (again.repeated, again.job.id) == (True, started.job.id)


@pytest.mark.parametrize(("count", "is_refused"), [(0, False), (1, False), (2, True), (3, True)])
def test_more_than_one_dead_letter_needs_the_count_of_a_dry_run(
    office: DeadLetterHarness, count: int, is_refused: bool
) -> None:
    office.lay(count)
    office.jobs.advance(1)
    if not is_refused:
        replay = office.replays.start(DeadLetterFilter(), 100, "", ADMIN).job
        assert outcomes(office.finish(replay))["replayed"] == count
        return
    with pytest.raises(Invalid, match=f"confirm: required: {count} dead letters match"):
        office.replays.start(DeadLetterFilter(), 100, "", ADMIN)
    assert not [job for job in office.jobs.all() if job.type == "replay-dead-letters"]
