"""send-push: what a browser can decrypt, who signs it, and what every answer of its push service means."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from py_vapid import Vapid02

from adbot_queue.core import outbound, telemetry
from adbot_queue.core.errors import Invalid
from adbot_queue.jobs import job_types
from adbot_queue.jobs.enqueue.payloads import check_payload
from adbot_queue.messaging import push_subscriptions as subscriptions
from adbot_queue.providers import web_push
from adbot_queue.providers.web_push import MAX_BYTES, Browser, decode
from tests.builders import processors
from tests.builders.payments import DEFAULT_SECRETS, secret
from tests.builders.processors import failure, run
from tests.builders.providers import Peers

GOOD = {"title": "Your bot runs", "body": "It has all of its sessions.", "url": "https://adbots.example/bots/1"}


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Push services hold signatures against the time."""
    monkeypatch.setattr(processors, "NOW", round(time.time() * 1000))


def browser(peers: Peers) -> dict[str, Any]:
    return peers.stand_ins.push.subscribe()


def stored(subscription: dict[str, Any], user: str = "cara") -> str:
    keys = subscription["keys"]
    made = Browser(subscription["endpoint"], decode(keys["p256dh"]), decode(keys["auth"]))
    return subscriptions.from_env().add(user, made).id


def push(subscription: dict[str, Any], key: str = "job-1", **changes: Any) -> dict[str, Any]:
    result: dict[str, Any] = run("send-push", GOOD | {"subscription": subscription} | changes, key=key)
    return result


def refused(subscription: dict[str, Any], **changes: Any) -> tuple[str, str, float | None]:
    found, retry_after = failure("send-push", GOOD | {"subscription": subscription} | changes)
    return found.kind, found.message, retry_after


def test_only_the_browser_can_read_the_notification(peers: Peers) -> None:
    result = push(browser(peers), data={"bot": "1"}, urgency="high", ttl_seconds=60)

    (kept,) = peers.stand_ins.push.messages
    assert result == {"status": 201, "service": "push.test"}
    assert kept["message"] == {
        "title": "Your bot runs",
        "body": "It has all of its sessions.",
        "tag": kept["headers"]["topic"],
        "data": {"bot": "1", "url": "https://adbots.example/bots/1"},
    }
    assert (kept["headers"]["ttl"], kept["headers"]["urgency"], len(kept["headers"]["topic"])) == ("60", "high", 32)
    assert "PushesSent" in telemetry.metrics.metric_set


def test_a_repeated_attempt_replaces_what_the_first_one_sent_and_other_jobs_do_not(peers: Peers) -> None:
    to = browser(peers)
    for key in ("job-1", "job-1", "job-2"):
        push(to, key)
    push(to, "job-3", topic="bot-1")

    first, again, other, named = (message["tag"] for message in peers.notifications)
    assert first == again != other
    assert named == "bot-1"


@pytest.mark.parametrize(
    ("wish", "kind", "message", "seconds"),
    [
        ("fail=503x1", "transient", "the push service answered HTTP 503", None),
        ("fail=500x1", "transient", "the push service answered HTTP 500", None),
        ("fail=429x1", "throttled", "the push service answered HTTP 429", 2.0),
        ("hang=60x1", "transient", "the push service could not be reached: no answer (TimeoutError)", None),
        ("fail=400", "permanent", "the push service refused it (HTTP 400)", None),
        ("fail=413", "permanent", "the push service refused it (HTTP 413)", None),
        ("fail=410", "permanent", "the subscription is gone (HTTP 410)", None),
        ("fail=404", "permanent", "the subscription is gone (HTTP 404)", None),
    ],
)
def test_what_may_pass_is_tried_again_and_what_may_not_is_not(
    peers: Peers, wish: str, kind: str, message: str, seconds: float | None
) -> None:
    to = browser(peers)

    assert refused(to, title=wish) == (kind, message, seconds)
    if kind == "transient":
        assert push(to, title=wish)["status"] == 201


def test_neither_results_nor_failures_hold_the_address(peers: Peers) -> None:
    to = browser(peers)
    name = to["endpoint"].rsplit("/", 1)[1]

    assert name not in json.dumps([push(to), *refused(to, title="fail=400"), *refused(to, title="fail=410")])


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://push.example.com/1",
        "https://127.0.0.1/1",
        "https://169.254.169.254/latest/meta-data",
        "https://localhost/1",
        "https://user:pw@push.example.com/1",
        "ftp://push.example.com/1",
        "https://push.example.com:22/1",
    ],
)
def test_an_address_that_may_not_be_posted_to_is_refused_when_the_job_is_enqueued(peers: Peers, endpoint: str) -> None:
    with pytest.raises(Invalid) as error:
        check_payload(job_types.find("send-push"), GOOD | {"subscription": browser(peers) | {"endpoint": endpoint}})

    assert [entry.field for entry in error.value.errors] == ["payload.subscription.endpoint"]
    assert peers.requests == []


def test_an_address_that_turns_out_to_be_our_own_ends_the_job(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    trusting = outbound.from_env()
    monkeypatch.setattr(trusting, "_post", outbound.Outbound(resolve=lambda *_: ["10.0.0.1"])._post)

    kind, message, _ = refused(browser(peers) | {"endpoint": "https://push.example.com/1"})

    assert (kind, message) == ("permanent", "the subscription's address leads to an address that is not public")


def test_a_key_that_is_not_on_the_curve_ends_the_job(peers: Peers) -> None:
    to = browser(peers)
    to["keys"]["p256dh"] = base64.urlsafe_b64encode(b"\x04" + b"\x01" * 64).decode()

    assert refused(to)[:2] == ("permanent", "the subscription's key is none")


@pytest.mark.parametrize("text", ['{"subject": "mailto:a@b.de"}', '{"private_key": "no key!", "subject": "x"}'])
def test_without_a_key_of_ours_web_push_is_closed_and_names_the_setting(peers: Peers, text: str) -> None:
    with secret("web-push", text):
        kind, message, _ = refused(browser(peers))

    assert kind == "provider_closed"
    assert "WebPushSecretArn" in message
    assert peers.requests == []


def test_without_time_left_nothing_is_begun(peers: Peers) -> None:
    found, _ = failure("send-push", GOOD | {"subscription": browser(peers)}, seconds=0.5)

    assert (found.kind, peers.requests) == ("timeout", [])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"subscription": None}, None),
        ({"user_id": "cara"}, None),
        ({"subscription_id": "sub_1"}, None),
        ({"title": ""}, "title"),
        ({"urgency": "urgent"}, "urgency"),
        ({"ttl_seconds": -1}, "ttl_seconds"),
        ({"ttl_seconds": 29 * 86_400}, "ttl_seconds"),
        ({"topic": "x" * 33}, "topic"),
        ({"topic": "a b"}, "topic"),
        ({"url": "http://adbots.example"}, "url"),
        ({"data": {"text": "x" * MAX_BYTES}}, None),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_notification_that_breaks_a_rule_is_not_enqueued(
    peers: Peers, changes: dict[str, Any], field: str | None
) -> None:
    with pytest.raises(Invalid) as error:
        check_payload(job_types.find("send-push"), GOOD | {"subscription": browser(peers)} | changes)

    assert [entry.field for entry in error.value.errors] == [f"payload.{field}" if field else "payload"]


@pytest.mark.parametrize(("name", "text"), [("p256dh", "AAAA"), ("p256dh", "!"), ("auth", "AAAA"), ("auth", "ü")])
def test_keys_that_are_none_are_refused_and_named(peers: Peers, name: str, text: str) -> None:
    to = browser(peers)
    to["keys"][name] = text

    with pytest.raises(Invalid) as error:
        check_payload(job_types.find("send-push"), GOOD | {"subscription": to})

    assert [entry.field for entry in error.value.errors] == [f"payload.subscription.keys.{name}"]


def test_what_is_kept_of_a_browsers_own_json_can_be_sent_to(peers: Peers) -> None:
    to = browser(peers) | {"expirationTime": 1_999_999_999_000}

    kept = check_payload(job_types.find("send-push"), GOOD | {"subscription": to})

    assert run("send-push", kept)["status"] == 201


@pytest.mark.parametrize("title", ["a", "ä" * 100])
def test_the_largest_notification_is_taken_by_push_services(peers: Peers, title: str) -> None:
    def payload(filler: int) -> dict[str, Any]:
        return {"title": title, "data": {"text": "x" * filler}, "subscription": to}

    to = browser(peers)
    known = job_types.find("send-push")
    room = MAX_BYTES - len(known.payload.model_validate(payload(0)).message("x" * 32))  # type: ignore[attr-defined]

    assert run("send-push", payload(room))["status"] == 201
    with pytest.raises(Invalid):
        check_payload(known, payload(room + 1))


# To a user's browsers


def test_a_browser_that_is_gone_is_forgotten_and_others_stay(peers: Peers) -> None:
    gone, there = browser(peers), browser(peers)
    ids = [stored(gone), stored(there)]
    peers.stand_ins.push.respond("DELETE", "/" + gone["endpoint"].rsplit("/", 1)[1], {}, b"")

    found, _ = failure("send-push", GOOD | {"user_id": "cara", "subscription_id": ids[0]})

    assert (found.kind, found.message) == ("permanent", "the subscription is gone (HTTP 410)")
    assert [known.id for known in subscriptions.from_env().of_user("cara")] == [ids[1]]
    again, _ = failure("send-push", GOOD | {"user_id": "cara", "subscription_id": ids[0]})
    assert (again.kind, again.message) == ("permanent", "the subscription is gone")


def test_a_browser_whose_push_service_is_busy_is_not_forgotten(peers: Peers) -> None:
    known = stored(browser(peers))

    found, _ = failure("send-push", GOOD | {"title": "fail=503", "user_id": "cara", "subscription_id": known})

    assert found.kind == "transient"
    assert [one.id for one in subscriptions.from_env().of_user("cara")] == [known]


def test_nobodys_browser_is_written_to_by_another_ones_name(peers: Peers) -> None:
    known = stored(browser(peers), user="cara")

    found, _ = failure("send-push", GOOD | {"user_id": "mallory", "subscription_id": known})

    assert (found.message, peers.requests) == ("the subscription is gone", [])


# The bytes


def test_the_example_of_rfc_8291_is_encrypted_to_the_bytes_that_it_has() -> None:
    own = ec.derive_private_key(
        int.from_bytes(decode("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"), "big"), ec.SECP256R1()
    )
    theirs = decode("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4")
    to = Browser("https://push.example.net/1", theirs, decode("BTBZMqHH6r4Tts7J_aSIgg"))

    body = web_push.encrypt(b"When I grow up, I want to be a watermelon", to, own, decode("DGv6ra1nlYgDCS1FRnbzlw"))

    assert body == decode(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl"
        "7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


def test_the_signature_is_good_for_one_push_service_and_half_a_day(peers: Peers) -> None:
    header = web_push.authorization("https://push.example.net:8443/abc?x=1", 1_900_000_000)

    assert Vapid02.verify(header.replace(", ", ","))
    claims = json.loads(decode(header.split(".")[1]))
    assert claims == {
        "aud": "https://push.example.net:8443",
        "exp": 1_900_000_000,
        "sub": DEFAULT_SECRETS["web-push"]["subject"],
    }
    assert header.endswith(f"k={web_push.public_key()}")


@given(st.binary(max_size=200))
def test_base64_is_read_in_either_alphabet_padded_or_not(data: bytes) -> None:
    for text in (base64.urlsafe_b64encode(data).decode(), base64.b64encode(data).decode()):
        assert decode(text) == decode(text.rstrip("=")) == data
