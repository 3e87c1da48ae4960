"""A job in words, and its life as a waterfall of spans. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from adbot_queue.console import trouble
from adbot_queue.console.formats import duration, moment, number
from adbot_queue.jobs import job_queues, job_types
from adbot_queue.jobs.failure import SPENDS_NO_ATTEMPT
from adbot_queue.jobs.model import TERMINAL, Attempt, Job, JobState

BROKEN_ABOVE = 10
"""A span that is longer than all the others together by this factor is drawn with a break."""

BROKEN_SHARE = 0.4
"""Share of the axis that a broken span takes."""

MIN_WIDTH = 0.6
"""Percent of the axis; a shorter span would not be seen."""

ENDED = {
    JobState.COMPLETED: ("ok", "circle-check", "Completed"),
    JobState.FAILED: ("bad", "circle-x", "Failed"),
    JobState.DEAD: ("bad", "circle-x", "Dead"),
    JobState.CANCELLED: ("off", "ban", "Cancelled"),
}

STATE_ICONS = {
    JobState.WAITING: "hourglass",
    JobState.ACTIVE: "loader",
    JobState.COMPLETED: "circle-check",
    JobState.FAILED: "circle-x",
    JobState.DELAYED: "calendar-clock",
    JobState.DEAD: "mail-x",
    JobState.CANCELLED: "ban",
}
"""States in the order in which pages show them."""


@dataclass(frozen=True, slots=True)
class Why:
    """The state of a job, as a chip and a sentence. `is_trouble`: something is wrong, so that it does not move."""

    kind: str
    icon: str
    word: str
    text: str = ""
    is_trouble: bool = False


def why(job: Job, figures: Mapping[str, Any], now: int) -> Why:
    """Return why a job is in its state, and what it waits for.

    Args:
        job: which.
        figures: those of all pages: pauses, circuits, the mode.
        now: in ms.
    """
    if job.state in TERMINAL:
        return _ended(job)
    if job.state is JobState.ACTIVE:
        return _active(job, now)
    if held := _held(job, figures, now):
        return held
    return _waiting(figures) if job.state is JobState.WAITING else _delayed(job, now)


def _ended(job: Job) -> Why:
    kind, icon, word = ENDED[job.state]
    if job.decision:
        return Why("off", "trash-2", "Discarded", f"It was {job.state.value} and a person decided to leave it so.")
    if job.state is JobState.COMPLETED:
        ran = f"It ran {duration(job.finished_at - job.started_at)}." if job.finished_at and job.started_at else ""
        return Why(kind, icon, word, ran)
    text = job.failure.message if job.failure else ""
    return Why(kind, icon, word, text, is_trouble=job.is_dead_letter)


def _active(job: Job, now: int) -> Why:
    if job.cancel_requested:
        return Why("warn", "ban", "Stopping", "Cancellation was requested; it stops at its next step.")
    since = f" for {duration(max(0, now - job.started_at))}" if job.started_at else ""
    return Why("run", "loader", "Running", f"{attempts_text(job)}{since}.")


def _waiting(figures: Mapping[str, Any]) -> Why:
    if figures["mode"]["name"] == "sync_direct":
        return Why("warn", "zap", "Direct mode", "Requests execute jobs now; the sweeper runs what is left.")
    return Why("off", "hourglass", "Waiting", "A worker takes it as soon as one is free.")


def _held(job: Job, figures: Mapping[str, Any], now: int) -> Why | None:
    """What keeps every job of its queue back; one that waits for its time or other jobs has its own reason."""
    if job.state is JobState.DELAYED and (job.blocked_by or not job.attempts):
        return None
    queue = next((one for one in figures["queues"] if one["name"] == job.queue), None)
    if queue is None:
        return None
    found = trouble.reason(queue, dict(figures), now)
    if queue["paused"]:
        by = f" by {queue['paused_by']}" if queue["paused_by"] else ""
        why_paused = f": {queue['paused_why']}" if queue["paused_why"] else ""
        return Why("warn", "circle-pause", "Queue paused", f"Paused{by}{why_paused}.", is_trouble=True)
    if found.kind == "bad":
        text = f"{found.why or found.word}. Waiting spends no attempt."
        return Why("bad", found.icon, found.word, text[0].upper() + text[1:], is_trouble=True)
    return None


def _delayed(job: Job, now: int) -> Why:
    if job.blocked_by:
        many = len(job.blocked_by)
        return Why("off", "link", "Blocked", f"Waits for {number(many)} other {'job' if many == 1 else 'jobs'} to end.")
    when = moment(job.run_at, now) if job.run_at else "soon"
    if job.failure and job.failure.kind in SPENDS_NO_ATTEMPT:
        return Why("warn", "clock", "Snoozed", f"{job.failure.message}. Next try {when}, no attempt was spent.")
    if job.failure:
        return Why("warn", "rotate-ccw", "Retries", f"{job.failure.message}. {attempts_text(job)}, the next {when}.")
    return Why("off", "calendar-clock", "Scheduled", f"Runs {when}.")


def max_attempts(job: Job) -> int:
    """Return the quick attempts of a job's policy."""
    known = job_types.LOADED.get(job.type)
    return known.retry_policy().attempts if known else job_queues.queue(job.queue).policy.attempts


def attempts_text(job: Job) -> str:
    """`Attempt 2 of 3`; after the quick attempts a job is tried on up to its horizon, so there is no limit to name."""
    limit = max_attempts(job)
    return f"Attempt {job.attempt} of {limit}" if job.attempt <= limit else f"Attempt {job.attempt}"


@dataclass(frozen=True, slots=True)
class Span:
    """One bar of the waterfall. `x` and `width` are in percent; `kind` is its colour: wait, run, good, bad, hold."""

    icon: str
    text: str
    kind: str
    start: int
    length: int
    note: str = ""
    x: float = 0
    width: float = 0
    is_broken: bool = False


def waterfall(job: Job, now: int) -> list[Span]:
    """Return a job's life from its creation on, span after span.

    One axis for all; a span that dwarfs the rest is drawn short, and marked.
    """
    spans = [span for span in _spans(job, now) if span.length > 0 or span.kind != "wait"]
    total = sum(span.length for span in spans)
    if not total:
        return spans
    longest = max(spans, key=lambda span: span.length)
    rest = total - longest.length
    breaks = len(spans) > 1 and 0 < rest * BROKEN_ABOVE < longest.length
    found: list[Span] = []
    at = 0.0
    for span in spans:
        if breaks:
            share = BROKEN_SHARE if span is longest else (1 - BROKEN_SHARE) * span.length / rest
        else:
            share = span.length / total
        width = max(MIN_WIDTH, 100 * share)
        found.append(
            replace(span, x=round(min(at, 100 - width), 2), width=round(width, 2), is_broken=breaks and span is longest)
        )
        at += 100 * share
    return found


def _spans(job: Job, now: int) -> Iterator[Span]:
    at, before = job.created_at, None
    for attempt in job.attempts:
        yield _gap(before, at, attempt.started_at, attempt.number)
        yield _tried(attempt)
        at, before = max(at, attempt.ended_at), attempt
    if job.state is JobState.ACTIVE and job.started_at:
        yield _gap(before, at, job.started_at, job.attempt)
        yield Span("loader", f"Attempt {job.attempt}", "run", job.started_at, max(0, now - job.started_at), "runs now")
    else:
        yield _gap(before, at, job.finished_at if job.is_terminal and job.finished_at else now, job.attempt + 1)


def _gap(before: Attempt | None, since: int, until: int, following: int) -> Span:
    length = max(0, until - since)
    if before is None:
        return Span("hourglass", "Waiting", "wait", since, length)
    if before.failure is None:
        return Span("hourglass", "Waiting", "wait", since, length)
    if before.failure.kind in SPENDS_NO_ATTEMPT:
        return Span("clock", "Snoozed", "hold", since, length, "no attempt was spent")
    if following <= before.number:
        return Span("inbox", "Until the retry", "wait", since, length)
    return Span("clock", "Backoff", "wait", since, length)


def _tried(attempt: Attempt) -> Span:
    length = max(0, attempt.ended_at - attempt.started_at)
    failure = attempt.failure
    if failure is None:
        return Span("circle-check", f"Attempt {attempt.number}", "good", attempt.started_at, length, "completed")
    note = f"{failure.error}: {failure.message}"
    if failure.kind in SPENDS_NO_ATTEMPT:
        return Span("clock", "Put back", "hold", attempt.started_at, length, note)
    return Span("circle-x", f"Attempt {attempt.number}", "bad", attempt.started_at, length, note)


def counts(attempt: Attempt) -> bool:
    """Whether an attempt was spent."""
    return attempt.failure is None or attempt.failure.kind not in SPENDS_NO_ATTEMPT
