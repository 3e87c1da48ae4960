"""A job type is one module, found by its name."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from unittest.mock import patch

import pytest

from adbot_queue.core.errors import Invalid
from adbot_queue.jobs import job_queues, job_types
from adbot_queue.jobs.enqueue.payloads import check_payload
from local import lint
from tests.builders.effects import charging
from tests.builders.world import ROOT, AwsHarness

PUBLIC = [known.name for known in job_types.public()]


@pytest.mark.parametrize("name", job_types.names())
def test_each_module_declares_a_type_that_its_queue_can_run(name: str) -> None:
    known = job_types.find(name)

    assert known.name == name
    assert known.timeout_s <= job_queues.QUEUES[known.queue].max_run_s
    assert known.handler.__doc__


@pytest.mark.parametrize("name", PUBLIC)
def test_each_public_type_has_an_example_that_the_door_accepts(name: str) -> None:
    known = job_types.find(name)

    assert known.example is not None
    with patch("adbot_queue.integrations.jobs.execute_plugin.plugins.allowed", lambda: {"resize": "arn"}):
        assert check_payload(known, dict(known.example)) == known.example


@pytest.mark.parametrize(
    "name", ["no-such-type", "", "send_email", "Send-Email", "../send-email", "send-email ", "-", "1"]
)
def test_what_is_not_the_name_of_a_module_is_no_type(name: str) -> None:
    assert job_types.get(name) is None
    with pytest.raises(Invalid, match="does not exist"):
        job_types.find(name)


def test_the_names_are_known_without_importing_a_type() -> None:
    code = (
        "import sys; from adbot_queue.jobs import job_types; names = job_types.names();"
        "print(len(names) > 20, [name for name in sys.modules if '.jobs.send_' in name])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": "layers/common:."},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert said.stdout.strip() == "True []"


def test_the_types_are_listed_with_schema_example_and_what_is_missing(on_aws: AwsHarness) -> None:
    listed = on_aws.http("jobs", "GET /job-types", role="viewer").json["items"]

    assert [one["type"] for one in listed] == PUBLIC
    mail = next(one for one in listed if one["type"] == "send-email")
    assert (mail["queue"], mail["timeout_seconds"], mail["horizon_seconds"]) == ("email", 15, 86_400)
    assert mail["payload_schema"]["properties"].keys() >= {"to", "subject", "text"}
    assert mail["needs"][0]["provider"] == "sendgrid"
    assert not mail["needs"][0]["configured"]
    assert mail["needs"][0]["problem"]
    assert {one["type"]: one["cancellable"] for one in listed}["refund-process"]


def test_customers_do_not_see_the_types(on_aws: AwsHarness) -> None:
    assert on_aws.http("jobs", "GET /job-types", role="customer").status == 403


# What `make check` refuses


def test_two_modules_of_one_name_are_found() -> None:
    twice = {capability: ["send-email"] for capability in ("messaging", "payments")}
    with patch.object(job_types, "names_of", lambda capability: twice.get(capability, [])):
        assert list(lint.bad_job_types()) == ["job type send-email: declared in messaging and payments"]


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"queue": "emial"}, "queue emial does not exist"),
        ({"timeout_s": 21}, "timeout_s: must be at most 20, its queue's max_run_s"),
        ({"needs": ("sendgird",)}, "needs: provider sendgird does not exist"),
    ],
)
def test_a_declaration_that_does_not_fit_is_found(broken: dict[str, object], says: str) -> None:
    bad = charging("broken", **({"queue": "money"} | broken))  # type: ignore[arg-type]
    with patch.dict(job_types.LOADED, {"broken": bad}):
        assert list(lint.bad_job_types()) == [f"job type broken: {says}"]


def test_a_module_without_a_declaration_is_found() -> None:
    with (
        patch.object(job_types, "names", lambda: ["empty"]),
        patch.object(job_types, "names_of", lambda _: []),
        patch.object(job_types, "_module", lambda _: "empty"),
        patch.object(job_types, "import_module", lambda _: ModuleType("empty")),
    ):
        assert list(lint.bad_job_types()) == ["job type empty: its module declares no JOB"]


def test_the_projects_own_types_are_all_right() -> None:
    assert list(lint.bad_job_types()) == []
