"""Sign in, look, act, sign out."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect


def test_a_queue_is_paused_and_resumed_with_a_reason(open_as: Callable[..., Page]) -> None:
    page = open_as("owner", "/console/queues")
    page.get_by_role("link", name="analytics").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("analytics")
    page.get_by_role("button", name="Pause…").click()
    expect(page.locator("#pause").get_by_role("button", name="Cancel")).to_be_focused()
    page.get_by_label("Reason").first.fill("import runs at noon")
    page.get_by_role("button", name="Pause analytics").click()
    expect(page.locator("#answer")).to_contain_text("Paused analytics.")
    expect(page.locator("#live")).to_contain_text("import runs at noon")  # without a reload
    page.get_by_role("button", name="Resume…").click()
    page.locator("#resume").get_by_label("Reason").fill("import is done")
    page.get_by_role("button", name="Resume analytics").click()
    expect(page.locator("#answer")).to_contain_text("Resumed analytics.")
    expect(page.locator("#live")).to_contain_text("Flowing")
