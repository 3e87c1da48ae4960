"""Somebody else is faster, exactly between two reads."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from adbot_queue.adbots.audit import audit
from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.model import Status
from adbot_queue.adbots.reconcile import Reconciler
from adbot_queue.adbots.stock import Located, Stock
from adbot_queue.core.dynamodb import Contended, Refused, Transaction
from tests.builders.world import ADMIN, World


def test_a_free_session_that_is_given_away_while_it_is_being_lost_is_taken_from_its_bot(
    on_aws: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_aws.pool()
    on_aws.upload("s0", "s1")
    locate = Stock.locate

    def and_then_a_bot_is_served(self: Stock, session_id: str) -> Located:
        located = locate(self, session_id)
        monkeypatch.undo()
        bot = on_aws.create(1)
        assert bot.status is Status.READY
        return located

    monkeypatch.setattr(Stock, "locate", and_then_a_bot_is_served)
    loser = on_aws.adbots.lose_session("s0", Command(ADMIN))
    assert loser is not None
    assert (loser.status, loser.missing) == (Status.QUEUED, 1)
    assert audit(Reconciler(on_aws.adbots.store, on_aws.adbots.ledger).read("standard")) == []


@pytest.mark.parametrize(
    ("reasons", "outcome"),
    [
        (["ConditionalCheckFailed", "None"], Refused),
        (["TransactionConflict", "None"], Contended),
        # Which condition the item in conflict would have failed is not known: a bot must not get a strike for it.
        (["TransactionConflict", "ConditionalCheckFailed"], Contended),
        (["ConditionalCheckFailed", "ThrottlingError"], Contended),
    ],
)
def test_a_conflict_beside_a_failed_condition_is_contention(reasons: list[str], outcome: type[Exception]) -> None:
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
