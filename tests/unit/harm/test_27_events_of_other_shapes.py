"""Every function under functions/ and events of every other shape: answered or ignored in words, never a failure."""

from __future__ import annotations

import copy
import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest

from adbot_queue.core import aws, settings, telemetry
from adbot_queue.providers import registry
from local.settings import ROOT
from tests.builders import console_world
from tests.builders.payments import configure
from tests.builders.world import AwsHarness, FakeContext, world

FUNCTIONS = sorted(path.parent.name for path in ROOT.glob("functions/*/app.py"))
SAMPLES = {path.stem: json.loads(path.read_text()) for path in (ROOT / "events" / "lambda").glob("*.json")}
HTTP = SAMPLES["adbots"]
MESSAGES = SAMPLES["allocate"]
STREAM = SAMPLES["tally"]
TICK = {"version": "0", "id": "1", "detail-type": "Scheduled Event", "source": "aws.scheduler", "detail": "{}"}
ENVIRONMENT = {
    "JOB_QUEUE": "money",
    "JOB_BATCH": "10",
    "OTP_SECRET_ID": "otp",
}

STREAMS = {"tally", "tally_jobs"}
SET_ASIDE = {
    "records that are no objects",
    "a record of a stream without keys",
    "a record of another table",
}

NO_OBJECTS: dict[str, Any] = {
    "null": None,
    "a list": [],
    "a list of events": [HTTP],
    "a text": "warm-up",
    "a number": 7,
    "a fraction": 0.5,
    "true": True,
    "not a number": math.nan,
}
OTHERS: dict[str, Any] = {
    "the console's test event": {"key1": "value1", "key2": "value2", "key3": "value3"},
    "a warm-up": {"source": "warmup"},
    "a warm-up of serverless": {"source": "serverless-plugin-warmup"},
    "a warm-up flag": {"warmer": True, "concurrency": 3},
    "no records": {"Records": None},
    "records that are no list": {"Records": {"messageId": "1", "body": "{}"}},
    "records that are no objects": {"Records": [None, 1, "x", []]},
    "an upload to S3": {"Records": [{"eventSource": "aws:s3", "s3": {"object": {"key": "x"}}}]},
    "a message of SNS": {"Records": [{"EventSource": "aws:sns", "Sns": {"MessageId": "1", "Message": "{}"}}]},
    "a record of Kinesis": {"Records": [{"eventID": "1", "eventSource": "aws:kinesis", "kinesis": {"data": "e30="}}]},
    "a record of a stream without keys": {"Records": [{"eventID": "1", "dynamodb": {}}]},
    "a record of another table": {"Records": [{"eventID": "1", "dynamodb": {"Keys": {"id": {"N": "1"}}}}]},
    "an event of EventBridge": {"source": "aws.ec2", "detail-type": "State change", "detail": {"state": "running"}},
    "a schedule without a name": {"schedule": None, "version": 1},
    "a schedule of no name": {"schedule": "x" * 5000, "version": 1},
    "a job without a queue": {"job": "1", "mode": "sync_direct"},
    "a job in no mode": {"job": "1", "queue": "money", "mode": "?"},
    "a job whose mode is a list": {"job": "1", "queue": "money", "mode": []},
    "a job of another queue": {"job": "1", "queue": "email", "mode": "sync_direct"},
    "a custom resource": {"RequestType": "Create", "ResponseURL": "https://example.com", "ResourceProperties": {}},
    "a message of a websocket": {"requestContext": {"connectionId": "x", "routeKey": "$default"}, "body": ""},
    "a request of a load balancer": {"requestContext": {"elb": {}}, "httpMethod": "GET", "path": "/", "headers": {}},
}


def version_one() -> dict[str, Any]:
    """The request of the sample as API Gateway says it in payload format 1.0."""
    claims = HTTP["requestContext"]["authorizer"]["jwt"]["claims"]
    return {
        "version": "1.0",
        "resource": "/adbots",
        "path": "/adbots",
        "httpMethod": "GET",
        "headers": {"host": "example.com"},
        "multiValueHeaders": {"host": ["example.com"]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "requestContext": {
            "accountId": "1",
            "authorizer": {"claims": claims, "scopes": None},
            "httpMethod": "GET",
            "path": "/adbots",
            "requestId": "1",
            "stage": "$default",
        },
        "pathParameters": None,
        "stageVariables": None,
        "body": None,
        "isBase64Encoded": False,
    }


OTHERS["a request in payload format 1.0"] = version_one()
OTHERS["a request in payload format 1.0 with a route"] = version_one() | {"routeKey": "GET /adbots"}


def changed(sample: dict[str, Any], *path: str, to: Any) -> dict[str, Any]:
    """The sample with another value at a path; without it for `...`."""
    made = copy.deepcopy(sample)
    place = made
    for name in path[:-1]:
        place = place[name]
    if to is ...:
        place.pop(path[-1], None)
    else:
        place[path[-1]] = to
    return made


@pytest.fixture(scope="module")
def on() -> Iterator[AwsHarness]:
    """One AWS for all of the table: what is ignored leaves nothing behind."""
    with world() as made, patch.dict("os.environ", ENVIRONMENT | console_world.ENV):
        aws.sns().create_topic(Name="dead-letters")
        configure()
        settings.settings.cache_clear()
        registry._places.cache_clear()
        yield made


def is_api(on: AwsHarness, function: str) -> bool:
    return hasattr(on.app(function), "api") or hasattr(on.app(function), "console")


def reported(on: AwsHarness, function: str, event: Any) -> str:
    """What a function says to an event; it must neither raise nor answer 5xx."""
    answer = on.app(function).handler(copy.deepcopy(event), FakeContext())
    assert isinstance(answer, dict), answer
    if "statusCode" in answer:
        assert answer["statusCode"] < 500, answer
        if not answer["headers"].get("content-type", "").endswith("json"):
            return str(answer["headers"].get("location", answer["body"]))  # a page, or the way to one
        return str(json.loads(answer["body"]).get("detail", answer["body"]))
    return str(answer.get("ignored", answer))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_event_of_another_shape_is_answered_or_ignored_in_words(on: AwsHarness, function: str) -> None:
    for name, event in {**NO_OBJECTS, **OTHERS}.items():
        answer = on.app(function).handler(copy.deepcopy(event), FakeContext())
        if (function, name) == ("alert", "a message of SNS"):
            assert len(answer["jobs"]) == 1  # its own
        elif is_api(on, function):
            assert answer["statusCode"] == 400, (name, answer)
            assert "this function answers HTTP API events: " in json.loads(answer["body"])["detail"], name
        elif function in STREAMS and name in SET_ASIDE:
            assert answer == {"batchItemFailures": []}, name  # read one by one, and set aside in words
        else:
            assert answer["ignored"].startswith("this function takes "), (name, answer)
            assert not answer.get("batchItemFailures"), name


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_event_of_another_kind_of_function_is_answered_or_ignored_in_words(on: AwsHarness, function: str) -> None:
    for event in (HTTP, MESSAGES, STREAM, *([] if function == "outreach" else [TICK])):  # it asks Twilio hourly
        reported(on, function, event)


API_SAMPLES = sorted(name for name, event in SAMPLES.items() if "routeKey" in event)
ODD: list[Any] = [None, ..., "", "text", 7, True, [], ["text"], {}, {"a": None}, {"a": 1}, {"a": {}}, "\ud800"]
PLACES: list[tuple[str, ...]] = [
    ("version",),
    ("routeKey",),
    ("rawPath",),
    ("rawQueryString",),
    ("headers",),
    ("queryStringParameters",),
    ("pathParameters",),
    ("body",),
    ("isBase64Encoded",),
    ("requestContext",),
    ("requestContext", "requestId"),
    ("requestContext", "domainName"),
    ("requestContext", "http"),
    ("requestContext", "authorizer"),
    ("requestContext", "authorizer", "jwt"),
    ("requestContext", "authorizer", "jwt", "claims"),
    ("requestContext", "authorizer", "jwt", "claims", "sub"),
    ("requestContext", "authorizer", "jwt", "claims", "token_use"),
    ("requestContext", "authorizer", "jwt", "claims", "cognito:groups"),
]


@pytest.mark.parametrize("sample", API_SAMPLES)
@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_a_request_with_any_part_of_another_kind_is_answered_in_words(
    on: AwsHarness, sample: str, place: tuple[str, ...]
) -> None:
    event = SAMPLES[sample]
    if "authorizer" in place and "authorizer" not in event["requestContext"]:
        return  # a public route
    for odd in ODD:
        reported(on, sample.split(".", maxsplit=1)[0], changed(event, *place, to=odd))


@pytest.mark.parametrize(
    "odd", [None, ..., {}, {"jwt": None}, {"jwt": {"claims": None}}, {"lambda": {"sub": "x"}}, "x"]
)
def test_a_request_without_an_authorizer_needs_a_token(on: AwsHarness, odd: Any) -> None:
    answer = on.app("adbots").handler(changed(HTTP, "requestContext", "authorizer", to=odd), FakeContext())
    assert answer["statusCode"] == 401
    assert json.loads(answer["body"])["detail"] == "a bearer token is needed"


def test_a_missing_path_parameter_is_named(on: AwsHarness) -> None:
    answer = on.app("adbots").handler({**HTTP, "routeKey": "GET /adbots/{id}"}, FakeContext())
    assert (answer["statusCode"], json.loads(answer["body"])["detail"]) == (400, "pathParameters: id is missing")


CONSUMERS = ["allocate", "settle_payments", "work"]


@pytest.mark.parametrize("function", CONSUMERS)
@pytest.mark.parametrize("odd", [{"body": ...}, {"body": None}, {"body": {}}, {"attributes": []}, {"body": 7}], ids=str)
def test_a_message_that_lacks_what_its_consumer_reads_is_dropped_and_counted(
    on: AwsHarness, function: str, odd: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[tuple[str, int]] = []
    monkeypatch.setattr(telemetry, "count", lambda name, value=1: counted.append((name, value)))
    ((name, value),) = odd.items()
    broken = changed(SAMPLES[function]["Records"][0], name, to=value)
    answer = on.app(function).handler({"Records": [broken]}, FakeContext())
    assert answer == {"batchItemFailures": []}
    assert counted == [("MessagesDropped", 1)]


BODIES = ["", "not json", "[" * 20_000, "[]", "null", "7", '"text"', "{}", '{"event": 5}', '{"pool": null}', "{" * 500]


@pytest.mark.parametrize("function", CONSUMERS)
def test_a_message_whose_body_cannot_be_read_is_dropped_and_counted(
    on: AwsHarness, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: Counter[str] = Counter()
    monkeypatch.setattr(telemetry, "count", lambda name, value=1: counted.update({name: value}))
    sample = SAMPLES[function]["Records"][0]
    records = [sample | {"messageId": f"m{number}", "body": body} for number, body in enumerate(BODIES)]

    answer = on.app(function).handler({"Records": records}, FakeContext())

    assert answer == {"batchItemFailures": []}
    assert counted["MessagesDropped"] == len(BODIES)
    assert not counted["MessagesFailed"]


@pytest.mark.parametrize("function", ["allocate", "settle_payments", "work", "tally", "tally_jobs"])
def test_an_empty_batch_is_done(on: AwsHarness, function: str) -> None:
    assert on.app(function).handler({"Records": []}, FakeContext()) == {"batchItemFailures": []}


@pytest.mark.parametrize("function", ["resolve", "reconcile", "sweep", "sweep_jobs"])
@pytest.mark.parametrize("tick", [{}, TICK, TICK | {"source": "aws.events"}], ids=["empty", "scheduler", "rule"])
def test_the_tick_of_a_schedule_runs_the_function(on: AwsHarness, function: str, tick: dict[str, Any]) -> None:
    answer = on.app(function).handler(tick, FakeContext())
    assert "ignored" not in answer
    assert "statusCode" not in answer
