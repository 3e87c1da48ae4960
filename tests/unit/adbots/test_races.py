"""Another process is faster, exactly between two reads."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from adbot_queue.adbots.audit.reconcile import Reconciler
from adbot_queue.adbots.audit.rules import audit
from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.model import AdbotStatus, CreationSource, Order, OrderStatus
from adbot_queue.adbots.operator_order import AdbotSpec
from adbot_queue.adbots.session_locator import SessionLocation
from adbot_queue.adbots.sessions import Sessions
from adbot_queue.core.dynamodb import Transaction, TransactionConflict, TransactionRejected
from adbot_queue.stock.service import Stock, Uploaded
from adbot_queue.stock.upload import LineVerdict
from tests.builders.uploads import finish
from tests.builders.world import ADMIN, AwsHarness


def test_a_free_session_that_is_given_away_while_it_is_being_lost_is_taken_from_its_bot(
    on_aws: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_aws.pool()
    on_aws.upload("s0", "s1")
    locate = Sessions.locate

    def and_then_a_bot_is_served(self: Sessions, session_id: str) -> SessionLocation:
        located = locate(self, session_id)
        monkeypatch.undo()
        bot = on_aws.create(1)
        assert bot.status is AdbotStatus.READY
        return located

    monkeypatch.setattr(Sessions, "locate", and_then_a_bot_is_served)
    loser = on_aws.adbots.lose_session("s0", Command(ADMIN))
    assert loser is not None
    assert (loser.status, loser.missing) == (AdbotStatus.QUEUED, 1)
    assert audit(Reconciler(on_aws.adbots.store, on_aws.adbots.ledger).read("standard")) == []


@pytest.mark.parametrize(
    ("reasons", "outcome"),
    [
        (["ConditionalCheckFailed", "None"], TransactionRejected),
        (["TransactionConflict", "None"], TransactionConflict),
        # Which condition the item in conflict would have failed is not known: a bot must not get a strike for it.
        (["TransactionConflict", "ConditionalCheckFailed"], TransactionConflict),
        (["ConditionalCheckFailed", "ThrottlingError"], TransactionConflict),
    ],
)
def test_a_conflict_with_a_failed_condition_is_contention(reasons: list[str], outcome: type[Exception]) -> None:
    class Client:
        def transact_write_items(self, **_: object) -> None:
            error = {"Error": {"Code": "TransactionCanceledException", "Message": ""}}
            raise ClientError(
                {**error, "CancellationReasons": [{"Code": code} for code in reasons]}, "TransactWriteItems"
            )

    transaction = Transaction(Client())  # type: ignore[arg-type]
    for tag in ("header", "adbot:1"):
        transaction.create(tag, "table", {"pk": tag, "sk": "-"})
    with pytest.raises(outcome):
        transaction.commit()


def test_what_an_upload_accepts_after_the_sweeper_finished_it_is_in_stock(
    on_aws: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_aws.pool()
    with monkeypatch.context() as patched:
        patched.setattr(Stock, "_claim_ids", _die)
        with pytest.raises(RuntimeError):
            on_aws.upload("s0", "s1", key="k")
    assert len(finish(on_aws)) == 1
    again = _accepted(on_aws.upload("s0", "s1", key="k"))
    assert again == on_aws.adbots.pools.header("standard").free
    assert again + _accepted(on_aws.upload("s0", "s1", key="another")) == 2


def _accepted(uploaded: Uploaded) -> int:
    return sum(line.verdict is LineVerdict.ACCEPTED for line in uploaded.lines)


def _die(*_: object) -> None:
    raise RuntimeError


def test_a_reviewed_order_given_a_bot_twice_under_one_key_is_answered_as_the_first_time(on_aws: AwsHarness) -> None:
    on_aws.pool()
    store = on_aws.adbots.store
    transaction = store.transaction()
    store.put_order(transaction, None, Order("ord_r", OrderStatus.REVIEW, CreationSource.PAYMENT, 1))
    transaction.commit()
    wanted = AdbotSpec("cara", 2, "standard", order_id="ord_r")
    command = Command(ADMIN, key="k", fingerprint="f")
    first = on_aws.adbots.create(wanted, command, on_aws.time_left)
    second = on_aws.adbots.create(wanted, command, on_aws.time_left)
    assert (second.adbot.id, second.replayed) == (first.adbot.id, True)
