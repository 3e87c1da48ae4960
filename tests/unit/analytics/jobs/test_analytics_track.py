"""analytics-track: one event to Segment, however often it is tried, and every refusal is classified."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from urllib3.exceptions import NewConnectionError
from werkzeug.test import Client

from adbot_queue.analytics import service
from adbot_queue.analytics.jobs.analytics_track import MAX_PROPERTIES, Track
from adbot_queue.core import aws, telemetry
from adbot_queue.providers import registry, segment
from local.stand_ins.segment import Segment
from tests.builders.payments import secret
from tests.builders.processors import failure, run
from tests.builders.providers import Peers

GOOD = {"event": "Ticket Bought", "user_id": "cara", "properties": {"amount": 49}}


def track(key: str = "job-1", **changes: Any) -> dict[str, Any]:
    result: dict[str, Any] = run("analytics-track", GOOD | changes, key=key)
    return result


def refused(seconds: float = 20, **changes: Any) -> tuple[str, str, float | None]:
    found, retry_after = failure("analytics-track", GOOD | changes, seconds=seconds)
    return found.kind, found.message, retry_after


def test_an_event_is_sent_under_the_jobs_key(peers: Peers) -> None:
    result = track(anonymous_id="a1", occurred_at="2025-11-22T00:00:00Z")

    assert result == {"message_id": "job-1"}
    assert peers.events == [
        {
            "messageId": "job-1",
            "event": "Ticket Bought",
            "properties": {"amount": 49},
            "userId": "cara",
            "anonymousId": "a1",
            "timestamp": "2025-11-22T00:00:00Z",
        }
    ]
    assert "EventsTracked" in telemetry.metrics.metric_set


def kept(event_id: str) -> Any:
    return aws.dynamodb().get_item(TableName="AnalyticsTable", Key={"pk": {"S": f"EVENT#{event_id}"}, "sk": {"S": "E"}})


def test_what_segment_has_taken_is_kept_once_for_the_counting_at_the_time_it_happened(peers: Peers) -> None:
    track("kept-1", occurred_at="2025-11-22T00:30:00+02:00", properties={"article_id": "a-7", "amount": 49})
    first = kept("kept-1")["Item"]
    track("kept-1", occurred_at="2025-11-22T00:30:00+02:00", properties={"article_id": "a-7", "amount": 49})

    assert first["listing"]["S"].startswith("RAW#2025-11-21T22#")
    assert (first["name"]["S"], first["article"]["S"]) == ("Ticket Bought", "a-7")
    assert kept("kept-1")["Item"] == first


def test_an_event_without_a_time_keeps_the_time_of_its_first_attempt(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.from_env(), "_now", lambda: 1_763_769_900_000)
    track("kept-2")
    monkeypatch.setattr(service.from_env(), "_now", lambda: 1_763_799_900_000)
    track("kept-2")

    assert kept("kept-2")["Item"]["place"]["S"] == "2025-11-22T00:05:00.000Z#kept-2"


def test_an_event_from_the_future_happened_when_it_came(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.from_env(), "_now", lambda: 1_763_769_900_000)
    track("kept-3", occurred_at="9999-12-31T00:00:00Z")
    track("kept-4", occurred_at="0001-01-01T00:00:00Z")

    assert kept("kept-3")["Item"]["place"]["S"].startswith("2025-11-22T00:05")
    assert kept("kept-4")["Item"]["place"]["S"].startswith("1970-01-01T00:00")


def test_what_segment_refuses_is_not_kept(peers: Peers) -> None:
    assert failure("analytics-track", GOOD | {"properties": {"note": "fail=400"}}, key="kept-5")[0].kind == "permanent"
    assert "Item" not in kept("kept-5")


def test_the_same_job_again_is_one_event(peers: Peers) -> None:
    track()
    track()
    track("job-2")

    assert peers.effects("segment") == {
        "job-1": {"requests": 2, "effects": 1},
        "job-2": {"requests": 1, "effects": 1},
    }


@pytest.mark.parametrize(
    ("wish", "kind", "message", "seconds"),
    [
        ("fail=503x1", "transient", "Segment refused the event (HTTP 503)", None),
        ("fail=429x1", "throttled", "Segment refused the event (HTTP 429)", 2.0),
        ("fail=400", "permanent", "Segment refused the event (HTTP 400)", None),
        ("fail=302", "permanent", "Segment refused the event (HTTP 302)", None),
        ("hang=60x1", "transient", "Segment could not be reached (ReadTimeoutError)", None),
    ],
)
def test_what_may_pass_is_tried_again_and_what_may_not_is_not(
    peers: Peers, wish: str, kind: str, message: str, seconds: float | None
) -> None:
    payload = {"properties": {"note": wish}}

    assert refused(**payload) == (kind, message, seconds)
    if kind == "transient":
        track(**payload)
        assert peers.effects("segment")["job-1"] == {"requests": 2, "effects": 1}


def test_a_network_that_is_down_is_tried_again(peers: Peers) -> None:
    def no_route() -> Any:
        raise NewConnectionError(None, "refused")  # type: ignore[arg-type]

    peers.instead.append(no_route)

    assert refused() == ("transient", "Segment could not be reached (NewConnectionError)", None)


@pytest.mark.parametrize("text", ['{"write_key": ""}', '{"api_key": "x"}', "nonsense"])
def test_a_key_that_is_missing_closes_segment_and_names_the_setting(peers: Peers, text: str) -> None:
    with secret("segment", text):
        kind, message, _ = refused()

    assert kind == "provider_closed"
    assert "SegmentSecretArn" in message


def test_a_key_that_segment_does_not_accept_closes_it_and_names_the_setting(peers: Peers) -> None:
    peers.instead.append(lambda: (401, {"success": False}))
    kind, message, _ = refused()

    assert kind == "provider_closed"
    assert "SegmentSecretArn" in message


def test_without_a_base_of_its_own_it_is_segment_that_is_asked(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDERS", '{"segment": {"secret": "segment", "base": ""}}')
    registry._places.cache_clear()
    peers.instead.append(lambda: (200, {"success": True}))
    track()

    assert peers.requests == ["POST https://api.segment.io/v1/track"]


@pytest.mark.parametrize(("seconds", "timeout"), [(20, 10), (4, 4)])
def test_a_call_ends_before_the_job_must(peers: Peers, seconds: float, timeout: float) -> None:
    run("analytics-track", GOOD, seconds=seconds)

    assert peers.timeouts == [timeout]


def test_connections_are_kept() -> None:
    assert segment._pool() is segment._pool()
    assert segment._pool().connection_pool_kw["maxsize"] == 10


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"event": ""}, "event"),
        ({"user_id": None}, None),
        ({"user_id": ""}, "user_id"),
        ({"properties": {"x": "y" * MAX_PROPERTIES}}, None),
        ({"properties": {"x": float("nan")}}, None),
        ({"properties": [1]}, "properties"),
        ({"occurred_at": "yesterday"}, "occurred_at"),
        ({"occurred_at": "2025-11-22T00:00:00"}, "occurred_at"),
        ({"context": {}}, "context"),
    ],
)
def test_an_event_that_breaks_a_rule_is_not_enqueued(changes: dict[str, Any], field: str | None) -> None:
    with pytest.raises(ValidationError) as refused_:
        Track.model_validate(GOOD | changes)

    assert [error["loc"][:1] for error in refused_.value.errors()] == [(field,) if field else ()]


def test_segment_accepts_the_largest_event_that_can_be_enqueued(peers: Peers) -> None:
    room = MAX_PROPERTIES - len('{"x": ""}')
    track(event="e" * 255, user_id="u" * 255, anonymous_id="a" * 255, properties={"x": "y" * room})

    assert peers.effects("segment")["job-1"]["effects"] == 1


@pytest.mark.parametrize(
    ("body", "authorization", "status"),
    [
        ("{}", "Basic d2s6", 400),
        ("[]", "Basic d2s6", 400),
        ("nonsense", "Basic d2s6", 400),
        ('{"event": "e", "userId": "u", "colour": "red"}', "Basic d2s6", 400),
        ('{"event": "e"}', "Basic d2s6", 400),
        ('{"event": "e", "userId": "u", "properties": 1}', "Basic d2s6", 400),
        ('{"event": "e", "userId": "u", "messageId": "' + "x" * 100 + '"}', "Basic d2s6", 400),
        ('{"event": "e", "userId": "u", "timestamp": "now"}', "Basic d2s6", 400),
        ('{"event": "e", "userId": "u", "properties": {"x": "' + "y" * 33_000 + '"}}', "Basic d2s6", 400),
        ('{"event": "e", "userId": "u"}', "", 401),
        ('{"event": "e", "userId": "u"}', "Basic d2s6cGFzc3dvcmQ=", 401),
        ('{"event": "e", "userId": "u"}', "Bearer wk", 401),
        ('{"event": "e", "userId": "u"}', "Basic %%%", 401),
        ('{"event": "e", "userId": "u"}', "Basic d2s6", 200),
    ],
)
def test_the_stand_in_refuses_what_segment_would_drop(body: str, authorization: str, status: int) -> None:
    peer = Segment()

    assert peer.respond("POST", "/v1/track", {"authorization": authorization}, body).status == status
    assert len(peer.events) == (status == 200)


def test_the_stand_in_shows_its_events_and_knows_no_other_addresses(peers: Peers) -> None:
    track()
    browser = Client(peers.stand_ins)

    assert [entry["event"]["messageId"] for entry in browser.get("/segment/events").get_json()["items"]] == ["job-1"]
    assert browser.post("/segment/v1/identify").status_code == 404
