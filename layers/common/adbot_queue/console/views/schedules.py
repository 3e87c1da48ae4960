"""Schedules: all of them, one with its runs, making and editing with a preview, and what people do about one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from adbot_queue.console import schedule_words
from adbot_queue.console.request import Done, Page, Reply, Undo, Visit, checked
from adbot_queue.console.views import jobs
from adbot_queue.core.clock import iso
from adbot_queue.core.errors import Forbidden, Invalid
from adbot_queue.core.ids import fingerprint
from adbot_queue.jobs import job_types
from adbot_queue.jobs.enqueue import owner_check
from adbot_queue.jobs.masking import masked
from adbot_queue.jobs.unmasking import unmasked
from adbot_queue.schedules import advice, plan, service
from adbot_queue.schedules.creation import Command
from adbot_queue.schedules.list_schemas import SchedulesQuery
from adbot_queue.schedules.model import Schedule, ScheduleSpec
from adbot_queue.schedules.plan import MissedPolicy
from adbot_queue.schedules.schemas import CreateSchedule

FIELDS = ("name", "expression", "timezone", "type", "payload", "missed_policy", "priority", "tags", "start", "end")
EMPTY = dict.fromkeys(FIELDS, "") | {"timezone": "UTC", "payload": "{}", "missed_policy": "once", "priority": "0"}
POLICIES = (
    (MissedPolicy.ONCE, "run the latest once"),
    (MissedPolicy.SKIP, "skip them"),
    (MissedPolicy.ALL, f"run all, at most {plan.MAX_CAUGHT_UP}"),
)


def index(visit: Visit) -> Reply:
    """Every schedule in the order of creation. Two reads."""
    asked = visit.query_as(SchedulesQuery)
    page = service.from_env().page(asked.limit, asked.cursor)
    rows = [_row(schedule, visit.now) for schedule in page.schedules]
    shown = {
        "rows": rows,
        "troubled": sum(row["state"].is_trouble for row in rows),
        "off": sum(not row["schedule"].spec.enabled for row in rows),
        "following": page.next,
        "unreadable": page.unreadable,
    }
    return Page("schedules.html", "Schedules", shown)


def _row(schedule: Schedule, now: int) -> dict[str, Any]:
    runs = schedule_words.planned(schedule.recurrence, now, 1) if schedule.spec.enabled else []
    return {
        "schedule": schedule,
        "words": schedule_words.words(schedule.spec.expression),
        "state": schedule_words.state(schedule),
        "next": next((run for run in runs if run.at is not None), None),
    }


def show(visit: Visit) -> Reply:
    """One schedule: its next runs and its latest ones. Two reads."""
    schedules = service.from_env()
    schedule = schedules.get(visit.params["name"])
    shown = {
        **_row(schedule, visit.now),
        "runs": schedule_words.planned(schedule.recurrence, visit.now) if schedule.spec.enabled else [],
        "ticks": [(tick, *schedule_words.OUTCOMES[tick.outcome]) for tick in schedules.ticks(schedule.name)],
        "payload": jobs.pretty(masked(schedule.spec.payload)),
        "a_day": schedule_words.runs_a_day(schedule.recurrence, visit.now),
    }
    return Page("schedule.html", schedule.name, shown)


def form(visit: Visit) -> Reply:
    """The form of the schedule that `name` names; without it an empty one."""
    before = _named(visit)
    return _form(_fields_of(before) if before else EMPTY, before)


def preview(visit: Visit) -> Reply:
    """The form with what its schedule would do, or with its errors; it writes nothing, so it may be sent again."""
    before = _named(visit)
    fields = _given(visit)
    try:
        spec = _spec(visit, fields, before)
    except (Invalid, Forbidden) as wrong:
        errors = {one.field.partition(".")[0]: f"{one.field}: {one.message}" for one in wrong.errors}
        offer = advice.suggestion(fields["expression"]) if "expression" in errors else None
        other = "" if errors and set(errors) <= set(FIELDS) else wrong.detail
        return _form(fields, before, errors=errors, problem=other, offer=offer)
    recurrence = spec.recurrence(visit.now)
    found = {
        "words": schedule_words.words(spec.expression),
        "runs": schedule_words.planned(recurrence, visit.now),
        "a_day": schedule_words.runs_a_day(recurrence, visit.now),
    }
    seen = fingerprint(repr(sorted(fields.items())))
    return _form(fields | {"expression": spec.expression}, before, found=found, seen=seen)


def _named(visit: Visit) -> Schedule | None:
    return service.from_env().get(visit.query["name"]) if visit.query.get("name") else None


def _form(fields: Mapping[str, str], before: Schedule | None, **shown: Any) -> Page:
    errors = shown.get("errors") or shown.get("problem")
    data = {"errors": {}, "problem": "", "offer": None, "found": None, "seen": "", **shown}
    data |= {
        "fields": fields,
        "before": before,
        "types": [one.name for one in job_types.public()],
        "policies": POLICIES,
    }
    title = f"Edit {before.name}" if before else "New schedule"
    return Page("schedule_form.html", title, data, int(HTTPStatus.UNPROCESSABLE_ENTITY if errors else HTTPStatus.OK))


def create(visit: Visit) -> Reply:
    """Make a schedule."""
    fields = _given(visit)
    spec = _spec(visit, fields, None)
    command = Command(visit.actor, visit.form["key"], fingerprint(repr(sorted(fields.items()))), _reason(visit))
    made = service.from_env().create(fields["name"], spec, command).schedule
    return Done(f"Made {made.name}: {_said(made)}.", open=_page(made.name))


def save(visit: Visit) -> Reply:
    """Replace what a schedule says, unless another person has changed it since."""
    schedules, name = service.from_env(), visit.params["name"]
    before = schedules.get(name)
    spec = replace(_spec(visit, _given(visit), before), enabled=before.spec.enabled)
    version = visit.form.get("version", "")
    if not (version.isascii() and version.isdigit()):
        raise Invalid.field("version", "must be a whole number")
    after = schedules.change(name, spec, int(version), visit.actor, _reason(visit))
    return Done(f"Saved {name}: {_said(after)}.", open=_page(name))


def enable(visit: Visit) -> Reply:
    """Let a schedule run again."""
    schedules, name = service.from_env(), visit.params["name"]
    before = schedules.get(name).spec
    payload = owner_check.permitted(visit.caller, before.type, before.payload)
    spec = replace(before, enabled=True, payload=payload, by_owner=visit.caller.is_owner)
    after = schedules.change(name, spec, None, visit.actor)
    return Done(f"Enabled {name}: {_said(after)}.", Undo(f"{_page(name)}/disable"), "/console/schedules")


def disable(visit: Visit) -> Reply:
    """Stop a schedule from running; jobs that have started go on."""
    schedules, name = service.from_env(), visit.params["name"]
    schedules.change(name, replace(schedules.get(name).spec, enabled=False), None, visit.actor)
    text = f"Disabled {name}. Runs of the next two minutes that had not started are cancelled."
    return Done(text, Undo(f"{_page(name)}/enable"), "/console/schedules")


def run(visit: Visit) -> Reply:
    """Run a schedule's job now."""
    schedules, name = service.from_env(), visit.params["name"]
    spec = schedules.get(name).spec
    owner_check.check(visit.caller, spec.type, spec.payload)
    command = Command(visit.actor, visit.form["key"], visit.path, _reason(visit))
    started = schedules.run(name, command, visit.request_id, visit.time_left)
    return Done(f"{name} runs now, as job {started.job.id}.", back=_page(name))


def delete(visit: Visit) -> Reply:
    """Delete a schedule; jobs that have started go on."""
    name = visit.params["name"]
    service.from_env().remove(name, visit.actor, jobs.reason_of(visit))
    return Done(f"Deleted {name}. Jobs that have started go on.", open="/console/schedules")


def _page(name: str) -> str:
    return f"/console/schedules/{name}"


def _said(schedule: Schedule) -> str:
    words = schedule_words.words(schedule.spec.expression)
    return f"{words[0].lower()}{words[1:]}, {schedule.spec.timezone}"


def _reason(visit: Visit) -> str:
    if len(visit.reason) > jobs.MAX_REASON:
        raise Invalid.field("reason", f"must have at most {jobs.MAX_REASON} characters")
    return visit.reason


def _given(visit: Visit) -> dict[str, str]:
    """Return the fields of a form; `use` is an expression that a page has offered instead of the typed one."""
    fields = {name: visit.form.get(name, EMPTY[name]).strip() for name in FIELDS}
    if visit.form.get("use"):
        fields["expression"] = visit.form["use"]
    return fields


def _fields_of(schedule: Schedule) -> dict[str, str]:
    spec = schedule.spec
    return {
        "name": schedule.name,
        "expression": spec.expression,
        "timezone": spec.timezone,
        "type": spec.type,
        "payload": jobs.pretty(masked(spec.payload)),
        "missed_policy": spec.missed_policy.value,
        "priority": str(spec.priority),
        "tags": ", ".join(spec.tags),
        "start": iso(spec.start) if spec.start is not None else "",
        "end": iso(spec.end) if spec.end is not None else "",
    }


def _spec(visit: Visit, fields: Mapping[str, str], before: Schedule | None) -> ScheduleSpec:
    """Return what a form specifies, checked, if the person may enqueue its job.

    Raises:
        Invalid: names the field. Forbidden: its job needs the owner.
    """
    payload = jobs.parsed(fields["payload"])
    body = checked(
        CreateSchedule,
        {
            "name": before.name if before else fields["name"],
            "expression": fields["expression"],
            "timezone": fields["timezone"],
            "type": fields["type"],
            "payload": unmasked(payload, before.spec.payload) if before else payload,
            "missed_policy": _policy(fields["missed_policy"]),
            "priority": _priority(fields["priority"]),
            "tags": [tag.strip() for tag in fields["tags"].split(",") if tag.strip()],
            "start": fields["start"] or None,
            "end": fields["end"] or None,
        },
    )
    spec = body.spec(by_owner=visit.caller.is_owner)
    spec = replace(spec, payload=owner_check.permitted(visit.caller, spec.type, spec.payload))
    return service.from_env().check(spec, before)


def _policy(text: str) -> MissedPolicy:
    try:
        return MissedPolicy(text)
    except ValueError:
        raise Invalid.field("missed_policy", f"must be one of {', '.join(MissedPolicy)}") from None


def _priority(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Invalid.field("priority", "must be a whole number") from None
