"""An upload met by the sweeper, its repetition or another upload, after any of its AWS calls: nothing is lost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import pytest

from adbot_queue.adbots.audit.reconcile import Reconciler
from adbot_queue.adbots.storage import items
from adbot_queue.core import aws
from adbot_queue.jobs.model import JobState
from adbot_queue.stock import service as stock
from adbot_queue.stock.service import Uploaded
from adbot_queue.stock.upload import LineVerdict
from tests.builders.crash import Killed, crash_after
from tests.builders.uploads import finish
from tests.builders.world import AwsHarness, world

IDS = ("s0", "s1", "s2", "s3")
BULK = "POST /admin/stock/sessions/bulk"
ONE = "POST /admin/stock/sessions"


@pytest.fixture(autouse=True)
def _two_sessions_a_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that four lines are two transactions."""
    monkeypatch.setattr(items, "CLAIM", 2, raising=False)
    monkeypatch.setattr(stock, "TRANSACTION_LIMIT", 2, raising=False)


def sweep(on_aws: AwsHarness) -> None:
    """The sweeper, and the worker that finishes uploads."""
    assert {job.state for job in finish(on_aws)} <= {JobState.COMPLETED}


@contextmanager
def after_call(number: int, act: Callable[[], object]) -> Iterator[list[str]]:
    """Inside, `act` runs once, right after the AWS call of that number; its own calls are not counted."""
    calls: list[str] = []
    busy = False

    def seen(model: Any, **_: Any) -> None:
        nonlocal busy
        if busy:
            return
        calls.append(model.name)
        if len(calls) == number:
            busy = True
            try:
                act()
            finally:
                busy = False

    clients = [aws.dynamodb(), aws.sqs()]
    for client in clients:
        client.meta.events.register("after-call", seen, unique_id="meets")
    try:
        yield calls
    finally:
        for client in clients:
            client.meta.events.unregister("after-call", unique_id="meets")


def accepted(uploaded: Uploaded) -> list[str]:
    return [line.session.id for line in uploaded.lines if line.session and line.verdict is LineVerdict.ACCEPTED]


def check(on_aws: AwsHarness, wanted: set[str], reported: list[str]) -> None:
    """Each session is in the stock once, was accepted exactly once, and a bot can have it."""
    assert sorted(reported) == sorted(wanted)
    sweep(on_aws)
    header = on_aws.adbots.pools.header("standard")
    assert (header.free, header.stock_total) == (len(wanted), len(wanted))
    bot = on_aws.create(len(wanted))
    assert Counter(on_aws.sessions_of(bot.id)) == Counter(wanted)
    report = Reconciler(on_aws.adbots.store, on_aws.adbots.ledger, pause=lambda _: None).pool("standard")
    assert report.findings == []


@lru_cache
def calls_of_an_upload() -> int:
    with world() as on_aws:
        on_aws.pool()
        with after_call(0, lambda: None) as calls:
            on_aws.upload(*IDS, key="k")
        return len(calls)


@pytest.mark.parametrize("key", ["k", None])
def test_an_upload_met_by_the_sweeper_after_any_call_has_every_accepted_line_in_stock(key: str | None) -> None:
    for number in range(1, calls_of_an_upload() + 1):
        with world() as on_aws:
            on_aws.pool()
            with after_call(number, lambda w=on_aws: sweep(w)):  # type: ignore[misc]
                reported = accepted(on_aws.upload(*IDS, key=key))
            check(on_aws, set(IDS), reported)


@pytest.mark.parametrize("key", ["k", None])
def test_a_repetition_of_a_dead_upload_met_by_the_sweeper_after_any_call_loses_nothing(key: str | None) -> None:
    calls = calls_of_an_upload()
    for died in (2, 4) if key else (4,):
        for number in range(1, calls + 2, 2):
            with world() as on_aws:
                on_aws.pool()
                with pytest.raises(Killed), crash_after(died):
                    on_aws.upload(*IDS, key=key)
                with after_call(number, lambda w=on_aws: sweep(w)):  # type: ignore[misc]
                    repeated = on_aws.upload(*IDS, key=key)
                # Without a key, an upload that died after its publication has not answered its caller, but might have.
                states = {line.verdict for line in repeated.lines}
                reported = list(IDS) if key is None and states == {LineVerdict.DUPLICATE} else accepted(repeated)
                check(on_aws, set(IDS), reported)


def test_a_repetition_under_the_same_key_while_the_first_is_at_work_is_answered_the_same() -> None:
    for number in range(1, calls_of_an_upload() + 1):
        with world() as on_aws:
            on_aws.pool()
            second: list[list[str]] = []
            with after_call(number, lambda w=on_aws, s=second: s.append(accepted(w.upload(*IDS, key="k")))):  # type: ignore[misc]
                first = accepted(on_aws.upload(*IDS, key="k"))
            assert [first] == second
            check(on_aws, set(IDS), first)


def test_two_uploads_of_one_file_at_once_accept_each_line_to_one_of_them() -> None:
    for number in range(1, calls_of_an_upload() + 1):
        with world() as on_aws:
            on_aws.pool()
            reported: list[str] = []
            with after_call(number, lambda w=on_aws, t=reported: t.extend(accepted(w.upload(*IDS)))):  # type: ignore[misc]
                reported.extend(accepted(on_aws.upload(*IDS)))
            check(on_aws, set(IDS), reported)


@pytest.mark.parametrize("key", ["k", None])
def test_two_uploads_with_common_ids_at_once_accept_each_id_once(key: str | None) -> None:
    others = ("s3", "x1", "s1")
    for number in range(1 if key else 2, calls_of_an_upload() + 1, 2):
        with world() as on_aws:
            on_aws.pool()
            reported: list[str] = []
            other = key and f"{key}2"
            with after_call(number, lambda w=on_aws, t=reported, k=other: t.extend(accepted(w.upload(*others, key=k)))):  # type: ignore[misc]
                reported.extend(accepted(on_aws.upload(*IDS, key=key)))
            check(on_aws, {*IDS, *others}, reported)


def test_a_dead_upload_that_the_sweeper_finished_is_completed_by_its_repetition_and_answered_alike_for_ever() -> None:
    for died in range(1, calls_of_an_upload() + 1):
        with world() as on_aws:
            on_aws.pool()
            with pytest.raises(Killed), crash_after(died):
                on_aws.upload(*IDS, key="k")
            sweep(on_aws)
            on_aws.upload("s2", "z", key="another")
            answers = [accepted(on_aws.upload(*IDS, key="k")) for _ in range(3)]
            assert answers[0] == answers[1] == answers[2]
            assert set(answers[0]) >= set(IDS) - {"s2"}
            assert on_aws.adbots.pools.header("standard").free == 5


def test_hundreds_of_lines_repeated_while_the_sweeper_finishes_them_are_all_in_stock(
    on_aws: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(stock, "WRITERS", 1)
    on_aws.pool()
    ids = [f"s{number}" for number in range(150)]
    with pytest.raises(Killed), crash_after(2):
        on_aws.upload(*ids, key="k")
    with after_call(4, lambda: sweep(on_aws)):
        reported = accepted(on_aws.upload(*ids, key="k"))
    assert (len(reported), on_aws.adbots.pools.header("standard").free) == (150, 150)


# Duplicates


def bulk(on_aws: AwsHarness, text: str, key: str | None = None, **query: str) -> Any:
    headers = {"content-type": "text/csv"} | ({"idempotency-key": key} if key else {})
    answer = on_aws.http("stock", BULK, role="admin", body=text, headers=headers, query=query or None)
    assert answer.status == 200
    return answer.json


def verdicts(answer: Any) -> list[tuple[Any, ...]]:
    return [(line["line"], line["status"], line["state"], line["pool"]) for line in answer["lines"]]


def test_a_repeated_id_answers_duplicate_with_its_state_and_pool(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.pool("vip")
    on_aws.upload("taken", "gone", "back", "spare")
    on_aws.upload("rich", pool="vip")
    bot = on_aws.create(1)
    assert on_aws.sessions_of(bot.id) == ["taken"]
    on_aws.http("stock", "POST /admin/stock/sessions/{id}/lost", role="admin", id="gone", body={"reason": "banned"})
    released = on_aws.create(1)
    assert on_aws.sessions_of(released.id) == ["back"]
    on_aws.http("adbots", "POST /admin/adbots/{id}/cancel", role="admin", id=released.id, body={"reason": "x"})
    with pytest.raises(Killed), crash_after(4):
        on_aws.upload("underway")
    answer = bulk(on_aws, "session_id\ntaken\ngone\nback\nspare\nrich\nunderway\nnew\nnew\n")
    assert verdicts(answer) == [
        (2, "duplicate", "assigned", "standard"),
        (3, "duplicate", "lost", "standard"),
        (4, "duplicate", "free", "standard"),
        (5, "duplicate", "free", "standard"),
        (6, "duplicate", "free", "vip"),
        (7, "duplicate", "unavailable", "standard"),
        (8, "accepted", None, "standard"),
        (9, "duplicate_in_upload", None, None),
    ]
    assert answer["lines"][0]["detail"] == f"uploaded before: assigned to adbot {bot.id}, pool standard"
    assert answer["lines"][7]["detail"] == "first on line 8"
    assert (answer["accepted"], answer["duplicates"], answer["invalid"]) == (1, 7, 0)


def test_the_whole_file_again_is_all_duplicates_and_under_its_key_the_first_answer(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1")
    text = "session_id,key\ns1,a\ns2,b\nbad id,c\ns2,d\n"
    keyed = [bulk(on_aws, text, "k") for _ in range(2)]
    assert keyed[0] == keyed[1]
    assert [line["status"] for line in keyed[0]["lines"]] == ["duplicate", "accepted", "invalid", "duplicate_in_upload"]
    again = bulk(on_aws, text)
    assert [line["status"] for line in again["lines"]] == ["duplicate", "duplicate", "invalid", "duplicate_in_upload"]
    assert on_aws.adbots.pools.header("standard").free == 2
    more = bulk(on_aws, "session_id,key\nt1,a\n"), bulk(on_aws, "session_id,key\nt1,a\n")
    assert [answer["lines"][0]["status"] for answer in more] == ["accepted", "duplicate"]


@pytest.mark.parametrize(
    "other",
    [
        "session_id,key\ns1,OTHER\n",
        "session_id,key\ns1,a\ns2,b\n",
        "session_id,key,pool\ns1,a,vip\n",
        "session_id\ns1\n",
    ],
)
def test_one_key_for_another_upload_is_a_conflict(on_aws: AwsHarness, other: str) -> None:
    on_aws.pool()
    on_aws.pool("vip")
    bulk(on_aws, "session_id,key\ns1,a\n", "k")
    answer = on_aws.http(
        "stock", BULK, role="admin", body=other, headers={"content-type": "text/csv", "idempotency-key": "k"}
    )
    assert (answer.status, answer.problem) == (409, "idempotency-key-reused")
    answer = on_aws.http(
        "stock",
        BULK,
        role="admin",
        body="session_id,key\ns1,a\n",
        headers={"content-type": "text/csv", "idempotency-key": "k"},
        query={"pool": "vip"},
    )
    assert answer.status == 409


def test_a_single_session_twice_is_a_conflict_with_its_state_and_under_its_key_the_first_answer(
    on_aws: AwsHarness,
) -> None:
    on_aws.pool()

    def post(key: str | None = None, **body: Any) -> Any:
        headers = {"idempotency-key": key} if key else {}
        return on_aws.http("stock", ONE, role="admin", body={"session_id": "s1", "token": "a"} | body, headers=headers)

    first, replay = post("k"), post("k")
    assert (first.status, replay.status, replay.headers["idempotent-replayed"]) == (201, 200, "true")
    assert first.json == replay.json
    for again in (post(), post("other"), post(token="b")):
        assert (again.status, again.problem) == (409, "conflict")
        assert (again.json["session_id"], again.json["state"], again.json["pool"]) == ("s1", "free", "standard")
    assert post("k", token="b").status == 409
    bad = post(session_id="a b")
    assert (bad.status, bad.fields) == (422, ["session_id"])


# Pools of lines


def test_a_pool_on_a_line_is_honoured_and_never_stored_as_secret(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.pool("vip")
    text = 'session_id,key,pool\na,1,vip\nb,2,\nc,3,standard\nd,4,nowhere\ne,5,No!\nd,6,vip\nf,7," vip "\n'
    answer = bulk(on_aws, text)
    assert [(line["session_id"], line["status"]) for line in answer["lines"]] == [
        ("a", "accepted"),
        ("b", "accepted"),
        ("c", "accepted"),
        ("d", "invalid"),
        ("e", "invalid"),
        ("d", "accepted"),
        ("f", "accepted"),
    ]
    assert [answer["lines"][place]["detail"] for place in (3, 4)] == [
        "pool: nowhere does not exist",
        "pool: No! does not exist",
    ]
    assert [line["pool"] for line in answer["lines"]] == ["vip", "standard", "standard", None, None, "vip", "vip"]
    frees = [on_aws.adbots.pools.header(pool).free for pool in ("standard", "vip")]
    assert frees == [2, 3]
    stored = aws.dynamodb().scan(TableName=on_aws.env["ADBOTS_TABLE"])["Items"]
    secrets = [json.loads(item["secret"]["S"]) for item in stored if "secret" in item]
    assert sorted(secrets, key=lambda secret: str(secret["key"])) == [{"key": key} for key in "12367"]
    again = bulk(on_aws, text)
    assert again["duplicates"] == 5


def test_a_bot_that_cannot_be_read_spoils_no_upload(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1", "s2", "s3")
    bots = [on_aws.create(1) for _ in range(2)]
    for bot, change in zip(bots, ("SET #status = :new", "SET runs = :new"), strict=True):
        aws.dynamodb().update_item(
            TableName=on_aws.env["ADBOTS_TABLE"],
            Key={"pk": {"S": f"ADBOT#{bot.id}"}, "sk": {"S": "A"}},
            UpdateExpression=change,
            ExpressionAttributeValues={":new": {"S": "OF A LATER VERSION"}},
            **({"ExpressionAttributeNames": {"#status": "status"}} if "#" in change else {}),
        )
    again = on_aws.upload("s1", "s2", "s3", "s4")
    assert [line.state for line in again.lines] == ["assigned", "assigned", "free", None]


def test_states_of_many_duplicates_cost_reads_by_the_hundred(
    on_aws: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(stock, "WRITERS", 1)
    on_aws.pool()
    ids = [f"s{number}" for number in range(130)]
    on_aws.upload(*ids)
    for _ in range(2):
        on_aws.create(50)
    with crash_after(None) as calls:
        again = on_aws.upload(*ids)
    assert Counter(line.state for line in again.lines) == {"assigned": 100, "free": 30}
    assert calls.names.count("Query") == 1
    assert len(calls.names) < 20  # 130 sessions: 2 calls; bots, segments, headers: one each
