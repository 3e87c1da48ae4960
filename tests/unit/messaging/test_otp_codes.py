"""The one code of a recipient against a model that is too simple to be wrong; then what the model cannot show."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from adbot_queue.core import aws
from adbot_queue.messaging import otp_codes as codes
from adbot_queue.messaging.otp_codes import LIFE_MS, MAX_TRIES, Codes, Superseded, TooLate
from tests.builders.clocks import FakeClock
from tests.builders.crash import Killed, crash_after
from tests.builders.payments import empty, rows
from tests.builders.world import AwsHarness, world

PHONE = "+4915112345678"
WRONG = "wrong!"


@pytest.fixture(scope="module", autouse=True)
def on() -> Iterator[AwsHarness]:
    with world() as made:
        yield made


@pytest.fixture(autouse=True)
def _empty(on: AwsHarness) -> None:
    empty()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def codes_of(on: AwsHarness, clock: FakeClock, drawn: Callable[[], str] | None = None) -> Codes:
    numbers = itertools.count(1)
    draw = drawn or (lambda: f"{next(numbers):06d}")
    return Codes(aws.dynamodb(), on.env["SYSTEM_TABLE"], lambda: b"pepper", clock, draw)


@pytest.fixture
def kept(on: AwsHarness, clock: FakeClock) -> Codes:
    return codes_of(on, clock)


@pytest.fixture
def name(kept: Codes) -> str:
    return kept.name("", "login", PHONE)


def sent(kept: Codes, name: str, issue: str = "1") -> str:
    kept.open(name, issue, PHONE)
    return kept.arm(name, issue).code


@dataclass
class Simple:
    """What the model knows of a recipient's code."""

    issue: int = 0
    code: str | None = None
    ends_at: int = 0
    tries: int = 0
    used: bool = False

    def is_good(self, now: int) -> bool:
        return self.code is not None and not self.used and self.tries < MAX_TRIES and now < self.ends_at


class Otp(RuleBasedStateMachine):
    """Two recipients, asked for, sent, guessed at and left lying in any order."""

    on: AwsHarness

    @initialize()
    def begin(self) -> None:
        empty()
        self.clock = FakeClock()
        self.codes = codes_of(self.on, self.clock)
        self.names = [self.codes.name("", "login", PHONE), self.codes.name("cara", "login", PHONE)]
        self.model = [Simple(), Simple()]
        self.stale: list[str] = []

    who = st.sampled_from([0, 1])

    @rule(who=who)
    def ask(self, who: int) -> None:
        before = self.model[who]
        self.stale += [before.code] if before.code else []
        ends_at = self.codes.open(self.names[who], str(before.issue + 1), PHONE)
        self.model[who] = Simple(before.issue + 1, None, self.clock.now + LIFE_MS)
        assert ends_at == self.model[who].ends_at

    @rule(who=who, behind=st.sampled_from([0, 0, 0, 1]))
    def send(self, who: int, behind: int) -> None:
        """An attempt of the job that sends it, or of the one before."""
        model = self.model[who]
        issue = model.issue - behind
        if behind or model.used or not model.issue:
            with pytest.raises(Superseded):
                self.codes.arm(self.names[who], str(issue))
        elif self.clock.now >= model.ends_at:
            with pytest.raises(TooLate):
                self.codes.arm(self.names[who], str(issue))
        else:
            armed = self.codes.arm(self.names[who], str(issue))
            self.stale += [model.code] if model.code else []
            model.code = armed.code
            assert armed.recipient == PHONE
            assert armed.seconds == max(1, (model.ends_at - self.clock.now) // 1000)

    @rule(who=who)
    def guess_right(self, who: int) -> None:
        model = self.model[who]
        good = model.is_good(self.clock.now)
        assert self.codes.use(self.names[who], model.code or "000000") == good
        if good:
            model.tries += 1
            model.used = True

    @rule(who=who, data=st.data())
    def guess_wrong(self, who: int, data: st.DataObject) -> None:
        """Nonsense, a code that was replaced, or the other one's."""
        model, other = self.model[who], self.model[1 - who]
        wrong = [WRONG, *self.stale, *([other.code] if other.code else [])]
        assert not self.codes.use(self.names[who], data.draw(st.sampled_from(wrong)))
        model.tries += model.is_good(self.clock.now)

    @rule(millis=st.sampled_from([1, 1000, LIFE_MS - 1, LIFE_MS]))
    def wait(self, millis: int) -> None:
        self.clock.advance(millis)

    @invariant()
    def no_code_and_no_key_says_anything(self) -> None:
        kept = rows(self.on.env["SYSTEM_TABLE"], "OTP#")
        text = json.dumps(kept, default=str)
        for model in self.model:
            assert model.code is None or f'"{model.code}"' not in text
        assert all(PHONE[1:] not in row["pk"] for row in kept)


def test_whatever_happens_in_whatever_order_a_code_is_good_once_and_only_while_it_should_be(on: AwsHarness) -> None:
    Otp.on = on
    run_state_machine_as_test(
        Otp,
        settings=settings(
            max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@contextmanager
def just_before_the_code_is_used(act: Callable[[], None]) -> Iterator[None]:
    """Let another process act between our comparison and our use, once."""
    calls: list[int] = []

    def seen(**_: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            act()

    events = aws.dynamodb().meta.events
    events.register("before-call.dynamodb.UpdateItem", seen, unique_id="meanwhile")
    try:
        yield
    finally:
        events.unregister("before-call.dynamodb.UpdateItem", unique_id="meanwhile")


def test_of_two_right_guesses_at_the_same_time_one_is_good(kept: Codes, name: str) -> None:
    code = sent(kept, name)
    other: list[bool] = []

    with just_before_the_code_is_used(lambda: other.append(kept.use(name, code))):
        first = kept.use(name, code)

    assert sorted([first, *other]) == [False, True]


def test_a_right_guess_for_a_code_that_is_replaced_meanwhile_is_not_good(kept: Codes, name: str) -> None:
    code = sent(kept, name)

    with just_before_the_code_is_used(lambda: kept.arm(name, "1") and None):
        assert not kept.use(name, code)


def test_guesses_at_the_same_time_spend_a_try_each(on: AwsHarness, kept: Codes, name: str) -> None:
    code = sent(kept, name)
    guesses = [threading.Thread(target=kept.use, args=(name, WRONG)) for _ in range(MAX_TRIES)]
    for guess in guesses:
        guess.start()
    for guess in guesses:
        guess.join()

    assert rows(on.env["SYSTEM_TABLE"], "OTP#")[0]["tries"] == MAX_TRIES
    assert not kept.use(name, code)


def test_who_dies_after_a_right_guess_has_used_the_code_or_spent_a_try_and_nothing_else(
    on: AwsHarness, kept: Codes, name: str
) -> None:
    for number, (tries, used) in {1: (1, False), 2: (1, True)}.items():
        code = sent(kept, name, str(number))
        with suppress(Killed), crash_after(number):
            kept.use(name, code)
        (row,) = rows(on.env["SYSTEM_TABLE"], "OTP#")
        assert (row["tries"], "used_at" in row) == (tries, used)


def test_a_repeated_attempt_draws_another_code_and_gives_no_more_tries(kept: Codes, name: str) -> None:
    first = sent(kept, name)
    for _ in range(MAX_TRIES - 1):
        assert not kept.use(name, WRONG)
    second = kept.arm(name, "1").code

    assert first != second
    assert kept.use(name, second)


def test_names_differ_in_each_part_and_by_pepper(on: AwsHarness, kept: Codes, clock: FakeClock) -> None:
    peppered = Codes(aws.dynamodb(), on.env["SYSTEM_TABLE"], lambda: b"other", clock)
    names = [
        kept.name("", "login", PHONE),
        kept.name("cara", "login", PHONE),
        kept.name("", "payout", PHONE),
        kept.name("", "login", PHONE[:-1]),
        peppered.name("", "login", PHONE),
    ]
    assert len(set(names)) == len(names)


def test_codes_are_six_digits_leading_zeros_included(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(codes.secrets, "randbelow", lambda below: asked.append(below) or 7)

    assert codes.draw() == "000007"
    assert asked == [1_000_000]


def test_the_item_goes_when_its_time_is_over(on: AwsHarness, kept: Codes, name: str, clock: FakeClock) -> None:
    kept.open(name, "1", PHONE)
    (row,) = rows(on.env["SYSTEM_TABLE"], "OTP#")

    assert row["expires_at"] * 1000 > clock.now + LIFE_MS
    assert row["expires_at"] * 1000 <= clock.now + LIFE_MS + 1000
