"""A push to a user as the job platform runs it: a job for each browser, each tried for itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from adbot_queue.core import aws
from adbot_queue.jobs import service
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.messaging import push_subscriptions as subscriptions
from adbot_queue.messaging.push_subscriptions import MAX_SUBSCRIPTIONS
from adbot_queue.providers.web_push import Browser, decode
from tests.builders.jobs import Jobs
from tests.builders.payments import failing
from tests.builders.providers import Peers
from tests.builders.world import AwsHarness

GOOD: dict[str, Any] = {"user_id": "cara", "title": "Your bot runs"}


@pytest.fixture
def jobs(_one_world: AwsHarness, peers: Peers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    made = Jobs(_one_world)
    made.clock.now = round(time.time() * 1000)  # push services hold signatures against the time
    monkeypatch.setattr(service, "from_env", lambda: made.service)
    yield made
    for queue in made.urls:
        while made.receive(queue):
            made.delete(queue)


def browsers(peers: Peers, number: int, user: str = "cara") -> list[str]:
    """Subscribe that many browsers of a user; return the ids of their subscriptions."""
    made = []
    for _ in range(number):
        reported = peers.stand_ins.push.subscribe()
        keys = reported["keys"]
        browser = Browser(reported["endpoint"], decode(keys["p256dh"]), decode(keys["auth"]))
        made.append(subscriptions.from_env().add(user, browser).id)
    return made


def children(jobs: Jobs, parent: Job) -> dict[str, Job]:
    return {browser: jobs.get(job) for browser, job in jobs.get(parent).result["jobs"].items()}


def test_every_browser_of_a_user_gets_it_and_other_peoples_do_not(jobs: Jobs, peers: Peers) -> None:
    own = browsers(peers, 3)
    browsers(peers, 1, user="dora")
    parent = jobs.run("send-push", GOOD)
    jobs.settle()

    made = children(jobs, parent)
    assert set(made) == set(own)
    assert {job.state for job in made.values()} == {JobState.COMPLETED}
    assert len(peers.notifications) == 3
    assert len({message["tag"] for message in peers.notifications}) == 1  # to the user it is one


def test_only_the_browser_that_did_not_get_it_gets_it_again(jobs: Jobs, peers: Peers) -> None:
    browsers(peers, 2)
    parent = jobs.run("send-push", GOOD | {"title": "fail=503x1"})
    one, other = children(jobs, parent).values()
    jobs.work(one)
    jobs.work(jobs.get(one))
    assert jobs.get(one).state is JobState.DELAYED
    jobs.settle()

    assert [jobs.get(job).attempt for job in (one, other)] == [2, 2]
    assert sorted(entry["effects"] for entry in peers.stand_ins.push.effects.shown().values()) == [1, 1]


def test_a_browser_that_is_gone_fails_alone_and_is_not_tried_the_next_time(jobs: Jobs, peers: Peers) -> None:
    gone, there = browsers(peers, 2)
    found = subscriptions.from_env().get("cara", gone)
    assert found
    peers.stand_ins.push.respond("DELETE", "/" + found.browser.endpoint.rsplit("/", 1)[1], {}, b"")

    first = jobs.run("send-push", GOOD)
    jobs.settle()
    second = jobs.run("send-push", GOOD | {"body": "again"})
    jobs.settle()

    made = children(jobs, first)
    assert {browser: job.state for browser, job in made.items()} == {gone: JobState.FAILED, there: JobState.COMPLETED}
    assert set(children(jobs, second)) == {there}


@pytest.mark.parametrize("operation", ["UpdateItem", "PutItem", "TransactWriteItems", "Query"])
def test_an_attempt_that_dies_and_is_repeated_makes_no_second_job_for_a_browser(
    jobs: Jobs, peers: Peers, operation: str
) -> None:
    browsers(peers, 3)
    parent = jobs.enqueue("send-push", GOOD)
    for after in range(3):
        with failing(aws.dynamodb(), operation, after=after), suppress(Exception):
            jobs.work(jobs.get(parent))
    jobs.settle()

    assert jobs.get(parent).state is JobState.COMPLETED
    assert len(jobs.all()) == 4
    # Where the end of an attempt could not be written it sent again, what takes the place of the first.
    assert len({entry["id"] for entry in peers.stand_ins.push.messages}) == 3
    assert len({message["tag"] for message in peers.notifications}) == 1


def test_a_push_to_a_user_without_a_browser_completes(jobs: Jobs, peers: Peers) -> None:
    job = jobs.run("send-push", GOOD)

    assert (job.state, job.result) == (JobState.COMPLETED, {"jobs": {}})


def test_a_user_has_twenty_browsers_and_the_oldest_makes_room(jobs: Jobs, peers: Peers) -> None:
    known = subscriptions.Subscriptions(aws.dynamodb(), jobs.world.env["SYSTEM_TABLE"], jobs.clock)
    for number in range(MAX_SUBSCRIPTIONS + 2):
        jobs.advance(1)
        known.add("cara", Browser(f"https://push.example.com/{number}", b"\x04" * 65, b"\x00" * 16))
    jobs.advance(1)
    known.add("cara", Browser("https://push.example.com/3", b"\x04" * 65, b"\x01" * 16))

    found = known.of_user("cara")
    assert [one.browser.endpoint.rsplit("/", 1)[1] for one in found[:2]] == ["3", str(MAX_SUBSCRIPTIONS + 1)]
    assert (len(found), found[0].browser.auth) == (MAX_SUBSCRIPTIONS, b"\x01" * 16)
    assert {one.browser.endpoint for one in found}.isdisjoint({f"https://push.example.com/{old}" for old in (0, 1)})
