"""Long-running jobs: replays, reports, uploads and other work that takes longer than one run."""

from __future__ import annotations

from adbot_queue.console import job_words, letter_words
from adbot_queue.console.request import Page, Reply, Visit
from adbot_queue.console.views import jobs
from adbot_queue.dead_letters import replay_service
from adbot_queue.jobs import service
from adbot_queue.jobs.api.list_schemas import LongQuery
from adbot_queue.jobs.long_running import Progress
from adbot_queue.jobs.model import Job


def index(visit: Visit) -> Reply:
    """All of them, newest first: two reads, three more with a drawer."""
    if visit.drawer_only:
        return Page("long_running.html", "Replays and reports", {"opened": jobs.opened(visit)})
    asked = visit.query_as(LongQuery, long="true")
    found, following = service.from_env().long_running(asked.limit, asked.cursor)
    seen = visit.snapshot.figures
    shown = {
        "jobs": [
            (job, job_words.why(job, seen, visit.now), Progress.read(job.checkpoint), _words(job)) for job in found
        ],
        "following": following,
        "opened": jobs.opened(visit),
    }
    return Page("long_running.html", "Replays and reports", shown)


def _words(job: Job) -> str:
    """What the work is about, in words."""
    return letter_words.replay_words(job) if job.type == replay_service.TYPE else ""
