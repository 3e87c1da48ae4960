"""Pages that need no sign-in: front page, API reference, unknown addresses."""

from __future__ import annotations

import json
import re

import pytest

from local.reference import reference
from tests.builders.console_world import ConsoleWorld
from tests.builders.world import ROOT

DOCUMENT = json.loads((ROOT / "functions" / "system" / "openapi.json").read_text())
CALLS = [(method.upper(), path, call) for path, calls in DOCUMENT["paths"].items() for method, call in calls.items()]
CHAPTERS = reference(DOCUMENT)["chapters"]


def test_the_front_page_leads_everywhere_without_sign_in(console: ConsoleWorld) -> None:
    page = console.get("/", role=None)

    assert page.status == 200
    for path in ("/my", "/console", "/docs", "/openapi.json", "/health"):
        assert f'href="{path}"' in page.text


def test_the_reference_lists_every_call_of_the_api(console: ConsoleWorld) -> None:
    page = console.get("/docs", role=None)

    links = re.findall(r'href="/docs/([a-z-]+)#(\w+)"', page.text)
    assert {call for _, call in links} == {call["operationId"] for _, _, call in CALLS}
    assert len(links) == len(CALLS)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=[chapter["slug"] for chapter in CHAPTERS])
def test_a_chapter_shows_each_call_with_its_fields_limits_and_errors(console: ConsoleWorld, chapter: dict) -> None:  # type: ignore[type-arg]
    page = console.get(f"/docs/{chapter['slug']}", role=None)

    assert page.status == 200
    for call in chapter["operations"]:
        section = page.text.partition(f'id="{call["id"]}"')[2].partition("</section>")[0]
        assert f"<code>{call['path']}</code>" in section
        for one in call["parameters"]:
            assert f"<code>{one['name']}</code>" in section
        for name, *_ in (field for body in call["bodies"] for field in body["fields"]):
            assert f"<code>{name}</code>" in section
        for problem in call["problems"]:
            assert all(name in section for name in problem["names"])


def test_the_payload_of_each_job_type_is_in_the_reference(console: ConsoleWorld) -> None:
    page = console.get("/docs/jobs", role=None)

    for name in DOCUMENT["components"]["schemas"]["EnqueueJob"]["discriminator"]["mapping"]:
        assert f"payload of <code>{name}</code>" in page.text
    assert "<code>payload.to</code>" in page.text


def test_limits_are_said_in_words() -> None:
    fields = {
        name: said
        for chapter in CHAPTERS
        for call in chapter["operations"]
        if call["id"] == "createAdbot"
        for body in call["bodies"]
        for name, said, *_ in body["fields"]
    }

    assert fields["required_sessions"] == "integer, 1 to 500"
    assert fields["reason"] == "text, at most 500 characters"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
@pytest.mark.parametrize("path", ["/nothing", "/docs/nothing", "/console/nothing", "/adbots-of-old"])
def test_an_unknown_address_is_a_page_for_browsers_and_a_problem_for_programs(
    console: ConsoleWorld, path: str, method: str
) -> None:
    page = console.ask(method, path, None, headers={"accept": "text/html,*/*"})
    program = console.ask(method, path, None, headers={"accept": "*/*"})

    assert (page.status, program.status) == (404, 404)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert program.headers["content-type"] == "application/problem+json"
    if method == "HEAD":
        assert (page.bytes, program.bytes) == (b"", b"")
    else:
        assert "There is no such page" in page.words
        assert json.loads(program.bytes)["type"] == "urn:adbot-queue:problem:not-found"
