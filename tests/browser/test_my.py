"""A stranger becomes a customer: signs up, pays, waits, is served and starts the bot."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from playwright.sync_api import Browser, Page, expect

from local.stack import Stack
from tests.browser.conftest import Watch
from tests.e2e.conftest import Api

SOON = 20_000
"""Longest wait for what a payment or an upload brings about, in ms: settled, allocated, and shown by a tick."""


def test_59_a_stranger_signs_up_pays_waits_and_starts_the_bot(
    chromium: Browser, origin: str, stack: Stack, watch: Watch
) -> None:
    api, name = Api(stack), uuid.uuid4().hex[:8]
    pool, plan = f"my-{name}", f"plan-{name}"
    assert api("admin", "PUT", f"/admin/stock/pools/{pool}").ok
    offer = {"name": f"Team {name}", "pool": pool, "required_sessions": 2, "amount": 4900, "currency": "eur"}
    assert api("admin", "PUT", f"/admin/plans/{plan}", json=offer).ok
    context = chromium.new_context(base_url=origin)
    context.set_default_timeout(15_000)
    page = context.new_page()
    watch.attach(page)
    watch.expected.append("^error: Failed to load resource.*404")  # icons of the sign-in and payment pages
    page.goto("/my/sign-up")

    _sign_up(page, f"{name}@shop.example")
    page.fill("#username", f"{name}@shop.example")
    page.fill("#password", "Correct-horse-9")
    page.click("button[type=submit]")
    expect(page.get_by_role("heading", level=1)).to_have_text("My bots")
    expect(page.locator("#live")).to_contain_text("No bots yet")

    page.get_by_role("button", name=f"Buy Team {name}").click()
    page.get_by_role("button", name="Pay").click()  # the stand-in of Stripe's page
    page.wait_for_url("**/my?paid=yes")
    card = page.get_by_role("region", name=f"Team {name}")
    expect(card).to_contain_text("Waiting for sessions", timeout=SOON)  # without a reload
    expect(card).to_contain_text("needs 2 sessions and has 0")
    expect(card.get_by_role("button", name="Start")).to_have_attribute("aria-disabled", "true")

    for number in (1, 2):
        session = {"pool": pool, "session_id": f"{name}-{number}", "secret": {"token": "x"}}
        assert api("admin", "POST", "/admin/stock/sessions", json=session).ok
    expect(card).to_contain_text("Ready", timeout=SOON)
    card.get_by_role("button", name="Start").click()
    expect(page.locator("#answer")).to_contain_text("Started.")
    expect(card).to_contain_text("Running", timeout=SOON)
    card.get_by_role("button", name="Stop").click()
    expect(card).to_contain_text("Stopped", timeout=SOON)
    context.close()


def _sign_up(page: Page, email: str) -> None:
    page.get_by_label("Email address").fill(email)
    page.get_by_label("Password").fill("Correct-horse-9")
    page.get_by_role("button", name="Sign up").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Confirm your address")
    page.get_by_label("Code").fill("123456")  # the embedded AWS's code, always
    page.get_by_role("button", name="Confirm").click()
    page.wait_for_selector("#username")


def test_public_pages_stand_alone(open_as: Callable[..., Page]) -> None:
    page = open_as(None, "/")
    page.get_by_role("link", name="API reference").first.click()
    page.get_by_role("link", name="/admin/adbots Create a bot").click()
    expect(page.locator("#createAdbot")).to_be_in_viewport()
    expect(page.locator("#createAdbot")).to_contain_text("integer, 1 to 500")
