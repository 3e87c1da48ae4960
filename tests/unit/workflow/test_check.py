"""What is said against a workflow before anything of it runs."""

from __future__ import annotations

from typing import Any

import pytest

from adbot_queue.core.errors import Invalid
from adbot_queue.jobs import job_types
from adbot_queue.jobs.enqueue.payloads import check_payload
from tests.builders.jobs import Jobs
from tests.builders.workflows import REFUSALS, job_of, start, step, ticket, workflow
from tests.builders.world import ADMIN

MAIL = {"to": "cara@example.com", "subject": "Hello", "text": "Hello."}


def wrong(*steps: Any, **given: Any) -> dict[str, str]:
    """The fields that are named, and why."""
    return wrong_payload(workflow(*steps, **given))


def wrong_payload(payload: dict[str, Any]) -> dict[str, str]:
    try:
        check_payload(job_types.find("run-workflow"), payload)
    except Invalid as error:
        return {entry.field.removeprefix("payload."): entry.message for entry in error.errors}
    return {}


def mail(name: str = "mail", **payload: Any) -> dict[str, Any]:
    return {"id": name, "type": "send-email", "payload": MAIL | payload}


def test_a_workflow_is_taken_as_it_is_declared() -> None:
    whole = workflow(
        mail(),
        {"id": "pause", "wait_seconds": 366 * 86_400},
        {"id": "say", "set_status": "sent ${steps.mail.result.message_id}", "after": ["mail"]},
        {"id": "ask", "condition": {"left": "${input.x}", "is": "exists"}},
        {
            "id": "track",
            "type": "analytics-track",
            "payload": {"event": "e", "user_id": "u", "properties": {"x": None}},
            "when": {"left": "${steps.ask.result}", "is": "equals", "right": True},
            "on_failure": "continue",
        },
    )

    checked = check_payload(job_types.find("run-workflow"), whole)

    assert check_payload(job_types.find("run-workflow"), checked) == checked
    assert checked["steps"][4]["payload"] == whole["steps"][4]["payload"]
    assert checked["steps"][4]["when"] == whole["steps"][4]["when"]


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"id": "Bad Id", "set_status": "x"}, "steps.0.id"),
        ({"id": "a"}, "steps.0"),
        ({"id": "a", "set_status": "x", "wait_seconds": 5}, "steps.0"),
        ({"id": "a", "wait_seconds": 5, "payload": {"x": 1}}, "steps.0"),
        ({"id": "a", "wait_seconds": 0}, "steps.0.wait_seconds"),
        ({"id": "a", "wait_seconds": 367 * 86_400}, "steps.0.wait_seconds"),
        ({"id": "a", "set_status": "x", "then": "b"}, "steps.0.then"),
        ({"id": "a", "set_status": "x", "when": {"left": "5", "is": "equals"}}, "steps.0.when"),
        ({"id": "a", "set_status": "x", "when": {"left": "${input.x}", "is": "like"}}, "steps.0.when.is"),
        ({"id": "a", "set_status": "x", "when": {"left": "${input.x}", "is": "greater"}}, "steps.0.when"),
        ({"id": "a", "set_status": "x", "when": {"left": "${input.x}", "is": "in", "right": 5}}, "steps.0.when"),
        ({"id": "a", "set_status": "x", "after": ["b"]}, "steps.0.after"),
        ({"id": "a", "set_status": "x", "after": ["a"]}, "steps"),
        ({"id": "a", "type": "no-such-type"}, "steps.0.type"),
        ({"id": "a", "type": "deliver-webhook"}, "steps.0.type"),
        ({"id": "a", "type": "run-workflow"}, "steps.0.type"),
        (mail(to="nobody"), "steps.0.payload.to"),
        (mail(colour="red"), "steps.0.payload.colour"),
        (mail(to="${input.emial}"), "steps.0.payload.to"),
        (mail(to="${email}"), "steps.0.payload.to"),
        (mail(categories=["a", "${input.e"]), "steps.0.payload.categories.1"),
        ({"id": "a", "set_status": "${steps.b.state}"}, "steps.0.set_status"),
        ({"id": "a", "set_status": "x", "when": {"left": "${steps.a.state}", "is": "exists"}}, "steps.0.when.left"),
    ],
)
def test_what_is_wrong_is_named(bad: dict[str, Any], field: str) -> None:
    assert field in wrong(bad)


def test_steps_are_one_to_fifty() -> None:
    assert "steps" in wrong()
    assert wrong(*[{"id": f"s{n}", "set_status": "x"} for n in range(50)]) == {}
    assert "steps" in wrong(*[{"id": f"s{n}", "set_status": "x"} for n in range(51)])


def test_ids_are_unique_and_steps_do_not_wait_for_each_other() -> None:
    assert "steps.1.id" in wrong(step("a", set_status="x"), step("a", set_status="x"))
    circle = wrong(step("a", set_status="x", after=["c"]), step("b", set_status="x"), step("c", set_status="x"))
    assert circle.keys() == {"steps"}
    assert set(circle["steps"].removeprefix("form a cycle: ").split(", ")) == {"a", "b", "c"}


def test_a_reference_must_name_a_step_that_surely_comes_before() -> None:
    parallel = [step("a", set_status="x"), step("b", set_status="${steps.a.state}", after=[])]
    assert wrong(*parallel) == {"steps.1.set_status": "must refer to an earlier step: a is not"}

    far = [step("a", set_status="x"), step("b", set_status="x"), step("c", set_status="${steps.a.state}")]
    assert wrong(*far) == {}


def test_what_the_input_gives_is_checked_now_and_what_steps_will_give_is_not() -> None:
    now = [mail(to="${input.to}")]
    assert wrong(*now, to="cara@example.com") == {}
    assert set(wrong(*now, to="nobody")) == {"steps.0.payload.to"}
    assert set(wrong(*now, to=5)) == {"steps.0.payload.to"}

    later = [mail(), mail("next", to="${steps.mail.result.to}", subject=5)]
    assert set(wrong(*later)) == {"steps.1.payload.subject"}

    missing = [mail(), {"id": "next", "type": "send-email", "payload": {"to": "${steps.mail.result.to}", "text": "x"}}]
    assert set(wrong(*missing)) == {"steps.1.payload.subject"}


def test_many_errors_are_reported_at_once() -> None:
    assert set(wrong(mail(to="x"), mail("b", subject=""), {"id": "c", "type": "nothing"})) == {
        "steps.0.payload.to",
        "steps.1.payload.subject",
        "steps.2.type",
    }


def changed(jobs: Jobs, flow: Any, *steps: dict[str, Any]) -> set[str]:
    try:
        jobs.lifecycle.retry(flow.id, ADMIN, payload=workflow(*steps))
    except Invalid as error:
        return {entry.message for entry in error.errors}
    return set()


def test_a_retry_may_change_what_has_not_been_done_and_nothing_else(jobs: Jobs) -> None:
    REFUSALS["mint"] = 1
    flow = start(jobs, *ticket())
    jobs.settle()
    pay, mint, email, _ = ticket()

    assert changed(jobs, flow, pay | {"payload": {"name": "other"}}, mint) == {"must not change: step pay is completed"}
    assert changed(jobs, flow, mint | {"payload": {}}) == {"must keep step pay, which has run"}
    assert changed(jobs, flow, pay, {"id": "mint", "set_status": "x"}) == {"must stay mint: step mint has run"}
    assert changed(jobs, flow, pay, {**mint, "type": "nothing"}) != set()

    better = {**mint, "payload": {"name": "mint", "seen": "${steps.pay.result.list.0.n}"}}
    assert changed(jobs, flow, pay, better, step("more", set_status="done"), email) == set()
    jobs.settle()
    done = jobs.get(flow)
    assert (done.state.value, done.checkpoint["status"]) == ("completed", "done")
    assert job_of(jobs, flow, "mint").payload["seen"] == 7
