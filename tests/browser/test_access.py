"""Who may do what in a browser: roles, the kill switch, foreign forms, signing out."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import requests
from playwright.sync_api import Page, expect

from local import stack as stacks
from local.stack import Stack
from tests.browser.conftest import Watch, sign_in

Open = Callable[..., Page]
SERIES = ("enqueued", "completed", "failed")
PAGES = ("/console", "/console/queues", "/console/queues/http", "/console/health")


def test_14_an_alarm_leads_to_its_cause_on_the_first_screen(open_as: Open, stack: Stack) -> None:
    item = {
        "pk": {"S": "CIRCUIT#segment"},
        "sk": {"S": "C"},
        "state": {"S": "open"},
        "opened_at": {"N": "1"},
        "open_until": {"N": "99999999999999"},
        "openings": {"N": "1"},
    }
    table = stack["outputs"]["SystemTable"]
    dynamodb = stacks.client(stack, "dynamodb")
    dynamodb.put_item(TableName=table, Item=item)
    try:
        page = open_as("viewer", "/console")
        alarm = page.locator(".alarm", has_text="segment")
        expect(alarm).to_be_visible(timeout=12_000)
        alarm.get_by_role("link").click()
        cause = page.locator("#circuit-segment")
        expect(cause).to_contain_text("Open")
        expect(cause).to_be_in_viewport()
    finally:
        dynamodb.delete_item(TableName=table, Key={name: item[name] for name in ("pk", "sk")})


def test_15_a_chart_says_its_unit_and_its_values_by_mouse_keys_and_table(open_as: Open) -> None:
    page = open_as("viewer", "/console")
    chart = page.locator("#hour")
    expect(page.locator("section", has=chart)).to_contain_text("jobs a minute, last 60 min, UTC")
    chart.focus()
    page.keyboard.press("ArrowLeft")
    reading = page.locator("#hour-read")
    expect(reading).to_have_text(re.compile(r"^\d\d:\d\d UTC: \d+ enqueued, \d+ completed, \d+ failed$"))
    latest = reading.inner_text()
    page.keyboard.press("ArrowLeft")
    expect(reading).not_to_have_text(latest)
    page.locator("#hour .plot").first.hover()
    expect(reading).not_to_have_text(latest)
    hovered = reading.inner_text()
    page.get_by_role("link", name="Show data").click()
    minute, numbers = hovered[:5], [re.findall(rf"(\d+) {name}", hovered)[0] for name in SERIES]
    row = page.locator(f"#minute-{minute.replace(':', '')} td")
    assert row.all_inner_texts() == [minute, *numbers]
    expect(page.locator("#hour-table tbody tr")).to_have_count(60)


def test_23_the_kill_switch_takes_a_word_a_reason_and_the_version_that_was_seen(
    open_as: Open, watch: Watch, stack: Stack
) -> None:
    watch.expected += ["409", "favicon", "404"]
    first, second = open_as("owner", "/console/health"), open_as(None, "/console/signed-out")
    sign_in(second, stack, "owner", "/console")  # a session of its own
    viewer = open_as("viewer", "/console/queues")
    looks: list[str] = []
    first.on("request", lambda request: looks.append(request.url) if "x-acted" in request.headers else None)
    try:
        for page in (first, second):
            page.get_by_role("button", name="Switch to direct").click()
        dialog = first.locator("#kill-switch")
        expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
        act = dialog.get_by_role("button", name="Switch local to direct")
        expect(act).to_have_attribute("aria-disabled", "true")
        dialog.get_by_label("Reason").fill("database is slow")
        dialog.get_by_label("to confirm").fill("sync")
        expect(act).to_have_attribute("aria-disabled", "true")
        dialog.get_by_label("to confirm").fill("sync_direct")
        act.click()
        expect(first.locator("#answer")).to_contain_text("Switched to sync_direct.")
        expect(first.locator("#mode")).to_contain_text("database is slow")
        expect(viewer.locator("#bar-state")).to_contain_text("sync_direct since", timeout=11_000)  # every open page
        for _ in range(100):
            if len(looks) == 2:  # at once, and when what follows the rows has followed
                break
            first.wait_for_timeout(100)
        assert len(looks) == 2
        stale = second.locator("#kill-switch")
        stale.get_by_label("Reason").fill("I was late")
        stale.get_by_label("to confirm").fill("sync_direct")
        stale.get_by_role("button", name="Switch local to direct").click()
        expect(second.locator("#kill-switch-problem")).to_contain_text("database is slow")
        expect(stale).to_be_visible()  # and its text is kept
        expect(stale.get_by_label("Reason")).to_have_value("I was late")
        stale.get_by_role("button", name="Cancel").click()
    finally:
        first.goto("/console/health")
        back = first.get_by_role("button", name="Switch to queued")
        if back.count():
            back.click()
            dialog = first.locator("#kill-switch")
            dialog.get_by_label("Reason").fill("database is well")
            dialog.get_by_label("to confirm").fill("async_queue")
            dialog.get_by_role("button", name="Switch local to queued").click()
            expect(first.locator("#mode")).to_contain_text("New jobs go through the queues")


@pytest.mark.parametrize("role", ["viewer", "admin"])
def test_24_a_page_has_no_action_that_its_reader_may_not_take(open_as: Open, role: str) -> None:
    page = open_as(role, "/console")
    for path in PAGES:
        page.goto(path)
        posts = page.locator("form[method=post]").evaluate_all(
            "(forms) => forms.map((one) => one.getAttribute('action'))"
        )
        allowed = {"/console/sign-out", "/console/theme"}
        if role == "admin":
            allowed |= {f"/console/queues/http/{act}" for act in ("pause", "resume")}
        assert set(posts) <= allowed, path
        expect(page.get_by_role("button", name=re.compile("^Switch"))).to_have_count(0)


def test_24_the_same_form_sent_by_a_viewer_is_refused(open_as: Open, origin: str) -> None:
    page = open_as("viewer", "/console/health")
    for path in ("/console/health/mode", "/console/queues/http/pause"):
        cookies = {one["name"]: one["value"] for one in page.context.cookies()}
        token = page.locator("[name=csrf]").first.get_attribute("value")
        answer = requests.post(
            origin + path,
            data={"key": "k" * 16, "reason": "x", "csrf": token},
            headers={"sec-fetch-site": "same-origin", "cookie": "; ".join(f"{k}={v}" for k, v in cookies.items())},
            timeout=30,
        )
        assert answer.status_code == 403


def test_25_a_form_on_another_page_is_refused_by_what_the_browser_says_of_it(
    open_as: Open, watch: Watch, origin: str
) -> None:
    watch.expected += ["40[13]"]
    page = open_as("owner", "/console/queues/http")
    token = page.locator("[name=csrf]").first.get_attribute("value")
    fields = {"csrf": token, "key": "k" * 16, "reason": "evil"}
    inputs = "".join(f'<input name="{name}" value="{value}">' for name, value in fields.items())
    form = f'<form method="post" action="{origin}/console/queues/http/pause">{inputs}<button>win</button></form>'
    evil = origin.replace("localhost", "127.0.0.1") + "/evil"  # another site to the browser
    page.route(evil, lambda route: route.fulfill(content_type="text/html", body=form))
    page.goto(evil)
    with page.expect_response("**/pause") as answered:
        page.get_by_role("button", name="win").click()
    assert answered.value.status in (401, 403)
    page.wait_for_load_state()
    page.goto(f"{origin}/console/queues/http")
    expect(page.locator("#live")).not_to_contain_text("evil")


def test_57_signing_out_ends_the_session_in_every_tab(open_as: Open, watch: Watch, stack: Stack, origin: str) -> None:
    watch.expected += ["favicon", "404", "401"]
    page = open_as(None, "/console/signed-out")
    sign_in(page, stack, "viewer", "/console/queues")
    (kept,) = [one for one in page.context.cookies() if one["name"].startswith("__Host-s-")]
    assert (kept["httpOnly"], kept["secure"], kept["sameSite"], kept["path"]) == (True, True, "Lax", "/")
    other = page.context.new_page()
    other.goto("/console/health")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/console/signed-out")
    assert [one for one in page.context.cookies() if one["name"].startswith("__Host-s-")] == []
    other.evaluate("window.console_.refresh()")
    other.wait_for_selector("#username")
    answer = requests.get(
        f"{origin}/console", headers={"cookie": f"{kept['name']}={kept['value']}"}, allow_redirects=False, timeout=30
    )
    assert answer.status_code == 303  # the cookie is worth nothing any more
