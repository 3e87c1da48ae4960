"""Moves of leads and entries, and the figures of a day: every path through the tables."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.leads.model import (
    COUNTS,
    ENTRY_MOVES,
    MOVES,
    OPEN,
    Cause,
    Consent,
    ConsentState,
    Entry,
    EntryKey,
    EntryState,
    Lead,
    NotAllowed,
    Reach,
    Status,
    counted,
)

NOW = 1_763_769_600_000
GRANTED = Consent(ConsentState.GRANTED, "form", proof="p")
KEY = EntryKey("sam", "2026-03-02", 0, "l1")


def lead(**changes: object) -> Lead:
    return Lead(
        **(
            {
                "id": "l1",
                "owner_id": "sam",
                "client_id": "acme",
                "name": "Ann",
                "phone": "+4915112345678",
                "created_at": NOW,
                "updated_at": NOW,
                "consent": GRANTED,
            }
            | changes
        )
    )  # type: ignore[arg-type]


def test_the_table_of_moves_is_that_of_the_specification() -> None:
    moves = {(before, after) for cause in MOVES.values() for before, after in cause.items() if before is not after}
    new, contacted, engaged, qualified, booked, lost, opted_out = Status
    assert moves == {
        (new, contacted),
        (new, engaged),
        (contacted, engaged),
        (engaged, qualified),
        (qualified, booked),
        *((status, lost) for status in Status if status not in {lost, opted_out}),
        *((status, opted_out) for status in Status if status is not opted_out),
        (lost, engaged),
        (opted_out, contacted),
    }
    assert [cause for cause, table in MOVES.items() if table.get(opted_out, opted_out) is not opted_out] == [
        Cause.OPTED_IN
    ]


@pytest.mark.parametrize(("status", "cause"), list(product(Status, Cause)))
def test_a_lead_moves_as_the_table_says_or_is_refused(status: Status, cause: Cause) -> None:
    before = lead(status=status)
    if status in MOVES[cause]:
        after = before.after(cause, NOW + 1, touches=1)
        assert (after.status, after.version, after.updated_at, after.touches) == (MOVES[cause][status], 2, NOW + 1, 1)
    else:
        with pytest.raises(NotAllowed) as refused:
            before.after(cause, NOW)
        assert refused.value.detail == f"this lead is {status}; it cannot become {cause}"


@pytest.mark.parametrize(("before", "after"), list(product(EntryState, EntryState)))
def test_an_entry_moves_as_the_table_says_or_is_refused(before: EntryState, after: EntryState) -> None:
    entry = Entry(KEY, before, "HX", {}, NOW)
    if after in ENTRY_MOVES[before]:
        assert entry.moved(after, NOW + 1, code=63024).changed_at == NOW + 1
    else:
        with pytest.raises(NotAllowed):
            entry.moved(after, NOW)


def test_what_twilio_may_have_is_never_cancelled_nor_queued_again() -> None:
    back = {EntryState.QUEUED, EntryState.HANDED, EntryState.CANCELLED, EntryState.CARRIED_OVER}
    returns = {(state, after) for state in set(EntryState) - back for after in ENTRY_MOVES[state] & back}
    assert returns == {(EntryState.SENDING, EntryState.HANDED)}  # Twilio refused it, or was not reached
    assert not any(EntryState.SENDING in ENTRY_MOVES[state] for state in set(EntryState) - {EntryState.HANDED})


paths = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=8), min_size=1, max_size=12)


@given(paths)
def test_the_figures_of_a_day_agree_with_its_entries_after_any_moves(choices: list[list[int]]) -> None:
    figures: Counter[str] = Counter()
    ends: Counter[EntryState] = Counter()
    reached: Counter[EntryState] = Counter()
    stages = (EntryState.SENT, EntryState.DELIVERED, EntryState.READ)
    for path in choices:
        state, seen = EntryState.QUEUED, set()
        figures.update(counted(None, state))
        for choice in path:
            following = sorted(ENTRY_MOVES[state])
            if not following:
                break
            before, state = state, following[choice % len(following)]
            figures.update(counted(before, state))
            if state in stages:
                seen |= set(stages[: stages.index(state) + 1])
        ends[state] += 1
        reached.update(seen)
    assert figures["prepared"] == len(choices)
    for gauge in (EntryState.QUEUED, EntryState.HANDED, EntryState.SENDING, EntryState.UNSURE):
        assert figures[gauge] == ends[gauge]
    for end in (EntryState.FAILED, EntryState.CANCELLED, EntryState.CARRIED_OVER):
        assert figures[end] == ends[end]
    for stage in stages:
        assert figures[stage] == reached[stage]
    assert figures["load"] == len(choices) - ends[EntryState.CANCELLED] - ends[EntryState.CARRIED_OVER]
    assert set(figures) <= {*COUNTS, "load"}


@pytest.mark.parametrize(
    ("changes", "refusal", "is_eligible"),
    [
        ({}, None, True),
        ({"consent": Consent()}, "consent_unknown", True),
        ({"consent": Consent(ConsentState.DENIED)}, "consent_denied", False),
        ({"status": Status.OPTED_OUT}, "opted_out", False),
        ({"taken_by": "sam"}, "taken", False),
        ({"reach": Reach.NONE}, "no_whatsapp", False),
        ({"status": Status.ENGAGED, "last_in": NOW}, "replied", False),
        ({"status": Status.LOST}, "closed", False),
        ({"status": Status.CONTACTED}, None, False),
        ({"touches": 1}, None, False),
        ({"open_entry": KEY}, None, False),
    ],
)
def test_only_a_new_lead_that_was_never_written_to_is_eligible(
    changes: dict[str, object], refusal: str | None, is_eligible: bool
) -> None:
    found = lead(**changes)
    assert (found.refusal(), found.eligible_place is not None) == (refusal, is_eligible)


def test_eligible_leads_are_ordered_by_consent_priority_and_age() -> None:
    leads = [
        lead(id="a", priority=9, consent=Consent()),
        lead(id="d", priority=1),
        lead(id="c", priority=9),
        lead(id="b", priority=9),
    ]
    assert [one.id for one in sorted(leads, key=lambda one: one.eligible_place or "")] == ["b", "c", "d", "a"]


def test_open_entries_are_those_that_may_still_be_sent() -> None:
    assert {state for state in EntryState if EntryState.SENDING in ENTRY_MOVES[state] or state in OPEN} == OPEN | {
        EntryState.HANDED
    }
