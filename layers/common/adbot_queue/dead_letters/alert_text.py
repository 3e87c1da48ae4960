"""The text of an alert about dead letters. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from adbot_queue.core.clock import iso
from adbot_queue.dead_letters.store import IndexEntry
from adbot_queue.jobs.model import Job

MAX_NAMED = 20
"""Dead letters that one message names; it counts the others."""


def compose(entries: Sequence[IndexEntry], rows: Mapping[str, Job], console: str, *, money: bool) -> tuple[str, str]:
    """Return subject (ASCII, under 100 characters) and text of a message. `rows`: the jobs that it names, by id."""
    number = len(entries)
    letters = f"{number} dead letter{'s' if number > 1 else ''}"
    queues = Counter(entry.queue for entry in entries)
    subject = f"{'[MONEY] ' if money else ''}AdBot Queue: {letters} in {', '.join(sorted(queues))}"
    lines = [
        f"- {entry.queue}: {entry.type} {entry.job_id}, {_error(rows.get(entry.job_id))}, "
        f"fingerprint {entry.fingerprint}, {iso(entry.died_at)}"
        for entry in entries[:MAX_NAMED]
    ]
    more = [f"and {number - MAX_NAMED} more"] if number > MAX_NAMED else []
    text = [f"Waiting for a decision: {letters}.", "", *lines, *more, "", f"Decide: {console}/console/dead-letters"]
    return subject if len(subject) < 100 else f"{subject[:95]} ...", "\n".join(text) + "\n"  # noqa: PLR2004  SNS's limit


def _error(job: Job | None) -> str:
    return job.failure.error if job and job.failure else "unknown error"
