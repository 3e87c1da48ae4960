"""The queue of a day: four buttons, what each does now, and today's run."""

from __future__ import annotations

from collections.abc import Mapping

from adbot_queue.console.request import Done, Page, Raw, Reply, Visit, checked, with_query
from adbot_queue.core.clock import DAY_MS
from adbot_queue.core.errors import AppError, Invalid, NotFound
from adbot_queue.core.instants import day_start
from adbot_queue.leads import automation, calendar, directory, directory_schemas, export, figures, prepare
from adbot_queue.leads.model import COUNTS, Day
from adbot_queue.leads.service import Act
from adbot_queue.leads.settings import LeadSettings

PAGE = "/console/leads/queue"
SETTINGS = "/console/leads/settings"
NEXT = 20
"""Entries that are shown as next to go out."""

DAYS_AHEAD = 7

STAGES = ("read", "delivered", "sent", "sending", "failed", "unsure", "cancelled", "carried_over", "handed", "queued")
"""Parts of the bar of a run, from its left; each entry is in one of them."""

SKIPPED = {
    "consent_unknown": ("Consent unknown", "add the consent to the lead"),
    "us_marketing": ("No marketing to +1 numbers", "WhatsApp does not deliver it"),
    "empty_variable": ("A variable of the template is empty", "fill in the field"),
    "owner_elsewhere": ("In a colleague's queue", "one queue a person and day"),
    "already_today": ("In this queue before", "once a day"),
    "over_capacity": ("Over capacity", "they come first on the next day"),
}
"""Why an eligible lead is left out, and what to do about it."""


def owner_of(visit: Visit) -> str:
    """Return whose leads the page shows: the visitor's, unless staff name another user.

    Raises:
        NotFound: the visitor sees leads of ones own alone.
    """
    named = (visit.form or visit.query).get("owner_id", "")
    if named and visit.caller.sees_only not in {None, named}:
        raise NotFound("these leads are a colleague's")
    return named or visit.session.user


def act_of(visit: Visit) -> Act:
    """Return who acts, once for each form."""
    return Act(visit.actor, visit.caller.sees_only, visit.form.get("key"), visit.path)


def show(visit: Visit) -> Reply:
    """Today's run, tomorrow's queue, and the four buttons."""
    owner_id = owner_of(visit)
    try:
        settings = directory.from_env().settings(owner_id)
    except NotFound:
        return Page("lead_day.html", "My day", {"settings": None, "owner_id": owner_id, "settings_page": SETTINGS})
    today = calendar.local_date(visit.now, settings.zone)
    following = settings.next_day(visit.now)
    days = _days(settings, today)
    day, ahead = days.get(today), days.get(following[0]) if following else None
    shown = {
        "settings": settings,
        "owner_id": owner_id,
        "settings_page": SETTINGS,
        "today": today,
        "day": day,
        "stages": bar(day) if day else [],
        "following": following,
        "ahead": ahead,
        "next": figures.from_env().waiting(day, NEXT) if day else [],
        "preview": _preview(visit, owner_id, following[0]) if following else None,
        "skipped_words": SKIPPED,
        "mine": owner_id == visit.session.user,
    }
    return Page("lead_day.html", "My day", shown)


def _days(settings: LeadSettings, today: str) -> dict[str, Day]:
    """Return the days from today to a week ahead that are prepared: one call."""
    last = calendar.local_date(day_start(today) + DAYS_AHEAD * DAY_MS, "UTC")
    found = figures.from_env().of_user(settings.user_id, today, last)
    return {date: day for _, date, day in found if day}


def _preview(visit: Visit, owner_id: str, date: str) -> prepare.Prepared | AppError:
    """Return what preparing would do now, or why it cannot be prepared.

    It reads every lead that may be queued, so a refresh shows what a page of this process has found within a minute.
    """
    key = (owner_id, date)
    at, found = _previews.get(key, (0, None))
    if found is not None and visit.is_tick and not visit.has_acted and visit.now - at < PREVIEW_MS:
        return found
    try:
        found = prepare.from_env().preview(owner_id, date)
    except AppError as refused:
        found = refused
    while len(_previews) >= MAX_PREVIEWS:
        _previews.pop(next(iter(_previews)))
    _previews[key] = (visit.now, found)
    return found


PREVIEW_MS = 60_000
MAX_PREVIEWS = 100
_previews: dict[tuple[str, str], tuple[int, prepare.Prepared | AppError]] = {}


def bar(day: Day) -> list[tuple[str, int, float, float]]:
    """Return the parts of a run's bar: name, entries, where it begins and how long it is, in percent.

    Figures of stages count what passed them: what was read was delivered and sent too. A part is what went no further.
    """
    passed = {name: day.counts.get(name, 0) for name in COUNTS}
    alone = passed | {"sent": passed["sent"] - passed["delivered"], "delivered": passed["delivered"] - passed["read"]}
    shown = [(name, alone[name]) for name in STAGES if alone[name] > 0]
    total = max(passed["prepared"], sum(number for _, number in shown), 1)
    begins, parts = 0, []
    for name, number in shown:
        parts.append((name, number, round(100 * begins / total, 2), round(100 * number / total, 2)))
        begins += number
    return parts


def make(visit: Visit) -> Reply:
    """Prepare the queue of the next day with hours."""
    made = prepare.from_env().prepare(owner_of(visit), visit.form.get("date"), act_of(visit), visit.time_left)
    left_out = sum(made.skipped.values())
    text = f"Prepared {made.prepared} for {made.plan.date}. {left_out} were left out."
    if made.failed:
        text += f" {len(made.failed)} changed meanwhile; prepare again to take them in."
    if not made.is_complete:
        text += " Time ran out: prepare again to go on."
    return Done(text, back=_back(visit))


def start(visit: Visit) -> Reply:
    """Start today's run, or go on with it."""
    run = automation.from_env().start(owner_of(visit), None, visit.actor, visit.time_left)
    queued = run.day.counts.get("queued", 0)
    return Done(f"Automation runs: {queued} queued for {run.day.date}.", back=_back(visit))


def stop(visit: Visit) -> Reply:
    """Stop today's run."""
    run = automation.from_env().stop(owner_of(visit), None, visit.actor)
    with_twilio = run.day.counts.get("sending", 0)
    text = f"Stopped. Nothing more is handed over; {with_twilio} are with Twilio and may still arrive."
    return Done(text, back=_back(visit))


def download(visit: Visit) -> Reply:
    """Every entry of a day with what became of its message, as CSV."""
    date = visit.query.get("date", "")
    try:
        calendar.check_date(date)
    except ValueError as error:
        raise Invalid.field("date", "must be a date like 2026-12-31") from error
    owner_id = owner_of(visit)
    data = export.from_env().queue(owner_id, date)
    return Raw(data, export.headers(f"lead-queue-{date}"))


def settings(visit: Visit) -> Reply:
    """Capacity, hours, pace and template of a user."""
    owner_id = owner_of(visit)
    try:
        known = directory.from_env().settings(owner_id)
    except NotFound:
        known = LeadSettings(owner_id, version=0)
    return Page("lead_settings.html", "Settings", {"known": known, "owner_id": owner_id, "weekdays": calendar.WEEKDAYS})


def put_settings(visit: Visit) -> Reply:
    """Replace a user's settings."""
    owner_id, form = owner_of(visit), visit.form
    week = {day: form.get(f"hours-{day}", "").strip() or None for day in calendar.WEEKDAYS}
    given: dict[str, object] = {name: form.get(name, "").strip() for name in ("name", "zone", "spread")}
    given |= {name: _number(form, name) for name in ("capacity", "batch")}
    given |= {"pause_until": form.get("pause_until", "").strip() or None, "exclusive": "exclusive" in form}
    if content_sid := form.get("content_sid", "").strip():
        variables = dict(_pair(line) for line in form.get("variables", "").splitlines() if line.strip())
        step = {"content_sid": content_sid, "category": form.get("category", "marketing"), "variables": variables}
        given["steps"] = {"first": step}
    version = _number(form, "version") if form.get("version") else None
    body = checked(directory_schemas.SettingsBody, {**given, "week": week, "version": version})
    directory.from_env().put_settings(body.settings(owner_id), version, visit.actor)
    return Done(
        "Saved. A queue that is prepared keeps its capacity and window; the pause holds at once.", open=_back(visit)
    )


def _number(form: Mapping[str, str], name: str) -> int:
    text = form.get(name, "").strip()
    if not (text.isascii() and text.isdigit()):
        raise Invalid.field(name, "must be a number")
    return int(text)


def _pair(line: str) -> tuple[str, str]:
    variable, separator, source = line.partition("=")
    if not separator or not variable.strip() or not source.strip():
        raise Invalid.field("variables", "must be lines like 1=name")
    return variable.strip(), source.strip()


def _back(visit: Visit) -> str:
    return with_query(PAGE, {"owner_id": visit.form.get("owner_id")})
