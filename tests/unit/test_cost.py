"""Write units of what is done most: they may fall, and must not rise unseen. `make cost` prints all of it."""

from __future__ import annotations

import pytest

from bench.cost import PLAYED, installation, renewals

LIMITS = {
    "orders, served at once": 36,
    "subscriptions, served at once": 75,
    "renewals": 42,
    "mails, one by one, by a person": 26,
    "mails, a hundred a request": 14.8,
}
"""Of each, by AWS's rules (`bench.units`)."""


@pytest.fixture(scope="module")
def spent() -> dict[str, float]:
    with installation() as account:
        account.world.upload(*(f"s-{one}" for one in range(50)))
        found = {}
        for title, (play, number) in PLAYED.items():
            many = min(number, 2) if number < 100 else 100
            if play is not renewals:
                play(account, 1)
            account.work_off()
            found[title] = account.spent(lambda: play(account, many), many)[0]["DynamoDB write units"]  # noqa: B023
        return found


@pytest.mark.parametrize("title", PLAYED)
def test_write_units_do_not_rise(spent: dict[str, float], title: str) -> None:
    assert 1 < spent[title] <= LIMITS[title]
