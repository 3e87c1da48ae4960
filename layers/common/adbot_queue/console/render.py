"""Templates to text: a page in its frame, its live region alone, an answer, an error.

Templates are compiled by a build (`console.build`); from the source tree they are compiled when first used. Macros are
made anew for each visit, so that they know it: templates call them as `ui.chip(...)` and import nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from adbot_queue.console import assets, figures, formats, forms, guide, keys, snapshot
from adbot_queue.console.request import Done, Page, Visit
from adbot_queue.core.callers import LEAD_READERS, SALES, STAFF
from adbot_queue.core.errors import AppError
from adbot_queue.core.ids import fingerprint
from adbot_queue.core.settings import variable

if TYPE_CHECKING:
    from jinja2 import Environment, Template

PAGES = Path(__file__).with_name("pages")
COMPILED = Path(__file__).with_name("compiled")
THEMES = ("system", "light", "dark")
DIALOG = re.compile(r"[a-z][a-z0-9-]{0,40}")
"""Id of a dialog that takes the problems of its form."""


def environment(*, compiled: bool = False) -> Environment:
    """Return the template engine; `compiled` takes what a build left."""
    from jinja2 import BaseLoader, Environment, FileSystemLoader, ModuleLoader, StrictUndefined  # noqa: PLC0415

    loader: BaseLoader = ModuleLoader(COMPILED) if compiled else FileSystemLoader(PAGES)
    made = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= formats.FILTERS
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":")}  # a refresh is mostly the numbers of charts
    made.globals["asset"] = assets.address
    return made


@lru_cache(maxsize=1)
def _templates() -> Environment:
    return environment(compiled=COMPILED.is_dir())


def page(shown: Page, visit: Visit) -> str:
    """Return a page, or the part of it that was asked for."""
    template = _templates().get_template(shown.template)
    context = {**_frame(visit), **shown.data, "title": shown.title}
    if visit.drawer_only and "drawer" in template.blocks:
        return _block(template, "drawer", context)
    parts = _parts(template, context) if visit.session_or_none and visit.path.startswith("/console") else {}
    if visit.is_tick:
        have = set(visit.headers.get("x-have", "").split())
        context["changed"] = [part for part in parts.values() if part.digest not in have]
        context["drawer"] = _block(template, "drawer", context) if context.get("opened") else ""
        context["live"] = _block(template, "live", context)
        return _templates().get_template("tick.html").render(context)
    context["parts"] = parts
    return template.render(context)


@dataclass(frozen=True, slots=True)
class Part:
    """An element of the frame, by its id. A refresh leaves it out while the page has it with the same digest."""

    id: str
    html: Markup
    digest: str


def _parts(template: Template, context: dict[str, Any]) -> dict[str, Part]:
    nav = _templates().get_template("nav.html").render(context)
    state = _templates().get_template("state.html").render(context)
    dialogs = _block(template, "dialogs", context)
    keys = " ".join(re.findall(r'name="key" value="(\w+)"', dialogs))  # they change with what a dialog acts on
    parts = (("nav", nav, nav), ("bar-state", state, state), ("dialogs", dialogs, keys))
    return {name: Part(name, Markup(html), fingerprint(f"{name} {about}")[:8]) for name, html, about in parts}  # noqa: S704


def _block(template: Template, name: str, context: dict[str, Any]) -> str:
    """Return what a block of a template shows; nothing if it has none."""
    return "".join(template.blocks[name](template.new_context(context))) if name in template.blocks else ""


def answer(done: Done, visit: Visit) -> str:
    """Return the frame's element that says what changed."""
    return _templates().get_template("answer.html").render({**_person(visit), "done": done, "problem": None})


def error(status: int, known: AppError | None, body: str, visit: Visit) -> str:
    """Return an error: for a script the frame's element, else a page.

    Args:
        status: of the answer.
        known: the error, if callers can act upon it.
        body: the problem document.
        visit: who asked.
    """
    problem = json.loads(body)
    context = {**_person(visit), "problem": problem, "status": status, "errors": known.errors if known else ()}
    if visit.is_fragment and DIALOG.fullmatch(visit.form.get("in", "")):
        return _templates().get_template("problem.html").render({**context, "dialog": visit.form["in"]})
    if visit.is_fragment:
        return _templates().get_template("answer.html").render({**context, "done": None})
    return _templates().get_template("error.html").render({**context, "title": problem["title"]})


def _person(visit: Visit) -> dict[str, Any]:
    """What every template knows: who looks, when, where."""
    theme = visit.cookies.get("theme", "system")
    known: dict[str, Any] = {
        "visit": visit,
        "session": visit.session_or_none,
        "now": visit.now,
        "can": _roles(visit),
        "theme": theme if theme in THEMES else "system",
        "place": {"name": variable("ENVIRONMENT_NAME"), "region": variable("AWS_REGION")},
    }
    known["ui"] = _templates().get_template("macros/ui.html").make_module(known)
    return known


def _frame(visit: Visit) -> dict[str, Any]:
    known = _person(visit)
    session = visit.session_or_none
    known["figures"] = visit.snapshot_or_none
    seen = visit.snapshot_or_none.figures if visit.snapshot_or_none else None
    known["waits"] = {"dead": figures.dead(seen), "bots": figures.bots(seen)} if seen else {"dead": 0, "bots": 0}
    age = visit.now - visit.snapshot_or_none.at if visit.snapshot_or_none else 0
    known["old"] = age if age > snapshot.OLD_MS else 0
    known["shortcuts"] = [*((name, text) for name, (text, _) in keys.KEYS.items()), *keys.NATIVE.items()]
    known["bound"] = {name: path for name, (_, path) in keys.KEYS.items()}
    known["guide"] = guide.section_of(visit.path)
    key = visit.query.get("answer", "")
    known["answered"] = forms.from_env().answer(session.key, key) if session and key else None
    return known


def _roles(visit: Visit) -> Mapping[str, bool]:
    groups = visit.session_or_none.groups if visit.session_or_none else frozenset()
    return {
        "own": bool(groups & {"owner"}),
        "act": bool(groups & {"owner", "admin"}),
        "see": bool(groups & STAFF),
        "sell": bool(groups & SALES),
        "read_leads": bool(groups & LEAD_READERS),
    }
