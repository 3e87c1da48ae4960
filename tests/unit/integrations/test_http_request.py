"""`http-request`: a team's own code behind the queue, reached by a signed request that keeps its secrets."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pytest
from pydantic import ValidationError
from standardwebhooks import Webhook

from adbot_queue.core import aws, outbound, secrets
from adbot_queue.core.errors import Invalid
from adbot_queue.core.outbound import Outbound
from adbot_queue.integrations.jobs.http_request import MAX_ANSWER, OURS, HttpRequest
from adbot_queue.jobs import job_types
from adbot_queue.jobs.enqueue.payloads import check_payload
from adbot_queue.jobs.masking import MASK, masked
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.unmasking import unmasked
from examples import http_receiver
from tests.builders.jobs import Jobs
from tests.builders.receiver import Receiver, only_loopback, receiving
from tests.builders.world import ADMIN, AwsHarness

SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS10ZXN0cy0wMTIzNDU2Nzg5"
SECRETS = {"Authorization": "Bearer t0ken", "cookie": "sid=t0ken", "X-Api-Key": "t0ken"}


@pytest.fixture(autouse=True)
def _no_sockets() -> Iterator[None]:
    with only_loopback():
        yield


@pytest.fixture
def receiver(on_aws: AwsHarness) -> Iterator[Receiver]:
    manager, kept = aws.secrets_manager(), json.dumps({"current": SECRET})
    try:
        manager.create_secret(Name="webhook", SecretString=kept)
    except manager.exceptions.ResourceExistsException:
        manager.put_secret_value(SecretId="webhook", SecretString=kept)
    secrets._kept.cache_clear()
    with receiving() as made, patch.object(outbound, "from_env", lambda: Outbound(receivers=made.names)):
        yield made


@pytest.fixture
def jobs(on_aws: AwsHarness) -> Jobs:
    made = Jobs(on_aws)
    made.clock.now = round(time.time() * 1000)  # receivers look at their clock
    return made


def sent(jobs: Jobs, receiver: Receiver, **payload: Any) -> Job:
    job = jobs.enqueue("http-request", {"url": receiver.url} | payload)
    jobs.work(job)
    return jobs.get(job)


@pytest.mark.parametrize(
    ("body", "raw", "content_type"),
    [
        ({"order": "ä", "n": [1, None]}, '{"order":"\\u00e4","n":[1,null]}', "application/json"),
        ([1], "[1]", "application/json"),
        (0, "0", "application/json"),
        ("plain ä", "plain ä", "text/plain; charset=utf-8"),
        (None, "", None),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_the_receiver_gets_what_was_asked_for_and_can_verify_it(
    jobs: Jobs, receiver: Receiver, method: str, body: Any, raw: str, content_type: str | None
) -> None:
    job = sent(jobs, receiver, method=method, body=body, headers={"X-Shop": "7"})

    ((path, headers, content),) = receiver.seen
    assert (receiver.methods, path, content.decode()) == ([method], "/hook", raw)
    assert (headers.get("content-type"), headers["x-shop"]) == (content_type, "7")
    moment = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    assert headers["webhook-signature"] == Webhook(SECRET).sign(headers["webhook-id"], moment, raw)
    if content_type == "application/json":  # the library's `verify` reads the body as JSON
        Webhook(SECRET).verify(content, headers)
    assert job.state is JobState.COMPLETED
    assert job.result == {"status": 200, "message_id": headers["webhook-id"], "body": "", "truncated": False}


def test_a_content_type_of_the_callers_own_is_sent(jobs: Jobs, receiver: Receiver) -> None:
    sent(jobs, receiver, body="<a/>", headers={"Content-Type": "application/xml"})

    assert receiver.seen[0][1]["content-type"] == "application/xml"


def test_a_get_has_no_body(jobs: Jobs, receiver: Receiver) -> None:
    assert sent(jobs, receiver, method="GET").state is JobState.COMPLETED
    assert receiver.methods == ["GET"]
    with pytest.raises(Invalid, match="a GET has none"):
        sent(jobs, receiver, method="GET", body={})


@pytest.mark.parametrize(
    ("body", "content_type", "kept", "truncated"),
    [
        (b'{"ok": true}', "application/json", {"ok": True}, False),
        (b'{"ok": NaN}', "application/json", '{"ok": NaN}', False),
        (b"ok", "text/plain", "ok", False),
        (b"\xff", "application/octet-stream", "\ufffd", False),
        (b"x" * (MAX_ANSWER + 1), "text/plain", "x" * MAX_ANSWER, True),
        (b"x" * MAX_ANSWER, "text/plain", "x" * MAX_ANSWER, False),
    ],
)
def test_the_result_keeps_the_beginning_of_the_answer(
    jobs: Jobs, receiver: Receiver, body: bytes, content_type: str, kept: Any, truncated: bool
) -> None:
    receiver.body, receiver.answers = body, [(200, {"content-type": content_type})]

    result = sent(jobs, receiver).result

    assert result
    assert (result["body"], result["truncated"]) == (kept, truncated)


@pytest.mark.parametrize(
    ("status", "expected", "state"),
    [
        (204, [], JobState.COMPLETED),
        (302, [], JobState.FAILED),
        (302, [302], JobState.COMPLETED),
        (404, [], JobState.FAILED),
        (404, [200, 404], JobState.COMPLETED),
        (200, [201], JobState.FAILED),
        (408, [], JobState.DELAYED),
        (409, [], JobState.DELAYED),
        (425, [], JobState.DELAYED),
        (429, [], JobState.DELAYED),
        (500, [], JobState.DELAYED),
        (503, [503], JobState.COMPLETED),
    ],
)
def test_what_a_status_means(jobs: Jobs, receiver: Receiver, status: int, expected: list[int], state: JobState) -> None:
    receiver.answers = [(status, {"location": "https://elsewhere.test/"} if status == 302 else {})]

    assert sent(jobs, receiver, expected_statuses=expected).state is state
    assert len(receiver.seen) == 1


def test_every_attempt_has_the_same_message_id(jobs: Jobs, receiver: Receiver) -> None:
    receiver.answers = [(500, {}), (500, {})]
    job = jobs.enqueue("http-request", {"url": receiver.url})

    jobs.settle()

    assert jobs.get(job).state is JobState.COMPLETED
    assert len({headers["webhook-id"] for _, headers, _ in receiver.seen}) == 1
    assert len(receiver.seen) == 3


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.test/",
        "https://127.0.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://localhost/",
        "https://user:password@example.com/",
        "ftp://example.com/",
    ],
)
def test_an_address_inside_is_refused_at_the_door(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_payload(job_types.find("http-request"), {"url": url})

    assert [error.field for error in refused.value.errors] == ["payload.url"]


def test_a_name_that_leads_inside_is_refused_when_it_is_called(jobs: Jobs, receiver: Receiver) -> None:
    inside = Outbound(resolve=lambda *_: ["10.0.0.1"])
    with patch.object(outbound, "from_env", lambda: inside):
        job = sent(jobs, receiver, url="https://example.com/")

    assert job.state is JobState.FAILED
    assert job.failure
    assert "not public" in job.failure.message


@pytest.mark.parametrize(
    "headers",
    [
        *({name.title(): "x"} for name in sorted(OURS)),
        {"": "x"},
        {"a b": "x"},
        {"x\r\ny": "x"},
        {"x": "a\r\nb: c"},
        {"x": "ä"},
        {"x": "a" * 4097},
        {"x": "1", "X": "2"},
        {"x": MASK},
    ],
)
def test_headers_that_cannot_be_sent_are_refused_at_the_door(headers: dict[str, str]) -> None:
    with pytest.raises(Invalid) as refused:
        check_payload(job_types.find("http-request"), {"url": "https://example.com/", "headers": headers})

    assert refused.value.errors[0].field.startswith("payload.headers")


def test_a_body_over_its_limit_is_refused_at_the_door() -> None:
    for body in ("x" * (64 * 1024 + 1), ["x" * (64 * 1024)]):
        with pytest.raises(Invalid, match="at most 65536 bytes"):
            check_payload(job_types.find("http-request"), {"url": "https://example.com/", "body": body})


def test_the_example_receiver_verifies_and_does_its_work_once(jobs: Jobs, receiver: Receiver) -> None:
    done: list[str] = []

    def work(message_id: str, body: bytes) -> dict[str, Any]:
        done.append(message_id)
        return http_receiver.greet(message_id, body)

    server = http_receiver.make_server(0, SECRET, work)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        with patch.object(outbound, "from_env", lambda: Outbound(receivers={"own.test": server.server_address[1]})):
            job = sent(jobs, receiver, url="https://own.test/", body={"name": "Cara"})
            with patch("adbot_queue.integrations.jobs.http_request.signing_secrets", lambda: [b"x" * 24]):
                forged = sent(jobs, receiver, url="https://own.test/", body={"name": "Cara"})
    finally:
        server.shutdown()
        server.server_close()

    assert job.result
    assert job.result["body"] == {"greeted": "Cara", "message_id": done[0]}
    assert (forged.state, len(done)) == (JobState.FAILED, 1)


# Secrets


def secret_payload(receiver: Receiver) -> dict[str, Any]:
    return {"url": receiver.url, "headers": SECRETS | {"x-open": "seen"}, "secret_headers": ["x-api-key"]}


def test_secret_headers_reach_the_receiver_alone(
    jobs: Jobs, receiver: Receiver, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.answers = [(403, {})]
    world = jobs.world
    body = {"type": "http-request", "payload": secret_payload(receiver)}
    made = world.http("jobs", "POST /jobs", role="owner", body=body).json
    job_id = made["job_id"] if "job_id" in made else made["id"]
    job = jobs.store.get(job_id)
    assert job
    jobs.work(job)
    world.http("jobs", "POST /jobs/{id}/retry", role="owner", body={"reason": "again"}, id=job_id)

    shown = [
        json.dumps(made),
        world.http("jobs", "GET /jobs/{id}", role="viewer", id=job_id).text,
        world.http("queues", "GET /queues/{name}/jobs", role="viewer", name="http", query={"state": "waiting"}).text,
        json.dumps(world.ledger()),
        caplog.text,
        capsys.readouterr().out,
    ]
    _, headers, _ = receiver.seen[0]
    assert {name.lower(): headers[name.lower()] for name in SECRETS} == {
        name.lower(): value for name, value in SECRETS.items()
    }
    assert not any("t0ken" in text for text in shown)
    assert '"x-open":"seen"' in shown[1].replace(" ", "")
    assert shown[1].count(MASK) == 3


def test_a_retry_that_sends_the_masked_payload_back_keeps_the_secrets(jobs: Jobs, receiver: Receiver) -> None:
    receiver.answers = [(403, {}), (200, {})]
    job = jobs.enqueue("http-request", secret_payload(receiver))
    jobs.work(job)
    edited = masked(jobs.get(job).payload) | {"body": {"corrected": True}}

    jobs.lifecycle.retry(job.id, ADMIN, "a better body", payload=edited)
    jobs.settle()

    _, headers, content = receiver.seen[1]
    assert (headers["authorization"], headers["x-api-key"]) == ("Bearer t0ken", "t0ken")
    assert json.loads(content) == {"corrected": True}


def test_a_secret_path_reaches_the_receiver_alone(jobs: Jobs, receiver: Receiver) -> None:
    receiver.answers = [(403, {}), (200, {})]
    payload = {"url": receiver.url, "secret_path": "/services/t0ken?key=t0ken", "body": {"text": "hello"}}
    job = jobs.enqueue("http-request", payload)
    jobs.work(job)
    shown = jobs.world.http("jobs", "GET /jobs/{id}", role="viewer", id=job.id).text
    jobs.lifecycle.retry(job.id, ADMIN, "again", payload=masked(jobs.get(job).payload))
    jobs.settle()

    assert "t0ken" not in shown
    assert [path.partition("/services/")[2] for path, *_ in receiver.seen] == ["t0ken?key=t0ken"] * 2


@pytest.mark.parametrize(
    ("url", "path", "reason"),
    [
        ("https://own.example", ".evil.example/x", "secret_path: must begin with /"),
        ("https://own.example", "@evil.example", "secret_path: must begin with /"),
        ("https://own.example", ":8443", "secret_path: must begin with /"),
        ("https://own.example", MASK, "secret_path: it is masked"),
        ("https://own.example", "/\u00e4", "secret_path: with it the URL must be"),
        ("https://own.example", "/" + "x" * 1999, "secret_path: with it the URL must be"),
    ],
)
def test_a_secret_path_ends_a_url_and_changes_no_receiver(url: str, path: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(reason)):
        HttpRequest(url=url, secret_path=path)


def test_a_masked_value_without_a_stored_one_is_refused(jobs: Jobs, receiver: Receiver) -> None:
    receiver.answers = [(403, {})]
    job = sent(jobs, receiver)
    with pytest.raises(Invalid, match="is masked: send its value"):
        jobs.lifecycle.retry(
            job.id, ADMIN, "with a key", payload={"url": receiver.url, "headers": {"authorization": MASK}}
        )


WHOLE = {
    "url": "https://own.example/a",
    "secret_path": "/t0ken",
    "headers": SECRETS | {"a": "b"},
    "secret_headers": ["x-api-key", 7],
}


@pytest.mark.parametrize("around", [lambda one: one, lambda one: {"steps": [{"id": "a", "payload": one}]}])
def test_masking_reaches_every_depth_and_can_be_undone(around: Any) -> None:
    whole = around(WHOLE)

    shown = masked(whole)

    assert "t0ken" not in json.dumps(shown)
    assert unmasked(shown, whole) == whole


@pytest.mark.parametrize("around", [lambda one: one, lambda one: {"steps": [{"id": "a", "payload": one}]}])
@pytest.mark.parametrize(
    ("edit", "kept"),
    [
        ({"url": "https://own.example/another/path"}, 4),
        ({"url": "https://OWN.example/a"}, 4),
        ({"url": "https://elsewhere.example/a"}, 0),
        ({"url": "https://own.example:8443/a"}, 0),
        ({"url": "https://own.example@elsewhere.example/a"}, 0),
        ({"url": "http://own.example/a"}, 0),
        ({"url": "${input.url}"}, 0),
        ({"url": 7}, 0),
        ({"secret_headers": []}, 3),
        ({"secret_headers": ["X-API-KEY"]}, 4),
    ],
)
def test_a_stored_secret_stays_with_its_receiver_and_stays_masked(around: Any, edit: Any, kept: int) -> None:
    whole, edited = around(WHOLE), around(masked(WHOLE) | edit)

    sent_back = unmasked(edited, whole)

    assert json.dumps(sent_back).count("t0ken") == kept
    assert json.dumps(sent_back).count(MASK) == 4 - kept
    assert "t0ken" not in json.dumps(masked(sent_back))


def test_a_reference_to_an_address_keeps_no_secret() -> None:
    whole = WHOLE | {"url": "${input.url}"}

    assert "t0ken" not in json.dumps(unmasked(masked(whole), whole))


@pytest.mark.parametrize("odd", [{"headers": "x"}, {"headers": None}, {"headers": {}, "secret_headers": "x"}, [], {}])
def test_masking_leaves_other_shapes_alone(odd: Any) -> None:
    assert masked(odd) == odd
    assert unmasked(odd, odd) == odd
