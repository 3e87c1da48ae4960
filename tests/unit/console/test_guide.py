"""The help of a page: its section of the reference."""

from __future__ import annotations

import re

import pytest

from adbot_queue.console import guide
from local.guide import guide as made
from tests.builders.console_world import ConsoleWorld

TEXT = """# The console

Not a page.

## Queues

`/console/queues` and `/console/queues/{name}`. Why does a queue
not move? Each **queue** in [words](words.md).

More of it, with `code`.

- Admins pause, and
  resume.
- Owners clean.

![A picture](../img/a.webp)

## Jobs

`/console/jobs/{id}`, or a drawer. What happened?
"""


def test_a_section_becomes_its_addresses_its_text_and_what_people_may_do() -> None:
    assert made(TEXT) == [
        {
            "title": "Queues",
            "paths": ["/console/queues", "/console/queues/{name}"],
            "text": ["Why does a queue not move? Each queue in words.", "More of it, with code."],
            "acts": ["Admins pause, and resume.", "Owners clean."],
        },
        {"title": "Jobs", "paths": ["/console/jobs/{id}"], "text": ["What happened?"], "acts": []},
    ]


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/console", "Overview"),
        ("/console/queues/email", "Queues"),
        ("/console/jobs/01a2", "Jobs"),
        ("/console/jobs/01a2/edit", "Jobs"),
        ("/console/dead-letters", "Dead letters"),
        ("/console/bots/bot_1/sessions", "Bots"),
        ("/console/stock/uploads/up_1", "Stock"),
        ("/console/leads/queue", "Leads"),
        ("/console/schedule-form", "Schedules"),
        ("/my", "My bots"),
        ("/console/nothing", None),
    ],
)
def test_a_page_has_the_section_that_names_it_or_the_page_that_it_is_a_part_of(path: str, title: str | None) -> None:
    found = guide.section_of(path)
    assert (found.title if found else None) == title


def test_every_section_is_plain_text_with_something_to_say() -> None:
    for section in guide.sections():
        assert section.paths, section.title
        assert section.text, section.title
        assert not [one for one in (*section.text, *section.acts) if re.search(r"`|\*\*|\]\(|!\[|\n", one)]


def test_the_help_of_a_page_shows_the_shortcuts_and_its_section(console: ConsoleWorld) -> None:
    page = console.get("/console/dead-letters")
    sheet = page.text.partition('<dialog id="help"')[2].partition("</dialog>")[0]
    assert "<kbd>g</kbd>" in sheet
    assert "This page: Dead letters" in sheet
    assert "Which work died or was refused" in sheet
    assert "<li>Admins replay one" in sheet
    assert "This page" not in console.tick("/console/dead-letters").text
