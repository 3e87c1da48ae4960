"""What commands promise, at the door of the capability."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.model import AdbotStatus, OrderStatus, QueuedReason
from adbot_queue.adbots.operator_order import AdbotSpec
from adbot_queue.adbots.storage import items
from adbot_queue.core import aws
from adbot_queue.core.attribute_values import encode
from adbot_queue.core.errors import Conflict, Forbidden, IdempotencyMismatch, Invalid, NotFound, Unavailable
from adbot_queue.ledger import Actor
from adbot_queue.stock.upload import LineVerdict, parse_objects
from tests.builders.payments import rows
from tests.builders.world import ADMIN, AwsHarness

CARA = Actor("cara", "customer")


def test_a_bot_made_while_there_is_stock_is_ready_in_the_answer(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1", "s2", "s3")

    bot = on_aws.create(2)

    assert (bot.status, bot.assigned, bot.missing, bot.queued_reason) == (AdbotStatus.READY, 2, 0, None)
    assert on_aws.sessions_of(bot.id) == ["s1", "s2"]
    assert on_aws.adbots.order(bot.order_id).amount == 0


def test_a_bot_made_while_stock_is_short_waits_with_what_there_is_and_completes_by_itself(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1")
    bot = on_aws.create(3)
    assert (bot.status, bot.assigned, bot.missing) == (AdbotStatus.QUEUED, 1, 2)
    assert bot.queued_reason is QueuedReason.INSUFFICIENT_STOCK

    on_aws.upload("s2", "s3", "s4")
    on_aws.resolve()

    assert on_aws.bot(bot.id).status is AdbotStatus.READY
    assert on_aws.sessions_of(bot.id) == ["s1", "s2", "s3"]


def test_bots_are_served_in_the_order_they_were_bought(on_aws: AwsHarness) -> None:
    on_aws.pool()
    bots = [on_aws.create(2) for _ in range(3)]

    on_aws.upload("s1", "s2", "s3", "s4", "s5")
    on_aws.resolve()

    assert [on_aws.bot(bot.id).assigned for bot in bots] == [2, 2, 1]


def test_every_cause_triggers_allocation_of_its_pool(on_aws: AwsHarness) -> None:
    on_aws.pool()
    bot = on_aws.create(1)
    assert on_aws.messages("allocation") == [{"pool": "standard"}]
    on_aws.upload("s1", "s2")
    assert on_aws.messages("allocation") == [{"pool": "standard"}]
    on_aws.resolve()
    on_aws.adbots.reassign(bot.id, ["s2"], ["s1"], Command(ADMIN))
    assert on_aws.messages("allocation") == [{"pool": "standard"}]
    on_aws.adbots.cancel(bot.id, Command(ADMIN))
    assert on_aws.messages("allocation") == [{"pool": "standard"}]


def test_the_schedule_finds_pools_with_a_queue_or_an_inbox_and_no_others(on_aws: AwsHarness) -> None:
    for pool in ("idle", "queued"):
        on_aws.pool(pool)
    on_aws.create(1, pool="queued")

    assert on_aws.adbots.pools.with_work() == ["queued"]


@pytest.mark.parametrize("required", [0, -1, 501])
def test_a_number_of_sessions_out_of_range_is_refused_and_names_the_limit(on_aws: AwsHarness, required: int) -> None:
    on_aws.pool()
    with pytest.raises(Invalid, match="required_sessions: must be between 1 and 500"):
        on_aws.create(required)


def test_an_unknown_pool_is_refused(on_aws: AwsHarness) -> None:
    with pytest.raises(Invalid, match="pool: does not exist"):
        on_aws.create(1, pool="nowhere")


def test_the_same_creation_twice_with_one_key_is_one_bot(on_aws: AwsHarness) -> None:
    on_aws.pool()
    wanted, command = AdbotSpec("cara", 2, "standard"), Command(ADMIN, key="k1", fingerprint="f")

    first = on_aws.adbots.create(wanted, command, on_aws.time_left)
    second = on_aws.adbots.create(wanted, command, on_aws.time_left)

    assert (second.adbot.id, first.replayed, second.replayed) == (first.adbot.id, False, True)
    assert len(on_aws.adbots.list_adbots(None, None, 10, None)[0]) == 1


def test_one_key_for_two_different_requests_is_refused(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.create(1, key="k1")
    with pytest.raises(IdempotencyMismatch):
        on_aws.create(2, key="k1")


def test_two_people_may_use_the_same_key(on_aws: AwsHarness) -> None:
    on_aws.pool()
    for person in ("ada", "bob"):
        actor = Actor(person, "admin")
        on_aws.adbots.create(AdbotSpec("cara", 1, "standard"), Command(actor, key="k"), on_aws.time_left)
    assert len(on_aws.adbots.list_adbots(None, None, 10, None)[0]) == 2


# Starting


def test_start_refuses_a_queued_bot_with_what_is_missing_and_why(on_aws: AwsHarness) -> None:
    on_aws.pool()
    bot = on_aws.create(5)
    with pytest.raises(Forbidden) as refused:
        on_aws.adbots.start(bot.id, Command(CARA), "cara")
    assert refused.value.extra["missing_sessions_count"] == 5
    assert refused.value.extra["queued_reason"] == "INSUFFICIENT_STOCK"


def test_queued_is_said_before_a_disputed_payment_is(on_aws: AwsHarness) -> None:
    on_aws.pool()
    bot = on_aws.create(5)
    on_aws.adbots.hold(bot.id, command=Command(ADMIN), held=True)
    with pytest.raises(Forbidden):
        on_aws.adbots.start(bot.id, Command(CARA), "cara")


def test_a_ready_bot_starts_stops_and_starts_again(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1")
    bot = on_aws.create(1)
    states = [
        on_aws.adbots.start(bot.id, Command(CARA), "cara").adbot.status,
        on_aws.adbots.stop(bot.id, Command(CARA), "cara").adbot.status,
        on_aws.adbots.start(bot.id, Command(CARA), "cara").adbot.status,
    ]
    assert states == [AdbotStatus.RUNNING, AdbotStatus.STOPPED, AdbotStatus.RUNNING]


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda w, bot: w.adbots.start(bot, Command(ADMIN), None), "is RUNNING"),
        (lambda w, bot: w.adbots.cancel(bot, Command(ADMIN)), "is CANCELLED"),
        (lambda w, bot: w.adbots.hold(bot, command=Command(ADMIN), held=True), "on hold"),
    ],
)
def test_a_bot_that_runs_is_cancelled_or_on_hold_cannot_be_started(on_aws: AwsHarness, prepare: Any, says: str) -> None:
    on_aws.pool()
    on_aws.upload("s1")
    bot = on_aws.create(1)
    prepare(on_aws, bot.id)
    with pytest.raises(Conflict, match=says):
        on_aws.adbots.start(bot.id, Command(CARA), "cara")


def test_a_bot_of_another_user_is_not_found(on_aws: AwsHarness) -> None:
    on_aws.pool()
    bot = on_aws.create(1, user="cara")
    for question in (on_aws.adbots.adbot, lambda i, o: on_aws.adbots.start(i, Command(CARA), o)):
        with pytest.raises(NotFound):
            question(bot.id, "mallory")


def test_starting_twice_with_one_key_is_answered_as_the_first_time(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1")
    bot = on_aws.create(1)
    command = Command(CARA, key="go", fingerprint="f")
    first = on_aws.adbots.start(bot.id, command, "cara")
    second = on_aws.adbots.start(bot.id, command, "cara")
    assert (first.replayed, second.replayed, second.adbot.version) == (False, True, first.adbot.version)


# Cancelling, losing, reassigning


def test_a_cancelled_bot_gives_its_sessions_back_and_the_next_in_line_gets_them(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1", "s2")
    first, second = on_aws.create(2), on_aws.create(2)

    on_aws.adbots.cancel(first.id, Command(ADMIN, "refund"))
    on_aws.resolve()

    assert on_aws.bot(first.id).status is AdbotStatus.CANCELLED
    assert on_aws.sessions_of(second.id) == ["s1", "s2"]


def test_cancelling_a_waiting_bot_lets_the_next_one_be_head(on_aws: AwsHarness) -> None:
    on_aws.pool()
    first, second = on_aws.create(9), on_aws.create(1)
    on_aws.adbots.cancel(first.id, Command(ADMIN))
    on_aws.upload("s1")
    on_aws.resolve()
    assert on_aws.bot(second.id).status is AdbotStatus.READY
    assert on_aws.adbots.pools.header("standard").queue_length == 0


def test_cancelling_twice_changes_nothing(on_aws: AwsHarness) -> None:
    on_aws.pool()
    bot = on_aws.create(1)
    version = on_aws.adbots.cancel(bot.id, Command(ADMIN)).adbot.version
    assert on_aws.adbots.cancel(bot.id, Command(ADMIN)).adbot.version == version


def test_a_bot_that_loses_a_session_waits_at_the_tail_and_gets_another(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1", "s2")
    bot = on_aws.create(2)
    waiting = on_aws.create(1)
    on_aws.adbots.start(bot.id, Command(ADMIN), None)

    lost = on_aws.adbots.lose_session("s1", Command(ADMIN))

    assert lost is not None
    assert (lost.status, lost.queued_reason, lost.missing) == (AdbotStatus.QUEUED, QueuedReason.SESSION_LOST, 1)
    on_aws.upload("s3", "s4")
    on_aws.resolve()
    assert on_aws.sessions_of(waiting.id) == ["s3"]
    assert on_aws.sessions_of(bot.id) == ["s2", "s4"]


def test_a_lost_free_session_is_never_given_and_saying_it_twice_changes_nothing(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1", "s2", "s3")
    on_aws.adbots.lose_session("s2", Command(ADMIN))
    on_aws.adbots.lose_session("s2", Command(ADMIN))

    header = on_aws.adbots.pools.header("standard")
    assert (header.free, header.stock_total) == (2, 2)
    assert on_aws.sessions_of(on_aws.create(2).id) == ["s1", "s3"]
    assert on_aws.adbots.sessions.locate("s2").lost


def test_reassign_takes_named_sessions_out_of_the_middle_of_the_stock(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1", "s2", "s3", "s4")
    bot = on_aws.create(1)

    on_aws.adbots.reassign(bot.id, ["s3"], ["s1"], Command(ADMIN))

    assert on_aws.sessions_of(bot.id) == ["s3"]
    assert on_aws.sessions_of(on_aws.create(3).id) == ["s2", "s4", "s1"]


def test_reassign_that_only_takes_makes_the_bot_wait_and_the_next_run_fills_it(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1", "s2", "s3")
    bot = on_aws.create(2)
    after = on_aws.adbots.reassign(bot.id, [], ["s1"], Command(ADMIN)).adbot
    assert (after.status, after.queued_reason) == (AdbotStatus.QUEUED, QueuedReason.REASSIGNED)
    on_aws.resolve()
    assert on_aws.sessions_of(bot.id) == ["s2", "s3"]


@pytest.mark.parametrize(
    ("add", "remove", "error"),
    [
        (["s1"], [], "is not free: assigned to adbot"),
        (["s3"], ["s2"], "is not assigned to adbot"),
        (["s3"], [], "lacks 0 sessions, 1 were named"),
        ([], [], "must name 1 to 40"),
        (["s3", "s3"], ["s1"], "must name each session once"),
        (["nope"], ["s1"], "there is no session nope"),
    ],
)
def test_a_reassign_that_cannot_be_done_changes_nothing(
    on_aws: AwsHarness, add: list[str], remove: list[str], error: str
) -> None:
    on_aws.pool()
    on_aws.upload("s1", "s2", "s3")
    bot, _other = on_aws.create(1), on_aws.create(1)
    before = on_aws.adbots.pools.header("standard")
    with pytest.raises((Conflict, Invalid, NotFound), match=error):
        on_aws.adbots.reassign(bot.id, add, remove, Command(ADMIN))
    assert on_aws.adbots.pools.header("standard") == before


def test_a_session_is_found_wherever_it_went(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1", "s2")
    first = on_aws.create(2)
    on_aws.adbots.cancel(first.id, Command(ADMIN))
    free = on_aws.adbots.sessions.locate("s2")
    second = on_aws.create(2)
    taken = on_aws.adbots.sessions.locate("s2")
    assert (free.adbot_id, free.place is not None) == (None, True)
    assert (taken.adbot_id, taken.place) == (second.id, None)


# Uploading


def test_a_session_uploaded_twice_never_becomes_two(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1", "s2")
    again = on_aws.upload("s2", "s3", "s3")
    assert [line.verdict for line in again.lines] == [
        LineVerdict.DUPLICATE,
        LineVerdict.ACCEPTED,
        LineVerdict.DUPLICATE_IN_UPLOAD,
    ]
    assert on_aws.adbots.pools.header("standard").free == 3
    assert on_aws.sessions_of(on_aws.create(3).id) == ["s1", "s2", "s3"]


def test_the_same_upload_under_the_same_key_is_accepted_again_and_counted_once(on_aws: AwsHarness) -> None:
    on_aws.pool()
    first, second = on_aws.upload("s1", "s2", key="k"), on_aws.upload("s1", "s2", key="k")
    assert second.upload_id == first.upload_id
    assert {line.verdict for line in second.lines} == {LineVerdict.ACCEPTED}
    assert on_aws.adbots.pools.header("standard").free == 2


def test_an_upload_of_many_transactions_is_stored_whole(on_aws: AwsHarness) -> None:
    on_aws.pool()
    uploaded = on_aws.upload(*(f"s{n}" for n in range(120)))
    assert {line.verdict for line in uploaded.lines} == {LineVerdict.ACCEPTED}
    assert on_aws.adbots.pools.header("standard").free == 120
    assert on_aws.adbots.sessions.session_ids((on_aws.create(1).runs[0],)) == ["s0"]


def test_one_key_for_two_uploads_is_refused(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1", key="k")
    with pytest.raises(IdempotencyMismatch, match="another upload"):
        on_aws.upload("s2", key="k")


# Parking


def _corrupt(on_aws: AwsHarness, adbot_id: str) -> None:
    bot = on_aws.bot(adbot_id)
    item = encode(items.adbot_item(replace(bot, missing=bot.missing + 7)))
    aws.dynamodb().put_item(TableName=on_aws.env["ADBOTS_TABLE"], Item=item)


def test_a_bot_with_a_wrong_record_is_parked_after_three_strikes_and_blocks_no_other(on_aws: AwsHarness) -> None:
    on_aws.pool()
    bad, good = on_aws.create(1), on_aws.create(1)
    _corrupt(on_aws, bad.id)
    on_aws.upload("s1", "s2")

    on_aws.resolve()

    assert on_aws.bot(good.id).status is AdbotStatus.READY
    assert on_aws.bot(bad.id).queued_reason is QueuedReason.PARKED
    header = on_aws.adbots.pools.header("standard")
    assert (header.parked, header.queue_length, header.free) == (1, 0, 1)
    assert on_aws.ledger(action="adbot.park")[0]["target"] == f"adbot:{bad.id}"


def test_an_operator_lets_a_parked_bot_wait_again(on_aws: AwsHarness) -> None:
    on_aws.pool()
    bot = on_aws.create(1)
    _corrupt(on_aws, bot.id)
    on_aws.upload("s1")
    on_aws.resolve()
    parked = on_aws.bot(bot.id)
    item = encode(items.adbot_item(replace(parked, missing=1)))
    aws.dynamodb().put_item(TableName=on_aws.env["ADBOTS_TABLE"], Item=item)

    on_aws.adbots.unpark(bot.id, Command(ADMIN))
    on_aws.resolve()

    assert on_aws.bot(bot.id).status is AdbotStatus.READY
    assert on_aws.adbots.pools.header("standard").parked == 0
    with pytest.raises(Conflict, match="is not parked"):
        on_aws.adbots.unpark(bot.id, Command(ADMIN))


def test_a_parked_bot_can_be_cancelled(on_aws: AwsHarness) -> None:
    on_aws.pool()
    bot = on_aws.create(1)
    _corrupt(on_aws, bot.id)
    on_aws.upload("s1")
    on_aws.resolve()
    on_aws.adbots.cancel(bot.id, Command(ADMIN))
    assert on_aws.adbots.pools.header("standard").parked == 0
    assert on_aws.adbots.store.parked_page("standard", 10, None)[0] == []


# Faults


def test_when_sqs_is_down_the_command_is_done_and_the_schedule_comes_by(
    on_aws: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_aws.pool()

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "ServiceUnavailable", "Message": ""}}, "SendMessage")

    monkeypatch.setattr(aws.sqs(), "send_message", refuse)
    bot = on_aws.create(1)
    assert bot.status is AdbotStatus.QUEUED
    assert on_aws.adbots.pools.with_work() == ["standard"]


def test_when_allocation_fails_inside_the_request_the_bot_is_there_and_waits(
    on_aws: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_aws.pool()
    on_aws.upload("s1")

    def fail(*_: Any) -> None:
        raise ClientError({"Error": {"Code": "InternalServerError", "Message": ""}}, "Query")

    with monkeypatch.context() as patched:
        patched.setattr(on_aws.adbots.resolver, "run", fail)
        bot = on_aws.create(1)
    assert (bot.status, bot.queued_reason) == (AdbotStatus.QUEUED, QueuedReason.SEQUENCING)
    on_aws.resolve()
    assert on_aws.bot(bot.id).status is AdbotStatus.READY


def test_a_run_that_has_no_time_left_triggers_another_and_the_next_one_goes_on(on_aws: AwsHarness) -> None:
    on_aws.pool()
    bot = on_aws.create(1)
    on_aws.upload("s1")
    on_aws.messages("allocation")
    outcome = on_aws.adbots.resolver.run("standard", lambda: 9_999)
    assert (outcome.finished, outcome.steps) == (False, 0)
    assert on_aws.messages("allocation") == [{"pool": "standard"}]
    on_aws.resolve()
    assert on_aws.bot(bot.id).status is AdbotStatus.READY


def test_an_order_in_review_gets_its_bot_from_an_operator(on_aws: AwsHarness) -> None:
    from adbot_queue.adbots.model import CreationSource, Order  # noqa: PLC0415

    on_aws.pool()
    order = Order("ord_x", OrderStatus.REVIEW, CreationSource.PAYMENT, 1_000, amount=4900, review_reason="no pool")
    transaction = on_aws.adbots.store.transaction()
    on_aws.adbots.store.put_order(transaction, None, order)
    transaction.commit()
    assert [one.id for one in on_aws.adbots.store.orders_in_review(10, None)[0]] == ["ord_x"]

    wanted = AdbotSpec("cara", 1, "standard", order_id="ord_x")
    bot = on_aws.adbots.create(wanted, Command(ADMIN), on_aws.time_left).adbot

    settled = on_aws.adbots.order("ord_x")
    assert (settled.status, settled.adbot_id, settled.amount) == (OrderStatus.PAID, bot.id, 4900)
    assert on_aws.adbots.store.orders_in_review(10, None)[0] == []
    with pytest.raises(Conflict, match="only one in REVIEW"):
        on_aws.adbots.create(wanted, Command(ADMIN), on_aws.time_left)


# Ledger


def test_every_change_is_signed_by_its_caller(on_aws: AwsHarness) -> None:
    on_aws.pool()
    on_aws.upload("s1", "s2")
    bot = on_aws.create(1)
    on_aws.adbots.start(bot.id, Command(CARA), "cara")
    on_aws.adbots.cancel(bot.id, Command(ADMIN, "asked by mail"))

    history = on_aws.ledger(target=f"adbot:{bot.id}")
    assert [entry["action"] for entry in history] == ["adbot.cancel", "adbot.start", "adbot.create"]
    assert (history[0]["reason"], history[0]["before"]["status"], history[0]["after"]["status"]) == (
        "asked by mail",
        "RUNNING",
        "CANCELLED",
    )
    assert [entry["action"] for entry in on_aws.ledger(actor="ada", action="stock.upload")] == ["stock.upload"]
    assert len(rows(on_aws.env["LEDGER_TABLE"])) == 5


def test_lists_are_paged_newest_first(on_aws: AwsHarness) -> None:
    on_aws.pool()
    bots = [on_aws.create(1, user="cara") for _ in range(3)]
    on_aws.create(1, user="carl")
    first, cursor = on_aws.adbots.list_adbots("cara", None, 2, None)
    second, end = on_aws.adbots.list_adbots("cara", None, 2, cursor)
    assert [bot.id for bot in [*first, *second]] == [bot.id for bot in reversed(bots)]
    assert (len(first), end) == (2, None)
    with pytest.raises(Invalid, match="cursor"):
        on_aws.adbots.list_adbots("cara", None, 2, "garbage!")


def test_lines_are_read_before_anything_is_stored() -> None:
    with pytest.raises(Invalid, match="at most 10000 lines"):
        parse_objects([{"session_id": f"s{n}"} for n in range(10_001)])


def test_a_run_that_is_throttled_a_few_times_still_gets_through(
    on_aws: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_aws.pool()
    bot = on_aws.create(1)
    on_aws.upload("s1")
    real, refusals = aws.dynamodb().transact_write_items, iter(range(3))

    def throttle(**request: Any) -> Any:
        if next(refusals, None) is not None:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, "TransactWriteItems")
        return real(**request)

    monkeypatch.setattr(aws.dynamodb(), "transact_write_items", throttle)
    outcome = on_aws.adbots.resolver.run("standard", on_aws.time_left)
    assert (outcome.conflicts, outcome.completed) == (3, 1)
    assert on_aws.bot(bot.id).status is AdbotStatus.READY


def test_a_pool_where_every_commit_is_refused_is_given_up_and_left_as_it_was(
    on_aws: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_aws.pool()
    on_aws.create(1)
    on_aws.upload("s1")
    before = on_aws.adbots.pools.header("standard")

    def throttle(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, "TransactWriteItems")

    monkeypatch.setattr(aws.dynamodb(), "transact_write_items", throttle)
    monkeypatch.setattr("adbot_queue.adbots.resolver.time.sleep", lambda _: None)
    with pytest.raises(Unavailable, match="50 commits in a row were refused"):
        on_aws.adbots.resolver.run("standard", on_aws.time_left)
    assert on_aws.adbots.pools.header("standard") == before
