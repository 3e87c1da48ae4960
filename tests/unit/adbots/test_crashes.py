"""The function dies after any of its AWS calls and is called again: nothing is lost, nothing is doubled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.model import AdbotStatus
from adbot_queue.adbots.operator_order import AdbotSpec
from adbot_queue.stock.upload import LineVerdict
from tests.builders.crash import Killed, crash_after
from tests.builders.world import ADMIN, AwsHarness, world


@dataclass(frozen=True)
class CrashScenario:
    """Something that can be killed: how the world is before, what is done, what must be so in the end."""

    before: Callable[[AwsHarness], str]
    act: Callable[[AwsHarness, str], object]
    after: Callable[[AwsHarness, str], None]


def _bought(on_aws: AwsHarness, _: str) -> None:
    on_aws.resolve()
    (bot,) = on_aws.adbots.list_adbots(None, None, 10, None)[0]
    assert (bot.status, bot.assigned, bot.missing) == (AdbotStatus.QUEUED, 1, 1)
    assert len(on_aws.ledger(action="adbot.create")) == 1


def _buy(on_aws: AwsHarness, _: str) -> object:
    return on_aws.adbots.create(AdbotSpec("cara", 2, "standard"), Command(ADMIN, key="k"), on_aws.time_left)


def _one_session(on_aws: AwsHarness) -> str:
    on_aws.pool()
    on_aws.upload("s1")
    return ""


def _uploaded(on_aws: AwsHarness, _: str) -> None:
    header = on_aws.adbots.pools.header("standard")
    assert (header.free, header.stock_total) == (3, 3)
    assert len(on_aws.ledger(action="stock.upload")) == 1
    again = on_aws.upload("s1", "s2", "s3", key="u")
    assert {line.verdict for line in again.lines} == {LineVerdict.ACCEPTED}
    assert on_aws.adbots.pools.header("standard").free == 3


def _empty_pool(on_aws: AwsHarness) -> str:
    return on_aws.pool()


def _two_wait_and_stock_came(on_aws: AwsHarness) -> str:
    on_aws.pool()
    first, second = on_aws.create(2), on_aws.create(2)
    on_aws.upload("s1", "s2", "s3")
    return f"{first.id} {second.id}"


def _served_in_order(on_aws: AwsHarness, names: str) -> None:
    first, second = names.split()
    assert on_aws.sessions_of(first) == ["s1", "s2"]
    assert on_aws.sessions_of(second) == ["s3"]
    header = on_aws.adbots.pools.header("standard")
    assert (header.free, header.queue_length, header.missing_total) == (0, 1, 1)


def _ready_bot(on_aws: AwsHarness) -> str:
    on_aws.pool()
    on_aws.upload("s1", "s2")
    return on_aws.create(2).id


def _cancelled(on_aws: AwsHarness, name: str) -> None:
    header = on_aws.adbots.pools.header("standard")
    assert (on_aws.bot(name).status, header.free, header.stock_total) == (AdbotStatus.CANCELLED, 2, 2)
    assert len(on_aws.ledger(action="adbot.cancel")) == 1


def _lost(on_aws: AwsHarness, name: str) -> None:
    bot, header = on_aws.bot(name), on_aws.adbots.pools.header("standard")
    assert (bot.status, bot.missing, header.stock_total, header.queue_length) == (AdbotStatus.QUEUED, 1, 1, 1)
    assert len(on_aws.ledger(action="session.lost")) == 1


def _bot_and_spare(on_aws: AwsHarness) -> str:
    on_aws.pool()
    on_aws.upload("s1", "s2", "s3")
    return on_aws.create(2).id


def _reassigned(on_aws: AwsHarness, name: str) -> None:
    assert on_aws.sessions_of(name) == ["s2", "s3"]
    assert len(on_aws.ledger(action="adbot.reassign")) == 1
    assert on_aws.adbots.pools.header("standard").free == 1


STORIES = {
    "buy": CrashScenario(_one_session, _buy, _bought),
    "upload": CrashScenario(_empty_pool, lambda w, _: w.upload("s1", "s2", "s3", key="u"), _uploaded),
    "resolve": CrashScenario(_two_wait_and_stock_came, lambda w, _: w.resolve(), _served_in_order),
    "cancel": CrashScenario(_ready_bot, lambda w, name: w.adbots.cancel(name, Command(ADMIN, key="c")), _cancelled),
    "lose": CrashScenario(_ready_bot, lambda w, _: w.adbots.lose_session("s1", Command(ADMIN)), _lost),
    "reassign": CrashScenario(
        _bot_and_spare,
        lambda w, name: w.adbots.reassign(name, ["s3"], ["s1"], Command(ADMIN, key="r")),
        _reassigned,
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_dying_after_any_call_and_being_called_again_ends_as_if_nothing_had_happened(name: str) -> None:
    story = STORIES[name]
    calls = _calls_without_a_crash(story)
    assert calls > 1
    for call in range(1, calls + 1):
        with world() as on_aws:
            subject = story.before(on_aws)
            with pytest.raises(Killed), crash_after(call):
                story.act(on_aws, subject)
            story.act(on_aws, subject)
            story.after(on_aws, subject)


def _calls_without_a_crash(story: CrashScenario) -> int:
    with world() as on_aws:
        subject = story.before(on_aws)
        with crash_after(None) as calls:
            story.act(on_aws, subject)
        story.after(on_aws, subject)
        return len(calls.names)
