"""Rules that every template and style keeps: what the security policy forbids, and colours that can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adbot_queue.console import assets, keys, render, trouble
from adbot_queue.jobs import job_types

TEMPLATES = sorted(render.PAGES.rglob("*.html"))
STYLES = [assets.FOLDER / part for part in assets.PARTS["console.css"]]
TOKENS = (assets.FOLDER / "tokens.css").read_text()
TARGETS = {"live", "answer", "drawer", "nav", "bar-state", "dialogs"}
"""Ids of elements of the frame that answers may go into."""


FORBIDDEN = (
    r"\sstyle=",
    r"\son\w+=",
    r"<style",
    r"hx-on",
    r"javascript:",
    r"\bjs:",
    r"every \d",
    r"<script>",
    r"hx-delete",  # it puts fields into the address
    r"hx-vals=\"",
)


def names(files: list[Path]) -> list[str]:
    return [file.name for file in files]


@pytest.mark.parametrize("file", TEMPLATES, ids=names(TEMPLATES))
def test_a_template_has_nothing_that_the_policy_forbids(file: Path) -> None:
    text = file.read_text()
    for forbidden in (
        r"\sstyle=",
        r"\son\w+=",
        r"<style",
        r"hx-on",
        r"javascript:",
        r"\bjs:",
        r"every \d",
        r"<script>",
        r"hx-delete",
        r"hx-vals=\"",
        "https?://",
    ):
        found = re.findall(forbidden, text)
        assert [one for one in found if one != "http://"] == [] or file.name in ("docs.html", "home.html"), forbidden
    assert not re.search(r"\|\s*safe", text) or file.name == "tick.html"


@pytest.mark.parametrize("file", TEMPLATES, ids=names(TEMPLATES))
def test_an_answer_goes_into_an_element_of_the_frame(file: Path) -> None:
    text = file.read_text()
    own = set(re.findall(r' id="([a-z-]+)"', text.partition("{% block content %}")[2]))  # not refreshed
    for target in re.findall(r"""hx-target="#([^"]+)"|target:#([a-z-]+)""", text):
        name = target[0] or target[1]
        assert name in TARGETS | own or "{{" in name or name.endswith("-problem"), name


@pytest.mark.parametrize("file", STYLES, ids=names(STYLES))
def test_colours_are_named_in_one_place(file: Path) -> None:
    text = re.sub(r"url\([^)]*\)", "", file.read_text())
    if file.name != "tokens.css":
        literal = re.findall(r"#[0-9a-f]{3,8}\b|\brgba?\(|\bhsl", text)
        assert [one for one in literal if one != "#fff"] == []  # white on the one solid red
    assert set(re.findall(r"[\w-]+:[\w-]+!important", text)) <= {"display:none!important", "display:block!important"}


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def token(name: str, theme: int) -> str:
    found = re.search(rf"--{name}:light-dark\((#\w+),(#\w+)\)", TOKENS)
    assert found, name
    return found[theme + 1]


GROUNDS = ("side", "canvas", "panel", "raised", "hover")
TEXTS = [
    (ink, ground)
    for ink in ("ink", "ink-2", "ink-3", "accent-ink", "red-ink", "amber-ink", "green-ink")
    for ground in GROUNDS
]
TEXTS += [(f"{kind}-ink", f"{kind}-tint") for kind in ("accent", "red", "amber", "green")]
TEXTS += [("ink", f"{kind}-tint") for kind in ("accent", "red", "amber")]
TEXTS += [("ink-2", "red-tint"), ("on-accent", "accent"), ("on-accent", "accent-hover"), ("env-prod-ink", "env-prod")]
TEXTS += [("env-stag-ink", "env-stag"), ("chart-1", "panel")]
GRAPHICS = [("control", "panel"), ("control", "canvas"), ("focus", "canvas"), ("focus", "panel"), ("chart-2", "panel")]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_text_has_a_contrast_of_4_5_and_every_mark_of_3(theme: int) -> None:
    low = [(ink, ground) for ink, ground in TEXTS if contrast(token(ink, theme), token(ground, theme)) < 4.5]
    low += [(ink, ground) for ink, ground in GRAPHICS if contrast(token(ink, theme), token(ground, theme)) < 3]
    assert low == []


def test_every_icon_that_a_template_names_is_in_the_sprite() -> None:
    sprite = set(re.findall(r'<symbol id="([^"]+)"', (assets.FOLDER / "icons.svg").read_text()))
    named = {name for file in TEMPLATES for name in re.findall(r"ui\.icon\('([a-z0-9-]+)'", file.read_text())}
    named |= {name for file in TEMPLATES for name in re.findall(r"ui\.chip\('\w+', '([a-z0-9-]+)'", file.read_text())}
    assert named - sprite == set()


def test_52_the_sheet_lists_the_keys_that_the_script_binds() -> None:
    script = (assets.FOLDER / "keys.js").read_text()
    acting = {name for name, (_, page) in keys.KEYS.items() if not page}
    bound = set(re.findall(r"\"?([^\s\",{]+?)\"?: \(\) =>", script))
    assert acting <= bound


def test_the_providers_that_stop_a_queue_are_those_that_its_jobs_need() -> None:
    needed: dict[str, set[str]] = {}
    for name in job_types.names():
        known = job_types.find(name)
        needed.setdefault(known.queue, set()).update(known.needs)
    for queue, providers in trouble.PROVIDERS.items():
        assert set(providers) <= needed[queue], queue
    external = {"stripe", "sendgrid", "twilio", "segment", "solana", "bedrock"}
    for queue, providers in needed.items():
        assert providers & external == set(trouble.PROVIDERS.get(queue, ())), queue
