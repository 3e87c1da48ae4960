"""The figures of all pages: gathered once for all viewers, whatever happens to one of them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from adbot_queue.console import snapshot
from adbot_queue.console.figures import Snapshot
from adbot_queue.console.snapshot import (
    AHEAD_MS,
    FRESH_FOR_A_PAGE_MS,
    FRESH_MS,
    KEY,
    LEASE_MS,
    Snapshots,
    key_of,
    lease_of,
)
from adbot_queue.core import aws
from adbot_queue.core.attribute_values import encode
from adbot_queue.core.settings import settings
from tests.builders.console_world import ConsoleWorld

NOW = 1_800_000_000_000


class Gathering:
    """What viewers share: a clock, and how often the figures were gathered."""

    def __init__(self) -> None:
        self.now = NOW
        self.count = 0
        self.fails = False

    def __call__(self, now: int, before: Snapshot | None, *, acted: bool) -> dict[str, Any]:
        self.count += 1
        if self.fails:
            raise RuntimeError("a table is busy")
        return {"count": self.count}

    def viewer(self) -> Snapshots:
        return Snapshots(aws.dynamodb(), settings().system_table, self, lambda: self.now)


def forget() -> None:
    for key in (KEY, lease_of(KEY)):
        aws.dynamodb().delete_item(TableName=settings().system_table, Key=encode(key))


@pytest.fixture
def gathering(console: ConsoleWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gathering]:
    assert console
    monkeypatch.setattr(snapshot, "FRESH_MS", FRESH_MS)
    monkeypatch.setattr(snapshot, "FRESH_FOR_A_PAGE_MS", FRESH_FOR_A_PAGE_MS)
    forget()
    yield Gathering()
    forget()


def test_ten_viewers_share_one_gathering_for_four_seconds(gathering: Gathering) -> None:
    for _ in range(10):
        assert gathering.viewer().get().figures == {"count": 1}
    gathering.now += FRESH_MS - 1
    assert gathering.viewer().get().at == NOW
    gathering.now += 1
    assert [gathering.viewer().get().figures["count"] for _ in range(10)] == [2] * 10


def test_a_page_that_opens_takes_the_figures_of_the_last_refresh_of_an_open_tab(gathering: Gathering) -> None:
    gathering.viewer().get()
    gathering.now += 5_500
    assert gathering.viewer().get(opens=True).figures == {"count": 1}
    assert gathering.viewer().get().figures == {"count": 2}
    gathering.now += FRESH_FOR_A_PAGE_MS
    assert gathering.viewer().get(opens=True).figures == {"count": 3}


def test_viewers_at_the_same_moment_gather_once(gathering: Gathering) -> None:
    gathering.viewer().get()
    gathering.now += FRESH_MS
    together = threading.Barrier(6)

    def look() -> None:
        together.wait()
        gathering.viewer().get()

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gathering.count == 2


def test_a_viewer_that_read_before_another_gathered_does_not_gather_again(gathering: Gathering) -> None:
    gathering.viewer().get()
    gathering.now += FRESH_MS
    gathering.viewer().get()
    assert not gathering.viewer()._lease(gathering.now + 1, NOW)
    assert not gathering.viewer()._lease(gathering.now + 1, 0)  # before the very first
    assert gathering.viewer()._lease(gathering.now + 1, gathering.now)


def test_who_has_just_acted_sees_the_effect(gathering: Gathering) -> None:
    gathering.viewer().get()
    assert gathering.viewer().get(fresh=True).figures == {"count": 2}  # however young the last ones are


def test_who_has_just_acted_sees_the_effect_while_another_viewer_gathers_from_before(gathering: Gathering) -> None:
    gathering.viewer().get()
    gathering.now += FRESH_MS
    slow = gathering.viewer()
    assert slow._lease(gathering.now, NOW)
    gathering.now += 1
    assert gathering.viewer().get(fresh=True).figures == {"count": 2}
    slow._write(Snapshot(gathering.now - 1, {"count": 0}))  # what was read before the act
    assert gathering.viewer().get().figures == {"count": 2}


def test_a_viewer_that_dies_while_gathering_holds_the_others_up_for_three_seconds(gathering: Gathering) -> None:
    gathering.viewer().get()
    gathering.now += FRESH_MS
    assert gathering.viewer()._lease(gathering.now, NOW)  # and then it died
    assert gathering.viewer().get().figures == {"count": 1}
    gathering.now += LEASE_MS + 1
    assert gathering.viewer().get().figures == {"count": 2}


def test_figures_that_cannot_be_gathered_leave_the_last_ones_with_their_age(gathering: Gathering) -> None:
    gathering.viewer().get()
    gathering.now += 60_000
    gathering.fails = True
    shown = gathering.viewer().get()
    assert (shown.at, shown.figures) == (NOW, {"count": 1})
    gathering.fails = False
    gathering.now += LEASE_MS + 1
    assert gathering.viewer().get().at == gathering.now


def test_the_first_viewer_of_all_gets_the_error_of_the_gathering(gathering: Gathering) -> None:
    gathering.fails = True
    with pytest.raises(RuntimeError):
        gathering.viewer().get()


def test_figures_that_come_late_do_not_replace_newer_ones(gathering: Gathering) -> None:
    late = gathering.viewer()
    gathering.viewer().get()
    newer = gathering.now + FRESH_MS
    gathering.now = newer
    gathering.viewer().get()
    late._write(Snapshot(NOW + 1, {"count": "late"}))
    assert gathering.viewer().get().figures == {"count": 2}


def test_figures_of_another_version_are_not_read(gathering: Gathering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "KEY", key_of(b"the last version"))
    gathering.viewer().get()
    monkeypatch.undo()
    assert gathering.viewer().get().figures == {"count": 2}


def test_figures_and_leases_of_a_clock_that_was_ahead_are_replaced(gathering: Gathering) -> None:
    gathering.viewer().get()
    gathering.now += FRESH_MS
    assert gathering.viewer()._lease(gathering.now, NOW)  # and then it died
    gathering.now -= FRESH_MS + AHEAD_MS + 1
    assert gathering.viewer().get().figures == {"count": 2}
    assert gathering.viewer().get().at == gathering.now


def test_a_page_says_how_old_its_figures_are_once_they_are_old(console: ConsoleWorld) -> None:
    assert "data-old" not in console.get("/console").text
    item = aws.dynamodb().get_item(TableName=settings().system_table, Key=encode(KEY))["Item"]
    item["at"] = {"N": str(int(item["at"]["N"]) - 20_000)}
    aws.dynamodb().put_item(TableName=settings().system_table, Item=item)
    for text in (console.get("/console").text, console.tick("/console").text):
        assert re.search(r'<div id="live" data-old="2\d{4}"', text)
