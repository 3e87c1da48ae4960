"""A handful of the runs that `make test-concurrency` plays by the hundred, and proof that they would notice."""

from __future__ import annotations

import os
import random

import pytest

from adbot_queue.adbots.audit.findings import FindingKind
from adbot_queue.adbots.storage.rows import UnreadableRow
from adbot_queue.core.dynamodb import Item, Transaction
from tests.concurrency import workers
from tests.concurrency.run import Campaign, Result
from tests.concurrency.scenario import SHAPES

pytestmark = [
    pytest.mark.concurrency,
    pytest.mark.xdist_group("dynamodb-local"),  # one server for all of them
    pytest.mark.timeout(300),
]

RUNS = int(os.environ.get("CONCURRENCY_RUNS", str(len(SHAPES))))
SHORT = 3


@pytest.fixture(scope="module")
def campaign(engine: str) -> Campaign:
    return Campaign(engine)


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[pytest.mark.long] if seed > SHORT else []) for seed in range(1, RUNS + 1)]
)
def test_nothing_is_doubled_overtaken_adrift_or_lost_however_many_work_at_once(campaign: Campaign, seed: int) -> None:
    result = campaign.run(seed)
    assert result.problems == [], f"python -m tests.concurrency --runs 1 --seed {seed}"
    assert result.bots
    assert result.sessions


def test_a_store_that_does_not_compare_versions_is_found_out(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Transaction.put

    def last_writer_wins(
        self: Transaction, tag: str, table: str, item: Item, *, condition: str | None = None, **values: object
    ) -> Transaction:
        if tag == "header" and random.random() < 0.4:
            return put(self, tag, table, item)
        return put(self, tag, table, item, condition=condition, **values)

    monkeypatch.setattr(Transaction, "put", last_writer_wins)
    monkeypatch.setattr(workers, "STUCK_SECONDS", 3.0)
    # The first is enough nine times of ten: how the workers interleave is chance.
    seeds = (1_004, 1_003, 1_002, 1_001, 1_000)
    assert any(_found_out(campaign, seed) for seed in seeds)


def _found_out(campaign: Campaign, seed: int) -> bool:
    try:
        return bool(_out_of_joint(campaign.run(seed)))
    except UnreadableRow:
        return True  # a header whose counts are below zero is not even read


def _out_of_joint(result: Result) -> int:
    return result.wrong[FindingKind.DOUBLE] + result.wrong[FindingKind.JUMP] + result.wrong[FindingKind.DRIFT]
