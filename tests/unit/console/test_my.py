"""A customer's page: bots in words, start and stop, plans, and signing up."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError

from adbot_queue.console import app, formats, sign_up
from adbot_queue.console.sign_up import SignUp
from adbot_queue.core.clock import system_clock
from adbot_queue.ledger import Actor
from adbot_queue.payments import checkout, plans
from tests.builders.console_world import ORIGIN, ConsoleWorld, Shown

PLAN = {
    "name": "Team 20",
    "pool": "standard",
    "required_sessions": 2,
    "amount": 17900,
    "currency": "eur",
    "mode": "payment",
    "interval": None,
    "active": True,
}


@pytest.fixture(scope="module")
def shop(console: ConsoleWorld) -> ConsoleWorld:
    """A plan for sale, a pool with one free session, two customers."""
    console.world.pool()
    console.world.upload("s-1")
    plans.from_env().put("team", PLAN, Actor("ops", "admin", "r"))
    console.person("cara", "customer")
    console.person("carl", "customer")
    return console


def section(page: Shown, adbot_id: str) -> str:
    return page.text.partition(f'id="bot-{adbot_id}"')[2].partition("</section>")[0]


def test_a_customer_sees_bots_of_ones_own_in_words(shop: ConsoleWorld) -> None:
    shop.world.upload("line-1", pool=shop.world.pool("line"))
    ready = shop.world.create(1, user="sub-cara", pool="line")
    first = shop.world.create(3, user="sub-carl", pool="line")
    second = shop.world.create(2, user="sub-cara", pool="line")

    page = shop.get("/my", "cara")

    assert page.status == 200
    assert "Ready" in section(page, ready.id)
    assert ">Start</button>" in section(page, ready.id)
    waiting = section(page, second.id)
    assert "At most 1 bot ahead" in waiting
    assert "needs 2 sessions and has 0" in waiting
    assert 'aria-disabled="true"' in waiting
    assert "Can be started when all 2 sessions are there; 2 are missing." in waiting
    assert first.id not in page.text
    assert "Next in line" in section(shop.get("/my", "carl"), first.id)


def test_a_bot_is_started_and_stopped_by_its_owner_alone(shop: ConsoleWorld) -> None:
    shop.world.upload("own-1", pool=shop.world.pool("own"))
    mine = shop.world.create(1, user="sub-cara", pool="own")
    page = shop.get("/my", "cara")
    key = page.text.partition(f'action="/my/bots/{mine.id}/start"')[2].partition('name="key" value="')[2][:32]

    other = shop.post(f"/my/bots/{mine.id}/start", role="carl")
    started = shop.post(f"/my/bots/{mine.id}/start", {"key": key}, "cara")
    again = shop.post(f"/my/bots/{mine.id}/start", {"key": key}, "cara")
    stopped = shop.post(f"/my/bots/{mine.id}/stop", role="cara")

    assert (other.status, started.status, again.status, stopped.status) == (404, 200, 200, 200)
    assert "Started." in started.words
    assert again.words == started.words
    assert shop.world.bot(mine.id).status == "STOPPED"


def test_a_bot_that_waits_is_not_started_and_says_what_is_missing(shop: ConsoleWorld) -> None:
    waiting = shop.world.create(50, user="sub-cara")

    answer = shop.post(f"/my/bots/{waiting.id}/start", role="cara")

    assert answer.status == 403
    assert "sessions are missing" in answer.words


def test_a_refresh_brings_the_live_part_alone(shop: ConsoleWorld) -> None:
    now = system_clock()
    with patch.object(app, "system_clock", lambda: now):  # ages of bots are written in seconds
        tick = shop.tick("/my", "cara")
        again = shop.tick("/my", "cara", if_none_match=tick.headers["etag"])

    assert tick.status == 200
    assert tick.text.startswith('<div id="live"')
    assert 'id="nav"' not in tick.text
    assert again.status == 304


def test_plans_are_offered_to_customers_alone(shop: ConsoleWorld) -> None:
    mine, staff = shop.get("/my", "cara"), shop.get("/my", "viewer")

    assert "Team 20" in mine.words
    assert "\N{EURO SIGN}179.00" in mine.words
    assert 'action="/my/buy"' not in staff.text
    assert shop.post("/my/buy", {"plan": "team"}, "viewer").status == 403


def test_buying_leads_to_the_payment_page_and_back_to_this_one(shop: ConsoleWorld) -> None:
    asked: list[tuple[dict[str, Any], str]] = []

    def create(params: dict[str, Any], key: str) -> tuple[str, str, int, bool]:
        asked.append((params, key))
        return "cs_1", "https://pay.example/cs_1", 1, False

    page = shop.get("/my", "cara")
    key = page.key("buy-team")
    with patch.object(checkout.stripe_checkout, "create_checkout", create):
        first = shop.post("/my/buy", {"plan": "team", "key": key}, "cara", script=False)
        again = shop.post("/my/buy", {"plan": "team", "key": key}, "cara", script=False)
        unknown = shop.post("/my/buy", {"plan": "none"}, "cara", script=False)

    assert (first.status, again.status, unknown.status) == (200, 200, 404)
    assert 'href="https://pay.example/cs_1"' in first.text
    assert first.headers["refresh"] == "0; url=https://pay.example/cs_1"
    (params, one), (_, two) = asked
    assert one == two  # Stripe makes one Checkout session of both
    assert params["success_url"] == f"{ORIGIN}/my?paid=yes"
    assert params["metadata"]["user_id"] == "sub-cara"


def test_the_page_after_paying_says_what_it_waits_for(shop: ConsoleWorld) -> None:
    shop.person("nora", "customer")

    assert "Your payment is being confirmed" in shop.get("/my?paid=yes", "nora").words
    assert "nothing was bought" in shop.get("/my?paid=no", "nora").words
    shop.world.create(1, user="sub-nora")
    assert "being confirmed" not in shop.get("/my?paid=yes", "nora").words


class Pool:
    """A user pool as far as signing up goes; `refuses` is the code of its next answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.refuses: str | None = None

    def __getattr__(self, name: str) -> Any:
        def call(**params: Any) -> dict[str, Any]:
            self.asked.append((name, params))
            if self.refuses:
                raise ClientError({"Error": {"Code": self.refuses, "Message": "no"}}, name)
            return {}

        return call


@pytest.fixture
def pool() -> Any:
    made = Pool()
    with patch.object(sign_up, "from_env", lambda: SignUp(made, "client", "secret")):  # type: ignore[arg-type]
        yield made


GOOD = {"email": " Cara@Shop.Example ", "password": "Correct-horse-9"}


def test_a_stranger_signs_up_with_an_address_and_the_code_of_the_mail(console: ConsoleWorld, pool: Pool) -> None:
    form = console.get("/my/sign-up", role=None)
    code = console.post("/my/sign-up", GOOD, None, script=False)
    done = console.post("/my/sign-up/code", {"email": "cara@shop.example", "code": "123456"}, None, script=False)
    console.post("/my/sign-up/resend", {"email": "cara@shop.example"}, None, script=False)

    assert 'action="/my/sign-up"' in form.text
    assert "A code is on its way to cara@shop.example" in code.words
    assert (done.status, done.headers["refresh"]) == (200, "0; url=/my")
    assert [name for name, _ in pool.asked] == ["sign_up", "confirm_sign_up", "resend_confirmation_code"]
    assert pool.asked[0][1]["Username"] == "cara@shop.example"
    # HMAC-SHA256 of name and client id under the client's secret, in base64.
    assert {params["SecretHash"] for _, params in pool.asked} == {"glzYXndU+JidQ1Uonnk7LslZa6iZqAR9Ikqn2fp42d8="}


@pytest.mark.parametrize(
    "email",
    ["", "cara", "cara@shop", "a b@shop.example", "cara@@shop.example", "c@" + "x" * 255, f"c@{'x' * 119}.example"],
)
@pytest.mark.parametrize("password", ["short-1A", "x" * 257])
def test_bad_fields_are_named_with_their_limit_and_the_pool_is_not_asked(
    console: ConsoleWorld, pool: Pool, email: str, password: str
) -> None:
    answer = console.post("/my/sign-up", {"email": email, "password": GOOD["password"]}, None, script=False)
    other = console.post("/my/sign-up", {"email": "c@shop.example", "password": password}, None, script=False)

    assert (answer.status, other.status) == (422, 422)
    assert "Email must be one email address of at most 128 characters." in answer.words
    assert "Password must have 12 to 256 characters." in other.words
    assert 'value="c@shop.example"' in other.text
    assert password not in other.text
    for step in ("code", "resend"):
        later = console.post(f"/my/sign-up/{step}", {"email": email, "code": "123456"}, None, script=False)
        assert later.status == 422
        assert "Email must be one email address of at most 128 characters." in later.words
    assert pool.asked == []


@pytest.mark.parametrize("code", [*sign_up.REFUSALS, "InternalErrorException"])
def test_every_refusal_of_the_pool_is_said_in_words(console: ConsoleWorld, pool: Pool, code: str) -> None:
    pool.refuses = code

    answers = [
        console.post("/my/sign-up", GOOD, None, script=False),
        console.post("/my/sign-up/code", {"email": "c@shop.example", "code": "123456"}, None, script=False),
    ]

    for answer in answers:
        assert answer.status in (403, 422, 429, 503)
        assert code not in answer.text


def test_a_form_of_another_site_creates_no_user(console: ConsoleWorld, pool: Pool) -> None:
    for site in ("cross-site", "same-site", "none", None):
        assert console.post("/my/sign-up", GOOD, None, script=False, sec_fetch_site=site).status == 403
    assert pool.asked == []


@pytest.mark.parametrize(
    ("amount", "currency", "said"),
    [
        (4900, "eur", "\N{EURO SIGN}49.00"),
        (1, "usd", "$0.01"),
        (123456, "jpy", "123,456 JPY"),
        (1500, "kwd", "1.500 KWD"),
        (99, "chf", "0.99 CHF"),
    ],
)
def test_money_is_written_with_the_digits_of_its_currency(amount: int, currency: str, said: str) -> None:
    assert formats.money(amount, currency) == said
