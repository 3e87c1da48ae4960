"""Dead letters: groups, the letters of one, replay and discard of many."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from adbot_queue.console import job_words, letter_words
from adbot_queue.console.formats import number
from adbot_queue.console.request import Done, Page, Reply, Visit, checked
from adbot_queue.console.views import jobs
from adbot_queue.core.errors import Conflict, Invalid
from adbot_queue.core.ids import fingerprint
from adbot_queue.dead_letters import replay_service, service
from adbot_queue.dead_letters.model import MAX_CHOSEN, DeadLetterFilter, is_money
from adbot_queue.dead_letters.replay_service import Preview
from adbot_queue.dead_letters.schemas import DeadLetterQuery
from adbot_queue.dead_letters.store import COUNTED_PAGE_SIZE
from adbot_queue.jobs import service as job_service
from adbot_queue.jobs.long_running import Progress
from adbot_queue.jobs.model import Job
from adbot_queue.platform import owner_limit

RATES = ((0.2, "1 every 5 s"), (1, "1 a second"), (5, "5 a second"), (20, "20 a second"), (100, "100 a second"))
FIELDS = ("queue", "type", "state", "group", "from", "to")
"""Parameters of the page that say which dead letters; forms carry them on."""

MAX_RECENT = 10
"""Long-running jobs among which running replays are looked for."""


def index(visit: Visit) -> Reply:
    """Groups; with `group` or `view=letters` the letters. Four reads, with a dialog two more, with a drawer three."""
    if visit.drawer_only:
        return Page("letters.html", "Dead letters", {"opened": jobs.opened(visit)})
    return _letters(visit) if "group" in visit.query or visit.query.get("view") == "letters" else _groups(visit)


def _groups(visit: Visit) -> Reply:
    wanted = _wanted(visit.query)
    groups, complete = service.from_env().groups(wanted, COUNTED_PAGE_SIZE)
    replays = _running()
    seen = visit.snapshot.figures
    rows = [
        (group, letter_words.what_now(group, seen, replays, visit.now), letter_words.bars(group.hours))
        for group in groups
    ]
    shown = {
        "groups": sorted(rows, key=lambda row: (not is_money(row[0].queue), -row[0].count)),
        "total": sum(group.count for group in groups),
        "complete": complete,
        "is_money": is_money,
        **_shared(visit, wanted, replays),
    }
    return Page("dead_letters.html", "Dead letters", shown)


def _letters(visit: Visit) -> Reply:
    wanted = _wanted(visit.query)
    asked = checked(DeadLetterQuery, {"cursor": visit.query.get("cursor") or None})
    found, following = service.from_env().page(wanted, asked.limit, asked.cursor)
    sample = next((job for job in found if job.failure), None)
    title = sample.failure.message if sample and sample.failure and wanted.fingerprint else "Dead letters"
    shown = {
        "letters": found,
        "sample": sample,
        "attempts": {job.type: job_words.max_attempts(job) for job in found},
        "following": following,
        "opened": jobs.opened(visit),
        **_shared(visit, wanted, _running()),
    }
    return Page("letters.html", title[:80], shown)


def _shared(visit: Visit, wanted: DeadLetterFilter, replays: list[Job]) -> dict[str, Any]:
    """What both lists show: running replays, the filters, and the dry run of the dialog that is open."""
    ids = _ids(visit)
    chosen = replace(wanted, job_ids=ids) if ids else wanted
    opens = "" if visit.is_tick or not visit.caller.is_admin else visit.query.get("open", "")
    counted = service.from_env().count_discards(chosen) if opens == "discard" else None
    limit = owner_limit.DISCARDS.burst
    return {
        "replays": [
            (job, Progress.read(job.checkpoint), letter_words.replay_words(job), replay_service.canary_of(job))
            for job in replays
        ],
        "preview": replay_service.from_env().preview(chosen) if opens == "replay" else None,
        "discards": counted,
        "needs_owner": counted is not None and counted.count > limit and not visit.caller.is_owner,
        "max_discards": limit,
        "rates": RATES,
        "fields": {name: visit.query[name] for name in FIELDS if visit.query.get(name)},
        "ids": ids or (),
    }


def replay(visit: Visit) -> Reply:
    """Start a replay of what the person has counted; its page shows the progress."""
    wanted, rate, reason = _wanted(visit.form, _chosen(visit)), _rate(visit.form.get("rate", "")), jobs.reason_of(visit)
    confirmed = Preview(_whole(visit.form.get("count", ""), "count"), is_exact=True, cut_off=_cut_off(visit))
    canary = visit.form.get("canary") == "yes"
    try:
        started = replay_service.from_env().start(
            wanted,
            rate,
            reason,
            visit.actor,
            canary=canary,
            confirmed=confirmed,
            key=visit.form_key("replay", visit.form["key"]),
            fingerprint=fingerprint(repr((wanted, rate, reason, canary, confirmed))),
            time_left=visit.time_left,
        )
    except Conflict as changed:
        if "count" not in changed.extra:
            raise
        raise _counted_again(visit, "replay", confirmed.count, changed.extra["count"]) from changed
    count = number(started.job.payload["count"])
    text = f"The replay of {count} dead letters has started{' with one of them, the canary' if canary else ''}."
    return Done(text, open=f"/console/jobs/{started.job.id}")


def discard(visit: Visit) -> Reply:
    """Discard the dead letters that the person has counted."""
    if visit.form.get("confirm") != "discard":
        raise Invalid.field("confirm", "must be discard")
    reason, cut_off, chosen = jobs.reason_of(visit), _cut_off(visit), _chosen(visit)
    count, wanted = _whole(visit.form.get("count", ""), "count"), _wanted(visit.form, chosen)
    admit = partial(owner_limit.check_discard, visit.caller)
    try:
        done = service.from_env().discard_many(wanted, count, cut_off, visit.actor, reason, visit.time_left, admit)
    except Conflict as changed:
        raise _counted_again(visit, "discard", count, changed.extra["count"]) from changed
    left = " More match; repeat it for the rest." if done.more else ""
    text = f"Discarded {number(done.discarded)} dead letters. Their rows stay for 90 days.{left}"
    return Done(text, back="/console/dead-letters")


def _counted_again(visit: Visit, act: str, count: int, now: int) -> Conflict:
    """Return the refusal of a dialog whose count is out of date; it arms the dialog with the new one."""
    text = f"{number(now)} match now, not {number(count)}: nothing was {act}ed."
    if not now:
        return Conflict(text, count=now)
    rearm = {"count": str(now), "key": visit.form_key(act, now, visit.form["cut_off"], visit.form["key"])}
    return Conflict(f"{text} Send again to {act} {number(now)}.", rearm=rearm, count=now)


def _running() -> list[Job]:
    found, _ = job_service.from_env().long_running(MAX_RECENT, None)
    return [job for job in found if job.type == replay_service.TYPE and not job.is_terminal]


def _wanted(given: Any, ids: tuple[str, ...] | None = None) -> DeadLetterFilter:
    """Return the filter of an address or a form."""
    names = {"group": "fingerprint"}
    fields = {names.get(name, name): given[name] for name in FIELDS if given.get(name)}
    return replace(checked(DeadLetterQuery, fields).wanted(), job_ids=ids)


def _ids(visit: Visit) -> tuple[str, ...] | None:
    """Return the chosen letters of an address: `id=a&id=b` arrives as `a,b`."""
    return _limited(tuple(filter(None, visit.query.get("id", "").split(","))))


def _chosen(visit: Visit) -> tuple[str, ...] | None:
    return _limited(tuple(visit.form_lists.get("id", ())))


def _limited(ids: tuple[str, ...]) -> tuple[str, ...] | None:
    if len(ids) > MAX_CHOSEN:
        raise Invalid.field("id", f"must name at most {MAX_CHOSEN} dead letters")
    return ids or None


def _cut_off(visit: Visit) -> int:
    return _whole(visit.form.get("cut_off", ""), "cut_off")


def _whole(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):  # noqa: PLR2004  far above any moment in ms
        raise Invalid.field(name, "must be a whole number")
    return int(text)


def _rate(text: str) -> float:
    found = next((rate for rate, _ in RATES if str(rate) == text), None)
    if found is None:
        raise Invalid.field("rate", f"must be one of {', '.join(str(rate) for rate, _ in RATES)}")
    return found
