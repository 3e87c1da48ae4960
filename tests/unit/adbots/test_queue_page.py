"""GET /admin/queue: the bots of a pool in the order in which they are served, at a fixed number of calls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adbot_queue.adbots import queue_page
from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.model import Adbot, CreationSource, ExecutionMode, Order, OrderStatus
from adbot_queue.adbots.storage import items, pool_directory
from adbot_queue.core import aws
from adbot_queue.core.attribute_values import encode
from adbot_queue.core.cursors import make_cursor
from tests.builders.crash import crash_after
from tests.builders.world import ADMIN, AwsHarness

TABLE = "AdBotsTable"


def listed(on: AwsHarness, **query: Any) -> tuple[list[tuple[int | None, str]], str | None]:
    answer = on.http("queue_stats", "GET /admin/queue", role="viewer", query={k: str(v) for k, v in query.items()})
    assert answer.status == 200, answer.text
    return [(item["place"], item["adbot_id"]) for item in answer.json["items"]], answer.json["next"]


def all_pages(on: AwsHarness, **query: Any) -> list[tuple[int | None, str]]:
    found, following = listed(on, **query)
    while following:
        page, following = listed(on, **query, cursor=following)
        found += page
    return found


def bought(on: AwsHarness, number: int) -> Adbot:
    """A bot in the inbox."""
    order = Order(
        f"o-{number}",
        OrderStatus.PAID,
        CreationSource.PAYMENT,
        1_000 * number,
        user_id="cara",
        adbot_id=f"b-{number}",
        pool="standard",
        required_sessions=2,
    )
    return on.adbots.purchases.create_paid(order, ExecutionMode.ASYNC_QUEUE, ADMIN)


def test_the_first_in_line_comes_first_and_says_what_it_waits_for(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1")
    first, second = on_aws.create(3), on_aws.create(2)
    answer = on_aws.http("queue_stats", "GET /admin/queue", role="viewer").json

    assert [(item["place"], item["adbot_id"]) for item in answer["items"]] == [(1, first.id), (2, second.id)]
    assert answer["next"] is None
    shown = answer["items"][0]
    assert shown.pop("waited_seconds") >= 0
    assert (
        shown.pop("queued_at")
        == on_aws.http("adbots", "GET /adbots/{id}", role="viewer", id=first.id).json["queued_at"]
    )
    assert shown == {
        "place": 1,
        "adbot_id": first.id,
        "order_id": first.order_id,
        "user_id": "cara",
        "required_sessions": 3,
        "missing_sessions_count": 2,
        "queued_reason": "INSUFFICIENT_STOCK",
        "ahead_sessions": None,
        "eta": None,
    }


def test_place_1_is_served_next_after_every_upload_and_cancel(on_aws: AwsHarness) -> None:
    on_aws.pool()
    bots = [on_aws.create(2).id for _ in range(5)]
    on_aws.adbots.cancel(bots[2], Command(ADMIN))
    assert listed(on_aws)[0] == [(1, bots[0]), (2, bots[1]), (3, bots[3]), (4, bots[4])]

    on_aws.upload("s1", "s2")
    on_aws.resolve()
    assert listed(on_aws)[0] == [(1, bots[1]), (2, bots[3]), (3, bots[4])]
    assert on_aws.bot(bots[0]).missing == 0


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7, 100])
def test_pages_of_every_size_list_queue_and_inbox_once_in_order(on_aws: AwsHarness, limit: int) -> None:
    on_aws.pool()
    placed = [on_aws.create(1).id for _ in range(4)]
    waiting = [bought(on_aws, number).id for number in range(2)]

    assert all_pages(on_aws, limit=limit) == [*enumerate(placed, start=1), *((None, one) for one in waiting)]
    answer = on_aws.http("queue_stats", "GET /admin/queue", role="viewer").json["items"][-1]
    assert (answer["queued_reason"], answer["queued_at"]) == ("SEQUENCING", None)


def test_parked_bots_are_listed_on_request_alone(on_aws: AwsHarness) -> None:
    on_aws.pool()
    bots = [on_aws.create(1) for _ in range(3)]
    row = encode(items.adbot_item(replace(on_aws.bot(bots[0].id), missing=2)))  # not as the queue says
    aws.dynamodb().put_item(TableName=TABLE, Item=row)
    on_aws.upload("s1")
    on_aws.resolve()

    assert all_pages(on_aws) == [(1, bots[2].id)]
    assert all_pages(on_aws, parked="true", limit=1) == [(None, bots[0].id)]


def test_a_page_costs_as_many_calls_with_three_bots_as_with_three_hundred(on_aws: AwsHarness) -> None:
    on_aws.pool()
    calls = {}
    made = 0
    for many in (3, 300):
        for number in range(made, many):
            bought(on_aws, number)
        made = many
        on_aws.resolve()
        with crash_after(None) as seen:
            listed(on_aws, limit=2)
        calls[many] = list(seen.names)

    assert calls[3] == calls[300] == ["GetItem", "Query", "BatchGetItem"]
    with crash_after(None) as seen:
        assert len(listed(on_aws, limit=100, cursor=make_cursor({"seq": 250, "place": 251}))[0]) == 50
    assert sorted(seen.names) == ["BatchGetItem", "GetItem", "Query", "Query", "Query"]  # two partitions, and the inbox
    assert [place for place, _ in all_pages(on_aws, limit=100)] == list(range(1, 301))


def test_a_gap_of_cancelled_bots_costs_a_bounded_number_of_reads(
    on_aws: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "QUEUE_BUCKET", 2)
    on_aws.pool()
    bots = [on_aws.create(1).id for _ in range(20)]
    for gone in bots[1:19]:
        on_aws.adbots.cancel(gone, Command(ADMIN))
    with crash_after(None) as seen:
        page, following = listed(on_aws)

    assert page == [(1, bots[0])]
    assert seen.names.count("Query") == pool_directory.MAX_PARTITIONS
    assert following
    assert all_pages(on_aws) == [(1, bots[0]), (2, bots[19])]


def test_a_bot_that_is_served_between_the_reads_is_left_out(
    on_aws: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_aws.pool()
    bots = [on_aws.create(1).id for _ in range(3)]
    store = on_aws.adbots.store
    read, header = store.queue_page, on_aws.adbots.pools.header("standard")

    def overtaken(*asked: Any) -> Any:
        found = read(*asked)
        on_aws.upload("s1")
        on_aws.resolve()
        return found

    monkeypatch.setattr(store, "queue_page", overtaken)
    page, _ = queue_page.in_order(store, header, 50, None)

    assert [(one.place, one.adbot.id) for one in page] == [(1, bots[1]), (2, bots[2])]


def test_places_begin_again_at_1_when_the_queue_has_moved_past_a_page(on_aws: AwsHarness) -> None:
    on_aws.pool()
    bots = [on_aws.create(1).id for _ in range(4)]
    _, following = listed(on_aws, limit=2)
    on_aws.upload("s1", "s2", "s3")
    on_aws.resolve()

    assert listed(on_aws, limit=2, cursor=following)[0] == [(1, bots[3])]


def test_a_row_of_a_newer_version_hides_no_other(on_aws: AwsHarness) -> None:
    on_aws.pool()
    bots = [on_aws.create(1).id for _ in range(3)]
    waiting = [bought(on_aws, number).id for number in range(2)]
    key = items.adbot_key(bots[1])
    row = aws.dynamodb().get_item(TableName=TABLE, Key=encode(key))["Item"]
    aws.dynamodb().put_item(TableName=TABLE, Item=row | {"v": {"N": "99"}})
    entry = on_aws.adbots.store.oldest_in_inbox("standard")[0]
    inbox = items.inbox_item("standard", replace(entry, required=1)) | {"v": 99}
    aws.dynamodb().put_item(TableName=TABLE, Item=encode(inbox))

    for limit in (1, 50):
        assert all_pages(on_aws, limit=limit) == [(1, bots[0]), (2, bots[2]), (None, waiting[1])]


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        make_cursor({"seq": 1}),
        make_cursor({"seq": "1", "place": 1}),
        make_cursor({"seq": 1, "place": 1, "more": 1}),
        make_cursor({"inbox": ""}),
        make_cursor({"inbox": "x" * 1500}),
        make_cursor({"inbox": "\ud800"}),
        make_cursor({"pk": "POOLS", "sk": "x"}),
    ],
)
def test_a_cursor_of_another_list_is_refused(on_aws: AwsHarness, cursor: str) -> None:
    on_aws.pool()
    answer = on_aws.http("queue_stats", "GET /admin/queue", role="viewer", query={"cursor": cursor})

    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "cursor")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"pool": "none"}, "pool"),
        ({"pool": "none", "parked": "true"}, "pool"),
        ({"limit": "101"}, "limit"),
        ({"x": "1"}, "x"),
    ],
)
def test_a_bad_query_names_its_field(on_aws: AwsHarness, query: dict[str, str], field: str) -> None:
    on_aws.pool()
    answer = on_aws.http("queue_stats", "GET /admin/queue", role="viewer", query=query)

    assert (answer.status, answer.json["errors"][0]["field"]) == (422, field)
